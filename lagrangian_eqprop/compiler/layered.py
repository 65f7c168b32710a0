"""Layered energies for compiled relaxation: wide groups of coordinates, coupled to a few others by dense matrices.

The slope of a coordinate in a group is

    K + s(q) + sum over couplings of number * f'(q) * (field from the other group)

with K everything that does not move (biases, products with clamped coordinates, targets). The fields on a small group,
such as the output of a network, fit the registers; one pass over a wide group then reads each weight once, for the
field on the wide side and for that on the small one. :mod:`.layered_text` writes that pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy import ndarray

from ..symbols.graph import NONANALYTIC, Graph, Node, Number
from .statics import Plan, Product, Table, coordinates_of

SMALL = 16  # coordinates of all small groups together
_ACCUMULATED = 24  # fields that a pass sums at once


class Leaf(NamedTuple):
    """A symbol that a group's slope reads, by the table or the coupling it belongs to."""

    nudge: bool
    number: int  # of the table, or of the product whose field is constant
    kind: str  # "p", "u", "y", or "field" on the "rows" or "columns"
    symbol: int
    side: str = ""


class Bond(NamedTuple):
    """A coupling between a wide and a small group."""

    product: int
    wide: int  # numbers of groups
    small: int
    wide_is_rows: bool


@dataclass
class Group:
    """Coordinates of equal slopes."""

    members: ndarray  # positions in the state
    still: Node  # K, of the graph below; symbols ("beta", 0), ("leaf", n)
    slope: Node  # symbols ("q", 0), ("K", 0), ("field", bond), ("beta", 0), ("leaf", n)
    cost: Node  # symbols ("q", 0), ("leaf", n)
    leaves: list[Leaf]


@dataclass
class Layered:
    """The structure of an energy and its cost."""

    graph: Graph
    groups: list[Group]
    bonds: list[Bond]
    features: list[tuple[Node, Node]]  # of each bond: f of the wide group and g of the small one, of ("q", 0)

    @property
    def small(self) -> list[int]:
        """The numbers of the small groups."""
        return sorted({bond.small for bond in self.bonds})


def copied(source: Graph, root: Node, into: Graph, symbols: Mapping[tuple[str, int], Node]) -> Node:
    """A node of one graph in another."""
    new: dict[Node, Node] = {}
    for node in source.reachable([root]):
        head = source.nodes[node]
        new[node] = symbols[head[1], head[2]] if head[0] == "symbol" else into.rebuilt(head, new)
    return new[root]


def layered(plan: Plan, costs: Plan, where: ndarray, is_free: ndarray) -> Layered | None:
    """The structure, or None where it is another one.

    Parameters
    ----------
    where : ndarray
        The position of each free coordinate in the state.
    """
    pieces: list[tuple[object, ndarray]] = []  # what acts, and on which positions
    tables = [(False, n, table) for n, table in enumerate(plan.tables)]
    tables += [(True, n, table) for n, table in enumerate(costs.tables)]
    for nudge, number, table in tables:
        at = table.columns[0]
        if table.size > 1 or len(np.unique(at)) < len(at) or _refused(table.graph, table.slopes):
            return None
        pieces.append(((nudge, number, table), where[at[is_free[at]]]))
    bonds: list[tuple[int, Product]] = []
    for number, product in enumerate(plan.products):
        if product.term.places.kind != "pairs" or _refused(product.graph, [*product.f, *product.g]):
            return None
        sides = coordinates_of(product.term.places)
        frees = [bool(is_free[side].all()) for side in sides]
        if not all(free or not is_free[side].any() for free, side in zip(frees, sides, strict=True)):
            return None
        graph = product.graph
        constant = [graph.value(x.slope) == 0 for x in (product.f, product.g)]
        if all(frees) and not any(constant):
            bonds.append((number, product))
        for k, (side, name) in enumerate(zip(sides, ("rows", "columns"), strict=True)):
            if frees[k] and not constant[k]:
                pieces.append(((number, product, name), where[side]))
    width = int(is_free.sum())
    marks = np.zeros((width, len(pieces)), bool)
    for n, (_, at) in enumerate(pieces):
        marks[at, n] = True
    kinds, inverse = np.unique(marks, axis=0, return_inverse=True)
    inverse = inverse.ravel()
    members = [np.flatnonzero(inverse == k) for k in range(len(kinds))]
    if any((np.diff(at) != 1).any() for at in members):
        return None
    graph = Graph()
    found = Layered(graph, [], [], [])
    for number, product in bonds:
        rows, columns = (where[side] for side in coordinates_of(product.term.places))
        here = [next((k for k, m in enumerate(members) if np.array_equal(m, side)), -1) for side in (rows, columns)]
        if min(here) < 0:
            return None
        sizes = [len(members[k]) for k in here]
        if (sizes[0] > SMALL) == (sizes[1] > SMALL):
            return None
        wide_is_rows = sizes[0] > SMALL
        wide, small = here if wide_is_rows else here[::-1]
        found.bonds.append(Bond(number, wide, small, wide_is_rows))
    if not found.bonds or sum(len(members[k]) for k in found.small) > SMALL:
        return None
    if sum(len(members[bond.small]) for bond in found.bonds) > _ACCUMULATED:
        return None
    for k, at in enumerate(members):
        acting = [piece for n, (piece, _) in enumerate(pieces) if kinds[k, n]]
        found.groups.append(_group(graph, at, acting, found.bonds))
    q = {("q", 0): graph.symbol("q", 0)}
    for bond in found.bonds:
        product = plan.products[bond.product]
        left, right = (product.f, product.g) if bond.wide_is_rows else (product.g, product.f)
        f, g = (copied(product.graph, node, graph, q) for node in (left.value, right.value))
        found.features.append((f, g))
    return found


def _refused(graph: Graph, roots: Sequence[Node]) -> bool:
    """Whether there are functions that lanes do without."""
    return bool(graph.functions(roots) & (NONANALYTIC.keys() | {"larger"}))


def _group(graph: Graph, members: ndarray, acting: Sequence[object], bonds: Sequence[Bond]) -> Group:
    leaves: list[Leaf] = []
    x = graph.symbol("q", 0)
    still, cost = list[tuple[Node, Number]](), list[tuple[Node, Number]]()
    total: list[tuple[Node, Number]] = [(graph.symbol("K", 0), 1)]

    def leaf(found: Leaf) -> Node:
        if found not in leaves:
            leaves.append(found)
        return graph.symbol("leaf", leaves.index(found))

    for piece in acting:
        assert isinstance(piece, tuple)
        if isinstance(piece[2], Table):
            nudge, number, table = piece
            parts = [*zip((still, total), table.still, strict=True), *([(cost, table.root)] if nudge else [])]
            for part, root in parts:
                symbols = {("q", 0): x}
                for kind, index in table.graph.symbols([root]):
                    if kind != "q":
                        symbols[kind, index] = leaf(Leaf(nudge, number, kind, index))
                node = copied(table.graph, root, graph, symbols)
                weighted = nudge and part is not cost
                part.append((graph.times(graph.symbol("beta", 0), node) if weighted else node, 1))
            continue
        number, product, side = piece
        factor = product.f if side == "rows" else product.g
        slope = copied(product.graph, factor.slope, graph, {("q", 0): x})
        bond = next((n for n, bond in enumerate(bonds) if bond.product == number), None)
        field = leaf(Leaf(False, number, "field", 0, side)) if bond is None else graph.symbol("field", bond)
        part = still if bond is None and product.graph.value(factor.slope) is not None else total
        part.append((graph.times(slope, field), product.number))
    return Group(members, graph.sum(still), graph.sum(total), graph.sum(cost), leaves)
