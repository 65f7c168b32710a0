"""Compiled relaxation of layered energies: plain steps of a given size, samples in lanes.

State, and everything that does not move, stand as (coordinate, sample): the transposed views (sample, coordinate)
are what the rest of the library sees.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy import ndarray

from ..compiler.lanes import empty_rows, machine
from ..compiler.layered import Layered, Leaf, layered
from ..compiler.layered_text import Wording
from .couplings import Dense
from .energies import Energies
from .gathering import as_slice

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
    phases in planes 0, 2 and 4, so that the difference of two has its place between them.
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
        self.scratch = [self._rows(rows) for rows in (count, count, fields, fields, spare, spare)]  # X, K, G, C, S, F
        self.zero = self._rows(1)
        self.planes = self._rows(count*_PLANES*self.blocks)
        self.total = self._rows(self.blocks)
        self._lay()
        self.read()

    def _rows(self, count: int) -> ndarray:
        rows = empty_rows(count, self.width, self.dtype)
        rows[:] = 0
        return rows

    def _view(self, rows: ndarray) -> ndarray:
        """(count, samples)."""
        return rows.reshape(-1, self.blocks*self.width)[:, : self.energies.samples]

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
        energies, groups = self.energies, self.layered.groups
        sources, lanes, starts, at = [], [], [], [0, 0]
        for group in groups:
            own: list[bool] = []
            for leaf in group.leaves:
                values, positions = self._source(leaf)
                order = np.argsort(positions)
                order = order[np.searchsorted(positions, group.members, sorter=order)]
                columns: Any = as_slice(order)
                own.append(len(values()) > 1)
                starts.append(at[own[-1]])
                sources.append((values, columns, own[-1], at[own[-1]], len(order)))
                at[own[-1]] += len(order)
            lanes.append(tuple(own))
        self.flat = np.zeros(max(at[0], 1), self.dtype)
        self.rows = self._rows(max(at[1], 1)*self.blocks)
        across = self._view(self.rows).T
        self.sources = [
            (values, columns, (across if own else self.flat[None])[:, start : start + count])
            for values, columns, own, start, count in sources
        ]  # fmt: skip
        kept: dict = energies.split.__dict__["layered"][id(energies.cost_plan)][2]
        key = self.width, tuple(lanes)
        if key not in kept:
            kept[key] = self._layout(lanes, starts)
        self.module, self.where = kept[key]

    def _layout(self, lanes: list[tuple[bool, ...]], starts: list[int]) -> tuple[Any, ndarray]:
        """The compiled pass, and where everything begins."""
        energies, groups = self.energies, self.layered.groups
        bounds = [
            (_bound(energies.lower[group.members]), _bound(energies.upper[group.members])) for group in groups
        ]  # fmt: skip
        wording = Wording(self.layered, lanes, bounds, self.width, machine().registers)
        where = np.zeros(wording.length, np.int64)
        offset, leaf = 0, 0
        for begin, group in zip(wording.starts, groups, strict=True):
            where[begin : begin + 2] = group.members[0], len(group.members)
            where[begin + 2 : begin + 2 + len(group.leaves)] = starts[leaf : leaf + len(group.leaves)]
            leaf += len(group.leaves)
        for n, bond in enumerate(self.layered.bonds):
            where[wording.bonds + n] = offset
            offset += len(groups[bond.wide].members)*len(groups[bond.small].members)
        return wording.module(), where

    def read(self) -> None:
        """Take the values that the energy has now; states of earlier ones are given up."""
        energies = self.energies
        for values, columns, to in self.sources:
            to[:] = values()[:, columns]
        matrices = []
        for bond in self.layered.bonds:
            operator = energies.products[bond.product].operator
            assert isinstance(operator, Dense)
            matrices.append(np.ravel(operator.matrix if bond.wide_is_rows else operator.matrix.T))
        self.M = matrices[0] if len(matrices) == 1 else np.concatenate(matrices)
        self.states: list[State] = []

    # ------------------------------------------------------------------ states
    def state(self, q: ndarray) -> State:
        """One that begins at q (B, free)."""
        count, plane = self.energies.width, 2*len(self.states)
        if plane < _PLANES:
            to = State(self, self.planes, _PLANES*self.blocks, plane*self.blocks)
        else:
            to = State(self, self._rows(count*self.blocks), self.blocks, 0)
        known = next((state for state in self.states if state.q is q), None)
        if known is None:
            to.q[:] = q
        to.begin = known or to
        self.states.append(to)
        return to


class State:
    """A state in lanes: rows of an array, one every ``stride`` from ``first`` on; ``q`` is (B, free)."""

    def __init__(self, lanes: Lanes, rows: ndarray, stride: int, first: int) -> None:
        self.lanes, self.rows, self.stride, self.first = lanes, rows, stride, first
        whole = rows.reshape(lanes.energies.width, stride*lanes.width)
        self.q = whole[:, first*lanes.width :][:, : lanes.energies.samples].T
        self.begin = self

    def relax(self, beta: float, steps: int, step: float) -> None:
        """``steps`` plain steps."""
        lanes, energies, begin = self.lanes, self.lanes.energies, self.begin
        kind = lanes.dtype.type
        lanes.module.relax(
            begin.rows, begin.stride, begin.first, self.rows, self.stride, self.first, lanes.total, lanes.flat,
            lanes.rows, lanes.M, energies.lower, energies.upper, lanes.zero, *lanes.scratch, lanes.where,
            energies.width, lanes.blocks, steps, kind(step), kind(beta),
        )  # fmt: skip
        self.begin = self


def _bound(walls: ndarray) -> float | bool:
    """The number that is the bound of all, or whether any has one."""
    some = bool(np.isfinite(walls).any())
    return float(walls[0]) if some and (walls == walls[0]).all() else some
