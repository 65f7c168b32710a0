"""Point vortices in the plane.

    L = sum of G_i (x_i y_i' - y_i x_i')/2 - 1/(2 pi) sum over i < j of G_i G_j log r_ij

Source: Kirchhoff, Vorlesungen ueber Mechanik (1876), lecture 20; Aref, Annu. Rev. Fluid Mech. 15 (1983). Dimensionless.
L is linear in the velocities: the places alone are the state, and the circulations G_i are its structure. Method:
midpoint. Four vortices of one sign near the corners of a square, which turns once in some 27 time units. Invariants:
the energy; and the impulses sum of G x, sum of G y and sum of G r^2, which the midpoint rule conserves exactly.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from ..boundary import Initial
from ..grid import Grid
from ..symbols.cost import Cost
from ..system import System
from ..trajectory import Trajectory
from .case import TIME, Case, coordinates, energy

CIRCULATIONS = (1.0, 0.8, 1.2, 0.9)


def impulse_x(path: Trajectory) -> np.ndarray:
    """Sum of G x."""
    return path.q[..., 0::2] @ np.array(CIRCULATIONS)


def impulse_y(path: Trajectory) -> np.ndarray:
    """Sum of G y."""
    return path.q[..., 1::2] @ np.array(CIRCULATIONS)


def angular_impulse(path: Trajectory) -> np.ndarray:
    """Sum of G r^2."""
    return (path.q[..., 0::2]**2 + path.q[..., 1::2]**2) @ np.array(CIRCULATIONS)


def case() -> Case:
    """The cost wants the first vortex at a certain x."""
    names = coordinates("x0 y0 x1 y1 x2 y2 x3 y3")
    x, y = names[0::2], names[1::2]
    G, aim = sp.symbols("G0:4"), sp.Symbol("aim")
    structure = sum(g*(a*b.diff(TIME) - b*a.diff(TIME))/2 for g, a, b in zip(G, x, y, strict=True))
    pairs = [(i, j) for i in range(4) for j in range(i + 1, 4)]
    energies = (G[i]*G[j]*sp.log((x[i] - x[j])**2 + (y[i] - y[j])**2)/(4*sp.pi) for i, j in pairs)
    return Case(
        name="point_vortices",
        title="Four point vortices",
        formula="L = sum of G_i (x_i y_i' - y_i x_i')/2 - 1/(2 pi) sum of G_i G_j log r_ij",
        system=System(
            structure - sum(energies),
            names,
            parameters=dict(zip(G, CIRCULATIONS, strict=True)),
            name="point_vortices",
        ),
        start=Initial(q=[1.1, 0.0, 0.0, 1.0, -1.0, 0.1, 0.0, -0.9]),
        grid=Grid(1600, step=0.05),
        cost=Cost((x[0] - aim)**2/2, targets=[aim]),
        targets={aim: 0.0},
        labels=tuple(f"${name}_{number}$ (dimensionless)" for number in range(4) for name in "xy"),
        invariants={
            "energy": energy, "sum of G x": impulse_x, "sum of G y": impulse_y, "sum of G r^2": angular_impulse,
        },
        exact=("sum of G x", "sum of G y", "sum of G r^2"),
    )
