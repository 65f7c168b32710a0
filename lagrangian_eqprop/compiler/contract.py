"""The functions that the emitter writes for a system, as kernels see them.

Each is a loop over the places of every term. ``env`` carries everything that is not a state (see
:class:`Environment`), ``b`` is the sample, ``j`` the time label of inputs, targets and weights, ``t`` the
time. Results are *added* to the arrays given last; ``g`` has the layout of ``env.theta``. L is the
Lagrangian, c the cost density, w its quadrature weight at label j (summed over costs).

Kernels import these names so that they can be read and type-checked; a generated module defines them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy import ndarray


class Environment(NamedTuple):
    """What a kernel reads besides the state: three flat buffers (few, since each costs compile time in every function).

    ``table`` begins with a header: number of time labels, where the slots and the pattern of a sparse Newton
    matrix stand (0: the matrix is dense), where in ``signals`` the tables of Gauss elements stand (0: there are
    none; their inputs have a label for each stage), where the times and steps of a composition stand, a time a
    label each, then a step a label, and the number of constraints. Then follow the layouts, whose length a generated
    module knows: of each parameter (offset in theta, stride of a sample, of a place), of each input and each target
    (offset in signals, stride of a sample, of a label, of a place), of each term (offset of its places, places or
    rows, columns, offset of its slots). Then the coordinates of all places.
    """

    theta: ndarray  # parameters of the system and of the costs
    signals: ndarray  # time of label 0, step, weights (costs x labels), inputs, targets; tables, or times and steps
    table: ndarray  # integers


HEADER = 6  # entries of the table before the layouts
LABELS, SLOTS, PATTERN, ELEMENTS, TIMES, MULTIPLIERS = range(HEADER)
CLOCK = 2  # entries of the signals before the weights


class Layout(NamedTuple):
    """Where the layouts stand in the table: a module knows how many there are, not how large anything is."""

    parameters: int
    inputs: int
    targets: int
    terms: int

    def of(self, kind: str, index: int) -> int:
        inputs = HEADER + 3*self.parameters
        targets = inputs + 4*self.inputs
        terms = targets + 4*self.targets
        costs = terms + 4*self.terms
        start = {"p": HEADER, "u": inputs, "y": targets, "term": terms, "cost": costs}[kind]
        return start + (3 if kind == "p" else 4)*index


def lagrangian(env: Environment, b: int, j: int, t: float, q: ndarray, v: ndarray) -> Any:
    """L(q, v, t)."""
    raise RuntimeError("defined in the generated module")


def gradient(env: Environment, b: int, j: int, t: float, q: ndarray, v: ndarray, Lq: ndarray, Lv: ndarray) -> None:
    """Lq += L_q + f, Lv += L_v; f are forces that no Lagrangian gives, where the system has them."""
    raise RuntimeError("defined in the generated module")


def hessian(
    env: Environment, b: int, j: int, t: float, q: ndarray, v: ndarray,
    cqq: Any, cqv: Any, cvq: Any, cvv: Any, H: ndarray,
) -> None:  # fmt: skip
    """H += cqq L_qq + cqv L_qv + cvq L_vq + cvv L_vv, flat (row, column) or by the slots; L_q stands for L_q + f."""
    raise RuntimeError("defined in the generated module")


def response(
    env: Environment, b: int, j: int, t: float, q: ndarray, v: ndarray, dq: ndarray, dv: ndarray,
    rq: ndarray, rv: ndarray, g: ndarray, weight: Any,
) -> None:  # fmt: skip
    """With T = (L_q + f) dq + L_v dv: rq += T_q, rv += T_v, g += weight T_theta."""
    raise RuntimeError("defined in the generated module")


def parameters(env: Environment, b: int, j: int, t: float, q: ndarray, v: ndarray, g: ndarray, weight: Any) -> None:
    """g += weight L_theta."""
    raise RuntimeError("defined in the generated module")


def mass(env: Environment, b: int, m: ndarray) -> None:
    """m += the diagonal of L_vv, for a separable Lagrangian."""
    raise RuntimeError("defined in the generated module")


def mass_parameters(env: Environment, b: int, a: ndarray, g: ndarray, weight: Any) -> None:
    """g += weight d(sum of a m)/dtheta, for a separable Lagrangian."""
    raise RuntimeError("defined in the generated module")


def force(env: Environment, b: int, j: int, t: float, q: ndarray, F: ndarray) -> None:
    """F += L_q, for a separable Lagrangian."""
    raise RuntimeError("defined in the generated module")


def force_response(
    env: Environment, b: int, j: int, t: float, q: ndarray, dq: ndarray, F: ndarray, dF: ndarray,
    g: ndarray, weight: Any,
) -> None:  # fmt: skip
    """F += L_q, dF += L_qq dq, g += weight d(L_q dq)/dtheta, for a separable Lagrangian."""
    raise RuntimeError("defined in the generated module")


def potential_parameters(env: Environment, b: int, j: int, t: float, q: ndarray, g: ndarray, weight: Any) -> None:
    """g += weight dL(q, 0)/dtheta, for a separable Lagrangian."""
    raise RuntimeError("defined in the generated module")


def rate(env: Environment, b: int) -> Any:
    """The rate gamma of damping in proportion to mass, for a system that has it."""
    raise RuntimeError("defined in the generated module")


def rate_parameters(env: Environment, b: int, g: ndarray, weight: Any) -> None:
    """g += weight d(gamma)/dtheta."""
    raise RuntimeError("defined in the generated module")


def constraint(env: Environment, b: int, j: int, t: float, q: ndarray, F: ndarray, H: ndarray) -> None:
    """Of a state q = (coordinates, multipliers): F += g and H += g_q in the rows of the multipliers, H flat."""
    raise RuntimeError("defined in the generated module")


def cost(env: Environment, b: int, j: int, t: float, q: ndarray) -> Any:
    """Sum of w c."""
    raise RuntimeError("defined in the generated module")


def cost_gradient(env: Environment, b: int, j: int, t: float, q: ndarray, F: ndarray, weight: Any) -> None:
    """F += weight w c_q."""
    raise RuntimeError("defined in the generated module")


def cost_hessian(env: Environment, b: int, j: int, t: float, q: ndarray, weight: Any, H: ndarray) -> None:
    """H += weight w c_qq, flat (row, column)."""
    raise RuntimeError("defined in the generated module")


def cost_parameters(env: Environment, b: int, j: int, t: float, q: ndarray, g: ndarray, weight: Any) -> None:
    """g += weight w c_theta."""
    raise RuntimeError("defined in the generated module")


def cost_response(
    env: Environment, b: int, j: int, t: float, q: ndarray, dq: ndarray, r: ndarray, g: ndarray, weight: Any
) -> None:
    """r += weight w c_qq dq, g += weight w d(c_q dq)/dtheta."""
    raise RuntimeError("defined in the generated module")
