"""Newton's method for equilibria, sample by sample, with bounds by an active set.

A coordinate that its force presses against a bound is held there; the others solve H d = -E_q. Two ways are kept:

    minimum       |H|^-1 in place of H^-1 where H has negative eigenvalues, steps along q -> clip(q + alpha d) that
                  lower the energy (Bertsekas 1982 on the projection): ends at a minimum
    stationary    H as it is, steps that lower |E_q|: ends at the nearest stationary point, of any index. The nudged
                  phases use it, from the free equilibrium and so on its branch; complex nudges too, where the
                  coordinates that are held keep to their bounds, since a bound is no analytic function
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from .energies import Energies
from .hessians import Hessians, Singular
from .phase import Phase

_HALVINGS = 40
_SUFFICIENT = 1e-4


def newton(
    energies: Energies, q: ndarray, beta: Any, iterations: int, tolerance: float | None, minimum: bool,
    held: ndarray | None = None,
) -> Phase:  # fmt: skip
    """The equilibria of E + beta c from q.

    Parameters
    ----------
    q : ndarray, shape (B, free)
        Real, or complex where beta is; then ``held`` says which coordinates stay where they are.
    tolerance : float or None
        None takes exactly ``iterations`` steps.
    """
    q = q.copy()
    residuals, indices, used = np.zeros(len(q)), np.full(len(q), -1), 0
    chunk = 1 if energies.sparse else energies.chunk
    for first in range(0, len(q), chunk):
        rows = np.arange(first, min(first + chunk, len(q)))
        part = energies if len(rows) == len(q) else energies.take(rows)
        run = _Run(part, q[rows], beta, minimum, None if held is None else held[rows])
        used = max(used, run.go(iterations, tolerance))
        q[rows], residuals[rows], indices[rows] = run.q, run.residual, run.index
    return Phase(q, lambda: residuals, used, indices)


class _Run:
    """Some samples on their way."""

    def __init__(self, energies: Energies, q: ndarray, beta: Any, minimum: bool, held: ndarray | None) -> None:
        self.every, self.q, self.beta, self.minimum, self.held = energies, q, beta, minimum, held
        self.index = np.full(len(q), -1)
        self.residual = np.full(len(q), np.inf)

    def _left(self, energies: Energies, q: ndarray, slope: ndarray, held: ndarray | None) -> ndarray:
        """What is left of the equations: by bounds, or on the coordinates that are not held."""
        return energies.left(q, slope) if held is None else np.where(held, 0.0, slope)

    def go(self, iterations: int, tolerance: float | None) -> int:
        """Iterate; the number of iterations that were taken."""
        rows, energies = np.arange(len(self.q)), self.every
        polished = np.zeros(len(self.q), bool)
        used = 0
        for used in range(iterations + 1):
            q = self.q[rows]
            slope = energies.slope(q, self.beta)
            held = None if self.held is None else self.held[rows]
            left = np.abs(self._left(energies, q, slope, held)).max(1, initial=0.0)
            self.residual[rows] = np.where(np.isfinite(left), left, np.inf)
            if used == iterations:
                break
            going = np.isfinite(self.residual[rows])
            if tolerance is not None:  # one step beyond the tolerance, since it converges quadratically
                going &= ~polished[rows]
                polished[rows] |= self.residual[rows] <= tolerance
            if not going.all():
                rows, q, slope = rows[going], q[going], slope[going]
                held = None if held is None else held[going]
                if not len(rows):
                    break
                energies = self.every.take(rows)
            moved = self._step(rows, energies, q, slope, held, tolerance is None)
            if tolerance is not None and not moved.all():  # rounding, or a dead end: the residual tells
                rows = rows[moved]
                if not len(rows):
                    break
                energies = self.every.take(rows)
        return used

    def _step(
        self, rows: ndarray, energies: Energies, q: ndarray, slope: ndarray, held: ndarray | None, always: bool
    ) -> ndarray:
        """One step of some samples; which of them moved."""
        beta = self.beta
        fixed = energies.saturated(q, slope) if held is None else held
        hessians = Hessians(energies, q, beta)
        step = np.zeros_like(q)
        for k, b in enumerate(rows):
            r = np.where(fixed[k], 0.0, -slope[k])
            step[k], self.index[b] = _direction(hessians, k, fixed[k], r, self.minimum)
        moved = np.zeros(len(q), bool)
        alpha = np.ones((len(q), 1))
        start = energies.energy(q, beta) if self.minimum else np.zeros(0)
        norm = np.linalg.norm(self._left(energies, q, slope, held), axis=1)
        for halving in range(_HALVINGS):
            trial = q + alpha*step
            trial = energies.clip(trial) if held is None else trial
            after = np.linalg.norm(self._left(energies, trial, energies.slope(trial, beta), held), axis=1)
            if self.minimum:
                gain = (slope*(trial - q)).sum(1)
                end = energies.energy(trial, beta)
                noise = 8*np.finfo(q.dtype).eps*np.maximum(np.abs(start), 1e-300)
                fine = (end <= start + _SUFFICIENT*gain) & (gain < 0)
                fine |= (np.abs(end - start) <= noise) & (after < norm)
            else:
                fine = after <= (1 - _SUFFICIENT*alpha[:, 0])*norm
            fine = (fine | (always and halving == 0 and not self.minimum)) & ~moved
            self.q[rows[fine]] = trial[fine]
            moved |= fine
            if moved.all():
                break
            alpha[~moved] *= 0.5
        return moved


def _direction(hessians: Hessians, k: int, fixed: ndarray, r: ndarray, minimum: bool) -> tuple[ndarray, int]:
    """Newton's step of one sample and the index of its Hessian."""
    try:
        factored = hessians.factored(k, fixed)
        index = -1 if np.iscomplexobj(r) else factored.index
        if not minimum or index == 0:
            return factored.solve(r), index
    except Singular:
        index = -1
    H = hessians.matrix(k, fixed)
    H = H.toarray() if hessians.sparse else H
    if np.iscomplexobj(H):
        return np.linalg.lstsq(H, r, rcond=None)[0], index
    values, vectors = np.linalg.eigh(H)
    if index < 0:
        index = int((values < 0).sum())
    floor = 1e-8*np.abs(values).max(initial=0.0)
    sizes = np.abs(values)
    if minimum:
        weights = 1.0/np.maximum(sizes, floor or 1.0)
    else:
        weights = np.divide(1.0, values, out=np.zeros_like(values), where=sizes > floor)
    return vectors @ (weights*(vectors.T @ r)), index
