"""Costs: what a trajectory is judged by, and what nudges it."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sympy as sp

from ..errors import invalid
from .definition import Definition, _default
from .graph import Graph
from .reading import Reader
from .terms import LocalTerm, check_names, local_term, places_of


class Cost:
    """A cost density c(q, t) and where and when it counts: J = sum over nodes of w_k c(q_k, t_k).

    Parameters
    ----------
    expression : sympy expression
        In coordinates, velocities (``q.diff()``), targets, the time, and parameters of the cost or of the system. A
        momentum is its expression in velocities, as ``system.momenta`` gives it. The logarithm of a
        sum of exponentials (a softmax over several coordinates) is computed with its maximum subtracted.
    targets : sequence of Symbol
        Quantities the outcome is compared with, given with each call. Those of a terminal cost have no time
        axis: a number, or one value a sample.
    on, at : as for Term
        Local coordinates and the places of a network where the cost applies; places are summed. Without
        them the expression is in the system's own coordinates.
    parameters : mapping of Symbol to array_like
        Trainable parameters of the cost (a readout) and their defaults.
    when : "path" or "end"
        Weights: the trapezoidal rule (step, half of it at both ends), or 1 at the last node alone.
    weights : array_like, shape (N+1,), optional
        Replaces them.
    quadrature : "nodes" or "method"
        Where a path cost is sampled. At the nodes J is of second order in the step, whatever the order of the
        method. With "method" J is the quadrature of the method itself and has its order: Gauss samples at its
        stages, with weights h b_i; Verlet at the nodes, those of its sub-steps included where ``order`` is 4, 6 or 8;
        midpoint refuses. Between nodes targets must be callables of the time, or constant.
    """

    def __init__(
        self,
        expression: Any,
        targets: Sequence[Any] = (),
        *,
        on: Sequence[Any] | None = None,
        at: Any = None,
        parameters: Mapping[Any, Any] | None = None,
        when: str = "path",
        weights: Any = None,
        quadrature: str = "nodes",
    ) -> None:
        if quadrature not in ("nodes", "method"):
            raise invalid("quadrature", "'nodes' or 'method'", repr(quadrature))
        if quadrature == "method" and (when == "end" or weights is not None):
            came = "'method' and " + ("when='end'" if when == "end" else "weights")
            raise invalid("quadrature", "'nodes' for a cost at the end or with weights of its own", came)
        if when not in ("path", "end"):
            raise invalid("when", "'path' or 'end'", repr(when))
        if (on is None) != (at is None):
            raise invalid("at", "given together with on", "one of the two")
        parameters = {} if parameters is None else parameters
        if not isinstance(parameters, Mapping):
            raise invalid("parameters of the cost", "a mapping of Symbols to default values", type(parameters).__name__)
        if not isinstance(targets, (list, tuple)):
            raise invalid("targets of the cost", "a list of Symbols", repr(targets))
        check_names({"targets of the cost": targets, "parameters of the cost": parameters})
        self.expression = expression
        self.targets = tuple(targets)
        self.on = None if on is None else (tuple(on) if isinstance(on, (list, tuple)) else (on,))
        self.at = at
        self.parameters = {symbol: _default(symbol, value) for symbol, value in parameters.items()}
        self.when = when
        self.quadrature = quadrature
        self.weights = None
        if weights is not None:
            self.weights = np.array(weights, float)
            if self.weights.ndim != 1 or not np.isfinite(self.weights).all():
                raise invalid("weights", "finite, of shape (N+1,)", f"shape {self.weights.shape}")

    @functools.cached_property
    def sees_velocities(self) -> bool:
        """Whether there is a derivative in the expression."""
        expression = self.expression
        return isinstance(expression, sp.Basic) and bool(expression.has(sp.core.function.Derivative))

    @property
    def single(self) -> bool:
        """Whether targets have no place axis."""
        return self.at is None

    def __repr__(self) -> str:
        return f"Cost({self.expression}, when={self.when!r})"


class IntegralCost:
    """A loss of integrals over the trajectory: J = F(I_1, ..., I_n), each I the J of a :class:`Cost`.

    The power of an output in a window of time, say, is the integral of its square with ``weights`` that vanish outside.

    Parameters
    ----------
    expression : sympy expression
        F, in the symbols of the integrals and in targets.
    integrals : mapping of Symbol to Cost
        What each symbol stands for.
    targets : sequence of Symbol
        Quantities the integrals are compared with, a number or one value a sample in each call.

    Examples
    --------
    >>> import numpy as np, sympy as sp
    >>> from sympy.physics.mechanics import dynamicsymbols
    >>> import lagrangian_eqprop as lep
    >>> q, (P, y) = dynamicsymbols("q"), sp.symbols("P y")
    >>> late = np.where(np.arange(101) > 50, 0.1, 0.0)
    >>> cost = lep.IntegralCost((P - y)**2, integrals={P: lep.Cost(q**2, weights=late)}, targets=[y])
    """

    def __init__(self, expression: Any, integrals: Mapping[Any, Cost], targets: Sequence[Any] = ()) -> None:
        if not isinstance(integrals, Mapping) or not integrals:
            raise invalid("integrals", "a mapping of Symbols to costs, not empty", repr(integrals))
        for symbol, cost in integrals.items():
            if not isinstance(cost, Cost):
                raise invalid(f"integrals[{symbol}]", "a lep.Cost", type(cost).__name__)
        if not isinstance(targets, (list, tuple)):
            raise invalid("targets of the cost", "a list of Symbols", repr(targets))
        check_names({"integrals": integrals, "targets of the cost": targets})
        self.expression, self.integrals, self.targets = expression, dict(integrals), tuple(targets)
        expression = sp.sympify(expression, strict=True)
        known = {*self.integrals, *self.targets}
        for symbol in sorted(expression.free_symbols - known, key=str):
            raise ValueError(f"the cost uses {symbol.name!r}, which is neither an integral nor a target")
        for symbol in sorted(known - expression.free_symbols, key=str):
            text = "integrals and targets of the cost must be used by its expression"
            raise ValueError(f"{text}; {symbol.name!r} is not")
        self.graph = Graph()
        leaves = {symbol: self.graph.symbol("q", k) for k, symbol in enumerate(self.integrals)}
        leaves.update({symbol: self.graph.symbol("y", k) for k, symbol in enumerate(self.targets)})
        self.root = Reader(self.graph, leaves, "the cost").read(expression)

    def __repr__(self) -> str:
        return f"IntegralCost({self.expression})"


class BoundCosts:
    """Costs read for one system: their terms, targets and the parameters of system and costs together."""

    def __init__(self, system: Definition, costs: Sequence[Cost]) -> None:
        self.costs = tuple(costs)
        self.parameters: dict[sp.Symbol, np.ndarray] = dict(system.parameters)
        for cost in costs:
            parameters = {**system.parameters, **cost.parameters}
            check_names({"inputs": system.inputs, "targets": cost.targets, "parameters": parameters})
            for symbol, value in cost.parameters.items():
                if symbol in self.parameters and not np.array_equal(self.parameters[symbol], value):
                    raise invalid(f"parameters[{symbol.name}] of the cost", "declared once, with one default", "two")
                self.parameters[symbol] = value
        order = {symbol: index for index, symbol in enumerate(self.parameters)}
        self.targets: list[tuple[sp.Symbol, int]] = []  # symbol and the number of its cost
        self.terms: tuple[LocalTerm, ...] = ()
        for number, cost in enumerate(costs):
            where = "the cost" if len(costs) == 1 else f"cost {number}"
            if cost.on is None and not system.single:
                raise invalid(f"on of {where}", "given with at for a network of terms", "None")
            on = system.coordinates if cost.on is None else cost.on
            at = np.arange(system.size)[None] if cost.on is None else cost.at
            kept = [0]
            if cost.on is None:  # a cost need not look at every coordinate, or at any: J = T of closed paths
                atoms = getattr(cost.expression, "atoms", None)
                used: set[Any] = atoms(sp.core.function.AppliedUndef) if atoms else set()
                kept = [k for k, x in enumerate(on) if x in used]
                on, at = tuple(on[k] for k in kept or [0]), np.array([kept or [0]])
            places = places_of(at, len(on), system.size, where)
            declared = {symbol: ("p", index) for symbol, index in order.items()}
            for symbol in cost.targets:
                declared[symbol] = ("y", len(self.targets))
                self.targets.append((symbol, number))
            term = local_term(cost.expression, on, places, declared, where, Graph(), idle=kept == [])
            self._check(cost, term, where, order)
            self.terms += (term,)
        self.digest = "\n".join(f"{t.places.kind}:{t.size}\n{t.graph.digest([t.root])}" for t in self.terms)

    @property
    def sees_velocities(self) -> bool:
        """Whether some cost is not a function of coordinates, targets and time alone."""
        return any(term.indices("v") for term in self.terms)

    def _check(self, cost: Cost, term: LocalTerm, where: str, order: Mapping[sp.Symbol, int]) -> None:
        used = {self.targets[index][0] for index in term.indices("y")}
        for symbol in cost.targets:
            if symbol not in used:
                raise ValueError(f"targets of {where} must be used by its expression; {symbol.name!r} is not")
        for symbol, index in order.items():
            shape = self.parameters[symbol].shape
            if index in term.indices("p"):
                if shape not in ((), term.places.shape):
                    must = f"a scalar or of shape {term.places.shape} in {where}"
                    raise invalid(f"parameters[{symbol.name}]", must, f"shape {shape}")
            elif symbol in cost.parameters:
                raise ValueError(f"parameters of {where} must be used by its expression; {symbol.name!r} is not")
