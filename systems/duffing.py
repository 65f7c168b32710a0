"""The Duffing oscillator, driven by an input u.

    L = m q'^2/2 - k q^2/2 - a q^4/4 + u(t) q

Source: Duffing, Erzwungene Schwingungen bei veränderlicher Eigenfrequenz (1918), here without damping. Method:
Verlet, which reads the drive at the nodes. Period near 5.5 by default, so 25 time units are more than four
periods. The drive depends on time, so nothing is conserved.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from ..boundary import Initial
from ..grid import Grid
from ..symbols.cost import Cost
from ..system import System
from .case import TIME, Case, coordinates


def drive(t: np.ndarray) -> np.ndarray:
    """The default input."""
    return 0.3*np.cos(1.3*t)


def case() -> Case:
    """The cost wants the oscillator to follow a slower sine than its own."""
    (q,) = coordinates("q")
    m, k, a, u, aim = sp.symbols("m k a u aim")
    grid = Grid(1000, step=0.025)
    return Case(
        name="duffing",
        title="Driven Duffing oscillator",
        formula="L = m q'^2/2 - k q^2/2 - a q^4/4 + u(t) q",
        system=System(
            m*q.diff(TIME)**2/2 - k*q**2/2 - a*q**4/4 + u*q,
            [q],
            parameters={m: 1.3, k: 0.8, a: 0.4},
            inputs=[u],
            name="duffing",
        ),
        start=Initial(q=[0.7], v=[0.1]),
        grid=grid,
        cost=Cost((q - aim)**2/2, targets=[aim]),
        targets={aim: 0.5*np.sin(0.7*grid.t)},
        inputs={u: drive},
        labels=("$q$ (dimensionless)",),
    )
