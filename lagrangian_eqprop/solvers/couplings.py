"""Couplings between groups of coordinates as linear algebra over a batch: dense matrices and convolutions.

With C the operator of a pair term's coefficients, x on its rows and z on its columns, each coupling has

    to_columns(f) = C^T f,   to_rows(g) = C g,   outer(f, g) = sum over samples of f g in the shape of C's values

for f (B, rows) and g (B, columns), real or complex.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy import ndarray

from ..symbols.convolution import Convolution as Pattern
from ..symbols.terms import Places


class Coupling(Protocol):
    """What an energy asks of a coupling."""

    def to_columns(self, f: ndarray) -> ndarray:
        """C^T f, (B, columns)."""

    def to_rows(self, g: ndarray) -> ndarray:
        """C g, (B, rows)."""

    def outer(self, f: ndarray, g: ndarray) -> ndarray:
        """The derivative of f C g by the values of C, summed over samples unless each has its own."""

    def dense(self) -> ndarray:
        """C as a matrix (rows, columns), or one a sample."""


def coupling(places: Places, values: ndarray, dtype: np.dtype) -> Coupling:
    """The coupling of a pair term with coefficients of the shape of its places, one more leading axis for samples."""
    own = values.ndim > len(places.shape)
    wanted = (len(values), *places.shape) if own else places.shape
    if values.shape != wanted:
        values = np.broadcast_to(values, wanted)
    values = np.ascontiguousarray(values, dtype)
    if places.convolution is not None:
        return Convolution(places.convolution, values)
    if places.kind == "group":
        values = np.triu(values, 1)
    return Dense(values, places.kind == "group")


class Dense:
    """A matrix, (rows, columns), or one a sample; that of a group is strictly upper triangular."""

    def __init__(self, matrix: ndarray, group: bool) -> None:
        self.matrix, self.group, self.own = matrix, group, matrix.ndim == 3
        self._both: ndarray | None = None

    def to_columns(self, f: ndarray) -> ndarray:
        return np.matmul(f[:, None], self.matrix)[:, 0] if self.own else _times(f, self.matrix)

    def to_rows(self, g: ndarray) -> ndarray:
        return np.matmul(self.matrix, g[..., None])[..., 0] if self.own else _times(g, self.matrix.T)

    def to_both(self, f: ndarray) -> ndarray:
        """(C + C^T) f of a group."""
        if self._both is None:
            self._both = self.matrix + self.matrix.swapaxes(-1, -2)
        return np.matmul(f[:, None], self._both)[:, 0] if self.own else f @ self._both

    def outer(self, f: ndarray, g: ndarray) -> ndarray:
        found = f[:, :, None]*g[:, None] if self.own else f.T @ g
        return np.triu(found, 1) if self.group else found

    def dense(self) -> ndarray:
        return self.matrix


def _times(f: ndarray, matrix: ndarray) -> ndarray:
    """f @ matrix, in the order of f: what follows adds it to states that stand so."""
    return (matrix.T @ f.T).T if f.strides[0] < f.strides[1] else f @ matrix


class _Patches:
    """Where the patches of an image stand."""

    def __init__(self, pattern: Pattern) -> None:
        self.index, self.rows = pattern.windows.ravel(), pattern.rows.size
        self.inside = bool((self.index >= 0).all())
        self._incidences: dict[np.dtype, Any] = {}

    def taken(self, image: ndarray) -> ndarray:
        """Of images (rows, B), (channels*offsets*positions, B); zeros are outside."""
        if not self.inside:
            image = np.concatenate([image, np.zeros((1, image.shape[1]), image.dtype)])
        return image.take(self.index, 0)

    def summed(self, patches: ndarray) -> ndarray:
        """The transpose: images (rows, B) whose pixels are sums over patches."""
        return self._incidence(patches.real.dtype) @ patches

    def _incidence(self, dtype: np.dtype) -> Any:
        if dtype not in self._incidences:
            from scipy.sparse import csr_array

            (at,) = np.nonzero(self.index >= 0)
            entries = np.ones(len(at), dtype), (self.index[at], at)
            self._incidences[dtype] = csr_array(entries, shape=(self.rows, len(self.index)))
        return self._incidences[dtype]


def _patches_of(pattern: Pattern) -> _Patches:
    """The patches of a pattern; found once."""
    if "_patches" not in pattern.__dict__:
        pattern.__dict__["_patches"] = _Patches(pattern)
    return pattern.__dict__["_patches"]


class Convolution:
    """A kernel (maps, channels, *kernel), or one a sample, moved over an image: one matrix product of all patches.

    Within, samples are the last axis: the patches of all samples are copied in whole rows, and states that stand so
    in memory (F order) are read and made without a transposition.
    """

    def __init__(self, pattern: Pattern, kernel: ndarray) -> None:
        self.pattern, self.own = pattern, kernel.ndim > len(pattern.shape)
        self.kernel, self.maps = kernel, pattern.shape[0]
        self.matrix = kernel.reshape(*kernel.shape[:-len(pattern.shape)], self.maps, -1)
        self.patches = _patches_of(pattern)

    def _patches(self, f: ndarray) -> ndarray:
        """(channels*offsets, positions*B)."""
        return self.patches.taken(f.T).reshape(self.matrix.shape[-1], -1)

    def _by_sample(self, rows: ndarray, samples: int) -> ndarray:
        """(n, positions*B) as (B, n, positions)."""
        return np.moveaxis(rows.reshape(len(rows), -1, samples), -1, 0)

    def to_columns(self, f: ndarray) -> ndarray:
        patches = self._patches(f)
        if self.own:
            found = np.matmul(self.matrix, self._by_sample(patches, len(f)))
            return found.reshape(len(found), -1)
        return (self.matrix @ patches).reshape(-1, len(f)).T

    def to_rows(self, g: ndarray) -> ndarray:
        field = g.T.reshape(self.maps, -1)
        if self.own:
            each = np.matmul(self.matrix.swapaxes(-1, -2), self._by_sample(field, len(g)))
            patches = each.reshape(len(each), -1).T
        else:
            patches = (self.matrix.T @ field).reshape(-1, len(g))
        return self.patches.summed(patches).T

    def outer(self, f: ndarray, g: ndarray) -> ndarray:
        field, patches = g.T.reshape(self.maps, -1), self._patches(f)
        if self.own:
            found = np.matmul(self._by_sample(field, len(g)), self._by_sample(patches, len(f)).swapaxes(1, 2))
            return found.reshape(-1, *self.pattern.shape)
        return (field @ patches.T).reshape(self.pattern.shape)

    def dense(self) -> ndarray:
        rows = self.pattern.image.size
        unit = np.eye(rows, dtype=self.kernel.dtype)
        if not self.own:
            return self.to_columns(unit)
        return np.stack([Convolution(self.pattern, kernel).to_columns(unit) for kernel in self.kernel])
