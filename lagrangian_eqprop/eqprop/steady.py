"""Gradients of mini-batches of one size by plain compiled steps: what a training asks again and again.

Nothing is checked and nothing laid out twice: from one mini-batch to the next only parameters and samples change.
What is simple, such as a matrix between coordinates, is read and contrasted here; all other terms do it themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import sympy as sp
from numpy import ndarray

from ..solvers.energy_terms import ProductTerm, Slopes, TableTerm, Values
from ..solvers.equilibrium import Settling
from ..solvers.gathering import as_slice
from ..solvers.layered import Lanes, Place, applies
from ..solvers.phase import Apart
from ..solvers.statics import Statics
from .estimators import Centered, Estimator, OneSided
from .result import Gradient

Parameters = list[ndarray]
Write = Callable[[Parameters, Values], None]


def steady(settling: Settling, estimator: Estimator, data: Statics, guess: ndarray) -> Steady | None:
    """Gradients like that of ``settling``, for samples of ``data``; None where they need more than plain steps."""
    energies = settling.energies
    plain = settling.solver == "relaxation" and settling.tolerance is None
    if not plain or not isinstance(estimator, (OneSided, Centered)) or energies.values.batched or settling.batch is None or not energies.compiled:
        return None
    if not all(term.gathers[0].all_free for term in energies.costs) or not applies(energies, settling.iterations[0]):
        return None
    return Steady(settling, estimator, data, guess)


class Steady:
    """See :func:`steady`.

    Parameters
    ----------
    settling : Settling
        The question for the first mini-batch.
    estimator : OneSided or Centered
    data : Statics
        Inputs and targets of all samples.
    guess : ndarray
        Of the data set: a number, (size,) or (B, size).
    """

    def __init__(self, settling: Settling, estimator: OneSided | Centered, data: Statics, guess: ndarray) -> None:
        self.settling, self.data, self.guess = settling, data, guess
        self.energies, self.samples = settling.energies, settling.samples
        if self.energies.lanes is None:
            self.energies.lanes = Lanes(self.energies)
        self.lanes: Lanes = self.energies.lanes
        beta = abs(estimator.beta) if isinstance(estimator, Centered) else estimator.beta
        centered = isinstance(estimator, Centered)
        self.betas = np.array([0.0, beta, -beta] if centered else [0.0, beta], self.lanes.dtype)
        self.planes = (2, 4) if centered else (2, 0)
        self.weight = (0.5 if centered else 1.0)/beta/self.samples
        free, nudged = settling.iterations
        self.steps = np.array([free, *[nudged]*(len(self.betas) - 1)])
        self.begin = self.lanes.laid(settling.guess)
        self.success = np.ones(self.samples, bool)
        self.message = f"relaxation: settled in {free} iterations"
        self.sums = np.empty(self.energies.width)
        self._find_simple()

    # ------------------------------------------------------------------ what is simple
    def _find_simple(self) -> None:
        """Which terms are simple, and what writes the values of all leaves."""
        energies = self.energies
        kinds = [(product, self._kind(product)) for product in energies.products]
        self.simple = [(product, kind) for product, kind in kinds if kind is not None]
        self.products = [product for product, kind in kinds if kind is None]
        self.linear = [term for term in energies.tables if term.linear and term.gathers[term.linear[0][1]].all_free]
        self.tables = [term for term in energies.tables if term.table.parameters and term not in self.linear]
        self.costs = [term for term in energies.costs if term.table.parameters]
        self.read = list(self.products)  # products that compute their fields and matrices
        self.writes: list[Write] = []
        for place, to in zip(self.lanes.layout.places, self.lanes.values, strict=True):
            if place.leaf.kind == "field":
                self.writes.append(self._field(place, to))
            elif place.leaf.kind == "p":
                self.writes.append(self._parameter(place, to))
            elif place.own:
                self.writes.append(self._given(place, to))
            else:
                self.lanes.write(place, to)  # once for all
        self.matrices: list[tuple[int | ProductTerm, bool]] = []
        for bond in self.lanes.layered.bonds:
            product = energies.products[bond.product]
            self.matrices.append((product if product.parameter is None else product.parameter, bond.wide_is_rows))

    def _kind(self, product: ProductTerm) -> str | None:
        """Which sides of a product move, where it is a matrix between coordinates."""
        if product.parameter is None or not (product.f.itself and product.g.itself):
            return None
        free = product.f.plain, product.g.plain
        if all(free):
            return "both"
        held = (product.g if free[0] else product.f).gather.all_held and len(self.energies.values.held) > 1
        return ("rows" if free[0] else "columns") if any(free) and held else None

    def _field(self, place: Place, rows: ndarray) -> Write:
        """A field that does not move: a matrix times clamped coordinates."""
        product, lanes, samples = self.energies.products[place.leaf.number], self.lanes, self.samples
        if product in self.products or not isinstance(place.columns, slice):
            if product not in self.read:
                self.read.append(product)

            return lambda parameters, values: lanes.write(place, rows)
        on_rows, k, inside = place.leaf.side == "rows", product.parameter, rows[:samples].T
        held = (product.g if on_rows else product.f).gather.held_index
        assert k is not None

        def multiplied(parameters: Parameters, values: Values) -> None:
            matrix = parameters[k] if on_rows else parameters[k].T
            np.matmul(matrix[place.columns], values.held[:, held].T, out=inside)
            if len(rows) > samples:
                rows[samples:] = rows[samples - 1]  # lanes that are left over

        return multiplied

    def _columns(self, place: Place) -> ndarray:
        """Which of a term's places belong to the members of the group in turn."""
        gather = self.lanes.term(place.leaf).gathers[0]
        return gather.only_free(np.arange(gather.count)[None])[0, place.columns]

    def _parameter(self, place: Place, rows: ndarray) -> Write:
        k, positions = place.leaf.symbol, self.lanes.term(place.leaf).table.positions
        index: Any = slice(None)
        if self.data.shapes[k]:
            columns = self._columns(place)
            index = as_slice(columns if positions is None else positions[columns])

        def write(parameters: Parameters, values: Values) -> None:
            rows[:] = parameters[k].ravel()[index]

        return write

    def _given(self, place: Place, rows: ndarray) -> Write:
        """Inputs and targets."""
        kind, k, lanes = place.leaf.kind, place.leaf.symbol, self.lanes
        columns = as_slice(self._columns(place))

        def write(parameters: Parameters, values: Values) -> None:
            array = (values.inputs if kind == "u" else values.targets)[k]
            lanes.fill(rows, array if array.shape[1] == 1 else array[:, columns])

        return write

    # ------------------------------------------------------------------ a mini-batch
    def gradient(self, values: Mapping[sp.Symbol, ndarray], samples: ndarray) -> Gradient | None:
        """The gradient of the mean loss; None where a sample is no number."""
        lanes = self.lanes
        parameters = list(values.values())
        given, operators = self._values(parameters, samples), dict[Any, Any]()
        for table in (*self.tables, *self.costs):
            table.read(given)
        for product in self.read:
            product.read(given, operators)
        for write in self.writes:
            write(parameters, given)
        lanes.take([self._matrix(source, rows, parameters) for source, rows in self.matrices])
        if self.guess.ndim > 1:
            lanes.fill(self.begin.whole, self.data.start(self.guess[samples], self.samples))
        first, second, between = (lanes.planes[plane].first for plane in (*self.planes, sum(self.planes)//2))
        blocks, width = lanes.blocks, lanes.width
        total, costs = np.empty((len(self.betas)*blocks, width), lanes.dtype), np.empty((blocks, width), lanes.dtype)
        step = self.settling.boundary.step
        assert step is not None
        finite, loss = lanes.layout.module.contrasted(
            *lanes.phases(self.begin, lanes.planes[0], total, self.steps, step, self.betas), first, second, between,
            lanes.keep, lanes.row, self.sums, costs, self.samples,
        )  # fmt: skip
        if not finite:
            return None
        slopes = dict(zip(values, self._contrast(given), strict=True))
        return Gradient(loss, costs.ravel()[: self.samples].astype(float), slopes, self.success, self.message)

    def _values(self, parameters: Parameters, samples: ndarray) -> Values:
        inputs, targets = (
            [array.take(samples, 0) if len(array) > 1 else array for array in arrays]
            for arrays in (self.data.inputs, self.data.targets)
        )  # fmt: skip
        return Values(parameters, self.data.shapes, inputs, targets, self.data.held(inputs), False)

    @staticmethod
    def _matrix(source: int | ProductTerm, rows: bool, parameters: Parameters) -> ndarray:
        matrix = parameters[source] if isinstance(source, int) else source.operator.dense()
        return matrix if rows else matrix.T

    def _contrast(self, given: Values) -> list[ndarray]:
        """The gradient of every parameter."""
        apart, held, weight = self.lanes.between(*self.planes, self.sums), given.held, self.weight
        found: Slopes = {}
        for term in self.linear:
            assert term.linear is not None
            (_, a), scale = term.linear
            term.add_sums(term.table.parameters[0], apart.sums[None, term.gathers[a].index], found, scale*weight)
        for product, kind in self.simple:
            f, g, k = product.f.gather, product.g.gather, product.parameter
            if kind == "both":
                slope = apart.left[f.index] @ apart.right[g.index].T
            elif kind == "rows":
                slope = apart.moved[:, f.index].T @ held[:, g.held_index]
            else:
                slope = held[:, f.held_index].T @ apart.moved[:, g.index]
            slope *= weight*product.number
            found[k] = found[k] + slope if k in found else slope
        if self.tables or self.products or self.costs:
            parts = self._others(apart, given, found)
        else:
            parts = [found.get(k) for k in range(len(given.parameters))]
        return [
            np.zeros(value.shape, value.dtype) if part is None else
            part.astype(value.dtype, copy=False).reshape(value.shape)
            for part, value in zip(parts, given.parameters, strict=True)
        ]  # fmt: skip

    def _others(self, apart: Apart, given: Values, found: Slopes) -> list[ndarray]:
        """The same with terms that are not simple."""
        one, other = (self.lanes.planes[plane].q for plane in self.planes)
        for other_term in (*self.tables, *self.products):
            other_term.add_contrast(one, other, apart.moved, self.weight, found, None, apart)
        by_cost: Slopes = {}
        for cost in self.costs:
            cost.add_theta(self.lanes.planes[0].q, by_cost, None)
        for k, part in by_cost.items():
            found[k] = found.get(k, 0.0) + part/self.samples
        self.energies.values = given
        return self.energies.gathered(found)
