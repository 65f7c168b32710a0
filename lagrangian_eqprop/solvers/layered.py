"""Compiled relaxation of layered energies: plain steps of a given size, samples in lanes.

State, and everything that does not move, stand as (coordinate, sample): the transposed views (sample, coordinate)
are what the rest of the library sees.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

from ..compiler.lanes import empty_rows
from ..compiler.layered import Layered, Leaf, layered
from ..compiler.layered_text import Wording
from ..compiler.machine import registers
from .couplings import Dense
from .energies import Energies
from .energy_terms import TableTerm
from .gathering import Gather, as_slice
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


class Place(NamedTuple):
    """Where the values of a leaf stand: from ``start`` on in ``flat``, or in ``rows`` where samples have their own."""

    leaf: Leaf
    columns: Any  # which values, among those of free coordinates, belong to the members of the group in turn
    own: bool
    start: int
    length: int


class Layout(NamedTuple):
    """What depends on the structure alone."""

    places: list[Place]
    flat: int  # the length of ``flat``, and that of ``rows`` for one block
    rows: int
    module: Any
    where: ndarray


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
        full = registers().size//self.dtype.itemsize
        self.width = full if energies.samples > full//2 else max(1, 1 << (energies.samples - 1).bit_length())
        self.blocks = -(-energies.samples//self.width)
        self.length = self.blocks*self.width
        # distances of rows are odd numbers of lanes, which keeps rows apart in the cache
        self.stride, self.across = _PLANES*self.blocks | 1, self.blocks | 1
        self.layout = self._laid_out()
        self.flat = np.zeros(self.layout.flat, self.dtype)
        count, fields = energies.width, sum(len(found.groups[bond.small].members) for bond in found.bonds)
        spare = len(found.bonds)*count
        self.rows, self.keep, self.zero, self.row, *self.scratch = self._zeros(
            self.layout.rows*self.across, self.blocks + 1, 1, 1,
            count, count, fields, fields, spare, spare,  # X, K, G, C, S, F
        )  # fmt: skip
        self.keep.ravel()[: energies.samples] = 1
        whole = self.rows.reshape(-1, self.across*self.width)
        self.values = [
            whole[place.start : place.start + place.length, : self.length].T if place.own else
            self.flat[place.start : place.start + place.length] for place in self.layout.places
        ]  # fmt: skip
        shapes = [(len(found.groups[bond.wide].members), len(found.groups[bond.small].members)) for bond in found.bonds]
        ends = list(itertools.accumulate(wide*small for wide, small in shapes))
        self.M = np.empty(ends[-1], self.dtype)
        self.matrices = [
            self.M[end - wide*small : end].reshape(wide, small)
            for end, (wide, small) in zip(ends, shapes, strict=True)
        ]  # fmt: skip
        planes = empty_rows(count*self.stride, self.width, self.dtype)
        self.planes = [State(self, planes, self.stride, plane*self.blocks) for plane in range(_PLANES)]
        self.states: list[State] = []

    def _zeros(self, *counts: int) -> list[ndarray]:
        rows = empty_rows(sum(counts), self.width, self.dtype)
        rows[:] = 0
        ends = list(itertools.accumulate(counts))
        return [rows[end - count : end] for end, count in zip(ends, counts, strict=True)]

    # ------------------------------------------------------------------ layout
    def _laid_out(self) -> Layout:
        energies = self.energies
        leaves = [leaf for group in self.layered.groups for leaf in group.leaves]
        kept: dict = energies.split.__dict__["layered"][id(energies.cost_plan)][2]
        key = self.width, tuple(len(self._values(leaf)) > 1 for leaf in leaves)
        if key not in kept:
            kept[key] = self._new_layout(iter(key[1]))
        return kept[key]

    def _new_layout(self, own: Iterator[bool]) -> Layout:
        energies, groups = self.energies, self.layered.groups
        places, lanes, where, at = list[Place](), list[list[bool]](), list[int](), [0, 0]
        for group in groups:
            mine = []
            for leaf in group.leaves:
                positions = self._gather(leaf).free
                order = np.argsort(positions)
                order = order[np.searchsorted(positions, group.members, sorter=order)]
                mine.append(Place(leaf, as_slice(order), next(own), 0, len(order)))
                mine[-1] = mine[-1]._replace(start=at[mine[-1].own])
                at[mine[-1].own] += len(order)
            places += mine
            lanes.append([place.own for place in mine])
            where += [int(group.members[0]), len(group.members), *(place.start for place in mine)]
        offset = 0
        for bond in self.layered.bonds:
            where.append(offset)
            offset += len(groups[bond.wide].members)*len(groups[bond.small].members)
        bounds = [(_bound(energies.lower[group.members]), _bound(energies.upper[group.members])) for group in groups]
        wording = Wording(self.layered, lanes, bounds, self.width, registers().number)
        return Layout(places, max(at[0], 1), max(at[1], 1), wording.module(), np.array(where))

    # ------------------------------------------------------------------ values
    def term(self, leaf: Leaf) -> TableTerm:
        """The term whose symbol a leaf is."""
        return (self.energies.costs if leaf.nudge else self.energies.tables)[leaf.number]

    def _gather(self, leaf: Leaf) -> Gather:
        """The coordinates that values belong to."""
        if leaf.kind == "field":
            product = self.energies.products[leaf.number]
            return (product.f if leaf.side == "rows" else product.g).gather
        return self.term(leaf).gathers[0]

    def _values(self, leaf: Leaf) -> ndarray:
        """(1 or B, free ones of these coordinates)."""
        if leaf.kind == "field":
            return self.energies.products[leaf.number].fields[leaf.side]
        gather, value = self._gather(leaf), np.atleast_2d(self.term(leaf).fixed[leaf.kind, leaf.symbol])
        if value.shape[1] != gather.count:
            value = np.broadcast_to(value, (len(value), gather.count))
        return gather.only_free(value)

    def write(self, place: Place, to: ndarray) -> None:
        """The values that the energy has now."""
        values = self._values(place.leaf)[:, place.columns]
        if place.own:
            self.fill(to, values)
        else:
            to[:] = values[0]

    def fill(self, to: ndarray, values: ndarray) -> None:
        """Values (1 or B, n) for samples and for lanes that are left over."""
        samples = self.energies.samples
        to[:samples] = values
        if self.length > samples:
            to[samples:] = to[samples - 1]

    def read(self) -> None:
        """Take the values that the energy has now; states of earlier ones are given up."""
        for place, to in zip(self.layout.places, self.values, strict=True):
            self.write(place, to)
        matrices = []
        for bond in self.layered.bonds:
            operator = self.energies.products[bond.product].operator
            assert isinstance(operator, Dense)
            matrices.append(operator.matrix if bond.wide_is_rows else operator.matrix.T)
        self.take(matrices)

    def take(self, matrices: Sequence[ndarray]) -> None:
        """The matrices (wide, small) of all bonds."""
        for to, matrix in zip(self.matrices, matrices, strict=True):
            to[:] = matrix
        self.states = []

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
        number = 2*len(self.states)
        to = self.planes[number] if number < _PLANES else self.laid(q)
        to.begin = known
        self.states.append(to)
        return to

    def phases(self, begin: State, to: State, total: ndarray, steps: ndarray, step: float, betas: ndarray) -> tuple:
        """The arguments of compiled phases: one from ``begin`` to ``to``, others from there to every second plane.

        ``total`` (phases*blocks, width) is given sums over all coordinates, which are finite where the states are.
        """
        energies = self.energies
        return (
            begin.rows, begin.stride, begin.first, to.rows, to.stride, to.first, 2*self.blocks, total, self.flat,
            self.rows, self.across, self.M, energies.lower, energies.upper, self.zero, *self.scratch,
            self.layout.where, energies.width, self.blocks, len(betas), steps, self.dtype.type(step), betas,
        )  # fmt: skip

    def apart(self, one: ndarray, other: ndarray) -> Apart | None:
        """What the learning rule reads of two states (B, free); None where they do not have a place between them."""
        planes = {id(plane.q): number for number, plane in enumerate(self.planes)}
        first, second = (planes.get(id(q), -_PLANES) for q in (one, other))
        if abs(first - second) != 2:
            return None
        sums, begin = np.empty(self.energies.width), [plane.first for plane in self.planes]
        self.layout.module.difference(
            self.planes[0].rows, self.stride, begin[first], begin[second], begin[(first + second)//2], self.keep,
            self.row, sums, len(sums), self.blocks,
        )  # fmt: skip
        return self.between(first, second, sums)

    def between(self, first: int, second: int, sums: ndarray) -> Apart:
        """The same of two planes whose difference has been taken."""
        middle = (first + second)//2
        left, right = (self.planes[plane].pair for plane in sorted((min(first, middle), min(second, middle))))
        return Apart(self.planes[middle].q, sums, *((left, right) if second < first else (right, left)))


class State:
    """A state in lanes: rows of an array, one every ``stride`` from ``first`` on.

    ``q`` is (B, free), ``whole`` has lanes that are left over, too; ``pair`` (free, 2B) goes on with the next plane.
    """

    def __init__(self, lanes: Lanes, rows: ndarray, stride: int, first: int) -> None:
        self.lanes, self.rows, self.stride, self.first = lanes, rows, stride, first
        begin, length = first*lanes.width, lanes.length
        self.pair = rows.reshape(-1, stride*lanes.width)[:, begin : begin + 2*length]
        self.whole = self.pair[:, :length].T
        self.q = self.whole[: lanes.energies.samples]
        self.begin, self.sums = self, np.zeros(0)

    def relax(self, beta: float, steps: int, step: float) -> None:
        """``steps`` plain steps."""
        lanes = self.lanes
        total = np.empty((lanes.blocks, lanes.width), lanes.dtype)
        lanes.layout.module.relax(
            *lanes.phases(self.begin, self, total, np.array([steps]), step, np.array([beta], lanes.dtype))
        )  # fmt: skip
        self.begin, self.sums = self, total.ravel()[: lanes.energies.samples]


def _bound(walls: ndarray) -> float | bool:
    """The number that is the bound of all, or whether any has one."""
    some = bool(np.isfinite(walls).any())
    return float(walls[0]) if some and (walls == walls[0]).all() else some
