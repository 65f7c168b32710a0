"""The double pendulum: two point masses on two massless rods.

    L = (m1 + m2) l1^2 a'^2/2 + m2 l2^2 b'^2/2 + m2 l1 l2 a' b' cos(a - b) + (m1 + m2) g l1 cos(a) + m2 g l2 cos(b)

Source: Landau and Lifshitz, Mechanics, section 5, problem 1. SI units; a and b are the angles to the vertical.
The mass matrix depends on the angles, so the method is the midpoint rule. Released at rest from (0.5, 0.5) for
20 s: regular motion of periods near 2.6 s and 1.1 s. Invariant: the energy.
"""

from __future__ import annotations

from typing import Any

import sympy as sp

from ..boundary import Initial
from ..grid import Grid
from ..symbols.cost import Cost
from ..system import System
from .case import TIME, Case, coordinates, energy

FORMULA = (
    "L = (m1 + m2) l1^2 a'^2/2 + m2 l2^2 b'^2/2 + m2 l1 l2 a' b' cos(a - b) + (m1 + m2) g l1 cos(a) + m2 g l2 cos(b)"
)


def parts() -> dict[str, Any]:
    """What the regular and the chaotic case have in common."""
    a, b = coordinates("a b")
    va, vb = a.diff(TIME), b.diff(TIME)
    m1, m2, l1, l2, g, aim = sp.symbols("m1 m2 l1 l2 g aim")
    kinetic = (m1 + m2)*l1**2*va**2/2 + m2*l2**2*vb**2/2 + m2*l1*l2*va*vb*sp.cos(a - b)
    potential = -(m1 + m2)*g*l1*sp.cos(a) - m2*g*l2*sp.cos(b)
    return {
        "formula": FORMULA,
        "system": System(
            kinetic - potential,
            [a, b],
            parameters={m1: 1.0, m2: 1.0, l1: 1.0, l2: 1.0, g: 9.81},
            name="double_pendulum",
        ),
        "cost": Cost((sp.sin(b) - aim)**2/2, targets=[aim]),
        "targets": {aim: 0.2},
        "labels": ("$a$ (rad)", "$b$ (rad)"),
        "time_label": "$t$ (s)",
        "invariants": {"energy": energy},
    }


def case() -> Case:
    """Regular motion; the cost wants the lower rod to lean to one side."""
    return Case(
        name="double_pendulum",
        title="Double pendulum, regular",
        start=Initial(q=[0.5, 0.5], v=[0.0, 0.0]),
        grid=Grid(2000, duration=20.0),
        **parts(),
    )
