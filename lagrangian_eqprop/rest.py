"""A point of rest: what `equilibrium` returns."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Rest:
    """A stationary point of an energy.

    Attributes
    ----------
    q : ndarray, shape (d,) or (B, d)
        All coordinates, clamped ones included.
    residual : float or ndarray, shape (B,)
        The largest |E_q| (nudged: |E_q + beta c_q|) at a coordinate that no bound stops, as it was measured at q.
    success : bool or ndarray of bool
        Whether the residual is within the tolerance; with ``tolerance=None`` whether it is finite.
    solver : str
        What found it.
    iterations : int
        How many iterations the slowest sample took.
    message : str
        What happened.
    """

    q: np.ndarray
    residual: float | np.ndarray
    success: bool | np.ndarray
    solver: str
    iterations: int
    message: str
    _energy: Callable[[], np.ndarray] = field(repr=False)
    _index: Callable[[], np.ndarray] = field(repr=False)

    @functools.cached_property
    def energy(self) -> float | np.ndarray:
        """E without the nudge, () or (B,)."""
        return _plain(self._energy())

    @functools.cached_property
    def index(self) -> int | np.ndarray:
        """Negative eigenvalues of the Hessian of E (nudged: of E + beta c) on the unsaturated coordinates."""
        return _plain(self._index())


def _plain(value: np.ndarray) -> np.ndarray:
    return value if value.ndim else value[()]
