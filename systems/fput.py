"""The Fermi-Pasta-Ulam-Tsingou chain between two walls.

    L = sum over sites of m x_i'^2/2 - sum over springs of (k r^2/2 + a r^3/3 + b r^4/4),   r = x_{i+1} - x_i

Source: Fermi, Pasta, Ulam and Tsingou, Los Alamos report LA-1940 (1955). Method: Verlet. 32 sites start at rest in
the lowest mode, of period 66; 240 time units are 3.6 periods, in which the cubic term hands energy on to the second
mode and the next. Every inner spring has a stiffness of its own to train, the two at the walls have one together.
Invariant: the energy.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from ..boundary import Initial
from ..grid import Grid
from ..symbols.cost import Cost
from ..symbols.terms import Term
from ..system import System
from .case import TIME, Case, coordinates, energy, site_labels

SITES = 32


def case() -> Case:
    """The cost wants the middle of the chain at rest."""
    x, z = coordinates("x z")
    m, k, k_wall, a, b, aim = sp.symbols("m k k_wall a b aim")

    def spring(stiffness: sp.Symbol, r: sp.Expr) -> sp.Expr:
        return -stiffness*r**2/2 - a*r**3/3 - b*r**4/4

    sites = np.arange(SITES)
    lowest = np.sin(np.pi*(sites + 1)/(SITES + 1))
    return Case(
        name="fput",
        title="Fermi-Pasta-Ulam-Tsingou chain",
        formula="L = sum m x_i'^2/2 - sum (k r^2/2 + a r^3/3 + b r^4/4),  r = x_(i+1) - x_i",
        system=System(
            [
                Term(m*x.diff(TIME)**2/2, on=[x], at=sites),
                Term(spring(k, z - x), on=[x, z], at=np.stack([sites[:-1], sites[1:]], 1)),
                Term(spring(k_wall, x), on=[x], at=[0]),
                Term(spring(k_wall, -x), on=[x], at=[SITES - 1]),
            ],
            size=SITES,
            parameters={m: 1.0, k: np.ones(SITES - 1), k_wall: 1.0, a: 0.25, b: 0.1},
            name="fput",
        ),
        start=Initial(q=lowest, v=np.zeros(SITES)),
        grid=Grid(1200, step=0.2),
        cost=Cost((x - aim)**2/2, on=[x], at=[SITES//2], targets=[aim]),
        targets={aim: 0.0},
        labels=site_labels(SITES),
        invariants={"energy": energy},
    )
