"""Implicit midpoint with forces: the transposed derivative of one step, for the classical adjoint alone."""

from __future__ import annotations

from typing import Any

from numpy import ndarray

from ..compiler.contract import Environment, response
from ..compiler.kernel import kernel
from .clock import middle_time
from .linear import solve_transposed
from .midpoint import newton_matrix
from .midpoint_forced import interval_middle


@kernel
def adjoint_step(
    env: Environment, b: int, k: int, x: ndarray, y: ndarray, lq: ndarray, lp: ndarray, g: ndarray, work: Any
) -> None:
    """The transposed derivative of the step k -> k+1 from x to y, applied to (lq, lp); g += its part for theta."""
    V, Q, mu, first, second = work[0], work[1], work[4], work[5], work[6]
    h, t = env.signals[1], middle_time(env, k)
    interval_middle(env, x, y, work)
    for i in range(x.shape[0]):
        mu[i] = 0.5*h*lp[i]
        first[i] = 0.0
        second[i] = 0.0
    response(env, b, k, t, Q, V, mu, lp, first, second, g, 1.0)  # through p_{k+1} = L_v + h/2 (L_q + f)
    newton_matrix(env, b, k, h, work)
    for i in range(x.shape[0]):
        mu[i] = second[i] + h*lq[i] + 0.5*h*first[i]
        lq[i] += first[i]
        first[i] = 0.0
        second[i] = 0.0
    solve_transposed(env, work[7], work[8], mu)
    for i in range(x.shape[0]):
        lp[i] = mu[i]
        work[9][i] = -0.5*h*mu[i]
    response(env, b, k, t, Q, V, work[9], mu, first, second, g, -1.0)  # through Newton's equation
    for i in range(x.shape[0]):
        lq[i] -= first[i]
