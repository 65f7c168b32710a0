"""The zoo: systems with default parameters, initial data, a cost and their known invariants.

``names()`` lists those that move, ``get("kepler")`` returns a :class:`Case`; ``equilibria()`` lists energies whose
points of rest are meant, ``get("phases")`` returns a :class:`StaticCase`. Each is a file of its own, whose docstring
has the formula and its source. Energies of layers of any size are built by functions of the modules of the same name:
``deep_hopfield``, ``continuous_hopfield``, ``convolutional_hopfield``, ``resistive_network``, ``phase_network``,
``ising_network``, ``predictive_network``, ``memory_network`` and ``elastic_network``.
"""

from __future__ import annotations

import importlib
from typing import Any

from ..errors import unknown
from .case import Case, StaticCase

__all__ = ["Case", "StaticCase", "equilibria", "get", "names"]

_NAMES = (
    "harmonic",
    "duffing",
    "damped_oscillator",
    "van_der_pol",
    "pendulum",
    "pendulum_rod",
    "double_pendulum",
    "double_pendulum_chaotic",
    "elastic_pendulum",
    "kepler",
    "rope",
    "henon_heiles",
    "magnetic",
    "lotka_volterra",
    "point_vortices",
    "fput",
    "ring",
    "nls_lattice",
    "oscillators_sparse",
    "oscillators_dense",
)

_EQUILIBRIA = (
    "flow",
    "elastic",
    "phases",
    "oscillator_ising",
    "predictive_coding",
    "modern_hopfield",
    "ridge",
)


def names() -> list[str]:
    """The names of all systems that move, simple ones first."""
    return list(_NAMES)


def equilibria() -> list[str]:
    """The names of all energies with a cost at their points of rest, simple ones first."""
    return list(_EQUILIBRIA)


def get(name: str) -> Any:
    """A system of the zoo with its defaults; nothing is computed yet.

    Parameters
    ----------
    name : str
        One of :func:`names` or of :func:`equilibria`.

    Returns
    -------
    Case or StaticCase

    Raises
    ------
    ValueError
        If there is no system of this name; the message suggests a near one.
    """
    known = (*_NAMES, *_EQUILIBRIA)
    if name not in known:
        raise unknown("name of a system", str(name), known)
    return importlib.import_module(f".{name}", __name__).case()
