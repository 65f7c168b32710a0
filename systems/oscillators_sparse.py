"""A sparse network of coupled anharmonic oscillators.

    L = sum over nodes of (m x_i'^2/2 - k x_i^2/2 - a x_i^4/4) - sum over edges of c (x_i - x_j)^2/2

Source: the oscillator networks of López-Pastor and Marquardt, Phys. Rev. X 13 (2023) 031020. Method: Verlet. The 16
nodes lie on a ring with a chord from every other node to the one five further on, 24 edges. Own period near 6; 30
time units are five of them. All masses, stiffnesses and couplings are trained. Invariant: the energy.
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

NODES = 16


def edges() -> np.ndarray:
    """The pairs of coupled nodes, (24, 2)."""
    nodes = np.arange(NODES)
    ring = np.stack([nodes, (nodes + 1)%NODES], 1)
    chords = np.stack([nodes[::2], (nodes[::2] + 5)%NODES], 1)
    return np.concatenate([ring, chords])


def case() -> Case:
    """Four nodes are displaced at the start; the cost wants a sine at another one."""
    x, z = coordinates("x z")
    m, k, a, c, aim = sp.symbols("m k a c aim")
    nodes = np.arange(NODES)
    pairs = edges()
    start = np.zeros(NODES)
    start[:4] = 1.0, -0.6, 0.8, 0.3
    grid = Grid(1000, step=0.03)
    return Case(
        name="oscillators_sparse",
        title="Sparse network of oscillators",
        formula="L = sum (m x_i'^2/2 - k x_i^2/2 - a x_i^4/4) - sum over edges c (x_i - x_j)^2/2",
        system=System(
            [
                Term(m*x.diff(TIME)**2/2 - k*x**2/2 - a*x**4/4, on=[x], at=nodes),
                Term(-c*(x - z)**2/2, on=[x, z], at=pairs),
            ],
            size=NODES,
            parameters={
                m: 1 + 0.1*np.cos(nodes),
                k: 0.8 + 0.1*np.sin(nodes),
                a: np.full(NODES, 0.4),
                c: 0.3 + 0.1*np.cos(2.0*np.arange(len(pairs))),
            },
            name="oscillators_sparse",
        ),
        start=Initial(q=start, v=np.zeros(NODES)),
        grid=grid,
        cost=Cost((x - aim)**2/2, on=[x], at=[10], targets=[aim]),
        targets={aim: 0.3*np.sin(grid.t)},
        labels=site_labels(NODES),
        invariants={"energy": energy},
    )
