"""A ring of sites with the discrete nonlinear Schroedinger equation, psi = u + i w.

    L = sum of (w u' - u w') - C |psi_{i+1} - psi_i|^2 - g |psi_i|^4/2 - V_i |psi_i|^2

so that i psi' = dH/dpsi*. Source: Kevrekidis, The Discrete Nonlinear Schroedinger Equation (2009), chapter 1.
Dimensionless; the coordinates are u_0, w_0, u_1, w_1, ... L is linear in the velocities: u and w are the state. Method:
midpoint. Eight sites, a wave packet in a shallow random potential; the potential of each site is to be trained.
Invariants: the energy; and the norm, sum of |psi|^2, which the midpoint rule conserves exactly.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from ..boundary import Initial
from ..grid import Grid
from ..symbols.cost import Cost
from ..symbols.terms import Term
from ..system import System
from ..trajectory import Trajectory
from .case import TIME, Case, coordinates, energy

SITES = 8


def norm(path: Trajectory) -> np.ndarray:
    """Sum of |psi|^2."""
    return (path.q**2).sum(-1)


def case() -> Case:
    """The cost wants |psi|^2 of one site to have a certain value."""
    u, w, a, b = coordinates("u w a b")
    C, g, V, aim = sp.symbols("C g V aim")
    sites = np.arange(SITES)
    here = np.stack([2*sites, 2*sites + 1], 1)
    density = u**2 + w**2
    psi = np.exp(-((sites - 3.5)/1.5)**2 + 1j*np.pi/4*sites)
    return Case(
        name="nls_lattice",
        title="Nonlinear Schroedinger lattice",
        formula="L = sum of (w u' - u w') - C |psi_{i+1} - psi_i|^2 - g |psi_i|^4/2 - V_i |psi_i|^2",
        system=System(
            [
                Term(w*u.diff(TIME) - u*w.diff(TIME) - g*density**2/2 - V*density, on=[u, w], at=here),
                Term(-C*((u - a)**2 + (w - b)**2), on=[u, w, a, b], at=np.hstack([here, np.roll(here, -1, 0)])),
            ],
            size=2*SITES,
            parameters={C: 1.0, g: 0.5, V: 0.1*np.cos(2.4*sites)},
            name="nls_lattice",
        ),
        start=Initial(q=np.stack([psi.real, psi.imag], 1).ravel()),
        grid=Grid(1000, step=0.02),
        cost=Cost((density - aim)**2/2, targets=[aim], on=[u, w], at=[[6, 7]]),
        targets={aim: 0.5},
        labels=tuple(f"${name}_{{{site}}}$ (dimensionless)" for site in sites for name in "uw"),
        invariants={"energy": energy, "norm": norm},
        exact=("norm",),
    )
