"""Exact along a path in fixed-point numbers: retraced to the last bit, its linear response in floating point.

What the response loses to rounding is a few units of the last place a step, as along a stored path, in memory that does
not grow with the steps: no error of the path itself is amplified on the way back.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from ..errors import ConvergenceError
from ..solvers.failures import Failures
from ..solvers.fixed import FixedPoint, FixedRun
from ..solvers.problem import Problem
from ..solvers.start import Start, check_stability
from .radius import Parts


def exact_fixed(
    fixed: FixedPoint, problem: Problem, start: Start, stability: str, retrace: Any, progress: Any = None,
    **options: Any,
) -> tuple[Parts, ndarray, Failures]:  # fmt: skip
    """The parts of the gradient (sums over good samples; explicit ones included), the losses, and what failed."""
    check_stability(problem, start, None, stability)
    run = FixedRun(problem, start, fixed)
    while True:  # once more without the samples that failed: they have left their marks on the sums
        before = run.failures.good.sum()
        losses, g = np.zeros(len(start.q)), np.zeros_like(problem.theta)
        begin = run.Q.copy(), run.P.copy()
        for first, count, env, nodes_q, _ in run.blocks(1):
            good, last = run.failures.good, count + (first + count == problem.grid.steps)
            problem.run("losses", env, nodes_q, 0, last, losses)
            problem.run("explicit_parameters", env, nodes_q, 0, last, good, g)
            if progress is not None:
                progress.update(count)
        lost = run.failures.good & ~np.isfinite(losses)
        run.failures.step[lost], run.failures.residual[lost] = problem.grid.steps, np.inf
        dq, dp = np.zeros_like(start.q), np.zeros_like(start.q)
        if run.failures.good.sum() == before:
            break
        run.Q, run.P = begin
    good = run.failures.good
    for first, count, env, nodes_q, nodes_p in run.blocks(-1):
        if first + count == problem.grid.steps:
            problem.run("linear_kicks", env, count, np.ascontiguousarray(nodes_q[:, count]), dp)
        problem.run("fixed_response", env, count, nodes_q, nodes_p, dq, dp, g, good)
        if progress is not None:
            progress.update(count)
    if not all((now[good] == then[good]).all() for now, then in zip((run.Q, run.P), begin, strict=True)):
        raise ConvergenceError(
            "the way back did not return the initial bits; inputs must be functions of the time alone, that give the "
            "same numbers whenever they are called"
        )
    losses[~good] = np.nan
    return Parts(g, dp, -dq), losses, run.failures
