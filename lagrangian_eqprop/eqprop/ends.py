"""Gradients of two-point problems: nudged boundary-value solves.

    dJ/dtheta = d_beta(-S_theta) + explicit part
    dJ/dq_start = +d_beta P_0,   dJ/dq_stop = -d_beta P_N

with P_0 = p_0^- + beta w_0 c_q and P_N = p_N^+ - beta w_N c_q. No boundary term is left, whether an end is fixed or
natural. The limit beta to 0 is the linear response: Hess(S_d) delta = w c_q on the free nodes, and d_beta P_0 and
-d_beta P_N are what w c_q - Hess(S_d) delta leaves at the ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy import ndarray

from ..boundary import Ends
from ..compiler.contract import Environment
from ..compiler.kernel import entry
from ..errors import ConvergenceError
from ..methods.verlet import new_work, prepare
from ..methods.verlet_action import interval_response
from ..solvers.problem import Problem
from ..solvers.twopoint import Paths, Solution, TwoPoint, as_trajectory, judge, nudged_paths, solve
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


def gradient(
    problem: Problem, boundary: Ends, estimator: Estimator, save: Any, on_failure: str, constrained: Any = None
) -> Gradient:
    """The gradient between two ends; see :func:`lagrangian_eqprop.eqprop.gradient.gradient`.

    Of a constrained system ``problem`` and ``boundary`` are the wider ones of ``constrained``, a ConstrainedEnds.
    """
    two, paths = solve(problem, boundary, on_failure)
    samples = two.samples
    parts = _estimate(two, paths, estimator)
    message = judge(paths.messages, on_failure)
    good = np.array([not text for text in paths.messages])
    count = int(good.sum())
    losses = np.zeros(samples)
    problem.run("losses", two.env, paths.q, 0, problem.grid.steps + 1, losses)
    if problem.theta.size:
        problem.run("explicit_parameters", two.env, paths.q, 0, problem.grid.steps + 1, good, parts.g)
    loss = float(losses.sum(where=good)/count)
    given = boundary
    if constrained is not None:
        constrained.chain(parts, good)
        given = constrained.given
    for part in (losses, parts.dq, parts.dp):
        part[~good] = np.nan

    def shown(found: Paths) -> Any:
        if constrained is not None:
            return constrained.trajectory(two, found)
        return as_trajectory(two, found)

    def fold(value: ndarray, end: ndarray | None) -> ndarray | None:
        """The derivative of the mean, in the shape of what was given."""
        if end is None:
            return None
        value = value/count
        if end.ndim == 2 and len(end) == samples:
            return value
        return value.sum(0, keepdims=end.ndim == 2, where=good[:, None])

    batched = two.batch is not None
    path = nudged = None
    if save is not None:
        path = shown(paths)
        if isinstance(estimator, (OneSided, Centered)):
            nudged = shown(moved_paths(two, paths, abs(estimator.beta), estimator.nudge))
    return Gradient(
        loss=loss, losses=losses if batched else losses[0], parameters=problem.shaped(parts.g, two.batch, count),
        success=good if batched else bool(good[0]), message=message,
        ends=EndsGradient(fold(parts.dq, given.q_start), fold(parts.dp, given.q_stop)), error=parts.error,
        path=path, nudged=nudged,
    )  # fmt: skip


def _parts(two: TwoPoint) -> Parts:
    """Nothing yet, for all samples."""
    ends = np.zeros((2, two.samples, two.problem.system.size))
    return Parts(np.zeros_like(two.problem.theta), ends[0], ends[1])


def _estimate(two: TwoPoint, paths: Paths, estimator: Estimator) -> Parts:
    """The parts of all samples; one that fails gets its message."""
    if isinstance(estimator, Exact):
        return _exact(two, paths)
    if isinstance(estimator, (OneSided, Centered)):
        return _contrast(two, paths, *contrast(estimator), estimator.nudge)
    total = _parts(two)
    for b, free in enumerate(paths):
        if free.message:
            continue
        try:
            if isinstance(estimator, Adjoint):
                one = _adjoint(two, b, free)
            else:
                assert isinstance(estimator, Holomorphic)
                one = _holomorphic(two, paths, b, estimator)
        except ConvergenceError as error:
            paths.messages[b] = str(error)
            continue
        total.g += one.g
        total.dq[b], total.dp[b] = one.dq[0], one.dp[0]
        if one.error is not None:
            total.error = max(one.error, total.error or 0.0)
    return total


def _nudged(two: TwoPoint, paths: Paths, rows: list[tuple[int, float]], nudge: str) -> list[tuple[str, Solution]]:
    """For each (sample, beta) the nudged path; where it is not on the free one's branch, why, and the free one."""
    samples, betas = [b for b, _ in rows], [beta for _, beta in rows]
    answers: Sequence[Solution | None]
    if nudge == "linearised":
        answers = [two.pulled(b, paths.row(b), beta) for b, beta in rows]
    else:
        answers = nudged_paths(two, paths, samples, betas)
    found = []
    for b, beta, moved in zip(samples, betas, answers, strict=True):
        free = paths.row(b)
        if moved is not None and moved.success and moved.index == free.index:
            found.append(("", moved))
            continue
        indices = [path.index - two.inner_index(b, path.q) if path else "none" for path in (free, moved)]
        text = (
            f"the nudged path of sample {b} leaves the branch of the free one at beta = {beta:.3g} (Morse index "
            f"{indices[0]} against {indices[1]}); take a smaller beta, or Exact"
        )
        found.append((text, free))
    return found


def moved_paths(two: TwoPoint, paths: Paths, beta: float, nudge: str) -> Paths:
    """The nudged paths of all samples that have not failed."""
    rows = [(b, beta) for b, message in enumerate(paths.messages) if not message]
    moved = Paths(paths.q.copy(), paths.p.copy(), paths.residual.copy(), paths.index.copy(), list(paths.messages))
    for (b, _), (message, answer) in zip(rows, _nudged(two, paths, rows, nudge), strict=True):
        if message:
            raise ConvergenceError(message)
        moved.put(b, answer)
    return moved


def _contrast(two: TwoPoint, paths: Paths, betas: ndarray, coefficients: ndarray, nudge: str) -> Parts:
    """The contrast of a few nudges; where one of them is zero, that path is the free one."""
    total = _parts(two)
    good = [b for b, message in enumerate(paths.messages) if not message]
    rows = [(b, float(beta)) for b in good for beta in betas if beta != 0.0]
    answers = iter(_nudged(two, paths, rows, nudge))
    chosen: list[list[Solution]] = []
    for b in good:
        found = [next(answers) if beta != 0.0 else ("", paths.row(b)) for beta in betas]
        paths.messages[b] = next((message for message, _ in found if message), "")
        if not paths.messages[b]:
            chosen.append([answer for _, answer in found])
    good = [b for b in good if not paths.messages[b]]
    if good:
        q, p = (np.stack([getattr(answer, name) for found in chosen for answer in found]) for name in "qp")
        _add_contrast(two, good, q, np.tile(coefficients, len(good)), total.g)
        momenta = p[:, [0, -1]].reshape(len(good), len(betas), 2, -1) - paths.p[good][:, None, [0, -1]]
        starts, stops = np.einsum("n,bned->ebd", coefficients, momenta)
        total.dq[good], total.dp[good] = starts, -stops
    return total


def _add_contrast(two: TwoPoint, samples: list[int], q: ndarray, coefficients: ndarray, g: ndarray) -> None:
    """g += the sum over paths, equally many of each sample, of coefficient d_theta(-S_d)."""
    work = two.workspace(np.iscomplexobj(q))
    rows = np.repeat(np.array(samples), len(q)//len(samples))
    work.run("contrast_paths", work.span, rows, coefficients.astype(q.dtype), work.padded(q), g, work.room)
    for row, path, coefficient in zip(rows.tolist(), q, coefficients, strict=True):
        two.add_parameters(row, path, coefficient, g)


def _exact(two: TwoPoint, paths: Paths) -> Parts:
    """The limit of no nudge at all."""
    total = _parts(two)
    if two.potentials:
        for b, free in enumerate(paths):
            if not free.message:
                total.dq[b], total.dp[b] = _respond(two, b, free, total.g)
        return total
    work = two.workspace()
    asked = np.array([not message for message in paths.messages])
    done, ends = asked.copy(), np.zeros((two.samples, 2, two.problem.system.size))
    slope, kept = np.empty_like(work.room.r), np.empty_like(work.room.H)
    work.run("respond_paths", work.shape, work.span, work.padded(paths.q), done, slope, kept, total.g, ends, work.room)
    for b in np.flatnonzero(asked & ~done).tolist():
        ends[b] = _respond(two, b, paths.row(b), total.g)
    return Parts(total.g, ends[:, 0], ends[:, 1])


def _respond(two: TwoPoint, b: int, free: Solution, g: ndarray) -> ndarray:
    """The same for one sample, with exchanges of pivots across nodes."""
    response, slope, upper = _response(two, b, free)
    two.problem.run("path_response", two.env, b, free.q, response, g)
    two.add_response(b, free.q, response, g)
    return np.stack([slope[0] - upper[0] @ response[1], slope[-1] - upper[-1].T @ response[-2]])


def _response(two: TwoPoint, b: int, free: Solution) -> tuple[ndarray, ndarray, ndarray]:
    """d_beta q at the nodes of one sample, w c_q there, and the blocks beside the Hessian's diagonal."""
    diagonal, upper = two.hessian(b, free.q, 0.0)
    two.factorise(diagonal, upper)
    slope = two.state(b, free.q, 1.0).slope
    response = np.zeros_like(free.q)
    response[two.low : two.high] = two.solve(diagonal, upper, slope[two.low : two.high])
    return response, slope, upper


def response_paths(two: TwoPoint, paths: Paths) -> ndarray:
    """d_beta q at the nodes of all samples, (B, N+1, d); nan where there is no path."""
    found = np.full_like(paths.q, np.nan)
    for b, free in enumerate(paths):
        if not free.message:
            found[b] = _response(two, b, free)[0]
    return found


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
    two.add_response(b, free.q, -multiplier, g)
    return Parts(g, (slope[0] + upper[0] @ multiplier[1])[None], (slope[-1] + upper[-1].T @ multiplier[-2])[None])


def _holomorphic(two: TwoPoint, paths: Paths, b: int, estimator: Holomorphic) -> Parts:
    unit, counts = half_circle(estimator.points)
    free = paths.row(b)

    def circle(radius: float) -> tuple[Parts, ndarray] | None:
        found = nudged_paths(two, paths, [b]*len(unit), [complex(radius*point) for point in unit])
        nudged = [answer for answer in found if answer is not None and answer.success]
        if len(nudged) < len(unit):
            return None
        coefficients = counts*unit.conj()/(estimator.points*radius)
        g = np.zeros(two.problem.theta.shape, complex)
        _add_contrast(two, [b], np.stack([answer.q for answer in nudged]), coefficients, g)
        starts, stops = (coefficients @ np.stack([a.p[end] - free.p[end] for a in nudged]) for end in (0, -1))
        moved = [np.concatenate([(a.q - free.q).ravel(), (a.p - free.p)[[0, -1]].ravel()]) for a in nudged]
        return Parts(g.real.copy(), starts[None].real.copy(), -stops[None].real), np.stack(moved)[None]

    response = abs(estimator.radius) if estimator.radius is not None else _first_radius(two, paths, b)
    return search_radius(circle, response, estimator)


def _first_radius(two: TwoPoint, paths: Paths, b: int) -> float:
    """A nudge that moves the path by a tenth of its size, judged by the linear response."""
    small, q = 1e-6, paths.q[b]
    (moved,) = nudged_paths(two, paths, [b], [small])
    speed = 1.0 if moved is None else np.abs(moved.q - q).max()/small
    return float(np.clip(0.1*max(np.abs(q).max(), 1e-3)/max(speed, 1e-300), 1e-9, 1e3))
