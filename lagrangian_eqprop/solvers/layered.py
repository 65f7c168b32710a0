"""Compiled relaxation of layered energies: plain steps of a given size, samples in lanes.

State, and everything that does not move, stand as (coordinate, sample): the transposed views (sample, coordinate)
are what the rest of the library sees.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray
from numpy.lib.stride_tricks import sliding_window_view

from ..compiler.lanes import empty_rows, machine
from ..compiler.layered import Layered, Leaf, layered
from ..compiler.layered_text import Wording
from .couplings import Dense
from .energies import Energies
from .gathering import as_slice
from .phase import Apart

_PLANES = 5
_WORK = 2**17  # values of a state times steps, below which numpy is done before a module is found


def structure_of(energies: Energies) -> Layered | None:
    """The structure of an energy with its cost; found once."""
    kept: dict = energies.split.__dict__.setdefault("layered", {})
    key = id(energies.cost_plan)
    if key not in kept or kept[key][0] is not energies.cost_plan:
        split = energies.split
        kept[key] = energies.cost_plan, layered(energies.plan, energies.cost_plan, split.where, split.is_free), {}
    return kept[key][1]


def applies(energies: Energies, iterations: int) -> bool:
    """Whether compiled relaxation suits the energy and is worth its call."""
    if energies.samples*energies.width*iterations < _WORK or structure_of(energies) is None:
        return False
    return not any(product.own for product in energies.products)


class Lanes:
    """An energy's values laid out for the compiled pass.

    States of one reading of values stand in one array (coordinate, plane, sample): those of a free and two nudged
    phases in planes 0, 2 and 4, so that the difference of two has its place between them. Lanes that are left over
    repeat the last sample.
    """

    def __init__(self, energies: Energies) -> None:
        self.energies = energies
        found = structure_of(energies)
        assert found is not None
        self.layered, self.dtype = found, energies.dtype
        full = machine().bytes//self.dtype.itemsize
        self.width = full if energies.samples > full//2 else max(1, 1 << (energies.samples - 1).bit_length())
        self.blocks = -(-energies.samples//self.width)
        count, fields = energies.width, sum(len(found.groups[bond.small].members) for bond in found.bonds)
        spare = len(found.bonds)*count
        self.scratch = [self._zeros(rows) for rows in (count, count, fields, fields, spare, spare)]  # X, K, G, C, S, F
        self.zero = self._zeros(1)
        # distances of rows are odd numbers of lanes, which keeps rows apart in the cache
        self.stride, self.across = _PLANES*self.blocks | 1, self.blocks | 1
        planes = empty_rows(count*self.stride, self.width, self.dtype)
        self.planes = [State(self, planes, self.stride, plane*self.blocks) for plane in range(_PLANES)]
        self.keep = self._zeros(self.blocks + 1)
        self.keep.ravel()[: energies.samples] = 1
        self._lay()
        self.read()

    def _zeros(self, count: int) -> ndarray:
        rows = empty_rows(count, self.width, self.dtype)
        rows[:] = 0
        return rows

    # ------------------------------------------------------------------ values
    def _source(self, leaf: Leaf) -> tuple[Callable[[], ndarray], Any]:
        """What gives values (1 or B, places), and the positions in the state that they belong to."""
        energies = self.energies
        if leaf.kind == "field":
            product = energies.products[leaf.number]
            own = product.f if leaf.side == "rows" else product.g
            return lambda: product.fields[leaf.side], own.gather.free
        term = (energies.costs if leaf.nudge else energies.tables)[leaf.number]
        gather = term.gathers[0]

        def values() -> ndarray:
            value = np.atleast_2d(term.fixed[leaf.kind, leaf.symbol])
            if value.shape[1] != gather.count:
                value = np.broadcast_to(value, (len(value), gather.count))
            return gather.only_free(value)

        return values, gather.free

    def _lay(self) -> None:
        """Where everything stands, and the module for it."""
        energies, found, at = self.energies, list[Place](), [0, 0]
        for group in self.layered.groups:
            for leaf in group.leaves:
                values, positions = self._source(leaf)
                order = np.argsort(positions)
                order = order[np.searchsorted(positions, group.members, sorter=order)]
                own = len(values()) > 1
                found.append(Place(leaf, values, as_slice(order), own, at[own], len(order)))
                at[own] += len(order)
        self.flat = np.zeros(max(at[0], 1), self.dtype)
        self.rows = self._zeros(max(at[1], 1)*self.across)
        whole = self.rows.reshape(-1, self.across*self.width)
        self.sources = [(place, whole[place.start : place.start + place.count].T if place.own else
                         self.flat[place.start : place.start + place.count]) for place in found]  # fmt: skip
        kept: dict = energies.split.__dict__["layered"][id(energies.cost_plan)][2]
        key = self.width, tuple(place.own for place in found)
        if key not in kept:
            kept[key] = self._layout(found)
        self.module, self.where = kept[key]

    def _layout(self, places: list[Place]) -> tuple[Any, ndarray]:
        """The compiled pass, and where everything begins."""
        energies, groups = self.energies, self.layered.groups
        bounds = [tuple(_bound(walls[group.members]) for walls in (energies.lower, energies.upper)) for group in groups]
        left, lanes = iter(places), list[list[bool]]()
        where: list[int] = []
        for group in groups:
            mine = [next(left) for _ in group.leaves]
            lanes.append([place.own for place in mine])
            where += [int(group.members[0]), len(group.members), *(place.start for place in mine)]
        offset = 0
        for bond in self.layered.bonds:
            where.append(offset)
            offset += len(groups[bond.wide].members)*len(groups[bond.small].members)
        wording = Wording(self.layered, lanes, bounds, self.width, machine().registers)
        return wording.module(), np.array(where)

    def fill(self, to: ndarray, values: ndarray) -> None:
        """Values (1 or B, n) of rows of lanes, transposed."""
        samples = self.energies.samples
        to[:samples] = values
        if len(to) > samples:
            to[samples:] = to[samples - 1]

    def read(self) -> None:
        """Take the values that the energy has now; states of earlier ones are given up."""
        for place, to in self.sources:
            values = place.values()[:, place.columns]
            if place.own:
                self.fill(to[: self.blocks*self.width], values)
            else:
                to[:] = values[0]
        matrices = []
        for bond in self.layered.bonds:
            operator = self.energies.products[bond.product].operator
            assert isinstance(operator, Dense)
            matrices.append(operator.matrix if bond.wide_is_rows else operator.matrix.T)
        self.take(matrices)

    def take(self, matrices: Sequence[ndarray]) -> None:
        """The matrices (wide, small) of all bonds."""
        flat = [np.ravel(matrix) for matrix in matrices]
        self.M = flat[0] if len(flat) == 1 else np.concatenate(flat)
        self.states: list[State] = []

    # ------------------------------------------------------------------ states
    def laid(self, q: ndarray) -> State:
        """An array (B, free) as a state of its own."""
        rows = empty_rows(self.energies.width*self.across, self.width, self.dtype)
        state = State(self, rows, self.across, 0)
        self.fill(state.whole, q)
        return state

    def state(self, q: ndarray) -> State:
        """One that begins at q (B, free)."""
        known = next((state for state in self.states if state.q is q), None) or self.laid(q)
        number = len(self.states)
        to = self.planes[2*number] if 2*number < _PLANES else self.laid(q)
        to.begin = known
        self.states.append(to)
        return to

    def phases(
        self, begin: State, to: State, betas: ndarray, steps: ndarray, step: float, total: ndarray, apart: int = 0
    ) -> None:  # fmt: skip
        """Plain steps from one state to another, then from there to states that stand ``apart``, ...

        ``total`` (phases*blocks, width) is given sums over all coordinates, which are finite where the states are.
        """
        energies = self.energies
        self.module.relax(
            begin.rows, begin.stride, begin.first, to.rows, to.stride, to.first, apart, total, self.flat, self.rows,
            self.across, self.M, energies.lower, energies.upper, self.zero, *self.scratch, self.where, energies.width,
            self.blocks, len(betas), steps, self.dtype.type(step), betas,
        )  # fmt: skip

    def apart(self, one: ndarray, other: ndarray) -> Apart | None:
        """What the learning rule reads of two states (B, free); None where they do not have a place between them."""
        planes = {id(plane.q): number for number, plane in enumerate(self.planes)}
        first, second = (planes.get(id(q), -_PLANES) for q in (one, other))
        return self.difference(first, second) if abs(first - second) == 2 else None

    def difference(self, first: int, second: int) -> Apart:
        """The same of two planes."""
        one, to, other = (self.planes[plane] for plane in (first, (first + second)//2, second))
        count = self.energies.width
        sums = np.empty((count, self.width), self.dtype)
        self.module.difference(
            one.rows, self.stride, one.first, other.first, to.first, self.keep, sums, count, self.blocks
        )  # fmt: skip
        pairs = self.whole[:, min(first, second)], self.whole[:, (first + second)//2]
        left, right = pairs if second < first else pairs[::-1]
        return Apart(to.q, sums.sum(1, dtype=float), left, right)

    @functools.cached_property
    def whole(self) -> ndarray:
        """(free, plane, samples of it and of the next plane)."""
        length = self.blocks*self.width
        rows = self.planes[0].rows.reshape(self.energies.width, -1)
        return sliding_window_view(rows, 2*length, 1)[:, : _PLANES*length : length]

    def costs(self, state: State) -> ndarray:
        """c of all samples, (B,)."""
        costs = np.empty((self.blocks, self.width), self.dtype)
        self.module.judged(
            state.rows, state.first, state.stride, self.flat, self.rows, self.across, self.zero, self.where,
            self.blocks, costs,
        )  # fmt: skip
        return costs.ravel()[: self.energies.samples]


class Place(NamedTuple):
    """Where the values of a leaf stand: from ``start`` on in ``flat``, or in ``rows`` where samples have their own."""

    leaf: Leaf
    values: Callable[[], ndarray]  # (1 or B, places)
    columns: Any  # which places belong to the members of the group in turn
    own: bool
    start: int
    count: int


class State:
    """A state in lanes: rows of an array, one every ``stride`` from ``first`` on; ``q`` is (B, free)."""

    def __init__(self, lanes: Lanes, rows: ndarray, stride: int, first: int) -> None:
        self.lanes, self.rows, self.stride, self.first = lanes, rows, stride, first
        length = lanes.blocks*lanes.width
        self.whole = rows.reshape(-1, stride*lanes.width)[:, first*lanes.width :][:, :length].T
        self.q = self.whole[: lanes.energies.samples]
        self.begin, self.sums = self, np.zeros(0)

    def relax(self, beta: float, steps: int, step: float) -> None:
        """``steps`` plain steps."""
        lanes = self.lanes
        total = np.empty((lanes.blocks, lanes.width), lanes.dtype)
        lanes.phases(self.begin, self, np.array([beta], lanes.dtype), np.array([steps]), step, total)
        self.begin, self.sums = self, total.ravel()[: lanes.energies.samples]


def _bound(walls: ndarray) -> float | bool:
    """The number that is the bound of all, or whether any has one."""
    some = bool(np.isfinite(walls).any())
    return float(walls[0]) if some and (walls == walls[0]).all() else some
