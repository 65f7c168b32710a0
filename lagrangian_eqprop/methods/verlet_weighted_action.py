"""Weighted Störmer-Verlet: L_d(x, y) of one interval and its derivatives, for two-point problems and contrasts.

``lagrangian`` and ``hessian`` are those of e^{gamma t} L, weighted for the time they are asked at; ``shift`` takes
that to the middle of the interval.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from ..compiler.contract import (
    Environment,
    force,
    force_response,
    hessian,
    lagrangian,
    mass_parameters,
    potential_parameters,
    rate,
    rate_parameters,
)
from ..compiler.kernel import kernel
from .clock import middle_time, node_time
from .common import clear
from .verlet_weighted import interval_weight


@kernel
def shift(env: Environment, b: int) -> Any:
    """e^{gamma h/2}: from the weight of a node to that of the middle after it."""
    return np.exp(0.5*rate(env, b)*env.signals[1])


@kernel
def interval_action(env: Environment, b: int, k: int, x: ndarray, y: ndarray, work: Any) -> Any:
    """L_d(x, y)."""
    v, h, later = work[3], env.signals[1], shift(env, b)
    for i in range(x.shape[0]):
        v[i] = (y[i] - x[i])/h
    begin = lagrangian(env, b, k, node_time(env, k), x, v)
    return 0.5*h*(begin*later + lagrangian(env, b, k + 1, node_time(env, k + 1), y, v)/later)


@kernel
def interval(env: Environment, b: int, k: int, x: ndarray, y: ndarray, D1: ndarray, D2: ndarray, work: Any) -> None:
    """D1 += D_1 L_d(x, y), D2 += D_2 L_d(x, y)."""
    m, F = work[0], work[1]
    h, W = env.signals[1], interval_weight(env, b, k)
    clear(F)
    force(env, b, k, node_time(env, k), x, F)
    for i in range(x.shape[0]):
        D1[i] += W*(0.5*h*F[i] - m[i]*(y[i] - x[i])/h)
        F[i] = 0.0
    force(env, b, k + 1, node_time(env, k + 1), y, F)
    for i in range(x.shape[0]):
        D2[i] += W*(0.5*h*F[i] + m[i]*(y[i] - x[i])/h)


@kernel
def interval_hessian(
    env: Environment, b: int, k: int, x: ndarray, y: ndarray, H11: ndarray, H12: ndarray, H22: ndarray, work: Any
) -> None:
    """The blocks D_11, D_12, D_22 of L_d, flat, added."""
    m, v = work[0], work[3]
    h, d, W, later = env.signals[1], x.shape[0], interval_weight(env, b, k), shift(env, b)
    clear(v)
    hessian(env, b, k, node_time(env, k), x, v, 0.5*h*later, 0.0, 0.0, 0.0, H11)
    hessian(env, b, k + 1, node_time(env, k + 1), y, v, 0.5*h/later, 0.0, 0.0, 0.0, H22)
    for i in range(d):
        H11[i*d + i] += W*m[i]/h
        H22[i*d + i] += W*m[i]/h
        H12[i*d + i] -= W*m[i]/h


@kernel
def interval_parameters(
    env: Environment, b: int, k: int, x: ndarray, y: ndarray, g: ndarray, weight: Any, work: Any
) -> None:
    """g += weight d_theta L_d(x, y)."""
    v, h, W = work[3], env.signals[1], interval_weight(env, b, k)
    rate_parameters(env, b, g, weight*middle_time(env, k)*interval_action(env, b, k, x, y, work))
    for i in range(x.shape[0]):
        v[i] = 0.5*((y[i] - x[i])/h)**2
    mass_parameters(env, b, v, g, weight*h*W)
    potential_parameters(env, b, k, node_time(env, k), x, g, weight*0.5*h*W)
    potential_parameters(env, b, k + 1, node_time(env, k + 1), y, g, weight*0.5*h*W)


@kernel
def interval_response(
    env: Environment, b: int, k: int, x: ndarray, y: ndarray, dx: ndarray, dy: ndarray, g: ndarray, weight: Any,
    work: Any,
) -> None:  # fmt: skip
    """g += weight d_theta (D_1 L_d dx + D_2 L_d dy)."""
    m, F, dF, v, h = work[0], work[1], work[2], work[3], env.signals[1]
    W, along = interval_weight(env, b, k), 0.0*x[0]
    clear(F)
    for i in range(x.shape[0]):
        v[i] = (y[i] - x[i])*(dy[i] - dx[i])/(h*h)
        along += m[i]*v[i]
    mass_parameters(env, b, v, g, weight*h*W)
    force_response(env, b, k, node_time(env, k), x, dx, F, dF, g, weight*0.5*h*W)
    for i in range(x.shape[0]):
        along += 0.5*F[i]*dx[i]
        F[i] = 0.0
    force_response(env, b, k + 1, node_time(env, k + 1), y, dy, F, dF, g, weight*0.5*h*W)
    for i in range(x.shape[0]):
        along += 0.5*F[i]*dy[i]
    rate_parameters(env, b, g, weight*middle_time(env, k)*h*W*along)
