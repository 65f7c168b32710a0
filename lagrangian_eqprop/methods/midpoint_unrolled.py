"""Implicit midpoint for an unrolled system: Newton's matrix written out and factorised in registers.

The unknown of a step is V = (q_{k+1} - q_k)/h. With Q = q + h V/2, and r = p + h/2 L_q - L_v at (Q, V),

    A dV = r,   A = L_vv + h/2 (L_vq - L_qv) - h^2/4 L_qq

starts from the quadratic through the last three velocities. Convergence is quadratic: a change below 1e-9 of the
velocity (2e-4 in single precision) leaves an error far below rounding, and p_{k+1} = p_k + h L_q is carried along to
first order in that last change, so that no evaluation is spent on confirming. Going back is the same with -h.

The linear response from node k+1 to k, with A(-h):

    A dV = dp - L_vq dq - h/2 L_qq dq,   dQ = dq - h dV/2
    dp' = L_vq dQ + L_vv dV - h/2 (L_qq dQ + L_qv dV),   dq' = dq - h dV
    g += -h d_theta (L_q dQ + L_v dV)

Source: Marsden and West (2001), section 2.6; the echo as in ``eqprop.echo``.
"""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from ..compiler.contract_unrolled import (
    COEFFICIENTS,
    PART,
    SIZE,
    extrapolated,
    largest_lane,
    loss,
    momenta,
    newton,
    nudge,
    part_p,
    part_q,
    part_rest,
    part_v,
    positions,
    respond,
    spoiled,
    store_row,
    store_worst,
    velocities,
)  # fmt: skip
from ..compiler.derivatives import directional
from ..compiler.kernel import kernel
from ..compiler.unrolled import Straight, Unrolled
from ..symbols.graph import Graph, Node

Matrix = list[list[Node]]
PATH = 2  # values of a coordinate that the echo reads at a node: q and V


def functions(system: Unrolled) -> list[Straight]:
    """The straight-line functions that the loops below call."""
    graph, h, state, d = system.graph, system.h, system.state, range(system.size)
    q, v, p, dq, dp = (system.symbols(kind) for kind in ("q", "v", "m", "dq", "dm"))
    half = graph.sum([(h, 0.5)])
    Lq, Lv = system.slopes(system.lagrangian, "q"), system.slopes(system.lagrangian, "v")
    pairs = ((Lq, "q"), (Lq, "v"), (Lv, "q"), (Lv, "v"))
    blocks = [[system.slopes(slope, kind) for slope in slopes] for slopes, kind in pairs]
    x, u = system.symbols("a"), system.symbols("e")  # for dQ and dV
    slopes = system.parameter_slopes(directional(graph, [*Lq, *Lv], [*x, *u]))

    def at_middle(nodes: list[Node]) -> list[Node]:
        return graph.substitute(nodes, dict(zip(q, plus((q, one), (v, half)), strict=True)))

    def matrix(sign: int) -> Matrix:
        """A(h) or A(-h)."""
        quarter = graph.product([(half, 2)])
        return [[graph.sum([
            (Lvv[i][j], 1), (graph.times(half, Lvq[i][j]), sign), (graph.times(half, Lqv[i][j]), -sign),
            (graph.times(quarter, Lqq[i][j]), -1),
        ]) for j in d] for i in d]  # fmt: skip

    def product(A: Matrix, x: list[Node]) -> list[Node]:
        return [graph.sum([(graph.times(a, b), 1) for a, b in zip(row, x, strict=True)]) for row in A]

    def plus(*parts: tuple[list[Node], Node]) -> list[Node]:
        return [graph.sum([(graph.times(scale, part[i]), 1) for part, scale in parts]) for i in d]

    one, minus = graph.one, graph.number(-1)
    back = graph.sum([(h, -1)])
    back_half = graph.sum([(half, -1)])
    Lq, Lv = at_middle(Lq), at_middle(Lv)
    Lqq, Lqv, Lvq, Lvv = ([at_middle(row) for row in block] for block in blocks)
    change = solve(graph, matrix(1), Lvv, plus((p, one), (Lq, half), (Lv, minus)))
    speed = plus((v, one), (change, one))
    pull = plus((product(Lqq, change), half), (product(Lqv, change), one), (Lq, one))
    momentum = plus((p, one), (pull, h))
    moved, fast, far = (_largest(graph, x) for x in (change, speed, q))
    size = graph.call("magnitude", h)
    near, still = (2e-4, 1e-6) if system.flags.single else (1e-9, 1e-13)
    excess = graph.call(
        "minimum", graph.sum([(moved, 1), (fast, -near)]), graph.sum([(graph.times(moved, size), 1), (far, -still)])
    )
    step = [*plus((q, one), (speed, h)), *momentum, *speed, excess]
    found = [Straight("newton", state("q", "m", "v"), step)]
    if system.costs:
        turn = solve(graph, matrix(-1), Lvv, plus((dp, one), (product(Lvq, dq), minus), (product(Lqq, dq), back_half)))
        drag = plus((dq, one), (turn, back_half))
        rest = plus((product(Lqq, drag), one), (product(Lqv, turn), one))
        thrust = plus((product(Lvq, drag), one), (product(Lvv, turn), one), (rest, back_half))
        owed = at_middle([part for _, part in slopes])
        owed = graph.substitute(owed, dict(zip([*x, *u], [*drag, *turn], strict=True)))
        sums = [(k, graph.times(back, part)) for (k, _), part in zip(slopes, owed, strict=True)]
        rows = {"q": ("path", "here"), "v": ("path", "at_v"), "dq": ("w", "at_q"), "dm": ("w", "at_p")}
        response = [*plus((dq, one), (turn, back)), *thrust]
        found.append(
            Straight("respond", state("q", "v", "dq", "dm"), response, sums, True, rows, state("dq", "dm"))
        )  # fmt: skip
    return found


def _largest(graph: Graph, x: list[Node]) -> Node:
    most = graph.call("magnitude", x[0])
    for entry in x[1:]:
        most = graph.call("larger", most, graph.call("magnitude", entry))
    return most


def solve(graph: Graph, A: Matrix, mass: Matrix, b: list[Node]) -> list[Node]:
    """A^-1 b by elimination; rows are exchanged where the mass matrix, which A is up to O(h), has a zero pivot."""
    A, M, x, n = [list(row) for row in A], [list(row) for row in mass], list(b), len(b)
    for k in range(n):
        found = [i for i in range(k, n) if M[i][k] != graph.zero] or [i for i in range(k, n) if A[i][k] != graph.zero]
        best = found[0] if found else k
        A[k], A[best], M[k], M[best], x[k], x[best] = A[best], A[k], M[best], M[k], x[best], x[k]
        if A[k][k] == graph.zero:
            raise ValueError("the Lagrangian must be regular: its mass matrix L_vv must be invertible")
        for i in range(k + 1, n):
            if M[i][k] == graph.zero or M[k][k] == graph.zero:
                continue
            ratio = graph.product([(M[i][k], 1), (M[k][k], -1)])
            for j in range(k + 1, n):
                M[i][j] = graph.sum([(M[i][j], 1), (graph.times(ratio, M[k][j]), -1)])
        for i in range(k + 1, n):
            factor = graph.product([(A[i][k], 1), (A[k][k], -1)])
            if factor == graph.zero:
                continue
            for j in range(k + 1, n):
                A[i][j] = graph.sum([(A[i][j], 1), (graph.times(factor, A[k][j]), -1)])
            x[i] = graph.sum([(x[i], 1), (graph.times(factor, x[k]), -1)])
    for i in reversed(range(n)):
        known = graph.sum([(x[i], 1), *((graph.times(A[i][j], x[j]), -1) for j in range(i + 1, n))])
        x[i] = graph.product([(known, 1), (A[i][i], -1)])
    return x


@kernel
def solved(c, at, s, table, b, j, t, q, p, v, residual, k):
    """Newton for one step: q, p, V at its end; nan in the lanes where it did not converge."""
    rounds = 0
    while True:
        y = newton(c, at, s, table, b, j, t, q + p + v)
        v = part_v(y)
        rounds += 1
        if not largest_lane(part_rest(y)[0]) > 0.0 or rounds == 50:
            break
    q, p = part_q(y), part_p(y)
    if rounds == 50:
        store_worst(residual, k, part_rest(y))
        q = spoiled(np.nan, q + part_rest(y))
    return q, p, v


@kernel
def forward_block(
    s: ndarray, table: ndarray, c: ndarray, b: int, count: int, slots: ndarray, nodes: ndarray, node_row: int,
    path: ndarray, kept: bool, totals: ndarray, z: ndarray, k: int, closing: bool, residual: ndarray,
) -> None:  # fmt: skip
    """``count`` steps of the k-th block of lanes; saves nodes by their slots, and q and V in path if ``kept``."""
    row = 3*SIZE*k
    q, p, v = positions(z, row), momenta(z, row), velocities(z, row)
    before = v
    earlier = v
    for j in range(count + 1):
        if slots[j] >= 0:
            store_row(nodes, node_row + 2*SIZE*slots[j], q)
            store_row(nodes, node_row + 2*SIZE*slots[j] + SIZE, p)
        if j < count or closing:
            loss(c, 0, s, table, b, j, s[0] + j*s[1], totals, k, q)
        if kept:
            store_row(path, 2*SIZE*j, q)
        if j < count:
            guess = extrapolated(v + before + earlier)
            earlier = before
            before = v
            q, p, v = solved(c, 0, s, table, b, j, s[0] + (j + 0.5)*s[1], q, p, guess, residual, k)
            if kept:
                store_row(path, 2*SIZE*j + SIZE, v)
    store_row(z, row, q)
    store_row(z, row + SIZE, p)
    store_row(z, row + 2*SIZE, v)


@kernel
def echo_block(
    s: ndarray, table: ndarray, c: ndarray, b: int, count: int, path: ndarray, kept: bool, g: ndarray, g_row: int,
    z: ndarray, w: ndarray, k: int, opening: bool, residual: ndarray,
) -> None:  # fmt: skip
    """Back over ``count`` steps with the linear response; a path not kept is integrated again, part by part."""
    row, at_q, at_p, top = 3*SIZE*k, 2*SIZE*k, 2*SIZE*k + SIZE, count
    q, p, v = positions(z, row), momenta(z, row), velocities(z, row)
    before = v
    earlier = v
    while top > 0:
        low = 0 if kept else max(top - PART, 0)
        if not kept:
            store_row(path, 2*SIZE*(top - low), q)
            for j in range(top - 1, low - 1, -1):
                guess = extrapolated(v + before + earlier)
                earlier = before
                before = v
                q, p, v = solved(c, 2*COEFFICIENTS, s, table, b, j, s[0] + (j + 0.5)*s[1], q, p, guess, residual, k)
                store_row(path, 2*SIZE*(j - low), q)
                store_row(path, 2*SIZE*(j - low) + SIZE, v)
        for j in range(top - 1, low - 1, -1):
            t, here = s[0] + (j + 0.5)*s[1], 2*SIZE*(j - low)
            nudge(c, 0, s, table, b, j + 1, t + 0.5*s[1], g, g_row, path, here + 2*SIZE, w, at_p)
            respond(c, 0, s, table, b, j, t, g, g_row, path, here, here + SIZE, w, at_q, at_p)
        top = low
    store_row(z, row, positions(path, 0))
    store_row(z, row + SIZE, p)
    store_row(z, row + 2*SIZE, v)
    if opening:
        nudge(c, 0, s, table, b, 0, s[0], g, g_row, z, row, w, at_p)


@kernel
def first_bound(s: ndarray, table: ndarray, c: ndarray, b: int, z: ndarray, k: int, bounds: ndarray) -> None:
    """An implicit method needs no bound on the step."""
