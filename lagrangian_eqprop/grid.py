"""The time grid: equidistant nodes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .errors import invalid


@dataclass(frozen=True, init=False)
class Grid:
    """Nodes t_k = start + k*step, k = 0..steps.

    Parameters
    ----------
    steps : int
        Number of steps N, at least 1.
    step, duration : float
        The step, or N steps together; exactly one of the two, positive, in the units of the system's time.
    start : float
        t_0.
    """

    steps: int
    step: float
    start: float

    def __init__(
        self, steps: int, *, step: float | None = None, duration: float | None = None, start: float = 0.0
    ) -> None:
        if isinstance(steps, bool) or not isinstance(steps, (int, np.integer)) or steps < 1:
            raise invalid("steps", "a positive integer", repr(steps))
        if (step is None) == (duration is None):
            raise invalid("step", "given, or duration, but not both", "neither" if step is None else "both")
        name, value = ("step", step) if duration is None else ("duration", duration)
        real = (int, float, np.integer, np.floating)
        if isinstance(value, bool) or not isinstance(value, real) or not 0 < float(value) < np.inf:
            raise invalid(name, "a positive finite number", repr(value))
        if isinstance(start, bool) or not isinstance(start, real) or not np.isfinite(start):
            raise invalid("start", "a finite number", repr(start))
        width = float(value) if duration is None else float(value)/int(steps)
        object.__setattr__(self, "steps", int(steps))
        object.__setattr__(self, "step", width)
        object.__setattr__(self, "start", float(start))

    @property
    def duration(self) -> float:
        """steps*step."""
        return self.steps * self.step

    @property
    def t(self) -> np.ndarray:
        """The nodes, shape (steps + 1,)."""
        return self.times(0, self.steps + 1)

    def times(self, first: int, count: int, shift: float = 0.0) -> np.ndarray:
        """t_k for k = first + shift, ..., ``count`` of them."""
        return self.start + (first + shift + np.arange(count)) * self.step
