"""What joins the stages of a Gauss step: the text of these functions, and how its kernels see them.

Kernels import the names below so that they can be read and type-checked; a generated module defines them. ``c`` to
``t`` are as in ``compiler.contract_unrolled``, ``a`` holds the rows of ``gauss_tables.columns``; a value has one stage
in each lane.
"""

from __future__ import annotations

from typing import Any

from numpy import ndarray

STAGES = 0
STAGED = False  # whether costs are sampled at the stages

State = tuple[Any, ...]


def stage_text(size: int, stages: int, staged: bool) -> str:
    """The functions that join stages; ``mixed`` multiplies a matrix, given by its columns, with lanes.

    ``staged`` says whether costs are sampled at the stages.
    """

    def names(prefix: str) -> str:
        return "".join(f"{prefix}{i}, " for i in range(size))

    def each(text: str) -> str:
        return "".join(text.replace("#", str(i)) + ", " for i in range(size))

    product, added = (f"mixed(a, row, x#, {stages}, {base})" for base in ("0.0", "y#"))
    most = "y"
    for i in range(size):
        most = f"larger({most}, magnitude(total(a[row]*x{i})))"
    return f'''
STAGES = {stages}
STAGED = {staged}


@straight
def joined(a, row, z):
    {names("x")}= z
    return ({each(product)})


@straight
def reached(a, row, z):
    {names("y")}{names("x")}= z
    return ({each(added)})


@straight
def summed(a, row, z):
    {names("y")}{names("x")}= z
    return ({each("y# + total(a[row]*x#)")})


@straight
def roughest(a, row, z):
    y, {names("x")}= z
    return ({most},)


@straight
def larger_of(z):
    x, y, = z
    return (larger(x, y),)


@straight
def weighed(a, row, z):
    {names("x")}= z
    return ({each("a[row]*x#")})


@straight
def swept(z):
    {names("x")}moved, fast, = z
    return ({names("x")})


@straight
def moments(a, row, t):
    return (t + a[row],)


@straight
def weights(a, row):
    return (a[row],)


@straight
def added(a, row, z):
    x, y, = z
    return (x + a[row]*y,)
'''


def force(c: ndarray, at: int, s: ndarray, table: ndarray, b: int, j: int, t: Any, z: State) -> State:
    """Of (Q, V): L_q."""
    raise RuntimeError("defined in the generated module")


def joined(a: ndarray, row: int, z: State) -> State:
    """The matrix whose columns are rows of ``a``, times the stages of each value."""
    raise RuntimeError("defined in the generated module")


sweep = force  # of (Q, V, P): V after the sweep, the largest change of a coordinate and the largest velocity
lagrangian = force  # of (Q, V): L
density = force  # of Q: the sum of the costs that are sampled at the stages
reached = joined  # of (x, y): x plus the product with y
summed = joined  # of (x, y): x plus the sums of the stages y with the weights in a row
roughest = joined  # of (x, y): the largest of x and the magnitudes of the weighted sums of the stages y
added = joined  # of (x, y): x plus a row of ``a`` times y
weighed = joined  # a row of ``a`` times each value


def swept(z: State) -> State:
    """V of what ``sweep`` returns."""
    raise RuntimeError("defined in the generated module")


larger_of = swept  # the larger of two


def weights(a: ndarray, row: int) -> State:
    """One row of ``a``."""
    raise RuntimeError("defined in the generated module")


def moments(a: ndarray, row: int, t: float) -> State:
    """The time of each stage."""
    raise RuntimeError("defined in the generated module")
