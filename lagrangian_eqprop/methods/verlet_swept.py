"""Störmer-Verlet for a chain: kick and drift in one pass over the rows (see ``compiler.swept``), many steps a tile.

A row holds one site of every lane. Before and after the lanes' own rows stand ``halo`` rows of their neighbours, so
that ``halo`` steps can be taken before anything passes between lanes: a step spoils one row at each end. Within these
steps the rows are taken in tiles that fit the nearest cache: step k of a tile stays one row behind step k - 1, and
what is between a tile's last row and the next waits in ``edge`` until the next tile comes to it.

A run of steps begins and ends with half a kick; the last pass moves nothing: the positions it makes are put aside, so
that positions and momenta belong to the same node again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from ..compiler.kernel import entry, inlined

COEFFICIENTS = 0  # a generated module defines what follows
WIDTH = 0


def coefficients(theta: ndarray, h0: float, c: ndarray, at: int) -> None:
    """Fill the table for a kick by h0."""


def entries(c: ndarray, at: int) -> Any:
    """The table, as values."""


def kick_places(*arguments: Any) -> None:
    """The kicks of places that no sweep serves, one by one."""


def sweep(*arguments: Any) -> Any:
    """Take in the row at s, kick and drift the row before."""


def sweep_masked(*arguments: Any) -> Any:
    """The same where some sites lack a term, or have one that most have not."""


def stiffer(*arguments: Any) -> Any:
    """Take in the row at s, and compare the row sums of |V''| of the row before with the largest so far."""


def begin(q: ndarray, p: ndarray, s: int) -> Any:
    """What a sweep carries: positions of a row, and its momenta so far."""


def turned(z: Any) -> Any:
    """What a sweep carries into the next step, whose first row is the last that was moved, each lane's in the next."""


def keep(q: ndarray, p: ndarray, s: int, z: Any) -> None:
    """Put that away."""


def begin_stiffness(q: ndarray, s: int) -> Any:
    """What a pass for the row sums carries."""


def keep_stiffest(x: ndarray, z: Any) -> None:
    """The largest row sums of each lane."""


def to_next(x: ndarray, to: int, of: int) -> None:
    """Copy a row, each lane's value to the next lane."""


def to_last(x: ndarray, to: int, of: int) -> None:
    """Copy a row, each lane's value to the lane before."""


@inlined
def exchange(x: ndarray, rows: int, halo: int, near: int, seam: int) -> None:
    """Fill the ``near`` rows of neighbours next to the own. In a ring the last lane repeats ``seam`` of the first."""
    last = rows - halo
    for j in range(near):
        before, after = halo - 1 - j, last + j
        to_next(x, WIDTH*before, WIDTH*(last - 1 - j))
        to_last(x, WIDTH*after, WIDTH*(halo + j))
        if seam > 0:
            x[WIDTH*before] = x[WIDTH*(last - 1 - j - seam) + WIDTH - 1]
            x[WIDTH*after + WIDTH - 1] = x[WIDTH*(halo + j + seam)]


@inlined
def put_in(state: ndarray, scale: float, x: ndarray, own: int, halo: int, ring: bool) -> None:
    """The sites of a state as rows; those after the last are the first of a ring, else at rest."""
    size = state.shape[0]
    for r in range(own):
        for lane in range(WIDTH):
            site = own*lane + r
            value = state[site if site < size else site - size] if site < size or ring else 0.0
            x[WIDTH*(halo + r) + lane] = scale*value


@inlined
def take_out(x: ndarray, scale: float, state: ndarray, own: int, halo: int) -> float:
    """Rows as sites of a state; zero where all are finite, else nan."""
    size, lost = state.shape[0], 0.0
    for r in range(own):
        for lane in range(WIDTH):
            site = own*lane + r
            if site < size:
                value = scale*x[WIDTH*(halo + r) + lane]
                state[site] = value
                lost += value - value
    return lost


@inlined
def stiffest(
    k: Any, x: ndarray, places: ndarray, marks: ndarray, rows: int, halo: int, seam: int, largest: ndarray
) -> float:  # fmt: skip
    """The largest row sum of |V''|, times what a momentum is multiplied by for a velocity."""
    exchange(x, rows, halo, 1, seam)
    z = begin_stiffness(x, WIDTH*(halo - 1))
    for i in range(halo, rows - halo + 1):
        z = stiffer(k, x, places, marks, WIDTH*i, z)
    keep_stiffest(largest, z)
    found = 0.0
    for lane in range(WIDTH):
        found = max(found, largest[lane])
    return found


@inlined
def through(
    k: Any, x: ndarray, y: ndarray, shift: int, places: ndarray, marks: ndarray, until: ndarray, first: int, end: int,
    z: Any,
) -> Any:  # fmt: skip
    """Take in the rows first..end-1."""
    r = first
    while r < end:
        stop = min(abs(until[r]), end)
        if until[r] > 0:
            for i in range(r, stop):
                z = sweep(k, x, y, shift, places, marks, WIDTH*i, z)
        else:
            for i in range(r, stop):
                z = sweep_masked(k, x, y, shift, places, marks, WIDTH*i, z)
        r = stop
    return z


@inlined
def step_by_step(
    c: ndarray, x: ndarray, y: ndarray, places: ndarray, marks: ndarray, until: ndarray, table: ndarray, loose: ndarray,
    counts: ndarray, rows: int, seam: int, count: int,
) -> None:  # fmt: skip
    """``count`` steps of a short chain, or one with places that no sweep serves; one row of neighbours at each end."""
    z = begin(x, y, WIDTH*(rows - 2))
    for done in range(count + 1 if count > 0 else 0):
        k = entries(c, COEFFICIENTS if done == 0 or done == count else 0)
        shift = WIDTH*rows if done == count else 0
        kick_places(k, x, y, table, loose, counts)
        exchange(x, rows, 1, 1, seam)
        if seam == 0:
            z = turned(z)  # what is in the row of neighbours, without waiting for it to be stored
        else:
            z = begin(x, y, 0)
        z = through(k, x, y, shift, places, marks, until, 1, rows, z)


@inlined
def tiled(
    c: ndarray, x: ndarray, y: ndarray, edge_x: ndarray, edge_y: ndarray, places: ndarray, marks: ndarray,
    until: ndarray, rows: int, halo: int, seam: int, tile: int, count: int,
) -> None:  # fmt: skip
    """``count`` steps of a long chain, ``halo`` of them from tile to tile."""
    done = 0
    while done <= count and count > 0:
        steps = max(min(halo, count - done), 1)
        exchange(x, rows, halo, steps, seam)
        exchange(y, rows, halo, steps - 1, seam)  # those of the outermost row move nothing that counts
        shift = WIDTH*rows if done == count else 0
        for low in range(0, rows, tile):
            for j in range(steps):
                level = halo - steps + j
                k = entries(c, COEFFICIENTS if done + j == 0 or done == count else 0)
                if low - level <= level + 1:
                    r = level + 1
                    z = begin(x, y, WIDTH*level)
                else:
                    r = low - level
                    z = begin(edge_x, edge_y, WIDTH*level)
                z = through(k, x, y, shift, places, marks, until, r, min(low + tile, rows) - level, z)
                if low + tile < rows:
                    keep(edge_x, edge_y, WIDTH*level, z)
        done += steps


@entry
def swept_path(
    theta: ndarray, kick: float, scale: float, c: ndarray, q0: ndarray, p0: ndarray, x: ndarray, y: ndarray,
    edge_x: ndarray, edge_y: ndarray, places: ndarray, marks: ndarray, until: ndarray, table: ndarray, loose: ndarray,
    counts: ndarray, own: int, halo: int, seam: int, ring: bool, tile: int, limit: float, kept: ndarray, q: ndarray,
    p: ndarray,
) -> int:  # fmt: skip
    """The nodes ``kept`` of a path in q and p, (kept, sites), as far as they are finite.

    Behind its rows x has as many again, for positions to be put aside. ``until`` has, for every row that comes in,
    where rows of its kind end, negative where the row before it has marks. Momenta stand in the rows times ``scale``.

    Returns how many kept nodes are finite, up to the first that is not; -1, and nothing done, where what bounds the
    stiffness is not below ``limit``. Where that is infinite the bound is not looked for.
    """
    rows, at = own + 2*halo, 0
    coefficients(theta, kick, c, 0)
    coefficients(theta, 0.5*kick, c, COEFFICIENTS)
    put_in(q0, 1.0, x, own, halo, ring)
    put_in(p0, scale, y, own, halo, ring)
    for lane in range(WIDTH):  # what is never exchanged
        y[lane] = y[WIDTH*(rows - 1) + lane] = 0.0
    if limit < np.inf:
        coefficients(theta, 1.0, c, 2*COEFFICIENTS)
        bound = stiffest(entries(c, 2*COEFFICIENTS), x, places, marks, rows, halo, seam, edge_x)
        if not bound < limit:
            return -1
    for node in range(kept.shape[0]):
        if halo > 1:
            tiled(c, x, y, edge_x, edge_y, places, marks, until, rows, halo, seam, tile, kept[node] - at)
        else:
            step_by_step(c, x, y, places, marks, until, table, loose, counts, rows, seam, kept[node] - at)
        at = kept[node]
        lost = take_out(x, 1.0, q[node], own, halo) + take_out(y, 1.0/scale, p[node], own, halo)
        if lost != 0.0:
            return node
    return kept.shape[0]
