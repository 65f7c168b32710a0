"""Cases: a system with everything needed to run it, judge it and plot it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sympy as sp

from ..boundary import Ends, Equilibrium, Initial
from ..grid import Grid
from ..symbols.cost import Cost
from ..system import System
from ..trajectory import Trajectory

Invariant = Callable[[Trajectory], np.ndarray]

TIME = sp.Symbol("t")  # the same symbol as that of sympy.physics.mechanics.dynamicsymbols, without its import


@dataclass(frozen=True)
class Case:
    """A system of the zoo with its defaults.

    Attributes
    ----------
    name, title, formula : str
        Its key in the zoo, what it is, and its Lagrangian in plain text.
    system : System
    start : Initial
    grid : Grid
    cost : Cost
        With the values of its targets in ``targets``; those of the system's inputs are in ``inputs``.
    labels : tuple of str
        One a coordinate, with its unit, for plots.
    time_label : str
    invariants : mapping of str to function
        What the exact flow conserves: functions of a trajectory that return (N+1,) or (B, N+1).
    exact : tuple of str
        Those of them that the default method conserves to rounding, because its discrete Lagrangian has the
        same symmetry; the others oscillate within bounds of the order of the step squared.
    """

    name: str
    title: str
    formula: str
    system: System
    start: Initial
    grid: Grid
    cost: Cost
    labels: tuple[str, ...]
    targets: Mapping[Any, Any] = field(default_factory=dict)
    inputs: Mapping[Any, Any] = field(default_factory=dict)
    invariants: Mapping[str, Invariant] = field(default_factory=dict)
    exact: tuple[str, ...] = ()
    time_label: str = "$t$ (dimensionless)"

    @functools.cached_property
    def ends(self) -> Ends:
        """Both ends of the default trajectory, which is the guess too; computed at its first use."""
        path = self.system.trajectory(self.start, self.grid, inputs=self.inputs)
        return Ends(path.q[..., 0, :], path.q[..., -1, :], guess=path.q)

    def __repr__(self) -> str:
        return f"Case({self.name!r}, {self.system.size} coordinates, {self.grid.steps} steps of {self.grid.step:g})"


@dataclass(frozen=True)
class StaticCase:
    """A system of the zoo that does not move: an energy with a cost at its equilibria.

    Attributes
    ----------
    name, title, formula : str
        Its key in the zoo, what it is, and its energy in plain text.
    system : System
    start : Equilibrium
        Where its rest is sought.
    cost : Cost
        With the values of its targets in ``targets``; those of the system's inputs are in ``inputs``.
    labels : tuple of str
        One a coordinate, with its unit, for plots.
    """

    name: str
    title: str
    formula: str
    system: System
    start: Equilibrium
    cost: Cost
    labels: tuple[str, ...]
    targets: Mapping[Any, Any] = field(default_factory=dict)
    inputs: Mapping[Any, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"StaticCase({self.name!r}, {self.system.size} coordinates)"


def coordinates(names: str) -> list[Any]:
    """Functions of time by their names, as dynamicsymbols makes them; a list also for a single name."""
    return [sp.Function(name)(TIME) for name in names.split()]


def site_labels(size: int) -> tuple[str, ...]:
    """Labels of the coordinates of a chain or a network, numbered from 0 as in ``at``."""
    return tuple(f"$x_{{{index}}}$ (dimensionless)" for index in range(size))


def energy(path: Trajectory) -> np.ndarray:
    """p v - L; conserved where nothing depends on time explicitly."""
    return path.energy


def angular_momentum(path: Trajectory) -> np.ndarray:
    """x p_y - y p_x of the first two coordinates, with canonical momenta."""
    return path.q[..., 0]*path.p[..., 1] - path.q[..., 1]*path.p[..., 0]


def total_momentum(path: Trajectory) -> np.ndarray:
    """The sum of all momenta; conserved where a common shift changes nothing."""
    return path.p.sum(-1)
