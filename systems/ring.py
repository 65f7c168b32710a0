"""The Toda lattice on a ring.

    L = sum of m x_i'^2/2 - sum of a (exp(-b r) + b r - 1),   r = x_{i+1} - x_i

Source: Toda, J. Phys. Soc. Japan 22 (1967) 431. Method: Verlet. 12 masses; small oscillations have the longest period
12.1, and the default is a pulse that runs around the ring, which drifts slowly; 60 time units are five periods. Every
spring has a strength a of its own to train. Invariants: the energy, and the total momentum, which Verlet conserves
exactly.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from ..boundary import Initial
from ..grid import Grid
from ..symbols.cost import Cost
from ..symbols.terms import Term
from ..system import System
from .case import TIME, Case, coordinates, energy, site_labels, total_momentum

SITES = 12


def case() -> Case:
    """The cost wants two neighbours at a given distance."""
    x, z = coordinates("x z")
    m, a, b, aim = sp.symbols("m a b aim")
    sites = np.arange(SITES)
    r = z - x
    return Case(
        name="ring",
        title="Toda lattice on a ring",
        formula="L = sum m x_i'^2/2 - sum a (exp(-b r) + b r - 1),  r = x_(i+1) - x_i",
        system=System(
            [
                Term(m*x.diff(TIME)**2/2, on=[x], at=sites),
                Term(-a*(sp.exp(-b*r) + b*r - 1), on=[x, z], at=np.stack([sites, np.roll(sites, -1)], 1)),
            ],
            size=SITES,
            parameters={m: 1.0, a: np.ones(SITES), b: 1.0},
            name="ring",
        ),
        start=Initial(q=np.zeros(SITES), v=1.5*np.exp(-(sites - 3.0)**2) - 0.2),
        grid=Grid(1200, step=0.05),
        cost=Cost((r - aim)**2/2, on=[x, z], at=[[8, 9]], targets=[aim]),
        targets={aim: 0.1},
        labels=site_labels(SITES),
        invariants={"energy": energy, "total momentum": total_momentum},
        exact=("total momentum",),
    )
