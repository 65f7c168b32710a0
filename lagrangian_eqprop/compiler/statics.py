"""What an equilibrium needs of each term: derivatives of E = -L(q, 0), sums of products where couplings allow them.

A term with a table of places gives its energy, slopes, second derivatives and those of its parameters, evaluated on
whole arrays (sample, place). A pair term over ``AllPairs`` or a ``Convolution`` that is a sum of

    number * c(parameters) * f(x) * g(z)

is linear algebra over the batch: with C the operator of the values of c, E = sum of number f (C g), its slope is
f' (C g) on the rows and g' (C^T f) on the columns, and that of C the outer product of f and g. A pair term that is no
such sum is written out as a table.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from ..errors import invalid
from ..symbols.definition import Definition
from ..symbols.graph import Graph, Node, Number
from ..symbols.terms import LocalTerm, Places
from .derivatives import directional, gradient
from .products import split


class Factor(NamedTuple):
    """A function of ("q", 0) and its first two derivatives."""

    value: Node
    slope: Node
    curvature: Node


class Facts(NamedTuple):
    """Where a factor is simple."""

    itself: bool  # x
    number: Number | None  # a constant
    straight: float | None  # its constant slope
    flat: bool  # no curvature


@dataclass(frozen=True)
class Product:
    """number * c(parameters) * f(x) * g(z), a summand of a pair term's energy."""

    place: int  # of the term in the system
    term: LocalTerm
    number: Number
    c: Node
    f: Factor
    g: Factor

    @property
    def graph(self) -> Graph:
        return self.term.graph

    @functools.cached_property
    def sides(self) -> tuple[np.ndarray, np.ndarray]:
        """The coordinates on the rows and on the columns."""
        return coordinates_of(self.term.places)

    @functools.cached_property
    def coefficients(self) -> list[Node]:
        """The derivatives of c with respect to the term's parameters."""
        return gradient(self.graph, self.c, [self.graph.symbol("p", k) for k in self.term.indices("p")])

    @functools.cached_property
    def facts(self) -> tuple[Facts, Facts]:
        """What is known of f and g."""
        graph = self.graph

        def facts(factor: Factor) -> Facts:
            straight = graph.value(factor.slope)
            return Facts(
                factor.value == graph.symbol("q", 0), graph.value(factor.value),
                None if straight is None else float(straight), factor.curvature == graph.zero,
            )  # fmt: skip

        return facts(self.f), facts(self.g)

    @property
    def symmetric(self) -> bool:
        """Whether both sides are the same function of the members of one group."""
        return self.term.places.kind == "group" and self.f == self.g


@dataclass(frozen=True)
class Table:
    """A term with its places written out; columns[a] are the coordinates that local coordinate a stands for."""

    term: LocalTerm
    root: Node
    columns: tuple[np.ndarray, ...]
    positions: np.ndarray | None  # where a place's value of an array parameter stands, None for one after another
    label: str

    @property
    def graph(self) -> Graph:
        return self.term.graph

    @property
    def size(self) -> int:
        return self.term.size

    @functools.cached_property
    def parameters(self) -> list[int]:
        return self.term.indices("p")

    @functools.cached_property
    def q(self) -> list[Node]:
        return [self.graph.symbol("q", a) for a in range(self.size)]

    @functools.cached_property
    def _first(self) -> list[Node]:
        return gradient(self.graph, self.root, [*self.q, *(self.graph.symbol("p", k) for k in self.parameters)])

    @functools.cached_property
    def slopes(self) -> list[Node]:
        """E_q of each local coordinate."""
        return self._first[: self.size]

    @functools.cached_property
    def theta(self) -> list[Node]:
        """E_p of each parameter."""
        return self._first[self.size :]

    @functools.cached_property
    def hessian(self) -> list[list[Node]]:
        """E_qq."""
        return [gradient(self.graph, slope, self.q) for slope in self.slopes]

    @functools.cached_property
    def along(self) -> list[Node]:
        """The derivatives of E_q dq with respect to each coordinate and each parameter."""
        dq = [self.graph.symbol("dq", a) for a in range(self.size)]
        tension = directional(self.graph, self.slopes, dq)
        p = [self.graph.symbol("p", k) for k in self.parameters]
        return gradient(self.graph, tension, [*self.q, *p])

    @functools.cached_property
    def still(self) -> tuple[Node, Node]:
        """The slope of a site as a part without coordinates and the rest."""
        return still_part(self.graph, self.slopes[0])

    @functools.cached_property
    def symbols(self) -> list[tuple[str, int]]:
        """What the energy is made of."""
        return sorted(self.graph.symbols([self.root]))

    @functools.cached_property
    def quadratic(self) -> bool:
        """Whether the energy is at most quadratic in each coordinate by itself."""
        zero = self.graph.zero
        return all(gradient(self.graph, self.hessian[a][a], [self.q[a]]) == [zero] for a in range(self.size))

    @functools.cached_property
    def sinusoidal(self) -> bool:
        """Whether the energy is A cos(q) + B sin(q) + C in each coordinate q by itself."""
        return all(_wave(self.graph, self.slopes[a], self.hessian[a][a], self.q[a]) for a in range(self.size))


class Plan(NamedTuple):
    """All terms of an energy."""

    tables: tuple[Table, ...]
    products: tuple[Product, ...]

    @property
    def order(self) -> Literal["C", "F"]:
        """How states (B, free) stand in memory: convolutions have samples side by side."""
        return "F" if any(product.term.places.convolution is not None for product in self.products) else "C"


def plan_of(system: Definition) -> Plan:
    """The plan of a system's energy; found once."""
    if "_statics" not in system.__dict__:
        system.__dict__["_statics"] = _plan(system.terms, -1)
    return system.__dict__["_statics"]


def plan_of_costs(terms: Iterable[LocalTerm]) -> Plan:
    """The plan of costs, all as tables."""
    return Plan(tuple(_table(term, term.root) for term in terms), ())


def _plan(terms: Iterable[LocalTerm], sign: int) -> Plan:
    tables, products = [], list[Product]()
    for place, term in enumerate(terms):
        graph = term.graph
        at_rest = {graph.symbol("v", a): graph.zero for a in range(term.size)}
        (root,) = graph.substitute([term.root], at_rest)
        root = graph.sum([(root, sign)])
        if root == graph.zero:
            continue
        local = dataclasses.replace(term, root=root)
        if term.places.kind != "table" and local.indices("q") == [0, 1]:
            found = split(local)
            if found is not None:
                products += [_product(place, local, *summand) for summand in found]
                continue
        tables.append(_table(local, root))
    return Plan(tuple(tables), tuple(products))


def _table(term: LocalTerm, root: Node) -> Table:
    if term.indices("t"):
        raise invalid(term.label, "independent of the time at an equilibrium", str(term.expression))
    places = term.places
    columns = tuple(np.ascontiguousarray(column) for column in places.rows_of_coordinates().T)
    return Table(term, root, columns, None if places.kind == "table" else places.places(), term.label)


def _product(place: int, term: LocalTerm, number: Number, c: Node, f: Node, g: Node) -> Product:
    graph = term.graph
    x, z = graph.symbol("q", 0), graph.symbol("q", 1)
    (own,) = graph.substitute([g], {z: x})

    def factor(value: Node) -> Factor:
        (slope,) = gradient(graph, value, [x])
        return Factor(value, slope, gradient(graph, slope, [x])[0])

    return Product(place, term, number, c, factor(f), factor(own))


def still_part(graph: Graph, root: Node) -> tuple[Node, Node]:
    """An expression as a part without coordinates and the rest."""

    def moves(node: Node) -> bool:
        return any(kind == "q" for kind, _ in graph.symbols([node]))

    if not moves(root):
        return root, graph.zero
    head = graph.nodes[root]
    if head[0] != "sum":
        return graph.zero, root
    still = [(node, c) for node, c in head[2] if not moves(node)]
    return graph.sum(still, head[1]), graph.sum([(node, c) for node, c in head[2] if moves(node)])


# ---------------------------------------------------------------------- layers
def bent(plan: Plan, costs: Plan) -> str | None:
    """The first term that is not at most quadratic in each coordinate by itself, by its label; None if all are."""
    for table in (*plan.tables, *costs.tables):
        if not table.quadratic:
            return table.label
    for product in plan.products:
        for factor in (product.f, product.g):
            x = product.graph.symbol("q", 0)
            if gradient(product.graph, factor.curvature, [x]) != [product.graph.zero]:
                return product.term.label
    return None


def unwavy(plan: Plan, costs: Plan) -> str | None:
    """The first term that is not A cos(q) + B sin(q) + C in each coordinate q by itself, by its label."""
    for table in (*plan.tables, *costs.tables):
        if not table.sinusoidal:
            return table.label
    for product in plan.products:
        x = product.graph.symbol("q", 0)
        if not all(_wave(product.graph, f.slope, f.curvature, x) for f in (product.f, product.g)):
            return product.term.label
    return None


def _wave(graph: Graph, slope: Node, curvature: Node, q: Node) -> bool:
    """Whether the third derivative is minus the first."""
    (third,) = gradient(graph, curvature, [q])
    return graph.sum([(third, 1), (slope, 1)]) == graph.zero


def layers(plan: Plan, costs: Plan, free: np.ndarray) -> np.ndarray | None:
    """A layer for each coordinate (-1 where not free), so that no term couples two of one layer; None if impossible.

    Greedy colouring in the order of the coordinates; alternate layers of a deep network share one.
    """
    size = len(free)
    near: list[list[int]] = [[] for _ in range(size)]
    for table in (*plan.tables, *costs.tables):
        for a in range(table.size):
            for b in range(a):
                if table.columns[a].size and (table.columns[a] == table.columns[b]).any():
                    return None
                for i, j in zip(table.columns[a].tolist(), table.columns[b].tolist(), strict=True):
                    near[i].append(j)
                    near[j].append(i)
    # the colours that stand on either side of a dense coupling are forbidden on the other one
    blocks: list[list[int]] = [[] for _ in range(size)]
    seen: list[set[int]] = []
    for places in {product.place: product.term.places for product in plan.products}.values():
        rows, columns = coordinates_of(places)
        left = len(seen)
        seen += [set(), set()]
        for side, members in ((0, rows), (1, columns)):
            for i in members.tolist():
                blocks[i].append(left + side)
    colour = np.full(size, -1)
    for i in np.flatnonzero(free).tolist():
        taken = {int(colour[j]) for j in near[i]}
        for side in blocks[i]:
            taken |= seen[side ^ 1]
        choice = 0
        while choice in taken:
            choice += 1
        colour[i] = choice
        for side in blocks[i]:
            seen[side].add(choice)
    return colour


def coordinates_of(places: Places) -> tuple[np.ndarray, np.ndarray]:
    """The coordinates on both sides of a pair term."""
    count = places.shape[0] if places.convolution is None else places.convolution.rows.size
    return places.table[:count], places.table[count:]
