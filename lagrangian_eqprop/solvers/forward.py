"""Free paths of an unrolled system: forward in lanes, nodes kept where they are wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy import ndarray

from .failures import Failures
from .problem import Problem
from .start import Start, check_stability
from .unrolled import Blocks, stretches

_NODES = 2**22  # values of nodes kept at once while a failure is looked for
Observer = Callable[[int, ndarray, ndarray], None]


def forward(
    problem: Problem, start: Start, kept: ndarray, stability: str, progress: Any = None, **options: Any
) -> tuple[ndarray, ndarray, Failures]:  # fmt: skip
    """Positions and momenta at the nodes ``kept``, (samples, kept, d), and what failed."""
    samples = len(start.q)
    blocks = Blocks(problem, samples, **options)
    z = blocks.state(start.q, start.p, start.v)
    q = np.empty((samples, len(kept), problem.system.size), blocks.dtype)
    p = np.empty_like(q)
    failures = Failures(samples)
    for first, count in stretches(problem, samples):
        slots = np.full(count + 1, -1)
        last = first + count == problem.grid.steps
        low, high = np.searchsorted(kept, [first, first + count + last])
        slots[kept[low:high] - first] = np.arange(high - low)
        before = z.copy()
        found = blocks.run(z, first, count, slots)
        if high > low:
            nodes = blocks.to_samples(found["nodes"])
            q[:, low:high], p[:, low:high] = nodes[:, :, 0], nodes[:, :, 1]
        if first == 0:
            check_stability(problem, start, blocks.to_samples(found["bounds"]), stability)
        settle(blocks, before, z, first, count, found["residual"], failures)
        if not failures.good.any():
            break
        if progress is not None:
            progress.update(count)
    q[~failures.good], p[~failures.good] = np.nan, np.nan
    return q, p, failures


def settle(
    blocks: Blocks, before: ndarray, after: ndarray, first: int, count: int, residual: ndarray, failures: Failures
) -> None:  # fmt: skip
    """Find the samples that are no longer finite, and the step at which that began."""
    if np.isfinite(after).all():
        return
    state = blocks.to_samples(after.reshape(blocks.count, 3, blocks.size, blocks.width))
    bad = ~np.isfinite(state[:, :2]).all((1, 2)) & failures.good
    if not bad.any():
        return
    left = blocks.to_samples(residual)
    failed, step, at = np.full(len(bad), -1), 0, before
    while step < count and (failed[bad] < 0).any():
        part = min(count - step, max(1, _NODES//(2*blocks.size*len(bad))))
        nodes = blocks.nodes_of(at, first + step, part)
        broken = ~np.isfinite(nodes).all((2, 3))
        new = bad & (failed < 0) & broken.any(1)
        failed[new] = step + np.argmax(broken[new], 1)
        step += part
        if step < count:
            at = blocks.state(nodes[:, -1, 0], nodes[:, -1, 1], np.zeros_like(nodes[:, -1, 0]))
    failures.settle(failed, np.where(left > 0, left, np.inf), first)


def all_nodes(problem: Problem, start: Start, observe: Observer) -> None:
    """Every node of the free path, stretch by stretch, shown to an observer as (first, q, p)."""
    blocks = Blocks(problem, len(start.q))
    z = blocks.state(start.q, start.p, start.v)
    for first, count in problem.blocks(start.q.size):
        found = blocks.run(z, first, count, np.arange(count + 1))
        nodes = blocks.to_samples(found["nodes"])
        observe(first, nodes[:, :, 0], nodes[:, :, 1])
