"""Implicit midpoint: L_d(x, y) of one interval and its derivatives, for two-point problems and for contrasts."""

from __future__ import annotations

from typing import Any

from numpy import ndarray

from ..compiler.contract import (
    Environment,
    gradient,
    hessian,
    lagrangian,
    parameters,
    response,
)
from ..compiler.kernel import kernel
from .clock import middle_time, step_of


@kernel
def middle(x: ndarray, y: ndarray, h: Any, work: Any) -> None:
    """Q and V of an interval."""
    for i in range(x.shape[0]):
        work[0][i] = (y[i] - x[i])/h
        work[1][i] = 0.5*(x[i] + y[i])
        work[2][i] = 0.0
        work[3][i] = 0.0


@kernel
def interval_action(env: Environment, b: int, k: int, x: ndarray, y: ndarray, work: Any) -> Any:
    """L_d(x, y)."""
    middle(x, y, step_of(env, k), work)
    return step_of(env, k)*lagrangian(env, b, k, middle_time(env, k), work[1], work[0])


@kernel
def interval(env: Environment, b: int, k: int, x: ndarray, y: ndarray, D1: ndarray, D2: ndarray, work: Any) -> None:
    """D1 += D_1 L_d(x, y), D2 += D_2 L_d(x, y)."""
    h, Lq, Lv = step_of(env, k), work[2], work[3]
    middle(x, y, h, work)
    gradient(env, b, k, middle_time(env, k), work[1], work[0], Lq, Lv)
    for i in range(x.shape[0]):
        D1[i] += 0.5*h*Lq[i] - Lv[i]
        D2[i] += 0.5*h*Lq[i] + Lv[i]


@kernel
def interval_hessian(
    env: Environment, b: int, k: int, x: ndarray, y: ndarray, H11: ndarray, H12: ndarray, H22: ndarray, work: Any
) -> None:
    """The blocks D_11, D_12, D_22 of L_d, flat, added."""
    h, t = step_of(env, k), middle_time(env, k)
    middle(x, y, h, work)
    hessian(env, b, k, t, work[1], work[0], 0.25*h, -0.5, -0.5, 1.0/h, H11)
    hessian(env, b, k, t, work[1], work[0], 0.25*h, 0.5, -0.5, -1.0/h, H12)
    hessian(env, b, k, t, work[1], work[0], 0.25*h, 0.5, 0.5, 1.0/h, H22)


@kernel
def interval_parameters(
    env: Environment, b: int, k: int, x: ndarray, y: ndarray, g: ndarray, weight: Any, work: Any
) -> None:
    """g += weight d_theta L_d(x, y)."""
    middle(x, y, step_of(env, k), work)
    parameters(env, b, k, middle_time(env, k), work[1], work[0], g, weight*step_of(env, k))


@kernel
def interval_response(
    env: Environment, b: int, k: int, x: ndarray, y: ndarray, dx: ndarray, dy: ndarray, g: ndarray, weight: Any,
    work: Any,
) -> None:  # fmt: skip
    """g += weight d_theta (D_1 L_d dx + D_2 L_d dy)."""
    h, dV, dQ = step_of(env, k), work[5], work[6]
    middle(x, y, h, work)
    for i in range(x.shape[0]):
        dV[i] = (dy[i] - dx[i])/h
        dQ[i] = 0.5*(dx[i] + dy[i])
    response(env, b, k, middle_time(env, k), work[1], work[0], dQ, dV, work[2], work[3], g, weight*h)
