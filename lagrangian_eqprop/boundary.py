"""Boundary conditions: which stationary point of the action is meant."""

from __future__ import annotations

from typing import Any

import numpy as np

from .errors import invalid


class Initial:
    """Initial data: a position, and a velocity or a momentum.

    Parameters
    ----------
    q : array_like, shape (d,) or (B, d)
        Initial coordinates; two axes are a batch.
    v, p : array_like, same shapes
        Initial velocity, which means p_0 = L_v(q, v, t_0), or initial momentum; exactly one of the two.
    """

    def __init__(self, q: Any, v: Any = None, p: Any = None) -> None:
        if (v is None) == (p is None):
            raise invalid("v", "given, or p, but not both", "neither" if v is None else "both")
        self.q = _state("q", q)
        self.v = None if v is None else _state("v", v)
        self.p = None if p is None else _state("p", p)

    def __repr__(self) -> str:
        return f"Initial(q of shape {self.q.shape}, {'v' if self.p is None else 'p'} given)"


class Ends:
    """Two ends: each fixed at a position, or natural (its momentum vanishes).

    Parameters
    ----------
    q_start, q_stop : array_like, shape (d,) or (B, d), or None
        Positions at the first and the last node; None for a natural end.
    guess : array_like, shape (N+1, d) or (B, N+1, d), optional
        Where the search for the path begins; by default the straight line between the ends.
    """

    def __init__(self, q_start: Any, q_stop: Any, guess: Any = None) -> None:
        self.q_start = None if q_start is None else _state("q_start", q_start)
        self.q_stop = None if q_stop is None else _state("q_stop", q_stop)
        self.guess = None if guess is None else _state("guess", guess, (2, 3))

    def __repr__(self) -> str:
        kinds = ["natural" if end is None else "fixed" for end in (self.q_start, self.q_stop)]
        return f"Ends({kinds[0]}, {kinds[1]})"


def _state(name: str, value: Any, axes: tuple[int, ...] = (1, 2)) -> np.ndarray:
    try:
        array = np.array(value, float)
    except (TypeError, ValueError) as error:
        raise invalid(name, "an array of real numbers", repr(value)) from error
    if array.ndim not in axes:
        forms = "(d,) or (B, d)" if axes == (1, 2) else "(N+1, d) or (B, N+1, d)"
        raise invalid(name, f"of shape {forms}", f"shape {array.shape}")
    if not np.isfinite(array).all():
        raise invalid(name, "finite", "nan or inf")
    return array


def check_width(name: str, array: np.ndarray, size: int) -> None:
    """The last axis of every state is the coordinates."""
    if array.shape[-1] != size:
        raise invalid(name, f"of shape (..., {size}), one value a coordinate", f"shape {array.shape}")
