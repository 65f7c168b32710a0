"""Störmer-Verlet for an unrolled system: one evaluation of the force a step, state in registers.

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
    SIZE,
    bound,
    drift,
    kick,
    loss,
    mean,
    momenta,
    nudge,
    positions,
    scaled,
    store_number,
    store_row,
    swing,
)
from ..compiler.derivatives import directional, gradient
from ..compiler.kernel import kernel
from ..compiler.unrolled import Straight, Unrolled


def functions(system: Unrolled) -> list[Straight]:
    """The straight-line functions that the loops below call, trajectory first, then the echo."""
    graph, h, state = system.graph, system.h, system.state
    q, v, p, dq, dp = (system.symbols(kind) for kind in ("q", "v", "m", "dq", "dm"))
    x, a = system.symbols("x"), system.symbols("a")
    masses = [gradient(graph, slope, [u])[0] for slope, u in zip(gradient(graph, system.lagrangian, v), v, strict=True)]
    (rest,) = graph.substitute([system.lagrangian], dict.fromkeys(v, graph.zero))
    force = gradient(graph, rest, q)

    def moved(position: list[int], momentum: list[int], sign: int) -> list[int]:
        steps = [graph.product([(h, 1), (b, 1), (m, -1)]) for b, m in zip(momentum, masses, strict=True)]
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
    found = [
        Straight("bound", state("q"), [bound]),
        Straight("kick", state("q", "m"), kicked),
        Straight("drift", state("q", "m"), moved(q, p, 1)),
    ]
    if system.costs:
        rows = {"q": ("path", "here"), "x": ("path", "there"), "dq": ("w", "at_q"), "dm": ("w", "at_p")}
        swung = [*pulled, *moved(dq, pulled, -1)]
        kept = tuple(sums.items())
        found.append(Straight("swing", state("q", "x", "dq", "dm"), swung, kept, True, rows, state("dm", "dq")))
    return found


@kernel
def forward_block(
    s: ndarray, table: ndarray, c: ndarray, b: int, count: int, slots: ndarray, nodes: ndarray, node_row: int,
    path: ndarray, totals: ndarray, z: ndarray, k: int, closing: bool, residual: ndarray,
) -> None:  # fmt: skip
    """``count`` steps of the k-th block of lanes; saves nodes by their slots, and positions in path."""
    row, full, half = 3*SIZE*k, 0, COEFFICIENTS
    q, p = positions(z, row), momenta(z, row)
    for j in range(count):
        t, at = s[0] + j*s[1], node_row + 2*SIZE*slots[j]
        if path.size > 0:
            store_row(path, SIZE*j, q)
        if slots[j] >= 0:
            store_row(nodes, at, q)
            store_row(nodes, at + SIZE, p)
        loss(c, full, s, table, b, j, t, totals, k, q)
        p = kick(c, full if j > 0 else half, s, table, b, j, t, q + p)
        if slots[j] >= 0 and j > 0:
            store_row(nodes, at + SIZE, mean(positions(nodes, at + SIZE) + p))
        q = drift(c, full, s, table, b, j, t, q + p)
    t, at = s[0] + count*s[1], node_row + 2*SIZE*slots[count]
    if path.size > 0:
        store_row(path, SIZE*count, q)
    if closing:
        loss(c, full, s, table, b, count, t, totals, k, q)
    p = kick(c, half, s, table, b, count, t, q + p)
    if slots[count] >= 0:
        store_row(nodes, at, q)
        store_row(nodes, at + SIZE, p)
    store_row(z, row, q)
    store_row(z, row + SIZE, p)


@kernel
def echo_block(
    s: ndarray, table: ndarray, c: ndarray, b: int, count: int, path: ndarray, g: ndarray, g_row: int, z: ndarray,
    w: ndarray, k: int, opening: bool, residual: ndarray,
) -> None:  # fmt: skip
    """Back over ``count`` steps with the linear response; without a path the free one is integrated again.

    Node 0 belongs to the run before, unless this is the first, where half a kick and half its sums are left.
    """
    row, full, back, back_half, kept = 3*SIZE*k, 0, 2*COEFFICIENTS, 3*COEFFICIENTS, path.size > 0
    places = path if kept else z
    here, there, at_q, at_p = SIZE*count if kept else row, row + 2*SIZE, 2*SIZE*k, 2*SIZE*k + SIZE
    for j in range(count, 0, -1):
        t = s[0] + j*s[1]
        if kept:
            there = here - SIZE
        else:
            q = positions(z, here)
            p = kick(c, back_half if j == count else back, s, table, b, j, t, q + momenta(z, row))
            store_row(z, row + SIZE, p)
            store_row(z, there, drift(c, back, s, table, b, j, t, q + p))
        nudge(c, full, s, table, b, j, t, g, g_row, places, here, w, at_p)
        swing(c, full, s, table, b, j, t, g, g_row, places, here, there, w, at_q, at_p)
        here, there = there, here
    if not kept:
        store_row(z, row + SIZE, kick(c, back_half, s, table, b, 0, s[0], positions(z, here) + momenta(z, row)))
    if opening:
        nudge(c, full, s, table, b, 0, s[0], g, g_row, places, here, w, at_p)
        dq = positions(w, at_q)
        store_row(w, at_q, scaled(0.5, dq))
        swing(c, full, s, table, b, 0, s[0], g, g_row, places, here, here, w, at_q, at_p)
        store_row(w, at_q, dq)
    if here != row:
        store_row(z, row, positions(places, here))


@kernel
def first_bound(s: ndarray, table: ndarray, c: ndarray, b: int, z: ndarray, k: int, bounds: ndarray) -> None:
    """A bound on the largest eigenvalue of M^-1 V'' at the start (Gershgorin's, by rows)."""
    store_number(bounds, k, bound(c, 0, s, table, b, 0, s[0], positions(z, 3*SIZE*k)))
