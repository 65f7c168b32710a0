"""The grid as solvers see it: every step of the user's grid, or its sub-steps, of unequal lengths and signs.

Labels count the nodes of sub-steps, so that label k s is node k of the user's grid.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy import ndarray

from ..grid import Grid


@functools.lru_cache(maxsize=64)
def refined(coarse: Grid, gamma: tuple[float, ...]) -> Refined:
    """The same object for the same grid, since training asks again and again."""
    return Refined(coarse, gamma)


@functools.cache
def _divided(gamma: tuple[float, ...]) -> tuple[ndarray, ndarray]:
    """Lengths of sub-steps, and where in the step they begin."""
    # inner times from the nearer end, so that they are symmetric
    ahead, behind = np.cumsum([0.0, *gamma]), 1.0 - np.cumsum([0.0, *gamma[::-1]])[::-1]
    half = len(gamma)//2
    lengths, fractions = np.array(gamma), np.concatenate([ahead[: half + 1], behind[half + 1 : -1]])
    lengths.setflags(write=False)
    fractions.setflags(write=False)
    return lengths, fractions


class Refined:
    """A grid whose steps are refined; with a single sub-step it is the user's.

    Attributes
    ----------
    coarse : Grid
        The user's grid, with the same ``start`` and ``step``.
    gamma : ndarray, shape (s,)
        Lengths of the sub-steps, in steps.
    steps : int
        How many sub-steps there are.
    """

    def __init__(self, coarse: Grid, gamma: Sequence[float] = (1.0,)) -> None:
        self.coarse, self.start, self.step = coarse, coarse.start, coarse.step
        self.substeps, self.steps = len(gamma), coarse.steps*len(gamma)
        self.gamma, self.fractions = _divided(tuple(gamma))

    def split(self, labels: ndarray, shift: float = 0.0) -> tuple[ndarray, ndarray]:
        """The user's node at or before each label, and the fraction of the step that follows it."""
        node, inner = np.divmod(labels, self.substeps)
        return node, self.fractions[inner] + shift*self.gamma[inner]

    def at(self, labels: ndarray, shift: float = 0.0) -> ndarray:
        """The times of any labels; ``shift`` 0.5 for the middles of the sub-steps that follow them."""
        node, fraction = self.split(labels, shift)
        return self.start + (node + fraction)*self.step

    def times(self, first: int, count: int, shift: float = 0.0) -> ndarray:
        """The times of ``count`` labels from ``first`` on."""
        return self.at(first + np.arange(count), shift)

    def sizes(self, labels: ndarray) -> ndarray:
        """The sub-steps that follow any labels."""
        return self.gamma[labels % self.substeps]*self.step

    def between(self, values: ndarray, labels: ndarray, shift: float = 0.0) -> ndarray:
        """Values at the user's nodes along axis 1, linear in every step, at any labels."""
        node, fraction = self.split(labels, shift)
        last = node == self.coarse.steps
        before, after = np.where(last, node - 1, node), np.where(last, node, node + 1)
        weight = (fraction + last).reshape(-1, *(1,)*(values.ndim - 2))
        return (1 - weight)*values[:, before] + weight*values[:, after]
