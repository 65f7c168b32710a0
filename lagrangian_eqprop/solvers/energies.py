"""An energy with its values: E(q) + beta c(q) over a batch, its derivatives, and what the learning rule reads.

The state q (B, free) holds the coordinates that no input clamps. What depends on clamped coordinates and inputs
alone, such as the product of a weight matrix with an image, is computed once, not in every step.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy import ndarray

from ..compiler.statics import Plan
from .energy_terms import ProductTerm, Side, Slopes, TableTerm, Values, numbers
from .gathering import Split

_LARGEST = 2**25  # numbers of dense Hessians kept at once


class Energies:
    """E + beta c of some samples.

    Parameters
    ----------
    plan, costs : Plan
        The terms of the energy and of the cost.
    split : Split
        Which coordinates are free.
    values : Values
    bounds : pair of ndarray, shape (free,)
    samples : int
    dtype : float64 or float32
    compiled : bool
        False keeps to numpy.
    """

    def __init__(
        self, plan: Plan, costs: Plan, split: Split, values: Values, bounds: tuple[ndarray, ndarray], samples: int,
        dtype: np.dtype, compiled: bool = True,
    ) -> None:  # fmt: skip
        self.compiled = compiled
        self.lanes: Any = None  # the same values laid out for compiled relaxation, once it was asked for
        self.plan, self.cost_plan, self.split, self.values = plan, costs, split, values
        self.lower, self.upper = bounds
        self.bounded = bool(np.isfinite(self.lower).any() or np.isfinite(self.upper).any())
        self.samples, self.dtype, self.width = samples, dtype, len(split.free)
        operators: dict = {}
        self.tables = [TableTerm(table, split, values, apart=True) for table in plan.tables]
        self.products = [ProductTerm(product, split, values, operators, dtype) for product in plan.products]
        self.terms: list[TableTerm | ProductTerm] = [*self.tables, *self.products]
        self.costs = [TableTerm(table, split, values) for table in costs.tables]

    def renew(self, values: Values) -> None:
        """Take other values of the same shapes: training asks again and again."""
        self.values = values
        self.__dict__.pop("constant", None)
        operators: dict = {}
        for table in (*self.tables, *self.costs):
            table.read(values)
        for product in self.products:
            product.read(values, operators)
        if self.lanes is not None:
            self.lanes.read()

    @functools.cached_property
    def constant(self) -> ndarray | None:
        """Slopes that never change, (B, free): biases, products with clamped coordinates."""
        found: ndarray | None = None
        for term in self.terms:
            for gather, slope in term.constant():
                if found is None:
                    found = np.zeros((self.samples, self.width), self.dtype, order=self.plan.order)
                gather.add(found, slope)
        return found

    def take(self, rows: ndarray) -> Energies:
        """The same for some of the samples."""
        values = self.values

        def cut(arrays: Sequence[ndarray]) -> list[ndarray]:
            return [array[rows] if len(array) > 1 else array for array in arrays]

        parameters = [value[rows] if values.own(k) else value for k, value in enumerate(values.parameters)]
        (held,) = cut([values.held])
        part = values._replace(
            parameters=parameters, inputs=cut(values.inputs), targets=cut(values.targets), held=held
        )  # fmt: skip
        bounds = self.lower, self.upper
        return Energies(self.plan, self.cost_plan, self.split, part, bounds, len(rows), self.dtype, self.compiled)

    # ------------------------------------------------------------------ values
    def energy(self, q: ndarray, beta: Any = 0.0) -> ndarray:
        """E + beta c, (B,)."""
        total = np.zeros(len(q), np.result_type(q, float))
        for term in self.terms:
            total = total + term.energy(q)
        return total if _none(beta) else total + beta*self.cost(q)

    def cost(self, q: ndarray) -> ndarray:
        """c, (B,)."""
        total = np.zeros(len(q), np.result_type(q, float))
        for term in self.costs:
            total = total + term.energy(q)
        return total

    def slope(self, q: ndarray, beta: Any = 0.0) -> ndarray:
        """E_q + beta c_q, (B, free)."""
        out = np.zeros_like(q) if self.constant is None else self.constant.astype(q.dtype)
        for term in self.terms:
            term.add_slope(q, out)
        if not _none(beta):
            self.add_cost_slope(q, out, beta)
        return out

    def add_cost_slope(self, q: ndarray, out: ndarray, weight: Any = 1) -> None:
        """out += weight c_q."""
        for term in self.costs:
            term.add_slope(q, out, weight)

    def product(self, q: ndarray, v: ndarray, beta: Any = 0.0) -> ndarray:
        """(E_qq + beta c_qq) v, (B, free)."""
        out = np.zeros_like(q, np.result_type(q, v))
        for term in self.terms:
            term.add_product(q, v, out)
        if not _none(beta):
            for term in self.costs:
                term.add_product(q, v, out, beta)
        return out

    @functools.cached_property
    def sides(self) -> tuple[list[Side], int]:
        """The sides of all terms, those of the cost last, and how many are not of the cost."""
        own = [side for term in self.terms for side in term.sides()]
        return [*own, *(side for term in self.costs for side in term.sides())], len(own)

    # ------------------------------------------------------------------ second derivatives
    @property
    def sparse(self) -> bool:
        """Whether the Hessian is kept sparse: large, and without dense couplings."""
        return not self.products and self.width > 400

    @property
    def chunk(self) -> int:
        """How many samples' dense Hessians are kept at once."""
        return max(1, _LARGEST//max(self.width**2, 1))

    def entries(self, q: ndarray, beta: Any = 0.0) -> tuple[ndarray, ndarray, ndarray]:
        """Rows, columns and values (B, entries) of the tables' second derivatives; positions may occur again."""
        found = [entry for term in self.tables for entry in term.entries(q)]
        if not _none(beta):
            found += [(r, c, beta*v) for term in self.costs for r, c, v in term.entries(q)]
        nothing = np.zeros(0, np.int64)
        rows, columns = (np.concatenate([nothing, *(entry[k] for entry in found)]) for k in (0, 1))
        values = np.concatenate([np.zeros((len(q), 0), q.dtype), *(entry[2] for entry in found)], 1)
        return rows, columns, values

    def hessian(self, q: ndarray, beta: Any = 0.0) -> ndarray:
        """E_qq + beta c_qq, (B, free, free)."""
        H = np.zeros((len(q), self.width, self.width), q.dtype)
        rows, columns, values = self.entries(q, beta)
        np.add.at(H.reshape(len(q), -1).T, rows*self.width + columns, values.T)
        for product in self.products:
            product.add_dense(q, H)
        return H

    # ------------------------------------------------------------------ bounds
    def clip(self, q: ndarray) -> ndarray:
        """q brought within its bounds."""
        return np.clip(q, self.lower, self.upper) if self.bounded else q

    def saturated(self, q: ndarray, slope: ndarray) -> ndarray:
        """Coordinates at a bound that the force presses against it, (B, free)."""
        if not self.bounded:
            return np.zeros(q.shape, bool)
        return ((q <= self.lower) & (slope > 0)) | ((q >= self.upper) & (slope < 0))

    def left(self, q: ndarray, slope: ndarray) -> ndarray:
        """What a coordinate would still move by its force: E_q away from bounds, zero where saturated."""
        return q - np.clip(q - slope, self.lower, self.upper) if self.bounded else slope

    def residual(self, q: ndarray, slope: ndarray) -> ndarray:
        """The largest of them, (B,); inf where it is no number."""
        found = np.abs(self.left(q, slope)).max(1, initial=0.0)
        return np.where(np.isfinite(found), found, np.inf)

    # ------------------------------------------------------------------ the learning rule
    def contrast(
        self, one: ndarray, other: ndarray, weight: complex, found: Slopes, good: ndarray | None = None
    ) -> None:  # fmt: skip
        """found += sum over good samples of the real part of weight*(E_theta(one) - E_theta(other))."""
        apart = None
        if self.lanes is not None and good is None and not isinstance(weight, complex):
            apart = self.lanes.apart(one, other)
        moved = one - other if apart is None else apart.moved
        for term in self.terms:
            term.add_contrast(one, other, moved, weight, found, good, apart)

    def along(self, q: ndarray, v: ndarray, found: Slopes, good: ndarray | None = None) -> None:
        """found += sum over good samples of d_theta(E_q v)."""
        for term in self.terms:
            term.add_along(q, v, found, good)

    def cost_theta(self, q: ndarray, found: Slopes, good: ndarray | None = None) -> None:
        """found += sum over good samples of c_theta."""
        for term in self.costs:
            term.add_theta(q, found, good)

    def gathered(self, found: Slopes) -> list[ndarray]:
        """One array a parameter, of the shape of its values."""
        total: list[Any] = [found.get(k) for k in range(len(self.values.parameters))]
        for key, slope in found.items():
            if isinstance(key, tuple):
                product = next(product for product in self.plan.products if (product.place, product.c) == key)
                term, parts, indices = product.term, product.coefficients, product.term.indices("p")
                leaves = {("p", k): self._spread(k, slope.ndim, term.places.shape) for k in indices}
                for k, part in zip(indices, numbers(term.graph, parts, leaves), strict=True):
                    share = slope if isinstance(part, float) and part == 1.0 else slope*part
                    shape, own = self.values.shapes[k], self.values.own(k)
                    if share.ndim > len(term.places.shape) and not own:
                        share = share.sum(0)
                    if not shape:
                        share = share.reshape(len(share), -1).sum(1, dtype=float) if own else share.sum(dtype=float)
                    total[k] = share if total[k] is None else total[k] + share
        return [
            np.zeros(value.shape, value.dtype) if part is None else np.asarray(part)
            for part, value in zip(total, self.values.parameters, strict=True)
        ]  # fmt: skip

    def _spread(self, k: int, axes: int, shape: tuple[int, ...]) -> ndarray:
        value = self.values.parameters[k]
        if self.values.own(k) and not self.values.shapes[k]:
            return value.reshape(-1, *(1,)*len(shape))
        return value


def _none(beta: Any) -> bool:
    """Whether there is no nudge at all."""
    return isinstance(beta, (int, float, complex)) and beta == 0
