"""Couplings between groups of coordinates as linear algebra over a batch: dense matrices and convolutions.

With C the operator of a pair term's coefficients, x on its rows and z on its columns, each coupling has

    to_columns(f) = C^T f,   to_rows(g) = C g,   outer(f, g) = sum over samples of f g in the shape of C's values

for f (B, rows) and g (B, columns), real or complex.
"""

from __future__ import annotations

import itertools
from typing import Protocol

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
        return np.matmul(f[:, None], self.matrix)[:, 0] if self.own else f @ self.matrix

    def to_rows(self, g: ndarray) -> ndarray:
        return np.matmul(self.matrix, g[..., None])[..., 0] if self.own else g @ self.matrix.T

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


class Convolution:
    """A kernel (maps, channels, *kernel), or one a sample, moved over an image: as matrix products of its patches."""

    def __init__(self, pattern: Pattern, kernel: ndarray) -> None:
        self.pattern, self.own = pattern, kernel.ndim > len(pattern.shape)
        self.kernel = kernel
        maps, channels = pattern.shape[:2]
        self.matrix = kernel.reshape(*kernel.shape[:-len(pattern.shape)], maps, -1)
        self.channels, self.maps = channels, maps
        pad, self.stride = pattern.padding, pattern.stride
        self.padded = tuple(n + 2*pad for n in pattern.spatial)
        self.inside = (slice(None), slice(None), *(slice(pad, pad + n) for n in pattern.spatial))
        self.windows = [
            (slice(None), slice(None), *(slice(a, a + self.stride*(n - 1) + 1, self.stride)
                                         for a, n in zip(offset, pattern.positions, strict=True)))
            for offset in itertools.product(*map(range, pattern.kernel))
        ]  # fmt: skip

    def _patches(self, f: ndarray) -> ndarray:
        """(B, channels*offsets, positions)."""
        image = f.reshape(-1, self.channels, *self.pattern.spatial)
        if self.pattern.padding:
            padded = np.zeros((len(f), self.channels, *self.padded), f.dtype)
            padded[self.inside] = image
            image = padded
        patches = np.empty((len(f), self.channels, len(self.windows), *self.pattern.positions), f.dtype)
        for k, window in enumerate(self.windows):
            patches[:, :, k] = image[window]
        return patches.reshape(len(f), self.channels*len(self.windows), -1)

    def to_columns(self, f: ndarray) -> ndarray:
        found = np.matmul(self.matrix, self._patches(f))
        return found.reshape(len(found), -1)

    def to_rows(self, g: ndarray) -> ndarray:
        field = g.reshape(len(g), self.maps, -1)
        patches = np.matmul(self.matrix.swapaxes(-1, -2), field)
        patches = patches.reshape(len(patches), self.channels, len(self.windows), *self.pattern.positions)
        image = np.zeros((len(patches), self.channels, *self.padded), patches.dtype)
        for k, window in enumerate(self.windows):
            image[window] += patches[:, :, k]
        return image[self.inside].reshape(len(image), -1)

    def outer(self, f: ndarray, g: ndarray) -> ndarray:
        found = np.matmul(g.reshape(len(g), self.maps, -1), self._patches(f).swapaxes(1, 2))
        return found.reshape(-1, *self.pattern.shape) if self.own else found.sum(0).reshape(self.pattern.shape)

    def dense(self) -> ndarray:
        rows = self.pattern.image.size
        unit = np.eye(rows, dtype=self.kernel.dtype)
        if not self.own:
            return self.to_columns(unit)
        return np.stack([Convolution(self.pattern, kernel).to_columns(unit) for kernel in self.kernel])
