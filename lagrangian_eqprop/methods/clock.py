"""Times and steps of equidistant nodes; ``clock_substeps`` has the same functions for sub-steps of any length."""

from __future__ import annotations

from ..compiler.contract import Environment
from ..compiler.kernel import kernel


@kernel
def node_time(env: Environment, j: int) -> float:
    """t_j."""
    return env.signals[0] + j*env.signals[1]


@kernel
def middle_time(env: Environment, j: int) -> float:
    """The middle of the interval from node j to node j + 1."""
    return env.signals[0] + (j + 0.5)*env.signals[1]


@kernel
def step_of(env: Environment, j: int) -> float:
    """h_j, from node j to node j + 1."""
    return env.signals[1]
