"""The functions that the emitter writes for an unrolled system, as its kernels see them.

State is a tuple with one value a coordinate, each value in lanes; tuples are joined with +. ``c`` is the
coefficient table and ``at`` the entry where a step's coefficients begin (see ``fill``), ``s`` and ``table`` the
signals and the table of :class:`~lagrangian_eqprop.compiler.contract.Environment`, ``b`` the first sample of
the block, ``j`` the label, ``t`` the time. Rows of the arrays z, g and array hold values in lanes.

Kernels import these names so that they can be read and type-checked; a generated module defines them.
"""

from __future__ import annotations

from typing import Any

from numpy import ndarray

SIZE = 0  # coordinates
COEFFICIENTS = 0  # entries of the coefficient table for one step
WIDTH = 0  # lanes
STATE = 0  # rows of positions and momenta
LOCAL = False  # whether the state is kept in registers from step to step
PART = 0  # steps that are integrated again at once on the way back

State = tuple[Any, ...]
_Table = ndarray


def coefficients(theta: ndarray, table: _Table, b: int, h: float, stride: float, c: ndarray, at: int) -> None:
    """Fill the coefficients of a step h from ``at`` on."""


def bound(c: ndarray, at: int, s: ndarray, table: _Table, b: int, j: int, t: float, z: State) -> State:
    """Of q: an upper bound on the eigenvalues of M^-1 V''."""
    raise RuntimeError("defined in the generated module")


def kick(*arguments: Any) -> None:
    """p + h L_q(q) in place."""


def step(*arguments: Any) -> None:
    """p + h L_q(q) in place, and q + h p/m into the rows of the next node, or the same."""


def newton(c: ndarray, at: int, s: ndarray, table: _Table, b: int, j: int, t: float, z: State) -> State:
    """Of (q, p, V): q, p and V at the end of the step after one iteration, and by how much it has not converged."""
    raise RuntimeError("defined in the generated module")


def respond(*arguments: Any) -> None:
    """The linear response of a step of midpoint, dq and dp in place, with its sums."""


def swing(*arguments: Any) -> None:
    """The linear response of Verlet: dp -= h F' dq, then dq -= h dp/m, in place, with their sums."""


def loss(
    c: ndarray, at: int, s: ndarray, table: _Table, b: int, j: int, t: float, totals: ndarray, k: int, q: State
) -> None:  # fmt: skip
    """totals[k] += w c(q) for all costs."""


def nudge(
    c: ndarray, at: int, s: ndarray, table: _Table, b: int, j: int, t: float, g: ndarray, row: int,
    places: ndarray, here: int, w: ndarray, at_p: int,
) -> None:  # fmt: skip
    """dp += w c_q(q) for all costs, in place, with their sums."""


def largest_lane(value: Any) -> float:
    """The largest lane of a value; lanes that are nan do not count."""
    raise RuntimeError("imported by the generated module")


def local_rows(like: ndarray, rows: int, width: int) -> ndarray:
    """Rows on the stack, which stay in registers where they are few."""
    raise RuntimeError("imported by the generated module")


def scale_sums(c: ndarray, at: int, g: ndarray, row: int) -> None:
    """Apply the static factors of the sums."""


def positions(z: ndarray, row: int) -> State:
    """The first SIZE rows from ``row`` on; ``momenta`` the next, ``velocities`` the third."""
    raise RuntimeError("defined in the generated module")


momenta = velocities = positions


def number(z: ndarray, row: int) -> State:
    """One row."""
    raise RuntimeError("defined in the generated module")


def store_number(array: ndarray, row: int, z: State) -> None:
    """Put one value into a row."""


def store_worst(array: ndarray, row: int, z: State) -> None:
    """Put one value into a row, in the lanes where it is positive."""


def store_row(array: ndarray, row: int, z: State) -> None:
    """Put SIZE values into the rows from ``row`` on."""


def part_q(z: State) -> State:
    """The first SIZE of 3 SIZE + 1 values; ``part_p``, ``part_v`` and ``part_rest`` the following."""
    raise RuntimeError("defined in the generated module")


part_p = part_v = part_rest = part_q


def mean(z: State) -> State:
    """Of (x, y): (x + y)/2."""
    raise RuntimeError("defined in the generated module")


def scaled(factor: float, z: State) -> State:
    """Every value times a factor."""
    raise RuntimeError("defined in the generated module")


def extrapolated(z: State) -> State:
    """Of (x, y, u), the latest first: 3 (x - y) + u, the parabola through them one step on."""
    raise RuntimeError("defined in the generated module")


def spoiled(lost: float, z: State) -> State:
    """Of (x, excess): ``lost`` in the lanes where excess is positive, x elsewhere."""
    raise RuntimeError("defined in the generated module")
