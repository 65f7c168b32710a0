"""The radius of a holomorphic estimate: where truncation and rounding are both small.

On the circle beta = r e^{i phi} every nudged quantity has Fourier coefficients a_m = c_m r^m, and a_1/r is the
derivative that is wanted. N points cannot tell a_1 from a_{N+1}, and rounding enters as noise/a_1. If the a_m
fall like (r/R)^m, both are small where a_{N-1} just drowns in the noise. The noise is seen in a_0, which
should vanish (Laborieux and Zenke 2022; Trefethen and Weideman 2014 on the trapezoidal rule).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from ..errors import ConvergenceError
from .estimators import Holomorphic, half_circle

_TRIALS = 10


@dataclass
class Parts:
    """A gradient before the mean over samples is taken.

    ``g`` is a sum over samples, laid out like theta; ``dq`` and ``dp`` are derivatives with respect to
    boundary data, one a sample: of q_0 at fixed p and of p_0 at fixed q, or of the two ends.
    """

    g: ndarray
    dq: ndarray
    dp: ndarray
    error: float | None = None
    ends: tuple[ndarray, ndarray] | None = None  # d_beta (q_N, P_N), where the end is left to itself


def search_radius(
    circle: Callable[[float], tuple[Parts, ndarray] | None], radius: float, estimator: Holomorphic
) -> Parts:
    """The estimate with the smallest error estimate among circles of a few radii.

    Parameters
    ----------
    circle : callable
        For a radius: the estimate and how far the nudged states are from the free ones, shape (samples, points
        of the half circle, values); None where a nudged path does not exist.
    radius : float
        The first radius, and the only one if the estimator names it.

    Raises
    ------
    ConvergenceError
        If no radius works.
    """
    best: Parts | None = None
    largest = np.inf  # a radius that was too large
    fixed = estimator.radius is not None
    for _ in range(1 if fixed else _TRIALS):
        found = circle(radius)
        if found is None:
            largest, radius = radius, 0.1*radius
            continue
        parts, moved = found
        parts.error, factor = _judge(moved, estimator.points)
        if best is None or parts.error < (best.error or 0.0):
            best = parts
        if fixed or 0.8 < factor < 1.25 or radius*factor >= largest:
            break
        largest = radius if factor < 1.0 else largest
        radius *= factor
    if best is None:
        raise ConvergenceError(
            f"Holomorphic found no nudged path at radius {radius:.1e}; give a smaller radius, or use Exact"
        )
    return best


def _judge(moved: ndarray, points: int) -> tuple[float, float]:
    """The relative error of a_1, and the factor by which the radius should change."""
    unit, counts = half_circle(points)
    waves = counts[:, None]*unit[:, None]**(-np.arange(points))[None]/points
    spectrum = np.abs(np.einsum("bkx,km->bmx", moved, waves).real).max(2)
    signal = spectrum[:, 1]
    signal = np.maximum(signal, 1e-3*signal.max(initial=0.0) + 1e-300)
    relative = (spectrum/signal[:, None]).max(0, initial=0.0)
    error = max(relative[0], relative[2:].min(initial=np.inf), 1e-17)
    # Does the spectrum end in a plateau of rounding noise, or still fall?
    last = relative[-min(4, points - 2) :] if points > 2 else relative[:1]
    noise = float(last.max()) if last[-1] > 0.05*last[0] else 1e-15
    if noise > 1e-9:  # too large for noise: the points do not resolve the function, or do not lie where it exists
        return float(error), 0.3 if noise < 1e-3 else 0.1
    noise = max(noise, 1e-15)
    seen = [m for m in range(2, points) if relative[m] > 10*noise]
    if not seen:  # nothing but the linear response: the nudge may be larger
        return float(error), 10.0
    rate = max(relative[m]**(1.0/(m - 1)) for m in seen[-3:])
    return float(error + rate**points), float(np.clip(noise**(1.0/points)/rate, 0.05, 10.0))
