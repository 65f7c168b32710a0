"""Read-only sympy views of a definition: what the textbook would write. Nothing is simplified."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sympy as sp

from ..errors import invalid
from .terms import LocalTerm, time_of

if TYPE_CHECKING:
    from .definition import Definition
    from .terms import LocalTerm

LARGEST = 64  # coordinates; a view of more would be pages long


def coordinates(system: Definition) -> list[sp.Expr]:
    """The coordinates: the user's own, or q_0(t), q_1(t), ... of a network."""
    if system.single:
        return list(system.coordinates)
    if system.size > LARGEST:
        raise invalid("size", f"at most {LARGEST} for a sympy view of a network", system.size)
    time = time_of(system.terms[0].on[0], "coordinates")
    return [sp.Function(f"q_{index}")(time) for index in range(system.size)]


def lagrangian(system: Definition) -> sp.Expr:
    """The sum of the terms over their places; an array parameter k becomes k_0, k_1, ..."""
    if system.single:
        return system.terms[0].expression
    q = coordinates(system)
    total = sp.S.Zero
    for term in system.terms:
        if term.forces is not None:
            continue
        for place, row in zip(term.places.places(), term.places.rows_of_coordinates(), strict=True):
            total += _moved(system, term, term.expression, term.on, place, [q[index] for index in row])
    return total


def constraints(system: Definition) -> list[sp.Expr]:
    """What vanishes on a constrained system, one expression a place."""
    q, found = coordinates(system), []
    for term in system.constraints:
        on = term.on[:-1]  # without the multiplier
        for place, row in zip(term.places.places(), term.places.rows_of_coordinates(), strict=True):
            found.append(_moved(system, term, term.expression, on, place, [q[index] for index in row[: len(on)]]))
    return found


def _moved(
    system: Definition, term: LocalTerm, expression: sp.Expr, on: tuple, place: int, row: list[sp.Expr]
) -> sp.Expr:  # fmt: skip
    """An expression of a term at one of its places, where the coordinates ``row`` stand for the local ones."""
    if system.single:
        return expression
    time = row[0].args[0]
    arrays = [s for k, s in enumerate(system.parameters) if k in term.indices("p") and system.parameters[s].ndim]
    inputs = [system.inputs[k] for k in term.indices("u")]
    local = dict(zip(on, row, strict=True))
    own = {s: sp.Symbol(f"{s.name}_{place}", **s.assumptions0) for s in (*arrays, *inputs)}
    moved = {x.diff(time): local[x].diff(time) for x in on}
    return expression.xreplace({**moved, **local, **own})


def _frozen(system: Definition) -> tuple[sp.Expr, list[sp.Symbol], list[sp.Symbol], dict]:
    """The Lagrangian in plain real symbols for coordinates and velocities, and the way back."""
    q = coordinates(system)
    time = q[0].args[0]
    positions = [sp.Dummy(f"q{i}", real=True) for i in range(len(q))]
    velocities = [sp.Dummy(f"v{i}", real=True) for i in range(len(q))]
    forward = {x.diff(time): v for x, v in zip(q, velocities, strict=True)}
    frozen = system.lagrangian.xreplace(forward).xreplace(dict(zip(q, positions, strict=True)))
    back = {v: x.diff(time) for x, v in zip(q, velocities, strict=True)} | dict(zip(positions, q, strict=True))
    return frozen, positions, velocities, back


def momenta(system: Definition) -> list[sp.Expr]:
    frozen, _, velocities, back = _frozen(system)
    return [frozen.diff(v).xreplace(back) for v in velocities]


def equations(system: Definition) -> list[sp.Eq]:
    """With constraints g_k = 0: d/dt L_v - L_q - sum of lambda_k g_k,q = 0, and the constraints."""
    frozen, positions, velocities, back = _frozen(system)
    time = coordinates(system)[0].args[0]
    forward = {x: s for s, x in back.items() if s in positions}
    g = [constraint.xreplace(forward) for constraint in constraints(system)]
    work = sum((sp.Function(f"lambda_{k}")(time)*each for k, each in enumerate(g)), sp.S.Zero)
    motion = [
        sp.Eq(frozen.diff(v).xreplace(back).diff(time) - (frozen + work).diff(x).xreplace(back), force)
        for x, v, force in zip(positions, velocities, forces(system), strict=True)
    ]
    return motion + [sp.Eq(each.xreplace(back), 0) for each in g]


def forces(system: Definition) -> list[sp.Expr]:
    """The forces that no Lagrangian gives, one a coordinate."""
    q = coordinates(system)
    total = [sp.S.Zero]*len(q)
    for term in system.terms:
        if term.forces is None:
            continue
        pushes = _slopes(term) if term.forces.rayleigh else term.expression
        for place, row in zip(term.places.places(), term.places.rows_of_coordinates(), strict=True):
            for x, index in zip(term.on, row, strict=True):
                total[index] += _moved(system, term, pushes[x], term.on, place, [q[i] for i in row])
    return total


def _slopes(term: LocalTerm) -> dict[sp.Expr, sp.Expr]:
    """-dR/dv of a dissipation function, by local coordinate."""
    time = time_of(term.on[0], "coordinates")
    velocities = {x: sp.Dummy(f"v{a}", real=True) for a, x in enumerate(term.on)}
    positions = {x: sp.Dummy(f"q{a}", real=True) for a, x in enumerate(term.on)}
    frozen = term.expression.xreplace({x.diff(time): v for x, v in velocities.items()}).xreplace(positions)
    back = {v: x.diff(time) for x, v in velocities.items()} | {p: x for x, p in positions.items()}
    return {x: -frozen.diff(v).xreplace(back) for x, v in velocities.items()}


def mass_matrix(system: Definition) -> sp.Matrix:
    frozen, _, velocities, back = _frozen(system)
    return sp.Matrix([[frozen.diff(v).diff(w).xreplace(back) for w in velocities] for v in velocities])


def hamiltonian(system: Definition) -> sp.Expr:
    """With L = v M v/2 + b v - V: H = (p - b) M^-1 (p - b)/2 + V, in momenta named p_<coordinate>."""
    frozen, _, velocities, back = _frozen(system)
    mass = sp.Matrix([[frozen.diff(v).diff(w) for w in velocities] for v in velocities])
    if any(entry.has(*velocities) for entry in mass):
        must = "quadratic in the velocities for a closed Hamiltonian"
        raise invalid("the Lagrangian", must, "another kinetic energy")
    rest = dict.fromkeys(velocities, sp.S.Zero)
    linear = sp.Matrix([frozen.diff(v).xreplace(rest) for v in velocities])
    names = [x.func.__name__ for x in coordinates(system)]
    p = sp.Matrix([sp.Symbol(f"p_{name}", real=True) for name in names]) - linear
    kinetic = (p.T * mass.LUsolve(p))[0, 0] / 2
    return (kinetic - frozen.xreplace(rest)).xreplace(back)
