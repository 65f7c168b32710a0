"""RATTLE: what an interval of a path owes to the parameters, and the transposed derivative of a step.

The multipliers of an interval follow from its ends: both nodal momenta are tangent to the constraint. So they do not
contain what balances a nudge; :func:`nudge_parameters` is that.
"""

from __future__ import annotations

from typing import Any

from numpy import ndarray

from ..compiler.contract import Environment, cost_gradient, mass_parameters, potential_parameters
from ..compiler.kernel import entry, kernel
from .clock import node_time
from .common import clear
from .linear import solve_dense
from .rattle import apply, at_node, compose, couple, new_work, prepare, pull, respond, tangent


@kernel
def multipliers_at(
    env: Environment, b: int, j: int, h: Any, x: ndarray, y: ndarray, at: ndarray, G: ndarray, work: Any
) -> None:
    """z = (at, lambda) of an interval's half step at its end ``at``, with G there; h is negative where that is y."""
    m, F, r, p = work[0], work[1], work[7], work[11]
    at_node(env, b, j, at, G, work)
    for i in range(x.shape[0]):
        p[i] = m[i]*(y[i] - x[i])/env.signals[1] - 0.5*h*F[i]
    tangent(G, p, work)
    compose(at, r, 2.0/h, work[2])


@kernel
def interval_parameters(
    env: Environment, b: int, k: int, x: ndarray, y: ndarray, g: ndarray, weight: Any, work: Any
) -> None:
    """g += weight d_theta (L_d + lambda g)(x, y)."""
    v, z, h = work[10], work[2], env.signals[1]
    for i in range(x.shape[0]):
        v[i] = 0.5*((y[i] - x[i])/h)**2
    mass_parameters(env, b, v, g, weight*h)
    multipliers_at(env, b, k, h, x, y, x, work[3], work)
    potential_parameters(env, b, k, node_time(env, k), z, g, weight*0.5*h)
    multipliers_at(env, b, k + 1, -h, x, y, y, work[3], work)
    potential_parameters(env, b, k + 1, node_time(env, k + 1), z, g, weight*0.5*h)


@kernel
def adjoint_step(
    env: Environment, b: int, k: int, x: ndarray, y: ndarray, lq: ndarray, lp: ndarray, g: ndarray, work: Any
) -> None:
    """The transposed derivative of the step k -> k+1 from x to y, applied to (lq, lp); g += its part for theta.

    What comes after depends on p' through its tangent part alone, so G(y) lp = 0 and the projection at y passes lp on;
    g(y) = 0 takes sigma out of lq, with G(x) [h M^-1 (lq - G(y)^T sigma) + lp] = 0.
    """
    m, z, r, dF, dz, v, multipliers = work[0], work[2], work[7], work[8], work[9], work[10], work[12]
    d, h = x.shape[0], env.signals[1]
    multipliers_at(env, b, k, h, x, y, x, work[3], work)
    for i in range(r.shape[0]):
        multipliers[i] = z[d + i]
    multipliers_at(env, b, k + 1, -h, x, y, y, work[4], work)
    compose(lp, r, 0.0, dz)
    respond(env, b, k + 1, g, 0.0, work)
    for i in range(d):
        lq[i] += 0.5*h*dF[i]
        v[i] = h*lq[i]/m[i] + lp[i]
    apply(work[3], v, r)
    couple(work[3], work[4], work)
    solve_dense(work[5], work[6], r)
    pull(work[4], r, -1.0/h, lq)
    compose(lp, r, -2.0/(h*h), dz)
    respond(env, b, k + 1, g, 0.5*h, work)
    for i in range(d):
        v[i] = -(y[i] - x[i])/m[i]*lq[i]
        lp[i] += h*lq[i]/m[i]
    mass_parameters(env, b, v, g, 1.0)
    compose(x, multipliers, 1.0, z)
    compose(lp, r, 0.0, dz)
    respond(env, b, k, g, 0.5*h, work)
    for i in range(d):
        lq[i] += 0.5*h*dF[i]


@entry
def nudge_parameters(env: Environment, nodes: ndarray, first: bool, last: int, good: ndarray, g: ndarray) -> None:
    """g -= kappa g_theta at the nodes 0..last-1 but a path's first; G^T kappa is the normal part of w c_q.

    The multiplier that balances it is part of the nudged path's, and d_beta of -lambda g_theta owes this to it.
    """
    work = new_work(env, nodes[0, 0])
    r, dz, v, none = work[7], work[9], work[10], work[11]
    clear(none)
    for b in range(nodes.shape[0]):
        if good[b]:
            prepare(env, b, nodes[b, 0], nodes[b, 0], work)
            for j in range(1 if first else 0, last):
                at_node(env, b, j, nodes[b, j], work[3], work)
                couple(work[3], work[3], work)
                clear(v)
                cost_gradient(env, b, j, node_time(env, j), nodes[b, j], v, 1.0)
                for i in range(v.shape[0]):
                    v[i] /= work[0][i]
                apply(work[3], v, r)
                solve_dense(work[5], work[6], r)
                compose(none, r, 1.0, dz)
                respond(env, b, j, g, -1.0, work)
