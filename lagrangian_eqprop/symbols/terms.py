"""Terms: a small expression in a few local coordinates, and a table of the places where it applies."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike
from sympy.core.function import AppliedUndef

from ..errors import invalid
from .convolution import Convolution
from .graph import Graph, Node
from .reading import Reader


class AllPairs:
    """Every pair of places of two groups, or of one group with itself.

    ``AllPairs(rows, columns)`` is every ordered pair once; the groups must be disjoint; a parameter has
    the shape (rows, columns). ``AllPairs(group)`` is every unordered pair i < j once; a parameter has the
    shape (n, n), of which the strict upper triangle is used and the rest has zero gradient.

    Parameters
    ----------
    rows, columns : array_like of int
        Indices of coordinates of the network.
    """

    def __init__(self, rows: ArrayLike, columns: ArrayLike | None = None) -> None:
        self.rows = _indices("rows", rows)
        self.group = columns is None
        self.columns = self.rows if columns is None else _indices("columns", columns)
        if not self.group:
            both = np.intersect1d(self.rows, self.columns)
            if both.size:
                raise invalid("columns of AllPairs", "disjoint from rows", f"{both[0]} in both")

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), len(self.columns)

    def __repr__(self) -> str:
        return f"AllPairs({len(self.rows)} nodes)" if self.group else f"AllPairs({self.shape[0]} x {self.shape[1]})"


def _indices(name: str, values: ArrayLike) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "iu" or len(np.unique(array)) != array.size or not array.size:
        raise invalid(f"{name} of AllPairs", "a 1-d array of distinct integers", f"shape {array.shape}, {array.dtype}")
    return array.astype(np.int64)


@dataclass(frozen=True)
class Term:
    """One expression in a few local coordinates, at many places of a network.

    Parameters
    ----------
    expression : sympy expression
        In the local coordinates, their time derivatives, parameters, inputs and the time.
    on : sequence of sympy functions of time
        The local coordinates, such as ``dynamicsymbols("x z")``.
    at : array_like of int, shape (P,) or (P, s), AllPairs or Convolution
        Row i holds the coordinates of the network that stand for the s local ones at place i.
    """

    expression: Any
    on: Sequence[Any]
    at: Any


@dataclass(frozen=True)
class Places:
    """The index table of a term: rows of coordinates ("table"), or pairs that need no table."""

    kind: str  # "table", "pairs", "group" or "convolution"
    table: np.ndarray  # (P, s); for pairs the rows and then the columns, 1-d
    shape: tuple[int, ...]  # the shape of an array with one value a place, or of the kernel of a convolution
    size: int  # local coordinates
    convolution: Convolution | None = None

    @property
    def count(self) -> int:
        """How many values an array with one value a place holds."""
        return math.prod(self.shape)

    @functools.cached_property
    def columns(self) -> tuple[slice | np.ndarray, ...]:
        """For each local coordinate those it stands for: a slice where they follow each other."""
        found: list[slice | np.ndarray] = []
        for column in self.rows_of_coordinates().T:
            regular = len(column) > 1 and (np.diff(column) == 1).all()
            found.append(slice(int(column[0]), int(column[-1]) + 1) if regular else column)
        return tuple(found)

    @functools.cached_property
    def distinct(self) -> tuple[bool, ...]:
        """For each local coordinate, whether it stands for different ones at all places."""
        return tuple(bool((np.bincount(column) < 2).all()) for column in self.rows_of_coordinates().T)

    def rows_of_coordinates(self) -> np.ndarray:
        """The table (P, s), written out for pairs too."""
        if self.kind == "table":
            return self.table
        if self.convolution is not None:
            return self.convolution.pairs()[0]
        rows, columns = self.table[: self.shape[0]], self.table[self.shape[0] :]
        if self.kind == "group":
            i, j = np.triu_indices(len(rows), 1)
        else:
            i, j = (a.ravel() for a in np.indices(self.shape))
        return np.stack([rows[i], columns[j]], 1)

    def places(self) -> np.ndarray:
        """For each row of :meth:`rows_of_coordinates`, its position in a flat array of one value a place."""
        if self.convolution is not None:
            return self.convolution.pairs()[1]
        if self.kind == "group":
            i, j = np.triu_indices(self.shape[0], 1)
            return i * self.shape[1] + j
        return np.arange(self.count)


def places_of(at: Any, size: int, coordinates: int, where: str) -> Places:
    """Check ``at`` and bring it into one form."""
    shape: tuple[int, ...]
    convolution = at if isinstance(at, Convolution) else None
    if isinstance(at, (AllPairs, Convolution)):
        if size != 2:
            raise invalid(f"at of {where}", "a table for terms of other than two local coordinates", repr(at))
        table = np.concatenate([at.rows, at.columns])
        shape = at.shape
        kind = "convolution" if isinstance(at, Convolution) else "group" if at.group else "pairs"
    else:
        table = np.asarray(at)
        if table.ndim == 1 and size == 1:
            table = table[:, None]
        if table.ndim != 2 or table.shape[1] != size or table.dtype.kind not in "iu" or not len(table):
            form = "(P,)" if size == 1 else f"(P, {size})"
            came = f"shape {np.shape(at)}, {table.dtype}"
            raise invalid(f"at of {where}", f"integers of shape {form} with P > 0", came)
        kind, shape = "table", (len(table),)
    outside = table[(table < 0) | (table >= coordinates)]
    if outside.size:
        raise invalid(f"at of {where}", f"indices from 0 to {coordinates - 1}", int(outside.flat[0]))
    return Places(kind, np.ascontiguousarray(table, np.int64), shape, size, convolution)


@dataclass(frozen=True)
class Forces:
    """Forces that no Lagrangian gives: a dissipation function R(q, v, t), or the sum of f_a w_a over coordinates.

    Its symbols are those of a term, and ("w", a) for the virtual displacement of local coordinate a.
    """

    root: Node
    rayleigh: bool


@dataclass(frozen=True)
class LocalTerm:
    """A checked term: its places and its expression as a node of a graph.

    The symbols of the graph are ("q", a) and ("v", a) for local coordinate a and its velocity, ("p", k),
    ("u", k) and ("y", k) for parameter, input and target k of the module, and ("t", 0).
    """

    graph: Graph
    root: Node
    places: Places
    label: str  # how messages and comments call it
    expression: Any
    on: tuple[Any, ...]
    bare: Node | None = None  # without the weight of damping, where the root has it
    forces: Forces | None = None  # of a term that is no part of the Lagrangian; its root is zero

    @property
    def size(self) -> int:
        return self.places.size

    @property
    def roots(self) -> list[Node]:
        """The expression of the term: its part of the Lagrangian, or its forces."""
        return [self.root if self.forces is None else self.forces.root]

    def indices(self, kind: str) -> list[int]:
        """The indices of the symbols of one kind that occur."""
        known = self.__dict__.setdefault("_indices", {})
        if kind not in known:
            known[kind] = sorted(index for found, index in self.graph.symbols(self.roots) if found == kind)
        return known[kind]


def time_of(coordinate: Any, argument: str) -> sp.Symbol:
    """The time symbol of a coordinate such as q(t)."""
    if isinstance(coordinate, AppliedUndef) and len(coordinate.args) == 1 and coordinate.args[0].is_Symbol:
        return coordinate.args[0]
    raise invalid(argument, "functions of time such as dynamicsymbols('q')", repr(coordinate))


def local_term(
    expression: Any,
    on: Sequence[Any],
    places: Places,
    declared: Mapping[sp.Symbol, tuple[str, int]],
    where: str,
    graph: Graph,
    idle: bool = False,
) -> LocalTerm:
    """Check one expression against what is declared and read it; an ``idle`` one need not use its coordinates."""
    try:
        expression = sp.sympify(expression, strict=True)
    except (sp.SympifyError, TypeError) as error:
        raise invalid(where, "a sympy expression", repr(expression)) from error
    if not isinstance(expression, sp.Expr):
        raise invalid(where, "a scalar sympy expression", type(expression).__name__)
    times = {time_of(coordinate, f"coordinates of {where}") for coordinate in on}
    if len(times) != 1 or len(set(on)) != len(on):
        raise invalid(f"coordinates of {where}", "distinct functions of one time", str(list(on)))
    (time,) = times
    if time in declared:
        raise invalid(f"parameters, inputs and targets of {where}", f"other than the time {time}", str(time))
    functions = expression.atoms(AppliedUndef)
    for function in sorted(functions - set(on), key=str):
        raise invalid(where, f"in the coordinates {', '.join(map(str, on))}", f"the undeclared function {function}")
    for coordinate in on:
        if coordinate not in functions and not idle:
            raise invalid(where, "an expression that uses every coordinate it is declared on", f"no {coordinate} in it")
    for symbol in sorted(expression.free_symbols - {time} - set(declared), key=str):
        raise ValueError(f"{where} uses {symbol.name!r}, which is not declared{_hint(symbol, declared)}")
    leaves: dict[sp.Basic, Node] = {time: graph.symbol("t")}
    for index, coordinate in enumerate(on):
        leaves[coordinate] = graph.symbol("q", index)
        leaves[coordinate.diff(time)] = graph.symbol("v", index)
    for symbol, (kind, index) in declared.items():
        leaves[symbol] = graph.symbol(kind, index)
    root = Reader(graph, leaves, where).read(expression)
    return LocalTerm(graph, root, places, where, expression, tuple(on))


def _hint(symbol: sp.Symbol, declared: Iterable[sp.Symbol]) -> str:
    for other in declared:
        if other.name == symbol.name:
            return f"; a symbol of that name is declared with other assumptions ({_differences(symbol, other)})"
    near = get_close_matches(symbol.name, [other.name for other in declared], n=1)
    return f"; did you mean {near[0]!r}?" if near else "; declare it in parameters or inputs"


def _differences(a: sp.Symbol, b: sp.Symbol) -> str:
    first, second = a.assumptions0, b.assumptions0
    keys = sorted(key for key in set(first) | set(second) if first.get(key) != second.get(key))
    return ", ".join(f"{key}: {first.get(key)} against {second.get(key)}" for key in keys[:3])


def check_names(groups: Mapping[str, Iterable[Any]]) -> None:
    """Refuse two symbols of one name, and entries that are not symbols."""
    seen: dict[str, tuple[sp.Symbol, str]] = {}
    for group, symbols in groups.items():
        for symbol in symbols:
            if not isinstance(symbol, sp.Symbol):
                raise invalid(group, "sympy Symbols", f"{symbol!r} of type {type(symbol).__name__}")
            if symbol.name in seen:
                other, where = seen[symbol.name]
                reason = "twice" if other == symbol else f"with other assumptions ({_differences(symbol, other)})"
                raise ValueError(
                    f"{group} must have names of their own; {symbol.name!r} is declared in {where} too, {reason}"
                )
            seen[symbol.name] = (symbol, group)
