"""Lyapunov exponents, and how long an echo can be.

Small deviations grow like e^(lambda t), rounding errors among them. A path integrated back misses where it began by
about eps e^(lambda T), and nothing is left of it after

    T = ln(1/eps)/lambda,

the breakdown time of the echo: 36/lambda in double precision, 16/lambda in single.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..boundary import Initial
from ..eqprop.gradient import check_choices, problem_of
from ..errors import ConvergenceError, invalid
from ..grid import Grid
from ..solvers.failures import Failures
from ..solvers.limits import refuse
from ..solvers.start import Start
from ..symbols.definition import Definition


@dataclass(frozen=True)
class Lyapunov:
    """Exponents of one path, or of each of a batch.

    Attributes
    ----------
    exponents : ndarray, shape (k,) or (B, k)
        The largest k over the time of the grid, in 1/time; they come in pairs of opposite sign.
    breakdown : float or ndarray, shape (B,)
        The breakdown time of the echo, ln(1/eps) over the largest exponent; inf where that is not positive.
    log_growth : float or ndarray, shape (B,)
        ln of the factor by which a deviation has grown over the grid: the largest exponent times the duration.
    """

    exponents: np.ndarray
    breakdown: Any
    log_growth: Any


def lyapunov(
    system: Definition, boundary: Initial, grid: Grid, *, exponents: int = 1, inputs: Any = None,
    parameters: Any = None, method: str | None = None, compiled: bool = True, stability: str = "check",
    dtype: Any = float,
) -> Lyapunov:  # fmt: skip
    """The largest Lyapunov exponents of the discrete map along a path, and the breakdown time of its echo.

    Parameters
    ----------
    boundary : Initial
    grid : Grid
        The longer, the closer to the limit; an exponent over a time T is off by some e-foldings over T. Of a regular
        path it falls like ln(T)/T.
    exponents : int
        How many, at most twice the number of coordinates.
    inputs, parameters, method, compiled, stability
        As for ``trajectory``.
    dtype : "float64" or "float32"
        Whose eps the breakdown time is for; the exponents are computed in float64.

    Returns
    -------
    Lyapunov

    Raises
    ------
    ConvergenceError
        If a step fails.

    Notes
    -----
    Source: Benettin, Galgani, Giorgilli and Strelcyn, Meccanica 15 (1980) 9 and 21.
    """
    if not isinstance(boundary, Initial):
        raise invalid("boundary", "lep.Initial", type(boundary).__name__)
    check_choices(None, dtype, None)
    refuse(system, "lyapunov", repr(system.name))  # its deviations would not be tangent, or not independent
    most = 2*system.size
    if isinstance(exponents, bool) or not isinstance(exponents, (int, np.integer)) or not 1 <= exponents <= most:
        raise invalid("exponents", f"an integer from 1 to {most}, twice the number of coordinates", repr(exponents))
    options = {"inputs": inputs, "parameters": parameters, "method": method, "compiled": compiled}
    problem = problem_of(system, grid, None, options)
    start = Start(problem, boundary, stability)
    q, p, guess = start.q.copy(), start.p.copy(), start.v.copy()
    deviations = np.random.default_rng(0).standard_normal((exponents, 2, system.size))
    dq, dp = (np.tile(deviations[:, part], (len(q), 1, 1)) for part in (0, 1))
    logs, failures = np.zeros((len(q), exponents)), Failures(len(q))
    problem.run("orthonormal_columns", dq, dp, logs)
    logs[:] = 0.0
    for first, count in problem.each_block(q.size):
        failed, residual = np.where(failures.good, -1, 0), np.zeros(len(q))
        problem.run("tangents", problem.env(first, count), count, q, p, guess, dq, dp, logs, failed, residual)
        failed[~failures.good] = -1
        bad = (failed < 0) & failures.good & ~(np.isfinite(logs).all(1) & np.isfinite(q).all(1))
        failed[bad], residual[bad] = count, np.inf
        failures.settle(failed, residual, first)
    if not failures.good.all():
        raise ConvergenceError(failures.message(problem.grid))
    found = logs/grid.duration
    with np.errstate(divide="ignore"):
        times = np.where(found[:, 0] > 0, np.log(1/np.finfo(dtype).eps)/np.maximum(found[:, 0], 0.0), np.inf)
    if start.batch is not None:
        return Lyapunov(found, times, logs[:, 0])
    return Lyapunov(found[0], float(times[0]), float(logs[0, 0]))
