"""How the action and the cost depend on the step: derivatives by the period T = N h of a closed path.

At fixed nodes, and with inputs and targets fixed there, an interval is a sum over points of c h L(Q, V, t_0 + s) with
V = (y - x)/h and s the time passed, a multiple of h. So

    d_h [h L] = L - V L_v + s L_t =: G,

minus the energy where L does not depend on time (Marsden and West 2001, section 1.3, energy of a discrete path). With
d_h V = -V/h and d_h s = s/h all further derivatives are those of G. They are wanted once a path, so nothing is
compiled for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import ndarray

from ..compiler.derivatives import gradient
from ..symbols.evaluate import evaluate
from ..symbols.graph import Node
from ..symbols.terms import LocalTerm
from .problem import Problem


@dataclass
class ByStep:
    """The derivatives of S_d, or of the cost, by the step h, and of that by nodes, by h and by theta."""

    h: Any
    hq: ndarray  # (N+1, d)
    hh: Any
    htheta: ndarray  # laid out like theta


@dataclass
class Points:
    """Where terms are evaluated: labels, times passed over h, positions, velocities and weights."""

    labels: ndarray
    where: str
    tau: ndarray
    q: ndarray
    v: ndarray | None
    weight: ndarray


def action_by_step(problem: Problem, b: int, q: ndarray, h: Any, theta: ndarray) -> ByStep:
    """Of S_d along the nodes q (N+1, d) of sample b."""
    count = len(q) - 1
    k, v = np.arange(count), (q[1:] - q[:-1])/h
    if problem.method.labels == "middles":
        shares = np.full((2, count), 0.5)
        points = Points(k, "middles", k + 0.5, 0.5*(q[1:] + q[:-1]), v, np.ones(count))
        x = k
    else:
        shares = np.repeat(np.eye(2), count, 1)
        points = Points(
            np.append(k, k + 1), "nodes", np.append(k, k + 1.0), np.append(q[:-1], q[1:], 0), np.append(v, v, 0),
            np.full(2*count, 0.5),
        )  # fmt: skip
        x = np.append(k, k)
    h_, by_q, by_v, by_time, htheta = _sum(problem, _energies(problem), b, points, h, theta)
    hq = np.zeros(q.shape, by_q.dtype)
    np.add.at(hq, x, shares[0][:, None]*by_q - by_v/h)
    np.add.at(hq, x + 1, shares[1][:, None]*by_q + by_v/h)
    assert points.v is not None
    return ByStep(h_, hq, (by_time*points.tau).sum() - (by_v*points.v).sum()/h, htheta)


def cost_by_step(problem: Problem, b: int, q: ndarray, h: Any, theta: ndarray) -> ByStep:
    """Of J along the nodes q; second derivatives are those of costs that do not depend on time."""
    k, base = np.arange(len(q)), problem.weights(0, len(q))
    kind = np.result_type(q, theta)
    total = ByStep(0.0, np.zeros(q.shape, kind), 0.0, np.zeros(theta.shape, kind))
    for number, (cost, term) in enumerate(zip(problem.costs, problem.bound.terms, strict=True)):
        scales = cost.weights is None and cost.when == "path"  # w_k is proportional to h
        rate = base[number]/problem.grid.step
        points = Points(k, "nodes", k.astype(float), q, None, rate if scales else base[number])
        value, by_q, _, by_time, by_theta = _sum(problem, [(term, _cost_roots(problem, term))], b, points, h, theta)
        passed = h if scales else 1.0
        total.h = total.h + passed*(by_time*k).sum()
        if scales:
            total.h = total.h + value
            total.hq += by_q
            total.htheta += by_theta
    return total


def depends_on_time(problem: Problem, costs: bool) -> str:
    """What depends on time by itself, a term or an input, or "" where nothing does."""
    terms = (*problem.system.terms, *(problem.bound.terms if costs else ()))
    for term in terms:
        if term.indices("t"):
            return term.label
    nodes = np.arange(problem.grid.steps + 1)
    for signal in problem.inputs.signals:
        values = signal.sampled(nodes, "nodes")
        if np.ptp(values, axis=1).max() > 0.0:
            return signal.name
    return ""


Roots = list[Node]


def _energies(problem: Problem) -> list[tuple[LocalTerm, Roots]]:
    """G of each term with its derivatives by q, v, time and parameters; derived once a system."""
    kept: dict[str, Any] = problem.system.__dict__
    if "_by_step" not in kept:
        kept["_by_step"] = []
        for term in problem.system.terms:
            graph, v = term.graph, [term.graph.symbol("v", a) for a in range(term.size)]
            passed, time = graph.symbol("s"), graph.symbol("t")
            *momenta, rate = gradient(graph, term.root, [*v, time])
            parts = [(graph.times(p, w), -1) for p, w in zip(momenta, v, strict=True)]
            root = graph.sum([(term.root, 1), *parts, (graph.times(passed, rate), 1)])
            kept["_by_step"].append((term, _slopes(term, root, [passed, time])))
    return kept["_by_step"]


def _cost_roots(problem: Problem, term: LocalTerm) -> Roots:
    kept: dict[int, Roots] = problem.bound.__dict__.setdefault("_by_step", {})
    if id(term) not in kept:
        kept[id(term)] = _slopes(term, term.root, [term.graph.symbol("t")])
    return kept[id(term)]


def _slopes(term: LocalTerm, root: Node, times: Sequence[Node]) -> Roots:
    """The root and its derivatives by local q, v, time and parameters."""
    graph = term.graph
    q, v = ([graph.symbol(kind, a) for a in range(term.size)] for kind in "qv")
    p = [graph.symbol("p", k) for k in term.indices("p")]
    found = gradient(graph, root, [*q, *v, *times, *p])
    at, end = 2*term.size, 2*term.size + len(times)
    return [root, *found[:at], graph.sum([(time, 1) for time in found[at:end]]), *found[end:]]


def _sum(
    problem: Problem, terms: Sequence[tuple[LocalTerm, Roots]], b: int, points: Points, h: Any, theta: ndarray
) -> tuple[Any, ndarray, ndarray, ndarray, ndarray]:
    """Weighted sums over points of the roots; by q, v and time they are kept apart."""
    dtype = np.result_type(points.q, theta, type(h), float)
    total, by_theta = np.zeros((), dtype), np.zeros(theta.shape, dtype)
    by_q, by_v = np.zeros(points.q.shape, dtype), np.zeros(points.q.shape, dtype)
    by_time = np.zeros(len(points.q), dtype)
    for term, roots in terms:
        rows, places, size = term.places.rows_of_coordinates(), term.places.places(), term.size
        values = [
            points.weight[:, None]*np.broadcast_to(value, (len(points.q), len(rows)))
            for value in evaluate(term.graph, roots, leaves_at(problem, term, b, points, h, theta))
        ]
        total += values[0].sum()
        for a in range(size):
            np.add.at(by_q.T, rows[:, a], values[1 + a].T)
            np.add.at(by_v.T, rows[:, a], values[1 + size + a].T)
        by_time += values[1 + 2*size].sum(1)
        for k, value in zip(term.indices("p"), values[2 + 2*size :], strict=True):
            offset, stride, step = problem.theta_layout[k]
            np.add.at(by_theta, offset + stride*b + step*places, value.sum(0))
    return total[()], by_q, by_v, by_time, by_theta


def leaves_at(
    problem: Problem, term: LocalTerm, b: int, points: Points, h: Any, theta: ndarray
) -> dict[tuple[str, int], Any]:
    """The values of a term's symbols, (points, places)."""
    passed = points.tau[:, None]*h
    leaves: dict[tuple[str, int], Any] = {("t", 0): problem.grid.start + passed, ("s", 0): passed}
    for a in range(term.size):
        column = term.places.columns[a]
        leaves["q", a] = points.q[:, column]
        if points.v is not None:
            leaves["v", a] = points.v[:, column]
    for k in term.indices("p"):
        offset, stride, step = problem.theta_layout[k]
        leaves["p", k] = theta[offset + stride*b + step*term.places.places()]
    for kind, signals in (("u", problem.inputs.signals), ("y", problem.targets.signals)):
        for k in term.indices(kind):
            array = signals[k].sampled(points.labels, points.where)
            array = array[b if len(array) > 1 else 0]
            leaves[kind, k] = array[:, term.places.places()] if array.shape[1] > 1 else array
    return leaves
