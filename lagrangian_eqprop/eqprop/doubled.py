"""The gradient in doubled variables, for a path with forces that no Lagrangian gives.

Equilibrium propagation on the action of two copies of the path, L(q_1) - L(q_2) + K (Galley, Phys. Rev. Lett. 110,
174301, 2013), nudges their mean by the cost; the copies agree at the final time. To first order in beta the mean is the
free path q and the difference q_1 - q_2 = -beta w, with W the virtual work of ``methods.midpoint_forced``:

    J(q) + W(q, w; theta) stationary in q,   w_N = 0
    dJ/dtheta = d_theta W + explicit part,   dJ/dp_0 = w_0,   dJ/dq_0 = dJ/dq + dW/dq at node 0

That is a linear sweep back along the free path, for any force, and the free path is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy import ndarray

from ..compiler.contract import Environment, cost_gradient
from ..compiler.kernel import entry
from ..methods.common import node_time
from ..methods.midpoint import new_work, prepare
from ..methods.midpoint_forced import virtual_step
from ..solvers.problem import Problem
from .radius import Parts

if TYPE_CHECKING:
    from .initial import FreeRun


@entry
def sweep(
    env: Environment, count: int, nodes: ndarray, w: ndarray, r: ndarray, g: ndarray, good: ndarray, last: bool
) -> None:
    """Back over one block of stored nodes (samples, count+1, d)."""
    work = new_work(env, w[0])
    for b in range(nodes.shape[0]):
        if not good[b]:
            continue
        prepare(env, b, nodes[b, 0], nodes[b, 0], work)
        if last:
            cost_gradient(env, b, count, node_time(env, count), nodes[b, count], r[b], -1.0)
        for k in range(count - 1, -1, -1):
            virtual_step(env, b, k, nodes[b, k], nodes[b, k + 1], w[b], r[b], g, work)
            cost_gradient(env, b, k, node_time(env, k), nodes[b, k], r[b], -1.0)


def doubled(problem: Problem, free: FreeRun) -> Parts:
    """The sweep of all samples."""
    w, r, g = np.zeros_like(free.q), np.zeros_like(free.q), np.zeros_like(problem.theta)
    blocks = list(problem.each_block(free.q.size))
    for (first, count), nodes in zip(blocks[::-1], free.nodes[::-1], strict=True):
        env = problem.env(first, count)
        problem.run("sweep", env, count, nodes, w, r, g, free.failures.good, first + count == problem.grid.steps)
    return Parts(g, -r, w)
