"""Terms of an energy on arrays of a batch: values, slopes, curvatures, and what the learning rule reads of them.

Every function takes the free state q (B, free), real or complex; see :mod:`lagrangian_eqprop.compiler.statics` for
the two kinds of terms.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

from ..compiler.statics import Factor, Facts, Product, Table
from ..symbols.evaluate import evaluate
from ..symbols.graph import Graph, Node
from .couplings import Coupling, Dense, coupling
from .gathering import Gather, Split
from .phase import Apart

Leaves = Mapping[tuple[str, int], Any]
Slopes = dict[Any, Any]  # what the learning rule has found so far: parameters by index, coefficients by (term, node)


class Values(NamedTuple):
    """What does not move: parameters as given or with a batch axis; inputs and targets (1 or B, 1 or places)."""

    parameters: Sequence[ndarray]
    shapes: Sequence[tuple[int, ...]]  # of the defaults, without a batch axis
    inputs: Sequence[ndarray]
    targets: Sequence[ndarray]
    held: ndarray  # clamped coordinates, (1 or B, clamped)
    batched: bool  # whether any parameter has a batch axis

    def own(self, k: int) -> bool:
        """Whether each sample has its own value of a parameter."""
        return self.batched and self.parameters[k].ndim > len(self.shapes[k])


def numbers(graph: Graph, roots: Sequence[Node], leaves: Leaves) -> list[Any]:
    """Values of expressions; constants stay Python numbers, which do not widen single precision."""
    kept: dict = graph.__dict__.setdefault("_constants", {})
    key = tuple(roots)
    if key not in kept:
        values = [graph.value(root) for root in roots]
        wanted = [root for root, value in zip(roots, values, strict=True) if value is None]
        simple = _multiple(graph, wanted[0]) if len(wanted) == 1 else None
        kept[key] = [None if value is None else float(value) for value in values], wanted, simple
    found, wanted, simple = kept[key]
    if not wanted:
        return list(found)
    if simple is not None:
        symbol, factor = simple
        arrays = iter([leaves[symbol] if factor == 1.0 else factor*leaves[symbol]])
    else:
        arrays = iter(evaluate(graph, wanted, leaves))
    return [next(arrays) if value is None else value for value in found]


def _multiple(graph: Graph, node: Node) -> tuple[tuple[str, int], float] | None:
    """The symbol and the factor of an expression that is a multiple of a symbol: no need to walk a graph."""
    head = graph.nodes[node]
    factor = 1.0
    if head[0] == "sum" and head[1] == 0 and len(head[2]) == 1:
        ((inner, coefficient),) = head[2]
        head, factor = graph.nodes[inner], float(coefficient)
    return ((head[1], head[2]), factor) if head[0] == "symbol" else None


def spread(value: Any, shape: tuple[int, ...]) -> ndarray:
    """An array of a shape; numpy's own function is slow where there is nothing to do."""
    return value if isinstance(value, ndarray) and value.shape == shape else np.broadcast_to(value, shape)


class TableTerm:
    """A term with its places written out; ``apart``: its slopes are without the part that never changes."""

    def __init__(self, table: Table, split: Split, values: Values, apart: bool = False) -> None:
        self.table, self.apart = table, apart and table.size == 1
        self.gathers = [split.gather(columns) for columns in table.columns]
        self.places = len(table.columns[0])
        self.fixed: dict[tuple[str, int], ndarray] = {}
        # where the only derivative by a parameter is a multiple of a coordinate: which one, and the factor
        self.linear = _multiple(table.graph, table.theta[0]) if len(table.theta) == 1 else None
        if self.linear is not None and self.linear[0][0] != "q":
            self.linear = None
        self.read(values)

    def read(self, values: Values) -> None:
        """Take these values."""
        self.values = values
        for kind, k in self.table.symbols:
            if kind == "p":
                self.fixed[kind, k] = self._parameter(k)
            elif kind in ("u", "y"):
                self.fixed[kind, k] = (values.inputs if kind == "u" else values.targets)[k]

    def _parameter(self, k: int) -> ndarray:
        """Scalars as they are; else (1 or B, 1 or places)."""
        value, shape, own = self.values.parameters[k], self.values.shapes[k], self.values.own(k)
        if not shape:
            return value[:, None] if own else value
        flat = value.reshape(len(value) if own else 1, -1)
        return flat if self.table.positions is None else flat[:, self.table.positions]

    def leaves(self, q: ndarray, dq: ndarray | None = None) -> dict[tuple[str, int], Any]:
        found: dict[tuple[str, int], Any] = dict(self.fixed)
        for a, gather in enumerate(self.gathers):
            found["q", a] = gather.take(q, self.values.held)
            if dq is not None:
                found["dq", a] = gather.direction(dq)
        return found

    def energy(self, q: ndarray) -> ndarray:
        (value,) = numbers(self.table.graph, [self.table.root], self.leaves(q))
        return spread(value, (len(q), self.places)).sum(1)

    def constant(self) -> list[tuple[Gather, Any]]:
        """Slopes that never change, (1 or B, 1 or places), where they stand apart."""
        still, _ = self.table.still
        if not self.apart or still == self.table.graph.zero:
            return []
        return [(self.gathers[0], numbers(self.table.graph, [still], self.fixed)[0])]

    @property
    def _slopes(self) -> Sequence[Node]:
        return [self.table.still[1]] if self.apart else self.table.slopes

    def add_slope(self, q: ndarray, out: ndarray, weight: Any = 1) -> None:
        self._add(self._slopes, self.leaves(q), out, weight)

    def add_product(self, q: ndarray, v: ndarray, out: ndarray, weight: Any = 1) -> None:
        """out += weight E_qq v."""
        self._add(self.table.along[: self.table.size], self.leaves(q, v), out, weight)

    def _add(self, nodes: Sequence[Node], leaves: Leaves, out: ndarray, weight: Any) -> None:
        for gather, value in zip(self.gathers, numbers(self.table.graph, nodes, leaves), strict=True):
            if not (isinstance(value, float) and value == 0.0):
                gather.add(out, value if isinstance(weight, int) and weight == 1 else weight*value)

    def sides(self) -> list[Side]:
        """The slope and the curvature of each local coordinate by itself."""
        graph = self.table.graph

        def side(a: int) -> Side:
            nodes = [self._slopes[a], self.table.hessian[a][a]]
            still = not any(kind == "q" for kind, _ in graph.symbols([nodes[1]]))
            return Side(
                self.gathers[a], lambda q: numbers(graph, nodes[:1], self.leaves(q))[0],
                lambda q: numbers(graph, nodes, self.leaves(q)), still,
            )  # fmt: skip

        return [side(a) for a in range(self.table.size) if not self.gathers[a].all_held]

    @functools.cached_property
    def _second(self) -> tuple[list[Node], list[tuple[ndarray, ndarray, Any]]]:
        """The second derivatives that are not zero; rows, columns and which places have both coordinates free."""
        zero, nodes, where = self.table.graph.zero, [], []
        for row, a in zip(self.table.hessian, self.gathers, strict=True):
            for node, b in zip(row, self.gathers, strict=True):
                if node == zero or a.all_held or b.all_held:
                    continue
                masks = [gather.mask for gather in (a, b) if gather.mask is not None]
                both = np.logical_and.reduce(masks) if masks else slice(None)
                nodes.append(node)
                where.append((_spread(a)[both], _spread(b)[both], both))
        return nodes, where

    def entries(self, q: ndarray) -> list[tuple[ndarray, ndarray, ndarray]]:
        """Rows, columns (positions in the state) and values of second derivatives."""
        nodes, where = self._second
        values = numbers(self.table.graph, nodes, self.leaves(q))
        shape = len(q), self.places
        return [(rows, columns, spread(value, shape)[:, both])
                for (rows, columns, both), value in zip(where, values, strict=True)]  # fmt: skip

    def _add_theta(
        self, found: Slopes, values: Sequence[Any], good: ndarray | None, samples: int, weight: float = 1.0
    ) -> None:  # fmt: skip
        for k, value in zip(self.table.parameters, values, strict=True):
            if isinstance(value, float) and value == 0.0:
                continue
            own = self.values.own(k)
            whole = spread(value, (samples, self.places))
            if good is not None:
                whole = np.where(good[:, None], whole, 0)
            self.add_sums(k, whole if own else whole.sum(0, dtype=float)[None], found, weight)

    def add_sums(self, k: int, whole: ndarray, found: Slopes, weight: Any) -> None:
        """found += weight*whole (1 or B, places) in the shape of a parameter."""
        shape = self.values.shapes[k]
        if not shape:
            total = whole.sum(1, dtype=float)
        elif self.table.positions is None:
            total = whole.reshape(-1, *shape)
        else:
            length = int(np.prod(shape))
            rows = [np.bincount(self.table.positions, row, length) for row in whole]
            total = np.stack(rows).reshape(-1, *shape)
        found[k] = found.get(k, 0.0) + weight*(total if self.values.own(k) else total[0])

    def _theta(self, q: ndarray) -> list[Any]:
        return numbers(self.table.graph, self.table.theta, self.leaves(q))

    def add_theta(self, q: ndarray, found: Slopes, good: ndarray | None) -> None:
        """found += E_theta."""
        if self.table.parameters:
            self._add_theta(found, self._theta(q), good, len(q))

    def add_contrast(
        self, one: ndarray, other: ndarray, moved: ndarray, weight: complex, found: Slopes, good: ndarray | None,
        apart: Apart | None = None,
    ) -> None:  # fmt: skip
        """found += the real part of weight*(E_theta(one) - E_theta(other)), each sample's difference taken first.

        ``moved`` is one - other; ``apart`` knows more about it.
        """
        if not self.table.parameters:
            return
        scale = 1.0
        if apart is not None and self.linear is not None and not self.values.batched:
            (_, a), scale = self.linear
            gather = self.gathers[a]
            if gather.all_free:
                self.add_sums(self.table.parameters[0], apart.sums[None, gather.index], found, scale*weight)
                return
        if self.linear is not None:
            (_, k), scale = self.linear
            changes = [self.gathers[k].direction(moved)]
        else:
            changes = [a - b for a, b in zip(self._theta(one), self._theta(other), strict=True)]
        if isinstance(weight, complex):
            changes, weight = [_real(weight*change) for change in changes], 1.0
        self._add_theta(found, changes, good, len(one), scale*weight)

    def add_along(self, q: ndarray, v: ndarray, found: Slopes, good: ndarray | None) -> None:
        """found += d_theta(E_q v)."""
        if self.table.parameters:
            nodes = self.table.along[self.table.size :]
            self._add_theta(found, numbers(self.table.graph, nodes, self.leaves(q, v)), good, len(q))


class Side(NamedTuple):
    """What one side of a term does to its own coordinates; slopes and curvatures broadcast to (B, count)."""

    gather: Gather
    slope: Callable[[ndarray], Any]
    both: Callable[[ndarray], Sequence[Any]]  # slope and curvature, for less than one after the other
    still: bool  # the curvature does not depend on q


class Feature:
    """A factor f(x) of one group of coordinates."""

    def __init__(self, graph: Graph, factor: Factor, facts: Facts, gather: Gather, held: ndarray) -> None:
        self.graph, self.factor, self.gather, self.held = graph, factor, gather, held
        self.itself, self.number, self.straight, self.flat = facts
        self.plain = self.itself and gather.all_free
        self.moves = self.number is None and not gather.all_held

    def take(self, q: ndarray) -> ndarray:
        return self.gather.take(q, self.held)

    def of(self, node: Node, x: ndarray) -> Any:
        return numbers(self.graph, [node], {("q", 0): x})[0]

    def value(self, q: ndarray) -> ndarray:
        x = self.take(q)
        if self.itself:
            return x
        value = self.of(self.factor.value, x)
        return np.full(x.shape, value, x.dtype) if isinstance(value, float) else value

    def change(self, one: ndarray, other: ndarray, moved: ndarray) -> ndarray | None:
        """f(one) - f(other), where moved is one - other; None for a number."""
        if self.number is not None:
            return None
        return self.gather.direction(moved) if self.itself else self.value(one) - self.value(other)

    def slope(self, q: ndarray) -> Any:
        return self.straight if self.straight is not None else self.of(self.factor.slope, self.take(q))

    def curvature(self, q: ndarray) -> Any:
        return 0.0 if self.flat else self.of(self.factor.curvature, self.take(q))


class _Fields(dict):
    """Fields that do not depend on the state, each computed when it is asked for first."""

    def __init__(self, steady: Callable[[str], ndarray]) -> None:
        super().__init__()
        self.steady = steady

    def __missing__(self, side: str) -> ndarray:
        self[side] = self.steady(side)
        return self[side]


class ProductTerm:
    """number * f (C g): see :mod:`.couplings`. ``own`` is f on the rows, ``other`` g on the columns."""

    def __init__(self, product: Product, split: Split, values: Values, operators: dict, dtype: np.dtype) -> None:
        self.product, self.number, self.dtype = product, float(product.number), dtype
        self.key = (product.place, product.c)
        # which parameter the matrix is, entry by entry; None where it is a function of parameters
        head = product.graph.nodes[product.c]
        same = head[:2] == ("symbol", "p") and values.shapes[head[2]] == product.term.places.shape
        self.parameter: int | None = head[2] if same and product.term.places.kind == "pairs" else None
        rows, columns = product.sides
        self.f = Feature(product.graph, product.f, product.facts[0], split.gather(rows), values.held)
        self.g = Feature(product.graph, product.g, product.facts[1], split.gather(columns), values.held)
        self.read(values, operators)

    def read(self, values: Values, operators: dict) -> None:
        """Take these values; ``operators`` are those that products of one coupling share."""
        self.values, product, dtype = values, self.product, self.dtype
        self.own = values.batched and any(values.own(k) for k in product.term.indices("p"))
        if self.key not in operators:
            operators[self.key] = coupling(product.term.places, self._kernel(), dtype)
        self.operator: Coupling = operators[self.key]
        self.f.held = self.g.held = values.held
        self.fields = _Fields(self._steady)

    def _kernel(self) -> ndarray:
        """The values of c, of the shape of the places, with a leading batch axis where a parameter has one."""
        term, shape = self.product.term, self.product.term.places.shape
        leaves = {}
        for k in term.indices("p"):
            value, plain = self.values.parameters[k], self.values.shapes[k]
            if not plain and self.values.own(k):
                value = value.reshape(-1, *(1,)*len(shape))
            leaves["p", k] = value
        (c,) = numbers(term.graph, [self.product.c], leaves)
        return np.asarray(c)

    def _applied(self, side: str, source: ndarray) -> ndarray:
        if side == "both":
            assert isinstance(self.operator, Dense)
            return self.operator.to_both(source)
        return self.operator.to_rows(source) if side == "rows" else self.operator.to_columns(source)

    def field(self, side: str, q: ndarray) -> ndarray:
        """C g on the rows, C^T f on the columns, (C + C^T) f on a group whose two sides are one."""
        if self._known(side):
            return self.fields[side]
        return self._applied(side, (self.g if side == "rows" else self.f).value(q))

    def _steady(self, side: str) -> ndarray:
        """A field that does not depend on the state."""
        source = self.g if side == "rows" else self.f
        if source.number is None:
            return self._applied(side, source.value(np.zeros((len(self.values.held), 0), self.dtype)))
        return self._applied(side, np.full((1, source.gather.count), source.number, self.dtype))

    def _known(self, side: str) -> bool:
        """Whether a field does not depend on the state: of a number, or of clamped coordinates."""
        source = self.g if side == "rows" else self.f
        return side != "both" and (source.number is not None or source.gather.all_held)

    def _sides(self) -> list[tuple[str, Feature]]:
        """The sides that receive a force."""
        if self.product.symmetric:
            return [("both", self.f)]
        found = [("rows", self.f), ("columns", self.g)]
        return [(name, own) for name, own in found if not own.gather.all_held and own.straight != 0]

    def energy(self, q: ndarray) -> ndarray:
        side, own = ("columns", self.g) if self._known("columns") else ("rows", self.f)
        return np.broadcast_to(self.number*(own.value(q)*self.field(side, q)).sum(1), len(q))

    def constant(self) -> list[tuple[Gather, ndarray]]:
        """Slopes that never change: a constant field and a constant slope."""
        return [
            (own.gather, self.number*own.straight*self.fields[name])
            for name, own in self._sides() if own.straight is not None and self._known(name)
        ]  # fmt: skip

    def moving(self) -> list[tuple[str, Feature]]:
        """The sides whose slopes depend on the state."""
        return [(name, own) for name, own in self._sides() if own.straight is None or not self._known(name)]

    def _slope(self, side: str, own: Feature, q: ndarray) -> Any:
        return self._times(self.field(side, q), own.slope(q))

    def _times(self, field: ndarray, factor: Any) -> Any:
        if isinstance(factor, float):
            factor *= self.number
            return field if factor == 1.0 else factor*field
        return (field if self.number == 1.0 else self.number*field)*factor

    def add_slope(self, q: ndarray, out: ndarray) -> None:
        for side, own in self.moving():
            own.gather.add(out, self._slope(side, own, q))

    def sides(self) -> list[Side]:
        def side(name: str, own: Feature) -> Side:
            def both(q: ndarray) -> tuple[Any, Any]:
                field, bend = self.field(name, q), own.curvature(q)
                curvature = 0.0 if isinstance(bend, float) and bend == 0.0 else self.number*bend*field
                return self._times(field, own.slope(q)), curvature

            still = own.flat or (self._known(name) and own.graph.value(own.factor.curvature) is not None)
            return Side(own.gather, lambda q: self._slope(name, own, q), both, still)

        return [side(name, own) for name, own in self.moving()]

    def add_product(self, q: ndarray, v: ndarray, out: ndarray) -> None:
        """out += E_qq v."""
        for side, own in self._sides():
            x = own.gather.direction(v)
            if not own.flat:
                own.gather.add(out, self.number*own.curvature(q)*self.field(side, q)*x)
            other = self.f if side != "rows" else self.g
            if not other.gather.all_held and other.straight != 0:
                moved = self._applied(side, other.slope(q)*other.gather.direction(v))
                own.gather.add(out, self.number*own.slope(q)*moved)

    def add_dense(self, q: ndarray, H: ndarray) -> None:
        """H (B, free, free) += E_qq."""
        for side, own in self._sides():
            if not own.flat:
                bend = np.broadcast_to(self.number*own.curvature(q)*self.field(side, q), (len(q), own.gather.count))
                H[:, own.gather.free, own.gather.free] += own.gather.only_free(bend)  # members are distinct
        if self.f.straight == 0 or self.g.straight == 0 or self.f.gather.all_held or self.g.gather.all_held:
            return
        matrix = self.operator.dense()
        left, right = (np.broadcast_to(x.slope(q), (len(q), x.gather.count)) for x in (self.f, self.g))
        block = self.number*left[:, :, None]*matrix*right[:, None]
        for mask, axis in ((self.f.gather.mask, 1), (self.g.gather.mask, 2)):
            block = block if mask is None else np.compress(mask, block, axis)
        rows, columns = self.f.gather.free, self.g.gather.free
        H[:, rows[:, None], columns] += block
        H[:, columns[:, None], rows] += block.swapaxes(1, 2)

    # ------------------------------------------------------------------ the learning rule
    def _add_outer(
        self, found: Slopes, f: ndarray | None, g: ndarray | None, weight: Any, good: ndarray | None
    ) -> None:  # fmt: skip
        if f is None or g is None:
            return
        samples = max(len(f), len(g))
        f, g = spread(f, (samples, f.shape[1])), spread(g, (samples, g.shape[1]))
        own = self.own
        if good is not None:
            f, g = (f, np.where(good[:, None], g, 0)) if own else (f[good], g[good])
        slope = _real(self.operator.outer(f, (self.number*weight)*g))
        known = found.get(self.key)
        if known is None:
            if isinstance(self.operator, Dense) and slope.shape != self.operator.matrix.shape:
                slope = np.broadcast_to(slope, self.operator.matrix.shape).copy()
            found[self.key] = slope
        elif known.dtype == slope.dtype:
            known += slope  # nobody else has it: outer made it
        else:
            found[self.key] = known + slope

    def add_theta(self, q: ndarray, found: Slopes, good: ndarray | None) -> None:
        self._add_outer(found, self.f.value(q), self.g.value(q), 1.0, good)

    def add_contrast(
        self, one: ndarray, other: ndarray, moved: ndarray, weight: complex, found: Slopes, good: ndarray | None,
        apart: Apart | None = None,
    ) -> None:  # fmt: skip
        f, g = self.f, self.g
        if apart is not None and f.plain and g.plain:
            self._add_outer(found, apart.left[f.gather.index].T, apart.right[g.gather.index].T, weight, good)
            return
        if g.moves:
            self._add_outer(found, self._factor(f, other), g.change(one, other, moved), weight, good)
        if f.moves:
            self._add_outer(found, f.change(one, other, moved), self._factor(g, one), weight, good)

    def _factor(self, feature: Feature, q: ndarray) -> ndarray:
        """Its value; one column stands for all where it is a number beside a plain matrix."""
        if feature.number is None or not isinstance(self.operator, Dense) or self.operator.group:
            return feature.value(q)
        return np.full((1, 1), feature.number, self.dtype)

    def add_along(self, q: ndarray, v: ndarray, found: Slopes, good: ndarray | None) -> None:
        for moved, still in ((self.f, self.g), (self.g, self.f)):
            if moved.gather.all_held or moved.straight == 0:
                continue
            response, value = moved.slope(q)*moved.gather.direction(v), still.value(q)
            f, g = (response, value) if moved is self.f else (value, response)
            self._add_outer(found, f, g, 1.0, good)


def _spread(gather: Gather) -> ndarray:
    """The position in the state of every one, -1 for a clamped one."""
    if gather.mask is None:
        return gather.free
    found = np.full(gather.count, -1)
    found[gather.mask] = gather.free
    return found


def _real(value: Any) -> Any:
    return value.real if np.iscomplexobj(value) else value
