"""Gradients of initial-value problems: a free run, then one or more echoes.

    dJ/dtheta = d_beta(-S_theta) - (d_theta p_0)^T d_beta q_0 + explicit part
    dJ/dp_0 = -d_beta q_0,   dJ/dq_0 = +d_beta P_0

A velocity held fixed means p_0 = L_v(q_0, v_0; theta): the chain rule through it is the second term of the
first line, and changes the gradient of a mass (Pourcel et al. 2025, arXiv:2506.06248).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy import ndarray

from ..compiler.contract import Environment
from ..compiler.kernel import entry
from ..errors import AccuracyWarning
from ..methods.common import momentum_chain
from ..solvers.failures import Failures
from ..solvers.gauss import refuse_gauss
from ..solvers.initial import integrate
from ..solvers.problem import Problem
from ..solvers.start import Start
from ..solvers.weight import warn_of_retracing
from .convolution import convolve
from .doubled import doubled
from .estimators import (
    Adjoint,
    Centered,
    ConvolutionAction,
    Echo,
    Estimator,
    Exact,
    Holomorphic,
    OneSided,
    contrast,
    half_circle,
)
from .radius import Parts, search_radius


@entry
def chain(
    env: Environment, q: ndarray, v: ndarray, gp: ndarray, gq: ndarray, gv: ndarray, g: ndarray, good: ndarray
) -> None:
    """The chain rule through the initial momentum, for every sample."""
    for b in range(q.shape[0]):
        if good[b]:
            momentum_chain(env, b, 0, q[b], v[b], gp[b], gq[b], gv[b], g)


@dataclass
class FreeRun:
    """The end of the free path, its losses, and what the echo needs."""

    start: Start
    q: ndarray
    p: ndarray
    guess: ndarray
    losses: ndarray
    explicit: ndarray
    failures: Failures
    nodes: list[ndarray]  # of every block, kept for the sweeps that read them


def balances(problem: Problem, estimator: Estimator) -> bool:
    """Whether a part of the gradient that nudges leave at single nodes is not seen by an estimator's echo."""
    if problem.system.constraints:
        return not isinstance(estimator, (Exact, Adjoint))
    return problem.method.first_order and not isinstance(estimator, Adjoint)


def free_run(
    problem: Problem, start: Start, keep: bool, observers: tuple = (), progress: Any = None, balance: bool = False
) -> FreeRun:
    """Forward over the grid, with the loss and its direct dependence on parameters; ``balance``: see `balances`."""
    refuse_gauss(problem)
    q, p, guess = start.q.copy(), start.p.copy(), start.v.copy()
    losses, explicit = np.zeros(len(q)), np.zeros_like(problem.theta)
    failures, nodes = start.failed or Failures(len(q)), list[ndarray]()

    def judge(first: int, nodes_q: ndarray, nodes_p: ndarray) -> None:
        count = nodes_q.shape[1] - 1
        last = count + (first + count == problem.grid.steps)
        env = problem.env(first, count)
        problem.run("losses", env, nodes_q, 0, last, losses)
        if problem.theta.size:
            problem.run("explicit_parameters", env, nodes_q, 0, last, failures.good, explicit)
            if balance:
                problem.run("nudge_parameters", env, nodes_q, first == 0, last, failures.good, explicit)
        if keep:
            nodes.append(nodes_q)

    integrate(problem, q, p, guess, observers=(judge, *observers), failures=failures, progress=progress)
    overflow = failures.good & ~np.isfinite(losses)
    failures.step[overflow], failures.residual[overflow] = problem.grid.steps, np.inf
    losses[~failures.good] = np.nan
    return FreeRun(start, q, p, guess, losses, explicit, failures, nodes)


def estimate(problem: Problem, free: FreeRun, estimator: Estimator, progress: Any = None) -> Parts:
    """The echo's part of the gradient, for the samples that have not failed."""
    if isinstance(estimator, Exact):
        if problem.system.forced:
            return doubled(problem, free)
        return linear_response(problem, free, progress)
    if isinstance(estimator, ConvolutionAction):
        return convolve(problem, free, estimator)
    if isinstance(estimator, Adjoint):
        return _adjoint(problem, free)
    if isinstance(estimator, Holomorphic):
        warn_of_retracing(problem)
        return _holomorphic(problem, free, estimator)
    if isinstance(estimator, Echo):
        from .device import echo

        return echo(problem, free, estimator, progress)
    assert isinstance(estimator, (OneSided, Centered))
    warn_of_retracing(problem)
    betas, coefficients = with_free(*contrast(estimator))
    return echo_at(problem, free, betas, coefficients, None, progress, estimator.nudge == "linearised")


def with_free(betas: ndarray, coefficients: ndarray) -> tuple[ndarray, ndarray]:
    """The nudges, with none at all as the first: its path is what a linearised nudge reads, and tells the growth."""
    return np.append(0.0, betas[betas != 0]), np.append(coefficients[betas == 0].sum(), coefficients[betas != 0])


def failed_samples(failures: Failures) -> ndarray:
    """0 for samples that have failed, -1 for the others, as kernels want it."""
    return np.where(failures.good, -1, 0)


def linear_response(problem: Problem, free: FreeRun, progress: Any, record: list | None = None) -> Parts:
    """The linear response; ``record`` takes q and dq at the nodes (blocks from the last to the first)."""
    q, p, guess = free.q.copy(), free.p.copy(), free.guess.copy()
    dq, dp, g = np.zeros_like(q), np.zeros_like(p), np.zeros_like(problem.theta)
    failed, residual = failed_samples(free.failures), np.zeros(len(q))
    dead = failed.copy()
    for first, count in problem.each_block(q.size, backwards=True):
        env = problem.env(first, count)
        if first + count == problem.grid.steps:
            problem.run("linear_kicks", env, count, q, dp)
        nodes = np.zeros((0 if record is None else len(q), count + 1, 2, q.shape[1]))
        problem.run("linear_echo", env, count, q, p, dq, dp, guess, g, nodes, failed, residual)
        if record is not None:
            record.append(nodes)
        failed[dead == 0] = -1
        free.failures.settle(failed, residual, first, back=True)
        failed = dead = failed_samples(free.failures)
        if progress is not None:
            progress.update(count)
    _warn_of_growth(problem, free, q)
    return Parts(g, dp, -dq)


def _warn_of_growth(problem: Problem, free: FreeRun, q: ndarray, response: float = 0.0) -> None:
    """The way back must end where the way there began; what is missing is rounding, grown by G = |dq_N/dq_0|.

    ``response`` is another estimate of G, from below: what nudges did to P_0, over the sum of their kicks.
    """
    good = free.failures.good
    if not good.any():
        return
    scale = np.abs(free.start.q[good]).max() + np.abs(free.q[good]).max()
    missing = np.abs(q[good] - free.start.q[good]).max()
    growth = max(missing/(2.2e-16*scale*np.sqrt(problem.grid.steps)) if scale else 0.0, response)
    if growth > 1e6:
        warnings.warn(
            f"this trajectory multiplies small deviations by about {growth:.0e}, and rounding errors with them: "
            f"expect to lose that many digits of the gradient; a shorter time span helps, and so may retrace='bits' "
            f"with Exact; lep.analysis.lyapunov gives the longest span",
            AccuracyWarning,
            stacklevel=8,
        )


def echo_at(
    problem: Problem, free: FreeRun, betas: ndarray, coefficients: ndarray, record: list | None = None,
    progress: Any = None, linearised: bool = False,
) -> Parts:  # fmt: skip
    """Echoes at several nudges, side by side; ``record`` takes the nodes (blocks from the last to the first).

    A linearised nudge needs zero as the first one.
    """
    copies = len(betas)
    dtype = np.result_type(betas, float)
    q, p, guess = (np.repeat(a[:, None].astype(dtype), copies, 1) for a in (free.q, free.p, free.guess))
    g = np.zeros(problem.theta.shape, dtype)
    failed, residual = failed_samples(free.failures), np.zeros(len(q))
    dead = failed.copy()
    weights, pushed = coefficients.astype(dtype), np.zeros(q.shape[:2])
    for first, count in problem.each_block(2*q.size, backwards=True):
        env = problem.env(first, count)
        nodes = np.zeros((len(q), copies, count + 1, 2, q.shape[2]), dtype)
        nodes[:, :, count, 0], nodes[:, :, count, 1] = q, p
        if first + count == problem.grid.steps:
            problem.run("first_kicks", env, count, q, p, betas)
            pushed += np.abs(p - nodes[:, :, count, 1]).max(2)
        problem.run("echo", env, count, betas, weights, linearised, q, p, guess, g, nodes, pushed, failed, residual)
        failed[dead == 0] = -1
        bad = (failed < 0) & free.failures.good & ~np.isfinite(q).all((1, 2))
        failed[bad], residual[bad] = 0, np.inf
        free.failures.settle(failed, residual, first, back=True)
        failed = dead = failed_samples(free.failures)
        if record is not None:
            if first == 0:
                nodes[:, :, 0, 1] = p  # P_0, after the last kick
            record.append(nodes)
        if progress is not None:
            progress.update(count)
    if betas[0] == 0.0:
        _warn_of_growth(problem, free, q[:, 0], _response(free, q, p, pushed))
    # The coefficients add up to nothing (to nothing real, on a half circle): what is the same in all copies may go.
    dq = np.einsum("k,bkd->bd", coefficients, q - free.start.q[:, None])
    dp = np.einsum("k,bkd->bd", coefficients, p - free.start.p[:, None])
    return Parts(g, dp, -dq)


def _response(free: FreeRun, q: ndarray, p: ndarray, pushed: ndarray) -> float:
    """The growth G as nudges show it, the first copy without one; where a path has left the other, beyond measure."""
    good = free.failures.good
    moved = np.abs(p[good, 1:] - p[good, :1]).max(2)/np.maximum(pushed[good, 1:], 1e-300)
    away = np.abs(q[good, 1:] - q[good, :1]).max(2) > 0.1*np.abs(q[good]).max(initial=0.0)
    return float(np.where(away & (moved > 1e3), np.maximum(moved, 1.1e6), moved).max(initial=0.0))


def _adjoint(problem: Problem, free: FreeRun) -> Parts:
    lq, lp, g = np.zeros_like(free.q), np.zeros_like(free.p), np.zeros_like(problem.theta)
    blocks = list(problem.each_block(free.q.size))
    for (first, count), nodes in zip(blocks[::-1], free.nodes[::-1], strict=True):
        env = problem.env(first, count)
        problem.run("adjoint", env, count, nodes, lq, lp, g, free.failures.good, first + count == problem.grid.steps)
    return Parts(g, lq, lp)


def _holomorphic(problem: Problem, free: FreeRun, estimator: Holomorphic) -> Parts:
    """Nudges on a circle; without a radius, :func:`search_radius` finds one."""
    unit, counts = half_circle(estimator.points)

    def circle(radius: float) -> tuple[Parts, ndarray] | None:
        trial = Failures(len(free.q))
        trial.step[:] = free.failures.step
        attempt = replace(free, failures=trial)
        record: list[ndarray] = []
        coefficients = counts*unit.conj()/(estimator.points*radius)
        parts = echo_at(problem, attempt, radius*unit, coefficients, record)
        good = free.failures.good
        states = record[-1][:, :, 0][good] if (trial.good == good).all() else np.full((1, len(unit), 2, 1), np.nan)
        if not np.isfinite(states).all():
            return None
        free_state = np.stack([free.start.q, free.start.p], 1)[good]
        moved = (states - free_state[:, None]).reshape(len(states), len(unit), -1)
        return Parts(parts.g.real.copy(), parts.dq.real.copy(), parts.dp.real.copy()), moved

    first = estimator.radius or _first_radius(problem, free)
    return search_radius(circle, abs(first), estimator)


def _first_radius(problem: Problem, free: FreeRun) -> float:
    """A nudge that moves the path by a tenth of its size, judged by the linear response."""
    parts = linear_response(problem, free, None)
    good = free.failures.good
    moved = max(np.abs(parts.dp[good]).max(initial=0.0), 1e-300)
    size = max(np.abs(free.start.q[good]).max(initial=0.0), np.abs(free.q[good]).max(initial=0.0), 1e-3)
    return float(np.clip(0.1*size/moved, 1e-9, 1e3))
