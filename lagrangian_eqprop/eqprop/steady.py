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

from ..boundary import Equilibrium
from ..solvers.energy_terms import ProductTerm, Slopes, TableTerm, Values
from ..solvers.equilibrium import Settling
from ..solvers.gathering import as_slice
from ..solvers.layered import Lanes, Place, applies
from ..solvers.statics import Statics
from .estimators import Centered, Estimator, OneSided
from .result import Gradient

Write = Callable[[Values], None]
Contrast = tuple[int, Callable[[Values], ndarray]]  # of a parameter, and how its gradient is found


class MiniBatches:
    """Gradients of the mini-batches of a data set.

    What they need stays with the system and its cost for the next training, and is lent to one at a time.

    Parameters
    ----------
    data : Statics
        Inputs and targets of all samples.
    boundary : Equilibrium
    estimator : Estimator
    """

    def __init__(self, data: Statics, boundary: Equilibrium, estimator: Estimator) -> None:
        self.data, self.guess, self.estimator = data, boundary.guess, estimator
        self.shelf: dict[Any, Steady] = data.bound.__dict__.setdefault("_steady", {})
        shapes = tuple((len(array) > 1, array.shape[1]) for array in (*data.inputs, *data.targets))
        plain = boundary.tolerance is None and boundary.step is not None and boundary.solver in (None, "relaxation")
        kinds = isinstance(estimator, (OneSided, Centered)) and data.compiled and not data.own
        self.key = (
            type(estimator), estimator.beta, boundary.step, boundary.iterations, data.dtype, shapes
        ) if plain and kinds and isinstance(estimator, (OneSided, Centered)) else None  # fmt: skip
        self.refused: set[int] = set()  # numbers of samples

    def gradient(
        self, values: Mapping[sp.Symbol, ndarray], samples: ndarray, settling: Callable[[], Settling]
    ) -> Gradient | None:  # fmt: skip
        """The gradient of some samples; None where it takes more than plain steps, or a sample is no number."""
        size = samples.size
        if self.key is None or size in self.refused:
            return None
        steady = self.shelf.pop((size, *self.key), None)
        if steady is None:
            first = settling()
            if first.batch is None or not _applies(first):
                self.refused.add(size)
                return None
            assert isinstance(self.estimator, (OneSided, Centered))
            steady = Steady(first, self.estimator)
        if steady.data is not self.data:
            steady.adopt(self.data, self.guess)
        found = steady.gradient(values, samples)
        self.shelf[size, *self.key] = steady
        return found


def _applies(settling: Settling) -> bool:
    energies = settling.energies
    return all(term.gathers[0].all_free for term in energies.costs) and applies(energies, settling.iterations[0])


class Steady:
    """The gradient of a number of samples.

    Parameters
    ----------
    settling : Settling
        The question for some of them.
    estimator : OneSided or Centered
    """

    def __init__(self, settling: Settling, estimator: OneSided | Centered) -> None:
        self.energies, self.samples, self.shapes = settling.energies, settling.samples, settling.statics.shapes
        self.lanes = self.energies.lanes or Lanes(self.energies)
        self.data: Statics | None = None
        centered = isinstance(estimator, Centered)
        beta = abs(estimator.beta) if centered else estimator.beta
        self.planes = (2, 4) if centered else (2, 0)
        self.weight = (0.5 if centered else 1.0)/beta/self.samples
        self.success = np.ones(self.samples, bool)
        self.message = f"relaxation: settled in {settling.iterations[0]} iterations"
        self._lay_out(settling, [0.0, beta, -beta] if centered else [0.0, beta])
        self._find_simple()

    def _lay_out(self, settling: Settling, betas: list[float]) -> None:
        """The arguments of the compiled pass, which are the same for every mini-batch."""
        lanes, (free, nudged), step = self.lanes, settling.iterations, settling.boundary.step
        shape, sums = (lanes.blocks, lanes.width), np.empty(self.energies.width)
        total, self.costs = np.empty((len(betas)*shape[0], shape[1]), lanes.dtype), np.empty(shape, lanes.dtype)
        self.begin, self.apart = lanes.laid(settling.guess), lanes.between(*self.planes, sums)
        steps = np.array([free, *[nudged]*(len(betas) - 1)])
        places = (lanes.planes[plane].first for plane in (*self.planes, sum(self.planes)//2))
        assert step is not None
        self.arguments = (
            *lanes.phases(self.begin, lanes.planes[0], total, steps, step, np.array(betas, lanes.dtype)), *places,
            lanes.keep, lanes.row, sums, self.costs, self.samples,
        )  # fmt: skip

    def adopt(self, data: Statics, guess: ndarray) -> None:
        """Take the samples of another data set, and a guess: a number, (size,) or one a sample."""
        self.data, self.guess = data, guess
        if guess.ndim < 2:
            self.lanes.fill(self.begin.whole, data.start(guess, 1))
        # where one input is all that is clamped, it is held as it stands
        clamped = data.system.clamped
        only = next(iter(clamped)) if len(clamped) == 1 else None
        alone = only is not None and np.array_equal(clamped[only], data.split.clamped)
        self.only = list(data.system.inputs).index(only) if alone else None
        if alone and data.inputs[self.only].shape[1] != len(data.split.clamped):
            self.only = None

    # ------------------------------------------------------------------ what is simple
    def _find_simple(self) -> None:
        """Which terms are simple, and what writes the values of all leaves."""
        energies = self.energies
        self.contrasts = list[Contrast]()
        others = [term for term in (*energies.tables, *energies.products) if not self._is_simple(term)]
        self.products = [term for term in others if isinstance(term, ProductTerm)]
        self.tables = [term for term in others if isinstance(term, TableTerm) and term.table.parameters]
        self.judges = [term for term in energies.costs if term.table.parameters]
        self.read = list(self.products)  # products that compute their fields and matrices
        self.writes: list[Write] = []
        for place, to in zip(self.lanes.layout.places, self.lanes.values, strict=True):
            if place.leaf.kind == "field":
                self.writes.append(self._field(place, to))
            elif place.leaf.kind == "p":
                self.writes.append(self._parameter(place, to))
            else:
                self.writes.append(self._given(place, to))
        self.matrices: list[tuple[int | ProductTerm, bool]] = []
        for bond in self.lanes.layered.bonds:
            product = energies.products[bond.product]
            self.matrices.append((product if product.parameter is None else product.parameter, bond.wide_is_rows))

    def _is_simple(self, term: TableTerm | ProductTerm) -> bool:
        """Whether the gradient of a term is a sum of changes or a product of matrices; then how it is found is kept."""
        apart, weight = self.apart, self.weight
        if isinstance(term, TableTerm):
            gather = term.gathers[term.linear[0][1]] if term.linear else None
            k = term.table.parameters[0] if term.table.parameters else 0
            if gather is None or not gather.all_free or term.table.positions is not None or not self.shapes[k]:
                return False
            assert term.linear is not None
            sums, scale = apart.sums[gather.index].reshape(self.shapes[k]), term.linear[1]*weight
            self.contrasts.append((k, lambda values: sums*scale))
            return True
        if term.parameter is None or not (term.f.itself and term.g.itself):
            return False
        f, g, factor, held = term.f.gather, term.g.gather, weight*term.number, len(self.energies.values.held) > 1
        if f.all_free and g.all_free:
            left, right = apart.left[f.index], apart.right[g.index].T
            self.contrasts.append((term.parameter, lambda values: _product(left, right, factor)))
        elif f.all_held and g.all_free and held:
            moved = apart.moved[:, g.index]
            self.contrasts.append(
                (term.parameter, lambda values: _product(values.held[:, f.held_index].T, moved, factor))
            )
        elif f.all_free and g.all_held and held:
            moved = apart.moved[:, f.index].T
            self.contrasts.append(
                (term.parameter, lambda values: _product(moved, values.held[:, g.held_index], factor))
            )
        else:
            return False
        return True

    def _field(self, place: Place, rows: ndarray) -> Write:
        """A field that does not move: a matrix times clamped coordinates."""
        product, lanes, samples = self.energies.products[place.leaf.number], self.lanes, self.samples
        if product in self.products or not isinstance(place.columns, slice) or not place.own:
            if product not in self.read:
                self.read.append(product)
            return lambda values: lanes.write(place, rows)
        on_rows, k, columns, inside = place.leaf.side == "rows", product.parameter, place.columns, rows[:samples].T
        held = (product.g if on_rows else product.f).gather.held_index
        assert k is not None

        def write(values: Values) -> None:
            matrix = values.parameters[k] if on_rows else values.parameters[k].T
            np.matmul(matrix[columns], values.held[:, held].T, out=inside)
            if len(rows) > samples:
                rows[samples:] = rows[samples - 1]  # lanes that are left over

        return write

    def _columns(self, place: Place) -> ndarray:
        """Which of a term's places belong to the members of the group in turn."""
        gather = self.lanes.term(place.leaf).gathers[0]
        return gather.only_free(np.arange(gather.count)[None])[0, place.columns]

    def _parameter(self, place: Place, rows: ndarray) -> Write:
        k, positions = place.leaf.symbol, self.lanes.term(place.leaf).table.positions
        index: Any = slice(None)
        if self.shapes[k]:
            columns = self._columns(place)
            index = as_slice(columns if positions is None else positions[columns])

        def write(values: Values) -> None:
            rows[:] = values.parameters[k].ravel()[index]

        return write

    def _given(self, place: Place, rows: ndarray) -> Write:
        """Inputs and targets."""
        kind, k, lanes = place.leaf.kind, place.leaf.symbol, self.lanes
        columns = as_slice(self._columns(place))

        def write(values: Values) -> None:
            array = (values.inputs if kind == "u" else values.targets)[k]
            array = array if array.shape[1] == 1 else array[:, columns]
            if place.own:
                lanes.fill(rows, array)
            else:
                rows[:] = array[0]

        return write

    # ------------------------------------------------------------------ a mini-batch
    def gradient(self, values: Mapping[sp.Symbol, ndarray], samples: ndarray) -> Gradient | None:
        """The gradient of the mean loss; None where a sample is no number."""
        given = self._values(list(values.values()), samples)
        operators: dict = {}
        for table in (*self.tables, *self.judges):
            table.read(given)
        for product in self.read:
            product.read(given, operators)
        for write in self.writes:
            write(given)
        self.lanes.take([self._matrix(source, rows, given) for source, rows in self.matrices])
        if self.guess.ndim > 1:
            assert self.data is not None
            self.lanes.fill(self.begin.whole, self.data.start(self.guess[samples], self.samples))
        finite, loss = self.lanes.layout.module.contrasted(*self.arguments)
        if not finite:
            return None
        slopes = dict(zip(values, self._contrast(given), strict=True))
        return Gradient(loss, self.costs.ravel()[: self.samples].astype(float), slopes, self.success, self.message)

    def _values(self, parameters: list[ndarray], samples: ndarray) -> Values:
        data = self.data
        assert data is not None
        inputs = [array.take(samples, 0) if len(array) > 1 else array for array in data.inputs]
        targets = [array.take(samples, 0) if len(array) > 1 else array for array in data.targets]
        held = data.held(inputs) if self.only is None else inputs[self.only]
        return Values(parameters, self.shapes, inputs, targets, held, False)

    @staticmethod
    def _matrix(source: int | ProductTerm, rows: bool, given: Values) -> ndarray:
        matrix = given.parameters[source] if isinstance(source, int) else source.operator.dense()
        return matrix if rows else matrix.T

    def _contrast(self, given: Values) -> list[ndarray]:
        """The gradient of every parameter."""
        found: Slopes = {}
        for k, contrast in self.contrasts:
            part = contrast(given)
            found[k] = found[k] + part if k in found else part
        if self.tables or self.products or self.judges:
            parts = self._others(given, found)
        else:
            parts = [found.get(k) for k in range(len(given.parameters))]
        return [
            np.zeros(value.shape, value.dtype) if part is None else
            part if part.dtype == value.dtype else part.astype(value.dtype)
            for part, value in zip(parts, given.parameters, strict=True)
        ]  # fmt: skip

    def _others(self, given: Values, found: Slopes) -> list[ndarray]:
        """The same with terms that are not simple."""
        one, other = (self.lanes.planes[plane].q for plane in self.planes)
        for term in (*self.tables, *self.products):
            term.add_contrast(one, other, self.apart.moved, self.weight, found, None, self.apart)
        by_cost: Slopes = {}
        for cost in self.judges:
            cost.add_theta(self.lanes.planes[0].q, by_cost, None)
        for k, part in by_cost.items():
            found[k] = found.get(k, 0.0) + part/self.samples
        self.energies.values = given
        return self.energies.gathered(found)


def _product(left: ndarray, right: ndarray, factor: float) -> ndarray:
    found = left @ right
    found *= factor
    return found
