"""Fixed-point runs of an explicit method, forward and back over the same blocks of steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import ndarray

from ..errors import invalid
from .failures import Failures
from .limits import refuse
from .problem import Problem
from .start import Start

LIMIT = 2.0**62
_DIGITS, _FINER = 50, 6


@dataclass(frozen=True)
class FixedPoint:
    """Positions and momenta as whole numbers of small units, 64 bits each.

    Parameters
    ----------
    resolution : float, optional
        r, the unit of every position, a power of two; in units of the coordinates. By default 2^-50 of the largest
        position, or distance of one step, at the start. Positions lie within 2^62 r, momenta within 2^61 s of 0, where
        s is the power of two nearest to 2^-6 r m/h: by default that is 4096 times the largest initial position, and
        velocities of 32 times as much a step.
    """

    resolution: float | None = None

    def __post_init__(self) -> None:
        value = self.resolution
        if value is None:
            return
        real = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
        if not real or not 2.0**-500 < value < 2.0**500 or np.frexp(float(value))[0] != 0.5:
            raise invalid("resolution", "a power of two, such as 2**-50, or None", repr(value))


class FixedRun:
    """The state of all samples in whole numbers, and the ways there and back.

    Attributes
    ----------
    Q, P : ndarray of int64, shape (samples, d)
    resolution : float
        r; ``units`` (d,) are s.
    """

    def __init__(self, problem: Problem, start: Start, fixed: FixedPoint) -> None:
        if not problem.method.explicit:
            must = "'store', 'integrate' or None where a step is implicit: whole numbers need an explicit method"
            raise invalid("retrace", must, f"'bits' with method {problem.method.name!r}")
        refuse(problem.system, "retrace", "'bits'", "'store', 'integrate' or None")
        self.problem, h = problem, problem.grid.step
        masses = np.abs(start.masses).max(0)
        largest = max(float(np.abs(start.q).max()), h*float(np.abs(start.p/start.masses).max()))
        scale = 2.0**np.ceil(np.log2(largest)) if largest > 0 else 1.0
        self.resolution = float(fixed.resolution or 2.0**-_DIGITS*scale)
        self.units = 2.0**np.rint(np.log2(masses*self.resolution/h))*2.0**-_FINER
        self.failures = Failures(len(start.q))
        self.failures.reason = (
            f"a number left the range of 64 bits in units of {self.resolution:.3g} "
            f"(2**{np.log2(self.resolution):.0f}); give a coarser one, retrace=lep.FixedPoint(resolution=...)"
        )
        wide = ~((np.abs(start.q) < LIMIT*self.resolution) & (np.abs(start.p) < 0.25*LIMIT*self.units)).all(1)
        self.failures.settle(np.where(wide, 0, -1), np.full(len(wide), LIMIT), 0)
        good = self.failures.good[:, None]
        self.Q = np.rint(np.where(good, start.q, 0.0)/self.resolution).astype(np.int64)
        self.P = np.rint(np.where(good, start.p, 0.0)/self.units).astype(np.int64)

    @property
    def state(self) -> tuple[ndarray, ndarray]:
        """Positions and momenta as floating-point numbers."""
        return self.resolution*self.Q, self.units*self.P

    def blocks(self, way: int) -> Iterator[tuple[int, int, Any, ndarray, ndarray]]:
        """Run forward (1) or back (-1); yields (first, count, env, nodes of q, nodes of p) of each block."""
        samples, d = self.Q.shape
        for first, count in self.problem.each_block(self.Q.size, backwards=way < 0):
            env = self.problem.env(first, count)
            nodes = np.zeros((2, samples, count + 1, d))
            failed, residual = np.where(self.failures.good, -1, 0), np.zeros(samples)
            self.problem.run(
                "fixed_steps", env, count, way, self.resolution, self.units, LIMIT, self.Q, self.P, nodes[0], nodes[1],
                failed, residual,
            )  # fmt: skip
            failed[~self.failures.good] = -1
            self.failures.settle(failed, residual, first, back=way < 0)
            if not self.failures.good.any():
                return
            yield first, count, env, nodes[0], nodes[1]
