"""Thermal equilibrium: what is asked of a system that rests at a temperature, and what sampling it returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .boundary import _number, _state
from .errors import invalid


class Thermal:
    """Thermal equilibrium: states with the density exp(-E/kT)/Z, sampled by Langevin dynamics.

    Independent chains take steps of the Metropolis-adjusted Langevin algorithm (Roberts and Tweedie 1996), whose
    stationary density is exactly exp(-E/kT) at any step: there is no error of discretisation, only what is left of the
    beginning after ``burn`` steps, and noise. Proposals beyond bounds are refused, which keeps the density exact there.

    Parameters
    ----------
    temperature : float
        kT, in units of the energy.
    guess : float or array_like, shape (d,) or (B, d)
        Where all chains of a sample begin.
    chains : int
        Independent chains of each sample, at least 2. Standard errors are taken between them, so that
        correlations along a chain need no correction.
    steps, burn : int
        How many steps of each phase, free or nudged, are averaged, and how many before them are not.
    every : int
        Average over every n-th step only; the average of a network's parameters costs more than a step.
    step : float, optional
        h of q' = q - h E_q/kT + sqrt(2 h) noise, in units of q^2; the drift is kept no longer than the noise. By
        default found during the free ``burn`` (57 % acceptance) and then kept.
    spread : float
        Standard deviation of the chains' beginnings around the guess. Chains that begin apart can tell that they
        have not forgotten it.
    seed : int
        The same seed gives the same result; free and nudged phases share their noise, which cancels in contrasts.
    """

    def __init__(
        self, temperature: float, guess: Any = 0.0, *, chains: int = 64, steps: int = 2000, burn: int = 500,
        every: int = 1, step: float | None = None, spread: float = 0.0, seed: int = 0,
    ) -> None:  # fmt: skip
        if not _number(temperature) or temperature <= 0:
            raise invalid("temperature", "a positive number", repr(temperature))
        for name, value, low in (("chains", chains, 2), ("steps", steps, 2), ("burn", burn, 0), ("every", every, 1),
                                 ("seed", seed, 0)):  # fmt: skip
            if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < low:
                raise invalid(name, f"an integer of at least {low}", repr(value))
        if every > steps:
            raise invalid("every", f"at most steps, {steps}", every)
        if step is not None and (not _number(step) or step <= 0):
            raise invalid("step", "a positive number or None", repr(step))
        if step is None and burn < 100:
            raise invalid("burn", "at least 100 where the step is left to be found", burn)
        if not _number(spread) or spread < 0:
            raise invalid("spread", "a number of at least 0", repr(spread))
        self.guess = np.array(guess, float) if np.ndim(guess) == 0 and _number(guess) else _state("guess", guess)
        self.temperature, self.spread = float(temperature), float(spread)
        self.step = None if step is None else float(step)
        self.chains, self.steps, self.burn = int(chains), int(steps), int(burn)
        self.every, self.seed = int(every), int(seed)

    def __repr__(self) -> str:
        return f"Thermal(temperature={self.temperature:g}, {self.chains} chains of {self.steps} steps)"


@dataclass(frozen=True)
class Samples:
    """States drawn from thermal equilibrium.

    Attributes
    ----------
    q : ndarray, shape (chains, n, d) or (B, chains, n, d)
        Every ``every``-th state of each chain.
    energy : ndarray, shape (chains, n) or (B, chains, n)
        E without the nudge.
    acceptance : float or ndarray, shape (B,)
        The fraction of accepted proposals.
    step : float or ndarray, shape (B,)
        h, in units of q^2.
    mixing : float or ndarray, shape (B,)
        The largest of Gelman and Rubin's ratios for coordinates and energy: near 1 where the chains agree.
    """

    q: np.ndarray
    energy: np.ndarray
    acceptance: float | np.ndarray
    step: float | np.ndarray
    mixing: float | np.ndarray
