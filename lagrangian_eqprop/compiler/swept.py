"""The swept lowering: a chain of any length, its parts in lanes, kick and drift in one pass over memory.

It serves a single trajectory of terms that sit on one site, or on a site and the next. Every lane holds a part of
the chain, part after part, so that row r holds the r-th sites of all parts: the next site stands in the next row
of the same lane, and no lanes are shifted. A sweep takes the next row in, which tells the bonds between the two,
finishes the row before, and hands on what the bond does to the new one. Places that do not fit (a bond across the
chain, a site listed twice) are kicked one by one before the pass. No size stands in the text, so that chains of all
lengths share their machine code.

In the graph ("q", 0) and ("q", 1) are a site and the next, ("d", n) their difference where term n depends on nothing
else, ("p", k) shared parameters, ("a", k) the k-th array with a value a place, and ("h", 0) the factor of a kick.
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

_ENTRIES = "entries of the table"  # which are known when all functions are written


@dataclass(frozen=True)
class Run:
    """The places of a term that a sweep serves, one a site: on the site, or on it and the next; and the others."""

    size: int  # local coordinates
    sites: np.ndarray
    numbers: np.ndarray  # of the places on these sites
    others: np.ndarray  # numbers of the places that no sweep serves
    dense: bool  # whether half of the sites or more have the term

    @property
    def form(self) -> tuple[int, bool, bool, bool]:
        """What the text depends on."""
        return self.size, self.dense, len(self.sites) > 0, len(self.others) > 0


def run_of(term: LocalTerm, size: int) -> Run:
    """The places of a term on a chain of ``size`` sites; after the last site comes the first."""
    table = term.places.table
    fits = np.full(len(table), term.size <= 2)
    if term.size == 2:
        fits &= table[:, 1] == (table[:, 0] + 1) % size
    number = np.full(size, -1)  # of the first place on every site
    places = np.flatnonzero(fits)
    number[table[places[::-1], 0]] = places[::-1]
    sites = np.flatnonzero(number >= 0)
    fits[:] = False
    fits[number[sites]] = True
    return Run(term.size, sites, number[sites], np.flatnonzero(~fits), 2*len(sites) >= size)


@dataclass
class Swept:
    """The expressions of a chain: forces on rows, on single places, and what bounds the step."""

    terms: Sequence[LocalTerm]
    shapes: Sequence[tuple[int, ...]]
    runs: Sequence[Run]
    uniform: bool  # whether all masses are one expression of shared parameters: momenta are then in units of m/h
    graph: Graph = field(default_factory=Graph)
    arrays: list[tuple[int, int]] = field(default_factory=list)  # ("a", k) is parameter [1] of term [0]

    def __post_init__(self) -> None:
        self.hoisting = Hoisting(self.graph)
        self.rests: list[Node] = []
        self.alone: list[Node | None] = []  # the same of the difference alone
        for number, term in enumerate(self.terms):
            new: dict[Node, Node] = {}
            for node in term.graph.reachable([term.root]):
                head = term.graph.nodes[node]
                is_symbol = head[0] == "symbol"
                new[node] = self._leaf(number, *head[1:]) if is_symbol else self.graph.rebuilt(head, new)
            v = [self.graph.symbol("v", a) for a in range(term.size)]
            (rest,) = self.graph.substitute([new[term.root]], dict.fromkeys(v, self.graph.zero))
            self.rests.append(rest)
            self.alone.append(self._of_difference(number, rest) if term.size == 2 else None)
        self.rows = [k for k, (number, _) in enumerate(self.arrays) if self.runs[number].dense]
        self.forced = [n for n in range(len(self.terms)) if any(s != self.graph.zero for s in self.slopes(n))]
        self.marked = [n for n in self.forced if len(self.runs[n].sites)]
        self.rare = [k for k, (number, _) in enumerate(self.arrays) if k not in self.rows and number in self.marked]

    def _leaf(self, number: int, kind: str, index: int) -> Node:
        if kind == "p" and self.shapes[index]:
            if (number, index) not in self.arrays:
                self.arrays.append((number, index))
            return self.graph.symbol("a", self.arrays.index((number, index)))
        return self.graph.symbol(kind, index)

    def _of_difference(self, number: int, rest: Node) -> Node | None:
        """A pair term by the difference of its coordinates, where it depends on nothing else."""
        graph, d = self.graph, self.graph.symbol("d", number)
        (found,) = graph.substitute([rest], {graph.symbol("q", 1): graph.sum([(graph.symbol("q", 0), 1), (d, 1)])})
        return None if ("q", 0) in graph.symbols([found]) else found

    def _coordinates(self, number: int) -> list[Node]:
        return [self.graph.symbol("q", a) for a in range(self.terms[number].size)]

    def slopes(self, number: int) -> list[Node]:
        return gradient(self.graph, self.rests[number], self._coordinates(number))

    def _kick(self, slope: Node) -> Node:
        """h times a slope, a sum multiplied out so that the table takes up the factors."""
        graph, h = self.graph, self.graph.symbol("h", 0)
        head = graph.nodes[slope]
        if head[0] != "sum":
            return graph.times(h, slope)
        return graph.sum([(h, head[1]), *((graph.times(h, node), factor) for node, factor in head[2])])

    # ------------------------------------------------------------------ text
    def text(self) -> list[str]:
        """The functions of a sweep: rows that are alike, rows with sites that are not, single places, coefficients."""
        functions = [self._sweep("sweep", False), self._sweep("sweep_masked", True), self._stiffness()]
        lines = ["def kick_places(k, q, p, table, loose, counts):", "    t = 0", "    s = 0"]
        for number, run in enumerate(self.runs):
            if len(run.others) and number in self.forced:
                functions.append(self._place(number))
                own = sum(1 for n, _ in self.arrays if n == number)
                lines.append(f"    for _ in range(counts[{number}]):")
                lines.append(f"        kick_{number}(k, q, p, table, loose, t, s)")
                lines += [f"        t += {2*run.size}", f"        s += {own}"]
        functions.append("\n".join(["@inlined_jit", *lines]) + "\n")
        named = ", ".join(f"c{k}" for k in range(max(len(self.hoisting.coefficients), 1)))
        return [self._coefficients(), *(function.replace(_ENTRIES, f"{named}, = k") for function in functions)]

    def _sweep(self, name: str, masked: bool) -> str:
        """Kick and drift of the row before s; row s comes in."""
        graph = self.graph
        passed: list[tuple[str, Node, int]] = []  # kicks with a name, the term that must be there
        here, ahead = list[tuple[Node, int]](), list[str]()
        for number in self.marked:
            if not masked and not self.runs[number].dense:
                continue
            slopes, alone = self.slopes(number), self.alone[number]
            kicks = [self._kick(slope) for slope in slopes]
            if alone is not None:
                (slope,) = gradient(graph, alone, [graph.symbol("d", number)])
                passed.append((f"f{number}", self._kick(slope), number))
                here.append((graph.symbol("f", number), -1))
                ahead.append(f"f{number}")
                continue
            if masked:
                passed.append((f"e{number}", kicks[0], number))
                here.append((graph.symbol("e", number), 1))
            else:
                here.append((kicks[0], 1))
            if len(kicks) == 2:
                passed.append((f"f{number}", kicks[1], number))
                ahead.append(f"f{number}")
        after = graph.sum(here)
        pace = graph.one if self.uniform else graph.symbol("pace")
        q = graph.sum([(graph.symbol("q", 0), 1), (graph.times(pace, graph.symbol("after")), 1)])
        roots = self.hoisting.rewrite([*(node for _, node, _ in passed), after])
        used = graph.symbols([*roots, q])
        names = {symbol: _called(*symbol) for symbol in used}
        lines = ["q0, g, moved, = z", "q1 = lanes(q, s)", "momentum = lanes(p, s)"]
        lines += self._loads(used, masked)
        writer = Writer(graph, [*roots, q], names)
        writer.prepare()
        for (given, _, number), root in zip(passed, roots, strict=False):
            text = writer.rendered(root)
            writer.lines.append(f"{given} = " + (self._masked(number, text) if masked else text))
        writer.lines += [f"after = g + {writer.rendered(roots[-1])}", f"moved = {writer.rendered(q)}"]
        writer.lines += ["put(p, s - WIDTH, after)", "put(q, s + shift - WIDTH, moved)"]
        lines += [*writer.lines, f"ahead = {' + '.join(['momentum', *ahead])}", "return (q1, ahead, moved,)"]
        return definition(name, "k, q, p, shift, places, marks, s, z", lines)

    def _loads(self, used: set[tuple[str, int]], masked: bool) -> list[str]:
        """What stands beside the coordinates of a row: coefficients, differences, values of places, marks."""
        kinds = len(self.rows) + (not self.uniform)
        lines = [_ENTRIES] if any(kind == "c" for kind, _ in used) else []
        for kind, k in sorted(used):
            if kind == "d":
                lines.append(f"d{k} = q1 - q0")
            elif kind == "pace":
                lines.append(f"pace = lanes(places, {kinds}*(s - WIDTH) + {len(self.rows)}*WIDTH)")
            elif kind == "a" and k in self.rows:
                lines.append(f"local{k} = lanes(places, {kinds}*(s - WIDTH) + {self.rows.index(k)}*WIDTH)")
            elif kind == "a" and masked:
                lines.append(f"local{k} = lanes(marks, {self._mark(len(self.marked) + self.rare.index(k))})")
        return lines

    def _mark(self, place: int) -> str:
        """Where the marks of the row before s have their place-th kind."""
        return f"{len(self.marked) + len(self.rare)}*(s - WIDTH) + {place}*WIDTH"

    def _masked(self, number: int, text: str) -> str:
        """A value where the sites have a term, zero where not."""
        return f"masked(marks, {self._mark(self.marked.index(number))}, {text})"

    def _stiffness(self) -> str:
        """The largest row sums of |V''| over the mass so far; over the mass they bound the squared frequencies."""
        graph, lines, ahead = self.graph, list[str](), list[str]()
        parts: list[tuple[str, str, Node, int]] = []
        for number in self.marked:
            alone, q = self.alone[number], self._coordinates(number)
            if alone is not None:
                d = graph.symbol("d", number)
                (second,) = gradient(graph, gradient(graph, alone, [d])[0], [d])
                parts.append(("here", f"{number}_0", graph.sum([(second, 2)]), number))
                ahead.append(f"here{number}_0")
                continue
            slopes = self.slopes(number)
            entries, size = [entry for slope in slopes for entry in gradient(graph, slope, q)], len(q)
            parts += [("here", f"{number}_{j}", node, number) for j, node in enumerate(entries[:size])]
            parts += [("there", f"{number}_{j}", node, number) for j, node in enumerate(entries[size:])]
            ahead += [f"there{number}_{j}" for j in range(len(entries) - size)]
        pace = graph.one if self.uniform else graph.symbol("pace")
        roots = self.hoisting.rewrite([*(node for *_, node, _ in parts), pace])
        used = graph.symbols(roots)
        lines = ["q0, passed, best, = z", "q1 = lanes(q, s)", *self._loads(used, True)]
        writer = Writer(graph, roots, {symbol: _called(*symbol) for symbol in used})
        writer.prepare()
        for (kind, name, _, number), root in zip(parts, roots, strict=False):
            text = f"magnitude({writer.rendered(root)})"
            writer.lines.append(f"{kind}{name} = {self._masked(number, text)}")
        total = " + ".join(["passed", *(f"here{name}" for kind, name, _, _ in parts if kind == "here")])
        writer.lines.append(f"best = maximum(best, magnitude({writer.rendered(roots[-1])}*({total})))")
        lines += [*writer.lines, f"ahead = {' + '.join(['0.0*q1', *ahead])}", "return (q1, ahead, best,)"]
        return definition("stiffer", "k, q, places, marks, s, z", lines)

    def _place(self, number: int) -> str:
        """One place that no sweep serves: the kick of each of its coordinates.

        The table has where the coordinates are read, and where their momenta stand.
        """
        graph, size = self.graph, self.terms[number].size
        kicks = self.hoisting.rewrite([self._kick(slope) for slope in self.slopes(number)])
        used = graph.symbols(kicks)
        own = [k for k, (n, _) in enumerate(self.arrays) if n == number]
        lines = [_ENTRIES] if any(kind == "c" for kind, _ in used) else []
        for kind, k in sorted(used):
            if kind == "q":
                lines += [f"i{k} = table[t + {k}]", f"q{k} = q[i{k}]"]
            elif kind == "a":
                lines.append(f"local{k} = loose[s + {own.index(k)}]")
        body, values = Writer(graph, kicks, {symbol: _called(*symbol) for symbol in used}).write()
        lines += body
        for a, value in enumerate(values):
            lines += [f"j{a} = table[t + {size + a}]", f"p[j{a}] += {value}"]
        return definition(f"kick_{number}", "k, q, p, table, loose, t, s", [*lines, "return ()"])

    def _coefficients(self) -> str:
        """The function that fills the table, and the one that reads it."""
        entries = self.hoisting.coefficients
        used = self.graph.symbols(entries)
        lines = [f"p{k} = theta[{k}]" for kind, k in sorted(used) if kind == "p"]
        names = {symbol: _called(*symbol) for symbol in used}
        body, values = Writer(self.graph, entries, names).write()
        lines += [*body, *(f"c[at + {k}] = {value}" for k, value in enumerate(values)), "return ()"]
        read = ", ".join(f"c[at + {k}]" for k in range(max(len(entries), 1)))
        functions = [definition("coefficients", "theta, h0, c, at", lines)]
        return "\n\n".join([*functions, definition("entries", "c, at", [f"return ({read},)"])])


def _called(kind: str, index: int) -> str:
    # a0_, a1_, ... are the writer's own
    return {"pace": "pace", "after": "after", "a": f"local{index}"}.get(kind, f"{kind}{index}")
