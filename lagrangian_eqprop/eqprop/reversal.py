"""Does a device turn back by itself? What of a system, said in symbols, must change for its way back.

With R(q, p) = (q, -p), the map Phi of one step obeys R Phi R = Phi^-1 if and only if L_d(x, y) = L_d(y, x): the method
is symmetric and L even in the velocities. Then a device whose momenta are flipped retraces its path by going on, its
inputs played backwards. Where L is odd in some velocity, the path back is that of L(q, -v, t): the same device with its
field reversed. What depends on the time explicitly is an input too, the clock, and is played backwards.

Source: Pourcel and Ernoult (2025, arXiv:2506.05259) for the echo of Hamiltonian systems; Hairer, Lubich and Wanner
(2006), section V.1, for reversible maps and symmetric methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import sympy as sp

from ..methods import Method
from ..symbols.definition import Definition
from ..symbols.evaluate import evaluate
from ..symbols.terms import LocalTerm, Term, time_of

CLOCK = "the clock of the device"


def check_reversible(system: Definition, method: Method, reversal: str) -> None:
    """Refuse a system or a method whose forward map, after a flip of the momenta, does not go back.

    Raises
    ------
    ValueError
        Naming the method, or the term and what in it is odd in the velocities.
    """
    if not method.symmetric:
        raise ValueError(
            f"method must be symmetric for Echo, L_d(x, y) = L_d(y, x) for an even Lagrangian; {method.name!r} is not"
        )
    if reversal == "field":
        return
    for number, term in enumerate(system.terms):
        if odd(term):
            raise ValueError(
                f"reversal must be 'field' where a flip of the momenta alone does not turn the motion back: term "
                f"{number} is odd in the velocity: a magnetic or gyroscopic term {_short(odd_part(term))}"
            )


def odd(term: LocalTerm) -> bool:
    """Whether L(q, -v, t) differs from L(q, v, t)."""
    known = term.__dict__.setdefault("_odd", [])
    if not known:
        known.append(_odd(term))
    return known[0]


def _odd(term: LocalTerm) -> bool:
    graph = term.graph
    v = [graph.symbol("v", a) for a in range(term.size)]
    (turned,) = graph.substitute([term.root], {x: graph.sum([(x, -1)]) for x in v})
    if turned == term.root or odd_part(term) == 0:
        return False
    rng = np.random.default_rng(0)  # an identity that expanding does not see, such as one of trigonometry
    ranges = {"q": (-1.0, 1.0), "v": (-0.3, 0.3)}
    leaves = {s: rng.uniform(*ranges.get(s[0], (0.5, 1.5)), 16) for s in graph.symbols([term.root, turned])}
    here, there = (np.broadcast_to(value, 16) for value in evaluate(graph, [term.root, turned], leaves))
    seen = np.isfinite(here) & np.isfinite(there)
    same = np.abs(here - there) <= 1e-12*(1 + np.abs(here))
    return not (seen.sum() >= 4 and same[seen].all())


def odd_part(term: LocalTerm) -> sp.Expr:
    """(L(q, v, t) - L(q, -v, t))/2, expanded."""
    return sp.expand((term.expression - _turned(term))/2)


def _turned(term: LocalTerm) -> sp.Expr:
    """L(q, -v, t)."""
    time = time_of(term.on[0], "coordinates")
    dummies = {x.diff(time): sp.Dummy() for x in term.on}
    turned = term.expression.xreplace(dummies)
    return turned.xreplace({dummy: -v for v, dummy in dummies.items()})


def instructions(system: Definition, reversal: str) -> tuple[str, ...]:
    """What a device must do at the turn, one sentence each."""
    found = ["the momenta change their signs"]
    found += [f"the input {symbol.name} is played backwards" for symbol in system.inputs]
    for number, term in enumerate(system.terms):
        if _timed(term):
            found.append(f"the time in term {number} runs backwards")
    if reversal == "field":
        signs: list[str] = []
        for number, term in enumerate(system.terms):
            if odd(term):
                field = _field(system, term)
                signs.append(f"{field} changes its sign" if field else
                             f"{_short(odd_part(term))} in term {number} changes its sign")  # fmt: skip
        found += dict.fromkeys(signs)
    return tuple(found)


def _timed(term: LocalTerm) -> bool:
    return ("t", 0) in term.graph.symbols([term.root])


def _field(system: Definition, odd_term: LocalTerm) -> str:
    """The parameter or input whose sign does in every term what that of the velocities does; empty if there is none."""
    for symbol in (*system.parameters, *system.inputs):
        terms = [term for term in system.terms if symbol in term.expression.free_symbols]
        if odd_term in terms and all(sp.expand(_turned(t) - t.expression.subs(symbol, -symbol)) == 0 for t in terms):
            return symbol.name
    return ""


def _short(expression: sp.Expr, limit: int = 120) -> str:
    """An expression without its arguments of time, on one line."""
    time = sorted(expression.atoms(sp.core.function.AppliedUndef), key=str)
    plain = expression.xreplace({x.diff(x.args[0]): sp.Symbol(f"{x.func.__name__}'") for x in time})
    text = str(plain.xreplace({x: sp.Symbol(x.func.__name__) for x in time}))
    return text if len(text) <= limit else text[:limit] + "..."


def device(system: Definition, reversal: str) -> Definition:
    """The system as it runs on its way back: its time an input, the last one, and with 'field' L(q, -v, t).

    The system itself where neither changes it.
    """
    known: dict[str, Definition] = system.__dict__.setdefault("_devices", {})
    if reversal not in known:
        known[reversal] = _device(system, reversal)
    return known[reversal]


def _device(system: Definition, reversal: str) -> Definition:
    timed = any(map(_timed, system.terms))
    if not timed and not (reversal == "field" and any(map(odd, system.terms))):
        return system
    clock = sp.Symbol(CLOCK, real=True)
    expressions = []
    for term in system.terms:
        expression = _turned(term) if reversal == "field" else term.expression
        time = time_of(term.on[0], "coordinates")
        kept: dict[Any, Any] = {x.diff(time): sp.Dummy() for x in term.on} | {x: sp.Dummy() for x in term.on}
        expression = expression.xreplace(kept).xreplace({time: clock})
        expressions.append(expression.xreplace({dummy: x for x, dummy in kept.items()}))
    inputs: Sequence[sp.Symbol] = [*system.inputs, *([clock] if timed else [])]
    options: dict[str, Any] = {"parameters": system.parameters, "inputs": list(inputs), "name": f"{system.name} back"}
    if system.single:
        return Definition(expressions[0], coordinates=list(system.coordinates), **options)
    terms = [Term(e, on=s.on, at=s.at) for e, s in zip(expressions, system.source_terms, strict=True)]
    return Definition(terms, size=system.size, **options)
