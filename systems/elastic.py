"""An elastic network in the plane: springs between nodes that are free to move at any angle.

    E = sum over springs of k_e (|r_i - r_j| - l_e)^2/2

Source: as for the flow network, Stern et al. (2021). Coordinates are x_0, y_0, x_1, y_1, ...; three corners are held,
one of them displaced by the input, and the cost wants another node to move in answer. Stiffnesses and rest lengths are
trained. The unstretched lattice is where the search begins. Lengths in units of the lattice.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from ..boundary import Equilibrium
from ..symbols.cost import Cost
from ..symbols.terms import Term
from ..system import System
from .case import StaticCase, coordinates

NODES = np.array([[i + 0.5*(j % 2), j*np.sqrt(3)/2] for j in range(3) for i in range(3)])  # a triangular lattice
EDGES = np.array([(i, j) for i in range(9) for j in range(i + 1, 9)
                  if np.linalg.norm(NODES[i] - NODES[j]) < 1.01])  # fmt: skip
SPRINGS = np.stack([2*EDGES[:, 0], 2*EDGES[:, 0] + 1, 2*EDGES[:, 1], 2*EDGES[:, 1] + 1], 1)
HELD, OUTPUT = np.array([0, 1, 4, 5, 12, 13]), np.array([16, 17])


def case() -> StaticCase:
    """Two displacements of the lower left corner, answered by the upper right one."""
    a, b, c, d = coordinates("a b c d")
    k, l, u, y = sp.symbols("k l u y")
    rest, number = NODES.ravel(), np.arange(len(EDGES))
    displaced = np.tile(rest[HELD], (2, 1))
    displaced[0, 0] += 0.15
    displaced[1, 1] += 0.1
    return StaticCase(
        name="elastic",
        title="Elastic network",
        formula="E = sum over springs k (|r_i - r_j| - l)^2/2",
        system=System(
            energy=[Term(k*(sp.sqrt((a - c)**2 + (b - d)**2) - l)**2/2, on=[a, b, c, d], at=SPRINGS)],
            size=18,
            parameters={k: 1.0 + 0.3*np.sin(2.0 + 1.3*number), l: 1.0 + 0.02*np.cos(0.7*number)},
            clamped={u: HELD},
            name="elastic",
        ),
        start=Equilibrium(rest, tolerance=1e-12),
        cost=Cost((a - y)**2/2, on=[a], at=OUTPUT, targets=[y]),
        targets={y: rest[OUTPUT] + np.array([[-0.05, 0.02], [0.0, 0.05]])},
        inputs={u: displaced},
        labels=tuple(f"${axis}_{{{node}}}$ (lattice units)" for node in range(9) for axis in "xy"),
    )
