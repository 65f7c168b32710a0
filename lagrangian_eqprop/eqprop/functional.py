"""Losses of velocities and of integrals: any functional of the path, brought back to a cost of positions.

A loss C(q_0, ..., q_N; theta) that is no sum over nodes of functions of q_k alone nudges with the forces

    s_k = dC/dq_k,    and    dJ/dtheta = d_beta(-S_theta) + C_theta

Since only the first order in beta counts, the nudge beta*C may be replaced by beta*sum s_k q_k with s held fixed on the
free path: a cost of positions, whose gradient every estimator and boundary condition already gives (the linearised
nudge, Pourcel et al. 2025, arXiv:2506.06248). A velocity at a node is that of its momentum,

    p_k = L_v(q_k, v_k),    p_k = -D_1 L_d(q_k, q_{k+1}) = +D_2 L_d(q_{k-1}, q_k)

so that c(q_k, v_k) depends on two neighbouring nodes and, through both equations, on the parameters: with
a = c_v L_vv^-1 it is dc = c_q dq + c_theta dtheta + a dp - a L_vq dq - a L_v,theta dtheta.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sympy as sp
from numpy import ndarray
from sympy.physics.mechanics import dynamicsymbols

from ..boundary import Boundary, Ends, Equilibrium, Periodic
from ..compiler.derivatives import gradient as derivatives
from ..errors import invalid
from ..grid import Grid
from ..solvers import limits
from ..solvers.nodes import Nodes, add_at, chunk
from ..solvers.problem import Problem
from ..solvers.slopes import Slopes, along_intervals, along_nodes
from ..symbols.cost import Cost, IntegralCost
from ..symbols.definition import Definition, lookup
from ..symbols.evaluate import evaluate
from ..symbols.terms import LocalTerm
from ..thermal import Thermal
from . import gradient as plain
from .result import Gradient
from .trajectories import trajectory

_x, _s = dynamicsymbols("x"), sp.Dummy("s")


def gradient(
    system: Definition, boundary: Boundary | Equilibrium | Thermal, grid: Grid | None = None, cost: Any = None, *,
    targets: Any = None, inputs: Any = None, parameters: Any = None, method: str | None = None,
    order: int | None = None, compiled: bool = True, **options: Any,
) -> Gradient:  # fmt: skip
    """See :meth:`lagrangian_eqprop.System.gradient`."""
    given = {"inputs": inputs, "parameters": parameters, "method": method, "order": order, "compiled": compiled}
    costs = [cost] if isinstance(cost, (Cost, IntegralCost)) else cost
    listed = isinstance(costs, (list, tuple)) and len(costs) > 0
    if grid is not None and listed and all(isinstance(one, (Cost, IntegralCost)) for one in costs):
        losses = Losses(system, grid, costs, {} if targets is None else targets, given)
        if losses.needed:
            return _functional(losses, boundary, options)
    return plain.gradient(system, boundary, grid, cost, targets=targets, **given, **options)


class Losses:
    """Costs as functions of integrals: the densities in one list, and what is made of them."""

    def __init__(
        self, system: Definition, grid: Grid, costs: Sequence[Cost | IntegralCost], targets: Mapping[Any, Any],
        given: dict[str, Any],
    ) -> None:  # fmt: skip
        self.system, self.grid, self.costs, self.given = system, grid, costs, given
        self.densities: list[Cost] = []
        for cost in costs:
            self.densities += [cost] if isinstance(cost, Cost) else cost.integrals.values()
        composed = [cost for cost in costs if isinstance(cost, IntegralCost)]
        self.needed = bool(composed) or any(isinstance(d, Cost) and d.sees_velocities for d in self.densities)
        outer = [symbol for cost in composed for symbol in cost.targets]
        self.outer: dict[sp.Symbol, ndarray] = {}
        self.inner: dict[Any, Any] = {}
        if self.needed:
            if not isinstance(targets, Mapping):
                raise invalid("targets", "a mapping of Symbols or names to values", type(targets).__name__)
            names = {symbol.name: symbol for symbol in outer}
            for key, value in targets.items():
                symbol = key if key in outer else names.get(key)
                if symbol is None:
                    self.inner[key] = value
                else:
                    self.outer[symbol] = _per_sample(f"targets[{symbol.name}]", value)
            for symbol in outer:
                if symbol not in self.outer:
                    raise invalid(f"targets[{symbol.name}]", "given", "nothing")

    def problem(self) -> Problem:
        return Problem(self.system, self.grid, self.densities, targets=self.inner, seeing=True, **self.given)

    def combined(self, integrals: ndarray) -> tuple[ndarray, ndarray]:
        """Losses (B,) of the integrals (densities, B), and their derivatives with respect to these."""
        total, slopes, at = np.zeros(integrals.shape[1]), np.ones(integrals.shape), 0
        for cost in self.costs:
            if isinstance(cost, Cost):
                total += integrals[at]
                at += 1
                continue
            count, graph = len(cost.integrals), cost.graph
            leaves: dict[tuple[str, int], Any] = {("q", k): integrals[at + k] for k in range(count)}
            leaves.update({("y", k): self.outer[symbol] for k, symbol in enumerate(cost.targets)})
            roots = [cost.root, *derivatives(graph, cost.root, [graph.symbol("q", k) for k in range(count)])]
            value, *parts = evaluate(graph, roots, leaves)
            total += value
            slopes[at : at + count] = np.stack([np.broadcast_to(part, total.shape) for part in parts])
            at += count
        return total, slopes


def _per_sample(name: str, value: Any) -> ndarray:
    try:
        array = np.asarray(value, float)
    except (TypeError, ValueError) as error:
        raise invalid(name, "a number or one value a sample", repr(value)) from error
    if array.ndim > 1 or not np.isfinite(array).all():
        raise invalid(name, "a finite number or one value a sample, (B,)", f"shape {array.shape}")
    return array


def _functional(losses: Losses, boundary: Any, options: dict[str, Any]) -> Gradient:
    limits.refuse(losses.system, "the cost", "a velocity or an integral in it", "a lep.Cost of coordinates")
    problem, system, grid = losses.problem(), losses.system, losses.grid
    if problem.method.name not in ("verlet", "midpoint"):
        must = "'verlet' or 'midpoint' for costs of velocities or integrals"
        raise invalid("method", must, repr(problem.method.name))
    if isinstance(boundary, Periodic) or isinstance(boundary, Ends) and boundary.potentials:
        must = "lep.Initial, or lep.Ends without potentials, for costs of velocities or integrals"
        raise invalid("boundary", must, type(boundary).__name__)
    stepping = {key: options[key] for key in ("stability", "progress", "on_failure") if key in options}
    own = {key: value for key, value in (losses.given["parameters"] or {}).items()
           if lookup(key, problem.values, "parameters") in system.parameters}  # fmt: skip
    given = {**losses.given, "parameters": own}
    free = trajectory(
        system, boundary, grid, cost=None, nudge=0.0, save="all", targets=None, dtype=float, threads=None, stages=None,
        **{"stability": "check", "progress": False, "on_failure": "raise", **stepping}, **given,
    )  # fmt: skip
    good = np.atleast_1d(free.success)
    batched = free.q.ndim == 3
    q, v = (value if batched else value[None] for value in (free.q, free.v))
    for name, value in losses.outer.items():
        if value.ndim and len(value) not in (1, len(q)):
            raise invalid(f"targets[{name}]", f"a number or of shape ({len(q)},)", f"shape {value.shape}")
    q, v = (np.where(good[:, None, None], value, value[good][:1]) for value in (q, v))
    total, factors = losses.combined(_integrals(problem, q, v))
    slopes = _slopes(problem, q, v, np.where(good, factors, 0.0))
    source = slopes.q if batched else slopes.q[0]
    push = Cost(_x*_s, targets=[_s], on=[_x], at=np.arange(system.size), weights=np.ones(grid.steps + 1))
    found = plain.gradient(system, boundary, grid, push, targets={_s: source}, **given, **options)
    good = good & np.atleast_1d(found.success)
    count = int(good.sum())
    explicit = problem.shaped(slopes.theta, len(q) if batched else None, count)
    nothing = {symbol: np.zeros_like(value) for symbol, value in explicit.items()}
    parts = {symbol: explicit[symbol] + found.parameters.get(symbol, nothing[symbol]) for symbol in explicit}
    shown = np.where(good, total, np.nan)
    return dataclasses.replace(
        found, loss=float(total[good].mean()), losses=shown if batched else shown[0], parameters=parts,
    )  # fmt: skip


def _integrals(problem: Problem, q: ndarray, v: ndarray) -> ndarray:
    """The integrals of all densities, (densities, B)."""
    weights, found = problem.weights(0, q.shape[1]), np.zeros((len(problem.costs), len(q)))
    for part in _chunks(problem, q):
        nodes = Nodes(problem, np.arange(part.start, part.stop))
        for row, w, term in zip(found, weights, problem.bound.terms, strict=True):
            (value,) = evaluate(term.graph, [term.root], nodes.leaves(term, q[:, part], v[:, part]))
            full = np.broadcast_to(value, (len(q), part.stop - part.start, len(term.places.rows_of_coordinates())))
            row += np.einsum("bnp,n->b", full, w[part])
    return found


def _slopes(problem: Problem, q: ndarray, v: ndarray, factors: ndarray) -> Slopes:
    """The derivatives of the loss with respect to the nodes and, directly, to the parameters."""
    slopes, weights = Slopes(problem, len(q)), problem.weights(0, q.shape[1])
    a = np.zeros_like(q)  # what the loss owes to the nodal momenta
    for part in _chunks(problem, q):
        labels = np.arange(part.start, part.stop)
        nodes, x, u = Nodes(problem, labels), q[:, part], v[:, part]
        cq, cv = np.zeros_like(x), np.zeros_like(x)
        for number, term in enumerate(problem.bound.terms):
            scale = factors[number][:, None, None]*weights[number, part][:, None]
            values = evaluate(term.graph, _roots(term), nodes.leaves(term, x, u))
            for k in range(term.size):
                add_at(cq, term.places, k, scale*values[k])
                add_at(cv, term.places, k, scale*values[term.size + k])
            for k, value in zip(term.indices("p"), values[2*term.size :], strict=True):
                slopes.add_parameter(term, k, scale*value)
        slopes.q[:, part] += cq
        if cv.any():
            if problem.method.explicit:
                a[:, part] = cv/nodes.mass_diagonal(x, u)
            else:
                a[:, part] = np.linalg.solve(nodes.mass(x, u), cv[..., None])[..., 0]
            slopes.q[:, part] += along_nodes(slopes, labels, x, u, np.zeros_like(x), -a[:, part], 1.0)[0]
    if a.any():
        after = np.zeros_like(a[:, 1:])
        after[:, -1] = a[:, -1]
        along_intervals(slopes, q, -a[:, :-1], after)
    return slopes


def _roots(term: LocalTerm) -> list[Any]:
    """The derivatives of a density by coordinates, velocities and parameters."""
    if "_functional" not in term.__dict__:
        graph, size = term.graph, range(term.size)
        symbols = [graph.symbol(kind, k) for kind in ("q", "v") for k in size]
        symbols += [graph.symbol("p", k) for k in term.indices("p")]
        term.__dict__["_functional"] = derivatives(graph, term.root, symbols)
    return term.__dict__["_functional"]


def _chunks(problem: Problem, q: ndarray) -> list[slice]:
    length = chunk(problem, len(q))
    return [slice(low, min(low + length, q.shape[1])) for low in range(0, q.shape[1], length)]
