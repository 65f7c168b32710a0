"""Störmer-Verlet in fixed-point numbers: a way back that returns to the last bit, however long the run.

Positions and momenta are whole numbers Q and P of small units, q = r Q and p = s P. A step is half a kick, a drift and
half a kick, each rounded to whole units:

    kick    P += round(h/2 F(r Q)/s)
    drift   Q += round(h s P/(m r))

A kick is a function of Q alone and a drift one of P alone, rounding is symmetric in the sign, and the sum of whole
numbers has no error: the step with -h takes away what the step with h has added. Source: Levesque and Verlet, Journal
of Statistical Physics 72 (1993) 519, who do so for the two-step form.
"""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from ..compiler.contract import Environment, cost_gradient, force, force_response, mass_parameters
from ..compiler.kernel import entry
from .clock import node_time
from .common import clear
from .verlet import new_work, prepare


@entry
def fixed_steps(
    env: Environment, count: int, way: int, r: float, s: ndarray, limit: float, Q: ndarray, P: ndarray,
    nodes_q: ndarray, nodes_p: ndarray, failed: ndarray, residual: ndarray,
) -> None:  # fmt: skip
    """``count`` steps over a block, from its first node (way 1) or back from its last (way -1); all its nodes.

    Both ways run the same instructions: the same force to the last bit. A sample fails where a number would pass
    ``limit``.
    """
    work = new_work(env, nodes_q[0, 0])
    m, F, q, h, first = work[0], work[1], work[3], way*env.signals[1], count*(1 - way)//2
    for b in range(Q.shape[0]):
        if failed[b] >= 0:
            continue
        prepare(env, b, nodes_q[b, 0], nodes_q[b, 0], work)
        for i in range(count + 1):
            j = first + way*i
            for a in range(q.shape[0]):
                q[a] = r*Q[b, a]
                F[a] = 0.0
                nodes_q[b, j, a] = q[a]
            force(env, b, j, node_time(env, j), q, F)
            for a in range(q.shape[0]):
                kick = np.rint(0.5*h*F[a]/s[a])
                if not abs(kick) + abs(P[b, a]) < 0.5*limit:  # both halves will fit
                    failed[b] = j
                    residual[b] = limit if abs(kick) < np.inf else np.inf
                    break
                if i > 0:
                    P[b, a] += np.int64(kick)
                nodes_p[b, j, a] = s[a]*P[b, a]
                if i < count:
                    P[b, a] += np.int64(kick)
                    drift = np.rint(h*(s[a]*P[b, a])/(m[a]*r))
                    if not abs(drift) + abs(Q[b, a]) < limit:
                        failed[b] = j
                        residual[b] = limit
                        break
                    Q[b, a] += np.int64(drift)
            if failed[b] >= 0:
                break


@entry
def fixed_response(
    env: Environment, count: int, nodes_q: ndarray, nodes_p: ndarray, dq: ndarray, dp: ndarray, g: ndarray,
    good: ndarray,
) -> None:  # fmt: skip
    """The echo's linear response (dq, dp) back along given nodes (samples, count + 1, d), as ``eqprop.echo`` has it.

    Every force is that of a node given: a path that each step began anew and carried its force on would part from
    the nodes by up to h^2 V''/2 m a step.
    """
    work = new_work(env, dq[0])
    m, F, dF, v, h = work[0], work[1], work[2], work[3], env.signals[1]
    for b in range(dq.shape[0]):
        if not good[b]:
            continue
        q, p, dx, dy = nodes_q[b], nodes_p[b], dq[b], dp[b]
        prepare(env, b, q[0], q[0], work)
        clear(F)
        clear(dF)
        force_response(env, b, count, node_time(env, count), q[count], dx, F, dF, g, -0.5*h)
        for j in range(count - 1, -1, -1):
            for i in range(dx.shape[0]):
                dy[i] -= 0.5*h*dF[i]
                dx[i] -= h*dy[i]/m[i]
                v[i] = (p[j + 1, i] - 0.5*h*F[i])*dy[i]/(m[i]*m[i])
                F[i] = 0.0
                dF[i] = 0.0
            mass_parameters(env, b, v, g, -h)
            force_response(env, b, j, node_time(env, j), q[j], dx, F, dF, g, -0.5*h if j == 0 else -h)
            for i in range(dx.shape[0]):
                dy[i] -= 0.5*h*dF[i]
            cost_gradient(env, b, j, node_time(env, j), q[j], dy, 1.0)
