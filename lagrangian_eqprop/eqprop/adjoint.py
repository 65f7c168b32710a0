"""The classical discrete adjoint, to compare with: reverse accumulation through the stored free path.

With lambda_k = dJ/d(q_k, p_k): lambda_N = w_N c_q, then lambda_k = (d step_k)^T lambda_{k+1} + w_k c_q. It is
written apart from the echo and shares only the derivatives of single terms with it. Its memory grows with
the number of steps. Source: Hairer, Lubich and Wanner (2006), section VI.9; Griewank and Walther (2008).
"""

from __future__ import annotations

from numpy import ndarray

from ..compiler.contract import Environment, cost_gradient
from ..compiler.kernel import entry
from ..methods.clock import node_time
from ..methods.verlet import new_work, prepare
from ..methods.verlet_adjoint import adjoint_step


@entry
def adjoint(
    env: Environment, count: int, nodes: ndarray, lq: ndarray, lp: ndarray, g: ndarray, good: ndarray, last: bool
) -> None:
    """Back over one block of stored nodes (samples, count+1, d)."""
    work = new_work(env, lq[0])
    for b in range(nodes.shape[0]):
        if not good[b]:
            continue
        prepare(env, b, nodes[b, 0], nodes[b, 0], work)
        if last:
            cost_gradient(env, b, count, node_time(env, count), nodes[b, count], lq[b], 1.0)
        for k in range(count - 1, -1, -1):
            adjoint_step(env, b, k, nodes[b, k], nodes[b, k + 1], lq[b], lp[b], g, work)
            cost_gradient(env, b, k, node_time(env, k), nodes[b, k], lq[b], 1.0)
