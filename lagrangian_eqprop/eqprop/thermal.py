"""Equilibrium propagation at a temperature: averages over exp(-(E + beta c)/kT) instead of points of rest.

With the free energy Fr(beta) = -kT log of the integral of exp(-(E + beta c)/kT),

    dFr/dbeta = <c>_beta,   dFr/dtheta = <E_theta + beta c_theta>_beta

so that the contrast of averages is, at any finite nudge, the exact gradient of a difference of free energies:

    OneSided    (<E_theta + beta c_theta>_beta - <E_theta>_0)/beta = d_theta [Fr(beta) - Fr(0)]/beta
    Centered    the same between beta and -beta, divided by 2 beta
    Exact       <c_theta>_0 - (<E_theta c>_0 - <E_theta>_0 <c>_0)/kT = d_theta <c>_0, the limit of both

(Scellier 2021, chapter 6; Litman 2025 for the finite nudge). Standard errors are those of the mean over independent
chains, each of which gives one value: correlations along a chain are accounted for without being estimated.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sympy as sp
from numpy import ndarray

from ..errors import AccuracyWarning, ConvergenceError, invalid
from ..solvers.energies import Energies
from ..solvers.energy_terms import Slopes
from ..solvers.langevin import Chains, Search, Spread, first_step
from ..solvers.statics import Statics
from ..symbols.definition import Definition, lookup
from ..thermal import Samples, Thermal
from .estimators import Centered, Estimator, Exact, OneSided, contrast
from .result import Gradient

_APART = 1.1  # Gelman and Rubin's ratio beyond which chains are said to disagree


@dataclass(frozen=True)
class ThermalGradient(Gradient):
    """A gradient of averages, with its noise.

    Attributes
    ----------
    loss, losses
        <c> without a nudge, the mean over samples and each sample's.
    loss_error : float
        Standard error of the loss.
    errors : dict of Symbol to ndarray
        Standard error of every gradient, in its shape; :meth:`error_of` takes a Symbol or name.
    acceptance : float
        The fraction of accepted proposals, over all phases.
    mixing : float
        The largest of Gelman and Rubin's ratios for coordinates, energy and cost: near 1 where chains agree.
    """

    loss_error: float = np.nan
    errors: Mapping[sp.Symbol, np.ndarray] = field(default_factory=dict)
    acceptance: float = np.nan
    mixing: float = np.nan

    def error_of(self, key: Any) -> np.ndarray:
        """The standard error of ``result[key]``."""
        return self.errors[lookup(key, self.errors, "the key of a gradient")]


class Sampling:
    """All chains of all samples, row b*chains + c, in phases of different nudges that share their noise."""

    def __init__(self, statics: Statics, thermal: Thermal) -> None:
        self.statics, self.thermal, self.chains = statics, thermal, thermal.chains
        self.batch = statics.batch_of(thermal.guess)
        self.samples = self.batch or 1
        rows = np.repeat(np.arange(self.samples), self.chains)
        self.energies = statics.energies(self.samples).take(rows)
        self.rng = np.random.default_rng(thermal.seed)
        start = statics.start(thermal.guess, self.samples)[rows]
        self.start = self.energies.clip(start + thermal.spread*self.rng.normal(size=start.shape))

    def run(self, betas: Sequence[float], look: Callable[[list[Chains]], None]) -> tuple[list[Chains], ndarray]:
        """The phases after ``steps`` steps, ``look`` at every n-th of them; acceptance of each sample."""
        thermal, energies = self.thermal, self.energies
        free = Chains(energies, self.start, thermal.temperature, 0.0, self._first_step())
        self._check(free)
        search = Search(free, self.chains) if thermal.step is None else None
        for _ in range(thermal.burn):
            accepted = free.advance(*self._noise())
            if search is not None:
                search.look(accepted)
        phases = [free if beta == 0 else Chains(energies, free.q, thermal.temperature, beta, free.step)
                  for beta in betas]  # fmt: skip
        for phase in phases:
            self._check(phase)
        nudged = any(phase is not free for phase in phases)
        for _ in range(thermal.burn if nudged else 0):
            noise = self._noise()
            for phase in phases:
                phase.advance(*noise)
        total = np.zeros(len(self.start))
        for number in range(1, thermal.steps + 1):
            noise = self._noise()
            for phase in phases:
                total += phase.advance(*noise)
            if number % thermal.every == 0:
                look(phases)
        return phases, total.reshape(self.samples, -1).mean(1)/(thermal.steps*len(phases))

    def _first_step(self) -> ndarray:
        if self.thermal.step is not None:
            return np.full(len(self.start), self.thermal.step)
        guess = first_step(self.energies, self.start, self.thermal.temperature).reshape(-1, self.chains)
        return np.repeat(guess.min(1), self.chains)  # chains of one sample share it

    def _noise(self) -> tuple[ndarray, ndarray]:
        noise = self.rng.normal(size=self.start.shape)
        return noise, np.log1p(-self.rng.random(len(self.start)))  # in (-inf, 0]

    def _check(self, phase: Chains) -> None:
        if not phase.finite().all():
            row = int(np.argmin(phase.finite()))
            raise ConvergenceError(
                f"the energy of sample {row//self.chains} is not finite where its chains begin "
                f"(nudge {phase.beta:.3g}); try another guess, or a smaller spread"
            )

    def shaped(self, values: ndarray) -> Any:
        """(B, ...) as it is, of a single sample without the axis."""
        return values if self.batch is not None else values[0]


def sample(system: Definition, thermal: Thermal, *, costs: Any = (), nudge: float = 0.0, **options: Any) -> Samples:
    """See :meth:`lagrangian_eqprop.System.sample`."""
    _check_thermal(thermal)
    sampling = Sampling(Statics(system, costs, **options), thermal)
    energies, kept = sampling.energies, list[ndarray]()
    energy, spread = list[ndarray](), Spread()

    def look(phases: list[Chains]) -> None:
        kept.append(energies.split.assembled(phases[0].q, energies.values.held))
        energy.append(energies.energy(phases[0].q))
        spread.add(np.column_stack([phases[0].q, energy[-1]]))

    with np.errstate(all="ignore"):
        phases, acceptance = sampling.run([float(nudge)], look)
    mixing = spread.mixing(sampling.chains)
    _warn(float(mixing.max()))
    shape = sampling.samples, sampling.chains
    return Samples(
        q=sampling.shaped(np.stack(kept, 1).reshape(*shape, len(kept), -1)),
        energy=sampling.shaped(np.stack(energy, 1).reshape(*shape, -1)), acceptance=sampling.shaped(acceptance),
        step=sampling.shaped(phases[0].step.reshape(shape)[:, 0]), mixing=sampling.shaped(mixing),
    )  # fmt: skip


def gradient(
    system: Definition, thermal: Thermal, costs: Any, *, estimator: Estimator, **options: Any
) -> ThermalGradient:  # fmt: skip
    """The gradient of averages; see :func:`lagrangian_eqprop.eqprop.gradient.gradient`."""
    _check_thermal(thermal)
    if not isinstance(estimator, (OneSided, Centered, Exact)):
        raise invalid("estimator", "OneSided, Centered or Exact at a temperature", repr(estimator))
    sampling = Sampling(Statics(system, costs, **options), thermal)
    averages = _Averages(sampling, estimator)
    with np.errstate(all="ignore"):
        _, acceptance = sampling.run(averages.betas, averages.look)
    parameters, errors = {}, {}
    for k, (symbol, value) in enumerate(sampling.statics.values.items()):
        each, share = averages.each(k), sampling.samples
        if value.shape == each.shape[2:] or len(value) != sampling.samples:  # shared by the samples
            each, share = each.mean(0, keepdims=True), 1
        error = each.std(1, ddof=1)/np.sqrt(sampling.chains)
        parameters[symbol], errors[symbol] = (x.reshape(value.shape)/share for x in (each.mean(1), error))
    losses = averages.cost()
    mixing = averages.mixing()
    _warn(mixing)
    return ThermalGradient(
        loss=float(losses.mean()), losses=sampling.shaped(losses.mean(1)), parameters=parameters,
        success=sampling.shaped(np.ones(sampling.samples, bool)),
        message=f"{sampling.chains} chains of {thermal.steps} steps, {acceptance.mean():.0%} accepted",
        loss_error=float(losses.mean(0).std(ddof=1)/np.sqrt(sampling.chains)), errors=errors,
        acceptance=float(acceptance.mean()), mixing=mixing,
    )  # fmt: skip


class _Averages:
    """Averages of each chain, and the gradient that each chain gives."""

    def __init__(self, sampling: Sampling, estimator: OneSided | Centered | Exact) -> None:
        self.sampling, self.local = sampling, _one_a_chain(sampling.energies)
        self.temperature, self.limit = sampling.thermal.temperature, isinstance(estimator, Exact)
        nudges, weights = (np.zeros(1), np.ones(1)) if isinstance(estimator, Exact) else contrast(estimator)
        self.betas, self.weights = list(map(float, nudges)), list(map(float, weights))
        if 0.0 not in self.betas:  # the loss is that without a nudge
            self.betas, self.weights = [*self.betas, 0.0], [*self.weights, 0.0]
        self.spreads = [Spread() for _ in self.betas]  # of coordinates, energy and cost
        parameters = len(sampling.statics.values)
        self.slope: list[Any] = [0.0]*parameters  # weighted E_theta + beta c_theta; for the limit E_theta
        self.explicit: list[Any] = [0.0]*parameters  # c_theta
        self.product: list[Any] = [0.0]*parameters  # E_theta c
        self.count = 0

    def look(self, phases: list[Chains]) -> None:
        """Take the present states into account."""
        self.count += 1
        for phase, weight, spread in zip(phases, self.weights, self.spreads, strict=True):
            c = self.local.cost(phase.q)
            spread.add(np.column_stack([phase.q, self.local.energy(phase.q), c]))
            if weight == 0.0:
                continue
            for k, (slope, part) in enumerate(zip(*_slopes(self.local, phase.q), strict=True)):
                if self.limit:
                    self.slope[k] = self.slope[k] + slope
                    self.explicit[k] = self.explicit[k] + part
                    self.product[k] = self.product[k] + slope*c.reshape(-1, *(1,)*(slope.ndim - 1))
                else:
                    self.slope[k] = self.slope[k] + weight*(slope + phase.beta*part)

    def cost(self) -> ndarray:
        """<c> without a nudge, (B, chains)."""
        return self.spreads[self.betas.index(0.0)].mean[:, -1].reshape(self.sampling.samples, -1)

    def each(self, k: int) -> ndarray:
        """What each chain says of parameter k, (B, chains, ...).

        The covariance, whose averages are those of all chains, is spread over chains to first order in their errors.
        """
        slope, explicit, product = (
            np.asarray(total[k]/self.count) for total in (self.slope, self.explicit, self.product)
        )
        shape = self.sampling.samples, self.sampling.chains, *slope.shape[1:]
        if not self.limit:
            return slope.reshape(shape)
        slope, explicit, product = (x.reshape(shape) for x in (slope, explicit, product))
        cost = self.cost().reshape(*shape[:2], *(1,)*(len(shape) - 2))
        m, c = (x.mean(1, keepdims=True) for x in (slope, cost))
        return explicit - (product - slope*c - m*(cost - c))/self.temperature

    def mixing(self) -> float:
        """The largest ratio of Gelman and Rubin."""
        return max(float(spread.mixing(self.sampling.chains).max()) for spread in self.spreads)


def _check_thermal(thermal: Any) -> None:
    if not isinstance(thermal, Thermal):
        raise invalid("boundary", "lep.Thermal", type(thermal).__name__)


def _warn(mixing: float) -> None:
    if not mixing <= _APART:
        warnings.warn(
            f"chains disagree by more than they wander (ratio {mixing:.2f}, near 1 where they agree): averages and "
            "their standard errors cannot be trusted; try more steps, more burn, or a higher temperature",
            AccuracyWarning, stacklevel=4,
        )  # fmt: skip


def _one_a_chain(energies: Energies) -> Energies:
    """The same energies with parameters that each chain has by itself, so that slopes are not summed over chains."""
    values = energies.values
    parameters = [
        value if values.own(k) else np.broadcast_to(value, (energies.samples, *value.shape))
        for k, value in enumerate(values.parameters)
    ]
    bounds = energies.lower, energies.upper
    return Energies(
        energies.plan, energies.cost_plan, energies.split, values._replace(parameters=parameters, batched=True), bounds,
        energies.samples, energies.dtype,
    )  # fmt: skip


def _slopes(local: Energies, q: ndarray) -> tuple[list[ndarray], list[ndarray]]:
    """E_theta and c_theta of each chain, (R, ...)."""
    energy: Slopes = {}
    for term in local.terms:
        term.add_theta(q, energy, None)
    cost: Slopes = {}
    local.cost_theta(q, cost)
    return local.gathered(energy), local.gathered(cost)
