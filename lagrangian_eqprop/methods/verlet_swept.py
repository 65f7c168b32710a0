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

from ..compiler.contract_unrolled import largest_lane
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


def put_in(x: ndarray, s: int, state: ndarray, r: int, own: int, scale: float) -> None:
    """The row at s: every own-th site from r on."""


def take_out(x: ndarray, s: int, state: ndarray, r: int, own: int, scale: float, z: Any) -> Any:
    """Every own-th site from r on: the row at s. What is not finite counts as lost."""


def nothing_lost(x: ndarray, s: int) -> Any:
    """Zero in all lanes, or nan where the row at s is not finite."""


def all_lost(z: Any) -> Any:
    """The sum over lanes."""


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
def stiffest(k: Any, x: ndarray, places: ndarray, marks: ndarray, rows: int, halo: int, seam: int) -> float:
    """The largest row sum of |V''|, times what a momentum is multiplied by for a velocity."""
    exchange(x, rows, halo, 1, seam)
    z = begin_stiffness(x, WIDTH*(halo - 1))
    for i in range(halo, rows - halo + 1):
        z = stiffer(k, x, places, marks, WIDTH*i, z)
    return largest_lane(z[2])


@inlined
def begins(
    theta: ndarray, kick: float, scale: float, c: ndarray, q0: ndarray, p0: ndarray, x: ndarray, y: ndarray,
    places: ndarray, marks: ndarray, own: int, halo: int, seam: int, limit: float,
) -> bool:  # fmt: skip
    """Fill the table and the rows; whether what bounds the stiffness, where it is asked for, is below the limit."""
    rows = own + 2*halo
    coefficients(theta, kick, c, 0)
    coefficients(theta, 0.5*kick, c, COEFFICIENTS)
    for r in range(own):
        put_in(x, WIDTH*(halo + r), q0, r, own, 1.0)
        put_in(y, WIDTH*(halo + r), p0, r, own, scale)
    for lane in range(WIDTH):  # what is never exchanged
        y[lane] = y[WIDTH*(rows - 1) + lane] = 0.0
    if limit == np.inf:
        return True
    coefficients(theta, 1.0, c, 2*COEFFICIENTS)
    return stiffest(entries(c, 2*COEFFICIENTS), x, places, marks, rows, halo, seam) < limit


@inlined
def kept_node(
    x: ndarray, y: ndarray, q: ndarray, p: ndarray, node: int, own: int, halo: int, scale: float
) -> bool:  # fmt: skip
    """Keep positions and momenta; whether all are finite."""
    z = nothing_lost(x, WIDTH*halo)
    for r in range(own):
        at = WIDTH*own*node + r
        z = take_out(x, WIDTH*(halo + r), q, at, own, 1.0, z)
        z = take_out(y, WIDTH*(halo + r), p, at, own, 1.0/scale, z)
    return all_lost(z)[0] == 0.0


@inlined
def through(
    k: Any, x: ndarray, y: ndarray, shift: int, places: ndarray, marks: ndarray, until: ndarray, first: int, end: int,
    z: Any,
) -> Any:  # fmt: skip
    """Take in the rows first..end-1."""
    r = first
    while r < end:
        stop = abs(until[r])
        stop = stop if stop < end else end
        if until[r] > 0:
            for i in range(r, stop):
                z = sweep(k, x, y, shift, places, marks, WIDTH*i, z)
        else:
            for i in range(r, stop):
                z = sweep_masked(k, x, y, shift, places, marks, WIDTH*i, z)
        r = stop
    return z


@entry
def swept_steps(
    theta: ndarray, kick: float, scale: float, c: ndarray, q0: ndarray, p0: ndarray, x: ndarray, y: ndarray,
    edge_x: ndarray, edge_y: ndarray, places: ndarray, marks: ndarray, until: ndarray, table: ndarray, loose: ndarray,
    counts: ndarray, own: int, halo: int, seam: int, tile: int, limit: float, kept: ndarray, q: ndarray, p: ndarray,
) -> int:  # fmt: skip
    """The nodes ``kept`` of a path, one step after the other: of a chain that is short, or has places apart.

    States are given and kept with as many sites as the lanes hold. Behind its rows x has as many again, for positions
    to be put aside. ``until`` has, for every row that comes in, where rows of its kind end, negative where the row
    before it has marks. Momenta stand in the rows times ``scale``.

    Returns how many kept nodes are finite, up to the first that is not; -1, and nothing done, where what bounds the
    stiffness is not below ``limit``.
    """
    if not begins(theta, kick, scale, c, q0, p0, x, y, places, marks, own, halo, seam, limit):
        return -1
    at, rows = 0, own + 2
    for node in range(kept.shape[0]):
        count = kept[node] - at
        z = begin(x, y, WIDTH*own)
        for done in range(count + 1 if count > 0 else 0):
            k = entries(c, COEFFICIENTS if done == 0 or done == count else 0)
            shift = WIDTH*rows if done == count else 0
            kick_places(k, x, y, table, loose, counts)
            if seam == 0:
                to_last(x, WIDTH*(rows - 1), WIDTH)
                z = turned(z)  # the other row of neighbours, without waiting for it to be stored
            else:
                exchange(x, rows, 1, 1, seam)
                z = begin(x, y, 0)
            z = through(k, x, y, shift, places, marks, until, 1, rows, z)
        at = kept[node]
        if not kept_node(x, y, q, p, node, own, halo, scale):
            return node
    return kept.shape[0]


@entry
def swept_tiles(
    theta: ndarray, kick: float, scale: float, c: ndarray, q0: ndarray, p0: ndarray, x: ndarray, y: ndarray,
    edge_x: ndarray, edge_y: ndarray, places: ndarray, marks: ndarray, until: ndarray, table: ndarray, loose: ndarray,
    counts: ndarray, own: int, halo: int, seam: int, tile: int, limit: float, kept: ndarray, q: ndarray, p: ndarray,
) -> int:  # fmt: skip
    """The same, ``halo`` steps from tile to tile: of a chain that leaves the nearest cache."""
    if not begins(theta, kick, scale, c, q0, p0, x, y, places, marks, own, halo, seam, limit):
        return -1
    at, rows = 0, own + 2*halo
    for node in range(kept.shape[0]):
        count, done = kept[node] - at, 0
        while done <= count and count > 0:
            steps = count - done if count - done < halo else halo
            steps = 1 if done == count else steps
            exchange(x, rows, halo, steps, seam)
            exchange(y, rows, halo, steps - 1, seam)  # those of the outermost row move nothing that counts
            shift = WIDTH*rows if done == count else 0
            for low in range(0, rows, tile):
                high = low + tile if low + tile < rows else rows
                for level in range(halo - steps, halo):
                    first = done == 0 and level == halo - steps
                    k = entries(c, COEFFICIENTS if first or done == count else 0)
                    if low - level <= level + 1:
                        r = level + 1
                        z = begin(x, y, WIDTH*level)
                    else:
                        r = low - level
                        z = begin(edge_x, edge_y, WIDTH*level)
                    z = through(k, x, y, shift, places, marks, until, r, high - level, z)
                    keep(edge_x, edge_y, WIDTH*level, z)
            done += steps
        at = kept[node]
        if not kept_node(x, y, q, p, node, own, halo, scale):
            return node
    return kept.shape[0]
