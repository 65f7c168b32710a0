"""Holonomic constraints g(q; theta) = 0, read as terms lambda g whose multipliers lambda are coordinates too.

Multiplier k stands behind the d coordinates of the system, at index d + k. So the derivatives of L + sum of lambda g
with respect to coordinates, multipliers and parameters come from the same lowering as those of L.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp
from sympy.core.function import AppliedUndef

from ..errors import invalid
from .graph import Graph
from .terms import LocalTerm, Places, Term, local_term, places_of, time_of

if TYPE_CHECKING:
    from .definition import Definition

MULTIPLIER = sp.Symbol("lambda")


def read_constraints(
    constraints: Any, coordinates: tuple[Any, ...], size: int, declared: Mapping[sp.Symbol, tuple[str, int]],
    graph: Graph,
) -> tuple[LocalTerm, ...]:  # fmt: skip
    """The terms lambda g of a list of constraints: expressions in ``coordinates``, or Terms of a network.

    Raises
    ------
    ValueError
        If a constraint is not a function of coordinates and parameters alone.
    """
    if not isinstance(constraints, (list, tuple)):
        raise invalid("constraints", "a list of expressions (of a network: Terms) that vanish", repr(constraints))
    found: list[LocalTerm] = []
    first = size
    for number, constraint in enumerate(constraints):
        where = f"constraint {number}"
        if isinstance(constraint, Term) == bool(coordinates):
            form = "an expression in the coordinates" if coordinates else "a Term of the network"
            raise invalid(where, form, repr(constraint))
        if isinstance(constraint, Term):
            on = tuple(constraint.on) if isinstance(constraint.on, (list, tuple)) else (constraint.on,)
            places, expression = places_of(constraint.at, len(on), size, where), constraint.expression
            if places.kind != "table":
                raise invalid(f"at of {where}", "a table of coordinates", repr(constraint.at))
        else:
            atoms = getattr(constraint, "atoms", None)
            used = atoms(AppliedUndef) if atoms else set()
            chosen = [k for k, x in enumerate(coordinates) if x in used]
            if not chosen:
                raise invalid(where, f"in the coordinates {', '.join(map(str, coordinates))}", repr(constraint))
            on, expression = tuple(coordinates[k] for k in chosen), constraint
            places = places_of(np.array([chosen]), len(on), size, where)
        local = local_term(expression, on, places, declared, where, graph)
        for kind, what in (("v", "a velocity"), ("u", "an input"), ("t", "the time")):
            if local.indices(kind):
                raise invalid(where, "a function of coordinates and parameters alone", f"{what} in it")
        root = graph.times(graph.symbol("q", len(on)), local.root)
        multipliers = first + np.arange(places.count)
        table = np.ascontiguousarray(np.column_stack([places.table, multipliers]), np.int64)
        wider = Places("table", table, places.shape, len(on) + 1)
        found.append(LocalTerm(graph, root, wider, where, expression, (*on, MULTIPLIER)))
        first += places.count
    if first - size >= size:
        raise invalid("constraints", f"fewer than the {size} coordinates", f"{first - size} of them")
    return tuple(found)


def widened(system: Definition) -> Definition:
    """The system L + lambda g whose coordinates are those of a constrained system and its multipliers."""
    kept = system.__dict__
    if "_widened" not in kept:
        wider = copy.copy(system)
        derived = {name for name in kept if name.startswith("_") and name != "_declared"}
        derived |= {name for name in kept if isinstance(getattr(type(system), name, None), functools.cached_property)}
        wider.__dict__ = {name: value for name, value in kept.items() if name not in derived}
        wider.size = system.size + system.multipliers
        wider.terms, wider.constraints = (*system.terms, *system.constraints), ()
        if system.single:
            time = time_of(system.coordinates[0], "coordinates")
            more = (sp.Function(f"{MULTIPLIER}_{k}")(time) for k in range(system.multipliers))
            wider.coordinates = (*system.coordinates, *more)
        kept["_widened"] = wider
    return kept["_widened"]
