"""Implicit midpoint: one evaluation in the middle of the step, for any regular Lagrangian.

    L_d(x, y) = h L(Q, V, t_k + h/2),   Q = (x + y)/2,   V = (y - x)/h

    p_k     = -D_1 L_d = L_v(Q, V) - h/2 L_q(Q, V)      (solved for V by Newton, y = x + h V)
    p_{k+1} = +D_2 L_d = L_v(Q, V) + h/2 L_q(Q, V)

Newton's matrix with Q = x + h V/2 is A(h) = L_vv + h/2 (L_vq - L_qv) - h^2/4 L_qq. Its transpose is
A(-h): going back is going on with -h at the same time label, and the adjoint solves with A(-h).
Order 2, symmetric. Source: Marsden and West, Acta Numerica 10 (2001), section 2.6.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from ..compiler.contract import Environment, gradient, hessian, response
from ..compiler.kernel import kernel
from .clock import middle_time, node_time, step_of
from .common import clear, copy, largest
from .linear import factorise_matrix, solve_matrix

ORDER, EXPLICIT, SYMMETRIC, LABELS = 2, False, True, "middles"


@kernel
def new_work(env: Environment, q: ndarray) -> Any:
    """V, Q, L_q, L_v, right-hand side, dV, dQ; Newton's matrix; its row exchanges; a vector to spare."""
    d = q.shape[0]
    entries = env.table[env.table[2] + 1] if env.table[2] > 0 else d*d
    z = np.zeros_like
    return z(q), z(q), z(q), z(q), z(q), z(q), z(q), np.zeros(entries, q.dtype), np.zeros(d, np.int64), z(q)


@kernel
def prepare(env: Environment, b: int, q: ndarray, guess: ndarray, work: Any) -> None:
    """Newton starts from the velocity of the step before, the first time from a guess."""
    copy(guess, work[0])


@kernel
def finish(guess: ndarray, work: Any) -> None:
    """Keep the velocity as the guess of the next block of steps."""
    copy(work[0], guess)


@kernel
def start(env: Environment, b: int, j: int, q: ndarray, work: Any) -> None:
    """Nothing is carried from node to node."""


@kernel
def newton_matrix(env: Environment, b: int, j: int, h: Any, work: Any) -> None:
    """Factorise A(h) at the present Q and V."""
    V, Q, A = work[0], work[1], work[7]
    clear(A)
    hessian(env, b, j, middle_time(env, j), Q, V, -0.25*h*h, -0.5*h, 0.5*h, 1.0, A)
    factorise_matrix(env, A, work[8], Q.shape[0])


@kernel
def solve_velocity(env: Environment, b: int, j: int, h: Any, q: ndarray, p: ndarray, work: Any) -> Any:
    """Newton for V; leaves Q, L_q and L_v there; returns 0, or the residual where it did not converge."""
    V, Q, Lq, Lv, r = work[0], work[1], work[2], work[3], work[4]
    d, t = q.shape[0], middle_time(env, j)
    before, done, residual = np.inf, False, 0.0
    for _ in range(50):
        for i in range(d):
            Q[i] = q[i] + 0.5*h*V[i]
            Lq[i] = 0.0
            Lv[i] = 0.0
        gradient(env, b, j, t, Q, V, Lq, Lv)
        if done:
            return 0.0
        for i in range(d):
            r[i] = p[i] + 0.5*h*Lq[i] - Lv[i]
        residual = largest(r)
        newton_matrix(env, b, j, h, work)
        solve_matrix(env, work[7], work[8], r)
        change, speed = largest(r), largest(V)
        for i in range(d):
            V[i] += r[i]
        if not change < np.inf:
            return np.inf
        # A step that changes nothing more has found the root as well as rounding lets it.
        stagnant = change >= 0.5*before and change*abs(h) <= 1e-12*(largest(Q) + abs(h)*speed)
        done = change <= 1e-13*speed or stagnant
        before = change
    return max(residual, 1e-300)


@kernel
def step(env: Environment, b: int, here: int, there: int, q: ndarray, p: ndarray, work: Any) -> Any:
    """From node ``here`` to its neighbour ``there``; returns 0, or the residual where Newton failed."""
    V, Lq, Lv = work[0], work[2], work[3]
    h = (there - here)*step_of(env, min(here, there))
    residual = solve_velocity(env, b, min(here, there), h, q, p, work)
    for i in range(q.shape[0]):
        q[i] += h*V[i]
        p[i] = Lv[i] + 0.5*h*Lq[i]
    return residual


@kernel
def linear_start(env: Environment, b: int, j: int, q: ndarray, dq: ndarray, g: ndarray, work: Any) -> None:
    """Nothing is carried from node to node."""


@kernel
def linear_step(
    env: Environment, b: int, here: int, there: int, q: ndarray, p: ndarray, dq: ndarray, dp: ndarray,
    g: ndarray, last: bool, work: Any,
) -> Any:  # fmt: skip
    """A step and its linear response; g += d_theta of -L_d along (dq, dp)."""
    V, Q, Lq, Lv, r, dV, dQ, rest = work[0], work[1], work[2], work[3], work[4], work[5], work[6], work[9]
    j = min(here, there)
    h, t = (there - here)*step_of(env, j), middle_time(env, j)
    residual = solve_velocity(env, b, j, h, q, p, work)
    newton_matrix(env, b, j, h, work)
    for i in range(q.shape[0]):
        dV[i] = 0.0
        dQ[i] = 0.0
        rest[i] = 0.0
    # A dV = dp - (L_vq - h/2 L_qq) dq, the derivative of Newton's equation at fixed V
    response(env, b, j, t, Q, V, dq, rest, dQ, dV, g, 0.0)
    for i in range(q.shape[0]):
        r[i] = dp[i] - dV[i] + 0.5*h*dQ[i]
    solve_matrix(env, work[7], work[8], r)
    for i in range(q.shape[0]):
        dV[i] = r[i]
        dQ[i] = dq[i] + 0.5*h*dV[i]
        q[i] += h*V[i]
        p[i] = Lv[i] + 0.5*h*Lq[i]
        dq[i] += h*dV[i]
        dp[i] = 0.0
        rest[i] = 0.0
    response(env, b, j, t, Q, V, dQ, dV, rest, dp, g, -step_of(env, j))
    for i in range(q.shape[0]):
        dp[i] += 0.5*h*rest[i]
    return residual


@kernel
def node_velocity(env: Environment, b: int, j: int, q: ndarray, p: ndarray, v: ndarray, work: Any) -> Any:
    """Newton for v with p = L_v(q, v); v is the guess; returns 0, or the residual where it did not converge."""
    unused, Lv, r, A = work[2], work[3], work[4], work[7]
    t, before, residual = node_time(env, j), np.inf, 0.0
    for _ in range(50):
        for i in range(q.shape[0]):
            Lv[i] = 0.0
        gradient(env, b, j, t, q, v, unused, Lv)
        for i in range(q.shape[0]):
            r[i] = p[i] - Lv[i]
        residual = largest(r)
        clear(A)
        hessian(env, b, j, t, q, v, 0.0, 0.0, 0.0, 1.0, A)
        factorise_matrix(env, A, work[8], q.shape[0])
        solve_matrix(env, A, work[8], r)
        change = largest(r)
        if not change < np.inf:
            return np.inf
        for i in range(q.shape[0]):
            v[i] += r[i]
        if change <= 1e-13*largest(v) or (change >= 0.5*before and residual <= 1e-11*largest(p)):
            return 0.0
        before = change
    return max(residual, 1e-300)
