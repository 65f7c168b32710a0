"""What a solver of equilibria found: one phase, free or nudged."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from numpy import ndarray


@dataclass(frozen=True)
class Phase:
    """The end of one phase: q (B, free), and for Newton the indices of the last Hessians (B,)."""

    q: ndarray
    measured: Callable[[], ndarray]
    iterations: int
    indices: ndarray | None = None

    @functools.cached_property
    def residual(self) -> ndarray:
        """The largest |E_q + beta c_q| at a coordinate that no bound stops, (B,)."""
        return self.measured()
