"""Weighted Störmer-Verlet: the transposed derivative of one step, for the classical adjoint alone."""

from __future__ import annotations

from typing import Any

from numpy import ndarray

from ..compiler.contract import Environment, force_response, mass_parameters, rate_parameters
from ..compiler.kernel import kernel
from .clock import middle_time, node_time
from .common import clear
from .verlet_weighted import interval_weight


@kernel
def adjoint_step(
    env: Environment, b: int, k: int, x: ndarray, y: ndarray, lq: ndarray, lp: ndarray, g: ndarray, work: Any
) -> None:
    """The transposed derivative of the step k -> k+1 from x to y, applied to (lq, lp); g += its part for theta."""
    m, F, dF, v = work[0], work[1], work[2], work[3]
    h, W, along = env.signals[1], interval_weight(env, b, k), 0.0*x[0]
    clear(F)
    clear(dF)
    force_response(env, b, k + 1, node_time(env, k + 1), y, lp, F, dF, g, 0.5*h*W)
    for i in range(x.shape[0]):
        along += 0.5*h*W*F[i]*lp[i]
        lq[i] += 0.5*h*W*dF[i]
        along -= (y[i] - x[i])*lq[i]
        v[i] = -(y[i] - x[i])/m[i]*lq[i]
        lp[i] += h*lq[i]/(W*m[i])
        F[i] = 0.0
        dF[i] = 0.0
    mass_parameters(env, b, v, g, 1.0)
    force_response(env, b, k, node_time(env, k), x, lp, F, dF, g, 0.5*h*W)
    for i in range(x.shape[0]):
        along += 0.5*h*W*F[i]*lp[i]
        lq[i] += 0.5*h*W*dF[i]
    rate_parameters(env, b, g, middle_time(env, k)*along)
