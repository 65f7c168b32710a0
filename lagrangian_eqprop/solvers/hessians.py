"""Symmetric systems of equations H d = r of single samples, and the inertia of H.

Dense matrices are factored as L D L^T with exchanges (Bunch and Kaufman 1977), real or complex symmetric; by
Sylvester's law the negative eigenvalues of the blocks of D are as many as those of H. Sparse ones are factored by
SuperLU in symmetric mode; where it had to exchange rows the signs of its pivots say nothing, and a dense
factorisation counts.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy import ndarray

from .energies import Energies

_DENSE = 4000  # coordinates up to which a sparse matrix may be made dense to count


class Singular(ArithmeticError):
    """H has no inverse."""


class Factored:
    """The factorisation of one dense symmetric matrix."""

    def __init__(self, H: ndarray) -> None:
        from scipy.linalg.lapack import get_lapack_funcs

        factor, self._solve = get_lapack_funcs(("sytrf", "sytrs"), (H,))
        self.ldl, self.pivots, info = factor(H, lower=1)
        if info or not np.isfinite(self.ldl).all():
            raise Singular
        single, pairs = self.blocks
        size = np.abs(np.diag(H)).max(initial=0.0) or 1.0
        smallest = np.abs(single).min(initial=np.inf)
        if len(pairs):
            smallest = min(smallest, np.sqrt(np.abs(np.linalg.det(pairs)).min()))
        if smallest < 16*np.finfo(H.dtype).eps*size*0.01:
            raise Singular

    @functools.cached_property
    def blocks(self) -> tuple[ndarray, ndarray]:
        """The diagonal blocks of D: single entries, and (count, 2, 2); the pivots of a block of two are negative."""
        d, double = np.diag(self.ldl), self.pivots < 0
        first = np.flatnonzero(double)[::2]
        if not len(first):
            return d, np.zeros((0, 2, 2), d.dtype)
        off = self.ldl[first + 1, first]
        return d[~double], np.stack([d[first], off, off, d[first + 1]], -1).reshape(-1, 2, 2)

    @property
    def index(self) -> int:
        """The number of negative eigenvalues."""
        single, pairs = self.blocks
        both = np.linalg.eigvalsh(pairs) if len(pairs) else np.zeros(0)
        return int((single < 0).sum() + (both < 0).sum())

    def solve(self, r: ndarray) -> ndarray:
        """H^-1 r."""
        found, _ = self._solve(self.ldl, self.pivots, r.astype(self.ldl.dtype, copy=False), lower=1)
        return found


class SparseFactored:
    """The factorisation of one sparse symmetric matrix."""

    def __init__(self, H: Any) -> None:
        from scipy.sparse.linalg import splu

        self.H = H
        options = {"SymmetricMode": True}
        try:
            self.lu = splu(H.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
        except RuntimeError as error:  # "Factor is exactly singular"
            raise Singular from error

    @property
    def index(self) -> int:
        """The number of negative eigenvalues."""
        if (self.lu.perm_r == self.lu.perm_c).all():
            return int((self.lu.U.diagonal() < 0).sum())
        if self.H.shape[0] > _DENSE:
            return -1
        return Factored(self.H.toarray()).index

    def solve(self, r: ndarray) -> ndarray:
        """H^-1 r."""
        return self.lu.solve(r)


class Hessians:
    """E_qq + beta c_qq at given points, sample by sample, on the coordinates that are not held."""

    def __init__(self, energies: Energies, q: ndarray, beta: Any = 0.0) -> None:
        self.energies, self.q, self.beta = energies, q, beta
        self.sparse = energies.sparse
        if self.sparse:
            self.rows, self.columns, self.entries = energies.entries(q, beta)
        else:
            self.H = energies.hessian(q, beta)

    def matrix(self, b: int, held: ndarray) -> Any:
        """Of one sample: the rows and columns of those that are held are those of the unit matrix."""
        if not self.sparse:
            H = self.H[b]
            if held.any():
                H[held], H[:, held] = 0, 0
                H[held, held] = 1
            return H
        from scipy.sparse import coo_array

        n = self.energies.width
        keep = ~(held[self.rows] | held[self.columns])
        extra = np.flatnonzero(held)
        rows, columns = (np.concatenate([x[keep], extra]) for x in (self.rows, self.columns))
        values = np.concatenate([self.entries[b][keep], np.ones(len(extra))])
        return coo_array((values, (rows, columns)), shape=(n, n))

    def factored(self, b: int, held: ndarray) -> Factored | SparseFactored:
        """Factored; Singular where it has no inverse."""
        H = self.matrix(b, held)
        return SparseFactored(H) if self.sparse else Factored(H)


def index_of(energies: Energies, q: ndarray, beta: float = 0.0) -> ndarray:
    """Negative eigenvalues of E_qq + beta c_qq on the unsaturated coordinates, (B,); -1 where nobody counts."""
    found = np.full(len(q), -1)
    chunk = 1 if energies.sparse else energies.chunk
    for first in range(0, len(q), chunk):
        rows = np.arange(first, min(first + chunk, len(q)))
        part = energies if len(rows) == len(q) else energies.take(rows)
        held = part.saturated(q[rows], part.slope(q[rows], beta))
        fine = np.isfinite(q[rows]).all(1)
        hessians = Hessians(part, np.where(fine[:, None], q[rows], 0.0), beta)
        for k, b in enumerate(rows):
            if fine[k]:
                try:
                    found[b] = hessians.factored(k, held[k]).index
                except Singular:
                    H = hessians.matrix(k, held[k])
                    values = np.linalg.eigvalsh(H.toarray() if hessians.sparse else H)
                    found[b] = int((values < -1e-12*np.abs(values).max(initial=0.0)).sum())
    return found
