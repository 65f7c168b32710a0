"""The cost's part of the whole action: its value, slope and curvature at every node."""

from __future__ import annotations

from typing import Any

from numpy import ndarray

from ..compiler.contract import Environment, cost, cost_gradient, cost_hessian
from ..compiler.kernel import kernel
from ..methods.clock import node_time


@kernel
def nudge_gradient(env: Environment, b: int, q: ndarray, beta: Any, slope: ndarray) -> None:
    """slope += beta w c_q at every node."""
    for k in range(q.shape[0]):
        cost_gradient(env, b, k, node_time(env, k), q[k], slope[k], beta)


@kernel
def nudge_hessian(env: Environment, b: int, q: ndarray, beta: Any, diagonal: ndarray) -> None:
    """diagonal += beta w c_qq at every node, flat blocks."""
    for k in range(q.shape[0]):
        cost_hessian(env, b, k, node_time(env, k), q[k], beta, diagonal[k])


@kernel
def nudge_value(env: Environment, b: int, q: ndarray) -> Any:
    """Sum of w c over all nodes."""
    total = 0.0*q[0, 0]
    for k in range(q.shape[0]):
        total += cost(env, b, k, node_time(env, k), q[k])
    return total
