"""A system's definition: its terms, parameters and inputs, checked once and never changed."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sympy as sp

from ..errors import invalid, unknown
from . import views
from .constraints import read_constraints
from .dissipation import Damping, damping_of, force_term, force_terms, weighted
from .graph import Graph
from .terms import LocalTerm, Places, Term, check_names, local_term, places_of
from .walls import read_bounds, read_clamped


class Definition:
    """A Lagrangian as a sum of terms, with its parameters and inputs.

    Parameters
    ----------
    lagrangian : sympy expression, or sequence of Term
        One expression in ``coordinates``, or the terms of a network of ``size`` coordinates.
    coordinates : sequence of sympy functions of time, optional
        The generalised coordinates of an expression, in the order of every array's last axis.
    size : int, optional
        The number of coordinates of a network of terms.
    parameters : mapping of Symbol to array_like
        Trainable quantities and their default values: scalars, or one value a place of a term.
    inputs : sequence of Symbol
        Quantities driven from outside, not trained.
    damping : Symbol of ``parameters`` or number, optional
        The rate gamma of damping in proportion to mass, per unit of time: the action of e^{gamma t} L, whose equations
        are M q'' + gamma M q' + V_q = 0 for L = q' M q'/2 - V. Momenta are those of the weighted Lagrangian.
    rayleigh : sympy expression, or sequence of Term, optional
        A dissipation function R(q, v, t): coordinate i feels the force -dR/dv_i.
    force : mapping of coordinate to sympy expression, or sequence of Term, optional
        Forces that no potential gives, of coordinates, velocities, time, parameters and inputs. In a network the
        expression of each Term is such a mapping, from the term's own coordinates.
    energy : sympy expression, or sequence of Term
        Instead of a Lagrangian: a system without velocities, whose Lagrangian is -energy.
    bounds : mapping of coordinate to (lower, upper), or a pair (lower, upper) for a network
        Walls that equilibria keep to (a hard sigmoid, a diode), None for no wall; in a network numbers, or arrays of
        one value a coordinate.
    clamped : mapping of Symbol to coordinate, or to array_like of int for a network
        Coordinates that an input holds: the symbol becomes an input, one value a coordinate.
    constraints : sequence of sympy expressions, or of Term for a network
        Holonomic constraints g(q; parameters) = 0, each a function of coordinates and parameters alone.
    name : str
        How messages call the system.

    Raises
    ------
    ValueError
        If a symbol is not declared, not used or declared twice, an index is out of range, or a shape
        does not fit. The message names the argument.
    """

    def __init__(
        self,
        lagrangian: Any = None,
        coordinates: Sequence[Any] | None = None,
        *,
        size: int | None = None,
        parameters: Mapping[Any, Any] | None = None,
        inputs: Sequence[Any] = (),
        damping: Any = None,
        rayleigh: Any = None,
        force: Any = None,
        energy: Any = None,
        bounds: Any = None,
        clamped: Mapping[Any, Any] | None = None,
        constraints: Sequence[Any] = (),
        name: str = "system",
    ) -> None:
        self.name = str(name)
        if (lagrangian is None) == (energy is None):
            raise invalid("energy", "given, or a Lagrangian, but not both", "neither" if energy is None else "both")
        self.of_energy = energy is not None
        if self.of_energy:
            lagrangian = _negative(energy)
        parameters = {} if parameters is None else parameters
        if not isinstance(parameters, Mapping):
            raise invalid("parameters", "a mapping of Symbols to default values", type(parameters).__name__)
        for argument, value in (("coordinates", coordinates), ("inputs", inputs)):
            if value is not None and not isinstance(value, (list, tuple)):
                raise invalid(argument, "a list", repr(value))
        if clamped is not None and not isinstance(clamped, Mapping):
            raise invalid("clamped", "a mapping of Symbols to coordinates", type(clamped).__name__)
        check_names({"parameters": parameters, "inputs": inputs, "clamped": clamped or {}})
        self.parameters: dict[sp.Symbol, np.ndarray] = {s: _default(s, v) for s, v in parameters.items()}
        self.inputs: tuple[sp.Symbol, ...] = (*inputs, *(clamped or {}))
        self.damping: Damping | None = damping_of(damping, self.parameters)
        self.single = coordinates is not None
        if self.single:
            if size is not None or isinstance(lagrangian, (list, tuple)):
                raise invalid("coordinates", "given with one expression, size with a list of Terms", "both")
            self.coordinates: tuple[Any, ...] = tuple(coordinates or ())
            if not self.coordinates:
                raise invalid("coordinates", "a non-empty list of functions of time", repr(coordinates))
            self.size = len(self.coordinates)
            terms = [Term(lagrangian, on=self.coordinates, at=np.arange(self.size)[None])]
        else:
            if not isinstance(lagrangian, (list, tuple)) or not all(isinstance(term, Term) for term in lagrangian):
                raise invalid("coordinates", "given with one expression (or pass a list of Terms and size)", "None")
            if not isinstance(size, (int, np.integer)) or isinstance(size, bool) or size < 1:
                raise invalid("size", "a positive integer, the number of coordinates", repr(size))
            if not lagrangian:
                raise invalid("terms", "a non-empty list", "an empty one")
            self.coordinates = ()
            self.size = int(size)
            terms = list(lagrangian)
        self.clamped: dict[sp.Symbol, np.ndarray] = read_clamped(clamped or {}, self.coordinates, self.size)
        self.lower, self.upper = read_bounds(bounds, self.coordinates, self.size)
        self.bounded = bool(np.isfinite(self.lower).any() or np.isfinite(self.upper).any())
        self.source_terms: tuple[Term, ...] = tuple(terms)
        self.graph = Graph()
        self.terms: tuple[LocalTerm, ...] = self._read(terms)
        self.forced = rayleigh is not None or force is not None
        if self.forced:
            if damping is not None:
                must = "given alone, or as m*v**2/2 times its rate in rayleigh"
                raise invalid("damping", must, "rayleigh or force too")
            for where, on, given, at in force_terms(self, rayleigh, force):
                places = places_of(at, len(on), self.size, where)
                local = force_term(given, on, places, self._declared, where, self.graph)
                self._check_shapes(local, places, where)
                self.terms += (local,)
        self.constraints = read_constraints(constraints, self.coordinates, self.size, self._declared, self.graph)
        for constraint in self.constraints:
            self._check_shapes(constraint, constraint.places, constraint.label)
        self._check_use()

    def _read(self, terms: Sequence[Term]) -> tuple[LocalTerm, ...]:
        declared: dict[sp.Symbol, tuple[str, int]] = {s: ("p", k) for k, s in enumerate(self.parameters)}
        declared.update({s: ("u", k) for k, s in enumerate(self.inputs) if s not in self.clamped})
        self._declared = declared
        read = []
        for number, term in enumerate(terms):
            kind = "energy" if self.of_energy else "Lagrangian"
            where = f"the {kind} of {self.name}" if self.single else f"term {number} of {self.name}"
            on = tuple(term.on) if isinstance(term.on, (list, tuple)) else (term.on,)
            places = places_of(term.at, len(on), self.size, where)
            local = local_term(term.expression, on, places, declared, where, self.graph)
            if self.of_energy and local.indices("v"):
                raise invalid(where, "a function of coordinates, not of velocities", str(local.expression))
            self._check_shapes(local, places, where)
            read.append(local if self.damping is None else weighted(local, self.damping))
        return tuple(read)

    def _check_shapes(self, local: LocalTerm, places: Places, where: str) -> None:
        for k in local.indices("p"):
            symbol, value = list(self.parameters.items())[k]
            if value.shape not in ((), places.shape) or (self.single and value.shape):
                must = "a scalar" if self.single else f"a scalar or of shape {places.shape}, one value a place"
                raise invalid(f"parameters[{symbol.name}]", f"{must} in {where}", f"shape {value.shape}")

    @property
    def multipliers(self) -> int:
        """How many constraints there are, places counted."""
        return sum(term.places.count for term in self.constraints)

    def _check_use(self) -> None:
        for kind, symbols, argument in (("p", self.parameters, "parameters"), ("u", self.inputs, "inputs")):
            used = {index for term in (*self.terms, *self.constraints) for index in term.indices(kind)}
            for index, symbol in enumerate(symbols):
                if index not in used and symbol not in self.clamped:
                    raise ValueError(f"{argument} must be used by the Lagrangian; {symbol.name!r} is not")

    def parameter(self, key: Any) -> sp.Symbol:
        """The parameter that a Symbol or a name means."""
        return lookup(key, self.parameters, "parameters")

    def width(self, index: int) -> int:
        """How many places an input has: the places of the terms that use it, 1 where it has no place axis."""
        if self.inputs[index] in self.clamped:
            return len(self.clamped[self.inputs[index]])
        if self.single:
            return 1
        counts = {term.places.count for term in self.terms if index in term.indices("u")}
        return counts.pop() if len(counts) == 1 else 1

    @functools.cached_property
    def digest(self) -> str:
        """What the generated code depends on; sizes and values are not in it."""
        terms = (*self.terms, *self.constraints)
        roots = [root for term in terms for root in term.roots]
        forms = " ".join(f"{term.places.kind}:{term.size}{_kind_of_force(term)}" for term in terms)
        if self.constraints:
            forms += f" constraints:{len(self.constraints)}"
        return f"{forms}\n{len(self.parameters)} {len(self.inputs)} {self.damping}\n{self.graph.digest(roots)}"

    # ------------------------------------------------------------------ sympy views (read-only)
    @functools.cached_property
    def lagrangian(self) -> sp.Expr:
        """The Lagrangian as one sympy expression (networks: small ones only)."""
        return views.lagrangian(self)

    @functools.cached_property
    def momenta(self) -> list[sp.Expr]:
        """The canonical momenta L_v, one a coordinate."""
        return views.momenta(self)

    @functools.cached_property
    def equations(self) -> list[sp.Eq]:
        """The Euler-Lagrange equations d/dt L_v - L_q = f, one a coordinate; f is what forces are given.

        With constraints g_k = 0 they have the multipliers lambda_k in them, and the constraints follow.
        """
        return views.equations(self)

    @functools.cached_property
    def mass_matrix(self) -> sp.Matrix:
        """L_vv."""
        return views.mass_matrix(self)

    @functools.cached_property
    def hamiltonian(self) -> sp.Expr:
        """p v - L in coordinates and momenta, for a Lagrangian quadratic in the velocities."""
        return views.hamiltonian(self)

    def _repr_latex_(self) -> str:
        if not self.single:
            return rf"$\displaystyle \text{{{len(self.terms)} terms on {self.size} coordinates}}$"
        return rf"$\displaystyle L = {sp.latex(self.lagrangian)}$"

    def __repr__(self) -> str:
        names = ", ".join(symbol.name for symbol in self.parameters)
        return f"System({self.name!r}, {self.size} coordinates, {len(self.terms)} terms, parameters: {names or 'none'})"


def lookup(key: Any, symbols: Any, argument: str) -> sp.Symbol:
    """A declared symbol by itself or by its name."""
    if isinstance(key, sp.Symbol) and key in symbols:
        return key
    named = {symbol.name: symbol for symbol in symbols}
    if isinstance(key, sp.Symbol) and key.name in named:
        raise ValueError(f"{argument}: {key.name!r} is declared with other assumptions than the symbol given")
    name = key.name if isinstance(key, sp.Symbol) else key
    if name not in named:
        raise unknown(argument, str(name), named)
    return named[name]


def _kind_of_force(term: LocalTerm) -> str:
    return "" if term.forces is None else ":rayleigh" if term.forces.rayleigh else ":force"


def _negative(energy: Any) -> Any:
    """The Lagrangian of a system without velocities; what is no expression is refused where it is read."""
    if isinstance(energy, (list, tuple)):
        return [Term(_negative(term.expression), term.on, term.at) if isinstance(term, Term) else term
                for term in energy]  # fmt: skip
    try:
        return -sp.sympify(energy, strict=True)
    except (sp.SympifyError, TypeError):
        return energy


def _default(symbol: Any, value: Any) -> np.ndarray:
    try:
        array = np.array(value, float)
    except (TypeError, ValueError) as error:
        raise invalid(f"parameters[{symbol.name}]", "a number or an array of numbers", repr(value)) from error
    if not np.isfinite(array).all():
        raise invalid(f"parameters[{symbol.name}]", "finite", "nan or inf")
    array.setflags(write=False)
    return array
