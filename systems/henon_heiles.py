"""The system of Hénon and Heiles: a star in the mean field of a galaxy.

    L = m (x'^2 + y'^2)/2 - k (x^2 + y^2)/2 - c (x^2 y - y^3/3)

Source: Hénon and Heiles, Astron. J. 69 (1964) 73. Method: Verlet. The default has the energy 0.085, of 1/6 at which
the star escapes, and the motion is mostly regular. Periods near 2 pi; 40 time units are six of them. Invariant: the
energy.
"""

from __future__ import annotations

import sympy as sp

from ..boundary import Initial
from ..grid import Grid
from ..symbols.cost import Cost
from ..system import System
from .case import TIME, Case, coordinates, energy


def case() -> Case:
    """The cost wants the star away from the middle."""
    x, y = coordinates("x y")
    m, k, c, aim = sp.symbols("m k c aim")
    return Case(
        name="henon_heiles",
        title="Hénon-Heiles system",
        formula="L = m (x'^2 + y'^2)/2 - k (x^2 + y^2)/2 - c (x^2 y - y^3/3)",
        system=System(
            m*(x.diff(TIME)**2 + y.diff(TIME)**2)/2 - k*(x**2 + y**2)/2 - c*(x**2*y - y**3/3),
            [x, y],
            parameters={m: 1.0, k: 1.0, c: 1.0},
            name="henon_heiles",
        ),
        start=Initial(q=[0.0, 0.1], v=[0.4, 0.0]),
        grid=Grid(1000, step=0.04),
        cost=Cost((y - aim)**2/2, targets=[aim]),
        targets={aim: 0.2},
        labels=("$x$ (dimensionless)", "$y$ (dimensionless)"),
        invariants={"energy": energy},
    )
