"""Emission of Gauss elements: the functions of one stage, several intervals at a time, and their module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..compiler.contract import Layout
from ..compiler.derivatives import directional, gradient
from ..compiler.writer import Writer
from ..symbols.graph import Node
from ..symbols.terms import LocalTerm
from .newton_text import Path, module_parts

_ROWS = '''@straight
def clear_row(out, to):
    out[to] = 0.0
    return ()


@straight
def add_row(out, to, weight, row):
    out[to] += weight*out[row]
    return ()


@straight
def mix_rows(out, to, u, one, v, two):
    out[to] = u*out[one] + v*out[two]
    return ()


@straight
def add_rows(out, to, u, one, v, two):
    out[to] += u*out[one] + v*out[two]
    return ()


@straight
def multiply_rows(out, to, one, two):
    out[to] = out[one]*out[two]
    return ()


@straight
def subtract_product(out, to, one, two):
    out[to] = out[to] - out[one]*out[two]
    return ()


@straight
def invert_row(out, to, row):
    out[to] = 1.0/out[row]
    return ()'''


class Element(Path):
    """The expressions of one stage of an interval; the symbols are those of :class:`Path` at a node, and ("dq", i),
    ("dv", i) for variations."""

    def __init__(
        self, size: int, shapes: Sequence[tuple[int, ...]], layout: Layout, terms: Sequence[LocalTerm],
        costs: Sequence[LocalTerm], stages: int,
    ) -> None:  # fmt: skip
        super().__init__(size, shapes, layout, terms, costs, ())
        self.count = stages
        d, m, n = size, (stages - 1)*size, (stages + 1)*size
        self.results = max(d*(2*d + 1), int(self.system.offsets[-1]), 1)
        lengths = {
            "ELEMENT": n, "VARIED": n, "POINT": 2*d, "ALONG": 2*d, "SLOPE": 2*d, "BENT": 3*d*d, "TURNED": 2*d*d,
            "MATRIX": n*(n + 1), "PIVOT": m, "FACTOR": 1,
        }  # fmt: skip
        ends = np.cumsum([self.results, *lengths.values()])
        self.rows = dict(zip(lengths, ends[:-1].tolist(), strict=True))
        self.total = int(ends[-1])

    def terms(self) -> dict[int, Node]:
        """L_q and L_v, and what is not zero of their derivatives, by their rows."""
        d, root, q, v = self.size, self.system.lagrangian, self.system.symbols("q"), self.system.symbols("v")
        Lq, Lv = gradient(self.graph, root, q), gradient(self.graph, root, v)
        found = {self.rows["SLOPE"] + i: slope for i, slope in enumerate([*Lq, *Lv])}
        for block, (slopes, symbols) in enumerate(((Lq, q), (Lq, v), (Lv, v))):
            for i, slope in enumerate(slopes):
                for j, node in enumerate(gradient(self.graph, slope, symbols)):
                    if node != self.graph.zero:
                        found[self.rows["BENT"] + (block*d + i)*d + j] = node
        return found

    def owed_at_stage(self, along: bool) -> list[tuple[int, Node]]:
        """L by the parameters; with ``along`` the derivative of L along a variation by them."""
        root, symbols = self.system.lagrangian, [*self.system.symbols("q"), *self.system.symbols("v")]
        if along:
            variations = [*self.system.symbols("dq"), *self.system.symbols("dv")]
            root = directional(self.graph, gradient(self.graph, root, symbols), variations)
        return self.system.parameter_slopes(root)

    def stage_load(self, kind: str, index: int) -> str:
        """How a symbol is read at stage i of the intervals k, k + 1, ..."""
        places = {"q": ("POINT", 0), "v": ("POINT", 1), "dq": ("ALONG", 0), "dv": ("ALONG", 1)}
        if kind in places:
            rows, second = places[kind]
            return f"out[{self.rows[rows] + second*self.size + index}]"
        if kind == "t":
            return "gather(times, k, 1) + c*h"
        if kind == "p":
            return self.load(kind, index, at_node=True)
        signal, place = self.system.signals[kind, index]
        row = self.system.layout.of(kind, signal)
        label = f"(k*{self.count} + i)*table[{row + 2}]"
        where = f"table[{row}] + b*table[{row + 1}] + {label} + {place}*table[{row + 3}]"
        return f"gather(s, {where}, {self.count}*table[{row + 2}])"

    def stage_function(self, name: str, nodes: Sequence[Node], stores: Sequence[str]) -> str:
        """A straight-line function of a stage, with a line to store each node."""
        names, lines = dict[tuple[str, int], str](), []
        for kind, index in sorted(self.graph.symbols(nodes)):
            names[kind, index] = f"theta_{index}" if kind == "p" else f"{kind}{index}"
            lines.append(f"{names[kind, index]} = {self.stage_load(kind, index)}")
        body, values = Writer(self.graph, nodes, names).write()
        kept = [store.format(value) for store, value in zip(stores, values, strict=True)]
        head = f"def {name}(theta, s, table, b, k, i, c, h, weight, times, out):"
        return "@straight\n" + "\n    ".join([head, *lines, *body, *kept, "return ()"])


def elements_text(
    element: Element, kernels: Sequence[Callable], title: str, width: int, shared: Mapping[str, Sequence[Callable]]
) -> str:  # fmt: skip
    """The whole module: the functions of one stage, and the kernels that make elements and paths of them."""
    d = element.size
    terms, along, owed = element.terms(), element.owed_at_stage(True), element.owed_at_stage(False)
    value = [element.system.lagrangian]
    functions = [
        _ROWS,
        element.stage_function("stage_terms", list(terms.values()), [f"out[{row}] = {{}}" for row in terms]),
        *(
            element.stage_function(name, [node for _, node in sums], [f"out[{k}] += weight*{{}}" for k, _ in sums])
            for name, sums in (("stage_along", along), ("stage_owed", owed))
        ),
        element.stage_function("stage_value", value, ["out[0] += weight*{}"]),
    ]
    # the ends' block row by row: node k's own, its coupling to the next, and the next's own
    curvature = [
        r*2*d + c if r < d else 2*d*d + (r - d)*2*d + c - d for r in range(2*d) for c in range(r, 2*d)
    ]  # fmt: skip
    constants = [f"STAGES = {element.count}", *(f"{name} = {row}" for name, row in element.rows.items())]
    return module_parts(
        element, functions, curvature, constants, element.total, kernels, title, width, shared
    )  # fmt: skip
