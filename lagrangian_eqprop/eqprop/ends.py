"""Gradients of two-point problems: nudged boundary-value solves.

    dJ/dtheta = d_beta(-S_theta) + explicit part
    dJ/dq_start = +d_beta P_0,   dJ/dq_stop = -d_beta P_N

with P_0 = p_0^- + beta w_0 c_q and P_N = p_N^+ - beta w_N c_q. No boundary term is left, whether an end is fixed or
natural. The limit beta to 0 is the linear response: Hess(S_d) delta = w c_q on the free nodes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from ..boundary import Ends
from ..compiler.contract import Environment
from ..compiler.kernel import entry
from ..errors import ConvergenceError
from ..methods.verlet import new_work, prepare
from ..methods.verlet_action import interval_parameters, interval_response
from ..solvers.problem import Problem
from ..solvers.twopoint import Solution, TwoPoint, as_trajectory, judge, solve
from .estimators import Adjoint, Centered, Estimator, Exact, Holomorphic, OneSided, contrast, half_circle
from .radius import Parts, search_radius
from .result import EndsGradient, Gradient


@entry
def path_response(env: Environment, b: int, q: ndarray, dq: ndarray, g: ndarray) -> None:
    """g += d_theta(-S_d) along dq."""
    work = new_work(env, q[0])
    prepare(env, b, q[0], q[0], work)
    for k in range(q.shape[0] - 1):
        interval_response(env, b, k, q[k], q[k + 1], dq[k], dq[k + 1], g, -1.0, work)


@entry
def path_contrast(env: Environment, b: int, paths: ndarray, coefficients: ndarray, g: ndarray) -> None:
    """g += sum over nudges of coefficient d_theta(-S_d), interval by interval."""
    work = new_work(env, paths[0, 0])
    prepare(env, b, paths[0, 0], paths[0, 0], work)
    for k in range(paths.shape[1] - 1):
        for c in range(paths.shape[0]):
            interval_parameters(env, b, k, paths[c, k], paths[c, k + 1], g, -coefficients[c], work)


def gradient(problem: Problem, boundary: Ends, estimator: Estimator, save: Any, on_failure: str) -> Gradient:
    """The gradient between two ends; see :func:`lagrangian_eqprop.eqprop.gradient.gradient`."""
    two, found = solve(problem, boundary, on_failure)
    samples = two.samples
    g = np.zeros_like(problem.theta)
    starts, stops = np.zeros((samples, problem.system.size)), np.zeros((samples, problem.system.size))
    errors: list[float] = []
    messages = [answer.message for answer in found]
    for b, free in enumerate(found):
        if messages[b]:
            continue
        try:
            parts = _sample(two, b, free, estimator)
        except ConvergenceError as error:
            messages[b] = str(error)
            continue
        g += parts.g
        starts[b], stops[b] = parts.dq[0], parts.dp[0]
        if parts.error is not None:
            errors.append(parts.error)
    message = judge(messages, on_failure)
    good = np.array([not text for text in messages])
    paths = np.stack([answer.q for answer in found])
    losses = np.zeros(samples)
    problem.run("losses", two.env, paths, 0, problem.grid.steps + 1, losses)
    if problem.theta.size:
        problem.run("explicit_parameters", two.env, paths, 0, problem.grid.steps + 1, good, g)
    losses[~good], starts[~good], stops[~good] = np.nan, np.nan, np.nan
    count = int(good.sum())

    def fold(value: ndarray, end: ndarray | None) -> ndarray | None:
        if end is None:
            return None
        value = value/count
        return value if end.ndim == 2 and len(end) == samples else np.nansum(value, 0, keepdims=end.ndim == 2)

    batched = two.batch is not None
    path = nudged = None
    if save is not None:
        path = as_trajectory(problem, two.batch, found)
        if isinstance(estimator, (OneSided, Centered)):
            moved = [_moved(two, b, free, abs(estimator.beta)) if good[b] else free for b, free in enumerate(found)]
            nudged = as_trajectory(problem, two.batch, moved)
    return Gradient(
        loss=float(np.nanmean(losses)), losses=losses if batched else losses[0],
        parameters=problem.shaped(g, two.batch, count), success=good if batched else bool(good[0]), message=message,
        ends=EndsGradient(fold(starts, boundary.q_start), fold(stops, boundary.q_stop)),
        error=max(errors) if errors else None, path=path, nudged=nudged,
    )  # fmt: skip


def _sample(two: TwoPoint, b: int, free: Solution, estimator: Estimator) -> Parts:
    if isinstance(estimator, Exact):
        return _exact(two, b, free)
    if isinstance(estimator, Adjoint):
        return _adjoint(two, b, free)
    if isinstance(estimator, Holomorphic):
        return _holomorphic(two, b, free, estimator)
    betas, coefficients = contrast(estimator)
    return _contrast(two, b, free, [_moved(two, b, free, beta) if beta else free for beta in betas], coefficients)


def _moved(two: TwoPoint, b: int, free: Solution, beta: float) -> Solution:
    nudged = two.nudged(b, free, beta)
    if nudged is None or not nudged.success or nudged.index != free.index:
        raise ConvergenceError(
            f"the nudged path of sample {b} leaves the branch of the free one at beta = {beta:.3g} (Morse index "
            f"{free.index} against {nudged.index if nudged else 'none'}); take a smaller beta, or Exact"
        )
    return nudged


def _contrast(two: TwoPoint, b: int, free: Solution, nudged: list[Solution], coefficients: ndarray) -> Parts:
    paths = np.stack([answer.q for answer in nudged])
    g = np.zeros(two.problem.theta.shape, paths.dtype)
    two.problem.run("path_contrast", two.env, b, paths, coefficients.astype(paths.dtype), g)
    starts, stops = (coefficients @ np.stack([answer.p[end] - free.p[end] for answer in nudged]) for end in (0, -1))
    return Parts(g, starts[None], -stops[None])


def _exact(two: TwoPoint, b: int, free: Solution) -> Parts:
    diagonal, upper = two.hessian(b, free.q, 0.0)
    two.factorise(diagonal, upper)
    slope = two.state(b, free.q, 1.0).slope
    response = np.zeros_like(free.q)
    response[two.low : two.high] = two.solve(diagonal, upper, slope[two.low : two.high])
    g = np.zeros_like(two.problem.theta)
    two.problem.run("path_response", two.env, b, free.q, response, g)
    # P_0 = -D_1 L_d + beta w_0 c_q and P_N = D_2 L_d - beta w_N c_q; a fixed end itself does not move
    return Parts(g, (slope[0] - upper[0] @ response[1])[None], (slope[-1] - upper[-1].T @ response[-2])[None])


def _adjoint(two: TwoPoint, b: int, free: Solution) -> Parts:
    """Lagrange multipliers of the discrete Euler-Lagrange equations, by a general sparse solver."""
    from scipy.sparse import coo_array
    from scipy.sparse.linalg import splu

    diagonal, upper = two.hessian(b, free.q, 0.0)
    slope = two.state(b, free.q, 1.0).slope
    count, d = two.high - two.low, free.q.shape[1]
    node, row, column = np.indices((count, d, d))
    entries = diagonal[two.low : two.high], upper[two.low : two.high - 1]
    here, there = (node*d + row).ravel(), (node*d + column).ravel()
    left, right = here[: entries[1].size], there[: entries[1].size] + d
    values = np.concatenate([entries[0].ravel(), entries[1].ravel(), entries[1].ravel()])
    places = np.concatenate([here, left, right]), np.concatenate([there, right, left])
    jacobian = coo_array((values, places), shape=(count*d, count*d)).tocsc()
    multiplier = np.zeros_like(free.q)
    free_slope = slope[two.low : two.high].ravel()
    multiplier[two.low : two.high] = -splu(jacobian).solve(free_slope, trans="T").reshape(count, d)
    g = np.zeros_like(two.problem.theta)
    two.problem.run("path_response", two.env, b, free.q, -multiplier, g)
    return Parts(g, (slope[0] + upper[0] @ multiplier[1])[None], (slope[-1] + upper[-1].T @ multiplier[-2])[None])


def _holomorphic(two: TwoPoint, b: int, free: Solution, estimator: Holomorphic) -> Parts:
    unit, counts = half_circle(estimator.points)

    def circle(radius: float) -> tuple[Parts, ndarray] | None:
        nudged = []
        for point in unit:
            answer = two.nudged(b, free, complex(radius*point))
            if answer is None or not answer.success:
                return None
            nudged.append(answer)
        parts = _contrast(two, b, free, nudged, counts*unit.conj()/(estimator.points*radius))
        moved = [np.concatenate([(a.q - free.q).ravel(), (a.p - free.p)[[0, -1]].ravel()]) for a in nudged]
        return Parts(parts.g.real.copy(), parts.dq.real.copy(), parts.dp.real.copy()), np.stack(moved)[None]

    response = abs(estimator.radius) if estimator.radius is not None else _first_radius(two, b, free)
    return search_radius(circle, response, estimator)


def _first_radius(two: TwoPoint, b: int, free: Solution) -> float:
    """A nudge that moves the path by a tenth of its size, judged by the linear response."""
    small = 1e-6
    moved = two.nudged(b, free, small)
    speed = 1.0 if moved is None else np.abs(moved.q - free.q).max()/small
    return float(np.clip(0.1*max(np.abs(free.q).max(), 1e-3)/max(speed, 1e-300), 1e-9, 1e3))
