"""Nodes, weights and matrices of Gauss-Legendre collocation, as columns whose lanes are the stages.

For nodes c_i in (0, 1) with weights b_i and Lagrange polynomials l_j of the nodes,

    A_ij = integral of l_j from 0 to c_i,    E_ij = l_j(1 + c_i)

E extrapolates stage values to the next step. The last Legendre coefficient of the polynomial through stage
values f_i is (2s - 1) sum_i b_i P_{s-1}(2 c_i - 1) f_i: Gauss quadrature is exact for this product.

For two-point problems the polynomial between x and z is that straight line and s - 1 modes, which vanish at both ends:
the integrals I_n of P_n(2c - 1) from 0 to c (Szabo and Babuska 1991, Finite Element Analysis, section 3.1).
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numpy import ndarray

from ..compiler.lanes import empty_rows

STAGES = range(2, 9)


class Tables(NamedTuple):
    """What a step needs; ``last`` are the weights of the last Legendre coefficient."""

    c: ndarray
    b: ndarray
    A: ndarray
    E: ndarray
    last: ndarray


@functools.cache
def tables(stages: int) -> Tables:
    """The tables of a number of stages."""
    x, w = np.polynomial.legendre.leggauss(stages)
    c, b = (x + 1)/2, w/2
    degrees = np.arange(stages)
    # l_j = sum_n (2n + 1) b_j P_n(2 c_j - 1) P_n, which Gauss quadrature makes exact; integrals of P_n are known.
    legendre = np.polynomial.legendre.legvander(x, stages)
    into = (2*degrees[:, None] + 1)*b*legendre[:, :stages].T
    integrals = np.empty((stages, stages))
    integrals[:, 0] = c
    for n in range(1, stages):
        integrals[:, n] = (legendre[:, n + 1] - legendre[:, n - 1])/(2*(2*n + 1))
    ahead = np.polynomial.legendre.legvander(x + 2, stages - 1)
    return Tables(c, b, integrals @ into, ahead @ into, into[-1])


def width_of(stages: int) -> int:
    """How many lanes the stages take."""
    return 2 if stages == 2 else 4 if stages <= 4 else 8


@functools.lru_cache(maxsize=32)
def columns(stages: int, h: float) -> ndarray:
    """The rows that kernels read, in the order of ``methods.gauss``: h A, E, h (b + A E), h c,
    h b, last, -h b, h (A - b).

    Lanes beyond the stages repeat the last stage, and their weights are zero.
    """
    found, width = tables(stages), width_of(stages)
    stage = np.minimum(np.arange(width), stages - 1)
    sums = np.zeros((3, width))
    sums[:, :stages] = h*found.b, found.last, -h*found.b
    onward = h*(found.b + found.A @ found.E)
    parts = [h*found.A[stage].T, found.E[stage].T, onward[stage].T, [h*found.c[stage]], sums,
             h*(found.A - found.b)[stage].T]  # fmt: skip
    rows = empty_rows(4*stages + 4, width)
    np.concatenate(parts, out=rows)
    return rows


@functools.cache
def elements(stages: int) -> ndarray:
    """What Gauss elements read: their stages s, c, b, and for each c_i the values and slopes of their s + 1 shapes.

    The shapes are I_1 to I_{s-1}, 1 - c and c; their slopes P_1(2c - 1) to P_{s-1}(2c - 1), -1 and 1.
    """
    found = tables(stages)
    legendre = np.polynomial.legendre.legvander(2*found.c - 1, stages)
    n = np.arange(1, stages)
    modes = (legendre[:, 2:] - legendre[:, :-2])/(2*(2*n + 1))
    values = np.column_stack([modes, 1 - found.c, found.c])
    slopes = np.column_stack([legendre[:, 1:stages], -np.ones(stages), np.ones(stages)])
    flat = np.concatenate([[stages], found.c, found.b, values.ravel(), slopes.ravel()])
    flat.setflags(write=False)
    return flat
