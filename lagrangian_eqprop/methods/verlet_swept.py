"""Störmer-Verlet for a chain: kick and drift in one pass over the sites (see ``compiler.swept``).

A run of steps begins and ends with half a kick; the last pass moves nothing, so that positions and momenta
belong to the same node again.
"""

from __future__ import annotations

from typing import Any

from numpy import ndarray

from ..compiler.kernel import entry, inlined

COEFFICIENTS = 0  # a generated module defines what follows
WIDTH = 0


def coefficients(theta: ndarray, h0: float, h1: float, c: ndarray, at: int) -> None:
    """Fill the table for a kick of h0 and a drift of h1."""


def kick_places(*arguments: Any) -> None:
    """The kicks of places outside the runs, one by one."""


def sweep(*arguments: Any) -> Any:
    """Kick and drift of WIDTH sites from s on; takes and returns what bonds do to the next
    block, and its positions."""


def sweep_masked(*arguments: Any) -> Any:
    """The same where some sites are outside a run."""


def nothing_carried(q: ndarray, p: ndarray) -> Any:
    """What bonds carry into the first block, and its positions."""


@inlined
def one_pass(
    c: ndarray, at: int, q: ndarray, p: ndarray, places: ndarray, offsets: ndarray, table: ndarray, low: int, high: int,
    blocks: int,
) -> None:  # fmt: skip
    """Kick and drift of all sites; blocks low..high-1 are whole."""
    kick_places(c, at, q, p, places, offsets, table)
    z = nothing_carried(q, p)
    for k in range(low):
        z = sweep_masked(c, at, q, p, places, offsets, WIDTH*(k + 1), z)
    for k in range(low, high):
        z = sweep(c, at, q, p, places, offsets, WIDTH*(k + 1), z)
    for k in range(high, blocks):
        z = sweep_masked(c, at, q, p, places, offsets, WIDTH*(k + 1), z)


@entry
def swept_forward(
    theta: ndarray, h: float, c: ndarray, q: ndarray, p: ndarray, places: ndarray, offsets: ndarray, table: ndarray,
    low: int, high: int, blocks: int, count: int,
) -> None:  # fmt: skip
    """``count`` steps; sites begin at entry WIDTH of q and p, behind a margin."""
    coefficients(theta, h, h, c, 0)
    coefficients(theta, 0.5*h, h, c, COEFFICIENTS)
    coefficients(theta, 0.5*h, 0.0, c, 2*COEFFICIENTS)
    for j in range(count):
        one_pass(c, 0 if j > 0 else COEFFICIENTS, q, p, places, offsets, table, low, high, blocks)
    one_pass(c, 2*COEFFICIENTS, q, p, places, offsets, table, low, high, blocks)
