"""The causal rule that does not work, and what it lacks: nudging forward from the initial data.

It seems natural to run the nudged path from the same (q_0, P_0), p_k^- = p_k^+ - beta w_k c_q, and to read
d_beta(-S_theta) off. But the end is left to itself, and there the boundary term of the master formula survives,

    dJ/dtheta = d_beta(-S_theta) + B_N,   B_N = d_theta P_N . d_beta q_N - d_beta P_N . d_theta q_N.

A terminal cost nudges the last momentum alone, after all that S_d sees: d_beta S_theta = 0, and B_N is the whole
gradient. The echo has no such term because the nudged path shares the end instead of the beginning (``echo``).

B_N is computed from tangent passes, one a parameter: an imaginary step of 1e-30 carried through the forward map.
Source: Pourcel et al. (2025, arXiv:2506.06248) on the causal initial-value problem.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from ..compiler.contract import Environment
from ..compiler.kernel import entry
from ..methods.common import copy
from ..methods.verlet import finish, new_work, prepare, start, step
from ..methods.verlet_action import interval_parameters
from ..solvers.initial import integrate
from ..solvers.problem import Problem
from .echo import kick
from .initial import FreeRun
from .radius import Parts

IMAGINARY = 1e-30


@entry
def nudged_forward(
    env: Environment, count: int, betas: ndarray, coefficients: ndarray, q: ndarray, p: ndarray, guess: ndarray,
    g: ndarray, nodes: ndarray, failed: ndarray, residual: ndarray,
) -> None:  # fmt: skip
    """Forward over ``count`` steps with every nudge; g += coefficient d_theta(-S_d). ``nodes`` takes positions."""
    work = new_work(env, q[0, 0])
    for b in range(q.shape[0]):
        for k in range(q.shape[1]):
            if failed[b] >= 0:
                break
            x, y = q[b, k], p[b, k]
            prepare(env, b, x, guess[b, k], work)
            start(env, b, 0, x, work)
            copy(x, nodes[b, k, 0])
            for j in range(count):
                kick(env, b, j, x, y, -betas[k])
                left = step(env, b, j, j + 1, x, y, work)
                if not left <= 0.0:
                    failed[b] = j + 1
                    residual[b] = left
                    break
                copy(x, nodes[b, k, j + 1])
            finish(guess[b, k], work)
        if failed[b] >= 0:
            continue
        for j in range(count):
            for k in range(q.shape[1]):
                interval_parameters(env, b, j, nodes[b, k, j], nodes[b, k, j + 1], g, -coefficients[k], work)


def naive(problem: Problem, free: FreeRun, beta: float, progress: Any = None) -> Parts:
    """The centered contrast of two paths nudged forward, and how their ends move."""
    betas = np.array([beta, -beta])
    begin = free.start
    q, p, guess = (np.repeat(a[:, None], 2, 1) for a in (begin.q, begin.p, begin.v))
    g, failures = np.zeros_like(problem.theta), free.failures
    for first, count in problem.each_block(2*q.size):
        env = problem.env(first, count)
        nodes = np.zeros((len(q), 2, count + 1, q.shape[2]))
        failed, residual = np.where(failures.good, -1, 0), np.zeros(len(q))
        before = failures.good
        problem.run("nudged_forward", env, count, betas, 0.5/betas, q, p, guess, g, nodes, failed, residual)
        failed[~before] = -1
        lost = before & (failed < 0) & ~np.isfinite(q).all((1, 2))
        failed[lost], residual[lost] = count, np.inf
        failures.settle(failed, residual, first)
        if first + count == problem.grid.steps:
            problem.run("first_kicks", env, count, q, p, -betas)  # P_N = p_N^+ - beta w_N c_q
        if progress is not None:
            progress.update(count)
    nothing = np.zeros_like(begin.q)
    moved = tuple((state[:, 0] - state[:, 1])/(2*beta) for state in (q, p))
    return Parts(g, nothing, nothing.copy(), ends=(moved[0], moved[1]))


def missing(problem: Problem, free: FreeRun, ends: tuple[ndarray, ndarray]) -> ndarray:
    """B_N, a sum over samples laid out like theta."""
    good = free.failures.good
    dq, dp = (np.where(good[:, None], end, 0.0) for end in ends)
    found = np.zeros_like(problem.theta)
    for k in range(len(found)):
        theta = problem.theta.astype(complex)
        theta[k] += 1j*IMAGINARY
        q, p = _last(problem, free, theta)
        tangent = np.where(good[:, None], dq*p.imag - dp*q.imag, 0.0)
        found[k] = tangent.sum()/IMAGINARY
    return found


def _last(problem: Problem, free: FreeRun, theta: ndarray) -> tuple[ndarray, ndarray]:
    """q_N and P_N of the free path for complex parameters."""
    begin = free.start
    q, p, guess = (a.astype(complex) for a in (begin.q, begin.p, begin.v))
    if begin.boundary.v is not None:  # p_0 = L_v(q_0, v_0; theta)
        env = problem.env(0, 1, theta, "nodes")
        p[:] = 0.0
        if problem.method.explicit:
            problem.run("masses", env, q, p)
            p *= begin.v
        else:
            problem.run("initial_momenta", env, q, begin.v.astype(complex), p)
    integrate(problem, q, p, guess, theta)
    return q, p
