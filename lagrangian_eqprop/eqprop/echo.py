"""The echo: the nudged final-value problem, run backwards through the same discrete map.

The nudge adds beta*c to the potential energy, at the nodes and with the loss's own weights. A kick is

    p_k^- = p_k^+ - beta w_k c_q(q_k)

and the nudged path shares the free path's last position and momentum P_N, so that no boundary term is left
there. Backwards in time: p_N^+ = P_N + beta w_N c_q, then a step with -h, then p_k^+ = p_k^- + beta w_k c_q,
down to P_0 = p_0^- + beta w_0 c_q. The end of a run leaves q_0^beta and P_0^beta; dJ/dp_0 = -d_beta q_0 and
dJ/dq_0 = +d_beta P_0. Memory does not grow with the number of steps: the way back is integrated again.

This module states the sign convention of the library; nothing else chooses a sign.
Source: Scellier (2021), Pourcel et al. (2025, arXiv:2506.06248).
"""

from __future__ import annotations

from numpy import ndarray

from ..compiler.contract import Environment, cost, cost_gradient, cost_parameters
from ..compiler.kernel import entry, kernel
from ..methods.clock import node_time
from ..methods.common import copy, distance
from ..methods.verlet import finish, linear_start, linear_step, new_work, prepare, start, step
from ..methods.verlet_action import interval_parameters


@kernel
def kick(env: Environment, b: int, j: int, q: ndarray, p: ndarray, beta: complex) -> None:
    """p += beta w_j c_q(q), the nudge at node j on the way back."""
    cost_gradient(env, b, j, node_time(env, j), q, p, beta)


@entry
def first_kicks(env: Environment, j: int, q: ndarray, p: ndarray, betas: ndarray) -> None:
    """p_N^+ = P_N + beta w_N c_q for every sample and nudge."""
    for b in range(q.shape[0]):
        for k in range(q.shape[1]):
            kick(env, b, j, q[b, k], p[b, k], betas[k])


@entry
def echo(
    env: Environment, count: int, betas: ndarray, coefficients: ndarray, linearised: bool, q: ndarray, p: ndarray,
    guess: ndarray, g: ndarray, nodes: ndarray, pushed: ndarray, failed: ndarray, residual: ndarray,
) -> None:  # fmt: skip
    """Back over ``count`` steps with every nudge; g += coefficient d_theta(-S_d).

    ``nodes`` (samples, nudges, count + 1, 2, d) takes positions and momenta, these before the kick of their node.
    ``pushed`` (samples, nudges) sums the sizes of the kicks.
    ``linearised``: the first nudge is zero, and the others push with the force found on its path, the free one.
    """
    work = new_work(env, q[0, 0])
    for b in range(q.shape[0]):
        for k in range(q.shape[1]):
            if failed[b] >= 0:
                break
            x, y = q[b, k], p[b, k]
            prepare(env, b, x, guess[b, k], work)
            start(env, b, count, x, work)
            for j in range(count - 1, -1, -1):
                left = step(env, b, j + 1, j, x, y, work)
                if not left <= 0.0:
                    failed[b] = j
                    residual[b] = left
                    break
                copy(x, nodes[b, k, j, 0])
                copy(y, nodes[b, k, j, 1])
                kick(env, b, j, nodes[b, 0, j, 0] if linearised else x, y, betas[k])
                pushed[b, k] += distance(y, nodes[b, k, j, 1])
            finish(guess[b, k], work)
        if failed[b] >= 0:
            continue
        for j in range(count - 1, -1, -1):  # contrasts step by step, not the difference of two long sums
            for k in range(q.shape[1]):
                if coefficients[k] == 0.0:
                    continue
                x, y = nodes[b, k, j, 0], nodes[b, k, j + 1, 0]
                interval_parameters(env, b, j, x, y, g, -coefficients[k], work)


@entry
def linear_echo(
    env: Environment, count: int, q: ndarray, p: ndarray, dq: ndarray, dp: ndarray, guess: ndarray, g: ndarray,
    nodes: ndarray, failed: ndarray, residual: ndarray,
) -> None:  # fmt: skip
    """The limit of the echo for beta to 0: the free path back, and its response (dq, dp) = d_beta (q, p).

    ``nodes`` (samples, count + 1, 2, d) takes q and dq; without samples nothing is kept.
    """
    work = new_work(env, q[0])
    for b in range(q.shape[0]):
        if failed[b] >= 0:
            continue
        x, y, dx, dy = q[b], p[b], dq[b], dp[b]
        prepare(env, b, x, guess[b], work)
        linear_start(env, b, count, x, dx, g, work)
        kept = nodes.shape[0] > 0
        if kept:
            copy(x, nodes[b, count, 0])
            copy(dx, nodes[b, count, 1])
        for j in range(count - 1, -1, -1):
            left = linear_step(env, b, j + 1, j, x, y, dx, dy, g, j == 0, work)
            if not left <= 0.0:
                failed[b] = j
                residual[b] = left
                break
            kick(env, b, j, x, dy, 1.0)
            if kept:
                copy(x, nodes[b, j, 0])
                copy(dx, nodes[b, j, 1])
        finish(guess[b], work)


@entry
def linear_kicks(env: Environment, j: int, q: ndarray, dp: ndarray) -> None:
    """d_beta p_N^+ = w_N c_q for every sample."""
    for b in range(q.shape[0]):
        kick(env, b, j, q[b], dp[b], 1.0)


@entry
def losses(env: Environment, nodes: ndarray, first: int, last: int, total: ndarray) -> None:
    """total += w c of the nodes first..last-1."""
    for b in range(nodes.shape[0]):
        for j in range(first, last):
            total[b] += cost(env, b, j, node_time(env, j), nodes[b, j])


@entry
def explicit_parameters(env: Environment, nodes: ndarray, first: int, last: int, good: ndarray, g: ndarray) -> None:
    """g += w c_theta of the nodes first..last-1: what the loss owes directly to its parameters."""
    for b in range(nodes.shape[0]):
        if good[b]:
            for j in range(first, last):
                cost_parameters(env, b, j, node_time(env, j), nodes[b, j], g, 1.0)
