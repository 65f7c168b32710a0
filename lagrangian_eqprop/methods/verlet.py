"""Störmer-Verlet: the trapezoidal rule on the action.

    L_d(x, y) = h/2 [L(x, v, t_k) + L(y, v, t_k + h)],   v = (y - x)/h

for L = sum of m_i v_i^2/2 - V(q, t) with constant masses, where it is explicit:

    p_k     = -D_1 L_d = m v + h/2 V_q(x, t_k)          (solved for y)
    p_{k+1} = +D_2 L_d = m v - h/2 V_q(y, t_k + h)

Order 2, symmetric, stable for h times the largest frequency below 2. Going back is going on with -h and
the time labels exchanged. Source: Marsden and West, Acta Numerica 10 (2001), section 2.3.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from ..compiler.contract import (
    Environment,
    force,
    force_response,
    mass,
    mass_parameters,
)  # fmt: skip
from ..compiler.kernel import kernel
from .clock import node_time, step_of
from .common import clear

ORDER, EXPLICIT, SYMMETRIC, LABELS = 2, True, True, "nodes"


@kernel
def new_work(env: Environment, q: ndarray) -> Any:
    """Rows: masses, force, its response, velocity, and two to spare."""
    return np.zeros((6, q.shape[0]), q.dtype)


@kernel
def prepare(env: Environment, b: int, q: ndarray, guess: ndarray, work: Any) -> None:
    """What a sample needs once: its masses. An explicit method has no use for a guess of the velocity."""
    m = work[0]
    clear(m)
    mass(env, b, m)


@kernel
def finish(guess: ndarray, work: Any) -> None:
    """Nothing to keep for the next block of steps."""


@kernel
def start(env: Environment, b: int, j: int, q: ndarray, work: Any) -> None:
    """The force at the node where a run of steps begins."""
    F = work[1]
    clear(F)
    force(env, b, j, node_time(env, j), q, F)


@kernel
def step(env: Environment, b: int, here: int, there: int, q: ndarray, p: ndarray, work: Any) -> Any:
    """Kick, drift, kick from node ``here`` to its neighbour ``there``; returns a residual, here 0."""
    m, F = work[0], work[1]
    h = (there - here)*step_of(env, min(here, there))
    for i in range(q.shape[0]):
        p[i] += 0.5*h*F[i]
        q[i] += h*p[i]/m[i]
        F[i] = 0.0
    force(env, b, there, node_time(env, there), q, F)
    for i in range(q.shape[0]):
        p[i] += 0.5*h*F[i]
    return 0.0


@kernel
def linear_start(env: Environment, b: int, j: int, q: ndarray, dq: ndarray, g: ndarray, work: Any) -> None:
    """As ``start`` of a run back, with the response of the force to dq; half the step before this node enters g."""
    F, dF = work[1], work[2]
    clear(F)
    clear(dF)
    force_response(env, b, j, node_time(env, j), q, dq, F, dF, g, -0.5*step_of(env, j - 1))


@kernel
def linear_step(
    env: Environment, b: int, here: int, there: int, q: ndarray, p: ndarray, dq: ndarray, dp: ndarray,
    g: ndarray, last: bool, work: Any,
) -> Any:  # fmt: skip
    """A step and its linear response; on a way back g += d_theta of -L_d along (dq, dp), node by node."""
    m, F, dF, v = work[0], work[1], work[2], work[3]
    h = (there - here)*step_of(env, min(here, there))
    for i in range(q.shape[0]):
        p[i] += 0.5*h*F[i]
        dp[i] += 0.5*h*dF[i]
        q[i] += h*p[i]/m[i]
        dq[i] += h*dp[i]/m[i]
        v[i] = p[i]*dp[i]/(m[i]*m[i])
        F[i] = 0.0
        dF[i] = 0.0
    mass_parameters(env, b, v, g, -step_of(env, there))
    weight = -0.5*step_of(env, there)
    if not last:  # this node's other half
        weight -= 0.5*step_of(env, there - 1)
    force_response(env, b, there, node_time(env, there), q, dq, F, dF, g, weight)
    for i in range(q.shape[0]):
        p[i] += 0.5*h*F[i]
        dp[i] += 0.5*h*dF[i]
    return 0.0


@kernel
def node_velocity(env: Environment, b: int, j: int, q: ndarray, p: ndarray, v: ndarray, work: Any) -> Any:
    """v with p = L_v(q, v); returns a residual, here 0."""
    for i in range(q.shape[0]):
        v[i] = p[i]/work[0][i]
    return 0.0
