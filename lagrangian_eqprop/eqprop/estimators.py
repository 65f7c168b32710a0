"""Estimators: how d/dbeta at beta = 0 is taken from nudged stationary points."""

from __future__ import annotations

from collections.abc import Mapping
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
class Echo:
    """The contrast of ``Centered`` as a device measures it: by its own forward map, after a flip of the momenta.

    Initial-value problems only, by a symmetric method. The free run is followed by an echo for each nudge; inputs are
    played backwards. The faults of a device are those of the echoes; the free run and the loss are without noise. With
    no fault the result is that of ``Centered`` or ``OneSided`` with the same beta.

    Parameters
    ----------
    beta : float
        Strength of the nudge.
    reversal : "momentum" or "field"
        What is reversed at the turn: the momenta alone, for a Lagrangian even in the velocities (others are refused);
        or with them whatever is odd in the velocities, such as a magnetic field. :meth:`instructions` says what that
        is in a given system.
    centered : bool
        Echoes at beta and -beta; False: at beta and without a nudge.
    measurement : float
        Standard deviation of the noise of every position read at a node, and of the state read at the end; like the
        next two a fraction of the root mean square of that position or momentum along the free paths (dimensionless).
    state : float
        Of the noise added to the state after every step of an echo: what it would add up to at its end, were it not
        amplified on the way.
    turn : float
        Of the error of the state where an echo begins.
    bits : int, optional
        Parameters are rounded to 2^bits levels, from 1 to 32.
    ranges : mapping of Symbol or str to (float, float), optional
        The lowest and the highest level of the parameters that are rounded; others are not. Given with ``bits``.
    seed : int or numpy.random.Generator, optional
        Of the noise. An integer gives the same noise in every call of ``gradient`` (``fit`` draws on from it), a
        Generator goes on from call to call; None is different each time.

    Notes
    -----
    What the echo reads of an interval is d_theta L_d at the positions read at its two ends, so that the gradient of a
    mass, read from their difference, amplifies ``measurement`` by one over the step. Source: Pourcel and Ernoult (2025,
    arXiv:2506.05259) for the echo; Laborieux and Zenke (2022) for noise and the size of the nudge.
    """

    beta: float = 1e-3
    reversal: str = "momentum"
    centered: bool = True
    measurement: float = 0.0
    state: float = 0.0
    turn: float = 0.0
    bits: int | None = None
    ranges: Mapping[Any, tuple[float, float]] | None = None
    seed: int | np.random.Generator | None = 0

    def __post_init__(self) -> None:
        _beta(self.beta)
        if self.reversal not in ("momentum", "field"):
            raise invalid("reversal", "'momentum' or 'field'", repr(self.reversal))
        if not isinstance(self.centered, bool):
            raise invalid("centered", "True or False", repr(self.centered))
        for name in ("measurement", "state", "turn"):
            value = getattr(self, name)
            real = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
            if not real or not 0 <= value < np.inf:
                raise invalid(name, "a standard deviation, finite and not negative", repr(value))
        self._check_levels()
        if isinstance(self.seed, bool) or not isinstance(self.seed, (int, np.integer, np.random.Generator, type(None))):
            raise invalid("seed", "an integer, a numpy Generator or None", repr(self.seed))

    def _check_levels(self) -> None:
        if (self.bits is None) != (self.ranges is None):
            raise invalid("ranges", "given together with bits", "one of the two")
        if self.bits is None or self.ranges is None:
            return
        whole = isinstance(self.bits, (int, np.integer)) and not isinstance(self.bits, bool)
        if not whole or not 1 <= self.bits <= 32:
            raise invalid("bits", "an integer from 1 to 32", repr(self.bits))
        if not isinstance(self.ranges, Mapping) or not self.ranges:
            raise invalid("ranges", "a mapping of parameters to (lowest, highest)", repr(self.ranges))
        for key, pair in self.ranges.items():
            try:
                low, high = map(float, pair)
            except (TypeError, ValueError) as error:
                raise invalid(f"ranges[{key}]", "(lowest, highest)", repr(pair)) from error
            if not -np.inf < low < high < np.inf:
                raise invalid(f"ranges[{key}]", "(lowest, highest), finite and in this order", repr(pair))

    def instructions(self, system: Any) -> tuple[str, ...]:
        """What a device must do at the turn, one sentence each.

        Parameters
        ----------
        system : System

        Raises
        ------
        ValueError
            If a flip of the momenta does not turn the motion back, naming the term.
        """
        from ..methods import choose
        from .reversal import check_reversible, instructions

        check_reversible(system, choose(system, None), self.reversal)
        return instructions(system, self.reversal)


@dataclass(frozen=True)
class Exact:
    """The limit itself, by the linear response of the free path to the nudge."""


@dataclass(frozen=True)
class Adjoint:
    """The classical discrete adjoint, by code of its own, to compare with."""


@dataclass(frozen=True)
class NaiveForward:
    """For study, not for training: the contrast of paths nudged forward from the same initial data. It is *biased*.

    The nudged path shares the beginning of the free one, not its end, where a boundary term B_N survives that no
    small ``beta`` removes; for a terminal cost the estimate is identically zero. ``result.residual`` holds B_N, for
    every parameter, from a tangent pass each: estimate + residual is the gradient, up to O(beta^2). The rule says
    nothing of initial data, so that ``result.initial`` is None. For :class:`~lagrangian_eqprop.Initial` alone.

    Parameters
    ----------
    beta : float
        Strength of the nudge; the contrast is centered.

    References
    ----------
    Pourcel et al. (2025, arXiv:2506.06248), on the causal initial-value problem.
    """

    beta: float = 1e-4

    def __post_init__(self) -> None:
        _beta(self.beta)


@dataclass(frozen=True)
class ConvolutionAction:
    """[g(beta) - g(-beta)]/(2 beta) on the convolution action of a linear damped system: exact at every beta.

    The nudged runs are the same device, with the same damping and from the same rest, driven by the error of the free
    path backwards in time (``eqprop.convolution``). Needs a Lagrangian and a dissipation function that are quadratic
    with constant coefficients, and initial data of zero.

    Parameters
    ----------
    beta : float
        Strength of the nudge; rounding of the paths enters as its part of beta.
    """

    beta: float = 1.0

    def __post_init__(self) -> None:
        _beta(self.beta)


Estimator = OneSided | Centered | Echo | Holomorphic | Exact | Adjoint | NaiveForward | ConvolutionAction


def contrast(estimator: Estimator) -> tuple[np.ndarray, np.ndarray]:
    """Nudges and coefficients of a finite-beta estimator: estimate = sum of coefficient*g(nudge)."""
    assert isinstance(estimator, (OneSided, Centered, Echo))
    if isinstance(estimator, OneSided) or (isinstance(estimator, Echo) and not estimator.centered):
        return np.array([estimator.beta, 0.0]), np.array([1.0, -1.0])/estimator.beta
    return np.array([estimator.beta, -estimator.beta]), np.array([0.5, -0.5])/estimator.beta


def half_circle(points: int) -> tuple[np.ndarray, np.ndarray]:
    """The upper half of the circle of N points, and how often each counts: g(conj beta) = conj g(beta)."""
    half = points//2
    angles = np.pi*np.arange(half + 1)/half
    counts = np.full(half + 1, 2.0)
    counts[[0, -1]] = 1.0
    # exact values on the axes: nodes of the real axis stay real
    return np.where(np.arange(half + 1) % half == 0, np.cos(angles).round() + 0j, np.exp(1j*angles)), counts
