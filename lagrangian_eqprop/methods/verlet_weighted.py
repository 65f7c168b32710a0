"""Störmer-Verlet on the exponentially weighted action: damping in proportion to mass.

    L_d,k(x, y) = W_k h/2 [L(x, v, t_k) + L(y, v, t_{k+1})],   v = (y - x)/h,   W_k = e^{gamma (t_k + h/2)}

The weight is that of the middle of the interval for all of it, the potential at both nodes included. So W_k multiplies
what Verlet does with L alone (``mass`` and ``force`` are those of L):

    p_k     = W_k [m v + h/2 V_q(x, t_k)]          (solved for y)
    p_{k+1} = W_k [m v - h/2 V_q(y, t_{k+1})]

Order 2, symmetric, explicit; stable for h times the largest frequency below 2, whatever gamma. Going back is going on
with -h at the same weight: a device with gain. Source: Caldirola (1941), Kanai (1948); Marsden and West, Acta Numerica
10 (2001), section 2.3.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from ..compiler.contract import Environment, force, force_response, mass_parameters, rate, rate_parameters
from ..compiler.kernel import kernel
from .clock import middle_time, node_time
from .common import clear

ORDER, EXPLICIT, SYMMETRIC, LABELS = 2, True, True, "nodes"


@kernel
def interval_weight(env: Environment, b: int, j: int) -> Any:
    """W_j of the interval from node j to node j + 1."""
    return np.exp(rate(env, b)*middle_time(env, j))


@kernel
def step(env: Environment, b: int, here: int, there: int, q: ndarray, p: ndarray, work: Any) -> Any:
    """Kick, drift, kick from node ``here`` to its neighbour ``there``; returns a residual, here 0."""
    m, F = work[0], work[1]
    h, W = (there - here)*env.signals[1], interval_weight(env, b, min(here, there))
    for i in range(q.shape[0]):
        p[i] += 0.5*h*W*F[i]
        q[i] += h*p[i]/(W*m[i])
        F[i] = 0.0
    force(env, b, there, node_time(env, there), q, F)
    for i in range(q.shape[0]):
        p[i] += 0.5*h*W*F[i]
    return 0.0


@kernel
def linear_start(env: Environment, b: int, j: int, q: ndarray, dq: ndarray, g: ndarray, work: Any) -> None:
    """The force where a way back begins, and its response; half the weight of the interval before enters g."""
    F, dF = work[1], work[2]
    clear(F)
    clear(dF)
    weight = -0.5*env.signals[1]*interval_weight(env, b, j - 1)
    force_response(env, b, j, node_time(env, j), q, dq, F, dF, g, weight)


@kernel
def linear_step(
    env: Environment, b: int, here: int, there: int, q: ndarray, p: ndarray, dq: ndarray, dp: ndarray,
    g: ndarray, last: bool, work: Any,
) -> Any:  # fmt: skip
    """A step back and its linear response; g += d_theta of -L_d along (dq, dp), node by node."""
    m, F, dF, v = work[0], work[1], work[2], work[3]
    step, j = env.signals[1], min(here, there)
    h, W = (there - here)*step, interval_weight(env, b, j)
    along = 0.0*q[0]  # D_1 L_d dx + D_2 L_d dy
    for i in range(q.shape[0]):
        along += 0.5*W*F[i]*dq[i]
        p[i] += 0.5*h*W*F[i]
        dp[i] += 0.5*h*W*dF[i]
        q[i] += h*p[i]/(W*m[i])
        dq[i] += h*dp[i]/(W*m[i])
        v[i] = p[i]*dp[i]/(W*m[i]*m[i])
        along += v[i]*m[i]
        F[i] = 0.0
        dF[i] = 0.0
    mass_parameters(env, b, v, g, -step)
    nodal = W if last else W + interval_weight(env, b, j - 1)
    force_response(env, b, there, node_time(env, there), q, dq, F, dF, g, -0.5*step*nodal)
    for i in range(q.shape[0]):
        along += 0.5*W*F[i]*dq[i]
        p[i] += 0.5*h*W*F[i]
        dp[i] += 0.5*h*W*dF[i]
    rate_parameters(env, b, g, -step*middle_time(env, j)*along)
    return 0.0


@kernel
def node_velocity(env: Environment, b: int, j: int, q: ndarray, p: ndarray, v: ndarray, work: Any) -> Any:
    """v with p = e^{gamma t} m v; returns a residual, here 0."""
    weight = np.exp(rate(env, b)*node_time(env, j))
    for i in range(q.shape[0]):
        v[i] = p[i]/(weight*work[0][i])
    return 0.0
