"""Predator and prey, in the logarithms of their numbers.

    L = p q' - H,   H = a p - b e^p + c q - d e^q,   q = log x, p = log y

so that x' = x (a - b y) and y' = y (d x - c). Source: Hairer, Lubich and Wanner (2006), section I.1.1.
Dimensionless. L is linear in the velocities: q and p together are the state. Method: midpoint. The period
is near 5 at this amplitude. Invariant: the energy H.
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
    """The cost wants a certain number of prey."""
    q, p = coordinates("q p")
    a, b, c, d, aim = sp.symbols("a b c d aim")
    return Case(
        name="lotka_volterra",
        title="Lotka-Volterra",
        formula="L = p q' - a p + b e^p - c q + d e^q",
        system=System(
            p*q.diff(TIME) - a*p + b*sp.exp(p) - c*q + d*sp.exp(q),
            [q, p],
            parameters={a: 1.5, b: 1.0, c: 1.2, d: 1.0},
            name="lotka_volterra",
        ),
        start=Initial(q=np.log([1.0, 0.6])),
        grid=Grid(1000, step=0.025),
        cost=Cost((sp.exp(q) - aim)**2/2, targets=[aim]),
        targets={aim: 1.0},
        labels=(r"$\log x$", r"$\log y$"),
        invariants={"energy": energy},
    )
