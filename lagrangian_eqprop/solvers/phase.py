"""What a solver of equilibria found: one phase, free or nudged, and how two differ."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy import ndarray


@dataclass(frozen=True)
class Phase:
    """The end of one phase: q (B, free), and for Newton the indices of the last Hessians (B,).

    ``sums`` over the coordinates of each sample are finite where q is; None where nobody has taken them.
    """

    q: ndarray
    measured: Callable[[], ndarray]
    iterations: int
    indices: ndarray | None = None
    sums: ndarray | None = None

    @property
    def finite(self) -> ndarray:
        """Which samples are numbers, (B,)."""
        return np.isfinite(self.q.sum(1) if self.sums is None else self.sums)

    @functools.cached_property
    def residual(self) -> ndarray:
        """The largest |E_q + beta c_q| at a coordinate that no bound stops, (B,)."""
        return self.measured()


class Apart(NamedTuple):
    """Two states and their difference.

    Samples stand one after another in ``left``: those of ``other``, then of the difference; in ``right``: those of
    the difference, then of ``one``; so that one product of matrices is the difference of two. Lanes that are left
    over have the difference zero.
    """

    moved: ndarray  # one - other, (B, free)
    sums: ndarray  # of it over samples, (free,)
    left: ndarray  # (free, 2B)
    right: ndarray
