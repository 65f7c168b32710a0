"""Ridge regression as an energy, its penalties learned on other data: contrastive meta-learning.

    E = sum over samples of (y_n - sum of x_ni w_i)^2/2 + sum over features of exp(r_i) w_i^2/2
    c = sum over held-out samples of (y_n - sum of x_ni w_i)^2/2

Source: Zucchet, Schug, von Oswald, Zhao and Sacramento, Adv. Neural Inf. Process. Syst. 35 (2022). The state is the
vector of regression weights w, the parameters are the logarithms r of the penalties, one a feature. At rest w solves
the regression; nudged, it solves it with the held-out samples weighed in by beta, and the rule for r_i reads w_i alone:
dJ/dr_i = d/dbeta of exp(r_i) w_i^2/2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy as sp

from ..boundary import Equilibrium
from ..symbols.cost import Cost
from ..symbols.terms import Term
from ..system import System
from .case import StaticCase, coordinates


def regression(features: int, samples: int, held_out: int, penalty: float = 0.0) -> tuple[System, Cost]:
    """The system of a regression with ``samples`` rows of data, and its cost with ``held_out`` others.

    Inputs are x0, x1, ... (one value a sample for each feature) and y; the targets of the cost are X0, X1, ... and Y.
    The parameter r, (features,), begins at ``penalty``.
    """
    w = coordinates(" ".join(f"w{i}" for i in range(features)))
    (a,) = coordinates("a")
    x, X = sp.symbols(f"x0:{features}"), sp.symbols(f"X0:{features}")
    r, y, Y = sp.symbols("r y Y")
    all_weights = np.arange(features)

    def misfit(y: sp.Symbol, x: tuple[sp.Symbol, ...]) -> sp.Expr:
        return (y - sum(p*q for p, q in zip(x, w)))**2/2

    def rows(count: int) -> np.ndarray:
        return np.tile(all_weights, (count, 1))

    system = System(
        energy=[Term(misfit(y, x), on=w, at=rows(samples)), Term(sp.exp(r)*a**2/2, on=[a], at=all_weights)],
        size=features,
        parameters={r: np.full(features, float(penalty))},
        inputs=[*x, y],
        name="ridge",
    )
    return system, Cost(misfit(Y, X), on=w, at=rows(held_out), targets=[*X, Y])


def values(x: np.ndarray, y: np.ndarray, names: str = "xy") -> dict[Any, np.ndarray]:
    """Data (..., n, features) and (..., n) by the names of inputs ("xy") or targets ("XY")."""
    return {**{f"{names[0]}{i}": x[..., i] for i in range(x.shape[-1])}, names[1]: y}


def case() -> StaticCase:
    """Three features, one of which does not matter; six samples and four held out."""
    system, cost = regression(3, 6, 4)
    n = np.arange(10)
    x = np.stack([np.sin(1.0 + 2.1*n), np.cos(0.3 + 1.3*n), np.sin(2.0 + 0.9*n**2)], 1)
    y = x @ np.array([1.0, -0.5, 0.0]) + 0.2*np.cos(3.7*n)
    return StaticCase(
        name="ridge",
        title="Ridge regression with learned penalties",
        formula="E = sum (y_n - x_n w)^2/2 + sum exp(r_i) w_i^2/2",
        system=system,
        start=Equilibrium(tolerance=1e-12),
        cost=cost,
        targets=values(x[6:], y[6:], "XY"),
        inputs=values(x[:6], y[:6]),
        labels=tuple(f"$w_{{{i}}}$ (dimensionless)" for i in range(3)),
    )
