"""What the expression allows: does the Lagrangian separate with a constant diagonal mass?

The answer is kept in the cache as JSON, so that a system seen before is not differentiated again.
"""

from __future__ import annotations

import json
import os
import tempfile
from typing import NamedTuple

from ..symbols.definition import Definition
from . import cache
from .derivatives import gradient
from .lowering import Local


class Separability(NamedTuple):
    """Whether L = sum of m v^2/2 - V(q, t), and where not."""

    separable: bool
    term: int
    reason: str  # with {0}, {1} for the coordinates meant
    first_order: bool = False  # whether L has velocities, and is linear in all of them


def separability(system: Definition) -> Separability:
    """Look the system up in the cache, or differentiate it."""
    if "_separability" not in system.__dict__:
        system.__dict__["_separability"] = _kept(system)
    return system.__dict__["_separability"]


def _kept(system: Definition) -> Separability:
    path = cache.folder() / f"{cache.name_of('separability', system.digest)}.json"
    try:
        return Separability(*json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        found = _analyse(system)._replace(first_order=_linear(system))
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(found, file)
    os.replace(temporary, path)
    return found


def why_not(system: Definition) -> str:
    """The reason why the system is not separable, in the user's words; empty if it is."""
    found = separability(system)
    if found.separable:
        return ""
    term = system.terms[found.term]
    local = [f"the velocity of {x.func.__name__}" for x in term.on]
    return f"{term.label} {found.reason.format(*local)}"


def _analyse(system: Definition) -> Separability:
    for number, term in enumerate(system.terms):
        if term.forces is not None:
            return Separability(False, number, "is a force that no potential gives")
        local = Local(term)
        if term.bare is not None:
            local.root = term.bare
        graph = local.graph
        rest = dict.fromkeys(local.v, graph.zero)
        momenta = local.slopes()[1]
        for a, momentum in enumerate(momenta):
            rows = gradient(graph, momentum, local.v)
            for other, entry in enumerate(rows):
                if other != a and entry != graph.zero:
                    return Separability(False, number, f"couples {{{a}}} and {{{other}}}")
            depends = {kind for kind, _ in graph.symbols([rows[a]])} - {"p"}
            if "v" in depends:
                return Separability(False, number, f"is not quadratic in {{{a}}}")
            if depends:
                what = {"q": "coordinates", "u": "inputs", "t": "time"}[min(depends)]
                return Separability(False, number, f"multiplies the square of {{{a}}} by a function of {what}")
            if graph.substitute([momentum], rest)[0] != graph.zero:
                return Separability(False, number, f"is linear in {{{a}}} beside its square")
    return Separability(True, -1, "")


def is_first_order(system: Definition) -> bool:
    """Whether the Lagrangian has velocities, and is linear in all of them."""
    return separability(system).first_order


def _linear(system: Definition) -> bool:
    terms = [Local(term) for term in system.terms if term.forces is None and term.indices("v")]
    for local in terms:
        kinds = {kind for kind, _ in local.graph.symbols(local.slopes()[1])}
        if "v" in kinds:
            return False
    return bool(terms)


def why_not_constant(system: Definition) -> str:
    """The reason why L_vq of a Lagrangian linear in the velocities is not constant, in the user's words."""
    for term in system.terms:
        local = Local(term)
        momenta = local.slopes()[1]
        kinds = {kind for kind, _ in local.graph.symbols(momenta)} - {"p", "q"}
        curved = {
            kind for momentum in momenta for kind, _ in local.graph.symbols(gradient(local.graph, momentum, local.q))
        } - {"p"}
        if kinds or curved:
            what = {"q": "coordinates", "u": "inputs", "t": "time"}[min(kinds or curved)]
            return f"{term.label} multiplies a velocity by a function of {what}" + (
                "" if kinds else " that is not linear"
            )
    return ""
