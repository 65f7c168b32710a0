"""Kernels that every method shares: vectors, and quantities of one node that know no discrete Lagrangian."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from ..compiler.contract import Environment, gradient, lagrangian, response
from ..compiler.kernel import kernel
from .clock import node_time


@kernel
def clear(x: ndarray) -> None:
    """x = 0. (Loops like this one: numba compiles an assignment to a slice thirty times as slowly.)"""
    for i in range(x.shape[0]):
        x[i] = 0.0


@kernel
def copy(x: ndarray, y: ndarray) -> None:
    """y = x."""
    for i in range(x.shape[0]):
        y[i] = x[i]


@kernel
def largest(x: ndarray) -> float:
    """The largest modulus of a vector; nan if one is nan."""
    most = 0.0
    for i in range(x.shape[0]):
        size = abs(x[i])
        if size > most or size != size:  # a nan stays: nothing is larger
            most = size
    return most


@kernel
def distance(x: ndarray, y: ndarray) -> float:
    """The largest modulus of x - y."""
    most = 0.0
    for i in range(x.shape[0]):
        most = max(most, abs(x[i] - y[i]))
    return most


@kernel
def node_momentum(env: Environment, b: int, j: int, q: ndarray, v: ndarray, p: ndarray) -> None:
    """p = L_v(q, v, t_j)."""
    unused = np.zeros_like(q)
    clear(p)
    gradient(env, b, j, node_time(env, j), q, v, unused, p)


@kernel
def node_energy(env: Environment, b: int, j: int, q: ndarray, p: ndarray, v: ndarray) -> Any:
    """p v - L."""
    energy = -lagrangian(env, b, j, node_time(env, j), q, v)
    for i in range(q.shape[0]):
        energy += p[i]*v[i]
    return energy


@kernel
def momentum_chain(
    env: Environment, b: int, j: int, q: ndarray, v: ndarray, gp: ndarray, gq: ndarray, gv: ndarray, g: ndarray
) -> None:
    """The chain rule through p = L_v(q, v; theta): gp in, gq += gp L_vq, gv += gp L_vv, g += gp L_v,theta."""
    rest = np.zeros_like(q)
    response(env, b, j, node_time(env, j), q, v, rest, gp, gq, gv, g, 1.0)
