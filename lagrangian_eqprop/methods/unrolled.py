"""The entries of an unrolled module: blocks of lanes through a whole trajectory, and back."""

from __future__ import annotations

from numpy import ndarray

from ..compiler.contract_unrolled import COEFFICIENTS, coefficients, scale_sums
from ..compiler.kernel import entry, kernel
from .verlet_unrolled import echo_block, first_bound, forward_block  # each method defines these


@kernel
def fill(theta: ndarray, s: ndarray, table: ndarray, c: ndarray, b: int) -> None:
    """The coefficients of the steps h, h/2, -h, -h/2, one after the other; the drift after half a kick is whole."""
    for k in range(4):
        h = s[1] if k < 2 else -s[1]
        coefficients(theta, table, b, h*(1.0 - 0.5*(k % 2)), h, c, k*COEFFICIENTS)


@entry
def unrolled_forward(
    theta: ndarray, s: ndarray, table: ndarray, c: ndarray, starts: ndarray, first: int, last: int, count: int,
    slots: ndarray, saved: int, nodes: ndarray, totals: ndarray, z: ndarray, bounds: ndarray, residual: ndarray,
    closing: bool,
) -> None:  # fmt: skip
    """``count`` steps of the blocks first..last-1, whose samples begin at ``starts``."""
    for k in range(first, last):
        fill(theta, s, table, c, starts[k])
        first_bound(s, table, c, starts[k], z, k, bounds)
        forward_block(
            s, table, c, starts[k], count, slots, nodes, saved*k, nodes, False, totals, z, k, closing, residual
        )  # fmt: skip


@entry
def unrolled_gradient(
    theta: ndarray, s: ndarray, table: ndarray, c: ndarray, starts: ndarray, first: int, last: int, count: int,
    slots: ndarray, saved: int, nodes: ndarray, path: ndarray, kept: bool, totals: ndarray, z: ndarray, bounds: ndarray,
    residual: ndarray, closing: bool, opening: bool, there: bool, back: bool, w: ndarray, g: ndarray, rows: int,
) -> None:  # fmt: skip
    """The same with the echo: there, back or both; sums in the rows of g that belong to the block.

    ``path`` has room for all steps where it is to be ``kept``, else for PART of them.
    """
    for k in range(first, last):
        fill(theta, s, table, c, starts[k])
        if there:
            first_bound(s, table, c, starts[k], z, k, bounds)
            forward_block(
                s, table, c, starts[k], count, slots, nodes, saved*k, path, kept, totals, z, k, closing, residual
            )  # fmt: skip
        if back:
            echo_block(s, table, c, starts[k], count, path, kept, g, rows*k, z, w, k, opening, residual)
            if opening:
                scale_sums(c, 0, g, rows*k)
