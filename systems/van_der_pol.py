"""The van der Pol oscillator, whose damping feeds small oscillations and brakes large ones.

    L = q'^2/2 - k q^2/2,   R = mu (q^2 - 1) q'^2/2,   so that   q'' + mu (q^2 - 1) q' + k q = 0

Source: van der Pol, On relaxation-oscillations, Phil. Mag. 2 (1926). Method: midpoint with the forces of R. With mu = k
= 1 the limit cycle has the period 6.663 and the amplitude 2.009, so 30 time units are more than four periods. Nothing
is conserved.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from ..boundary import Initial
from ..grid import Grid
from ..symbols.cost import Cost
from ..system import System
from .case import TIME, Case, coordinates


def case() -> Case:
    """The cost wants the limit cycle to be slower than it is."""
    (q,) = coordinates("q")
    k, mu, aim = sp.symbols("k mu aim")
    v, grid = q.diff(TIME), Grid(1500, step=0.02)
    return Case(
        name="van_der_pol",
        title="Van der Pol oscillator",
        formula="L = q'^2/2 - k q^2/2, with R = mu (q^2 - 1) q'^2/2",
        system=System(
            v**2/2 - k*q**2/2, [q], parameters={k: 1.0, mu: 1.0}, rayleigh=mu*(q**2 - 1)*v**2/2, name="van_der_pol"
        ),
        start=Initial(q=[0.5], v=[0.0]),
        grid=grid,
        cost=Cost((q - aim)**2/2, targets=[aim]),
        targets={aim: 2*np.cos(0.8*grid.t)},
        labels=("$q$ (dimensionless)",),
    )
