"""Equilibria: which solver suits an energy, free and nudged phases, and what is told about them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from ..boundary import Equilibrium
from ..errors import ConvergenceError, invalid
from ..rest import Rest
from .equilibrium_newton import newton
from .equilibrium_relaxation import accelerated, relaxation
from .equilibrium_sweeps import check_sweeps, sweeps, why_not
from .hessians import index_of
from .phase import Phase
from .statics import Statics

_SMALL = 300  # coordinates up to which dense Newton costs little
_NEWTON = ("newton", "stationary")


class Settling:
    """A question about rest with its solver: the free phase, and nudged phases that begin where it ended."""

    def __init__(self, statics: Statics, boundary: Equilibrium) -> None:
        if not isinstance(boundary, Equilibrium):
            raise invalid("boundary", "lep.Equilibrium", type(boundary).__name__)
        self.statics, self.boundary = statics, boundary
        self.batch = statics.batch_of(boundary.guess)
        self.samples = self.batch or 1
        self.energies = statics.energies(self.samples)
        self.guess = statics.start(boundary.guess, self.samples)
        self._choose()
        given = boundary.iterations or ((200, 200) if self.solver in _NEWTON else (20000, 20000))
        self.iterations = given
        self.tolerance: float | None = boundary.tolerance
        if boundary.tolerance == "default":
            self.tolerance = 1e-10 if statics.dtype == np.float64 else 1e-4

    def renew(self, statics: Statics, guess: ndarray) -> None:
        """Ask for as many samples with other values: a training does, again and again."""
        self.statics = statics
        self.energies.renew(statics.numbers())
        if guess.ndim > 1:
            self.guess = statics.start(guess, self.samples)
        self._choose()

    def _choose(self) -> None:
        self.solver = self.boundary.solver or self._choice()
        if self.solver == "sweeps":
            check_sweeps(self.energies)

    def _choice(self) -> str:
        """See :class:`lagrangian_eqprop.Equilibrium`."""
        energies = self.energies
        if self.boundary.step is not None:
            return "relaxation"
        if energies.products and energies.width > 16 and why_not(energies) is None:
            return "sweeps"
        if energies.sparse or energies.width <= _SMALL:
            return "newton"
        return "accelerated"

    # ------------------------------------------------------------------ phases
    def free(self) -> Phase:
        """From the guess, without a nudge."""
        with np.errstate(all="ignore"):
            return self._run(self.guess, 0.0, self.iterations[0], None, False)

    def nudged(self, free: Phase, beta: Any) -> Phase:
        """From the free equilibrium, on its branch; coordinates at bounds stay there where beta is complex."""
        q, held = free.q, None
        if isinstance(beta, complex):
            held = self.held(free)
            q = q.astype(np.result_type(q.dtype, np.complex64))
        with np.errstate(all="ignore"):
            return self._run(q, beta, self.iterations[1], held, True)

    def _run(self, q: ndarray, beta: Any, iterations: int, held: ndarray | None, nudged: bool) -> Phase:
        energies, step, tolerance = self.energies, self.boundary.step, self.tolerance
        if self.solver in _NEWTON:
            minimum = self.solver == "newton" and not nudged
            return newton(energies, q, beta, iterations, tolerance, minimum, held)
        if self.solver == "sweeps":
            return sweeps(energies, q, beta, iterations, tolerance, held)
        solver = relaxation if self.solver == "relaxation" else accelerated
        return solver(energies, q, beta, iterations, tolerance, step, held)

    def held(self, free: Phase) -> ndarray:
        """Coordinates that stay at their bounds."""
        return self.energies.saturated(free.q, self.energies.slope(free.q))

    # ------------------------------------------------------------------ judgement
    def good(self, phase: Phase) -> ndarray:
        """Which samples have settled."""
        if self.tolerance is None:
            return phase.finite
        return phase.residual <= self.tolerance

    def message(self, phase: Phase, good: ndarray, what: str = "equilibrium") -> str:
        """What happened, with what to try."""
        if good.all():
            return f"{self.solver}: settled in {phase.iterations} iterations"
        bad = np.flatnonzero(~good)
        first = int(bad[0])
        left = phase.residual[first]
        count = f"{len(bad)} of {len(good)} samples: " if self.batch is not None else ""
        remedy = {
            "newton": "a guess nearer to it, or solver='accelerated'",
            "stationary": "a guess nearer to it, or solver='newton' for a minimum",
            "sweeps": "more iterations, or a convex energy (bounds)",
        }.get(self.solver, "a smaller step, or more iterations")
        goal = "" if self.tolerance is None else f", above the tolerance {self.tolerance:.1e}"
        return (
            f"no {what} found by {self.solver} for {count}sample {first} has the residual {left:.2e} after "
            f"{phase.iterations} iterations{goal}; try {remedy}"
        )

    def check(self, phase: Phase, on_failure: str) -> tuple[ndarray, str]:
        """Which samples settled, and what to say; raises as it was asked to."""
        good = self.good(phase)
        message = self.message(phase, good)
        if not good.all() and (on_failure == "raise" or not good.any()):
            raise ConvergenceError(message)
        return good, message

    def rest(self, phase: Phase, good: ndarray, message: str, beta: float = 0.0) -> Rest:
        """What the user is told."""
        energies, batched = self.energies, self.batch is not None
        q = energies.split.assembled(phase.q, energies.values.held).astype(float)
        q[~good] = np.nan

        def shaped(values: ndarray) -> ndarray:
            return values if batched else values[0]

        def energy() -> ndarray:
            return np.asarray(shaped(np.where(good, energies.energy(phase.q), np.nan)))

        def index() -> ndarray:
            return np.asarray(shaped(index_of(energies, np.where(good[:, None], phase.q, np.nan), beta)))

        residual = phase.residual.astype(float)
        return Rest(
            shaped(q), residual if batched else float(residual[0]), good if batched else bool(good[0]), self.solver,
            phase.iterations, message, energy, index,
        )  # fmt: skip

