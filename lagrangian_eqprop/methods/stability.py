"""Is a step of Störmer-Verlet stable? The largest eigenvalue of M^-1 V'' decides: h^2 lambda < 4."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from ..compiler.contract import Environment, force_response
from ..compiler.kernel import kernel
from .clock import node_time
from .common import clear


@kernel
def stiffness(env: Environment, b: int, j: int, q: ndarray, x: ndarray, y: ndarray, work: Any) -> None:
    """y = M^-1 V'' x."""
    F = work[1]
    clear(y)
    scratch = np.zeros_like(env.theta)
    force_response(env, b, j, node_time(env, j), q, x, F, y, scratch, 0.0)
    for i in range(x.shape[0]):
        y[i] = -y[i]/work[0][i]


@kernel
def largest_stiffness(env: Environment, b: int, q: ndarray, rounds: int, work: Any) -> float:
    """The largest eigenvalue of M^-1 V'' by power iteration, shifted where a negative one dominates."""
    m, x, y = work[0], work[4], work[5]
    shift, value = 0.0, 0.0
    for attempt in range(2):
        for i in range(q.shape[0]):
            x[i] = 1.0 + 0.5*np.sin(1.0 + 12.9898*i*i)
        before = 0.0
        for _ in range(rounds):
            stiffness(env, b, 0, q, x, y, work)
            above, below, size = 0.0, 0.0, 0.0
            for i in range(q.shape[0]):
                y[i] += shift*x[i]
                above += (m[i]*x[i]*y[i]).real
                below += (m[i]*x[i]*x[i]).real
                size = max(size, abs(y[i]))
            if not (size > 0.0 and size < np.inf) or below == 0.0:
                return 0.0
            value = above/below
            for i in range(q.shape[0]):
                x[i] = y[i]/size
            if abs(value - before) <= 1e-3*abs(value):
                break
            before = value
        if value > 0.0 or attempt == 1:
            break
        shift = -1.1*value
    return value - shift
