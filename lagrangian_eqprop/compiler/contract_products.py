"""The functions that the emitter writes for a system of matrix products, as its kernels see them.

Rows of ``q``, ``p``, ``F`` are (coordinate, block of lanes); ``r``, ``f``, ``o`` number such rows. Results are added,
but for those of ``move``, ``recoil``, ``site_features`` and ``site_tangents``. ``values`` stands for what a term reads
besides the state: c, L, s, S, t, j, where, tables, blocks.
"""

from __future__ import annotations

from typing import Any


def site_force(i: int, f: int, q: Any, F: Any, products: Any, rho: Any, starts: Any, pieces: Any, *values: Any) -> None:
    """The force of terms of coordinate i alone, and of its products, into rows f of F."""
    raise RuntimeError("defined in the generated module")


def site_response(
    i: int, f: int, q: Any, dq: Any, D: Any, products: Any, responses: Any, rho: Any, sums: Any, g: Any, weight: Any,
    starts: Any, pieces: Any, *values: Any,
) -> None:  # fmt: skip
    """The derivative of that force along dq into rows f of D; g and sums take weight times its parameters' slopes."""
    raise RuntimeError("defined in the generated module")


def site_features(
    i: int, q: Any, out: Any, starts: Any, pieces: Any, slot: int, slots: int, blocks: int
) -> None:  # fmt: skip
    """The factors of coordinate i that products read."""
    raise RuntimeError("defined in the generated module")


def site_tangents(
    i: int, q: Any, dq: Any, out: Any, starts: Any, pieces: Any, slot: int, slots: int, blocks: int
) -> None:  # fmt: skip
    """Slopes of such factors times dq."""
    raise RuntimeError("defined in the generated module")


def move(
    q: Any, y: Any, p: Any, F: Any, inverse: Any, weight: float, step: float, r: int, f: int, m: int
) -> None:  # fmt: skip
    """p += weight F, y = q + step p/m."""
    raise RuntimeError("defined in the generated module")


def recoil(
    q: Any, y: Any, dq: Any, dp: Any, D: Any, inverse: Any, weight: float, step: float, r: int, f: int, m: int
) -> None:  # fmt: skip
    """dp += weight D, dq -= step dp/m."""
    raise RuntimeError("defined in the generated module")


def carry(q: Any, y: Any, dp: Any, inertia: Any, r: int, a: int) -> None:
    """inertia += (q - y) dp, what the gradient in masses is made of."""
    raise RuntimeError("defined in the generated module")


def clear_row(F: Any, f: int) -> None:
    """F = 0."""
    raise RuntimeError("defined in the generated module")
