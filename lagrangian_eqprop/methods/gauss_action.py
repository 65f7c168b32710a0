"""Gauss elements: L_d(x, z) of one interval and its derivatives, for two-point problems and for contrasts.

The polynomial between x = q_k and z = q_{k+1} has s - 1 modes a_n of its own; with the shapes of ``gauss_tables``

    Q = (1 - c) x + c z + sum a_n I_n(c),    V = (z - x + sum a_n P_n(2c - 1))/h
    l(x, a, z) = h sum_i b_i L(Q_i, V_i, t_k + c_i h),    L_d(x, z) = ext over a of l

so that, with y = (x, z) and the modes at l_a = 0, the derivatives of L_d are those of l with the modes condensed:

    D L_d = l_y,    D^2 L_d = l_yy - l_ya l_aa^-1 l_ay,    d_theta L_d = l_theta

The modes are found by Newton's method from the straight line. Stationarity of S_d gives the nodes of
``methods.gauss``. Source: Marsden and West (2001), section 2.6; condensation: Guyan (1965), AIAA J. 3, 380.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from ..compiler.contract import Environment, gradient, hessian, lagrangian, parameters, response
from ..compiler.kernel import entry, kernel
from .common import clear, copy, largest
from .linear import factorise_dense, solve_dense


@kernel
def new_work(env: Environment, q: ndarray) -> Any:
    """As ``methods.midpoint`` has it, for the velocities at nodes; then of an element the modes and both ends, a
    variation of these, slope, matrix, factors for the modes, their row exchanges, a right-hand side and three blocks.
    """
    d = q.shape[0]
    s = int(env.signals[env.table[3]]) if env.table[3] > 0 else 1
    entries = env.table[env.table[2] + 1] if env.table[2] > 0 else d*d
    n, m = (s + 1)*d, (s - 1)*d
    z = np.zeros_like
    return (
        z(q), z(q), z(q), z(q), z(q), z(q), z(q), np.zeros(entries, q.dtype), np.zeros(d, np.int64), z(q),
        np.zeros(n, q.dtype), np.zeros(n, q.dtype), np.zeros(n, q.dtype), np.zeros((n, n), q.dtype),
        np.zeros(m*m, q.dtype), np.zeros(m, np.int64), np.zeros(m, q.dtype), np.zeros((3, d*d), q.dtype),
    )  # fmt: skip


@kernel
def prepare(env: Environment, b: int, q: ndarray, guess: ndarray, work: Any) -> None:
    """Nothing is carried from interval to interval."""
    copy(guess, work[0])


@kernel
def stage_time(env: Environment, k: int, i: int) -> float:
    """t_k + c_i h."""
    return env.signals[0] + (k + env.signals[env.table[3] + 1 + i])*env.signals[1]


@kernel
def stage_weight(env: Environment, i: int) -> float:
    """h b_i."""
    s = int(env.signals[env.table[3]])
    return env.signals[1]*env.signals[env.table[3] + 1 + s + i]


@kernel
def shape(env: Environment, i: int, n: int, slope: bool) -> float:
    """The value of shape n at stage i, or its slope."""
    at = env.table[3]
    s = int(env.signals[at])
    return env.signals[at + 1 + 2*s + ((s if slope else 0) + i)*(s + 1) + n]


@kernel
def stage(env: Environment, i: int, y: ndarray, Q: ndarray, V: ndarray) -> None:
    """Q and V of stage i, of an element or of a variation."""
    d, h = Q.shape[0], env.signals[1]
    clear(Q)
    clear(V)
    for n in range(y.shape[0]//d):
        e, f = shape(env, i, n, False), shape(env, i, n, True)/h
        for j in range(d):
            Q[j] += e*y[n*d + j]
            V[j] += f*y[n*d + j]


@kernel
def element(env: Environment, b: int, k: int, work: Any) -> None:
    """Slope and matrix of l."""
    V, Q, Lq, Lv, y, G, K = work[0], work[1], work[2], work[3], work[10], work[12], work[13]
    qq, qv, vv = work[17][0], work[17][1], work[17][2]
    d, h, s = Q.shape[0], env.signals[1], int(env.signals[env.table[3]])
    clear(G)
    for row in range(K.shape[0]):
        clear(K[row])
    for i in range(s):
        t, w, label = stage_time(env, k, i), stage_weight(env, i), k*s + i
        stage(env, i, y, Q, V)
        clear(Lq)
        clear(Lv)
        for block in range(3):
            clear(work[17][block])
        gradient(env, b, label, t, Q, V, Lq, Lv)
        hessian(env, b, label, t, Q, V, 1.0, 0.0, 0.0, 0.0, qq)
        hessian(env, b, label, t, Q, V, 0.0, 1.0, 0.0, 0.0, qv)
        hessian(env, b, label, t, Q, V, 0.0, 0.0, 0.0, 1.0, vv)
        for n in range(s + 1):
            e, f = w*shape(env, i, n, False), w*shape(env, i, n, True)/h
            for row in range(d):
                G[n*d + row] += e*Lq[row] + f*Lv[row]
            for m in range(s + 1):
                one, two = shape(env, i, m, False), shape(env, i, m, True)/h
                for row in range(d):
                    for c in range(d):
                        K[n*d + row, m*d + c] += (
                            e*one*qq[row*d + c] + e*two*qv[row*d + c] + f*one*qv[c*d + row] + f*two*vv[row*d + c]
                        )


@kernel
def settle(env: Environment, b: int, k: int, x: ndarray, z: ndarray, work: Any) -> float:
    """The modes between x and z, with slope, matrix and factors there; returns 0, or nan where Newton failed.

    What the last change would still do is taken from the slope to first order.
    """
    y, G, K, A, exchanges, r = work[10], work[12], work[13], work[14], work[15], work[16]
    d, m, before = x.shape[0], r.shape[0], np.inf
    clear(y)
    for i in range(d):
        y[m + i], y[m + d + i] = x[i], z[i]
    far = largest(x) + largest(z)
    for _ in range(30):
        element(env, b, k, work)
        for i in range(m):
            r[i] = G[i]
            for j in range(m):
                A[i*m + j] = K[i, j]
        factorise_dense(A, exchanges, m)
        solve_dense(A, exchanges, r)
        change, size = largest(r), 0.0
        for i in range(m):
            size = max(size, abs(y[i]))
        for i in range(d):
            size = max(size, abs(z[i] - x[i]))
        if not change < np.inf:
            return np.nan
        if change <= 1e-11*size + 1e-16*far or (change >= 0.5*before and change <= 1e-8*size):
            for i in range(m, m + 2*d):
                for j in range(m):
                    G[i] -= K[i, j]*r[j]
            return 0.0
        for i in range(m):
            y[i] -= r[i]
        before = change
    return np.nan


@kernel
def interval_action(env: Environment, b: int, k: int, x: ndarray, z: ndarray, work: Any) -> Any:
    """L_d(x, z)."""
    s, total = int(env.signals[env.table[3]]), settle(env, b, k, x, z, work) + 0.0*x[0]
    for i in range(s):
        stage(env, i, work[10], work[1], work[0])
        total += stage_weight(env, i)*lagrangian(env, b, k*s + i, stage_time(env, k, i), work[1], work[0])
    return total


@kernel
def interval(env: Environment, b: int, k: int, x: ndarray, z: ndarray, D1: ndarray, D2: ndarray, work: Any) -> None:
    """D1 += D_1 L_d(x, z), D2 += D_2 L_d(x, z)."""
    lost, G, m, d = settle(env, b, k, x, z, work), work[12], work[16].shape[0], x.shape[0]
    for i in range(d):
        D1[i] += G[m + i] + lost
        D2[i] += G[m + d + i] + lost


@kernel
def interval_hessian(
    env: Environment, b: int, k: int, x: ndarray, z: ndarray, H11: ndarray, H12: ndarray, H22: ndarray, work: Any
) -> None:
    """The blocks D_11, D_12, D_22 of L_d, flat, added."""
    lost, K, r, d = settle(env, b, k, x, z, work), work[13], work[16], x.shape[0]
    m = r.shape[0]
    for c in range(2*d):
        for i in range(m):
            r[i] = K[i, m + c]
        solve_dense(work[14], work[15], r)
        for row in range(d if c < d else 2*d):
            entry = K[m + row, m + c] + lost
            for i in range(m):
                entry -= K[m + row, i]*r[i]
            if c < d:
                H11[row*d + c] += entry
            elif row < d:
                H12[row*d + c - d] += entry
            else:
                H22[(row - d)*d + c - d] += entry


@kernel
def interval_parameters(
    env: Environment, b: int, k: int, x: ndarray, z: ndarray, g: ndarray, weight: Any, work: Any
) -> None:
    """g += weight d_theta L_d(x, z)."""
    s, weight = int(env.signals[env.table[3]]), weight + settle(env, b, k, x, z, work)
    for i in range(s):
        stage(env, i, work[10], work[1], work[0])
        w = weight*stage_weight(env, i)
        parameters(env, b, k*s + i, stage_time(env, k, i), work[1], work[0], g, w)


@kernel
def interval_response(
    env: Environment, b: int, k: int, x: ndarray, z: ndarray, dx: ndarray, dz: ndarray, g: ndarray, weight: Any,
    work: Any,
) -> None:  # fmt: skip
    """g += weight d_theta (D_1 L_d dx + D_2 L_d dz); the modes vary with the ends by -l_aa^-1 l_ay dy."""
    dy, K, r, d = work[11], work[13], work[16], x.shape[0]
    s, weight, m = int(env.signals[env.table[3]]), weight + settle(env, b, k, x, z, work), r.shape[0]
    for i in range(d):
        dy[m + i], dy[m + d + i] = dx[i], dz[i]
    for i in range(m):
        r[i] = 0.0
        for j in range(m, m + 2*d):
            r[i] -= K[i, j]*dy[j]
    solve_dense(work[14], work[15], r)
    for i in range(m):
        dy[i] = r[i]
    for i in range(s):
        stage(env, i, work[10], work[1], work[0])
        stage(env, i, dy, work[6], work[5])
        w = weight*stage_weight(env, i)
        response(env, b, k*s + i, stage_time(env, k, i), work[1], work[0], work[6], work[5], work[2], work[3], g, w)


@entry
def describe_paths(env: Environment, span: tuple, q: ndarray, found: ndarray, room: Any) -> None:
    """For each sample the action, the largest last Legendre mode of V, and the largest V at a stage."""
    d, h = span[1], env.signals[1]
    work = new_work(env, q[0, :d])
    Q, V, y = work[1], work[0], work[10]
    for b in range(q.shape[0]):
        clear(found[b])
        for k in range(span[0] - 1):
            x, z = q[b, k*d : k*d + d], q[b, k*d + d : k*d + 2*d]
            found[b, 0] += interval_action(env, b, k, x, z, work)
            for i in range(y.shape[0] - 3*d, y.shape[0] - 2*d):
                found[b, 1] = max(found[b, 1], abs(y[i]/h))
            for i in range(int(env.signals[env.table[3]])):
                stage(env, i, y, Q, V)
                found[b, 2] = max(found[b, 2], largest(V))
