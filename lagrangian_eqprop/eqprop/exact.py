"""Exact for an unrolled system: the free path and its linear response, block by block of lanes.

Where a block's path fits the cache the echo reads it back; where it does not, the path is integrated again
backwards, which needs no memory however long the run.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy import ndarray

from ..errors import AccuracyWarning
from ..solvers.failures import Failures
from ..solvers.forward import settle
from ..solvers.problem import Problem
from ..solvers.start import Start, check_stability
from ..solvers.unrolled import Blocks, stretches
from .radius import Parts


def exact(
    problem: Problem, start: Start, stability: str, retrace: str | None, progress: Any = None, **options: Any
) -> tuple[Parts, ndarray, Failures]:  # fmt: skip
    """The parts of the gradient (sums over good samples; explicit ones included), the losses, and what failed."""
    samples = len(start.q)
    blocks = Blocks(problem, samples, **options)
    z = blocks.state(start.q, start.p, start.v)
    w = blocks.rows(blocks.count*2*blocks.size)
    rows = sum(int(value.size) for value in problem.bound.parameters.values())
    g = blocks.rows(blocks.count*rows).reshape(blocks.count, rows, blocks.width)
    w[:], g[:] = 0.0, 0.0
    losses = np.zeros(samples, blocks.dtype)
    failures = Failures(samples)
    parts = stretches(problem, samples)
    if len(parts) == 1:
        found = blocks.run(z, *parts[0], None, "both", retrace, w, g)
        check_stability(problem, start, blocks.to_samples(found["bounds"]), stability)
        losses += blocks.to_samples(found["losses"])
        if not (np.isfinite(w).all() and np.isfinite(losses).all()):
            begin, end = (blocks.state(start.q, start.p, start.v) for _ in range(2))
            blocks.run(end, *parts[0], None, "there", retrace, w.copy(), g.copy())
            settle(blocks, begin, end, *parts[0], found["residual"], failures)
    else:
        for first, count in parts:
            before = z.copy()
            found = blocks.run(z, first, count, None, "there", retrace, w, g)
            if first == 0:
                check_stability(problem, start, blocks.to_samples(found["bounds"]), stability)
            losses += blocks.to_samples(found["losses"])
            settle(blocks, before, z, first, count, found["residual"], failures)
        for first, count in parts[::-1]:
            blocks.run(z, first, count, None, "back", retrace, w, g)
    if progress is not None:
        progress.update(problem.grid.steps)
    response = blocks.to_samples(w.reshape(blocks.count, 2, blocks.size, blocks.width)).astype(float)
    lost = failures.good & ~(np.isfinite(losses) & np.isfinite(response).all((1, 2)))
    failures.step[lost], failures.residual[lost] = problem.grid.steps, np.inf
    good = failures.good
    losses = np.where(good, losses, np.nan).astype(float)
    if good.any() and not blocks.stores(problem.grid.steps, retrace) and blocks.dtype == np.float64:
        returned = blocks.to_samples(z.reshape(blocks.count, 3, blocks.size, blocks.width))[:, 0]
        warn_of_growth(returned[good], start.q[good], problem.grid.steps)
    total = _total(problem, blocks, g, good)
    return Parts(total, response[:, 1], -response[:, 0]), losses, failures


def _total(problem: Problem, blocks: Blocks, g: ndarray, good: ndarray) -> ndarray:
    """Sums over samples laid out like theta; for parameters of each sample one row a sample."""
    if good.all() and len(good) == blocks.count*blocks.width:
        shared = g.sum(2).sum(0)
    else:
        mask = good[blocks.starts[:, None] + np.arange(blocks.width)] & blocks.fresh
        shared = np.where(mask[:, None], g, 0.0).sum(2).sum(0)
    if not problem.has_own_parameters:
        return shared.astype(float)
    own = blocks.to_samples(g)
    pieces, at = [], 0
    for value, layout in zip(problem.bound.parameters.values(), problem.theta_layout, strict=True):
        piece = slice(at, at + value.size)
        if layout[1] > 0:
            pieces.append(np.where(good[:, None], own[:, piece], 0.0).ravel())
        else:
            pieces.append(shared[piece])
        at += value.size
    return np.concatenate(pieces).astype(float)


def warn_of_growth(returned: ndarray, begin: ndarray, steps: int) -> None:
    """The way back must end where the way there began; what is missing is rounding, grown by G = |dq_N/dq_0|."""
    scale = 2*np.abs(begin).max()
    missing = np.abs(returned - begin).max()
    growth = missing/(2.2e-16*scale*np.sqrt(steps)) if scale else 0.0
    if growth > 1e6:
        warnings.warn(
            f"this trajectory multiplies small deviations by about {growth:.0e}, and rounding errors with them: "
            f"expect to lose that many digits of the gradient; a shorter time span helps, and so may retrace='bits'; "
            f"lep.analysis.lyapunov gives the longest span",
            AccuracyWarning,
            stacklevel=6,
        )
