"""Emission of the equations of whole paths: L_d and its derivatives for several intervals at a time.

A method is a sum of stages; in the interval from x = q_k to z = q_{k+1} each evaluates the Lagrangian once,

    L_d(x, z) = sum of w h L(Q, V, t_k + c h),   Q = a x + b z,   V = (z - x)/h,

so that, with the derivatives of L at (Q, V),

    D_1 L_d  = w (h a L_q - L_v)            D_11 L_d = w (h a a L_qq - a (L_qv + L_vq) + L_vv/h)
    D_2 L_d  = w (h b L_q + L_v)            D_12 L_d = w (h a b L_qq + a L_qv - b L_vq - L_vv/h)
                                            D_22 L_d = w (h b b L_qq + b (L_qv + L_vq) + L_vv/h)

(Marsden and West 2001, sections 2.3 and 2.6). All places and coordinates are written out. The intervals of a path know
nothing of each other, so they fill the lanes of a value (see ``compiler.lanes``) even where there is one path only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ..compiler.contract import CLOCK, LABELS, Layout
from ..compiler.derivatives import directional, gradient
from ..compiler.kernel import text_of
from ..compiler.unrolled import Flags, Unrolled
from ..compiler.writer import Writer
from ..symbols.graph import Node
from ..symbols.terms import LocalTerm

ZERO, HALF, ONE = Fraction(0), Fraction(1, 2), Fraction(1)


@dataclass(frozen=True)
class Stage:
    """One evaluation of L in an interval: a, b, w and c of the formula above; where it reads inputs, from node k on."""

    before: Fraction
    after: Fraction
    weight: Fraction
    time: Fraction
    label: int


STAGES = {
    "midpoint": (Stage(HALF, HALF, ONE, HALF, 0),),
    "verlet": (Stage(ONE, ZERO, HALF, ZERO, 0), Stage(ZERO, ONE, HALF, ONE, 1)),
}
_HEADER = '''"""{title}"""

from __future__ import annotations

import numpy as np
from numba import njit

from lagrangian_eqprop.compiler.straight import straight
{imports}

OPTIONS = {{"nogil": True, "error_model": "numpy", "fastmath": {{"contract", "nsz", "reassoc"}}}}
WIDTH = {width}  # intervals in the lanes of one value
SIZE = {size}  # coordinates


def jit(function):
    return njit(**OPTIONS)(function)


def inlined_jit(function):
    return njit(inline="always", **OPTIONS)(function)


def entry_jit(function):
    return njit(cache=True, **OPTIONS)(function)
'''


class Path:
    """The expressions of one interval of a system, and of its costs at one node.

    In the graph the symbols are ("x", i) and ("z", i) for coordinate i at both ends, ("q", i) and ("v", i) for Q and V,
    ("dx", i), ("dz", i), ("dq", i), ("dv", i) for variations of these, ("t", n) for the time of stage n,
    ("u", k + n m) for input k of m there, ("w", n) for the weight of cost n, ("h", 0) for the step and ("rate", 0)
    for 1/h. At a node, ("q", i) and ("t", 0) are those of the node.
    """

    def __init__(
        self, size: int, shapes: Sequence[tuple[int, ...]], layout: Layout, terms: Sequence[LocalTerm],
        costs: Sequence[LocalTerm], stages: Sequence[Stage],
    ) -> None:  # fmt: skip
        self.size, self.stages = size, stages
        self.system = Unrolled(size, shapes, Flags(), layout)
        self.system.add(terms, costs)
        self.graph = self.system.graph
        self.inputs = 1 + max((flat for kind, flat in self.system.signals if kind == "u"), default=-1)
        self.h, self.rate = self.graph.symbol("h"), self.graph.symbol("rate")

    # ------------------------------------------------------------------ expressions
    def staged(self, n: int) -> tuple[Node, list[Node], list[Node]]:
        """L of stage n, its coordinates and its velocities."""
        graph, stage = self.graph, self.stages[n]
        kind = "x" if stage.after == 0 else "z" if stage.before == 0 else "q"
        q, v = [graph.symbol(kind, i) for i in range(self.size)], self.system.symbols("v")
        changed = dict(zip(self.system.symbols("q"), q, strict=True))
        changed[graph.symbol("t")] = graph.symbol("t", n)
        for k in range(self.inputs):
            changed[graph.symbol("u", k)] = graph.symbol("u", k + n*self.inputs)
        (root,) = graph.substitute([self.system.lagrangian], changed)
        return root, q, v

    def weighed(self, *terms: tuple[Fraction, tuple[Node, ...]]) -> tuple[Node, int]:
        """The sum of factor times product, as a summand."""
        return self.graph.sum([(self.graph.times(*nodes), factor) for factor, nodes in terms]), 1

    def slopes(self) -> list[Node]:
        """D_1 and D_2, all coordinates."""
        d, h = self.size, self.h
        found: list[list[tuple[Node, int]]] = [[] for _ in range(2*d)]
        for n, stage in enumerate(self.stages):
            root, q, v = self.staged(n)
            w, a, b = stage.weight, stage.before, stage.after
            pairs = zip(gradient(self.graph, root, q), gradient(self.graph, root, v), strict=True)
            for i, (Lq, Lv) in enumerate(pairs):
                found[i].append(self.weighed((w*a, (h, Lq)), (-w, (Lv,))))
                found[d + i].append(self.weighed((w*b, (h, Lq)), (w, (Lv,))))
        return [self.graph.sum(terms) for terms in found]

    def curvature(self) -> dict[int, Node]:
        """What is not zero of D_12 and of the upper triangles of D_11 and D_22, by its place in the band."""
        d, h, rate, zero = self.size, self.h, self.rate, self.graph.zero
        found: dict[int, list[tuple[Node, int]]] = {}
        for n, stage in enumerate(self.stages):
            root, q, v = self.staged(n)
            w, a, b = stage.weight, stage.before, stage.after
            rows = [gradient(self.graph, part, [*q, *v]) for part in gradient(self.graph, root, [*q, *v])]
            for i, j in np.ndindex(d, d):
                qq, qv, vq, vv = rows[i][j], rows[i][d + j], rows[d + i][j], rows[d + i][d + j]
                if {qq, qv, vq, vv} == {zero}:
                    continue
                coupling = self.weighed((w*a*b, (h, qq)), (w*a, (qv,)), (-w*b, (vq,)), (-w, (rate, vv)))
                found.setdefault(i*2*d + d + j, []).append(coupling)
                for first, c, sign in ((0, a, -1), (2*d*d, b, 1)):
                    if j >= i:
                        block = self.weighed((w*c*c, (h, qq)), (sign*w*c, (qv,)), (sign*w*c, (vq,)), (w, (rate, vv)))
                        found.setdefault(first + i*2*d + j, []).append(block)
        sums = {place: self.graph.sum(terms) for place, terms in sorted(found.items())}
        return {place: node for place, node in sums.items() if node != zero}

    def pull(self) -> tuple[list[Node], dict[int, Node]]:
        """w c_q of all costs, and what is not zero of w c_qq; 0 where w is, whatever c is there."""
        graph, d, q = self.graph, self.size, self.system.symbols("q")
        slopes: list[list[tuple[Node, int]]] = [[] for _ in range(d)]
        found: dict[int, list[tuple[Node, int]]] = {}
        for n, cost in enumerate(self.system.costs):
            w = graph.symbol("w", n)
            silent = graph.call("equal", w, graph.zero)
            for i, slope in enumerate(gradient(graph, cost, q)):
                row = gradient(graph, slope, q) if slope != graph.zero else []
                for terms, node in ((slopes[i], slope), *((found.setdefault(i*2*d + j, []), row[j])
                                                          for j in range(i, len(row)))):  # fmt: skip
                    terms.append((graph.call("select", silent, graph.zero, graph.times(w, node)), 1))
        sums = {place: graph.sum(terms) for place, terms in sorted(found.items())}
        return [graph.sum(terms) for terms in slopes], {k: node for k, node in sums.items() if node != graph.zero}

    def owed(self, along: bool) -> list[tuple[int, Node]]:
        """L_d by the parameters; with ``along`` the derivative of L_d along a variation of its ends by them."""
        parts = []
        for n, stage in enumerate(self.stages):
            root, q, v = self.staged(n)
            if along:
                dq = [self.graph.symbol(f"d{self.graph.nodes[symbol][1]}", i) for i, symbol in enumerate(q)]
                partials = gradient(self.graph, root, [*q, *v])
                root = directional(self.graph, partials, [*dq, *self.system.symbols("dv")])
            parts.append((self.graph.times(self.h, root), stage.weight))
        return self.system.parameter_slopes(self.graph.sum(parts))

    # ------------------------------------------------------------------ text
    def load(self, kind: str, index: int, at_node: bool) -> str:
        """How a symbol is read or made, in the lanes of intervals or nodes k, k + 1, ..."""
        d, layout, change = self.size, self.system.layout, "d" if kind[0] == "d" else ""
        if kind in ("x", "dx") or (at_node and kind == "q"):
            return f"gather({'y' if change else 'path'}, k*{d} + {index}, {d})"
        if kind in ("z", "dz"):
            return f"gather({'y' if change else 'path'}, k*{d} + {d + index}, {d})"
        if kind in ("v", "dv"):
            return f"({change}z{index} - {change}x{index})*rate"
        if kind in ("q", "dq"):
            return f"0.5*({change}x{index} + {change}z{index})"
        if kind == "t":
            return f"gather(times, k, 1) + {0.0 if at_node else float(self.stages[index].time)}*h"
        if kind == "w":
            return f"gather(s, {CLOCK} + {index}*table[{LABELS}] + k, 1)"
        if kind == "p":
            parameter = int(np.searchsorted(self.system.offsets, index, side="right")) - 1
            row, place = layout.of("p", parameter), index - int(self.system.offsets[parameter])
            return f"theta[table[{row}] + b*table[{row + 1}] + {place}*table[{row + 2}]]"
        n, flat = divmod(index, self.inputs) if kind == "u" else (0, index)
        signal, place = self.system.signals[kind, flat]
        row, label = layout.of(kind, signal), self.stages[n].label if kind == "u" else 0
        where = f"table[{row}] + b*table[{row + 1}] + (k + {label})*table[{row + 2}] + {place}*table[{row + 3}]"
        return f"gather(s, {where}, table[{row + 2}])"

    def function(self, name: str, nodes: Sequence[Node], stores: Sequence[str], at_node: bool = False) -> str:
        """A straight-line function that reads what the nodes need and stores them, each by its own line."""
        lines: list[str] = []
        names = {("h", 0): "h", ("rate", 0): "rate"}

        def define(kind: str, index: int) -> None:
            if (kind, index) in names:
                return
            if kind in ("q", "v", "dq", "dv") and not at_node:
                define(kind[:-1] + "x", index)
                define(kind[:-1] + "z", index)
            names[kind, index] = f"theta_{index}" if kind == "p" else f"{kind}{index}"
            lines.append(f"{names[kind, index]} = {self.load(kind, index, at_node)}")

        for symbol in sorted(self.graph.symbols(nodes)):
            define(*symbol)
        body, values = Writer(self.graph, nodes, names).write()
        kept = [store.format(value) for store, value in zip(stores, values, strict=True)]
        head = f"def {name}(theta, s, table, b, k, h, rate, times, path, y, out):"
        return "@straight\n" + "\n    ".join([head, *lines, *body, *kept, "return ()"])


def path_text(
    path: Path, kernels: Sequence[Callable], title: str, width: int, shared: Mapping[str, Sequence[Callable]]
) -> str:  # fmt: skip
    """The whole module: the functions of one interval and the kernels that sum them along a path.

    ``shared`` are kernels in modules that serve all systems, by the names of these modules.
    """
    d = path.size
    slopes, curvature = path.slopes(), path.curvature()
    along, owed = path.owed(True), path.owed(False)
    rows = max(2*d, len(curvature), int(path.system.offsets[-1]))
    put, add = ([f"out[{i}] {sign} {{}}" for i in range(rows)] for sign in ("=", "+="))
    functions = [
        path.function("interval_slopes", slopes, put[: 2*d]),
        path.function("interval_curvature", list(curvature.values()), put[: len(curvature)]),
        path.function("interval_along", [node for _, node in along], [add[k] for k, _ in along]),
        path.function("interval_owed", [node for _, node in owed], [add[k] for k, _ in owed]),
    ]
    return module_parts(path, functions, list(curvature), [], rows, kernels, title, width, shared)


def module_parts(
    path: Path, functions: Sequence[str], curvature: Sequence[int], constants: Sequence[str], rows: int,
    kernels: Sequence[Callable], title: str, width: int, shared: Mapping[str, Sequence[Callable]],
) -> str:  # fmt: skip
    """The whole module from the functions of an interval: those of the costs at a node, tables and kernels added."""
    d, offsets, (pull, bend) = path.size, path.system.offsets, path.pull()
    rows = max(rows, len(bend))
    put = [f"out[{i}] = {{}}" for i in range(max(d, len(bend)))]
    functions = [
        *functions,
        path.function("node_slopes", pull, put[:d], at_node=True),
        path.function("node_curvature", list(bend.values()), put[: len(bend)], at_node=True),
    ]
    owners = [
        (path.system.layout.of("p", k), place)
        for k in range(len(path.system.shapes))
        for place in range(int(offsets[k + 1] - offsets[k]))
    ]
    constants = [
        f"ROWS = {rows}  # of lanes, for what the functions return and work with",
        f"TIMED = {any('times, k' in text for text in functions)}  # whether the time itself occurs",
        f"CURVATURE = np.array({list(curvature)}, np.int64)  # places in the band, from node k's on",
        f"BEND = np.array({list(bend)}, np.int64)  # the same of the costs",
        f"OWNERS = np.array({owners}, np.int64).reshape(-1, 2)  # of each sum: its parameter's layout, and its place",
        *constants,
    ]
    imports = [f"from {module} import {', '.join(k.__name__ for k in found)}" for module, found in shared.items()]
    header = _HEADER.format(title=title, width=width, size=d, imports="\n".join(imports))
    return "\n\n\n".join([header, *functions, "\n".join(constants), *map(text_of, kernels)])
