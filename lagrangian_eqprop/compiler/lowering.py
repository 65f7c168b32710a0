"""Stage 2, lowering: which local expressions each function of the contract needs, term by term.

A network is never expanded: a term becomes a straight-line function of its own few coordinates, and a
loop over its places that adds the results where they belong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..symbols.graph import Node
from ..symbols.terms import LocalTerm
from .derivatives import directional, gradient


@dataclass(frozen=True)
class Result:
    """One value of a straight-line function and where the loop adds it.

    ``array`` names the array; ``rows`` are local coordinates: (a,) for a vector, (a, b) for a matrix;
    ``parameter`` is set instead for an array laid out like theta; neither for a sum that is returned.
    """

    node: Node
    array: str = ""
    rows: tuple[int, ...] = ()
    parameter: int | None = None


@dataclass(frozen=True)
class LoopFunction:
    """A function of the contract: its arguments and, for each term, the results."""

    name: str
    arguments: tuple[str, ...]
    returns: bool
    results: tuple[tuple[LocalTerm, tuple[Result, ...]], ...]
    weighted: bool = False  # every result times the weight of cost number = term number
    scaled: bool = False  # the results for parameters (costs: all) times the argument "weight"


class Local:
    """The symbols and derivatives of one term."""

    def __init__(self, term: LocalTerm) -> None:
        self.term, self.graph, self.root = term, term.graph, term.root
        every = range(term.size)
        self.q, self.v, self.dq, self.dv = (
            [self.graph.symbol(kind, a) for a in every] for kind in ("q", "v", "dq", "dv")
        )
        self.parameters = term.indices("p")
        self.p = [self.graph.symbol("p", k) for k in self.parameters]

    def slopes(self, root: Node | None = None) -> tuple[list[Node], list[Node], list[Node]]:
        """Derivatives with respect to q, v and the parameters, by one sweep."""
        size = self.term.size
        parts = gradient(self.graph, self.root if root is None else root, [*self.q, *self.v, *self.p])
        return parts[:size], parts[size : 2 * size], parts[2 * size :]

    def pulls(self) -> list[Node]:
        """L_q, or the forces of a term that has them: what pushes the coordinates."""
        forces, graph = self.term.forces, self.graph
        if forces is None:
            return self.slopes()[0]
        if forces.rayleigh:
            return [graph.sum([(slope, -1)]) for slope in gradient(graph, forces.root, self.v)]
        return gradient(graph, forces.root, [graph.symbol("w", a) for a in range(self.term.size)])

    def at_rest(self) -> Local:
        """The same term with its velocities set to zero."""
        (root,) = self.graph.substitute([self.root], dict.fromkeys(self.v, self.graph.zero))
        rest = Local(self.term)
        rest.root = root
        return rest

    def masses(self) -> list[Node]:
        """The diagonal of L_vv."""
        _, momenta, _ = self.slopes()
        return [gradient(self.graph, part, [v])[0] for part, v in zip(momenta, self.v, strict=True)]

    def vector(self, array: str, nodes: Sequence[Node]) -> list[Result]:
        return [Result(node, array, (a,)) for a, node in enumerate(nodes)]

    def theta(self, nodes: Sequence[Node]) -> list[Result]:
        return [Result(node, "g", (), k) for k, node in zip(self.parameters, nodes, strict=True)]


def _lagrangian(local: Local) -> list[Result]:
    return [Result(local.root)]


def _gradient(local: Local) -> list[Result]:
    return local.vector("Lq", local.pulls()) + local.vector("Lv", local.slopes()[1])


def _hessian(local: Local) -> list[Result]:
    graph, size = local.graph, local.term.size
    coefficients = [graph.symbol(name) for name in ("cqq", "cqv", "cvq", "cvv")]
    rows = [gradient(graph, part, [*local.q, *local.v]) for part in [*local.pulls(), *local.slopes()[1]]]
    found = []
    for a in range(size):
        for b in range(size):
            blocks = (rows[a][b], rows[a][size + b], rows[size + a][b], rows[size + a][size + b])
            found.append(Result(directional(graph, blocks, coefficients), "H", (a, b)))
    return found


def _response(local: Local) -> list[Result]:
    along = directional(local.graph, [*local.pulls(), *local.slopes()[1]], [*local.dq, *local.dv])
    rq, rv, theta = local.slopes(along)
    return local.vector("rq", rq) + local.vector("rv", rv) + local.theta(theta)


def _parameters(local: Local) -> list[Result]:
    return local.theta(local.slopes()[2])


def _mass(local: Local) -> list[Result]:
    return local.vector("m", local.masses())


def _mass_parameters(local: Local) -> list[Result]:
    graph = local.graph
    total = directional(graph, local.masses(), [graph.symbol("a", i) for i in range(local.term.size)])
    return local.theta(gradient(graph, total, local.p))


def _force(local: Local) -> list[Result]:
    return local.vector("F", local.at_rest().slopes()[0])


def _force_response(local: Local) -> list[Result]:
    rest = local.at_rest()
    force = rest.slopes()[0]
    response, _, theta = rest.slopes(directional(local.graph, force, local.dq))
    return local.vector("F", force) + local.vector("dF", response) + local.theta(theta)


def _potential_parameters(local: Local) -> list[Result]:
    return local.theta(local.at_rest().slopes()[2])


def _constraint(local: Local) -> list[Result]:
    """The multiplier is the last local coordinate, and the term is linear in it."""
    last = local.term.size - 1
    value = gradient(local.graph, local.root, [local.q[last]])[0]
    rows = gradient(local.graph, value, local.q[:last])
    return [Result(value, "F", (last,)), *(Result(node, "H", (last, a)) for a, node in enumerate(rows))]


def _cost_gradient(local: Local) -> list[Result]:
    return local.vector("F", local.slopes()[0])


def _cost_hessian(local: Local) -> list[Result]:
    rows = [gradient(local.graph, part, local.q) for part in local.slopes()[0]]
    return [Result(node, "H", (a, b)) for a, row in enumerate(rows) for b, node in enumerate(row)]


def _cost_response(local: Local) -> list[Result]:
    along = directional(local.graph, local.slopes()[0], local.dq)
    response, _, theta = local.slopes(along)
    return local.vector("r", response) + local.theta(theta)


_Rule = tuple[str, Callable[[Local], list[Result]]]
ANY: dict[str, _Rule] = {
    "lagrangian": ("env b j t q v", _lagrangian),
    "gradient": ("env b j t q v Lq Lv", _gradient),
    "hessian": ("env b j t q v cqq cqv cvq cvv H", _hessian),
    "response": ("env b j t q v dq dv rq rv g weight", _response),
    "parameters": ("env b j t q v g weight", _parameters),
}
SEPARABLE: dict[str, _Rule] = {
    "mass": ("env b m", _mass),
    "mass_parameters": ("env b a g weight", _mass_parameters),
    "force": ("env b j t q F", _force),
    "force_response": ("env b j t q dq F dF g weight", _force_response),
    "potential_parameters": ("env b j t q g weight", _potential_parameters),
}
CONSTRAINT: dict[str, _Rule] = {"constraint": ("env b j t q F H", _constraint)}
COST: dict[str, _Rule] = {
    "cost": ("env b j t q", _lagrangian),
    "cost_gradient": ("env b j t q F weight", _cost_gradient),
    "cost_hessian": ("env b j t q weight H", _cost_hessian),
    "cost_parameters": ("env b j t q g weight", _parameters),
    "cost_response": ("env b j t q dq r g weight", _cost_response),
}


def lower(
    terms: Sequence[LocalTerm], costs: Sequence[LocalTerm], separable: bool, constraints: Sequence[LocalTerm] = ()
) -> list[LoopFunction]:
    """The functions of the contract for a system, its constraints and its costs."""
    functions = []
    of_system = {**ANY, **SEPARABLE} if separable else ANY
    groups = [(of_system, (*terms, *constraints), False), (COST, costs, True)]
    if constraints:
        groups.insert(1, (CONSTRAINT, (*terms, *constraints), False))
    for rules, members, weighted in groups:
        for name, (arguments, rule) in rules.items():
            results = []
            for number, term in enumerate(members):
                local = Local(term)
                if rules is not COST and name in SEPARABLE and term.bare is not None:
                    local.root = term.bare  # weighed by the method (``methods.verlet_weighted``)
                found = [] if rules is CONSTRAINT and number < len(terms) else rule(local)
                zero = term.graph.zero
                results.append((term, tuple(result for result in found if result.node != zero)))
            given = tuple(arguments.split())
            functions.append(
                LoopFunction(name, given, name in ("lagrangian", "cost"), tuple(results), weighted, "weight" in given)
            )
    return functions
