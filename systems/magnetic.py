"""A charged particle in a magnetic field that grows outwards, with a weak electric trap.

    L = m v^2/2 + e A.v - e phi,   A = B (1 + b r^2/2) (-y, x)/2,   phi = c r^2/2,   r^2 = x^2 + y^2

so that the field is curl A = B (1 + b r^2), along z. Source: Landau and Lifshitz, The Classical Theory of Fields,
sections 16 and 21. L is linear in the velocity with coefficients that depend on the place, so the method is the
midpoint rule. The gyration has a period near 3, its centre drifts around the axis; 30 time units are ten gyrations.
At fixed velocity, the motion depends on e/m alone: m dJ/dm + e dJ/de = 0. Invariants: the energy, and the canonical
angular momentum x p_y - y p_x, which the midpoint rule conserves exactly.
"""

from __future__ import annotations

import sympy as sp

from ..boundary import Initial
from ..grid import Grid
from ..symbols.cost import Cost
from ..system import System
from .case import TIME, Case, angular_momentum, coordinates, energy


def case() -> Case:
    """The cost wants the particle near a line x = constant."""
    x, y = coordinates("x y")
    vx, vy = x.diff(TIME), y.diff(TIME)
    m, e, B, b, c, aim = sp.symbols("m e B b c aim")
    r2 = x**2 + y**2
    magnetic = e*B*(1 + b*r2/2)*(x*vy - y*vx)/2
    return Case(
        name="magnetic",
        title="Charged particle in a magnetic field",
        formula="L = m v^2/2 + e B (1 + b r^2/2) (x y' - y x')/2 - e c r^2/2",
        system=System(
            m*(vx**2 + vy**2)/2 + magnetic - e*c*r2/2,
            [x, y],
            parameters={m: 1.0, e: 1.0, B: 1.5, b: 0.3, c: 0.2},
            name="magnetic",
        ),
        start=Initial(q=[1.0, 0.0], v=[0.0, 0.8]),
        grid=Grid(1000, step=0.03),
        cost=Cost((x - aim)**2/2, targets=[aim]),
        targets={aim: 0.5},
        labels=("$x$ (dimensionless)", "$y$ (dimensionless)"),
        invariants={"energy": energy, "angular momentum": angular_momentum},
        exact=("angular momentum",),
    )
