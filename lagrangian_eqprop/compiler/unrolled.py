"""The unrolled lowering: every term at every place, written out as straight-line functions of all coordinates.

For a system of up to some thousand operations this is the fastest form: state lives in registers, nothing is
looked up, and everything that does not move has left the loop (see ``hoisting``). Larger networks keep loops
over places (``lowering``).

In the graph of an unrolled system the symbols are ("q", i), ("v", i), ("m", i) for coordinate, velocity and
momentum i, ("dq", i), ("dm", i) for their responses, ("p", k) for entry k of all parameters side by side,
("u", k), ("y", k) for inputs and targets at their places, ("t", 0), ("h", 0) for the step, and ("c", k) for
entry k of the coefficient table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..symbols.graph import Graph, Node
from ..symbols.terms import LocalTerm
from .contract import Layout
from .derivatives import gradient
from .hoisting import Hoisting

LIMIT = 1200  # operations of L and c, above which a system keeps its loops
State = tuple[tuple[str, int], ...]


def operations(terms: Sequence[LocalTerm]) -> int:
    """How many operations the terms have, written out at all their places."""
    return sum(len(term.graph.reachable([term.root]))*_places(term) for term in terms)


def _places(term: LocalTerm) -> int:
    rows = term.places.shape
    return rows[0] if len(rows) == 1 else rows[0]*rows[1]


@dataclass
class Straight:
    """A straight-line function: its state, what it returns or stores, what it adds to the sums over time.

    ``sums`` are (flat index of a parameter, node): a gradient takes the node, but for static factors that are
    applied once at the end. State comes as a tuple of values, or, with ``rows``, from rows of arrays: by kind of
    symbol the array and its first row, as text. Where ``stores`` names a symbol for each value returned, the values
    go to its row, each as soon as it is known, so that few of them are alive at once. ``over`` names, by kind, the
    kind whose rows may be the same ones: what is stored there may overwrite them.
    """

    name: str
    state: State
    returned: Sequence[Node]
    sums: Sequence[tuple[int, Node]] = ()
    accumulates: bool = False  # whether it takes the array of sums
    rows: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    stores: State = ()
    over: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Flags:
    """What a module is compiled for besides the system: its precision, and which values differ between samples."""

    single: bool = False
    parameters: bool = False
    inputs: tuple[bool, ...] = ()
    targets: tuple[bool, ...] = ()


@dataclass
class Unrolled:
    """The graph of a system with its costs, every term at every place."""

    size: int
    shapes: Sequence[tuple[int, ...]]  # of the parameters
    flags: Flags
    layout: Layout
    graph: Graph = field(default_factory=Graph)
    lagrangian: Node = 0
    costs: list[Node] = field(default_factory=list)
    stage_cost: Node = 0  # of the costs that a method samples at its stages

    def __post_init__(self) -> None:
        self.lagrangian = self.stage_cost = self.graph.zero
        self.hoisting = Hoisting(self.graph)
        lengths = [int(np.prod(shape)) for shape in self.shapes]
        self.offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(int)
        self.signals: dict[tuple[str, int], tuple[int, int]] = {}  # ("u" or "y", flat index) -> (signal, place)

    # ------------------------------------------------------------------ building
    def add(self, terms: Sequence[LocalTerm], costs: Sequence[LocalTerm]) -> None:
        """Write out the terms of the system and of its costs."""
        self.lagrangian = self.graph.sum([(node, 1) for term in terms for node in self._written_out(term)])
        self.costs = [self.graph.sum([(node, 1) for node in self._written_out(term)]) for term in costs]

    def sample_at_stages(self, chosen: Sequence[bool]) -> None:
        """Take these costs from the nodes to the stages, where they are one function."""
        parts = [(node, 1) for node, staged in zip(self.costs, chosen, strict=True) if staged]
        self.stage_cost = self.graph.sum(parts)
        self.costs = [self.graph.zero if staged else n for n, staged in zip(self.costs, chosen, strict=True)]

    def _written_out(self, term: LocalTerm) -> list[Node]:
        rows, places = term.places.rows_of_coordinates(), term.places.places()
        return [self._at(term, row, int(place)) for row, place in zip(rows, places, strict=True)]

    def _at(self, term: LocalTerm, row: np.ndarray, place: int) -> Node:
        """One term at one place."""
        source, new = term.graph, dict[Node, Node]()
        for node in source.reachable([term.root]):
            head = source.nodes[node]
            if head[0] == "symbol":
                new[node] = self._symbol(head[1], head[2], row, place)
            else:
                new[node] = self.graph.rebuilt(head, new)
        return new[term.root]

    def _symbol(self, kind: str, index: int, row: np.ndarray, place: int) -> Node:
        if kind in ("q", "v"):
            return self.graph.symbol(kind, int(row[index]))
        if kind == "p":
            return self.graph.symbol("p", int(self.offsets[index]) + (place if self.shapes[index] else 0))
        if kind in ("u", "y"):
            known = {found: flat for (k, flat), found in self.signals.items() if k == kind}
            flat = known.get((index, place), len(known))
            self.signals[kind, flat] = index, place
            return self.graph.symbol(kind, flat)
        return self.graph.symbol(kind, index)

    def symbols(self, kind: str) -> list[Node]:
        """One symbol a coordinate."""
        return [self.graph.symbol(kind, i) for i in range(self.size)]

    def state(self, *kinds: str) -> State:
        return tuple((kind, i) for kind in kinds for i in range(self.size))

    @property
    def h(self) -> Node:
        return self.graph.symbol("h")

    def slopes(self, root: Node, kind: str) -> list[Node]:
        """The derivatives by the symbols of one kind."""
        return gradient(self.graph, root, self.symbols(kind))

    def parameter_slopes(self, root: Node) -> list[tuple[int, Node]]:
        """The derivatives by parameters that are not zero, as (flat index, node)."""
        found = sorted(index for kind, index in self.graph.symbols([root]) if kind == "p")
        parts = gradient(self.graph, root, [self.graph.symbol("p", k) for k in found])
        return [(k, part) for k, part in zip(found, parts, strict=True) if part != self.graph.zero]
