"""Tangents of a path: how small deviations grow, their lengths taken out step by step.

Deviations (dq, dp) follow the linear response of the discrete map. After each step they are made orthonormal by
Gram-Schmidt; the logarithms of the lengths that are taken out, summed, over the time are the Lyapunov exponents, the
largest first (Benettin, Galgani, Giorgilli and Strelcyn, Meccanica 15, 1980, 9 and 21). The map is symplectic:
exponents come in pairs of opposite sign.
"""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from ..compiler.contract import Environment
from ..compiler.kernel import entry, kernel
from ..methods.common import copy
from ..methods.verlet import finish, linear_start, linear_step, new_work, prepare  # each method defines these


@kernel
def orthonormal(dq: ndarray, dp: ndarray, logs: ndarray) -> None:
    """Make the columns (dq, dp), each (columns, d), orthonormal; logs += the logarithms of their lengths."""
    for k in range(dq.shape[0]):
        for _ in range(2):  # once more: a column that nearly lies in the others has lost its digits
            for l in range(k):
                along = 0.0
                for i in range(dq.shape[1]):
                    along += dq[l, i]*dq[k, i] + dp[l, i]*dp[k, i]
                for i in range(dq.shape[1]):
                    dq[k, i] -= along*dq[l, i]
                    dp[k, i] -= along*dp[l, i]
            square = 0.0
            for i in range(dq.shape[1]):
                square += dq[k, i]**2 + dp[k, i]**2
            length = np.sqrt(square)
            logs[k] += np.log(length)
            for i in range(dq.shape[1]):
                dq[k, i] /= length
                dp[k, i] /= length


@entry
def orthonormal_columns(dq: ndarray, dp: ndarray, logs: ndarray) -> None:
    """The same for every sample."""
    for b in range(dq.shape[0]):
        orthonormal(dq[b], dp[b], logs[b])


@entry
def tangents(
    env: Environment, count: int, q: ndarray, p: ndarray, guess: ndarray, dq: ndarray, dp: ndarray,
    logs: ndarray, failed: ndarray, residual: ndarray,
) -> None:  # fmt: skip
    """``count`` steps of every sample that has not failed and of its columns dq, dp (samples, columns, d)."""
    work, g = new_work(env, q[0]), np.zeros_like(env.theta)
    x, y = np.zeros_like(q[0]), np.zeros_like(q[0])
    for b in range(q.shape[0]):
        if failed[b] >= 0:
            continue
        prepare(env, b, q[b], guess[b], work)
        for j in range(count):
            for k in range(dq.shape[1]):
                copy(q[b], x)
                copy(p[b], y)
                linear_start(env, b, j, x, dq[b, k], g, work)
                left = linear_step(env, b, j, j + 1, x, y, dq[b, k], dp[b, k], g, True, work)
                if not left <= 0.0:
                    failed[b] = j + 1
                    residual[b] = left
                    break
            if failed[b] >= 0:
                break
            copy(x, q[b])
            copy(y, p[b])
            orthonormal(dq[b], dp[b], logs[b])
        finish(guess[b], work)
