"""The equations of a whole path, several intervals at a time: for systems small enough to be written out.

``newton_text`` derives and writes the functions of one interval; here they are called for ``WIDTH`` intervals side by
side in lanes, and what they return is added where it belongs. Paths, times and signals are padded by as many nodes,
so that the last lanes have something to read; what they say is not used. ``newton_terms`` has the same functions
for every other system.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from ..compiler.contract import Environment
from ..compiler.kernel import kernel
from .newton_band import modulus

WIDTH, SIZE = 1, 1  # a generated module has its own, and the tables that follow
CURVATURE = BEND = np.zeros(0, np.int64)
OWNERS = np.zeros((0, 2), np.int64)


def interval_slopes(*arguments: Any) -> None:
    """D_1 L_d and D_2 L_d of the intervals k, k + 1, ... into the rows of ``out``."""
    raise RuntimeError("defined in the generated module")


def interval_curvature(*arguments: Any) -> None:
    """Second derivatives of L_d, a row each; ``CURVATURE`` says where they belong in the band, from node k on."""
    raise RuntimeError("defined in the generated module")


def node_slopes(*arguments: Any) -> None:
    """w c_q of the nodes k, k + 1, ..."""
    raise RuntimeError("defined in the generated module")


def node_curvature(*arguments: Any) -> None:
    """w c_qq, a row each; ``BEND`` says where they belong."""
    raise RuntimeError("defined in the generated module")


def interval_owed(*arguments: Any) -> None:
    """out += the derivatives of L_d by the parameters, a row each; ``OWNERS``: a parameter's layout, and the place."""
    raise RuntimeError("defined in the generated module")


def interval_along(*arguments: Any) -> None:
    """The same of the derivative of L_d along the variation y."""
    raise RuntimeError("defined in the generated module")


@kernel
def path_residual(
    env: Environment, b: int, path: ndarray, beta: Any, span: tuple, r: ndarray, p: ndarray, room: Any
) -> float:  # fmt: skip
    """r = the derivative of S_d - beta C by every node, p = nodal momenta; returns the largest D_1 L_d or D_2 L_d."""
    theta, s, table, times, out = env.theta, env.signals, env.table, room.times, room.out
    h, nodes, scale = s[1], span[0], 0.0
    for g in range(nodes*SIZE):
        r[g] = 0.0
    for first in range(0, nodes - 1, WIDTH):
        interval_slopes(theta, s, table, b, first, h, 1.0/h, times, path, path, out)
        for lane in range(WIDTH if first + WIDTH < nodes else nodes - 1 - first):
            for i in range(SIZE):
                g, one, two = (first + lane)*SIZE + i, out[i, lane], out[SIZE + i, lane]
                r[g] += one
                p[g] = -one
                r[g + SIZE] += two
                p[g + SIZE] = two
                if modulus(one) > scale:
                    scale = modulus(one)
                if modulus(two) > scale:
                    scale = modulus(two)
    if beta != 0.0:
        for first in range(0, nodes, WIDTH):
            node_slopes(theta, s, table, b, first, h, 1.0/h, times, path, path, out)
            for lane in range(WIDTH if first + WIDTH <= nodes else nodes - first):
                for i in range(SIZE):
                    g, one = (first + lane)*SIZE + i, beta*out[i, lane]
                    r[g] -= one
                    if first + lane == 0:
                        p[g] += one
                    if first + lane == nodes - 1:
                        p[g] -= one
    return scale


@kernel
def path_hessian(env: Environment, b: int, path: ndarray, beta: Any, span: tuple, H: ndarray, room: Any) -> None:
    """The Hessian of S_d - beta C over all nodes, as ``newton_band`` keeps it."""
    theta, s, table, times, out = env.theta, env.signals, env.table, room.times, room.out
    h, nodes, block = s[1], span[0], 2*SIZE*SIZE
    for g in range(H.shape[0]):
        H[g] = 0.0
    for first in range(0, nodes - 1, WIDTH):
        interval_curvature(theta, s, table, b, first, h, 1.0/h, times, path, path, out)
        for lane in range(WIDTH if first + WIDTH < nodes else nodes - 1 - first):
            for e in range(CURVATURE.shape[0]):
                H[(first + lane)*block + CURVATURE[e]] += out[e, lane]
    if beta != 0.0:
        for first in range(0, nodes, WIDTH):
            node_curvature(theta, s, table, b, first, h, 1.0/h, times, path, path, out)
            for lane in range(WIDTH if first + WIDTH <= nodes else nodes - first):
                for e in range(BEND.shape[0]):
                    H[(first + lane)*block + BEND[e]] -= beta*out[e, lane]


@kernel
def path_pull(env: Environment, b: int, path: ndarray, span: tuple, slope: ndarray, room: Any) -> None:
    """slope = w c_q at every node."""
    for first in range(0, span[0], WIDTH):
        node_slopes(
            env.theta, env.signals, env.table, b, first, env.signals[1], 1.0/env.signals[1], room.times, path, path,
            room.out,
        )
        for lane in range(WIDTH if first + WIDTH <= span[0] else span[0] - first):
            for i in range(SIZE):
                slope[(first + lane)*SIZE + i] = room.out[i, lane]


@kernel
def path_parameters(
    env: Environment, b: int, path: ndarray, y: ndarray, along: bool, weight: Any, span: tuple, g: ndarray, room: Any
) -> None:  # fmt: skip
    """g += weight d_theta S_d; with ``along`` weight times its derivative along y."""
    theta, s, table, times, out = env.theta, env.signals, env.table, room.times, room.out
    h, intervals, first = s[1], span[0] - 1, 0
    for e in range(OWNERS.shape[0]):
        for lane in range(WIDTH):
            out[e, lane] = 0.0
    while first < intervals:
        # lanes are summed over all blocks but the last, of which some may lie beyond the path
        if along:
            interval_along(theta, s, table, b, first, h, 1.0/h, times, path, y, out)
        else:
            interval_owed(theta, s, table, b, first, h, 1.0/h, times, path, path, out)
        lanes = WIDTH if first + WIDTH <= intervals else intervals - first
        first += WIDTH
        if first >= intervals or first + WIDTH > intervals:
            for e in range(OWNERS.shape[0]):
                layout, total = OWNERS[e, 0], 0.0*weight
                for lane in range(WIDTH):
                    if lane < lanes:
                        total += out[e, lane]
                    out[e, lane] = 0.0
                g[table[layout] + b*table[layout + 1] + OWNERS[e, 1]*table[layout + 2]] += weight*total
