"""The echo as a device runs it: the forward map after a flip of the momenta, inputs played backwards.

    turn    pi = -P_N - beta w_N c_q(q_N)
    step    (r, pi) by the forward map, with h > 0
    kick    pi -= beta w_k c_q(r)

At the end r = q_0^beta and pi = -P_0^beta. Noise of the device's own is added after each step.
"""

from __future__ import annotations

from numpy import ndarray

from ..compiler.contract import Environment
from ..compiler.kernel import entry
from ..methods.common import copy
from ..methods.verlet import finish, new_work, prepare, start, step
from ..methods.verlet_action import interval_parameters
from .echo import kick


@entry
def replay(
    env: Environment, ahead: Environment, count: int, betas: ndarray, coefficients: ndarray, q: ndarray, p: ndarray,
    guess: ndarray, g: ndarray, runs: ndarray, noise: ndarray, readings: ndarray, failed: ndarray, residual: ndarray,
) -> None:  # fmt: skip
    """``count`` forward steps with every nudge; g += coefficient d_theta(-S_d) of what is read.

    ``env`` numbers its labels from the last node of the block to the first, as the device meets them; ``ahead`` is the
    block as ever, for the costs. ``runs`` (samples, nudges, count, 2, d) takes where each step begins and ends,
    ``noise`` of that shape is added to (r, pi) after it, ``readings`` (samples, nudges, count + 1, d) to the positions
    read; either may have no steps.
    """
    work = new_work(env, q[0, 0])
    for b in range(q.shape[0]):
        for k in range(q.shape[1]):
            if failed[b] >= 0:
                break
            x, y = q[b, k], p[b, k]
            prepare(env, b, x, guess[b, k], work)
            start(env, b, 0, x, work)
            for i in range(count):
                copy(x, runs[b, k, i, 0])
                left = step(env, b, i, i + 1, x, y, work)
                if not left <= 0.0:
                    failed[b] = count - 1 - i
                    residual[b] = left
                    break
                copy(x, runs[b, k, i, 1])
                if noise.shape[2] > 0:
                    for a in range(x.shape[0]):
                        x[a] += noise[b, k, i, 0, a]
                        y[a] += noise[b, k, i, 1, a]
                    start(env, b, i + 1, x, work)
                kick(ahead, b, count - 1 - i, x, y, -betas[k])
            finish(guess[b, k], work)
        if failed[b] >= 0:
            continue
        for i in range(count):  # contrasts step by step, not the difference of two long sums
            for k in range(q.shape[1]):
                x, y = runs[b, k, i, 0], runs[b, k, i, 1]
                if readings.shape[2] > 0:
                    for a in range(x.shape[0]):
                        x[a] += readings[b, k, i, a]
                        y[a] += readings[b, k, i + 1, a]
                interval_parameters(env, b, i, x, y, g, -coefficients[k], work)
