"""Coupled phases: the XY model, where Kuramoto oscillators of one frequency lock.

    E = -sum over pairs of J_ij cos(f_i - f_j) - sum over nodes of h_i cos(f_i - psi_i)

Source: Wang, Wanjura and Marquardt, Neuromorph. Comput. Eng. 4 (2024) 034014, who train them by equilibrium
propagation. Five phases, all coupled with each other: two hold the inputs, -pi/2 or pi/2, and the last one should
answer with their exclusive or, pi/2 for true; the targets are phases too. Couplings, fields and their directions are
trained. The cost -log(1 + 0.01 + cos(f - y)), up to a constant, is theirs with another small number: unlike
1 - cos(f - y) it is steep where an answer is quite wrong, so that no case is given up.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from ..boundary import Equilibrium
from ..symbols.cost import Cost
from ..symbols.terms import AllPairs, Term
from ..system import System
from .case import StaticCase, coordinates
from .oscillators_dense import couplings

BITS = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])
NODES = 5
CORNER = sp.Rational(1, 100)


def case() -> StaticCase:
    """All four cases of the exclusive or, as a batch."""
    x, z = coordinates("x z")
    J, h, psi, u, y = sp.symbols("J h psi u y")
    free = np.arange(2, NODES)
    return StaticCase(
        name="phases",
        title="Coupled phases learning the exclusive or",
        formula="E = -sum over pairs J cos(f_i - f_j) - sum h cos(f - psi)",
        system=System(
            energy=[
                Term(-J*sp.cos(x - z), on=[x, z], at=AllPairs(np.arange(NODES))),
                Term(-h*sp.cos(x - psi), on=[x], at=free),
            ],
            size=NODES,
            parameters={J: couplings(NODES, NODES, 1.0), h: [0.9, 0.6, 0.8], psi: [0.3, -0.5, 1.1]},
            clamped={u: np.arange(2)},
            name="phases",
        ),
        start=Equilibrium(0.1, tolerance=1e-12),
        cost=Cost(-sp.log((1 + CORNER + sp.cos(x - y))/(2 + CORNER)), on=[x], at=[NODES - 1], targets=[y]),
        targets={y: -np.pi/2*BITS.prod(1, keepdims=True)},
        inputs={u: np.pi/2*BITS},
        labels=tuple(rf"$\varphi_{{{node}}}$ (rad)" for node in range(NODES)),
    )
