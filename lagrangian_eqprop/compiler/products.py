"""Pair terms as sums of products: the lowering of dense couplings to matrix products over a batch.

A pair energy that is a sum of  number * c(parameters) * f(x) * g(z)  needs no loop over pairs. With C the matrix of
the values of c, the force on x is f'(x) (C g(z)), that on z is g'(z) (C^T f(x)): one matrix product in each direction.
Springs expand, -w (x - z)^2/2 = -w x^2/2 + w x z - w z^2/2; cos(x - z) = cos x cos z + sin x sin z; a summand without
one of its sides needs sums over the rows or the columns of C alone, once a run. In a group every pair i < j occurs
once: C is strictly upper triangular, and where both directions agree they are one product with C + C^T.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..symbols.definition import Definition
from ..symbols.graph import Graph, Node, Number, plain
from ..symbols.terms import LocalTerm
from .derivatives import gradient

MANY = 256  # pairs above which a matrix product is worth its call
_SUMMANDS = 16  # of one term, above which a loop over pairs is no worse


class Summand(NamedTuple):
    """number * c(parameters) * f(x) * g(z)."""

    number: Number
    c: Node
    f: Node
    g: Node


class Part(NamedTuple):
    """A part of the force on one side of a pair term: delta(own coordinate) * (matrix of c @ feature(the others)).

    ``side`` says on which coordinates the force acts; "both" means a group's symmetric matrix. A feature that is the
    number 1 stands for sums over the matrix. Nodes are functions of ("q", 0).
    """

    c: Node
    side: str
    delta: Node
    curvature: Node  # the derivative of delta
    feature: Node
    slope: Node  # the derivative of feature


def products_of(system: Definition) -> dict[int, tuple[Part, ...]] | None:
    """The parts of all pair terms by number of the term, or None where one is no sum of products or pairs are few."""
    if "_products" not in system.__dict__:
        system.__dict__["_products"] = _products_of(system)
    return system.__dict__["_products"]


def _products_of(system: Definition) -> dict[int, tuple[Part, ...]] | None:
    found = {}
    pairs = 0
    for number, term in enumerate(system.terms):
        if term.places.kind != "table":
            summands = split(term)
            if summands is None:
                return None
            found[number] = parts(term, summands)
            pairs += term.places.count
    return found if pairs >= MANY else None


# ---------------------------------------------------------------------- expansion
def split(term: LocalTerm) -> list[Summand] | None:
    """A pair term as a sum of products; None where it is none, or a long one."""
    found = _expanded(term.graph, term.root)
    return found if found is not None and len(found) <= _SUMMANDS else None


def _expanded(graph: Graph, node: Node) -> list[Summand] | None:
    kinds = graph.symbols([node])
    x, z, p = ("q", 0) in kinds, ("q", 1) in kinds, any(kind == "p" for kind, _ in kinds)
    if any(kind not in ("q", "p") for kind, _ in kinds):
        return None
    one, head = graph.one, graph.nodes[node]
    if head[0] == "number":
        return [Summand(head[1], one, one, one)]
    if x + z + p == 1:
        return [Summand(1, node if p else one, node if x else one, node if z else one)]
    if head[0] == "sum":
        found = [Summand(head[1], one, one, one)]
        for inner, coefficient in head[2]:
            part = _expanded(graph, inner)
            if part is None:
                return None
            found += [s._replace(number=s.number*coefficient) for s in part]
        return _collected(found)
    if head[0] == "product":
        return _multiplied_out(graph, head[1])
    if head[0] in ("sin", "cos", "exp"):
        return _of_sum(graph, head[0], head[1])
    return None


def _collected(summands: Sequence[Summand]) -> list[Summand]:
    """Like summands together."""
    numbers: dict[tuple[Node, Node, Node], Number] = {}
    for number, *factors in summands:
        key = (factors[0], factors[1], factors[2])
        numbers[key] = numbers.get(key, 0) + number
    return [Summand(plain(number), *key) for key, number in numbers.items() if number != 0]


def _times(graph: Graph, left: list[Summand], right: list[Summand]) -> list[Summand]:
    return _collected([
        Summand(a.number*b.number, graph.times(a.c, b.c), graph.times(a.f, b.f), graph.times(a.g, b.g))
        for a in left for b in right
    ])  # fmt: skip


def _multiplied_out(graph: Graph, factors: Sequence[tuple[Node, Number]]) -> list[Summand] | None:
    found = [Summand(1, graph.one, graph.one, graph.one)]
    for inner, exponent in factors:
        part = _expanded(graph, inner)
        if part is None:
            return None
        if len(part) == 1 and part[0].number == 1:  # a power of a product is a product of powers
            power = [Summand(1, *(graph.product([(node, exponent)]) for node in part[0][1:]))]
        elif isinstance(exponent, int) and 1 <= exponent <= _SUMMANDS:
            power = part
            for _ in range(exponent - 1):
                power = _times(graph, power, part)
                if len(power) > _SUMMANDS:
                    return None
        else:
            return None
        found = _times(graph, found, power)
        if len(found) > _SUMMANDS:
            return None
    return found


def _of_sum(graph: Graph, function: str, argument: Node) -> list[Summand] | None:
    """sin, cos or exp of a sum of functions of one side or of parameters alone."""
    inner = _expanded(graph, argument)
    one = graph.one
    if inner is None or any(sum(node != one for node in s[1:]) > 1 for s in inner):
        return None
    sides: list[list[tuple[Node, Number]]] = [[], [], []]
    for number, *nodes in inner:
        place = next((k for k, node in enumerate(nodes) if node != one), 0)
        sides[place].append((nodes[place], number))
    parts = [(k, graph.sum(side)) for k, side in enumerate(sides) if side]

    def call(name: str, k: int, node: Node) -> list[Summand]:
        nodes = [one, one, one]
        nodes[k] = graph.call(name, node)
        return [Summand(1, *nodes)]

    (k, node), *rest = parts
    if function == "exp":
        total = call("exp", k, node)
        for k, node in rest:
            total = _times(graph, total, call("exp", k, node))
        return total
    sine, cosine = call("sin", k, node), call("cos", k, node)
    for k, node in rest:
        s, c = call("sin", k, node), call("cos", k, node)
        minus = [summand._replace(number=-summand.number) for summand in _times(graph, sine, s)]
        sine, cosine = (
            _collected(_times(graph, sine, c) + _times(graph, cosine, s)),
            _collected(_times(graph, cosine, c) + minus),
        )
    return sine if function == "sin" else cosine


# ---------------------------------------------------------------------- forces
def parts(term: LocalTerm, summands: Sequence[Summand]) -> tuple[Part, ...]:
    """The forces on both sides, with as few products as the summands allow."""
    graph = term.graph
    x, z = graph.symbol("q", 0), graph.symbol("q", 1)
    sums: dict[tuple[str, Node, Node], list[tuple[Node, Number]]] = {}
    for number, c, f, g in summands:
        (own,) = graph.substitute([g], {z: x})  # every factor as a function of the same symbol
        sums.setdefault(("rows", c, own), []).append((f, number))
        sums.setdefault(("columns", c, f), []).append((own, number))
    found: dict[tuple[Node, Node, Node], list[str]] = {}
    for (side, c, feature), factors in sums.items():
        (delta,) = gradient(graph, graph.sum(factors), [x])
        if delta != graph.zero:
            found.setdefault((c, delta, feature), []).append(side)
    result = []
    for (c, delta, feature), sides in found.items():
        (curvature,), (slope,) = gradient(graph, delta, [x]), gradient(graph, feature, [x])
        merged = ["both"] if len(sides) == 2 and term.places.kind == "group" else sides
        result += [Part(c, side, delta, curvature, feature, slope) for side in merged]
    return tuple(result)
