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
    env: Environment, count: int, way: int, q: ndarray, p: ndarray, guess: ndarray, nodes_q: ndarray, nodes_p: ndarray,
    failed: ndarray, residual: ndarray,
) -> None:  # fmt: skip
    """``count`` steps of every sample that has not failed, forward (way 1) or back (-1), and every node on the way."""
    work, first = new_work(env, q[0]), count*(1 - way)//2
    for b in range(q.shape[0]):
        if failed[b] >= 0:
            continue
        x, y = q[b], p[b]
        prepare(env, b, x, guess[b], work)
        start(env, b, first, x, work)
        copy(x, nodes_q[b, first])
        copy(y, nodes_p[b, first])
        for i in range(count):
            j = first + way*i
            left = step(env, b, j, j + way, x, y, work)
            copy(x, nodes_q[b, j + way])
            copy(y, nodes_p[b, j + way])
            if not left <= 0.0:
                failed[b] = j + way
                residual[b] = left
                break
        finish(guess[b], work)


Observer = Callable[[int, ndarray, ndarray], None]


def integrate(
    problem: Problem, q: ndarray, p: ndarray, guess: ndarray, theta: ndarray | None = None,
    observers: tuple[Observer, ...] = (), failures: Failures | None = None, progress: Any = None, back: bool = False,
) -> Failures:  # fmt: skip
    """Step all samples over the grid, in place; observers see (first node, nodes of q, nodes of p) of each block.

    ``back``: from the end of the grid to its start.
    """
    failures = failures or Failures(len(q))
    for first, count in problem.each_block(q.size, backwards=back):
        env = problem.env(first, count, theta)
        nodes = np.empty((2, len(q), count + 1, q.shape[1]), q.dtype)
        failed, residual = np.where(failures.good, -1, 0), np.zeros(len(q))
        problem.run("advance", env, count, -1 if back else 1, q, p, guess, nodes[0], nodes[1], failed, residual)
        failed[~failures.good] = -1
        _find_infinite(nodes, q, p, failed, residual, failures)
        failures.settle(failed, residual, first, back)
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
