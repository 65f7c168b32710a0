"""An oscillator Ising machine: coupled phases that a second harmonic drives towards 0 or pi.

    E = -sum over pairs of J_ij cos(f_i - f_j) - sum of h_i cos f_i - sum of (S/2) cos 2 f_i

Source: Wang and Roychowdhury, Unconventional Computation and Natural Computation (2019) 232, for the machine. Four
input phases between 0 and pi (shades of grey) are held; five hidden and two output phases are free, in layers.
Couplings, fields and the strength S of the synchronisation are trained. Were every input 0 or pi, so could be every
phase at rest, and the slope of the cost there would vanish: nothing would be learned.
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

INPUTS, HIDDEN, OUTPUTS = np.arange(4), np.arange(4, 9), np.arange(9, 11)


def case() -> StaticCase:
    """Three patterns of four shades; the outputs should be opposite."""
    x, z = coordinates("x z")
    J, K, h, S, u, y = sp.symbols("J K h S u y")
    shades = np.array([[0.9, 0.7, 0.1, 0.3], [0.8, 0.2, 0.9, 0.1], [0.1, 0.3, 0.6, 0.8]])
    return StaticCase(
        name="oscillator_ising",
        title="Oscillator Ising machine",
        formula="E = -sum over pairs J cos(f_i - f_j) - sum h cos f - sum S/2 cos 2f",
        system=System(
            energy=[
                Term(-J*sp.cos(x - z), on=[x, z], at=AllPairs(INPUTS, HIDDEN)),
                Term(-K*sp.cos(x - z), on=[x, z], at=AllPairs(HIDDEN, OUTPUTS)),
                Term(-h*sp.cos(x) - S*sp.cos(2*x)/2, on=[x], at=np.arange(4, 11)),
            ],
            size=11,
            parameters={J: couplings(4, 5, 0.5), K: couplings(5, 2, 0.6), h: 0.3*np.cos(1.0 + np.arange(7)), S: 0.25},
            clamped={u: INPUTS},
            name="oscillator_ising",
        ),
        start=Equilibrium(0.4, tolerance=1e-12),
        cost=Cost(1 - sp.cos(x - y), on=[x], at=OUTPUTS, targets=[y]),
        targets={y: np.array([0.0, np.pi])},
        inputs={u: np.pi*shades},
        labels=tuple(rf"$\varphi_{{{node}}}$ (rad)" for node in range(11)),
    )
