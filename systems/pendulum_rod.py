"""The plane pendulum in Cartesian coordinates: a mass on a rigid rod.

    L = m (x'^2 + y'^2)/2 - m g y,   constraint x^2 + y^2 = l^2

Source: Hairer, Lubich and Wanner (2006), section VII.1. SI units; y points up from the pivot. Method:
RATTLE. The same motion as ``pendulum``, begun at 2 rad, where the period is 2.7 s. The length of the rod may be
trained: the start is moved along with it. dJ/dm = 0. Invariants: the energy, and the length, which holds to rounding.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from ..boundary import Initial
from ..grid import Grid
from ..symbols.cost import Cost
from ..system import System
from ..trajectory import Trajectory
from .case import TIME, Case, coordinates, energy


def length(path: Trajectory) -> np.ndarray:
    """The distance from the pivot."""
    return np.hypot(path.q[..., 0], path.q[..., 1])


def case() -> Case:
    """The cost compares the height of the bob with a wanted one."""
    x, y = coordinates("x y")
    m, l, g, aim = sp.symbols("m l g aim")
    return Case(
        name="pendulum_rod",
        title="Plane pendulum as a mass on a rod",
        formula="L = m (x'^2 + y'^2)/2 - m g y,  x^2 + y^2 = l^2",
        system=System(
            m*(x.diff(TIME)**2 + y.diff(TIME)**2)/2 - m*g*y,
            [x, y],
            parameters={m: 1.0, l: 1.0, g: 9.81},
            constraints=[x**2 + y**2 - l**2],
            name="pendulum_rod",
        ),
        start=Initial(q=[np.sin(2.0), -np.cos(2.0)], v=[0.0, 0.0], project=True),
        grid=Grid(1000, step=0.01),
        cost=Cost((y - aim)**2/2, targets=[aim]),
        targets={aim: -0.5},
        labels=("$x$ (m)", "$y$ (m)"),
        time_label="$t$ (s)",
        invariants={"energy": energy, "length": length},
        exact=("length",),
    )
