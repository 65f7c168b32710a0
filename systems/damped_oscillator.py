"""A damped oscillator, by the exponentially weighted action.

    L = e^(gamma t) (m q'^2/2 - k q^2/2)

Source: Caldirola (1941), Kanai (1948). Method: Verlet, its weight that of the middle of each interval. With k/m = 1 and
gamma = 0.1 the period is 6.29, so 40 time units are more than six, in which the energy falls to e^-4. What is conserved
is e^(gamma t) (m v^2/2 + k q^2/2 + gamma m q v/2).
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from ..boundary import Initial
from ..grid import Grid
from ..symbols.cost import Cost
from ..system import System
from ..trajectory import Trajectory
from .case import TIME, Case, coordinates

RATE = 0.1


def grown_energy(path: Trajectory) -> np.ndarray:
    """e^(gamma t) (m v^2/2 + k q^2/2) + gamma q p/2, for the default rate."""
    return np.exp(RATE*path.t)*path.energy + 0.5*RATE*(path.q*path.p).sum(-1)


def case() -> Case:
    """The cost wants the oscillator to follow one that is damped twice as much."""
    (q,) = coordinates("q")
    m, k, gamma, aim = sp.symbols("m k gamma aim")
    grid = Grid(1600, step=0.025)
    return Case(
        name="damped_oscillator",
        title="Damped oscillator (Caldirola-Kanai)",
        formula="L = e^(gamma t) (m q'^2/2 - k q^2/2)",
        system=System(
            m*q.diff(TIME)**2/2 - k*q**2/2, [q], parameters={m: 1.0, k: 1.0, gamma: RATE}, damping=gamma,
            name="damped_oscillator",
        ),
        start=Initial(q=[1.0], v=[0.0]),
        grid=grid,
        cost=Cost((q - aim)**2/2, targets=[aim]),
        targets={aim: np.exp(-RATE*grid.t)*np.cos(grid.t)},
        labels=("$q$ (dimensionless)",),
        invariants={"energy grown back": grown_energy},
    )  # fmt: skip
