"""Natural ends with a potential: the action S_d + W_0(q_0) + W_N(q_N), stationary in its ends too.

So P_0 = dW_0(q_0) and P_N = -dW_N(q_N) (conditions of Robin type; Bolza's problem); W = 0 is the natural end. W belongs
to the action, so that no boundary term is left and its parameters are trained like those of the Lagrangian,
dJ/dtheta = d_beta(-S_theta - W_theta).

W is wanted at two nodes only, so nothing is compiled for it, and paths are found one by one (``twopoint_search``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy import ndarray

from ..boundary import Ends
from ..compiler.derivatives import gradient
from ..errors import invalid
from ..symbols.evaluate import evaluate
from .period import Points, leaves_at
from .problem import Problem
from .twopoint_search import State, TwoPoint


@dataclass
class Potential:
    """W at one end: its number among the costs of the problem, and its node, 0 or -1."""

    problem: Problem
    number: int
    node: int

    def roots(self) -> list[Any]:
        """W, its slopes by q, its slopes by parameters, and for each q the slopes of dW/dq by q and by parameters."""
        term = self.problem.bound.terms[self.number]
        kept: dict[int, list[Any]] = self.problem.bound.__dict__.setdefault("_potentials", {})
        if self.number not in kept:
            graph = term.graph
            q = [graph.symbol("q", a) for a in range(term.size)]
            both = [*q, *(graph.symbol("p", k) for k in term.indices("p"))]
            slopes = gradient(graph, term.root, both)
            second = [root for slope in slopes[: len(q)] for root in gradient(graph, slope, both)]
            kept[self.number] = [term.root, *slopes, *second]
        return kept[self.number]

    def at(self, b: int, q: ndarray, theta: ndarray) -> tuple[Any, ndarray, ndarray, ndarray, ndarray]:
        """W, W_q (d,), W_qq (d, d), W_theta and W_q,theta (d, theta) at the node's position (d,)."""
        problem, d = self.problem, len(q)
        term = problem.bound.terms[self.number]
        label = np.array([0 if self.node == 0 else problem.grid.steps])
        points = Points(label, "nodes", label.astype(float), q[None], None, np.ones(1))
        rows, places, size, known = (
            term.places.rows_of_coordinates(), term.places.places(), term.size, term.indices("p")
        )  # fmt: skip
        roots = self.roots()
        leaves = leaves_at(problem, term, b, points, problem.grid.step, theta)
        values = [np.broadcast_to(v, (1, len(rows)))[0] for v in evaluate(term.graph, roots, leaves)]
        kind = np.result_type(q, theta)
        slope, hessian = np.zeros(d, kind), np.zeros((d, d), kind)
        by_theta, mixed = np.zeros(len(theta), kind), np.zeros((d, len(theta)), kind)
        at = [offset + stride*b + step*places for offset, stride, step in problem.theta_layout[known]]
        width = size + len(known)
        for a in range(size):
            np.add.at(slope, rows[:, a], values[1 + a])
            second = values[1 + width + a*width :]
            for c in range(size):
                np.add.at(hessian, (rows[:, a], rows[:, c]), second[c])
            for c, column in enumerate(at):
                np.add.at(mixed, (rows[:, a], column), second[size + c])
        for c, column in enumerate(at):
            np.add.at(by_theta, column, values[1 + size + c])
        return values[0].sum(), slope, hessian, by_theta, mixed


class Robin(TwoPoint):
    """The discrete action of one problem with potentials at its natural ends."""

    def __init__(self, problem: Problem, boundary: Ends) -> None:
        super().__init__(problem, boundary)
        if problem.method.name not in ("verlet", "midpoint"):
            must = "'verlet' or 'midpoint' without order for ends with potentials"
            raise invalid("method", must, repr(problem.method.name))
        first = len(problem.costs) - len(boundary.potentials)
        self.potentials = tuple(
            Potential(problem, first + k, node) for k, node in enumerate(boundary.potentials)
        )  # fmt: skip

    def value(self, b: int, q: ndarray, beta: float) -> float:
        added = sum(w.at(b, q[w.node], self.env.theta)[0] for w in self.potentials)
        return super().value(b, q, beta) + float(added)

    def state(self, b: int, q: ndarray, beta: complex, source: ndarray | None = None) -> State:
        here = super().state(b, q, beta, source)
        residual = here.residual.copy()
        with np.errstate(all="ignore"):
            for w in self.potentials:
                residual[w.node] += w.at(b, q[w.node], self.env.theta)[1]
            size = float(np.abs(residual).max())
        return replace(here, residual=residual, size=size if np.isfinite(size) else np.inf)

    def hessian(self, b: int, q: ndarray, beta: complex) -> tuple[ndarray, ndarray]:
        diagonal, upper = super().hessian(b, q, beta)
        for w in self.potentials:
            diagonal[w.node] += w.at(b, q[w.node], self.env.theta)[2]
        return diagonal, upper

    def add_parameters(self, b: int, q: ndarray, weight: complex, g: ndarray) -> None:
        for w in self.potentials:
            g -= weight*w.at(b, q[w.node], self.env.theta)[3]

    def add_response(self, b: int, q: ndarray, dq: ndarray, g: ndarray) -> None:
        for w in self.potentials:
            g -= dq[w.node] @ w.at(b, q[w.node], self.env.theta)[4]


def two_point(problem: Problem, boundary: Ends) -> TwoPoint:
    """The problem between two ends, with potentials or without."""
    return Robin(problem, boundary) if boundary.potentials else TwoPoint(problem, boundary)
