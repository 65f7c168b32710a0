"""Where coordinates stand: the free ones in a state (B, free), the clamped ones in a table of their own."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy import ndarray


class Split:
    """Free and clamped coordinates of a system, and their positions in either array."""

    def __init__(self, size: int, clamped: ndarray) -> None:
        self.size, self.clamped = size, clamped
        self.is_free = np.ones(size, bool)
        self.is_free[clamped] = False
        self.free = np.flatnonzero(self.is_free)
        self.where = np.empty(size, np.int64)
        self.where[self.free] = np.arange(len(self.free))
        self.where[clamped] = np.arange(len(clamped))
        self._gathers: dict[int, tuple[ndarray, Gather]] = {}
        self._bounds: dict[np.dtype, tuple[ndarray, ndarray]] = {}

    def bounds(self, lower: ndarray, upper: ndarray, dtype: np.dtype) -> tuple[ndarray, ndarray]:
        """Those of the free coordinates."""
        if dtype not in self._bounds:
            self._bounds[dtype] = lower[self.free].astype(dtype), upper[self.free].astype(dtype)
        return self._bounds[dtype]

    def gather(self, coordinates: ndarray) -> Gather:
        """Where some coordinates stand; found once for an array that lives as long as the system."""
        known = self._gathers.get(id(coordinates))
        if known is None or known[0] is not coordinates:
            known = self._gathers[id(coordinates)] = coordinates, Gather(self, coordinates)
        return known[1]

    def assembled(self, q: ndarray, held: ndarray) -> ndarray:
        """All coordinates, (B, size)."""
        if not self.clamped.size:
            return q.copy()
        whole = np.empty((len(q), self.size), q.dtype)
        whole[:, self.free], whole[:, self.clamped] = q, held
        return whole


class Gather:
    """Some coordinates, read from a state and its clamped values, and what they receive added to the state's slope."""

    def __init__(self, split: Split, coordinates: ndarray) -> None:
        is_free = split.is_free[coordinates]
        self.count = len(coordinates)
        self.all_free, self.all_held = bool(is_free.all()), not is_free.any()
        self.mask = None if self.all_free else is_free
        self.free = split.where[coordinates[is_free]]  # positions in the state
        self.held = split.where[coordinates[~is_free]]
        self.width = len(split.free)
        self.index = as_slice(self.free)
        self.held_index = as_slice(self.held)
        self.distinct = len(np.unique(self.free)) == len(self.free)

    def take(self, q: ndarray, held: ndarray) -> ndarray:
        """(B, count); where all are clamped (1 or B, count)."""
        if self.all_free:
            return q[:, self.index]
        if self.all_held:
            return held[:, self.held_index]
        found = np.empty((len(q), self.count), q.dtype)
        found[:, self.mask], found[:, ~self.mask] = q[:, self.index], held[:, self.held_index]  # type: ignore[operator]
        return found

    def direction(self, v: ndarray) -> ndarray:
        """A direction of the state; clamped coordinates do not move."""
        if self.all_free:
            return v[:, self.index]
        return self.take(v, np.zeros((1, int(self.held.max(initial=-1)) + 1), v.dtype))

    def only_free(self, values: Any) -> Any:
        """The columns of the free ones."""
        return values if self.mask is None else values[:, self.mask]

    @functools.cached_property
    def _incidence(self) -> Any:
        from scipy.sparse import csr_array

        ones = np.ones(len(self.free))
        return csr_array((ones, (self.free, np.arange(len(self.free)))), shape=(self.width, len(self.free)))

    def add(self, out: ndarray, values: Any) -> None:
        """out += values at the free ones; values broadcast to (B, count)."""
        if self.all_held:
            return
        if self.distinct and self.mask is None:
            out[:, self.index] += values
            return
        values = self.only_free(np.broadcast_to(values, (len(out), self.count)))
        if self.distinct:
            out[:, self.index] += values
        else:
            out += (self._incidence @ values.T).T


def as_slice(indices: ndarray) -> Any:
    """A slice where indices follow each other: it makes no copy."""
    if len(indices) and (np.diff(indices) == 1).all():
        return slice(int(indices[0]), int(indices[-1]) + 1)
    return indices
