"""What a training leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy as sp

from ..symbols.definition import lookup


@dataclass(frozen=True)
class History:
    """The course of a training and the parameters it ended with.

    ``history[k]`` is the trained value of parameter k, by Symbol or name.

    Attributes
    ----------
    loss : ndarray, shape (epochs,)
        The mean training loss of every finished epoch, each sample judged just before the step it takes part in.
    parameters : dict of Symbol to ndarray
        All parameters after the last step, usable as ``parameters=`` and with :func:`lagrangian_eqprop.save`.
    validation : ndarray or None
        What validation gave after every finished epoch, shape (epochs,) or (epochs, ...).
    seconds : ndarray, shape (epochs,)
        How long every epoch took, validation included.
    interrupted : bool
        Whether it was stopped from the keyboard before its end.
    message : str
        What happened.
    """

    loss: np.ndarray
    parameters: Mapping[sp.Symbol, np.ndarray]
    validation: np.ndarray | None
    seconds: np.ndarray
    interrupted: bool
    message: str

    def __getitem__(self, key: Any) -> np.ndarray:
        return self.parameters[lookup(key, self.parameters, "trained value of")]

    def __repr__(self) -> str:
        last = f", loss {self.loss[0]:.4g} -> {self.loss[-1]:.4g}" if self.loss.size else ""
        return f"History({self.loss.size} epochs{last}: {self.message})"
