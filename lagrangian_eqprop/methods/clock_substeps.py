"""Times and steps of the nodes of a composition, read from a table: the functions of ``clock`` for it."""

from __future__ import annotations

from ..compiler.contract import Environment
from ..compiler.kernel import kernel


@kernel
def node_time(env: Environment, j: int) -> float:
    """t_j."""
    return env.signals[env.table[4] + j]


@kernel
def step_of(env: Environment, j: int) -> float:
    """h_j, from node j to node j + 1; it may be negative."""
    return env.signals[env.table[4] + env.table[0] + j]


@kernel
def middle_time(env: Environment, j: int) -> float:
    """The middle of the interval from node j to node j + 1."""
    return node_time(env, j) + 0.5*step_of(env, j)
