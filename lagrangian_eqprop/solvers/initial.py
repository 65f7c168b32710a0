"""Initial-value problems: stepping the discrete map, block by block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy import ndarray

from ..compiler.contract import Environment
from ..compiler.kernel import entry
from ..methods.common import copy
from ..methods.verlet import finish, new_work, prepare, start, step  # each method defines these
from .failures import Failures
from .problem import Problem


@entry
def advance(
    env: Environment, count: int, q: ndarray, p: ndarray, guess: ndarray, nodes_q: ndarray, nodes_p: ndarray,
    failed: ndarray, residual: ndarray,
) -> None:  # fmt: skip
    """``count`` steps of every sample that has not failed, and every node on the way."""
    work = new_work(env, q[0])
    for b in range(q.shape[0]):
        if failed[b] >= 0:
            continue
        x, y = q[b], p[b]
        prepare(env, b, x, guess[b], work)
        copy(x, nodes_q[b, 0])
        copy(y, nodes_p[b, 0])
        for j in range(count):
            if j == 0:  # here, since numba would compile all below once more for a literal label
                start(env, b, j, x, work)
            left = step(env, b, j, j + 1, x, y, work)
            copy(x, nodes_q[b, j + 1])
            copy(y, nodes_p[b, j + 1])
            if not left <= 0.0:
                failed[b] = j + 1
                residual[b] = left
                break
        finish(guess[b], work)


Observer = Callable[[int, ndarray, ndarray], None]


def integrate(
    problem: Problem, q: ndarray, p: ndarray, guess: ndarray, theta: ndarray | None = None,
    observers: tuple[Observer, ...] = (), failures: Failures | None = None, progress: Any = None,
) -> Failures:  # fmt: skip
    """Step all samples over the grid, in place; observers see (first node, nodes of q, nodes of p) of each block."""
    failures = failures or Failures(len(q))
    for first, count in problem.each_block(q.size):
        env = problem.env(first, count, theta)
        nodes = np.empty((2, len(q), count + 1, q.shape[1]), q.dtype)
        failed, residual = np.where(failures.good, -1, 0), np.zeros(len(q))
        problem.run("advance", env, count, q, p, guess, nodes[0], nodes[1], failed, residual)
        failed[~failures.good] = -1
        _find_infinite(nodes, q, p, failed, residual, failures)
        failures.settle(failed, residual, first)
        if not failures.good.all():
            nodes[:, ~failures.good] = np.nan
        if not failures.good.any():
            break
        for observe in observers:
            observe(first, nodes[0], nodes[1])
        if progress is not None:
            progress.update(count)
    return failures


def _find_infinite(
    nodes: ndarray, q: ndarray, p: ndarray, failed: ndarray, residual: ndarray, failures: Failures
) -> None:  # fmt: skip
    """Samples that are no longer finite at the end of a block, and the step at which that began."""
    finite = np.isfinite(q).all(1) & np.isfinite(p).all(1)
    for b in np.flatnonzero(~finite & failures.good & (failed < 0)):
        failed[b], residual[b] = int(np.argmax(~np.isfinite(nodes[:, b]).all((0, 2)))), np.inf
