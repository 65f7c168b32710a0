"""Gradients of mini-batches of one size by plain compiled steps: what a training asks again and again.

Nothing is checked and nothing laid out twice: from one mini-batch to the next only parameters and samples change.
What is simple, such as a matrix between coordinates, is read and contrasted by one compiled call together with the
phases; all other terms do it themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import sympy as sp
from numpy import ndarray

from ..boundary import Equilibrium
from ..compiler.layered_training import OF_PARAMETERS, Script
from ..solvers.energy_terms import ProductTerm, Slopes, TableTerm, Values
from ..solvers.equilibrium import Settling
from ..solvers.gathering import Gather
from ..solvers.layered import Lanes, Place, applies
from ..solvers.statics import Statics
from .estimators import Centered, Estimator, OneSided
from .result import Gradient


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
            type(estimator), estimator.beta, boundary.step, boundary.iterations, data.dtype.char, shapes
        ) if plain and kinds and isinstance(estimator, (OneSided, Centered)) else None  # fmt: skip
        self.keys: dict[int, tuple] = {}  # by their number of samples
        self.refused: set[int] = set()

    def gradient(
        self, values: Mapping[sp.Symbol, ndarray], samples: ndarray, settling: Callable[[], Settling]
    ) -> Gradient | None:  # fmt: skip
        """The gradient of some samples; None where it takes more than plain steps, or a sample is no number."""
        size = samples.size
        if self.key is None or size in self.refused:
            return None
        key = self.keys.get(size) or self.keys.setdefault(size, (size, *self.key))
        steady = self.shelf.pop(key, None)
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
        self.shelf[key] = steady
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
        self.lanes, self.data, self.inputs = Lanes(self.energies), settling.statics, len(settling.statics.inputs)
        centered = isinstance(estimator, Centered)
        beta = abs(estimator.beta) if centered else estimator.beta
        self.planes = (2, 4) if centered else (2, 0)
        self.weight = (0.5 if centered else 1.0)/beta/self.samples
        self.success = np.ones(self.samples, bool)
        self.message = f"relaxation: settled in {settling.iterations[0]} iterations"
        self.passed = self._arguments(settling, [0.0, beta, -beta] if centered else [0.0, beta])
        self._write_script()
        module: Any = self.script.module(self.lanes.layout.module.__name__)
        self.compiled = module.gradient

    def _arguments(self, settling: Settling, betas: list[float]) -> tuple:
        """The arguments of the compiled pass, which are the same for every mini-batch."""
        lanes, (free, nudged), step = self.lanes, settling.iterations, settling.boundary.step
        shape, sums = (lanes.blocks, lanes.width), np.empty(self.energies.width)
        total, self.costs = np.empty((len(betas)*shape[0], shape[1]), lanes.dtype), np.empty(shape, lanes.dtype)
        self.begin, self.apart = lanes.laid(settling.guess), lanes.between(*self.planes, sums)
        steps = np.array([free, *[nudged]*(len(betas) - 1)])
        places = (lanes.planes[plane].first for plane in (*self.planes, sum(self.planes)//2))
        assert step is not None
        return (
            *lanes.phases(self.begin, lanes.planes[0], total, steps, step, np.array(betas, lanes.dtype)), *places,
            lanes.keep, lanes.row, sums, self.costs,
        )  # fmt: skip

    def adopt(self, data: Statics, guess: ndarray) -> None:
        """Take the samples of another data set, and a guess: a number, (size,) or one a sample."""
        self.data, self.guess = data, guess
        if guess.ndim < 2:
            self.lanes.fill(self.begin.whole, data.start(guess, 1))
        every = [*data.inputs, *data.targets]
        for to, n, columns in self.constants:
            to[:] = every[n][0, columns]
        arrays = {**self.arrays, **{f"D{n}": array for n, array in enumerate(every)}}
        names = self.script.names
        self.fixed = (*self.passed, *(arrays[name] for name in names if name[0] not in OF_PARAMETERS))
        moving = [name for name in names if name[0] in OF_PARAMETERS]
        self.moving = [(name[0] in "GH", int(name[1:])) for name in moving]
        self.lists = [n for n, name in enumerate(moving) if name[0] in "PH"]
        self.untouched = len(self.script.known) < len(self.shapes)

    # ------------------------------------------------------------------ what is simple
    def _write_script(self) -> None:
        """What the compiled call does, and what is left to the terms themselves."""
        energies, lanes = self.energies, self.lanes
        self.script, self.arrays, self.scales = Script(), dict[str, ndarray](), list[float]()
        self.tables = [t for t in energies.tables if t.table.parameters and not self._add_change(t)]
        self.products = [product for product in energies.products if not self._add_product(product)]
        self.judges = [term for term in energies.costs if term.table.parameters]
        self.read = list(self.products)  # products that compute their fields and matrices
        self.writes: list[tuple[Place, ndarray]] = []
        self.constants: list[tuple[ndarray, int, ndarray]] = []
        for number, (place, to) in enumerate(zip(lanes.layout.places, lanes.values, strict=True)):
            self._add_leaf(number, place, to)
        self.matrices: list[tuple[ndarray, ProductTerm, bool]] = []
        for number, (bond, to) in enumerate(zip(lanes.layered.bonds, lanes.matrices, strict=True)):
            product = energies.products[bond.product]
            if product.parameter is None:
                self.matrices.append((to, product, bond.wide_is_rows))
            else:
                self.script.matrix(number, product.parameter, bond.wide_is_rows)
                self.arrays[f"M{number}"] = to
        self.arrays["scales"] = np.array(self.scales)

    def _scale(self, factor: float) -> int:
        self.scales.append(self.weight*factor)
        return len(self.scales) - 1

    def _samples(self, n: int) -> str:
        """The name of an input's or a target's samples in a mini-batch."""
        name, width = f"B{n}", [*self.data.inputs, *self.data.targets][n].shape[1]
        if name not in self.arrays:
            self.script.gathered(n)
            self.arrays[name] = np.empty((self.lanes.length, width), self.lanes.dtype)
        return name

    def _held(self, gather: Gather) -> int | None:
        """The input that is all of some coordinates as it stands; None where it takes more."""
        (only, *more) = self.data.system.clamped or (None,)
        if only is None or more or len(self.data.held(self.data.inputs)) == 1 or not gather.all_held:
            return None
        n, places = list(self.data.system.inputs).index(only), self.data.split.clamped
        whole = np.array_equal(self.data.system.clamped[only], places) and self.data.inputs[n].shape[1] == len(places)
        return n if whole and np.array_equal(gather.held, np.arange(len(places))) else None

    def _add_change(self, term: TableTerm) -> bool:
        """Whether the gradient of a term is a multiple of the changes of coordinates; then it is compiled."""
        if term.linear is None or term.table.positions is not None:
            return False
        (_, a), factor = term.linear
        gather, k = term.gathers[a], term.table.parameters[0]
        if not gather.all_free or not self.shapes[k]:
            return False
        number = self._scale(factor)
        self.script.change(k, number)
        self.arrays[f"C_{number}"] = gather.free
        return True

    def _add_product(self, product: ProductTerm) -> bool:
        """Whether the gradient of a term is a product of coordinates; then it is compiled."""
        f, g, k, apart = product.f.gather, product.g.gather, product.parameter, self.apart
        moving = self.lanes.planes[sum(self.planes)//2].whole.T
        if k is None or not (product.f.itself and product.g.itself):
            return False
        if not all(isinstance(gather.index, slice) for gather in (f, g) if gather.all_free):
            return False
        if f.all_free and g.all_free:
            factors: tuple[Any, Any] = (apart.left[f.index], apart.right[g.index])
            across = (0, 1)
        elif g.all_free and self._held(f) is not None:
            factors, across = (self._held(f), moving[g.index]), (1, 1)
        elif f.all_free and self._held(g) is not None:
            factors, across = (moving[f.index], self._held(g)), (0, 0)
        else:
            return False
        number = self._scale(product.number)
        names = [self._samples(x) if isinstance(x, int) else f"{side}{number}"
                 for side, x in zip("LR", factors, strict=True)]  # fmt: skip
        self.arrays.update({name: x for name, x in zip(names, factors, strict=True) if not isinstance(x, int)})
        self.script.product(k, number, names[0], names[1], across)
        return True

    def _add_leaf(self, number: int, place: Place, to: ndarray) -> None:
        leaf, script = place.leaf, self.script
        if leaf.kind == "field":
            product, on_rows = self.energies.products[leaf.number], leaf.side == "rows"
            n = self._held((product.g if on_rows else product.f).gather)
            whole = isinstance(place.columns, slice) and place.columns == slice(0, place.length)
            if product in self.products or n is None or not whole or not place.own:
                if product not in self.read:
                    self.read.append(product)
                self.writes.append((place, to))
                return
            assert product.parameter is not None
            self._samples(n)
            script.field(number, product.parameter, n, on_rows)
            self.arrays[f"V{number}"] = to.T
            return
        term = self.lanes.term(leaf)
        gather, positions = term.gathers[0], term.table.positions
        columns = gather.only_free(np.arange(gather.count)[None])[0, place.columns]
        if leaf.kind == "p":
            index = columns if positions is None else positions[columns]
            script.parameter(number, leaf.symbol)
            self.arrays |= {f"V{number}": to, f"C{number}": index if self.shapes[leaf.symbol] else 0*index}
            return
        n = leaf.symbol + (0 if leaf.kind == "u" else self.inputs)
        columns = columns if [*self.data.inputs, *self.data.targets][n].shape[1] > 1 else 0*columns
        if place.own:
            self._samples(n)
            script.given(number, n)
            self.arrays |= {f"V{number}": to.T, f"C{number}": columns}
        else:
            self.constants.append((to, n, columns))

    # ------------------------------------------------------------------ a mini-batch
    def gradient(self, values: Mapping[sp.Symbol, ndarray], samples: ndarray) -> Gradient | None:
        """The gradient of the mean loss; None where a sample is no number."""
        parameters = list(values.values())
        given = self._prepare(parameters, samples) if self.read or self.tables or self.judges else None
        if self.guess.ndim > 1:
            self.lanes.fill(self.begin.whole, self.data.start(self.guess[samples], self.samples))
        slopes = [np.empty(shape, self.lanes.dtype) for shape in self.shapes]
        moving = [(slopes if is_slope else parameters)[k] for is_slope, k in self.moving]
        for n in self.lists:
            moving[n] = moving[n].ravel()
        finite, loss = self.compiled(samples, *self.fixed, *moving)
        if not finite:
            return None
        if given is not None or self.untouched:
            slopes = self._others(given, slopes)
        losses = self.costs.ravel()[: self.samples].astype(float)
        return Gradient(loss, losses, dict(zip(values, slopes, strict=True)), self.success, self.message)

    def _prepare(self, parameters: list[ndarray], samples: ndarray) -> Values:
        """What is not simple reads its values."""
        data, operators = self.data, dict[Any, Any]()
        inputs, targets = (
            [array.take(samples, 0) if len(array) > 1 else array for array in arrays]
            for arrays in (data.inputs, data.targets)
        )  # fmt: skip
        given = Values(parameters, self.shapes, inputs, targets, data.held(inputs), False)
        for table in (*self.tables, *self.judges):
            table.read(given)
        for product in self.read:
            product.read(given, operators)
        for place, to in self.writes:
            self.lanes.write(place, to)
        for to, product, wide_is_rows in self.matrices:
            matrix = product.operator.dense()
            to[:] = matrix if wide_is_rows else matrix.T
        return given

    def _others(self, given: Values | None, slopes: list[ndarray]) -> list[ndarray]:
        """The gradient of every parameter, with terms that are not simple, or that have no gradient."""
        found: Slopes = {k: slopes[k] for k in self.script.known}
        if given is not None:
            one, other = (self.lanes.planes[plane].q for plane in self.planes)
            terms: list[TableTerm | ProductTerm] = [*self.tables, *self.products]
            for term in terms:
                term.add_contrast(one, other, self.apart.moved, self.weight, found, None, self.apart)
            by_cost: Slopes = {}
            for cost in self.judges:
                cost.add_theta(self.lanes.planes[0].q, by_cost, None)
            for k, part in by_cost.items():
                found[k] = found.get(k, 0.0) + part/self.samples
            self.energies.values = given
            return [part.astype(self.lanes.dtype, copy=False) for part in self.energies.gathered(found)]
        return [found.get(k, np.zeros_like(part)) for k, part in enumerate(slopes)]
