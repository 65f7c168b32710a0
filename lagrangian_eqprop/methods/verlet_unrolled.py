"""Störmer-Verlet for an unrolled system: one evaluation of the force a step, kick and drift in one pass.

The two half kicks that meet at a node are one, so that between nodes the momentum is m v, and

    kick    p_{k+1/2} = p_{k-1/2} + h F(q_k)        (half of it where a run begins and ends)
    drift   q_{k+1} = q_k + h p_{k+1/2}/m

A nodal momentum is the mean of the momenta before and after its kick. The echo's linear response runs the
same steps with -h on (dq, dp):

    nudge   dp += w_k c_q(q_k),                         g += w_k d_theta c(q_k)
    swing   dp -= h F'(q_k) dq, then dq -= h dp/m,      g += -h d_theta F(q_k) dq - (q_k - q_{k-1}) dp d_theta(m)/m

Source: Marsden and West (2001), section 2.3; the echo as in ``eqprop.echo``.
"""

from __future__ import annotations

from numpy import ndarray

from ..compiler.contract_unrolled import (
    COEFFICIENTS,
    LOCAL,
    PART,
    SIZE,
    STATE,
    WIDTH,
    bound,
    kick,
    local_rows,
    loss,
    mean,
    momenta,
    nudge,
    positions,
    scaled,
    step,
    store_number,
    store_row,
    swing,
)
from ..compiler.derivatives import directional, gradient
from ..compiler.kernel import kernel
from ..compiler.unrolled import Straight, Unrolled

PATH = 1  # values of a coordinate that the echo reads at a node: q


def functions(system: Unrolled) -> list[Straight]:
    """The straight-line functions that the loops below call, trajectory first, then the echo."""
    graph, h, state = system.graph, system.h, system.state
    stride = graph.symbol("stride")  # h of the drift, the same but where a run begins with half a kick
    q, v, p, dq, dp = (system.symbols(kind) for kind in ("q", "v", "m", "dq", "dm"))
    x, a = system.symbols("x"), system.symbols("a")
    masses = [gradient(graph, slope, [u])[0] for slope, u in zip(gradient(graph, system.lagrangian, v), v, strict=True)]
    (rest,) = graph.substitute([system.lagrangian], dict.fromkeys(v, graph.zero))
    force = gradient(graph, rest, q)

    def moved(position: list[int], momentum: list[int], sign: int) -> list[int]:
        steps = [graph.product([(stride, 1), (b, 1), (m, -1)]) for b, m in zip(momentum, masses, strict=True)]
        return [graph.sum([(c, 1), (step, sign)]) for c, step in zip(position, steps, strict=True)]

    tension = directional(graph, force, dq)
    kicked = [graph.sum([(b, 1), (graph.times(h, f), 1)]) for b, f in zip(p, force, strict=True)]
    slopes = zip(dp, gradient(graph, tension, q), strict=True)
    pulled = [graph.sum([(b, 1), (graph.times(h, f), -1)]) for b, f in slopes]
    sums = dict(system.parameter_slopes(tension))
    sums = {k: graph.sum([(graph.times(h, part), -1)]) for k, part in sums.items()}
    pairs = system.parameter_slopes(directional(graph, masses, a))
    carried = [graph.product([(graph.sum([(c, 1), (e, -1)]), 1), (d, 1), (m, -1)])
               for c, e, d, m in zip(q, x, pulled, masses, strict=True)]  # fmt: skip
    inertia = graph.substitute([part for _, part in pairs], dict(zip(a, carried, strict=True)))
    for (k, _), part in zip(pairs, inertia, strict=True):
        sums[k] = graph.sum([(sums.get(k, graph.zero), 1), (part, -1)])
    bound = graph.zero
    for i in range(system.size):
        row = gradient(graph, force[i], q)
        sizes = [(graph.call("magnitude", entry), 1) for entry in row if entry != graph.zero]
        size = graph.product([(graph.sum(sizes), 1), (graph.call("magnitude", masses[i]), -1)])
        bound = graph.call("larger", bound, size)
    here, there = ("places", "here"), ("places", "there")
    found = [
        Straight("bound", state("q"), [bound]),
        Straight("kick", state("q", "m"), kicked, rows={"q": here, "m": ("z", "at_p")}, stores=state("m")),
        Straight("step", state("q", "m"), [*kicked, *moved(q, kicked, 1)],
                 rows={"q": here, "x": there, "m": ("z", "at_p")}, stores=state("m", "x"), over={"x": "q"}),
    ]  # fmt: skip
    if system.costs:
        rows = {"q": here, "x": there, "dq": ("w", "at_q"), "dm": ("w", "at_p")}
        swung = [*pulled, *moved(dq, pulled, -1)]
        kept = tuple(sums.items())
        found.append(Straight("swing", state("q", "x", "dq", "dm"), swung, kept, True, rows, state("dm", "dq")))
    return found


@kernel
def forward_block(
    s: ndarray, table: ndarray, c: ndarray, b: int, count: int, slots: ndarray, nodes: ndarray, node_row: int,
    path: ndarray, kept: bool, totals: ndarray, z: ndarray, k: int, closing: bool, residual: ndarray,
) -> None:  # fmt: skip
    """``count`` steps of the k-th block of lanes; saves nodes by their slots, and all positions in path if ``kept``."""
    full, half, row, direct = 0, COEFFICIENTS, 3*SIZE*k, kept and not LOCAL
    state = local_rows(z, STATE, WIDTH) if LOCAL else z
    at_q = 0 if LOCAL else row
    at_p = at_q + SIZE
    if LOCAL:
        store_row(state, at_q, positions(z, row))
        store_row(state, at_p, momenta(z, row))
    if kept:
        store_row(path, 0, positions(z, row))
    places, here, ahead = path if direct else state, 0 if direct else at_q, SIZE if direct else 0
    for j in range(count):
        t, at = s[0] + j*s[1], node_row + 2*SIZE*slots[j]
        if slots[j] >= 0:
            store_row(nodes, at, positions(places, here))
            store_row(nodes, at + SIZE, positions(state, at_p))
        loss(c, full, s, table, b, j, t, totals, k, positions(places, here))
        step(c, full if j > 0 else half, s, table, b, j, t, places, here, here + ahead, state, at_p)
        if slots[j] >= 0 and j > 0:
            store_row(nodes, at + SIZE, mean(positions(nodes, at + SIZE) + positions(state, at_p)))
        here += ahead
        if kept and not direct:
            store_row(path, SIZE*(j + 1), positions(state, at_q))
    t, at = s[0] + count*s[1], node_row + 2*SIZE*slots[count]
    if closing:
        loss(c, full, s, table, b, count, t, totals, k, positions(places, here))
    kick(c, half, s, table, b, count, t, places, here, state, at_p)
    store_row(z, row, positions(places, here))
    store_row(z, row + SIZE, positions(state, at_p))
    if slots[count] >= 0:
        store_row(nodes, at, positions(z, row))
        store_row(nodes, at + SIZE, momenta(z, row))


@kernel
def back_block(
    s: ndarray, table: ndarray, c: ndarray, b: int, count: int, top: int, low: int, path: ndarray, z: ndarray, k: int
) -> None:  # fmt: skip
    """The positions of the nodes low..top into path, by steps back from the state at node ``top``."""
    back, back_half, row = 2*COEFFICIENTS, 3*COEFFICIENTS, 3*SIZE*k
    at_p = row + SIZE
    store_row(path, SIZE*(top - low), positions(z, row))
    for j in range(top, low, -1):
        t, here = s[0] + j*s[1], SIZE*(j - low)
        step(c, back if j < count else back_half, s, table, b, j, t, path, here, here - SIZE, z, at_p)
    store_row(z, row, positions(path, 0))
    if low == 0:
        kick(c, back_half, s, table, b, 0, s[0], path, 0, z, at_p)


@kernel
def echo_block(
    s: ndarray, table: ndarray, c: ndarray, b: int, count: int, path: ndarray, kept: bool, g: ndarray, g_row: int,
    z: ndarray, w: ndarray, k: int, opening: bool, residual: ndarray,
) -> None:  # fmt: skip
    """Back over ``count`` steps with the linear response; a path that was not kept is integrated again, part by part.

    Node 0 belongs to the run before, unless this is the first, where half a kick and half its sums are left.
    """
    at_q, at_p, top = 2*SIZE*k, 2*SIZE*k + SIZE, count
    while top > 0:
        low = 0 if kept else max(top - PART, 0)
        if not kept:
            back_block(s, table, c, b, count, top, low, path, z, k)
        for j in range(top, low, -1):
            t, here = s[0] + j*s[1], SIZE*(j - low)
            nudge(c, 0, s, table, b, j, t, g, g_row, path, here, w, at_p)
            swing(c, 0, s, table, b, j, t, g, g_row, path, here, here - SIZE, w, at_q, at_p)
        top = low
    if opening:
        nudge(c, 0, s, table, b, 0, s[0], g, g_row, path, 0, w, at_p)
        dq = positions(w, at_q)
        store_row(w, at_q, scaled(0.5, dq))
        swing(c, 0, s, table, b, 0, s[0], g, g_row, path, 0, 0, w, at_q, at_p)
        store_row(w, at_q, dq)
    store_row(z, 3*SIZE*k, positions(path, 0))


@kernel
def first_bound(s: ndarray, table: ndarray, c: ndarray, b: int, z: ndarray, k: int, bounds: ndarray) -> None:
    """A bound on the largest eigenvalue of M^-1 V'' at the start (Gershgorin's, by rows)."""
    store_number(bounds, k, bound(c, 0, s, table, b, 0, s[0], positions(z, 3*SIZE*k)))
