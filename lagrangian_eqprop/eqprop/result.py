"""What `gradient` returns."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sympy as sp

from ..errors import invalid
from ..rest import Rest
from ..symbols.definition import lookup
from ..trajectory import Trajectory


@dataclass(frozen=True)
class InitialGradient:
    """Derivatives of J with respect to initial data; shapes of the data given.

    Attributes
    ----------
    q : ndarray
        At fixed v if v was given, else at fixed p.
    v, p : ndarray or None
        At fixed q; None where q alone is the state.
    """

    q: np.ndarray
    v: np.ndarray | None
    p: np.ndarray | None


@dataclass(frozen=True)
class EndsGradient:
    """Derivatives of J with respect to fixed ends; None for a natural one."""

    start: np.ndarray | None
    stop: np.ndarray | None


@dataclass(frozen=True)
class InputGradients:
    """Derivatives of J with respect to inputs: ``inputs[u]`` by Symbol or name, in the shape of what was given.

    Of a callable: at the labels where the method calls it, nodes for Verlet and middles for midpoint.
    """

    values: Mapping[sp.Symbol, np.ndarray]

    def __getitem__(self, key: Any) -> np.ndarray:
        return self.values[lookup(key, self.values, "the key of an input's gradient")]


@dataclass(frozen=True)
class PeriodicGradient:
    """Derivatives of J with respect to what defines a closed path, in the shapes given.

    Attributes
    ----------
    period : float or None
        By T where it is fixed: inputs and targets keep their values at the nodes, drives of the phase t/T.
    energy : ndarray or None
        By the energy where the period is unknown.
    phase : dict of int to ndarray, or None
        By the values of ``phase={coordinate: value}``.
    twist : ndarray, shape (d, d), or None
        By the entries of R, where one was given.
    """

    period: float | None
    energy: np.ndarray | None
    phase: Mapping[int, np.ndarray] | None
    twist: np.ndarray | None


@dataclass(frozen=True)
class Gradient:
    """The loss and its derivatives.

    ``result[k]`` is dJ/dk in the shape of parameter k, by Symbol or name.

    Attributes
    ----------
    loss : float
        J, the mean over the batch.
    losses : ndarray, shape (B,) or ()
        One a sample; nan where it failed.
    parameters : dict of Symbol to ndarray
        All derivatives with respect to parameters.
    initial, ends, periodic : InitialGradient, EndsGradient, PeriodicGradient or None
        Derivatives with respect to the boundary data.
    inputs : InputGradients or None
        With ``input_gradients``: derivatives with respect to inputs.
    error : float or None
        Holomorphic: the estimated relative error of the gradient.
    path, nudged : Trajectory, Rest or None
        With ``save``: the free trajectory or equilibrium, and the nudged one with the largest positive nudge.
    """

    loss: float
    losses: np.ndarray
    parameters: Mapping[sp.Symbol, np.ndarray]
    success: bool | np.ndarray
    message: str
    initial: InitialGradient | None = None
    ends: EndsGradient | None = None
    periodic: PeriodicGradient | None = None
    inputs: InputGradients | None = None
    error: float | None = None
    path: Trajectory | Rest | None = None
    nudged: Trajectory | Rest | None = None
    _residual: Callable[[], Mapping[sp.Symbol, np.ndarray]] | None = field(default=None, repr=False)

    @functools.cached_property
    def residual(self) -> Mapping[sp.Symbol, np.ndarray]:
        """NaiveForward: what its estimate lacks, in the shapes of the parameters; a tangent pass a parameter."""
        if self._residual is None:
            raise invalid("estimator", "lep.NaiveForward for a residual; no boundary term is left", "another")
        return self._residual()

    def __getitem__(self, key: Any) -> np.ndarray:
        return self.parameters[lookup(key, self.parameters, "the key of a gradient")]
