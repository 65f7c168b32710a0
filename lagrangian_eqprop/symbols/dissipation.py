"""Dissipation in the symbols: the weight of damping in proportion to mass, and forces that no Lagrangian gives.

The action of e^{gamma t} L gives d/dt L_v + gamma L_v - L_q = 0 (Caldirola 1941, Kanai 1948), which is damping of every
coordinate in proportion to its mass. The weight enters the expression itself, so that every method reads it where
it reads the Lagrangian; a method with constant masses takes the Lagrangian without it and weighs by itself.

Any other force f_i(q, v, t), that of a dissipation function R with f_i = -dR/dv_i among them, is the term
K = sum of f_i w_i of an action in doubled variables, whose second set w are virtual displacements (Galley, Phys. Rev.
Lett. 110, 174301, 2013).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp

from ..errors import invalid
from .terms import Forces, LocalTerm, Places, Term, local_term, time_of

if TYPE_CHECKING:
    from .definition import Definition


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


def force_terms(system: Definition, rayleigh: Any, force: Any) -> Iterator[tuple[str, tuple, Any, Any]]:
    """What messages call it, local coordinates, expression or mapping, and places, of every force that is given."""
    for argument, given in (("rayleigh", rayleigh), ("force", force)):
        if given is None:
            continue
        mapping = argument == "force"
        if system.single:
            if mapping != isinstance(given, Mapping) or isinstance(given, (list, tuple)):
                must = "a mapping of coordinates to expressions" if mapping else "a sympy expression"
                raise invalid(argument, f"{must} for a system of one expression", repr(given))
            used = _functions(given)
            kept = [k for k, x in enumerate(system.coordinates) if x in used] or [0]
            yield argument, tuple(system.coordinates[k] for k in kept), given, np.array([kept])
            continue
        if not isinstance(given, (list, tuple)) or not given or not all(isinstance(term, Term) for term in given):
            raise invalid(argument, "a non-empty list of Terms for a network", repr(given))
        for number, term in enumerate(given):
            if mapping != isinstance(term.expression, Mapping):
                must = "a mapping of its coordinates to expressions" if mapping else "a sympy expression"
                raise invalid(f"the expression of term {number} of {argument}", must, repr(term.expression))
            on = tuple(term.on) if isinstance(term.on, (list, tuple)) else (term.on,)
            yield f"term {number} of {argument}", on, term.expression, term.at


def _functions(given: Any) -> set[Any]:
    """The coordinates that a force pushes or depends on."""
    if isinstance(given, Mapping):
        return set(given).union(*(_functions(value) for value in given.values()))
    atoms = getattr(given, "atoms", None)
    return atoms(sp.core.function.AppliedUndef) if atoms else set()


def force_term(
    given: Any, on: tuple[Any, ...], places: Places, declared: Mapping[sp.Symbol, tuple[str, int]], where: str,
    graph: Any,
) -> LocalTerm:  # fmt: skip
    """A dissipation function, or a mapping of coordinates to forces, as a term of forces."""
    if not isinstance(given, Mapping):
        term = local_term(given, on, places, declared, where, graph)
        if not term.indices("v"):
            raise invalid(where, "a function of velocities", f"{given}, which has none")
        return replace(term, root=graph.zero, forces=Forces(term.root, True))
    for key in given:
        if key not in on:
            raise invalid(f"keys of {where}", f"among the coordinates {', '.join(map(str, on))}", repr(key))
    virtual = [sp.Dummy(f"w{a}", real=True) for a in range(len(on))]
    try:
        values = [sp.sympify(given.get(x, 0), strict=True) for x in on]
        total = sum(w*value for w, value in zip(virtual, values, strict=True))
    except (sp.SympifyError, TypeError) as error:
        raise invalid(where, "sympy expressions", repr(dict(given))) from error
    known = {**declared, **{w: ("w", a) for a, w in enumerate(virtual)}}
    term = local_term(total, on, places, known, where, graph, idle=True)
    pushes = dict(zip(on, values, strict=True))
    return replace(term, root=graph.zero, expression=pushes, forces=Forces(term.root, False))
