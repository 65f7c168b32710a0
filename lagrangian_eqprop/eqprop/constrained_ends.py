"""Two-point problems of constrained systems: the multipliers are coordinates of the nodes too.

With L + lambda g and coordinates (q, lambda), Verlet's action of the wider system is stationary where
D_2 L_d + D_1 L_d + h G^T lambda_k = 0 and h g(q_k) = 0: the constrained path, whose Newton matrix is the KKT matrix.
Each constraint at a free node gives it one negative eigenvalue beyond those of the Hessian on the tangent space, so the
Morse index is its inertia less their number (Gould, Math. Program. 32 (1985)). The multipliers of fixed ends are zero:
an end moves along the constraint alone, and with the parameters in it along the normals (see ``rattle_start``).
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
from numpy import ndarray

from ..boundary import Ends, check_width
from ..errors import ConvergenceError, invalid
from ..solvers.constrained import TOLERANCE, project
from ..solvers.problem import Problem
from ..solvers.twopoint import Paths, TwoPoint, as_trajectory, solve
from ..symbols.constraints import widened
from .radius import Parts


class ConstrainedEnds:
    """The wider problem of a constrained one between two ends.

    Parameters
    ----------
    problem, wider : Problem
        The constrained problem, and that of the system of :func:`~lagrangian_eqprop.symbols.constraints.widened`.
    boundary : Ends
        Its fixed ends must lie on the constraint.
    """

    def __init__(self, problem: Problem, wider: Problem, boundary: Ends) -> None:
        self.problem, self.wider, self.given = problem, wider, boundary
        d, steps, guess = problem.system.size, problem.grid.steps, boundary.guess
        if guess is not None:
            check_width("guess", guess, d)
        batch = problem.batch_of(
            {"q_start": boundary.q_start, "q_stop": boundary.q_stop,
             "guess": None if guess is None or guess.ndim == 2 else guess[:, 0]}
        )  # fmt: skip
        self.samples = batch or 1
        self.ends: dict[str, tuple[ndarray, ndarray, ndarray]] = {}  # given, on the constraint, multipliers
        for name, end in (("q_start", boundary.q_start), ("q_stop", boundary.q_stop)):
            if end is not None:
                self.ends[name] = self._end(name, end)
        if guess is None:
            line = TwoPoint(wider, Ends(self._state("q_start"), self._state("q_stop"))).guesses()
            for k in range(steps + 1):
                try:
                    line[:, k, :d] = self._projected(line[:, k, :d])[0]
                except (ConvergenceError, ValueError) as error:
                    text = "the straight line between the ends has no near path on the constraint; give guess="
                    raise ConvergenceError(text) from error
            guess = line
        else:
            guess = np.concatenate([guess, np.zeros((*guess.shape[:-1], problem.system.multipliers))], -1)
        if batch is None and guess.ndim == 3:
            guess = guess[0]
        start, stop = (self._state(name) for name in ("q_start", "q_stop"))
        if batch is None:
            start, stop = (None if state is None else state[0] for state in (start, stop))
        self.boundary = Ends(start, stop, guess=guess)

    def _projected(self, q: ndarray) -> tuple[ndarray, ndarray, ndarray]:
        """Positions on the constraint, multipliers, and how far they moved."""
        moved = np.array(q, order="C")
        mu, far, _ = project(self.problem, moved, np.zeros_like(moved))
        return moved, mu, far

    def _end(self, name: str, end: ndarray) -> tuple[ndarray, ndarray, ndarray]:
        check_width(name, end, self.problem.system.size)
        given = np.array(np.broadcast_to(end, (self.samples, end.shape[-1])), order="C")
        x, mu, far = self._projected(given)
        for b in np.flatnonzero(far > TOLERANCE*np.abs(given).max(1)):
            raise invalid(name, "on the constraint", f"sample {b} that misses it by {far[b]:.1e}")
        return given, x, mu

    def _state(self, name: str) -> ndarray | None:
        """An end of the wider system."""
        if name not in self.ends:
            return None
        return np.concatenate([self.ends[name][1], np.zeros((self.samples, self.problem.system.multipliers))], 1)

    # ------------------------------------------------------------------ what is shown
    def trajectory(self, two: TwoPoint, paths: Paths) -> Any:
        """The paths without multipliers; momenta tangent to the constraint, the index on its tangent space."""
        d, m = self.problem.system.size, self.problem.system.multipliers
        q, p = (np.ascontiguousarray(a[..., :d]) for a in (paths.q, paths.p))
        self.problem.run("tangent_momenta", self.problem.env(0, self.problem.grid.steps), q, p)
        index = np.where(paths.index < 0, paths.index, paths.index - m*(two.high - two.low))
        narrow = copy.copy(two)
        narrow.problem = self.problem
        return as_trajectory(narrow, replace(paths, q=q, p=p, index=index))

    def solved(self, on_failure: str, beta: float, progress: Any) -> Any:
        """The trajectory, free or nudged."""
        two, paths = solve(self.wider, self.boundary, on_failure, beta, progress)
        return self.trajectory(two, paths)

    def chain(self, parts: Parts, good: ndarray) -> None:
        """Derivatives by the ends on the constraint become those by the ends given."""
        d = self.problem.system.size
        parts.dq, parts.dp = (np.ascontiguousarray(a[:, :d]) for a in (parts.dq, parts.dp))
        for name, a in (("q_start", parts.dq), ("q_stop", parts.dp)):
            if name in self.ends:
                given, x, mu = self.ends[name]
                env = self.problem.env(0, 1)
                self.problem.run("from_constraints", env, given, x, mu, np.zeros_like(a), a, parts.g, good)


def constrained_ends(problem: Problem, boundary: Ends, options: dict[str, Any]) -> ConstrainedEnds:
    """The wider problem, with the options of the constrained one."""
    from .gradient import problem_of

    options = {**options, "method": "verlet"}
    wider = problem_of(widened(problem.system), problem.grid.coarse, problem.costs, options)
    return ConstrainedEnds(problem, wider, boundary)
