"""The equations of a whole path, interval by interval and term by term: for every method and any size.

The functions are those of ``newton_lanes``, by the ``interval`` functions that each method defines.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from ..compiler.contract import Environment, cost_gradient, cost_hessian
from ..compiler.kernel import kernel
from ..methods.clock import node_time
from ..methods.common import clear
from ..methods.verlet import new_work, prepare
from ..methods.verlet_action import interval, interval_hessian, interval_parameters, interval_response
from .newton_band import modulus


@kernel
def path_residual(
    env: Environment, b: int, path: ndarray, beta: Any, span: tuple, r: ndarray, p: ndarray, room: Any
) -> float:  # fmt: skip
    """r = the derivative of S_d - beta C by every node, p = nodal momenta; returns the largest D_1 L_d or D_2 L_d."""
    nodes, d, scale = span[0], span[1], 0.0
    work = new_work(env, path[:d])
    prepare(env, b, path[:d], path[:d], work)
    one, two = np.zeros_like(path[:d]), np.zeros_like(path[:d])
    clear(r)
    for k in range(nodes - 1):
        clear(one)
        clear(two)
        interval(env, b, k, path[k*d : k*d + d], path[k*d + d : k*d + 2*d], one, two, work)
        for i in range(d):
            r[k*d + i] += one[i]
            p[k*d + i] = -one[i]
            r[k*d + d + i] += two[i]
            p[k*d + d + i] = two[i]
            if modulus(one[i]) > scale:
                scale = modulus(one[i])
            if modulus(two[i]) > scale:
                scale = modulus(two[i])
    if beta != 0.0:
        for k in range(nodes):
            clear(one)
            cost_gradient(env, b, k, node_time(env, k), path[k*d : k*d + d], one, beta)
            for i in range(d):
                r[k*d + i] -= one[i]
                if k == 0:
                    p[i] += one[i]
                if k == nodes - 1:
                    p[k*d + i] -= one[i]
    return scale


@kernel
def path_hessian(env: Environment, b: int, path: ndarray, beta: Any, span: tuple, H: ndarray, room: Any) -> None:
    """The Hessian of S_d - beta C over all nodes, as ``newton_band`` keeps it."""
    nodes, d = span[0], span[1]
    work = new_work(env, path[:d])
    prepare(env, b, path[:d], path[:d], work)
    blocks = np.zeros((3, d*d), path.dtype)
    for k in range(nodes):
        here, there, beyond = blocks[k % 2], blocks[1 - k % 2], blocks[2]
        clear(there)
        clear(beyond)
        if k + 1 < nodes:
            x, z = path[k*d : k*d + d], path[k*d + d : k*d + 2*d]
            interval_hessian(env, b, k, x, z, here, beyond, there, work)
        if beta != 0.0:
            cost_hessian(env, b, k, node_time(env, k), path[k*d : k*d + d], -beta, here)
        for i in range(d):
            row = (k*d + i)*2*d
            for c in range(d):
                H[row + c] = here[i*d + c]
                H[row + d + c] = beyond[i*d + c]
    for g in range(nodes*d*2*d, H.shape[0]):
        H[g] = 0.0


@kernel
def path_pull(env: Environment, b: int, path: ndarray, span: tuple, slope: ndarray, room: Any) -> None:
    """slope = w c_q at every node."""
    d = span[1]
    clear(slope)
    for k in range(span[0]):
        cost_gradient(env, b, k, node_time(env, k), path[k*d : k*d + d], slope[k*d : k*d + d], 1.0)


@kernel
def path_parameters(
    env: Environment, b: int, path: ndarray, y: ndarray, along: bool, weight: Any, span: tuple, g: ndarray, room: Any
) -> None:  # fmt: skip
    """g += weight d_theta S_d; with ``along`` weight times its derivative along y."""
    d = span[1]
    work = new_work(env, path[:d])
    prepare(env, b, path[:d], path[:d], work)
    for k in range(span[0] - 1):
        x, z = path[k*d : k*d + d], path[k*d + d : k*d + 2*d]
        if along:
            interval_response(env, b, k, x, z, y[k*d : k*d + d], y[k*d + d : k*d + 2*d], g, weight, work)
        else:
            interval_parameters(env, b, k, x, z, g, weight, work)
