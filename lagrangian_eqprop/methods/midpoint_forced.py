"""Implicit midpoint with forces (Lagrange-d'Alembert): what goes back where no action is stationary.

    D_2 L_d(q_{k-1}, q_k) + F(q_{k-1}, q_k) + D_1 L_d(q_k, q_{k+1}) + F(q_k, q_{k+1}) = 0,   F = h/2 f(Q, V, t_k + h/2)

    p_k     = L_v(Q, V) - h/2 [L_q + f](Q, V)
    p_{k+1} = L_v(Q, V) + h/2 [L_q + f](Q, V)

Forward it is the midpoint rule (``methods.midpoint``) with L_q + f for L_q, since a generated module has f in every
L_q. Newton's matrix A(h) = L_vv + h/2 (L_vq - L_qv - f_v) - h^2/4 (L_qq + f_q) is that of ``midpoint`` too, but its
transpose is not A(-h): the sweeps below solve with A(h)^T.

In doubled variables q and w, to first order in w, the action is the virtual work

    W = sum over k of h [(L_q + f) (w_k + w_{k+1})/2 + L_v (w_{k+1} - w_k)/h],

stationary in w on the path. It is the slimplectic map with one evaluation an interval. Source: Marsden and West, Acta
Numerica 10 (2001), section 3.2; Galley, Phys. Rev. Lett. 110, 174301 (2013); Tsang et al., Astrophys. J. Lett. 809
(2015) L9.
"""

from __future__ import annotations

from typing import Any

from numpy import ndarray

from ..compiler.contract import Environment, response
from ..compiler.kernel import kernel
from .clock import middle_time
from .common import clear
from .linear import solve_transposed
from .midpoint import newton_matrix


@kernel
def interval_middle(env: Environment, x: ndarray, y: ndarray, work: Any) -> None:
    """V and Q of an interval."""
    for i in range(x.shape[0]):
        work[0][i] = (y[i] - x[i])/env.signals[1]
        work[1][i] = 0.5*(x[i] + y[i])


@kernel
def virtual_work(
    env: Environment, b: int, k: int, x: ndarray, y: ndarray, wx: ndarray, wy: ndarray, g: ndarray, weight: Any,
    W1: ndarray, W2: ndarray, work: Any,
) -> None:  # fmt: skip
    """The part W_k of one interval: W1 = its slope by x, W2 by y, g += weight d_theta W_k."""
    dV, dQ, TQ, TV, h = work[5], work[6], work[2], work[3], env.signals[1]
    interval_middle(env, x, y, work)
    clear(TQ)
    clear(TV)
    for i in range(x.shape[0]):
        dV[i] = (wy[i] - wx[i])/h
        dQ[i] = 0.5*(wx[i] + wy[i])
    response(env, b, k, middle_time(env, k), work[1], work[0], dQ, dV, TQ, TV, g, weight*h)
    for i in range(x.shape[0]):
        W1[i] = 0.5*h*TQ[i] - TV[i]
        W2[i] = 0.5*h*TQ[i] + TV[i]


@kernel
def virtual_step(
    env: Environment, b: int, k: int, x: ndarray, y: ndarray, w: ndarray, r: ndarray, g: ndarray, work: Any
) -> None:
    """From (w, r) at node k + 1 to those at node k; g += d_theta W_k.

    Stationarity in q asks for a w_k with dW_k/dy = r_{k+1}; then r_k = -dW_k/dx.
    """
    other, found, h = work[9], work[4], env.signals[1]
    clear(other)
    virtual_work(env, b, k, x, y, other, w, g, 0.0, other, found, work)
    newton_matrix(env, b, k, h, work)
    for i in range(x.shape[0]):
        found[i] -= r[i]
    solve_transposed(env, work[7], work[8], found)  # dW_k/dy depends on w_k as -A(h)^T/h
    for i in range(x.shape[0]):
        found[i] *= h
    virtual_work(env, b, k, x, y, found, w, g, 1.0, r, other, work)
    for i in range(x.shape[0]):
        r[i] = -r[i]
        w[i] = found[i]
