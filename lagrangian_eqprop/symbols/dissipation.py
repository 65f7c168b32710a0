"""Dissipation in the symbols: the weight of damping in proportion to mass.

The action of e^{gamma t} L gives d/dt L_v + gamma L_v - L_q = 0 (Caldirola 1941, Kanai 1948), which is damping of every
coordinate in proportion to its mass. The weight enters the expression itself, so that every method reads it where
it reads the Lagrangian; a method with constant masses takes the Lagrangian without it and weighs by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import sympy as sp

from ..errors import invalid
from .terms import LocalTerm, time_of


@dataclass(frozen=True)
class Damping:
    """The rate gamma: the parameter of this index, or a number."""

    parameter: int | None
    number: float
    symbol: sp.Expr

    def __str__(self) -> str:
        """What generated code depends on."""
        return f"damping {self.number!r}" if self.parameter is None else f"damping p{self.parameter}"


def damping_of(given: Any, parameters: Mapping[sp.Symbol, np.ndarray]) -> Damping | None:
    """Check the rate; None where there is none."""
    must = "a Symbol of parameters with one value, or a finite real number"
    if given is None:
        return None
    if isinstance(given, sp.Symbol):
        if given not in parameters:
            raise invalid("damping", must, f"{given.name!r}, which is not in parameters")
        if parameters[given].ndim:
            raise invalid("damping", must, f"{given.name!r} of shape {parameters[given].shape}")
        return Damping(list(parameters).index(given), 0.0, given)
    number = isinstance(given, (int, float, np.integer, np.floating, sp.Number)) and not isinstance(given, bool)
    if not number or not np.isfinite(float(given)):
        raise invalid("damping", must, repr(given))
    return Damping(None, float(given), sp.Float(float(given))) if given else None


def weighted(term: LocalTerm, damping: Damping) -> LocalTerm:
    """The term times e^{gamma t}; what it was before stays as ``bare``."""
    graph = term.graph
    parameter = damping.parameter
    rate = graph.number(damping.number) if parameter is None else graph.symbol("p", parameter)
    weight = graph.call("exp", graph.times(rate, graph.symbol("t")))
    expression = sp.exp(damping.symbol*time_of(term.on[0], "coordinates"))*term.expression
    return replace(term, root=graph.times(weight, term.root), bare=term.root, expression=expression)
