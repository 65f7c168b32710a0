"""A network of pipes: pressures at its nodes, conductances of its edges; resistors are the same.

    E = sum over edges of g_e (p_i - p_j)^2/2, half of the power that is dissipated

Source: Stern, Hexner, Rocks and Liu, Phys. Rev. X 11 (2021) 021045, who train such networks by coupled learning (see
``lagrangian_eqprop.analysis.coupled_learning``). Two nodes hold given pressures, the cost wants pressures at two
others. All pressures are dimensionless.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from ..boundary import Equilibrium
from ..symbols.cost import Cost
from ..symbols.terms import Term
from ..system import System
from .case import StaticCase, coordinates

EDGES = np.array([[0, 2], [0, 3], [2, 3], [2, 4], [3, 5], [4, 5], [4, 6], [5, 7], [6, 7], [6, 1], [7, 1], [3, 4]])
SOURCES, OUTPUTS = np.array([0, 1]), np.array([4, 7])


def case() -> StaticCase:
    """Three pairs of pressures at the sources, and what the outputs should make of them."""
    x, z = coordinates("x z")
    g, u, y = sp.symbols("g u y")
    drive = np.array([[1.0, 0.0], [0.5, -0.5], [-0.2, 0.8]])
    return StaticCase(
        name="flow",
        title="Flow network",
        formula="E = sum over edges g (p_i - p_j)^2/2",
        system=System(
            energy=[Term(g*(x - z)**2/2, on=[x, z], at=EDGES)],
            size=8,
            parameters={g: 1.0 + 0.4*np.sin(1.0 + 1.7*np.arange(len(EDGES)))},
            clamped={u: SOURCES},
            name="flow",
        ),
        start=Equilibrium(tolerance=1e-12),
        cost=Cost((x - y)**2/2, on=[x], at=OUTPUTS, targets=[y]),
        targets={y: drive @ np.array([[0.8, 0.3], [0.2, 0.7]])},
        inputs={u: drive},
        labels=tuple(f"$p_{{{node}}}$ (dimensionless)" for node in range(8)),
    )
