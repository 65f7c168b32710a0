"""Relaxation to equilibria: all coordinates at once down the slope, plainly or with Nesterov's momentum.

    relaxation     q <- clip(q - step (E_q + beta c_q))
    accelerated    the same from y = q + m (q - q_before), m = k/(k + 3), begun again (k = 0) in a sample whose last
                   move went uphill (O'Donoghue and Candes 2015)

Where no step is given each sample has one of its own, which begins at 0.9 divided by the largest eigenvalue of the
Hessian (by power iteration) and follows the curvature seen between two points, |dq|/|d slope|: half of it in
relaxation, which then converges without a search along the line (Malitsky and Mishchenko 2020). A sample that runs
away returns to its best point with a smaller step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy import ndarray

from .energies import Energies
from .layered import Lanes, applies
from .phase import Phase

_POWER = 30
_EVERY = 10  # steps between looks at the residual
_BURST = 20  # the same for compiled steps
_AWAY = 1e3  # the residual beyond its smallest value that sends a sample back


def stable_step(energies: Energies, q: ndarray, beta: Any = 0.0) -> ndarray:
    """0.9 divided by the largest eigenvalue of E_qq, (B, 1)."""
    v = np.random.default_rng(0).normal(size=q.shape).astype(q.dtype)
    size = np.ones((len(q), 1), q.dtype)
    for _ in range(_POWER):
        v = energies.product(q, v/size, beta)
        size = np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-12)
    return (0.9/size).astype(q.dtype)


def relaxation(
    energies: Energies, q: ndarray, beta: Any, iterations: int, tolerance: float | None, step: float | None,
    held: ndarray | None = None,
) -> Phase:  # fmt: skip
    """``iterations`` steps, or until no sample has more than ``tolerance`` left."""
    if step is None:
        return _adaptive(energies, q, beta, iterations, tolerance, held, False)
    if held is None and energies.compiled and (energies.lanes is not None or applies(energies, iterations)):
        return _compiled(energies, q, beta, iterations, tolerance, step)
    q, number = q.copy(), 0
    for number in range(1, iterations + 1):  # noqa: B007
        slope = energies.slope(q, beta)
        if tolerance is not None and number % _EVERY == 1:
            left = left_over(energies, q, slope, held)
            if ((left <= tolerance) | np.isinf(left)).all():
                break
        slope *= step
        if held is None:
            np.subtract(q, slope, out=q)
            if energies.bounded:
                np.maximum(q, energies.lower, out=q)
                np.minimum(q, energies.upper, out=q)
        else:
            q = np.where(held, q, q - slope)
    return Phase(q, measured(energies, q, beta, held), number)


def _compiled(
    energies: Energies, q: ndarray, beta: float, iterations: int, tolerance: float | None, step: float
) -> Phase:
    """The same steps by a compiled pass over the layers."""
    if energies.lanes is None:
        energies.lanes = Lanes(energies)
        energies.lanes.read()
    state, number = energies.lanes.state(q), 0
    while number < iterations:
        burst = iterations if tolerance is None else min(_BURST, iterations - number)
        state.relax(beta, burst, step)
        number += burst
        if tolerance is not None:
            left = left_over(energies, state.q, energies.slope(state.q, beta), None)
            if ((left <= tolerance) | np.isinf(left)).all():
                break
    return Phase(state.q, measured(energies, state.q, beta, None), number, sums=state.sums)


def accelerated(
    energies: Energies, q: ndarray, beta: Any, iterations: int, tolerance: float | None, step: float | None,
    held: ndarray | None = None,
) -> Phase:  # fmt: skip
    """The same with momentum; a given step stays as it is."""
    return _adaptive(energies, q, beta, iterations, tolerance, held, True, step)


def _adaptive(
    energies: Energies, q: ndarray, beta: Any, iterations: int, tolerance: float | None, held: ndarray | None,
    momentum: bool, step: float | None = None,
) -> Phase:  # fmt: skip
    real = q.real.dtype
    fixed = step is not None
    size: ndarray = np.full((len(q), 1), step, real) if fixed else stable_step(energies, q.real, _real(beta))
    count, ratio = np.zeros((len(q), 1), real), np.ones((len(q), 1), real)
    before, best, least = q, q, np.full(len(q), np.inf)
    point: ndarray | None = None
    number, last = 0, q
    for number in range(1, iterations + 1):  # noqa: B007
        y = q + count/(count + 3)*(q - before) if momentum else q
        slope = energies.slope(y, beta)
        if held is not None:
            slope[held] = 0
        if point is not None and not fixed:
            moved, bent = (np.linalg.norm(d, axis=1, keepdims=True) for d in (y - point, slope - last))
            seen = np.divide(moved, bent, out=np.full_like(size, np.inf), where=bent > 0)
            if momentum:
                size = np.minimum(1.05*size, 0.9*seen)
            else:
                new = np.minimum(np.sqrt(1 + ratio)*size, 0.5*seen)
                size, ratio = new, new/size
        point, last = y, slope
        after = y - size*slope
        after = energies.clip(after) if held is None else after
        uphill = ((y - after).conj()*(after - q)).real.sum(1, keepdims=True) > 0
        count = np.where(uphill, 0, count + 1)
        before, q = q, after
        if number % _EVERY == 0 and (tolerance is not None or not fixed):
            left = left_over(energies, q, energies.slope(q, beta), held)
            if tolerance is not None and (left <= tolerance).all():
                break
            better, away = left < least, ~(left <= _AWAY*least)
            best, least = np.where(better[:, None], q, best), np.where(better, left, least)
            if away.any() and not fixed:
                q = np.where(away[:, None], best, q)
                before, count = np.where(away[:, None], q, before), np.where(away[:, None], 0, count)
                size, point = np.where(away[:, None], 0.1*np.minimum(size, 1/np.finfo(real).eps), size), None
    return Phase(q, measured(energies, q, beta, held), number)


def measured(energies: Energies, q: ndarray, beta: Any, held: ndarray | None) -> Callable[[], ndarray]:
    """The residual, when it is asked for."""

    def measure() -> ndarray:
        with np.errstate(all="ignore"):
            return left_over(energies, q, energies.slope(q, beta), held)

    return measure


def left_over(energies: Energies, q: ndarray, slope: ndarray, held: ndarray | None) -> ndarray:
    """The largest |E_q + beta c_q| at a coordinate that no bound stops, or that is not held; inf for no number."""
    if held is None:
        return energies.residual(q, slope)
    found = np.abs(np.where(held, 0.0, slope)).max(1, initial=0.0)
    return np.where(np.isfinite(found), found, np.inf)


def _real(beta: Any) -> Any:
    return beta.real if isinstance(beta, complex) else beta
