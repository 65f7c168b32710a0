"""Initial data of a constrained system: onto the constraint, and the chain rule back.

A position q is moved to x = q + M^-1 G(q)^T mu with g(x) = 0, by nothing but rounding where it is consistent, and a
momentum p to y = p - G(x)^T nu with G(x) M^-1 y = 0. No path depends on nu, but what is held fixed is p, not y: with
c = dJ/dp the derivative a = dJ/dx at fixed y becomes a - (nu g)_xx c at fixed p. And x depends on the parameters that
g contains (the length of a rod): for b = a - G(x)^T kappa and G(q) M^-1 b = 0,

    dJ/dq = b + (mu g)_qq M^-1 b,
    dJ/dtheta += (mu g)_q,theta M^-1 b - kappa g_theta(x) - (G^T mu) M^-2 M_theta b - (nu g)_x,theta c.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from ..compiler.contract import Environment, hessian, mass_parameters
from ..compiler.kernel import entry, kernel
from .clock import node_time
from .common import clear, copy
from .linear import solve_dense
from .rattle import apply, at_node, compose, couple, new_work, onto, prepare, pull, respond, start, tangent


@entry
def onto_constraints(
    env: Environment, q: ndarray, p: ndarray, mu: ndarray, moved: ndarray, turned: ndarray, residual: ndarray
) -> None:
    """Positions onto the constraint and momenta into its tangent space, in place; mu and nu in ``mu``.

    ``moved`` and ``turned`` take the largest change of a position and of a velocity. Where Newton fails ``residual``
    is positive, and infinite where constraints depend on each other.
    """
    work = new_work(env, q[0])
    m, x, still = work[0], work[11], q[0].copy()
    for b in range(q.shape[0]):
        prepare(env, b, q[b], q[b], work)
        start(env, b, 0, q[b], work)
        at_node(env, b, 0, q[b], work[3], work)
        copy(q[b], x)
        clear(still)
        residual[b] = onto(env, b, 0, 1.0, x, still, work)
        for i in range(x.shape[0]):
            moved[b] = max(moved[b], abs(x[i] - q[b, i]))
        copy(x, q[b])
        for k in range(mu.shape[2]):
            mu[b, 0, k] = 0.5*work[12][k]
        at_node(env, b, 0, x, work[4], work)
        copy(p[b], x)
        tangent(work[4], p[b], work)
        copy(work[7], mu[b, 1])
        for i in range(x.shape[0]):
            turned[b] = max(turned[b], abs((x[i] - p[b, i])/m[i]))


@kernel
def add_curvature(
    env: Environment, b: int, q: ndarray, multipliers: ndarray, c: ndarray, a: ndarray, g: ndarray, sign: float,
    work: Any,
) -> None:  # fmt: skip
    """a += sign (lambda g)_qq c, g += sign (lambda g)_q,theta c: responses with the multipliers less those without."""
    dF = work[8]
    compose(c, multipliers, 0.0, work[9])
    for k in range(2):
        factor = -sign if k == 0 else sign
        compose(q, multipliers, 1.0*k, work[2])
        respond(env, b, 0, g, factor, work)
        for i in range(q.shape[0]):
            a[i] += factor*dF[i]


@entry
def from_constraints(
    env: Environment, q: ndarray, x: ndarray, mu: ndarray, c: ndarray, a: ndarray, g: ndarray, good: ndarray
) -> None:
    """From a = dJ/dx and c = dJ/dp, x on the constraint, to the data given: a in place, g += its part."""
    work = new_work(env, q[0])
    m, z, r, dz, v, none = work[0], work[2], work[7], work[9], work[10], np.zeros_like(q[0])
    for b in range(q.shape[0]):
        if not good[b]:
            continue
        prepare(env, b, q[b], q[b], work)
        start(env, b, 0, q[b], work)
        add_curvature(env, b, x[b], mu[b, 1], c[b], a[b], g, -1.0, work)
        at_node(env, b, 0, x[b], work[4], work)
        at_node(env, b, 0, q[b], work[3], work)
        couple(work[3], work[4], work)
        for i in range(m.shape[0]):
            v[i] = a[b, i]/m[i]
        apply(work[3], v, r)
        solve_dense(work[5], work[6], r)
        pull(work[4], r, -1.0, a[b])
        compose(x[b], r, 0.0, z)
        compose(none, r, -1.0, dz)
        respond(env, b, 0, g, 1.0, work)
        clear(v)
        pull(work[3], mu[b, 0], 1.0, v)
        for i in range(m.shape[0]):
            work[11][i] = a[b, i]/m[i]
            v[i] *= -work[11][i]/m[i]
        mass_parameters(env, b, v, g, 1.0)
        add_curvature(env, b, q[b], mu[b, 0], work[11], a[b], g, 1.0, work)


@entry
def tangent_momenta(env: Environment, nodes: ndarray, p: ndarray) -> None:
    """The momenta of nodes (samples, nodes, d) without what is not tangent."""
    work = new_work(env, nodes[0, 0])
    for b in range(nodes.shape[0]):
        prepare(env, b, nodes[b, 0], nodes[b, 0], work)
        for j in range(nodes.shape[1]):
            at_node(env, b, j, nodes[b, j], work[3], work)
            tangent(work[3], p[b, j], work)


@entry
def curvatures(env: Environment, q: ndarray, m: ndarray, H: ndarray, G: ndarray) -> None:
    """Masses, -L_qq (without multipliers) and G of every sample, flat with room for the multipliers."""
    work = new_work(env, q[0])
    for b in range(q.shape[0]):
        prepare(env, b, q[b], q[b], work)
        copy(work[0], m[b])
        at_node(env, b, 0, q[b], G[b], work)
        hessian(env, b, 0, node_time(env, 0), work[2], work[9], -1.0, 0.0, 0.0, 0.0, H[b])
