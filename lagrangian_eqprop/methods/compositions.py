"""Symmetric compositions: orders 4, 6 and 8 from a symmetric method of order 2.

A step h becomes sub-steps gamma_i h of the method, and the discrete Lagrangian the one of their sum,

    L_d(x, y) = ext over inner nodes z of sum_i L_d^{gamma_i h}(z_{i-1}, z_i),   z_0 = x,  z_s = y

so that a composition is the method itself on a grid of unequal steps, some of them negative, and everything that
is true of stationary points of its action (symmetry, the echo, gradients) is true as it stands. With gamma_i =
gamma_{s+1-i} the composition is symmetric; its order is the order to which exp(gamma_1 Y(h)) ... exp(gamma_s Y(h))
is exp(h X), where Y(gamma h) = gamma h X + (gamma h)^3 X_3 + (gamma h)^5 X_5 + ...

Sources: Suzuki (1990), Phys. Lett. A 146, 319 (order 4, 5 sub-steps); Kahan and Li (1997), Math. Comp. 66, 1089
(order 6, 9 sub-steps; order 8, 17 sub-steps); Hairer, Lubich and Wanner (2006), sections II.4 and V.3. All inner times
lie inside the step.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import invalid

_HALVES = {  # gamma_1, gamma_2, ... up to the middle one, which makes the sum 1
    4: (1/(4 - 4**(1/3)),)*2,
    6: (0.39216144400731413928, 0.33259913678935943860, -0.70624617255763935981, 0.082213596293550800230),
    8: (
        0.13020248308889008088, 0.56116298177510838456, -0.38947496264484728641, 0.15884190655515560090,
        -0.39590389413323757734, 0.18453964097831570709, 0.25837438768632204729, 0.29501172360931029887,
    ),
}  # fmt: skip
ORDERS = tuple(_HALVES)


def check_order(order: Any) -> int:
    """The order asked for; 2 is the method alone, and the default."""
    if order is None:
        return 2
    if isinstance(order, bool) or not isinstance(order, (int, np.integer)) or order not in (2, *ORDERS):
        raise invalid("order", "2, 4, 6 or 8", repr(order))
    return int(order)


def substeps(order: int) -> tuple[float, ...]:
    """gamma_1, ..., gamma_s of an order; 1 alone for order 2."""
    if order == 2:
        return (1.0,)
    half = _HALVES[order]
    return (*half, 1 - 2*sum(half), *half[::-1])
