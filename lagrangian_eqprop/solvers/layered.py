"""Compiled relaxation of layered energies: plain steps of a given size, samples in lanes.

State, and everything that does not move, stand as (coordinate, sample): the transposed views (sample, coordinate)
are what the rest of the library sees.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy import ndarray

from ..compiler.lanes import empty_rows, machine
from ..compiler.layered import Layered, Leaf, layered
from ..compiler.layered_text import Wording
from .couplings import Dense
from .energies import Energies

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
    """An energy's values laid out for the compiled pass."""

    def __init__(self, energies: Energies) -> None:
        self.energies = energies
        found = structure_of(energies)
        assert found is not None
        self.layered, self.dtype = found, energies.dtype
        full = machine().bytes//self.dtype.itemsize
        self.width = full if energies.samples > full//2 else max(1, 1 << (energies.samples - 1).bit_length())
        self.blocks = -(-energies.samples//self.width)
        fields = sum(len(found.groups[bond.small].members) for bond in found.bonds)
        self.scratch = [empty_rows(count, self.width, self.dtype) for count in (energies.width, energies.width, fields, fields)]
        self.columns: list[Any] = []  # of each leaf, which of its values belong to the members of its group in turn
        self.read()

    def state(self) -> ndarray:
        """Rows of lanes of all free coordinates; what no sample fills is zero."""
        rows = empty_rows(self.energies.width*self.blocks, self.width, self.dtype)
        if self.energies.samples < self.blocks*self.width:
            rows.reshape(self.energies.width, -1)[:, self.energies.samples :] = 0
        return rows

    def view(self, rows: ndarray) -> ndarray:
        """(B, free)."""
        return rows.reshape(len(rows)//self.blocks, -1)[:, : self.energies.samples].T

    def _leaf(self, leaf: Leaf) -> tuple[ndarray, Any]:
        """Values (1 or B, places), and the positions in the state that they belong to."""
        energies = self.energies
        if leaf.kind == "field":
            product = energies.products[leaf.number]
            own = product.f if leaf.side == "rows" else product.g
            return product.fields[leaf.side], own.gather.free
        term = (energies.costs if leaf.nudge else energies.tables)[leaf.number]
        value = np.atleast_2d(term.fixed[leaf.kind, leaf.symbol])
        gather = term.gathers[0]
        return gather.only_free(np.broadcast_to(value, (len(value), gather.count))), gather.free

    def read(self) -> None:
        """Take the values that the energy has now."""
        energies, groups = self.energies, self.layered.groups
        flat: list[ndarray] = []
        rows: list[ndarray] = []
        lanes: list[tuple[bool, ...]] = []
        starts: list[int] = []
        at = [0, 0]
        for group in groups:
            own: list[bool] = []
            for leaf in group.leaves:
                value, positions = self._leaf(leaf)
                number = sum(map(len, lanes)) + len(own)
                if number == len(self.columns):
                    order = np.argsort(positions)
                    order = order[np.searchsorted(positions, group.members, sorter=order)]
                    same = len(order) == len(positions) and (np.diff(order) == 1).all()
                    self.columns.append(slice(None) if same else order)
                value = value[:, self.columns[number]]
                own.append(len(value) > 1)
                (rows if own[-1] else flat).append(value)
                starts.append(at[own[-1]])
                at[own[-1]] += value.shape[1]
            lanes.append(tuple(own))
        kept: dict = energies.split.__dict__["layered"][id(energies.cost_plan)][2]
        key = self.width, tuple(lanes)
        if key not in kept:
            kept[key] = self._layout(lanes, starts)
        self.module, self.where = kept[key]
        matrices = []
        for bond in self.layered.bonds:
            operator = energies.products[bond.product].operator
            assert isinstance(operator, Dense)
            matrices.append(np.ravel(operator.matrix if bond.wide_is_rows else operator.matrix.T))
        self.M = matrices[0] if len(matrices) == 1 else np.concatenate(matrices)
        self.flat = np.concatenate([np.ravel(value) for value in flat]).astype(self.dtype) if flat else self.M
        self.rows = self.zero = _zeros(self.width, self.dtype)
        if rows:
            self.rows = empty_rows(at[1]*self.blocks, self.width, self.dtype)
            whole = self.rows.reshape(at[1], -1)
            whole[:, energies.samples :] = 0
            whole[:, : energies.samples] = np.concatenate(rows, 1).T

    def _layout(self, lanes: list[tuple[bool, ...]], starts: list[int]) -> tuple[Any, ndarray]:
        """The compiled pass, and where everything stands."""
        energies, groups = self.energies, self.layered.groups
        walls = np.isfinite(energies.lower), np.isfinite(energies.upper)
        bounds = [tuple(bool(wall[group.members].any()) for wall in walls) for group in groups]
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

    def relax(self, q: ndarray, beta: float, steps: int, step: float) -> ndarray:
        """``steps`` plain steps from q (B, free)."""
        energies, kind = self.energies, self.dtype.type
        state = self.state()
        self.view(state)[:] = q
        self.module.relax(
            state, self.flat, self.rows, self.M, energies.lower, energies.upper, self.zero, *self.scratch, self.where,
            self.blocks, steps, kind(step), kind(beta),
        )  # fmt: skip
        return self.view(state)


@functools.cache
def _zeros(width: int, dtype: np.dtype) -> ndarray:
    rows = empty_rows(1, width, dtype)
    rows[:] = 0
    return rows
