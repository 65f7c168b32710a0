"""The Kepler problem in its plane.

    L = m (x'^2 + y'^2)/2 + m mu/sqrt(x^2 + y^2)

Source: Hairer, Lubich and Wanner, Geometric Numerical Integration, section I.2. Method: Verlet. Started at the
perihelion of an ellipse of semi-major axis 1 and eccentricity 0.5, with period 2 pi; 20 time units are 3.2 periods.
The motion does not depend on m. Invariants: the energy, and the angular momentum, which Verlet conserves exactly.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from ..boundary import Initial
from ..grid import Grid
from ..symbols.cost import Cost
from ..system import System
from .case import TIME, Case, angular_momentum, coordinates, energy

ECCENTRICITY = 0.5


def case() -> Case:
    """The cost is the distance from a place that the body should stay near."""
    x, y = coordinates("x y")
    m, mu, aim_x, aim_y = sp.symbols("m mu aim_x aim_y")
    e = ECCENTRICITY
    return Case(
        name="kepler",
        title="Kepler problem",
        formula="L = m (x'^2 + y'^2)/2 + m mu/sqrt(x^2 + y^2)",
        system=System(
            m*(x.diff(TIME)**2 + y.diff(TIME)**2)/2 + m*mu/sp.sqrt(x**2 + y**2),
            [x, y],
            parameters={m: 1.0, mu: 1.0},
            name="kepler",
        ),
        start=Initial(q=[1 - e, 0.0], v=[0.0, np.sqrt((1 + e)/(1 - e))]),
        grid=Grid(2000, step=0.01),
        cost=Cost(((x - aim_x)**2 + (y - aim_y)**2)/2, targets=[aim_x, aim_y]),
        targets={aim_x: -1.0, aim_y: 0.7},
        labels=("$x$ (dimensionless)", "$y$ (dimensionless)"),
        invariants={"energy": energy, "angular momentum": angular_momentum},
        exact=("angular momentum",),
    )
