"""Gauss elements, several intervals at a time: the functions of ``newton_lanes`` for systems that are written out.

The formulas are those of ``methods.gauss_action``; ``gauss_text`` writes the functions of one stage. Rows of ``out``
are lanes: first what the functions return, then, from the rows named below on, what they work with. The matrix of an
element has the modes first, then both ends, and its slope as one column more. Elimination of the modes leaves D L_d in
that column and D^2 L_d in the block of the ends; without exchanges, since l_aa is positive for a positive mass and
intervals shorter than the way to a conjugate point. Where a pivot cancels, ``methods.gauss_action`` exchanges.

A path carries the modes of its intervals behind its nodes: the next search for them begins there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from ..compiler.contract import Environment
from ..compiler.kernel import entry, inlined, kernel
from .newton_band import modulus

WIDTH, SIZE, STAGES = 1, 1, 2  # a generated module has its own, and the rows that follow
ELEMENT = VARIED = POINT = ALONG = SLOPE = BENT = TURNED = MATRIX = PIVOT = FACTOR = 0


def stage_terms(*arguments: Any) -> None:
    """L_q and L_v at the point of a stage, and what is not zero of L_qq, L_qv and L_vv."""
    raise RuntimeError("defined in the generated module")


def stage_owed(*arguments: Any) -> None:
    """out += weight times the derivatives of L by the parameters."""
    raise RuntimeError("defined in the generated module")


def stage_along(*arguments: Any) -> None:
    """The same of the derivative of L along the variation of the point."""
    raise RuntimeError("defined in the generated module")


def stage_value(*arguments: Any) -> None:
    """out += weight L."""
    raise RuntimeError("defined in the generated module")


def clear_row(out: ndarray, to: int) -> None:
    """out[to] = 0."""


def add_row(out: ndarray, to: int, weight: float, row: int) -> None:
    """out[to] += weight out[row]."""


def mix_rows(out: ndarray, to: int, u: float, one: int, v: float, two: int) -> None:
    """out[to] = u out[one] + v out[two]; ``add_rows`` adds it."""


add_rows = mix_rows


def multiply_rows(out: ndarray, to: int, one: int, two: int) -> None:
    """out[to] = out[one] out[two]; ``subtract_product`` subtracts it."""


subtract_product = multiply_rows


def invert_row(out: ndarray, to: int, row: int) -> None:
    """out[to] = 1/out[row]."""


@kernel
def place_stage(s: ndarray, table: ndarray, i: int, h: float, element: int, point: int, out: ndarray) -> None:
    """Q and V of stage i, of an element or of a variation."""
    at, n = table[3] + 1 + 2*STAGES + i*(STAGES + 1), STAGES + 1
    for j in range(SIZE):
        clear_row(out, point + j)
        clear_row(out, point + SIZE + j)
        for shape in range(n):
            add_row(out, point + j, s[at + shape], element + shape*SIZE + j)
            add_row(out, point + SIZE + j, s[at + STAGES*n + shape]/h, element + shape*SIZE + j)


@kernel
def assemble(
    theta: ndarray, s: ndarray, table: ndarray, b: int, k: int, h: float, times: ndarray, out: ndarray
) -> None:  # fmt: skip
    """The upper triangle of an element's matrix, and its slope."""
    n, shapes, d = (STAGES + 1)*SIZE, STAGES + 1, SIZE
    for row in range(n):
        for c in range(row, n + 1):
            clear_row(out, MATRIX + row*(n + 1) + c)
    for i in range(STAGES):
        place_stage(s, table, i, h, ELEMENT, POINT, out)
        stage_terms(theta, s, table, b, k, i, s[table[3] + 1 + i], h, 1.0, times, out)
        w, at = s[table[3] + 1 + STAGES + i], table[3] + 1 + 2*STAGES + i*shapes
        for m in range(shapes):
            e, f = s[at + m], s[at + STAGES*shapes + m]
            for r in range(d):
                add_rows(out, MATRIX + (m*d + r)*(n + 1) + n, w*h*e, SLOPE + r, w*f, SLOPE + d + r)
                for c in range(d):  # what shape m of coordinate c turns L_q and L_v by, times h
                    mix_rows(out, TURNED + r*d + c, h*e, BENT + r*d + c, f, BENT + d*d + r*d + c)
                    mix_rows(out, TURNED + d*d + r*d + c, e, BENT + d*d + c*d + r, f/h, BENT + 2*d*d + r*d + c)
            for other in range(m + 1):
                e, f = w*s[at + other], w*s[at + STAGES*shapes + other]
                for r in range(d):
                    row = MATRIX + (other*d + r)*(n + 1) + m*d
                    for c in range(r if other == m else 0, d):
                        add_rows(out, row + c, e, TURNED + r*d + c, f, TURNED + d*d + r*d + c)


@kernel
def eliminate_modes(out: ndarray, lanes: int) -> float:
    """L D L^T of the modes, in place; the smallest pivot over what it was made of."""
    n, modes, smallest = (STAGES + 1)*SIZE, (STAGES - 1)*SIZE, np.inf
    for i in range(modes):
        add = MATRIX + i*(n + 1) + i
        for lane in range(lanes):
            out[PIVOT + i, lane] = modulus(out[add, lane])
    for i in range(modes):
        row = MATRIX + i*(n + 1)
        for lane in range(lanes):
            relative = modulus(out[row + i, lane])/out[PIVOT + i, lane].real
            if not relative >= smallest:
                smallest = relative
        invert_row(out, PIVOT + i, row + i)
        for j in range(i + 1, n):
            multiply_rows(out, FACTOR, row + j, PIVOT + i)
            for c in range(j, n + 1):
                subtract_product(out, MATRIX + j*(n + 1) + c, FACTOR, row + c)
    return smallest


@kernel
def substitute_modes(out: ndarray) -> None:
    """The modes of the variation from what stands in their rows, reduced to an upper triangle."""
    n, modes = (STAGES + 1)*SIZE, (STAGES - 1)*SIZE
    for i in range(modes - 1, -1, -1):
        for j in range(i + 1, modes):
            subtract_product(out, VARIED + i, MATRIX + i*(n + 1) + j, VARIED + j)
        multiply_rows(out, VARIED + i, VARIED + i, PIVOT + i)


@kernel
def missed(out: ndarray, lanes: int) -> float:
    """The largest change of a mode, over the size of the element's motion; rounding of the ends does not count."""
    modes, worst = (STAGES - 1)*SIZE, 0.0
    for lane in range(lanes):
        change, size, far = 0.0, 0.0, 0.0
        for i in range(modes):
            moved = modulus(out[VARIED + i, lane])
            if not moved <= change:
                change = moved
            size = max(size, modulus(out[ELEMENT + i, lane]))
        for i in range(modes, modes + SIZE):
            x, z = out[ELEMENT + i, lane], out[ELEMENT + SIZE + i, lane]
            size, far = max(size, modulus(z - x)), max(far, modulus(x), modulus(z))
        if not change <= 1e-16*far and not change/size <= worst:
            worst = change/size
    return worst


@kernel
def condense(
    theta: ndarray, s: ndarray, table: ndarray, b: int, k: int, h: float, times: ndarray, path: ndarray,
    tolerance: float, out: ndarray,
) -> bool:  # fmt: skip
    """Newton for the modes of the intervals k, k + 1, ...; the last matrix condensed. False where it fails.

    What the last change would still do to the slope is in there to first order.
    """
    n, modes, nodes = (STAGES + 1)*SIZE, (STAGES - 1)*SIZE, table[0]
    lanes = min(WIDTH, nodes - 1 - k)
    behind = (nodes + WIDTH)*SIZE
    for lane in range(WIDTH):
        for i in range(2*SIZE):
            out[ELEMENT + modes + i, lane] = path[(k + lane)*SIZE + i]
        for i in range(modes):
            out[ELEMENT + i, lane] = path[behind + (k + lane)*modes + i] if lane < lanes else 0.0
    for row in range(BENT, TURNED):
        clear_row(out, row)
    for _ in range(2):
        before = np.inf
        for _ in range(30):
            assemble(theta, s, table, b, k, h, times, out)
            smallest = eliminate_modes(out, lanes)
            for i in range(modes):
                mix_rows(out, VARIED + i, 1.0, MATRIX + i*(n + 1) + n, 0.0, ELEMENT + i)
            substitute_modes(out)
            worst = missed(out, lanes)
            if not (worst < np.inf and smallest > 1e-10):
                break
            for i in range(modes):
                add_row(out, ELEMENT + i, -1.0, VARIED + i)
            if worst <= tolerance or (worst >= 0.5*before and worst <= 1e-8):
                for lane in range(lanes):
                    for i in range(modes):
                        path[behind + (k + lane)*modes + i] = out[ELEMENT + i, lane]
                return True
            before = worst
        for i in range(modes):  # once more, from the straight line
            clear_row(out, ELEMENT + i)
            for lane in range(lanes):
                path[behind + (k + lane)*modes + i] = 0.0
    return False


@inlined
def interval_slopes(
    theta: ndarray, s: ndarray, table: ndarray, b: int, k: int, h: float, rate: float, times: ndarray, path: ndarray,
    y: ndarray, out: ndarray,
) -> None:  # fmt: skip
    """D_1 L_d and D_2 L_d of the intervals k, k + 1, ..., to rounding although the modes are only known to 1e-8."""
    n, modes = (STAGES + 1)*SIZE, (STAGES - 1)*SIZE
    good = condense(theta, s, table, b, k, h, times, path, 1e-8, out)
    for i in range(2*SIZE):
        row = MATRIX + (modes + i)*(n + 1) + n
        mix_rows(out, i, 1.0 if good else np.nan, row, 0.0, row)


@inlined
def interval_curvature(
    theta: ndarray, s: ndarray, table: ndarray, b: int, k: int, h: float, rate: float, times: ndarray, path: ndarray,
    y: ndarray, out: ndarray,
) -> None:  # fmt: skip
    """The upper triangle of the second derivatives of L_d by both ends, row by row."""
    n, modes, e = (STAGES + 1)*SIZE, (STAGES - 1)*SIZE, 0
    good = condense(theta, s, table, b, k, h, times, path, 1e-11, out)
    for r in range(modes, n):
        for c in range(r, n):
            row = MATRIX + r*(n + 1) + c
            mix_rows(out, e, 1.0 if good else np.nan, row, 0.0, row)
            e += 1


@inlined
def interval_owed(
    theta: ndarray, s: ndarray, table: ndarray, b: int, k: int, h: float, rate: float, times: ndarray, path: ndarray,
    y: ndarray, out: ndarray,
) -> None:  # fmt: skip
    """out += the derivatives of L_d by the parameters."""
    good = condense(theta, s, table, b, k, h, times, path, 1e-11, out)
    for i in range(STAGES):
        w = h*s[table[3] + 1 + STAGES + i] if good else np.nan
        place_stage(s, table, i, h, ELEMENT, POINT, out)
        stage_owed(theta, s, table, b, k, i, s[table[3] + 1 + i], h, w, times, out)


@inlined
def interval_along(
    theta: ndarray, s: ndarray, table: ndarray, b: int, k: int, h: float, rate: float, times: ndarray, path: ndarray,
    y: ndarray, out: ndarray,
) -> None:  # fmt: skip
    """The same of the derivative of L_d along the variation y of the nodes, which the modes follow."""
    n, modes = (STAGES + 1)*SIZE, (STAGES - 1)*SIZE
    good = condense(theta, s, table, b, k, h, times, path, 1e-11, out)
    for lane in range(WIDTH):
        for i in range(2*SIZE):
            out[VARIED + modes + i, lane] = y[(k + lane)*SIZE + i]
    for i in range(modes):
        clear_row(out, VARIED + i)
        for j in range(modes, n):
            subtract_product(out, VARIED + i, MATRIX + i*(n + 1) + j, VARIED + j)
    substitute_modes(out)
    for i in range(STAGES):
        w = h*s[table[3] + 1 + STAGES + i] if good else np.nan
        place_stage(s, table, i, h, ELEMENT, POINT, out)
        place_stage(s, table, i, h, VARIED, ALONG, out)
        stage_along(theta, s, table, b, k, i, s[table[3] + 1 + i], h, w, times, out)


@entry
def describe_paths(env: Environment, span: tuple, q: ndarray, found: ndarray, room: Any) -> None:
    """As ``methods.gauss_action.describe_paths``."""
    theta, s, table, times, out, h = env.theta, env.signals, env.table, room.times, room.out, env.signals[1]
    modes = (STAGES - 1)*SIZE
    for b in range(q.shape[0]):
        for e in range(3):
            found[b, e] = 0.0
        for k in range(0, span[0] - 1, WIDTH):
            good = condense(theta, s, table, b, k, h, times, q[b], 1e-11, out)
            clear_row(out, 0)
            for i in range(STAGES):
                w = h*s[table[3] + 1 + STAGES + i] if good else np.nan
                place_stage(s, table, i, h, ELEMENT, POINT, out)
                stage_value(theta, s, table, b, k, i, s[table[3] + 1 + i], h, w, times, out)
                for lane in range(min(WIDTH, span[0] - 1 - k)):
                    for j in range(SIZE):
                        found[b, 2] = max(found[b, 2], modulus(out[POINT + SIZE + j, lane]))
            for lane in range(min(WIDTH, span[0] - 1 - k)):
                found[b, 0] += out[0, lane].real
                for i in range(modes - SIZE, modes):
                    found[b, 1] = max(found[b, 1], modulus(out[ELEMENT + i, lane])/h)
