"""The double pendulum with enough energy for chaos.

The system of :mod:`lagrangian_eqprop.systems.double_pendulum`, started at (2, 1) with velocities (0.3, -0.2), for
10 s: neighbouring trajectories part exponentially, and gradients grow with them. Invariant: the energy.
"""

from __future__ import annotations

from ..boundary import Initial
from ..grid import Grid
from .case import Case
from .double_pendulum import parts


def case() -> Case:
    """Chaotic motion; the cost of the regular case."""
    return Case(
        name="double_pendulum_chaotic",
        title="Double pendulum, chaotic",
        start=Initial(q=[2.0, 1.0], v=[0.3, -0.2]),
        grid=Grid(2000, duration=10.0),
        **parts(),
    )
