"""Two-point problems: stationary points of the whole discrete action between two ends.

Newton on D_2 L_d(q_{k-1}, q_k) + D_1 L_d(q_k, q_{k+1}) = beta w_k c_q(q_k) for all free nodes at once, with the
block-tridiagonal Hessian of S_d (Marsden and West 2001; Milnor, Morse theory): all samples in one call of compiled
code (``newton_paths``). A sample that it cannot settle is looked at alone (``twopoint_search``).

The inertia of the Hessian at the solution is the Morse index.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy import ndarray

from ..boundary import Ends
from ..compiler.contract import Environment
from ..compiler.kernel import entry
from ..errors import ConvergenceError
from ..methods.verlet import new_work, prepare
from ..methods.verlet_action import interval, interval_action, interval_hessian
from .gauss import warn_if_rough
from .newton_paths import DOUBTFUL, FAILED
from .nudges import nudge_gradient, nudge_hessian, nudge_value
from .problem import Problem
from .record import make_trajectory
from .robin import two_point
from .twopoint_search import Solution, TwoPoint, elimination_module

__all__ = ["Paths", "Solution", "TwoPoint", "elimination_module", "judge", "solve", "trajectory"]


@entry
def action_gradient(
    env: Environment, b: int, q: ndarray, beta: complex, D1: ndarray, D2: ndarray, slope: ndarray
) -> None:
    """D_1 L_d and D_2 L_d of every interval, and beta w c_q at every node; all added."""
    work = new_work(env, q[0])
    prepare(env, b, q[0], q[0], work)
    for k in range(q.shape[0] - 1):
        interval(env, b, k, q[k], q[k + 1], D1[k], D2[k], work)
    if beta != 0.0:
        nudge_gradient(env, b, q, beta, slope)


@entry
def action_hessian(env: Environment, b: int, q: ndarray, beta: complex, diagonal: ndarray, upper: ndarray) -> None:
    """The blocks of the Hessian of S_d - beta C, flat, added."""
    work = new_work(env, q[0])
    prepare(env, b, q[0], q[0], work)
    for k in range(q.shape[0] - 1):
        interval_hessian(env, b, k, q[k], q[k + 1], diagonal[k], upper[k], diagonal[k + 1], work)
    if beta != 0.0:
        nudge_hessian(env, b, q, -beta, diagonal)


@entry
def action_value(env: Environment, b: int, q: ndarray, beta: complex) -> Any:
    """S_d - beta C."""
    work = new_work(env, q[0])
    prepare(env, b, q[0], q[0], work)
    total = 0.0*q[0, 0]
    for k in range(q.shape[0] - 1):
        total += interval_action(env, b, k, q[k], q[k + 1], work)
    if beta != 0.0:
        total -= beta*nudge_value(env, b, q)
    return total



@dataclass
class Paths:
    """Stationary paths, of a sample each: of all samples, or of some for several nudges."""

    q: ndarray  # (rows, N+1, d)
    p: ndarray  # nodal momenta; the end momenta P_0 and P_N at the ends
    residual: ndarray
    index: ndarray  # Morse indices
    messages: list[str]  # empty where all is well
    described: ndarray = field(default_factory=lambda: np.zeros((0, 3)))  # of Gauss elements: what ``describe`` found

    def __iter__(self) -> Iterator[Solution]:
        return map(self.row, range(len(self.q)))

    def row(self, row: int) -> Solution:
        return Solution(
            self.q[row], self.p[row], float(self.residual[row]), int(self.index[row]), self.messages[row]
        )  # fmt: skip

    def put(self, row: int, answer: Solution) -> None:
        self.q[row], self.p[row], self.residual[row] = answer.q, answer.p, answer.residual
        self.index[row], self.messages[row] = answer.index, answer.message


def solve(
    problem: Problem, boundary: Ends, on_failure: str, beta: float = 0.0, progress: Any = None
) -> tuple[TwoPoint, Paths]:
    """The free paths (with ``beta`` the nudged ones) of all samples."""
    two = two_point(problem, boundary)
    paths = free_paths(two)
    if beta:
        samples = [b for b, message in enumerate(paths.messages) if not message]
        for b, moved in zip(samples, nudged_paths(two, paths, samples, [beta]*len(samples)), strict=True):
            if moved is None or moved.index != paths.index[b]:
                paths.index[b], text = -1, f"the nudged path of sample {b} leaves the branch of the free one"
                paths.messages[b] = f"{text} at beta = {beta:.3g}; take a smaller nudge"
            else:
                paths.put(b, moved)
    if progress is not None:
        progress.update(1)
    judge(paths.messages, on_failure)
    if problem.stages:
        paths.described = describe(two, paths)
        warn(two, paths)
    return two, paths


def describe(two: TwoPoint, paths: Paths) -> ndarray:
    """Of paths by Gauss elements the action, the largest last Legendre mode of V and the largest V, (samples, 3)."""
    good = np.array([not message for message in paths.messages])
    for _ in range(2):
        work, found = two.workspace(), np.zeros((two.samples, 3))
        work.run("describe_paths", work.span, work.padded(paths.q), found, work.room)
        if np.isfinite(found[good]).all():
            break
        two.exchange()
    return found


def warn(two: TwoPoint, paths: Paths) -> None:
    """Warn where Gauss elements do not resolve a path."""
    good = np.array([not message for message in paths.messages])
    _, last, fastest = paths.described.T
    roughness = np.divide(last, fastest, out=np.zeros(two.samples), where=good & (fastest > 0))
    warn_if_rough(roughness, good, two.problem, two.problem.stages, 7)


def free_paths(two: TwoPoint) -> Paths:
    """The stationary paths of all samples, from their guesses."""
    if two.potentials:
        return _stacked([two.free(b, False) for b in range(two.samples)])
    guesses = two.guesses()
    if two.problem.method.base and two.boundary.guess is None and two.problem.grid.coarse.steps > 1:
        # a composition's path is near that of its method, which is easier to find
        near = free_paths(TwoPoint(two.problem.base, two.boundary))
        known = [b for b, message in enumerate(near.messages) if not message]
        guesses[known] = two.refined(near.q[known])
    flat = two.workspace().padded(guesses)
    paths = _newton(two, flat, np.arange(two.samples), np.zeros(two.samples), search=True, rounds=60)
    if paths.index.min() < 0:  # these are looked at alone
        for b in np.flatnonzero(paths.index < 0).tolist():
            status = int(paths.index[b])
            doubtful = status == DOUBTFUL
            found = two.solution(b, paths.q[b], 0.0) if doubtful else two.free(b, status == FAILED, guesses[b])
            paths.put(b, found)
    return paths


def nudged_paths(
    two: TwoPoint, free: Paths, samples: Sequence[int], betas: Sequence[complex]
) -> list[Solution | None]:
    """The nudged paths on the branches of the free ones; None where Newton leaves them."""
    if two.potentials:
        return [two.nudged(b, free.row(b), beta) for b, beta in zip(samples, betas, strict=True)]
    complex_numbers = any(isinstance(beta, complex) for beta in betas)
    flat = two.workspace(complex_numbers).padded(free.q[samples])
    paths = _newton(two, flat, np.array(samples), np.array(betas), search=False, rounds=30)
    found: list[Solution | None] = []
    for row, (b, beta) in enumerate(zip(samples, betas, strict=True)):
        status = paths.index[row]
        if status >= 0:
            found.append(paths.row(row))
        else:
            found.append(None if status == FAILED else two.nudged(b, free.row(b), beta))
    return found


def _stacked(found: list[Solution]) -> Paths:
    names = "q", "p", "residual", "index"
    q, p, residual, index = (np.array([getattr(one, name) for one in found]) for name in names)
    return Paths(q, p, residual, index, [one.message for one in found])


def _newton(two: TwoPoint, flat: ndarray, samples: ndarray, betas: ndarray, search: bool, rounds: int) -> Paths:
    """Newton's method in compiled code for all rows."""
    work, rows = two.workspace(flat.dtype == complex), len(flat)
    p = np.empty((rows, work.size), flat.dtype)
    index, residual = np.empty(rows, np.int64), np.empty(rows)
    work.run(
        "solve_paths", work.shape, work.span, samples, betas, search, rounds, flat, p, index, residual, work.room
    )  # fmt: skip
    return Paths(work.paths(flat), work.paths(p), residual, index, [""]*rows)


def judge(messages: list[str], on_failure: str) -> str:
    """Raise for failures, or say how many there were."""
    bad = [message for message in messages if message]
    if not bad:
        return "converged"
    text = f"{len(bad)} of {len(messages)} samples failed; the first: {bad[0]}"
    if on_failure == "raise" or len(bad) == len(messages):
        raise ConvergenceError(bad[0] if len(messages) == 1 else text)
    return text


def trajectory(problem: Problem, boundary: Ends, on_failure: str, beta: float = 0.0, progress: Any = None) -> Any:
    """The trajectory between two ends."""
    return as_trajectory(*solve(problem, boundary, on_failure, beta, progress))


def as_trajectory(two: TwoPoint, paths: Paths) -> Any:
    """Paths of all samples as one trajectory of the user's nodes; failed samples are nan."""
    good = np.array([not message for message in paths.messages])
    q, p, s = paths.q, paths.p, two.problem.grid.substeps
    index = np.array([paths.index[b] - (two.inner_index(b, q[b]) if good[b] else 0) for b in range(len(q))])
    if not good.all():
        q, p = q.copy(), p.copy()
        q[~good], p[~good] = np.nan, np.nan
    message = judge(paths.messages, "return")
    rest, kept = np.zeros_like(q[:, 0]), np.arange(two.problem.grid.coarse.steps + 1)
    made = make_trajectory(
        two.problem, np.ascontiguousarray(q[:, ::s]), np.ascontiguousarray(p[:, ::s]), kept, two.batch, good, message,
        rest, index, paths.residual, again=lambda observe: observe(0, q, p),
    )  # fmt: skip
    if not two.problem.stages:
        return made

    def action() -> Any:
        found = paths.described if len(paths.described) else describe(two, paths)
        total = np.where(good, found[:, 0], np.nan)
        return total if two.batch is not None else total[0]

    return dataclasses.replace(made, _action=action)
