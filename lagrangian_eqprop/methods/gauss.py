"""The Galerkin variational integrator on Gauss-Legendre nodes, its stages in the lanes of one value.

The discrete Lagrangian is the Gauss quadrature of L along the polynomial of degree s that is stationary between
its ends,

    L_d(x, y) = ext h sum_i b_i L(Q_i, V_i, t + c_i h)

and its discrete Euler-Lagrange equations are those of Gauss collocation,

    Q = q + h A V,   P = p + h A F,   P = L_v(Q, V),   F = L_q(Q, V)
    q' = q + h b V,  p' = p + h b F

A cost c with ``quadrature="method"`` has the same quadrature, sum of h b_i c(Q_i, t + c_i h); it is of order 2s as the
path is, and nudges F by -beta c_q.

Order 2s, symplectic and symmetric for any regular L. The stage velocities V start from the polynomial of the step
before; a sweep takes Q and F from them and moves V by L_vv^-1 (P - L_v(Q, V)). What a sweep changes shrinks by a
factor of order h, and its square for a potential of q alone.

Source: Marsden and West (2001), section 2.6; Ober-Bloebaum and Saake (2015), Adv. Comput. Math. 41, 955;
Hairer, Lubich and Wanner (2006), section VI.6.
"""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from ..compiler.contract_unrolled import (
    coefficients,
    largest_lane,
    loss,
    momenta,
    number,
    positions,
    store_number,
    store_row,
)
from ..compiler.kernel import entry, kernel
from ..compiler.unrolled import Straight, Unrolled
from ..symbols.graph import Graph, Node
from .gauss_stages import (
    STAGED,
    STAGES,
    added,
    density,
    force,
    joined,
    lagrangian,
    larger_of,
    moments,
    reached,
    roughest,
    summed,
    sweep,
    swept,
)
from .midpoint_unrolled import solve

ORDER = 0  # twice the stages
EXPLICIT = False
SYMMETRIC = True
LABELS = "nodes"


def functions(system: Unrolled) -> list[Straight]:
    """The straight-line functions of the stages."""
    graph, state = system.graph, system.state
    q, v, P = (system.symbols(kind) for kind in ("q", "v", "m"))
    Lv = system.slopes(system.lagrangian, "v")
    mass = [system.slopes(slope, "v") for slope in Lv]
    if any(kind == "v" for kind, _ in graph.symbols([entry for row in mass for entry in row])):
        rest = [graph.sum([(b, 1), (slope, -1)]) for b, slope in zip(P, Lv, strict=True)]
        change = solve(graph, mass, mass, rest)
        speed = [graph.sum([(u, 1), (move, 1)]) for u, move in zip(v, change, strict=True)]
    else:  # quadratic in v: one iteration solves for V
        still = graph.substitute(Lv, dict.fromkeys(v, graph.zero))
        rest = [graph.sum([(b, 1), (slope, -1)]) for b, slope in zip(P, still, strict=True)]
        speed = solve(graph, mass, mass, rest)
        change = [graph.sum([(u, 1), (old, -1)]) for u, old in zip(speed, v, strict=True)]
    return [
        Straight("force", state("q", "v"), system.slopes(system.lagrangian, "q")),
        Straight("sweep", state("q", "v", "m"), [*speed, largest(graph, change), largest(graph, speed)]),
        Straight("lagrangian", state("q", "v"), [system.lagrangian]),
        Straight("density", state("q"), [system.stage_cost]),
    ]


def largest(graph: Graph, values: list[Node]) -> Node:
    """The largest magnitude."""
    most = graph.call("magnitude", values[0])
    for value in values[1:]:
        most = graph.call("larger", most, graph.call("magnitude", value))
    return most


@kernel
def settled(change: float, before: float, scale: float) -> bool:
    """Whether what a sweep left is rounding: the error is about change^2/before. nan counts as settled."""
    return not (change > 1e-15*scale and change*change > 3e-14*scale*before)


@entry
def gauss_forward(
    theta: ndarray, s: ndarray, table: ndarray, c: ndarray, a: ndarray, z: ndarray, guess: ndarray, count: int,
    closing: bool, slots: ndarray, nodes: ndarray, path: ndarray, totals: ndarray, extremes: ndarray, acts: bool,
    report: ndarray,
) -> None:  # fmt: skip
    """``count`` steps of one sample; stops at the first step whose sweeps do not converge.

    Nodes are kept by their slots, stages Q and V in ``path`` unless it is empty. The rows of ``extremes`` keep the
    largest V, the action and the loss at stages, in lanes; ``report`` gets the step that failed or -1, what its last
    sweep changed, the number of sweeps, and the largest last Legendre mode of V.
    """
    coefficients(theta, table, 0, s[1], s[1], c, 0)
    q, p, v = positions(z, 0), momenta(z, 0), positions(guess, 0)
    rough, fast, action, lost = (report[3],), number(extremes, 0), number(extremes, 1), number(extremes, 2)
    size, sweeps = len(q), 0
    report[0] = -1.0
    x = reached(a, 0, q + v)
    for j in range(count):
        if slots[j] >= 0:
            store_row(nodes, 2*size*slots[j], q)
            store_row(nodes, 2*size*slots[j] + size, p)
        loss(c, 0, s, table, 0, j, s[0] + j*s[1], totals, 0, q)
        t = moments(a, 3*STAGES, s[0] + j*s[1])
        before, scale, rounds = np.inf, 0.0, 0
        while True:
            f = force(c, 0, s, table, 0, j, t[0], x + v)
            y = sweep(c, 0, s, table, 0, j, t[0], x + v + reached(a, 0, p + f))
            v = swept(y)
            change = largest_lane(y[-2])
            rounds += 1
            if rounds == 1:
                scale = largest_lane(y[-1])
                if not change > 1e-15*scale:
                    break
            elif settled(change, before, scale):
                break
            elif change >= before or rounds == 60:
                far = 0.0
                for x_start in q:
                    far = max(far, abs(x_start))
                if change > 1e-10*scale and change*abs(s[1]) > 1e-13*far:  # else what is left is rounding
                    report[0] = j
                break
            before = change
            x = reached(a, 0, q + v)
        sweeps += rounds
        if report[0] >= 0.0 or not change < np.inf:
            report[0] = j
            report[1] = change
            break
        if path.size > 0:
            store_row(path, 2*size*j, reached(a, 0, q + v))
            store_row(path, 2*size*j + size, v)
        if acts:
            action = added(a, 3*STAGES + 1, action + lagrangian(c, 0, s, table, 0, j, t[0], x + v))
        if STAGED:
            lost = added(a, 3*STAGES + 1, lost + density(c, 0, s, table, 0, j, t[0], reached(a, 0, q + v)))
        x = reached(a, 2*STAGES, q + v)  # where the next step begins to look, without waiting for its q
        q = summed(a, 3*STAGES + 1, q + v)
        p = summed(a, 3*STAGES + 1, p + f)
        rough = roughest(a, 3*STAGES + 2, rough + v)
        fast = larger_of(fast + y[-1:])
        v = joined(a, STAGES, v)
    if slots[count] >= 0:
        store_row(nodes, 2*size*slots[count], q)
        store_row(nodes, 2*size*slots[count] + size, p)
    if closing:
        loss(c, 0, s, table, 0, count, s[0] + count*s[1], totals, 0, q)
    store_row(z, 0, q)
    store_row(z, size, p)
    store_row(guess, 0, v)
    store_number(extremes, 0, fast)
    store_number(extremes, 1, action)
    store_number(extremes, 2, lost)
    report[2] += sweeps
    report[3] = rough[0]
