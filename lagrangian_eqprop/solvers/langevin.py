"""Metropolis-adjusted Langevin dynamics of many chains at once (Roberts and Tweedie 1996).

With U = (E + beta c)/kT a chain at q proposes

    y = q - D(q) + sqrt(2 h) xi,   D = h U_q, shortened to the length sqrt(2 h d) where it is longer,

accepted with probability min(1, a),

    log a = U(q) - U(y) + (|y - q + D(q)|^2 - |q - y + D(y)|^2)/(4 h)

so that exp(-U) is stationary for every h. The drift is no longer than the noise (their truncated algorithm): in a
potential steeper than a parabola the full one overshoots from far out, is refused, and the chain never comes back.
A proposal beyond a bound, or whose energy is no number, is refused.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from .energies import Energies
from .equilibrium_relaxation import stable_step

_WANTED = 0.574  # the acceptance at which many coordinates diffuse fastest (Roberts and Rosenthal 1998)


class Chains:
    """Chains (R, free) that all feel the same nudge, side by side.

    Parameters
    ----------
    energies : Energies
        Of R samples.
    q : ndarray, shape (R, free)
        Where they stand.
    temperature, beta : float
    step : ndarray, shape (R,)
        h of each chain.
    """

    def __init__(self, energies: Energies, q: ndarray, temperature: float, beta: float, step: ndarray) -> None:
        self.energies, self.temperature, self.beta, self.step = energies, temperature, beta, step
        self.q = q.copy()
        self.potential, self.slope = self._at(self.q)

    def _at(self, q: ndarray) -> tuple[ndarray, ndarray]:
        """U and U_q."""
        energy, slope = self.energies.energy(q, self.beta), self.energies.slope(q, self.beta)
        return energy/self.temperature, slope/self.temperature

    def _drift(self, slope: ndarray) -> ndarray:
        """D of a slope U_q."""
        full = self.step[:, None]*slope
        length, longest = np.linalg.norm(full, axis=1), np.sqrt(2*self.step*self.q.shape[1])
        return full*np.minimum(1.0, longest/np.maximum(length, np.finfo(float).tiny))[:, None]

    def finite(self) -> ndarray:
        """Whether a chain stands where its energy and slope are numbers."""
        return np.isfinite(self.potential) & np.isfinite(self.slope).all(1)

    def advance(self, noise: ndarray, threshold: ndarray) -> ndarray:
        """One step with noise xi (R, free) and log of uniform numbers (R,); the probability of acceptance (R,)."""
        away = np.sqrt(2*self.step[:, None])*noise
        y = self.q - self._drift(self.slope) + away
        potential, slope = self._at(y)
        back = self.q - y + self._drift(slope)
        ratio = self.potential - potential + ((away**2).sum(1) - (back**2).sum(1))/(4*self.step)
        inside = ((y >= self.energies.lower) & (y <= self.energies.upper)).all(1)
        ratio = np.where(inside & np.isfinite(slope).all(1) & ~np.isnan(ratio), ratio, -np.inf)
        taken = threshold < ratio
        self.q[taken], self.potential[taken], self.slope[taken] = y[taken], potential[taken], slope[taken]
        return np.exp(np.minimum(ratio, 0.0))


def first_step(energies: Energies, q: ndarray, temperature: float) -> ndarray:
    """A step to begin the search with, (R,): kT over the largest curvature, 1 where there is none to speak of."""
    found = temperature*stable_step(energies, q)[:, 0]/max(energies.width, 1)**(1/3)
    return np.where(np.isfinite(found) & (found < 1e12), found, 1.0)


class Search:
    """Robbins and Monro's search for the step at which 57 % are accepted; chains of one sample share a step."""

    def __init__(self, chains: Chains, count: int) -> None:
        self.chains, self.count, self.number = chains, count, 0

    def look(self, accepted: ndarray) -> None:
        """After a step with these probabilities of acceptance."""
        self.number += 1
        share = accepted.reshape(-1, self.count).mean(1)
        change = 2.0*self.number**-0.6*(share - _WANTED)
        self.chains.step = self.chains.step*np.repeat(np.exp(change), self.count)


class Spread:
    """Means and variances of some quantities along each chain, and whether chains agree (Gelman and Rubin 1992)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Any = 0.0
        self.squares: Any = 0.0

    def add(self, values: ndarray) -> None:
        """The present values, (R, quantities) (Welford 1962)."""
        self.count += 1
        change = values - self.mean
        self.mean = self.mean + change/self.count
        self.squares = self.squares + change*(values - self.mean)

    def mixing(self, chains: int) -> ndarray:
        """sqrt((variance within chains + variance of their means)/variance within), the largest of each sample."""
        shape = -1, chains, self.mean.shape[1]
        within = self.squares.reshape(shape).mean(1)/max(self.count - 1, 1)
        between = self.mean.reshape(shape).var(1, ddof=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.sqrt(1 - 1/self.count + between/within)
        return np.where((within == 0) & (between == 0), 1.0, ratio).max(1)
