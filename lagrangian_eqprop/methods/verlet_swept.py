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


@entry
def swept_forward(
    theta: ndarray, kick: float, c: ndarray, q: ndarray, p: ndarray, edge_q: ndarray, edge_p: ndarray, places: ndarray,
    marks: ndarray, until: ndarray, table: ndarray, loose: ndarray, counts: ndarray, rows: int, halo: int, seam: int,
    tile: int, count: int,
) -> None:  # fmt: skip
    """``count`` steps. Behind its rows q has as many again, for positions to be put aside.

    ``until`` has, for every row that comes in, where rows of its kind end, negative where the row before it has marks.
    """
    coefficients(theta, kick, c, 0)
    coefficients(theta, 0.5*kick, c, COEFFICIENTS)
    done = 0
    while done <= count:
        steps = max(min(halo, count - done), 1)
        kick_places(entries(c, COEFFICIENTS if done % count == 0 else 0), q, p, table, loose, counts)
        exchange(q, rows, halo, steps, seam)
        exchange(p, rows, halo, steps - 1, seam)  # those of the outermost row move nothing that counts
        for low in range(0, rows, tile):
            for j in range(steps):
                level = halo - steps + j
                k = entries(c, COEFFICIENTS if (done + j) % count == 0 else 0)
                shift = WIDTH*rows if done == count else 0
                if low - level <= level + 1:
                    r = level + 1
                    z = begin(q, p, WIDTH*level)
                else:
                    r = low - level
                    z = begin(edge_q, edge_p, WIDTH*level)
                end = min(low + tile, rows) - level
                while r < end:
                    stop = min(abs(until[r]), end)
                    if until[r] > 0:
                        for i in range(r, stop):
                            z = sweep(k, q, p, shift, places, marks, WIDTH*i, z)
                    else:
                        for i in range(r, stop):
                            z = sweep_masked(k, q, p, shift, places, marks, WIDTH*i, z)
                    r = stop
                if low + tile < rows:
                    keep(edge_q, edge_p, WIDTH*level, z)
        done += steps


@entry
def swept_stiffness(
    theta: ndarray, c: ndarray, q: ndarray, places: ndarray, marks: ndarray, rows: int, halo: int, seam: int,
    largest: ndarray,
) -> None:  # fmt: skip
    """The largest row sum of |V''| of every lane, times what its momentum is divided by for a velocity."""
    coefficients(theta, 1.0, c, 0)
    exchange(q, rows, halo, 1, seam)
    k = entries(c, 0)
    z = begin_stiffness(q, WIDTH*(halo - 1))
    for i in range(halo, rows - halo + 1):
        z = stiffer(k, q, places, marks, WIDTH*i, z)
    keep_stiffest(largest, z)
