"""Learning step by step: updates of equilibrium propagation beside gradients of backpropagation through time.

A network that steps down its energy, F(s) = clip(s - h E_s(s)), rests at s_T after T free steps. Nudged steps from
there, s^b_{k+1} = clip(s^b_k - h (E_s + beta c_s)(s^b_k)), give the updates (Ernoult et al. 2019, theorem 1)

    EqProp(k) = [E_theta(s^b_{k+1}) - E_theta(s^b_k)]/beta,           k = 0, ..., K-1

and backpropagation the derivative of c(s_T) with respect to theta in the free step T-k alone,

    BPTT(k) = (dF/dtheta(s_{T-k-1}))^T lambda_k = -h E_{theta s} lambda_k,
    lambda_0 = c_s(s_T),   lambda_{k+1} = (1 - h E_ss(s_{T-k-1})) lambda_k   (masked where the clip acted).

For beta -> 0 they are equal at every k if the last K free steps stood still. Either, summed over k, tends to dJ/dtheta.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy as sp
from numpy import ndarray

from ..boundary import Equilibrium
from ..eqprop.estimators import Centered, OneSided, contrast
from ..eqprop.gradient import cost_list
from ..errors import ConvergenceError, invalid
from ..solvers.energies import Energies
from ..solvers.energy_terms import Slopes
from ..solvers.statics import Statics
from ..symbols.definition import Definition, lookup


@dataclass(frozen=True, repr=False)
class TimeResolved:
    """Updates of equilibrium propagation and gradients of backpropagation, step by step.

    Attributes
    ----------
    eqprop, bptt : dict of Symbol to ndarray, shape (K, ...)
        Derivatives of J, the mean over a batch, by each parameter of the system in step T-k; k counts the nudged
        steps, and the free ones backwards from the end.
    eqprop_state, bptt_state : ndarray, shape (K, d) or (B, K, d)
        -(s^b_{k+1} - s^b_k)/(h beta) and lambda_k, derivatives of each sample's cost by the state s_{T-k} before its
        clip; zero for clamped coordinates.
    residual : float or ndarray, shape (B,)
        The largest |E_s| left after the free steps.
    """

    eqprop: Mapping[sp.Symbol, ndarray]
    bptt: Mapping[sp.Symbol, ndarray]
    eqprop_state: ndarray
    bptt_state: ndarray
    residual: float | ndarray

    def __repr__(self) -> str:
        names = ", ".join(symbol.name for symbol in self.bptt)
        return f"TimeResolved({self.bptt_state.shape[-2]} steps of {names}; largest difference {self.error:.1e})"

    def error_of(self, key: Any) -> float:
        """The largest difference at any step over the largest gradient at any step; 0 where both vanish."""
        symbol = lookup(key, self.bptt, "the key of a gradient")
        return _distance(self.eqprop[symbol], self.bptt[symbol])

    @property
    def error(self) -> float:
        """The largest of these, of all parameters and the state."""
        state = _distance(self.eqprop_state, self.bptt_state)
        return max([state, *(self.error_of(symbol) for symbol in self.bptt)])


def _distance(found: ndarray, exact: ndarray) -> float:
    gap, size = (float(np.abs(x).max(initial=0.0)) for x in (found - exact, exact))
    return 0.0 if gap == 0.0 else gap/size if size else np.inf


def time_resolved(
    system: Definition, boundary: Equilibrium, cost: Any, *, estimator: Any = None, targets: Any = None,
    inputs: Any = None, parameters: Any = None,
) -> TimeResolved:  # fmt: skip
    """Equilibrium propagation against backpropagation through time at every step of a relaxation.

    Parameters
    ----------
    system : System or Convergent
        A network in discrete time, or any energy.
    boundary : Equilibrium
        With ``step`` h (1 for a :class:`Convergent`) and ``iterations=(T, K)``, K at most T. Its tolerance is what
        the free phase must reach in T steps; None for whatever it reaches.
    cost : Cost or list of Cost
    estimator : OneSided or Centered, optional
        The nudge; by default Centered().
    targets, inputs, parameters : mapping
        As for ``gradient``. What depends on a parameter of the cost alone belongs to no step and is left out.

    Returns
    -------
    TimeResolved
        It holds 2 K numbers for every parameter.

    Raises
    ------
    ConvergenceError
        If the free phase has not reached the tolerance, or either phase ran away.
    ValueError
        If an argument does not fit; the message names it.
    """
    estimator = Centered() if estimator is None else estimator
    if not isinstance(estimator, (OneSided, Centered)):
        raise invalid("estimator", "OneSided or Centered", repr(estimator))
    if not isinstance(boundary, Equilibrium):
        raise invalid("boundary", "lep.Equilibrium", type(boundary).__name__)
    if boundary.step is None or boundary.solver not in (None, "relaxation"):
        raise invalid("boundary", "of plain relaxation, with a step", repr(boundary))
    if boundary.iterations is None or boundary.iterations[1] > boundary.iterations[0]:
        raise invalid("iterations", "a pair (T, K) with K <= T", repr(boundary.iterations))
    costs = cost_list(cost)
    if not costs:
        raise invalid("cost", "a lep.Cost or a non-empty list of them", repr(cost))
    statics = Statics(system, costs, targets=targets, inputs=inputs, parameters=parameters)
    batch = statics.batch_of(boundary.guess)
    relaxation = _Relaxation(statics, batch or 1, boundary.step)
    with np.errstate(all="ignore"):
        states, masks, residual = relaxation.free(boundary)
        steps = boundary.iterations[1]
        bptt, adjoint = relaxation.backward(states, masks)
        eqprop, moved = relaxation.nudged(states[-1], steps, estimator)
    symbols = list(system.parameters)
    return TimeResolved(
        {s: np.stack([found[s] for found in eqprop]) for s in symbols},
        {s: np.stack([found[s] for found in bptt]) for s in symbols},
        moved if batch is not None else moved[0], adjoint if batch is not None else adjoint[0],
        residual if batch is not None else float(residual[0]),
    )  # fmt: skip


class _Relaxation:
    """Plain steps down the slope, and what is read along them."""

    def __init__(self, statics: Statics, samples: int, step: float) -> None:
        self.statics, self.samples, self.step = statics, samples, step
        self.energies: Energies = statics.energies(samples)

    def _advance(self, q: ndarray, beta: float) -> tuple[ndarray, ndarray]:
        """F(q), and where the clip did not act."""
        free = q - self.step*self.energies.slope(q, beta)
        clipped = self.energies.clip(free)
        return clipped, clipped == free

    def free(self, boundary: Equilibrium) -> tuple[list[ndarray], list[ndarray], ndarray]:
        """The last K + 1 states, the masks of the last K steps, what is left at the end."""
        assert boundary.iterations is not None
        total, kept = boundary.iterations
        q = self.statics.start(boundary.guess, self.samples)
        states, masks = [q], list[ndarray]()
        for _ in range(total):
            q, mask = self._advance(q, 0.0)
            states.append(q)
            masks.append(mask)
            del states[: -kept - 1], masks[:-kept]
        residual = self.energies.residual(q, self.energies.slope(q))
        tolerance = 1e-10 if boundary.tolerance == "default" else boundary.tolerance
        if not (residual <= (np.finfo(float).max if tolerance is None else tolerance)).all():
            raise ConvergenceError(
                f"the free phase has the residual {residual.max():.2e} after {total} steps"
                + ("" if tolerance is None else f", above the tolerance {tolerance:.1e}")
                + "; try more free steps, a smaller step, or tolerance=None to compare all the same"
            )
        return states, masks, residual

    def _theta(self, found: Slopes) -> dict[sp.Symbol, ndarray]:
        return self.statics.shaped(self.energies.gathered(found), self.samples)

    def _whole(self, steps: list[ndarray]) -> ndarray:
        """(B, K, d), zero for clamped coordinates."""
        split = self.energies.split
        found = np.zeros((self.samples, len(steps), split.size))
        found[:, :, split.free] = np.stack(steps, 1)
        return found

    def backward(self, states: list[ndarray], masks: list[ndarray]) -> tuple[list[dict[sp.Symbol, ndarray]], ndarray]:
        """BPTT(k) and masked lambda_k."""
        energies, last = self.energies, states[-1]
        adjoint = np.zeros_like(last)
        energies.add_cost_slope(last, adjoint)
        gradients, adjoints = [], []
        for q, mask in zip(states[-2::-1], masks[::-1], strict=True):
            adjoint = np.where(mask, adjoint, 0.0)
            adjoints.append(adjoint)
            found: Slopes = {}
            energies.along(q, -self.step*adjoint, found)
            gradients.append(self._theta(found))
            adjoint = adjoint - self.step*energies.product(q, adjoint)
        return gradients, self._whole(adjoints)

    def nudged(
        self, start: ndarray, steps: int, estimator: OneSided | Centered
    ) -> tuple[list[dict[sp.Symbol, ndarray]], ndarray]:
        """EqProp(k) and the steps of the state."""
        energies = self.energies
        betas, weights = contrast(estimator)
        phases = [start]*len(betas)
        updates, moves = [], []
        for _ in range(steps):
            found: Slopes = {}
            moved = np.zeros_like(start)
            for number, (beta, weight) in enumerate(zip(betas, weights, strict=True)):
                before = phases[number]
                after, _ = self._advance(before, float(beta))
                energies.contrast(after, before, float(weight), found)
                moved -= weight*(after - before)/self.step
                phases[number] = after
            updates.append(self._theta(found))
            moves.append(moved)
        if not all(np.isfinite(q).all() for q in phases):
            raise ConvergenceError("the nudged phase ran away; try a smaller step or a smaller beta")
        return updates, self._whole(moves)
