"""The harmonic oscillator.

    L = m q'^2/2 - k q^2/2

Source: Landau and Lifshitz, Mechanics, section 21. Method: Verlet, which conserves a quadratic form near the
energy exactly. Period 2 pi sqrt(m/k) = 6.9 by default, so 25 time units are 3.6 periods. Invariant: the energy.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from ..boundary import Initial
from ..grid import Grid
from ..symbols.cost import Cost
from ..system import System
from .case import TIME, Case, coordinates, energy


def case() -> Case:
    """Started at rest; the cost wants a slower and smaller oscillation."""
    (q,) = coordinates("q")
    m, k, aim = sp.symbols("m k aim")
    grid = Grid(1000, step=0.025)
    return Case(
        name="harmonic",
        title="Harmonic oscillator",
        formula="L = m q'^2/2 - k q^2/2",
        system=System(m*q.diff(TIME)**2/2 - k*q**2/2, [q], parameters={m: 1.2, k: 1.0}, name="harmonic"),
        start=Initial(q=[1.0], v=[0.0]),
        grid=grid,
        cost=Cost((q - aim)**2/2, targets=[aim]),
        targets={aim: 0.8*np.cos(0.85*grid.t)},
        labels=("$q$ (dimensionless)",),
        invariants={"energy": energy},
    )
