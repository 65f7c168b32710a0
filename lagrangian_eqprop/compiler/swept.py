"""The swept lowering: a chain of any length, its sites in lanes, kick and drift in one pass over memory.

It serves a single trajectory of terms that sit on one site, or on a site and the next, in long runs. Lanes
hold neighbouring sites; what a bond does to its right end is carried to the next block by a shift. Places
outside the runs (walls, the bond that closes a ring) are kicked one by one before the pass. No size stands in
the text, so that chains of all lengths share their machine code.

In the graph ("q", 0) and ("q", 1) are a site and the next, ("p", k) shared parameters, ("a", k) the k-th array
with a value a place, ("h", 0) the step of the kick and ("h", 1) that of the drift.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..symbols.graph import Graph, Node
from ..symbols.terms import LocalTerm
from .derivatives import gradient
from .hoisting import Hoisting
from .unrolled_text import definition
from .writer import Writer

LONG = 32  # places that make a run worth a sweep


@dataclass(frozen=True)
class Run:
    """The places of a term that follow each other: sites first, first + 1, ...; the others are listed."""

    first: int
    start: int  # number of the first place
    count: int
    others: np.ndarray  # numbers of the places outside the run
    offsets: tuple[int, ...]  # of the local coordinates from the first one


def run_of(term: LocalTerm) -> Run | None:
    """The longest run of a term; None where a sweep does not serve it."""
    table = term.places.table
    if term.places.kind != "table" or len(table) < LONG:
        return None
    relative = table - table[:, :1]
    regular = (np.diff(table, axis=0) == 1).all(1) & (relative[1:] == relative[:-1]).all(1)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], regular, [0]])))
    if not len(edges):
        return None
    starts, stops = edges[::2], edges[1::2]
    best = int(np.argmax(stops - starts))
    start, count = int(starts[best]), int(stops[best] - starts[best] + 1)
    offsets = tuple(int(o) for o in relative[start])
    if count < LONG or sorted(offsets) != list(range(len(offsets))) or len(offsets) > 2:
        return None
    first = int(table[start].min())
    others = np.concatenate([np.arange(start), np.arange(start + count, len(table))])
    return Run(first, start, count, others, offsets)


@dataclass
class Swept:
    """The expressions of a chain: forces of runs and of single places."""

    terms: Sequence[LocalTerm]
    shapes: Sequence[tuple[int, ...]]
    runs: Sequence[Run | None]
    graph: Graph = field(default_factory=Graph)
    arrays: list[tuple[int, int]] = field(default_factory=list)  # ("a", k) is parameter [1] of term [0]

    def __post_init__(self) -> None:
        self.hoisting = Hoisting(self.graph)
        self.rests: list[Node] = []
        self.masses: Node = self.graph.zero
        for number, term in enumerate(self.terms):
            run = self.runs[number]
            offsets = run.offsets if run else tuple(range(term.size))
            new: dict[Node, Node] = {}
            for node in term.graph.reachable([term.root]):
                head = term.graph.nodes[node]
                is_symbol = head[0] == "symbol"
                new[node] = self._leaf(number, offsets, *head[1:]) if is_symbol else self.graph.rebuilt(head, new)
            root = new[term.root]
            v = [self.graph.symbol("v", o) for o in range(term.size)]
            for slope, symbol in zip(gradient(self.graph, root, v), v, strict=True):
                if run and len(offsets) == 1:
                    (mass,) = gradient(self.graph, slope, [symbol])
                    self.masses = self.graph.sum([(self.masses, 1), (mass, 1)])
            (rest,) = self.graph.substitute([root], dict.fromkeys(v, self.graph.zero))
            self.rests.append(rest)

    def _leaf(self, number: int, offsets: Sequence[int], kind: str, index: int) -> Node:
        if kind in ("q", "v"):
            return self.graph.symbol(kind, offsets[index])
        if kind == "p" and self.shapes[index]:
            if (number, index) not in self.arrays:
                self.arrays.append((number, index))
            return self.graph.symbol("a", self.arrays.index((number, index)))
        return self.graph.symbol(kind, index)

    def slopes(self, number: int) -> list[Node]:
        size = self.terms[number].size
        return gradient(self.graph, self.rests[number], [self.graph.symbol("q", o) for o in range(size)])

    # ------------------------------------------------------------------ text
    def text(self) -> list[str]:
        """The functions of a sweep: whole blocks, blocks with sites missing, single places, coefficients."""
        functions = [self._sweep("sweep", False), self._sweep("sweep_masked", True)]
        functions += [self._place(number) for number in range(len(self.terms))]
        calls = list[str]()
        for n in range(len(self.terms)):
            calls.append(f"    for i in range(offsets[{4*n + 2}]):")
            calls.append(f"        kick_{n}(c, at, q, p, places, offsets, table, i)")
        head = "@inlined_jit\ndef kick_places(c, at, q, p, places, offsets, table):"
        functions.append("\n".join([head, *calls]) + "\n")
        return [self._coefficients(), *functions]

    def _base(self) -> int:
        """Where the offsets of arrays stand, after four entries a term."""
        return 4*len(self.terms)

    def _sweep(self, name: str, masked: bool) -> str:
        graph, h, drift = self.graph, self.graph.symbol("h", 0), self.graph.symbol("h", 1)
        here, passed = list[Node](), list[Node]()
        for number, run in enumerate(self.runs):
            if run is None:
                continue
            alive = graph.symbol("live", number) if masked else graph.one
            slopes = self.slopes(number)
            here.append(graph.times(alive, slopes[0]))
            if len(slopes) == 2:
                passed.append(graph.times(alive, slopes[1]))
                here.append(graph.symbol("carry", len(passed) - 1))
        force = graph.sum([(part, 1) for part in here])
        p = graph.sum([(graph.symbol("m"), 1), (graph.times(h, force), 1)])
        uniform = not any(kind == "a" for kind, _ in graph.symbols([self.masses]))
        pace = graph.product([(self.masses, -1)]) if uniform else graph.symbol("pace")
        q = graph.sum([(graph.symbol("q", 0), 1), (graph.product([(drift, 1), (p, 1), (pace, 1)]), 1)])
        roots = self.hoisting.rewrite([*passed, p])
        (q,) = self.hoisting.rewrite([graph.substitute([q], {p: graph.symbol("after")})[0]])
        used = graph.symbols([*roots, q]) - {("after", 0)}
        given = [*(f"before{k}" for k in range(len(passed))), "q0"]
        lines = [", ".join(given) + ", = z", "ahead = lanes(q, s + WIDTH)"]
        base = self._base()
        loads = {
            "q": lambda k: "following(q0, ahead)",
            "m": lambda k: "lanes(p, s)",
            "c": lambda k: f"c[at + {k}]",
            "a": lambda k: f"lanes(places, offsets[{base + k}] + s)",
            "pace": lambda k: f"lanes(places, offsets[{base + len(self.arrays)}] + s)",
            "live": lambda k: f"lanes(places, offsets[{4*k + 3}] + s)",
        }
        wanted = sorted(symbol for symbol in used - {("q", 0)} if symbol[0] in loads)
        lines += [f"{_called(kind, k)} = {loads[kind](k)}" for kind, k in wanted]
        names = {symbol: _called(*symbol) for symbol in used} | {("after", 0): "after"}
        writer = Writer(graph, [*roots, q], names)
        writer.prepare()
        right = [writer.named(root) for root in roots[:-1]]
        writer.lines += [f"carry{k} = shifted(before{k}, {value})" for k, value in enumerate(right)]
        writer.lines.append(f"after = {writer.rendered(roots[-1])}")
        writer.lines += ["put(p, s, after)", f"put(q, s, {writer.rendered(q)})"]
        returned = ", ".join([*right, "ahead"]) + ","
        lines += [*writer.lines, f"return ({returned})"]
        return definition(name, "c, at, q, p, places, offsets, s, z", lines)

    def _place(self, number: int) -> str:
        """One place of a term outside its run: the kick of each of its coordinates."""
        graph, term = self.graph, self.terms[number]
        kicks = self.hoisting.rewrite([graph.times(graph.symbol("h", 0), slope) for slope in self.slopes(number)])
        used, run = graph.symbols(kicks), self.runs[number]
        order = run.offsets if run else range(term.size)
        lines = [f"i{o} = table[offsets[{4*number}] + {term.size}*i + {a}]" for a, o in enumerate(order)]
        lines += [f"q{k} = q[i{k}]" for kind, k in sorted(used) if kind == "q"]
        lines.append(f"k = table[offsets[{4*number + 1}] + i]")
        lines += [f"local{k} = places[offsets[{self._base() + len(self.arrays) + 1 + k}] + k]"
                  for kind, k in sorted(used) if kind == "a"]  # fmt: skip
        lines += [f"c{k} = c[at + {k}]" for kind, k in sorted(used) if kind == "c"]
        body, values = Writer(graph, kicks, {symbol: _called(*symbol) for symbol in used}).write()
        lines += [*body, *(f"p[i{o}] += {value}" for o, value in enumerate(values)), "return ()"]
        return definition(f"kick_{number}", "c, at, q, p, places, offsets, table, i", lines)

    def _coefficients(self) -> str:
        entries = self.hoisting.coefficients
        used = self.graph.symbols(entries)
        lines = [f"p{k} = theta[{k}]" for kind, k in sorted(used) if kind == "p"]
        names = {symbol: _called(*symbol) for symbol in used}
        body, values = Writer(self.graph, entries, names).write()
        lines += [*body, *(f"c[at + {k}] = {value}" for k, value in enumerate(values)), "return ()"]
        return definition("coefficients", "theta, h0, h1, c, at", lines)


def _called(kind: str, index: int) -> str:
    # a0_, a1_, ... are the writer's own
    return {"m": "momentum", "pace": "pace", "a": f"local{index}", "live": f"live{index}"}.get(kind, f"{kind}{index}")
