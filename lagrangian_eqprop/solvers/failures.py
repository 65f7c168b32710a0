"""Which samples of a batch failed, where, and what the user is told."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy import ndarray


class Failures:
    """Which samples failed, where, and with which residual."""

    def __init__(self, samples: int) -> None:
        self.step = np.full(samples, -1)
        self.residual = np.zeros(samples)
        self.back = np.zeros(samples, bool)
        self.reason = ""  # what a finite residual means, and what to do, where that is not Newton's

    @property
    def good(self) -> ndarray:
        return self.step < 0

    def settle(self, failed: ndarray, residual: ndarray, first: int, back: bool = False) -> None:
        """Take over what a block reports, by numbers of the whole grid."""
        new = (failed >= 0) & self.good
        self.step[new] = failed[new] + first
        self.residual[new] = residual[new]
        self.back[new] = back

    def message(self, grid: Any) -> str:
        if self.good.all():
            return "converged"
        bad = np.flatnonzero(~self.good)
        b = bad[0]
        k, left = int(self.step[b])//grid.substeps, self.residual[b]
        way = "on the way back " if self.back[b] else ""
        stuck = np.isfinite(left) and left > 0
        what = f"Newton left a residual of {left:.1e}" if stuck else "the state or its loss became infinite"
        what += "; try a smaller step or other initial data"
        return (
            f"{bad.size} of {self.step.size} samples failed; sample {b} at step {k} {way}"
            f"(t = {grid.start + k*grid.step:.4g}): {self.reason if stuck and self.reason else what}"
        )


def all_finite(array: ndarray) -> bool:
    """Whether all of a real array are numbers."""
    # the sum of squares is finite where all are, unless it is too large, and is taken in a moment
    return math.isfinite(np.vdot(array, array)) or bool(np.isfinite(array).all())
