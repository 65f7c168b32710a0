"""Störmer-Verlet: L_d(x, y) of one interval and its derivatives, for two-point problems and for contrasts."""

from __future__ import annotations

from typing import Any

from numpy import ndarray

from ..compiler.contract import (
    Environment,
    force,
    force_response,
    hessian,
    lagrangian,
    mass_parameters,
    potential_parameters,
)
from ..compiler.kernel import kernel
from .clock import node_time, step_of
from .common import clear


@kernel
def interval_action(env: Environment, b: int, k: int, x: ndarray, y: ndarray, work: Any) -> Any:
    """L_d(x, y)."""
    v, h = work[3], step_of(env, k)
    for i in range(x.shape[0]):
        v[i] = (y[i] - x[i])/h
    begin = lagrangian(env, b, k, node_time(env, k), x, v)
    return 0.5*h*(begin + lagrangian(env, b, k + 1, node_time(env, k + 1), y, v))


@kernel
def interval(env: Environment, b: int, k: int, x: ndarray, y: ndarray, D1: ndarray, D2: ndarray, work: Any) -> None:
    """D1 += D_1 L_d(x, y), D2 += D_2 L_d(x, y)."""
    m, F = work[0], work[1]
    h = step_of(env, k)
    clear(F)
    force(env, b, k, node_time(env, k), x, F)
    for i in range(x.shape[0]):
        D1[i] += 0.5*h*F[i] - m[i]*(y[i] - x[i])/h
        F[i] = 0.0
    force(env, b, k + 1, node_time(env, k + 1), y, F)
    for i in range(x.shape[0]):
        D2[i] += 0.5*h*F[i] + m[i]*(y[i] - x[i])/h


@kernel
def interval_hessian(
    env: Environment, b: int, k: int, x: ndarray, y: ndarray, H11: ndarray, H12: ndarray, H22: ndarray, work: Any
) -> None:
    """The blocks D_11, D_12, D_22 of L_d, flat, added."""
    m, v = work[0], work[3]
    h, d = step_of(env, k), x.shape[0]
    clear(v)
    hessian(env, b, k, node_time(env, k), x, v, 0.5*h, 0.0, 0.0, 0.0, H11)
    hessian(env, b, k + 1, node_time(env, k + 1), y, v, 0.5*h, 0.0, 0.0, 0.0, H22)
    for i in range(d):
        H11[i*d + i] += m[i]/h
        H22[i*d + i] += m[i]/h
        H12[i*d + i] -= m[i]/h


@kernel
def interval_parameters(
    env: Environment, b: int, k: int, x: ndarray, y: ndarray, g: ndarray, weight: Any, work: Any
) -> None:
    """g += weight d_theta L_d(x, y)."""
    v, h = work[3], step_of(env, k)
    for i in range(x.shape[0]):
        v[i] = 0.5*((y[i] - x[i])/h)**2
    mass_parameters(env, b, v, g, weight*h)
    potential_parameters(env, b, k, node_time(env, k), x, g, weight*0.5*h)
    potential_parameters(env, b, k + 1, node_time(env, k + 1), y, g, weight*0.5*h)


@kernel
def interval_response(
    env: Environment, b: int, k: int, x: ndarray, y: ndarray, dx: ndarray, dy: ndarray, g: ndarray, weight: Any,
    work: Any,
) -> None:  # fmt: skip
    """g += weight d_theta (D_1 L_d dx + D_2 L_d dy)."""
    F, dF, v, h = work[1], work[2], work[3], step_of(env, k)
    for i in range(x.shape[0]):
        v[i] = (y[i] - x[i])*(dy[i] - dx[i])/(h*h)
    mass_parameters(env, b, v, g, weight*h)
    force_response(env, b, k, node_time(env, k), x, dx, F, dF, g, weight*0.5*h)
    force_response(env, b, k + 1, node_time(env, k + 1), y, dy, F, dF, g, weight*0.5*h)
