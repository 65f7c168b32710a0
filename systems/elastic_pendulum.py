"""The elastic pendulum: a bob on a spring, swinging in a plane.

    L = m (r'^2 + r^2 theta'^2)/2 + m g r cos(theta) - k (r - l)^2/2

Source: Vitt and Gorelik, J. Tech. Phys. (USSR) 3 (1933) 294; Lynch, Int. J. Non-Linear Mech. 37 (2002) 345. SI units.
The mass matrix depends on r, so the method is the midpoint rule. With k = 3 m g/l, the default, the spring is in
2:1 resonance with the swing, and the energy wanders from one to the other and back. Periods 1.2 s and 2.3 s; 20 s.
Invariant: the energy.
"""

from __future__ import annotations

import sympy as sp

from ..boundary import Initial
from ..grid import Grid
from ..symbols.cost import Cost
from ..system import System
from .case import TIME, Case, coordinates, energy


def case() -> Case:
    """Stretched, and hardly off the vertical; the cost wants the length of the spring to stay."""
    r, theta = coordinates("r theta")
    m, k, l, g, aim = sp.symbols("m k l g aim")
    kinetic = m*(r.diff(TIME)**2 + r**2*theta.diff(TIME)**2)/2
    potential = k*(r - l)**2/2 - m*g*r*sp.cos(theta)
    return Case(
        name="elastic_pendulum",
        title="Elastic pendulum in 2:1 resonance",
        formula="L = m (r'^2 + r^2 theta'^2)/2 + m g r cos(theta) - k (r - l)^2/2",
        system=System(
            kinetic - potential, [r, theta], parameters={m: 1.0, k: 29.43, l: 1.0, g: 9.81}, name="elastic_pendulum"
        ),
        start=Initial(q=[1.6, 0.1], v=[0.0, 0.0]),
        grid=Grid(2000, step=0.01),
        cost=Cost((r - aim)**2/2, targets=[aim]),
        targets={aim: 4/3},
        labels=("$r$ (m)", r"$\theta$ (rad)"),
        time_label="$t$ (s)",
        invariants={"energy": energy},
    )
