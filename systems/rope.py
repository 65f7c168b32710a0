"""A rope: point masses on rigid massless links, hung from one end.

    L = sum of m (x_i'^2 + y_i'^2)/2 - m g y_i,   constraints (x_i - x_{i-1})^2 + (y_i - y_{i-1})^2 = l_i^2

with the mass before the first at the origin. Source: Hairer, Lubich and Wanner (2006), section VII.1. SI units; the
coordinates are x_0, y_0, x_1, y_1, ... Method: RATTLE. Eight links of 0.125 m, released at rest along a slope of 30
degrees below the horizontal; the slowest small swing takes 1.7 s. Each link has a length of its own to train.
Invariants: the energy, and the length of the whole rope, which holds to rounding.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from ..boundary import Initial
from ..grid import Grid
from ..symbols.cost import Cost
from ..symbols.terms import Term
from ..system import System
from ..trajectory import Trajectory
from .case import TIME, Case, coordinates, energy

LINKS, LENGTH, ANGLE = 8, 0.125, np.pi/6


def rope_length(path: Trajectory) -> np.ndarray:
    """The sum of the distances between neighbours."""
    points = path.q.reshape(*path.q.shape[:-1], -1, 2)
    bonds = np.diff(points, axis=-2, prepend=np.zeros((*points.shape[:-2], 1, 2)))
    return np.hypot(bonds[..., 0], bonds[..., 1]).sum(-1)


def case() -> Case:
    """The cost wants the free end at a certain x."""
    x, y, z, w = coordinates("x y z w")
    m, g, l, l0, aim = sp.symbols("m g l l0 aim")
    sites = np.arange(LINKS)
    joints = np.stack([2*sites[:-1], 2*sites[:-1] + 1, 2*sites[1:], 2*sites[1:] + 1], 1)
    along = LENGTH*(sites + 1)
    return Case(
        name="rope",
        title="Rope of rigid links",
        formula="L = sum of m (x_i'^2 + y_i'^2)/2 - m g y_i,  |r_i - r_{i-1}| = l_i",
        system=System(
            [
                Term(m*x.diff(TIME)**2/2, on=[x], at=np.arange(2*LINKS)),
                Term(-m*g*y, on=[y], at=2*sites + 1),
            ],
            size=2*LINKS,
            parameters={m: 0.1, g: 9.81, l0: LENGTH, l: np.full(LINKS - 1, LENGTH)},
            constraints=[
                Term(x**2 + y**2 - l0**2, on=[x, y], at=[[0, 1]]),
                Term((x - z)**2 + (y - w)**2 - l**2, on=[x, y, z, w], at=joints),
            ],
            name="rope",
        ),
        start=Initial(
            q=np.stack([np.cos(ANGLE)*along, -np.sin(ANGLE)*along], 1).ravel(), v=np.zeros(2*LINKS), project=True
        ),
        grid=Grid(3000, step=0.003),
        cost=Cost((x - aim)**2/2, targets=[aim], on=[x], at=[2*LINKS - 2]),
        targets={aim: 0.2},
        labels=tuple(f"${axis}_{{{site}}}$ (m)" for site in sites for axis in "xy"),
        time_label="$t$ (s)",
        invariants={"energy": energy, "length": rope_length},
        exact=("length",),
    )
