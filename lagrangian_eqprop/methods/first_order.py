"""Implicit midpoint for a Lagrangian linear in the velocities with a constant structure: q alone is the state.

    L = a(q) v - H(q, t),   a = A q + a_0,   W = A - A^T invertible:   W q' = -H_q

(A Lagrangian of canonical pairs, p q' - H, is of this form; so are point vortices.) The rule

    W (y - x)/h + H_q((x + y)/2, t_k + h/2) = 0

makes L_d(x, y) = h L((x + y)/2, (y - x)/h) stationary, without the odd-even mode of its two-step equation, and
conserves W and every quadratic invariant. In the kernels p is W q: a nudge's kick p += beta w c_q is then
q += beta w W^-1 c_q, and the next step takes it up. Backwards is the step with -h. Order 2, symmetric. Sources: Faddeev
and Jackiw, Phys. Rev. Lett. 60 (1988); Rowley and Marsden, CDC (2002), on L_d and its parasitic mode; Hairer, Lubich
and Wanner (2006), chapter VI.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from ..compiler.contract import Environment, cost_gradient, gradient, hessian, parameters, response
from ..compiler.kernel import entry, kernel
from .clock import middle_time, node_time
from .common import clear, copy, largest
from .linear import factorise_dense, solve_dense

ORDER, EXPLICIT, SYMMETRIC, LABELS = 2, False, True, "middles"


@kernel
def new_work(env: Environment, q: ndarray) -> Any:
    """V, Q, L_q, L_v, r, dV, dQ, still; W, its factors and exchanges; Newton's matrix and exchanges; no sums."""
    d, z = q.shape[0], np.zeros_like
    W, orders = np.zeros(d*d, q.dtype), np.zeros(d, np.int64)
    return (
        z(q), z(q), z(q), z(q), z(q), z(q), z(q), z(q), W, np.zeros_like(W), orders, np.zeros_like(W),
        np.zeros_like(orders), z(q),
    )  # fmt: skip


@kernel
def prepare(env: Environment, b: int, q: ndarray, guess: ndarray, work: Any) -> None:
    """W of a sample and its factors; Newton starts from the velocity of the step before, first from a guess."""
    copy(guess, work[0])
    clear(work[7])
    clear(work[8])
    hessian(env, b, 0, middle_time(env, 0), q, work[7], 0.0, -1.0, 1.0, 0.0, work[8])
    copy(work[8], work[9])
    factorise_dense(work[9], work[10], q.shape[0])


@kernel
def finish(guess: ndarray, work: Any) -> None:
    """Keep the velocity as the guess of the next block of steps."""
    copy(work[0], guess)


@kernel
def start(env: Environment, b: int, j: int, q: ndarray, work: Any) -> None:
    """Nothing is carried from node to node."""


@kernel
def structure(W: ndarray, x: ndarray, y: ndarray) -> None:
    """y = W x."""
    d = x.shape[0]
    for i in range(d):
        y[i] = 0.0
        for k in range(d):
            y[i] += W[i*d + k]*x[k]


@kernel
def take_up(q: ndarray, p: ndarray, work: Any) -> None:
    """q += W^-1 (p - W q): nothing but what a kick has put into p."""
    r = work[4]
    structure(work[8], q, r)
    for i in range(q.shape[0]):
        r[i] = p[i] - r[i]
    solve_dense(work[9], work[10], r)
    for i in range(q.shape[0]):
        q[i] += r[i]


@kernel
def newton_matrix(env: Environment, b: int, j: int, h: Any, work: Any) -> None:
    """Factorise W + h/2 H_qq at the present Q."""
    clear(work[11])
    hessian(env, b, j, middle_time(env, j), work[1], work[7], -0.5*h, -1.0, 1.0, 0.0, work[11])
    factorise_dense(work[11], work[12], work[1].shape[0])


@kernel
def solve_velocity(env: Environment, b: int, j: int, h: Any, q: ndarray, work: Any) -> Any:
    """Newton for V with W V + H_q(q + h V/2) = 0; leaves Q there; returns 0, or the residual where it failed."""
    V, Q, Lq, Lv, r, change_of_V = work[0], work[1], work[2], work[3], work[4], work[5]
    d, before, done, residual = q.shape[0], np.inf, False, 0.0
    for _ in range(50):
        for i in range(d):
            Q[i] = q[i] + 0.5*h*V[i]
        if done:
            return 0.0
        clear(Lq)
        clear(Lv)
        gradient(env, b, j, middle_time(env, j), Q, work[7], Lq, Lv)
        structure(work[8], V, r)
        for i in range(d):
            r[i] = Lq[i] - r[i]
            change_of_V[i] = r[i]
        residual = largest(r)
        newton_matrix(env, b, j, h, work)
        solve_dense(work[11], work[12], change_of_V)
        change, speed = largest(change_of_V), largest(V)
        for i in range(d):
            V[i] += change_of_V[i]
        if not change < np.inf:
            return np.inf
        # A step that changes nothing more has found the root as well as rounding lets it.
        stagnant = change >= 0.5*before and change*abs(h) <= 1e-12*(largest(Q) + abs(h)*speed)
        done = change <= 1e-15*speed or stagnant
        before = change
    return max(residual, 1e-300)


@kernel
def step(env: Environment, b: int, here: int, there: int, q: ndarray, p: ndarray, work: Any) -> Any:
    """From node ``here`` to its neighbour ``there``; returns 0, or the residual where Newton failed."""
    h = (there - here)*env.signals[1]
    take_up(q, p, work)
    residual = solve_velocity(env, b, min(here, there), h, q, work)
    for i in range(q.shape[0]):
        q[i] += h*work[0][i]
    structure(work[8], q, p)
    return residual


@kernel
def linear_start(env: Environment, b: int, j: int, q: ndarray, dq: ndarray, g: ndarray, work: Any) -> None:
    """Nothing is carried from node to node."""


@kernel
def linear_step(
    env: Environment, b: int, here: int, there: int, q: ndarray, p: ndarray, dq: ndarray, dp: ndarray,
    g: ndarray, last: bool, work: Any,
) -> Any:  # fmt: skip
    """A step and its linear response; g += d_theta of -L_d along dq before and after the step.

    (W + h/2 H_qq) dV = -H_qq dq, where W dq is dp.
    """
    V, Q, Lq, Lv, dV, dQ, still = work[0], work[1], work[2], work[3], work[5], work[6], work[7]
    h, j = (there - here)*env.signals[1], min(here, there)
    take_up(q, p, work)
    copy(dp, dq)
    solve_dense(work[9], work[10], dq)
    residual = solve_velocity(env, b, j, h, q, work)
    newton_matrix(env, b, j, h, work)
    clear(dV)
    clear(Lv)
    response(env, b, j, middle_time(env, j), Q, still, dq, still, dV, Lv, g, 0.0)
    solve_dense(work[11], work[12], dV)
    for i in range(q.shape[0]):
        dQ[i] = dq[i] + 0.5*h*dV[i]
        q[i] += h*V[i]
        dq[i] += h*dV[i]
    response(env, b, j, middle_time(env, j), Q, V, dQ, dV, Lq, Lv, g, -env.signals[1])
    structure(work[8], q, p)
    structure(work[8], dq, dp)
    return residual


@kernel
def interval_parameters(
    env: Environment, b: int, k: int, x: ndarray, y: ndarray, g: ndarray, weight: Any, work: Any
) -> None:
    """g += weight d_theta L_d(x, Phi(x)): the step's own end, since a kick at its node has moved y."""
    h = env.signals[1]
    for i in range(x.shape[0]):
        work[0][i] = (y[i] - x[i])/h
    solve_velocity(env, b, k, h, x, work)
    parameters(env, b, k, middle_time(env, k), work[1], work[0], g, weight*h)


@kernel
def adjoint_step(
    env: Environment, b: int, k: int, x: ndarray, y: ndarray, lq: ndarray, lp: ndarray, g: ndarray, work: Any
) -> None:
    """The transposed derivative of the step k -> k+1 from x to y, applied to lq; g += its part for theta.

    R = a(y) - a(x) - h L_q((x + y)/2, V) = 0 with R_y = W + h/2 H_qq, R_x = -(W - h/2 H_qq): with mu R_y = lq,
    lq becomes -mu R_x and g -= mu R_theta.
    """
    V, Q, Lq, Lv, mu, rq, rest, still = work[0], work[1], work[2], work[3], work[4], work[5], work[6], work[7]
    d, h, t = x.shape[0], env.signals[1], middle_time(env, k)
    for i in range(d):
        V[i] = (y[i] - x[i])/h
        Q[i] = 0.5*(x[i] + y[i])
    clear(work[11])  # the transpose of R_y: its W has the other sign
    hessian(env, b, k, t, Q, still, -0.5*h, 1.0, -1.0, 0.0, work[11])
    factorise_dense(work[11], work[12], d)
    copy(lq, mu)
    solve_dense(work[11], work[12], mu)
    response(env, b, k, t, y, V, still, mu, Lq, Lv, g, -1.0)
    response(env, b, k, t, x, V, still, mu, Lq, Lv, g, 1.0)
    response(env, b, k, t, Q, V, mu, still, Lq, Lv, g, h)
    clear(rq)
    response(env, b, k, t, Q, V, mu, still, rq, Lv, g, 0.0)  # L_qq mu
    structure(work[8], mu, rest)
    for i in range(d):
        lq[i] = -rest[i] + 0.5*h*rq[i]


@entry
def nudge_parameters(env: Environment, nodes: ndarray, first: bool, last: int, good: ndarray, g: ndarray) -> None:
    """g += kappa a_theta at the nodes 0..last-1 with W kappa = w c_q.

    The kick moves the node, and d_theta of the action of all steps leaves a(q) between where it was and where it is.
    """
    work = new_work(env, nodes[0, 0])
    kappa, rest, Lq, Lv, still = work[4], work[5], work[2], work[3], work[7]
    for b in range(nodes.shape[0]):
        if good[b]:
            prepare(env, b, nodes[b, 0], rest, work)
            for j in range(last):
                clear(kappa)
                cost_gradient(env, b, j, node_time(env, j), nodes[b, j], kappa, 1.0)
                solve_dense(work[9], work[10], kappa)
                label = min(j, nodes.shape[1] - 2)  # a knows neither inputs nor the time
                response(env, b, label, middle_time(env, label), nodes[b, j], still, still, kappa, Lq, Lv, g, 1.0)


@entry
def structure_momenta(env: Environment, q: ndarray, p: ndarray) -> None:
    """p = W q of every sample."""
    work = new_work(env, q[0])
    for b in range(q.shape[0]):
        prepare(env, b, q[b], work[7], work)
        structure(work[8], q[b], p[b])
