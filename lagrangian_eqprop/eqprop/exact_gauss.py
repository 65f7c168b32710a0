"""Exact for the Gauss method: the free path and its linear response, one sample after the other.

The stages of a stretch of steps are kept for the way back; of the stretches before it only their first states,
from which they are integrated again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from ..compiler.lanes import empty_rows
from ..solvers.failures import Failures
from ..solvers.gauss import Run, Stretch, warn_if_rough
from ..solvers.problem import Problem
from ..solvers.start import Start
from .radius import Parts


def exact_gauss(
    problem: Problem, start: Start, stages: int, progress: Any = None
) -> tuple[Parts, ndarray, Failures]:  # fmt: skip
    """The parts of the gradient (sums over good samples; explicit ones included), the losses, and what failed."""
    run, failures = Run(problem, start, stages), Failures(len(start.q))
    found = _Response(run, failures)
    stretches = list(run.stretches())
    begins = []
    for stretch in stretches:
        begins.append((run.z.copy(), run.guess.copy()))
        for b in map(int, np.flatnonzero(failures.good)):
            found.there(stretch, b, keep=len(stretches) == 1)
            if len(stretches) == 1 and failures.good[b]:
                found.back(stretch, b)
        if progress is not None:
            progress.update(stretch.count)
    losses = run.loss()
    failures.step[failures.good & ~np.isfinite(losses)] = problem.grid.steps
    warn_if_rough(run.roughness(), failures.good, problem, stages, 6)
    if len(stretches) > 1:
        for stretch, (z, guess) in zip(stretches[::-1], begins[::-1], strict=True):
            run.z, run.guess = z, guess
            for b in map(int, np.flatnonzero(failures.good)):
                found.there(stretch, b, keep=True)
                found.back(stretch, b)
    if progress is not None:
        progress.update(problem.grid.steps)
    failures.step[failures.good & ~np.isfinite(found.w).all((1, 2))] = problem.grid.steps
    good = failures.good
    return Parts(found.total(), found.w[:, 1], -found.w[:, 0]), np.where(good, losses, np.nan), failures


class _Response:
    """(dq, dp) and the sums of every sample."""

    def __init__(self, run: Run, failures: Failures) -> None:
        self.run, self.failures = run, failures
        d, samples = run.size, run.samples
        entries = sum(int(value.size) for value in run.problem.bound.parameters.values())
        self.w = np.zeros((samples, 2, d))
        self.guess = np.zeros((samples, d, run.width))
        self.g = np.zeros((samples, entries))
        self.sums = np.zeros((samples, entries, run.width))

    def there(self, stretch: Stretch, b: int, keep: bool) -> None:
        """One sample over one stretch; its nodes and stages are kept for the way back."""
        run, count = self.run, stretch.count
        slots = np.arange(count + 1) if keep else np.full(count + 1, -1)
        self.nodes = np.empty((count + 1)*2*run.size if keep else 0)
        self.path = empty_rows(count*2*run.size if keep else 0, run.width)
        run.advance(stretch, b, slots, self.nodes, self.path, self.failures)

    def back(self, stretch: Stretch, b: int) -> None:
        """The response of one sample over the stretch whose nodes and stages were kept last."""
        run, report = self.run, np.zeros(2)
        run.module.gauss_echo(
            run.problem.theta, stretch.signals, stretch.table(b), run.coefficients, run.columns, stretch.count,
            stretch.first == 0, self.nodes, self.path, self.w[b].reshape(-1), self.guess[b], self.g[b], self.sums[b],
            report,
        )  # fmt: skip
        if report[0] >= 0:
            self.failures.step[b] = stretch.first + int(report[0])
            self.failures.residual[b], self.failures.back[b] = report[1], True

    def total(self) -> ndarray:
        """Sums over the good samples, laid out like theta; parameters of each sample keep theirs apart."""
        problem, good = self.run.problem, self.failures.good
        each = np.where(good[:, None], self.g + self.sums.sum(2), 0.0)
        pieces, at = [np.zeros(0)], 0
        for value, layout in zip(problem.bound.parameters.values(), problem.theta_layout, strict=True):
            part = each[:, at : at + value.size]
            pieces.append(part.ravel() if layout[1] > 0 else part.sum(0))
            at += value.size
        return np.concatenate(pieces)
