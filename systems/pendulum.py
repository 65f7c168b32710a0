"""The plane pendulum.

    L = m l^2 theta'^2/2 + m g l cos(theta)

Source: Landau and Lifshitz, Mechanics, section 5. SI units. Method: Verlet. Started at 2 rad, where the period is
2.7 s, so 10 s are 3.7 periods. The motion does not depend on the mass: dJ/dm = 0. Invariant: the energy.
"""

from __future__ import annotations

import sympy as sp

from ..boundary import Initial
from ..grid import Grid
from ..symbols.cost import Cost
from ..system import System
from .case import TIME, Case, coordinates, energy


def case() -> Case:
    """The cost compares the height of the bob with a wanted one, and so is smooth in full turns too."""
    (theta,) = coordinates("theta")
    m, l, g, aim = sp.symbols("m l g aim")
    return Case(
        name="pendulum",
        title="Plane pendulum",
        formula="L = m l^2 theta'^2/2 + m g l cos(theta)",
        system=System(
            m*l**2*theta.diff(TIME)**2/2 + m*g*l*sp.cos(theta),
            [theta],
            parameters={m: 1.0, l: 1.0, g: 9.81},
            name="pendulum",
        ),
        start=Initial(q=[2.0], v=[0.0]),
        grid=Grid(1000, step=0.01),
        cost=Cost((sp.cos(theta) - aim)**2/2, targets=[aim]),
        targets={aim: 0.5},
        labels=(r"$\theta$ (rad)",),
        time_label="$t$ (s)",
        invariants={"energy": energy},
    )
