"""The linear response of a Gauss step, from its end to its start, for the echo.

The method is symmetric, so that the way back is the same step with -h, at the same stages. With
B_ij = b_j - A_ij,

    dQ = dq - h B dV,    dP = dp - h B dF
    dF = L_qq dQ + L_qv dV,    dP = L_vq dQ + L_vv dV
    dq' = dq - h b dV,    dp' = dp - h b dF
    g += -h sum_i b_i d_theta(L_q dQ_i + L_v dV_i)

solved by the sweeps of ``methods.gauss``, with the same rate of convergence. A cost at a node adds w c_q to dp and
w d_theta c to g; one that is sampled at the stages takes c_q from dF and adds h b_i d_theta c to g.

Source: as ``methods.gauss``; the echo as in ``eqprop.echo``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from ..compiler.contract_unrolled import coefficients, largest_lane, momenta, nudge, positions, scale_sums, store_row
from ..compiler.derivatives import directional
from ..compiler.kernel import entry
from ..compiler.unrolled import Straight, Unrolled
from .gauss import largest, settled
from .gauss_stages import STAGED, STAGES, State, force, moments, reached, summed, swept, weighed, weights
from .midpoint_unrolled import solve


def functions(system: Unrolled) -> list[Straight]:
    """The straight-line functions of the response; the symbols "e" stand for dV."""
    graph, state, L = system.graph, system.state, system.lagrangian
    dq, e, dm = (system.symbols(kind) for kind in ("dq", "e", "dm"))
    Lq, Lv = system.slopes(L, "q"), system.slopes(L, "v")
    mass = [system.slopes(slope, "v") for slope in Lv]
    turned = [directional(graph, system.slopes(slope, "q"), dq) for slope in Lv]
    rest = [graph.sum([(b, 1), (part, -1)]) for b, part in zip(dm, turned, strict=True)]
    speed = solve(graph, mass, mass, rest)
    change = [graph.sum([(u, 1), (old, -1)]) for u, old in zip(speed, e, strict=True)]
    pulled = [
        graph.sum([(directional(graph, system.slopes(slope, "q"), dq), 1),
                   (directional(graph, system.slopes(slope, "v"), e), 1), (kick, -1)])
        for slope, kick in zip(Lq, system.slopes(system.stage_cost, "q"), strict=True)
    ]  # fmt: skip
    weight = graph.symbol("weight")
    charged = [(k, graph.times(weight, part)) for k, part in system.parameter_slopes(system.stage_cost)]
    owed = system.parameter_slopes(directional(graph, [*Lq, *Lv], [*dq, *e]))
    return [
        Straight("pull", state("q", "v", "dq", "e"), pulled),
        Straight("turn", state("q", "v", "dq", "e", "dm"), [*speed, largest(graph, change), largest(graph, speed)]),
        Straight("owe", state("q", "v", "dq", "e"), [graph.zero], owed, True),
        Straight("charge", (*state("q"), ("weight", 0)), [graph.zero], charged, True),
    ]


def owe(*arguments: Any) -> State:
    """Add d_theta(L_q dQ + L_v dV) to the sums, stage by stage."""
    raise RuntimeError("defined in the generated module")


charge = owe  # of (Q, w): add w d_theta c of the costs at stages
pull = force  # of (Q, V, dQ, dV): dF, less c_q of the costs at stages
turn = force  # of (Q, V, dQ, dV, dP): dV, its largest change and its largest entry


@entry
def gauss_echo(
    theta: ndarray, s: ndarray, table: ndarray, c: ndarray, a: ndarray, count: int, opening: bool, nodes: ndarray,
    path: ndarray, w: ndarray, guess: ndarray, g: ndarray, sums: ndarray, report: ndarray,
) -> None:  # fmt: skip
    """Back over ``count`` steps of one sample: the response in w, sums over nodes in g and over stages in sums."""
    coefficients(theta, table, 0, s[1], s[1], c, 0)
    u = positions(guess, 0)
    size = len(u)
    back, ends = 3*STAGES + 4, 3*STAGES + 3
    report[0] = -1.0
    for j in range(count - 1, -1, -1):
        nudge(c, 0, s, table, 0, j + 1, s[0] + (j + 1)*s[1], g, 0, nodes, 2*size*(j + 1), w, size)
        dq, dp = positions(w, 0), momenta(w, 0)
        x, v = positions(path, 2*size*j), momenta(path, 2*size*j)
        t = moments(a, 3*STAGES, s[0] + j*s[1])[0]
        before, rounds = np.inf, 0
        while True:
            y = reached(a, back, dq + u)
            f = pull(c, 0, s, table, 0, j, t, x + v + y + u)
            r = turn(c, 0, s, table, 0, j, t, x + v + y + u + reached(a, back, dp + f))
            u = swept(r)
            change, scale = largest_lane(r[-2]), largest_lane(r[-1])
            rounds += 1
            if rounds > 1 and settled(change, before, scale):
                break
            if change >= before or rounds == 60:
                if change > 1e-10*scale:
                    report[0] = j
                break
            before = change
        if report[0] >= 0.0 or not change < np.inf:
            report[0] = j
            report[1] = change
            break
        y = weighed(a, ends, reached(a, back, dq + u))
        owe(c, 0, s, table, 0, j, t, sums, 0, x + v + y + weighed(a, ends, u))
        if STAGED:
            charge(c, 0, s, table, 0, j, t, sums, 0, x + weights(a, 3*STAGES + 1))
        store_row(w, 0, summed(a, ends, dq + u))
        store_row(w, size, summed(a, ends, dp + f))
    store_row(guess, 0, u)
    if opening:
        nudge(c, 0, s, table, 0, 0, s[0], g, 0, nodes, 0, w, size)
        scale_sums(c, 0, g, 0)
        scale_sums(c, 0, sums, 0)
