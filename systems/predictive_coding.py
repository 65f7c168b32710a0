"""Predictive coding: every unit pays for its distance from what the layer below predicts.

    E = sum over layers and units of (s_i - tanh(sum over j of w_ij s_j + b_i))^2/2

Source: Whittington and Bogacz, Neural Comput. 29 (2017) 1229. A network of 3 inputs, 4 hidden units and 2 outputs.
Without a nudge nothing is left to pay and the state is that of the feedforward network, so the limit of equilibrium
propagation is exactly backpropagation. A term couples one unit to all of the layer below, with one weight for each:
``w0`` holds the weights that come from the first unit below, and so on.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from ..boundary import Equilibrium
from ..symbols.cost import Cost
from ..symbols.terms import Term
from ..system import System
from .case import StaticCase, coordinates
from .oscillators_dense import couplings

INPUTS, HIDDEN, OUTPUTS = np.arange(3), np.arange(3, 7), np.arange(7, 9)


def case() -> StaticCase:
    """Three samples."""
    s, *below = coordinates("s x0 x1 x2 x3")
    first, second = sp.symbols("w0:3"), sp.symbols("v0:4")
    b, c, u, y = sp.symbols("b c u y")

    def layer(weights: tuple[sp.Symbol, ...], bias: sp.Symbol, lower: np.ndarray, upper: np.ndarray) -> Term:
        on = below[: len(lower)]
        guess = sp.tanh(sum(w*x for w, x in zip(weights, on)) + bias)
        return Term((s - guess)**2/2, on=[s, *on], at=np.column_stack([upper, np.tile(lower, (len(upper), 1))]))

    w, v = couplings(3, 4, 0.8), couplings(4, 2, 0.9)
    return StaticCase(
        name="predictive_coding",
        title="Predictive coding",
        formula="E = sum (s_i - tanh(sum w_ij s_j + b_i))^2/2",
        system=System(
            energy=[layer(first, b, INPUTS, HIDDEN), layer(second, c, HIDDEN, OUTPUTS)],
            size=9,
            parameters={**dict(zip(first, w)), **dict(zip(second, v)), b: [0.1, -0.2, 0.3, 0.0], c: [0.2, -0.1]},
            clamped={u: INPUTS},
            name="predictive_coding",
        ),
        start=Equilibrium(tolerance=1e-12),
        cost=Cost((s - y)**2/2, on=[s], at=OUTPUTS, targets=[y]),
        targets={y: np.array([[0.5, -0.5], [-0.3, 0.2], [0.1, 0.6]])},
        inputs={u: np.array([[0.4, -1.0, 0.8], [-0.6, 0.3, 0.9], [1.1, 0.2, -0.7]])},
        labels=tuple(f"$s_{{{unit}}}$ (dimensionless)" for unit in range(9)),
    )
