"""Layered networks: what energies with an input layer, hidden layers and outputs have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy as sp

from ..boundary import Equilibrium
from ..errors import invalid
from ..symbols.cost import Cost
from ..system import System


@dataclass(frozen=True)
class LayeredNetwork:
    """An energy whose layers are coupled each to the next, with what is needed to train and to read it.

    Attributes
    ----------
    system : System
    layers : list of ndarray
        The places of every layer: the clamped inputs first, the outputs last.
    source : Symbol
        The input that holds the first layer.
    weights, biases : list of Symbol
        Couplings of every layer with the next; all other parameters, one array a layer.
    cost : Cost
        A sum over the outputs.
    target : Symbol
        Its target, one for every output.
    levels : (float, float)
        What an output should be for a wrong class and for the right one.
    rest : Equilibrium
        A guess and a number of steps that suit the energy.
    encode, score : functions
        From pixels between 0 and 1, (..., pixels), to the first layer; from outputs to what is largest at the answer.
    """

    system: System
    layers: list[np.ndarray]
    source: sp.Symbol
    weights: list[sp.Symbol]
    biases: list[sp.Symbol]
    cost: Cost
    target: sp.Symbol
    levels: tuple[float, float]
    rest: Equilibrium
    encode: Callable[[np.ndarray], np.ndarray]
    score: Callable[[np.ndarray], np.ndarray]

    def inputs(self, images: np.ndarray) -> dict[sp.Symbol, np.ndarray]:
        """The first layer that images (B, pixels) or (pixels,) make."""
        return {self.source: self.encode(images)}

    def targets(self, classes: np.ndarray) -> dict[sp.Symbol, np.ndarray]:
        """The targets of classes (B,) or (), numbered from 0."""
        right = np.asarray(classes)[..., None] == np.arange(len(self.layers[-1]))
        low, high = self.levels
        return {self.target: np.where(right, high, low)}

    def read(
        self, images: np.ndarray, parameters: Mapping[Any, Any] | None = None, *, chunk: int = 500, **options: Any
    ) -> np.ndarray:
        """The classes (B,) that are read off free equilibria; ``options`` are those of ``System.equilibrium``."""
        found = [
            self.score(self.system.equilibrium(
                self.rest, inputs=self.inputs(images[low : low + chunk]), parameters=parameters, **options,
            ).q[:, self.layers[-1]]).argmax(1)
            for low in range(0, len(images), chunk)
        ]  # fmt: skip
        return np.concatenate(found)


def places(sizes: Sequence[int]) -> list[np.ndarray]:
    """The places of layers of these sizes, one after another."""
    whole = all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) and n > 0 for n in sizes)
    if not whole or len(sizes) < 2:
        raise invalid("sizes", "at least two positive integers, inputs first and outputs last", repr(sizes))
    return np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])


def numbered(name: str, count: int) -> list[sp.Symbol]:
    """Symbols name1, name2, ..."""
    return list(sp.symbols(f"{name}1:{count + 1}"))
