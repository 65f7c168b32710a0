"""Walls and clamps of coordinates: bounds that equilibria keep to, and coordinates that inputs hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sympy as sp

from ..errors import invalid


def read_bounds(bounds: Any, coordinates: Sequence[Any], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bounds of all coordinates, -inf and inf where there is none."""
    lower, upper = np.full(size, -np.inf), np.full(size, np.inf)
    if bounds is None:
        pass
    elif coordinates:
        if not isinstance(bounds, Mapping):
            raise invalid("bounds", "a mapping of coordinates to (lower, upper)", repr(bounds))
        for x, pair in bounds.items():
            if x not in coordinates:
                raise invalid("bounds", f"of coordinates among {', '.join(map(str, coordinates))}", repr(x))
            k = list(coordinates).index(x)
            lower[k], upper[k] = _pair(f"bounds[{x}]", pair, ())
    else:
        lower[:], upper[:] = _pair("bounds", bounds, (size,))
    if not (lower < upper).all():
        where = int(np.argmin(lower < upper))
        raise invalid("bounds", "with lower < upper", f"{lower[where]} and {upper[where]} of coordinate {where}")
    for array in (lower, upper):
        array.setflags(write=False)
    return lower, upper


def _pair(name: str, pair: Any, shape: tuple[int, ...]) -> list[np.ndarray]:
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        raise invalid(name, "a pair (lower, upper), None for no bound", repr(pair))
    found = []
    for value, nothing in zip(pair, (-np.inf, np.inf), strict=True):
        try:
            array = np.array(nothing if value is None else value, float)
        except (TypeError, ValueError) as error:
            raise invalid(name, "numbers or None", repr(value)) from error
        if array.shape not in ((), shape) or np.isnan(array).any():
            must = "numbers" + (f", or arrays of shape {shape}" if shape else "") + " without nan"
            raise invalid(name, must, f"shape {array.shape}" if array.ndim else str(array))
        found.append(array)
    return found


def read_clamped(clamped: Mapping[Any, Any], coordinates: Sequence[Any], size: int) -> dict[sp.Symbol, np.ndarray]:
    """The coordinates that each input holds."""
    found: dict[sp.Symbol, np.ndarray] = {}
    taken: set[int] = set()
    for symbol, at in clamped.items():
        name = f"clamped[{symbol.name}]"
        if coordinates:
            if at not in coordinates:
                raise invalid(name, f"one of {', '.join(map(str, coordinates))}", repr(at))
            places = np.array([list(coordinates).index(at)])
        else:
            places = np.asarray(at)
            if places.ndim != 1 or places.dtype.kind not in "iu" or not places.size:
                raise invalid(name, "a 1-d array of integers", f"shape {places.shape}, {places.dtype}")
            outside = places[(places < 0) | (places >= size)]
            if outside.size:
                raise invalid(name, f"indices from 0 to {size - 1}", int(outside[0]))
        twice = taken & set(places.tolist())
        if twice or len(np.unique(places)) != len(places):
            raise invalid(name, "coordinates that are clamped once", f"{min(twice, default=int(places[0]))} twice")
        taken |= set(places.tolist())
        found[symbol] = places.astype(np.int64)
    if len(taken) == size:
        raise invalid("clamped", "some of the coordinates", "all of them")
    return found
