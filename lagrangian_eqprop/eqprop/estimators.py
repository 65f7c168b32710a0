"""Estimators: how d/dbeta at beta = 0 is taken from nudged stationary points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import invalid


def _beta(value: Any, name: str = "beta") -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise invalid(name, "a finite real number other than 0", repr(value))
    if not 0 < abs(float(value)) < np.inf:
        raise invalid(name, "a finite real number other than 0", repr(value))
    return float(value)


def _nudge(value: Any) -> None:
    if value not in ("full", "linearised"):
        raise invalid("nudge", "'full' or 'linearised'", repr(value))


@dataclass(frozen=True)
class OneSided:
    """[g(beta) - g(0)]/beta with error O(beta); g = -S_theta of the nudged path.

    Parameters
    ----------
    beta : float
        Strength of the nudge; beta times the cost is an energy.
    nudge : "full" or "linearised"
        Where the nudging force beta w c_q is evaluated: on the nudged path itself, or on the free path, as a given
        force. The limit and the order of the error are the same; only the full nudge makes the estimate the gradient
        of a cost at finite beta.
    """

    beta: float = 1e-6
    nudge: str = "full"

    def __post_init__(self) -> None:
        _beta(self.beta)
        _nudge(self.nudge)


@dataclass(frozen=True)
class Centered:
    """[g(beta) - g(-beta)]/(2 beta) with error O(beta^2) (Laborieux et al. 2021).

    Parameters
    ----------
    beta : float
        Strength of the nudge; beta times the cost is an energy.
    nudge : "full" or "linearised"
        As for :class:`OneSided`. Linearised, the estimate of a linear system (a quadratic Lagrangian) has no error
        but rounding at any beta, since its path is linear in the force and S_theta quadratic in the path.
    """

    beta: float = 1e-4
    nudge: str = "full"

    def __post_init__(self) -> None:
        _beta(self.beta)
        _nudge(self.nudge)


@dataclass(frozen=True)
class Holomorphic:
    """Sum over points of a circle of e^{-i phi} g(r e^{i phi})/(N r), with error O(r^N) (Laborieux and Zenke 2022).

    Parameters
    ----------
    radius : float, optional
        r; None lets the library find one where truncation and rounding are both small.
    points : int
        N, even, at least 2.
    """

    radius: float | None = None
    points: int = 16

    def __post_init__(self) -> None:
        if self.radius is not None:
            _beta(self.radius, "radius")
        whole = isinstance(self.points, (int, np.integer)) and not isinstance(self.points, bool)
        if not whole or self.points < 2 or self.points % 2:
            raise invalid("points", "an even integer of at least 2", repr(self.points))


@dataclass(frozen=True)
class Exact:
    """The limit itself, by the linear response of the free path to the nudge."""


@dataclass(frozen=True)
class Adjoint:
    """The classical discrete adjoint, by code of its own, to compare with."""


Estimator = OneSided | Centered | Holomorphic | Exact | Adjoint


def contrast(estimator: Estimator) -> tuple[np.ndarray, np.ndarray]:
    """Nudges and coefficients of a finite-beta estimator: estimate = sum of coefficient*g(nudge)."""
    if isinstance(estimator, OneSided):
        return np.array([estimator.beta, 0.0]), np.array([1.0, -1.0])/estimator.beta
    assert isinstance(estimator, Centered)
    return np.array([estimator.beta, -estimator.beta]), np.array([0.5, -0.5])/estimator.beta


def half_circle(points: int) -> tuple[np.ndarray, np.ndarray]:
    """The upper half of the circle of N points, and how often each counts: g(conj beta) = conj g(beta)."""
    half = points//2
    angles = np.pi*np.arange(half + 1)/half
    counts = np.full(half + 1, 2.0)
    counts[[0, -1]] = 1.0
    # exact values on the axes: nodes of the real axis stay real
    return np.where(np.arange(half + 1) % half == 0, np.cos(angles).round() + 0j, np.exp(1j*angles)), counts
