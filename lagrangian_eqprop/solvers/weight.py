"""The weight e^{gamma t} of damping in proportion to mass: its rate, and how far doubles carry it."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
from numpy import ndarray

from ..errors import AccuracyWarning

if TYPE_CHECKING:
    from .problem import Problem

LARGEST = 300.0  # of |gamma t|: e^300 = 2e130 leaves room for squares before 1e308
RETRACED = 14.0  # of gamma times the duration: e^14 = 1e6


def rates(problem: Problem) -> ndarray:
    """gamma of every sample, (samples,) or (1,); zero without damping."""
    damping = problem.system.damping
    if damping is None:
        return np.zeros(1)
    if damping.parameter is None:
        return np.array([damping.number])
    return np.atleast_1d(list(problem.values.values())[damping.parameter])


def check_span(problem: Problem) -> None:
    """Refuse times at which the weight would leave the range of doubles.

    Raises
    ------
    ValueError
        If |gamma t| is beyond 300 at an end of the grid; the message says which times are within.
    """
    if problem.system.damping is None:
        return
    grid, rate = problem.grid, float(np.abs(rates(problem)).max())
    latest = max(abs(grid.start), abs(grid.start + grid.coarse.duration))
    if rate*latest > LARGEST:
        raise ValueError(
            f"grid must keep |damping*t| below {LARGEST:.0f}, since the action is weighted by e^(damping*t): with a "
            f"rate of {rate:.4g} times up to {LARGEST/rate:.4g}; got t = {latest:.4g}. Write the damping as rayleigh= "
            f"for longer spans"
        )


def warn_of_retracing(problem: Problem) -> None:
    """An echo goes back on a device with gain, which multiplies rounding errors by up to e^{gamma T}."""
    exponent = float(rates(problem).max())*problem.grid.coarse.duration
    if exponent > RETRACED:
        warnings.warn(
            f"the echo of a damped path runs with gain, which multiplies rounding errors by up to "
            f"e^(damping*duration) = {np.exp(exponent):.0e}; Adjoint reads the stored path instead, and a duration "
            f"below {RETRACED*problem.grid.coarse.duration/exponent:.4g} keeps ten digits",
            AccuracyWarning,
            stacklevel=6,
        )


def unweighted(problem: Problem, energy: ndarray, kept: ndarray) -> ndarray:
    """p v - L of the weighted Lagrangian at the nodes ``kept``, (samples, kept), as the energy of the motion."""
    if problem.system.damping is None:
        return energy
    times = problem.grid.start + kept*problem.grid.step
    return energy*np.exp(-rates(problem)[:, None]*times)
