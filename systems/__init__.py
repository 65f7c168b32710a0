"""The zoo: systems with default parameters, initial data, a cost and their known invariants.

``names()`` lists them; ``get("kepler")`` returns a :class:`Case`. Each is a file of its own, whose docstring
has the formula and its source.
"""

from __future__ import annotations

import importlib

from ..errors import unknown
from .case import Case

__all__ = ["Case", "get", "names"]

_NAMES = (
    "harmonic",
    "duffing",
    "damped_oscillator",
    "van_der_pol",
    "pendulum",
    "double_pendulum",
    "double_pendulum_chaotic",
    "elastic_pendulum",
    "kepler",
    "henon_heiles",
    "magnetic",
    "fput",
    "ring",
    "oscillators_sparse",
    "oscillators_dense",
)


def names() -> list[str]:
    """The names of all systems, simple ones first."""
    return list(_NAMES)


def get(name: str) -> Case:
    """A system of the zoo with its defaults; nothing is computed yet.

    Parameters
    ----------
    name : str
        One of :func:`names`.

    Raises
    ------
    ValueError
        If there is no system of this name; the message suggests a near one.
    """
    if name not in _NAMES:
        raise unknown("name of a system", str(name), _NAMES)
    return importlib.import_module(f".{name}", __name__).case()
