"""RATTLE: Störmer-Verlet for a system with holonomic constraints g(q; theta) = 0.

The discrete action is Verlet's of L + lambda g with a multiplier of its own in each half step at a node, so that
S_d = sum of L_d(q_k, q_{k+1}) + h/2 sum of (lambda_k^+ + lambda_k^-) g(q_k). One step from x to y:

    p_half = p + h/2 [F(x) + G(x)^T lambda],   y = x + h M^-1 p_half,   g(y) = 0            (SHAKE; Newton for lambda)
    p'     = p_half + h/2 [F(y) + G(y)^T lambda'],   G(y) M^-1 p' = 0                       (RATTLE; linear in lambda')

with F = L_q at rest and G = g_q. Order 2, symmetric, symplectic on the constraint; going back is going on with -h.
A momentum matters only up to G^T times anything: lambda of the next half step takes its normal part away, also that
of a nudge. The arrays z are (q, lambda), of d + m numbers, and a term lambda g has a place in the Lagrangian that
``force`` and ``force_response`` see. Sources: Andersen, J. Comput. Phys. 52 (1983); Leimkuhler and Skeel,
J. Comput. Phys. 112 (1994); Hairer, Lubich and Wanner (2006), section VII.1.4.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from ..compiler.contract import Environment, constraint, force, force_response, mass, mass_parameters
from ..compiler.kernel import kernel
from .clock import node_time
from .common import clear, copy
from .linear import factorise_dense, solve_dense

# explicit but for the multipliers: the masses are constant and diagonal
ORDER, EXPLICIT, SYMMETRIC, LABELS = 2, True, True, "nodes"


@kernel
def new_work(env: Environment, q: ndarray) -> Any:
    """Masses, F, z, G here and there, matrix, exchanges and right-hand side, dF, dz, v, x, multipliers."""
    z, m = np.zeros(q.shape[0] + env.table[5], q.dtype), env.table[5]
    G, r = np.zeros(z.shape[0]*z.shape[0], q.dtype), np.zeros(m, q.dtype)
    return (
        np.zeros_like(q), np.zeros_like(z), z, G, np.zeros_like(G), np.zeros(m*m, q.dtype), np.zeros(m, np.int64), r,
        np.zeros_like(z), np.zeros_like(z), np.zeros_like(q), np.zeros_like(q), np.zeros_like(r),
    )  # fmt: skip


@kernel
def prepare(env: Environment, b: int, q: ndarray, guess: ndarray, work: Any) -> None:
    """What a sample needs once: its masses."""
    m = work[0]
    clear(m)
    mass(env, b, m)


@kernel
def finish(guess: ndarray, work: Any) -> None:
    """Nothing to keep for the next block of steps."""


@kernel
def start(env: Environment, b: int, j: int, q: ndarray, work: Any) -> None:
    """Multipliers begin at zero; later each step begins with those of the one before."""
    clear(work[12])


@kernel
def compose(q: ndarray, multipliers: ndarray, scale: Any, z: ndarray) -> None:
    """z = (q, scale multipliers)."""
    for i in range(q.shape[0]):
        z[i] = q[i]
    for k in range(multipliers.shape[0]):
        z[q.shape[0] + k] = scale*multipliers[k]


@kernel
def at_node(env: Environment, b: int, j: int, q: ndarray, G: ndarray, work: Any) -> None:
    """F = L_q and G at a node; z = (q, 0)."""
    F, z = work[1], work[2]
    compose(q, work[12], 0.0, z)
    clear(F)
    clear(G)
    force(env, b, j, node_time(env, j), z, F)
    constraint(env, b, j, node_time(env, j), z, F, G)


@kernel
def respond(env: Environment, b: int, j: int, g: ndarray, weight: Any, work: Any) -> None:
    """dF of L + lambda g along dz at z, at a node; g += weight d_theta of its slope along dz."""
    clear(work[1])
    clear(work[8])
    force_response(env, b, j, node_time(env, j), work[2], work[9], work[1], work[8], g, weight)


@kernel
def couple(G: ndarray, other: ndarray, work: Any) -> None:
    """Factorise K = G M^-1 other^T."""
    m, K = work[0], work[5]
    d, n = m.shape[0], work[7].shape[0]
    for k in range(n):
        for l in range(n):
            K[k*n + l] = 0.0
            for i in range(d):
                K[k*n + l] += G[(d + k)*(d + n) + i]*other[(d + l)*(d + n) + i]/m[i]
    factorise_dense(K, work[6], n)


@kernel
def apply(G: ndarray, v: ndarray, r: ndarray) -> None:
    """r = G v."""
    d, n = v.shape[0], r.shape[0]
    for k in range(n):
        r[k] = 0.0
        for i in range(d):
            r[k] += G[(d + k)*(d + n) + i]*v[i]


@kernel
def pull(G: ndarray, r: ndarray, c: Any, p: ndarray) -> None:
    """p += c G^T r."""
    d, n = p.shape[0], r.shape[0]
    for k in range(n):
        for i in range(d):
            p[i] += c*G[(d + k)*(d + n) + i]*r[k]


@kernel
def onto(env: Environment, b: int, j: int, h: Any, q: ndarray, p: ndarray, work: Any) -> Any:
    """Newton for lambda with g(y) = 0, y = q + h M^-1 p_half, p_half = p + h/2 G(q)^T lambda; G of q is in work[3].

    ``q`` and ``p`` become y and p_half, and work[4] G of y. Returns 0, or the residual where Newton did not converge.
    """
    m, F, z, G, there, r, v, multipliers = work[0], work[1], work[2], work[3], work[4], work[7], work[10], work[12]
    d, n = q.shape[0], multipliers.shape[0]
    before, done, residual = np.inf, False, 0.0
    for _ in range(50):
        copy(p, v)
        pull(G, multipliers, 0.5*h, v)
        for i in range(d):
            z[i] = q[i] + h*v[i]/m[i]
        clear(F)
        clear(there)
        constraint(env, b, j, node_time(env, j), z, F, there)
        if done:
            for i in range(d):
                q[i] = z[i]
                p[i] = v[i]
            return 0.0
        residual = 0.0
        for k in range(n):
            r[k] = F[d + k]
            residual = max(residual, abs(r[k]))
        couple(there, G, work)
        solve_dense(work[5], work[6], r)
        for k in range(n):
            multipliers[k] -= r[k]/(0.5*h*h)
        clear(v)
        pull(G, r, 1.0, v)
        change, size = 0.0, 0.0
        for i in range(d):
            size = max(size, abs(z[i]))
            change = max(change, abs(v[i]/m[i]))
            if v[i] != v[i]:
                return np.inf
        # A step that changes nothing more has found the root as well as rounding lets it.
        done = change <= 1e-16*size or (change >= 0.5*before and change <= 1e-12*size)
        before = change
    return max(residual, 1e-300)


@kernel
def tangent(G: ndarray, p: ndarray, work: Any) -> None:
    """p -= G^T r so that G M^-1 p = 0."""
    m, r, v = work[0], work[7], work[10]
    couple(G, G, work)
    for i in range(p.shape[0]):
        v[i] = p[i]/m[i]
    apply(G, v, r)
    solve_dense(work[5], work[6], r)
    pull(G, r, -1.0, p)


@kernel
def step(env: Environment, b: int, here: int, there: int, q: ndarray, p: ndarray, work: Any) -> Any:
    """From node ``here`` to its neighbour ``there``; returns 0, or the residual where Newton failed."""
    F = work[1]
    h = (there - here)*env.signals[1]
    at_node(env, b, here, q, work[3], work)
    for i in range(q.shape[0]):
        p[i] += 0.5*h*F[i]
    left = onto(env, b, there, h, q, p, work)
    at_node(env, b, there, q, work[4], work)
    for i in range(q.shape[0]):
        p[i] += 0.5*h*F[i]
    tangent(work[4], p, work)
    return left


@kernel
def linear_start(env: Environment, b: int, j: int, q: ndarray, dq: ndarray, g: ndarray, work: Any) -> None:
    """As ``start``."""
    clear(work[12])


@kernel
def linear_step(
    env: Environment, b: int, here: int, there: int, q: ndarray, p: ndarray, dq: ndarray, dp: ndarray,
    g: ndarray, last: bool, work: Any,
) -> Any:  # fmt: skip
    """A step and its linear response; g += d_theta of -(L_d + lambda g) along (dq, dp, dlambda).

    dlambda of the first half keeps dq on the constraint; that of the second may be anything, and is zero.
    """
    m, F, z, r, dF, dz, v, x, multipliers = (
        work[0], work[1], work[2], work[7], work[8], work[9], work[10], work[11], work[12]
    )  # fmt: skip
    d, n = q.shape[0], multipliers.shape[0]
    h, weight = (there - here)*env.signals[1], -0.5*env.signals[1]
    copy(q, x)
    at_node(env, b, here, q, work[3], work)
    for i in range(d):
        p[i] += 0.5*h*F[i]
    left = onto(env, b, there, h, q, p, work)
    compose(x, multipliers, 1.0, z)
    compose(dq, multipliers, 0.0, dz)
    respond(env, b, here, g, 0.0, work)
    for i in range(d):
        dp[i] += 0.5*h*dF[i]
        v[i] = dq[i] + h*dp[i]/m[i]
    apply(work[4], v, r)
    couple(work[4], work[3], work)
    solve_dense(work[5], work[6], r)
    pull(work[3], r, -1.0/h, dp)
    for k in range(n):
        dz[d + k] = -2.0/(h*h)*r[k]
    respond(env, b, here, g, weight, work)
    for i in range(d):
        dq[i] += h*dp[i]/m[i]
        v[i] = p[i]*dp[i]/(m[i]*m[i])
    mass_parameters(env, b, v, g, 2.0*weight)
    at_node(env, b, there, q, work[4], work)
    for i in range(d):
        p[i] += 0.5*h*F[i]
    tangent(work[4], p, work)
    compose(q, r, -2.0/h, z)
    compose(dq, r, 0.0, dz)
    respond(env, b, there, g, weight, work)
    for i in range(d):
        dp[i] += 0.5*h*dF[i]
    return left
