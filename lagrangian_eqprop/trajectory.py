"""A trajectory: what every solver returns."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from .errors import invalid


@dataclass(frozen=True)
class Trajectory:
    """A stationary point of the discrete action.

    Attributes
    ----------
    t : ndarray, shape (N+1,)
        The times kept; with ``save`` only those.
    q, p : ndarray, shape (N+1, d) or (B, N+1, d)
        Coordinates and nodal momenta. On a nudged trajectory p[0] and p[N] are the end momenta P_0 and P_N,
        and p[k] in between departs, after the nudge's kick.
    success : bool or ndarray of bool, shape (B,)
        Failed samples of a batch are nan.
    status : int or ndarray of int
        0, or 1 for a failed sample.
    message : str
        What happened.
    morse_index : int or ndarray of int, optional
        Two-point problems: negative eigenvalues of the Hessian of the discrete action over the free nodes.
    residual : float or ndarray, optional
        Two-point problems and closed paths: the largest entry of the discrete Euler-Lagrange equations that was left.
    period : float or ndarray, shape (B,), optional
        Closed paths: T. Where it was sought, ``t`` has a row a sample, (B, N+1).
    """

    t: np.ndarray
    q: np.ndarray
    p: np.ndarray
    success: bool | np.ndarray
    status: int | np.ndarray
    message: str
    morse_index: int | np.ndarray | None = None
    residual: float | np.ndarray | None = None
    period: float | np.ndarray | None = None
    _nodes: Callable[[], tuple[np.ndarray, Callable[[], np.ndarray]]] = field(
        default=lambda: (np.zeros(0), lambda: np.zeros(0)), repr=False
    )
    _action: Callable[[], np.ndarray] = field(default=lambda: np.zeros(0), repr=False)

    _monodromy: Callable[[], np.ndarray] | None = field(default=None, repr=False)

    @functools.cached_property
    def _velocity_and_energy(self) -> tuple[np.ndarray, Callable[[], np.ndarray]]:
        return self._nodes()

    @property
    def v(self) -> np.ndarray:
        """Velocities at the nodes, the solution of p = L_v(q, v, t); shape of ``q``."""
        return self._velocity_and_energy[0]

    @functools.cached_property
    def energy(self) -> np.ndarray:
        """p v - L at the nodes, shape (N+1,) or (B, N+1); with ``damping`` without the weight e^{gamma t}."""
        return self._velocity_and_energy[1]()

    @functools.cached_property
    def action(self) -> np.ndarray:
        """The sum of L_d over all steps, without the nudge; a number, or shape (B,)."""
        return self._action()

    @functools.cached_property
    def monodromy(self) -> np.ndarray:
        """Closed paths: M = d(q_N, P_N)/d(q_0, P_0), turned back by the twist, shape (2d, 2d) or (B, 2d, 2d)."""
        if self._monodromy is None:
            raise invalid("boundary", "lep.Periodic for Floquet multipliers", "another")
        return self._monodromy()

    @functools.cached_property
    def multipliers(self) -> np.ndarray:
        """Closed paths: Floquet multipliers, the eigenvalues of ``monodromy`` by falling modulus, (2d,) or (B, 2d).

        They come in pairs mu, 1/mu. The path is linearly unstable where one is larger than 1; two are 1 where
        nothing depends on time.
        """
        M = self.monodromy
        found = np.full(M.shape[:-1], np.nan, complex)
        good = np.isfinite(M).all((-1, -2))
        found[good] = np.linalg.eigvals(M[good])
        return np.take_along_axis(found, np.argsort(-np.abs(found), axis=-1), -1)

    def plot(self, **options: object) -> object:
        """Coordinates, energy and phase portrait; see :func:`lagrangian_eqprop.plotting.plot_trajectory`."""
        from .plotting import plot_trajectory

        return plot_trajectory(self, **options)  # type: ignore[arg-type]
