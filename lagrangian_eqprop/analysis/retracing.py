"""There and back: how far the way back ends from where the way there began.

In floating point every step leaves a rounding error, and the way back multiplies those of the way there by
G = |dq_N/dq_0|. In whole numbers nothing is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..boundary import Initial
from ..eqprop.gradient import problem_of
from ..errors import ConvergenceError, invalid
from ..grid import Grid
from ..solvers.fixed import FixedPoint, FixedRun
from ..solvers.initial import integrate
from ..solvers.start import Start
from ..symbols.definition import Definition


@dataclass(frozen=True)
class Retrace:
    """The end of a way there and back.

    Attributes
    ----------
    q, p : ndarray, shape (d,) or (B, d)
        Where the way back ended.
    missing : float
        The largest distance of a position from where the way there began, in units of the coordinates.
    exact : bool
        Whether every bit of the state has returned.
    """

    q: np.ndarray
    p: np.ndarray
    missing: float
    exact: bool


def retrace(
    system: Definition, boundary: Initial, grid: Grid, *, how: Any = "integrate", inputs: Any = None,
    parameters: Any = None, method: str | None = None, compiled: bool = True, stability: str = "check",
) -> Retrace:  # fmt: skip
    """Run over the grid and back, and compare.

    Parameters
    ----------
    boundary : Initial
    how : "integrate", "bits" or FixedPoint
        In floating point, or in whole numbers (Verlet), where ``exact`` must come out True.
    inputs, parameters, method, compiled, stability
        As for ``trajectory``.

    Returns
    -------
    Retrace

    Raises
    ------
    ConvergenceError
        If a sample fails on either way.
    """
    if not isinstance(boundary, Initial):
        raise invalid("boundary", "lep.Initial", type(boundary).__name__)
    if not isinstance(how, FixedPoint) and how not in ("integrate", "bits"):
        raise invalid("how", "'integrate', 'bits' or a lep.FixedPoint", repr(how))
    problem = problem_of(system, grid, None, {
        "inputs": inputs, "parameters": parameters, "method": method, "compiled": compiled
    })  # fmt: skip
    start = Start(problem, boundary, stability)
    if how == "integrate":
        q, p, guess = start.q.copy(), start.p.copy(), start.v.copy()
        failures = integrate(problem, q, p, guess)
        if failures.good.all():
            integrate(problem, q, p, guess, failures=failures, back=True)
        begin, end = (start.q, start.p), (q, p)
    else:
        run = FixedRun(problem, start, how if isinstance(how, FixedPoint) else FixedPoint())
        begin = run.state
        for way in (1, -1):
            for _ in run.blocks(way):
                pass
        end, failures = run.state, run.failures
    if not failures.good.all():
        raise ConvergenceError(failures.message(problem.grid))
    missing = float(np.abs(end[0] - begin[0]).max())
    exact = all(np.array_equal(one, two) for one, two in zip(begin, end, strict=True))
    q, p = (state if start.batch is not None else state[0] for state in end)
    return Retrace(q, p, missing, exact)
