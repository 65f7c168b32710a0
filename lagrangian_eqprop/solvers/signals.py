"""Inputs and targets in time: arrays and callables, laid out for the kernels.

The number of axes decides what they mean, never a length: with places, (time,), (time, place) or (batch,
time, place); without, (time,) or (batch, time). A terminal quantity has no time axis.

Arrays are linear in every step of the user's grid. What is wanted at its nodes alone (targets, as a rule) keeps the
value of the node before at the labels between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import invalid
from .refined import Refined


class Signal:
    """One input or target."""

    def __init__(
        self, name: str, value: Any, places: int | None, terminal: bool, grid: Refined, inside: bool = True
    ) -> None:  # fmt: skip
        self.name, self.places, self.terminal, self.grid = name, places, terminal, grid
        self.inside = inside  # whether it is wanted between the nodes of the user's grid
        self.function: Callable[[np.ndarray], Any] | None = value if callable(value) else None
        given = value
        if self.function is not None:  # its axes are those of its value; look at one time to learn the batch
            last = grid.times(grid.steps if terminal else 0, 1)
            given = self._call(last)
            self.array = self._axes(given, 1)
        else:
            self.array = self._axes(given, grid.coarse.steps + 1)

    @property
    def batch(self) -> int | None:
        """The length of its batch axis, None without one."""
        return None if self.array.shape[0] == 1 and not self._batched else self.array.shape[0]

    def _call(self, times: np.ndarray) -> np.ndarray:
        assert self.function is not None
        value = np.asarray(self.function(times))
        return value[..., 0] if self.terminal and value.ndim and value.shape[-1] == 1 else value

    def _axes(self, value: Any, labels: int) -> np.ndarray:
        """(batch or 1, labels or 1, places or 1), finite."""
        try:
            array = np.asarray(value, float)
        except (TypeError, ValueError) as error:
            raise invalid(self.name, "a number, an array or a callable of the times", repr(value)) from error
        time = () if self.terminal else ("time",)
        place = () if self.places is None else ("place",)
        forms: dict[int, tuple[str, ...]] = {0: (), len(time + place) + 1: ("batch", *time, *place)}
        if time or place:
            forms.update({1: time or place, len(time + place): (*time, *place)})
        if array.ndim not in forms:
            shapes = ", ".join("(" + ", ".join(form) + ")" for form in sorted(forms.values(), key=len) if form)
            raise invalid(self.name, f"a scalar or with axes {shapes}", f"shape {array.shape}")
        form = forms[array.ndim]
        lengths = {"time": labels, "place": self.places}
        for axis, length in zip(form, array.shape, strict=True):
            if axis in lengths and length not in (1, lengths[axis]):
                must = f"of length {lengths[axis]} or 1 along its {axis} axis"
                raise invalid(self.name, must, f"shape {array.shape}")
        if not np.isfinite(array).all():
            raise invalid(self.name, "finite", "nan or inf")
        self._batched, self._form = "batch" in form, form
        return array.reshape([array.shape[form.index(a)] if a in form else 1 for a in ("batch", "time", "place")])

    def like_given(self, value: np.ndarray) -> np.ndarray:
        """(batch, labels, places), of length 1 where nothing was given, with the axes of what was given."""
        return value.reshape([value.shape[("batch", "time", "place").index(axis)] for axis in self._form])

    def labelled(self, first: int, count: int, labels: str) -> np.ndarray:
        """Its values at ``count`` labels from ``first`` on, at nodes or at the middles of intervals."""
        if self.grid.substeps > 1:
            return self._refined(first + np.arange(count), labels)
        if self.function is not None and not self.terminal:
            times = self.grid.times(first, count, 0.5 if labels == "middles" else 0.0)
            return self._axes(self._call(times), count)
        if self.array.shape[1] == 1:
            return self.array
        if labels == "middles":  # arrays are linear between nodes
            part = self.array[:, first : first + count + 1]
            return 0.5*(part[:, :-1] + part[:, 1:])
        return self.array[:, first : first + count]

    def _refined(self, labels: np.ndarray, where: str) -> np.ndarray:
        """Its values at the labels of a composition."""
        if self.array.shape[1] == 1 and (self.function is None or self.terminal):
            return self.array
        shift = 0.5 if where == "middles" else 0.0
        if not self.inside:
            nodes, back = np.unique(labels//self.grid.substeps, return_inverse=True)
            if self.function is None:
                return self.array[:, nodes[back]]
            found = self._axes(self._call(self.grid.coarse.start + nodes*self.grid.step), len(nodes))
            return found[:, back] if found.shape[1] > 1 else found
        if self.function is None:
            return self.grid.between(self.array, labels, shift)
        return self._axes(self._call(self.grid.at(labels, shift)), len(labels))

    def sampled(self, nodes: np.ndarray, labels: str) -> np.ndarray:
        """Its values at some nodes, or at the middles that follow them."""
        if self.grid.substeps > 1:
            return self._refined(nodes, labels)
        if self.function is not None and not self.terminal:
            times = self.grid.start + (nodes + (0.5 if labels == "middles" else 0.0))*self.grid.step
            return self._axes(self._call(times), len(nodes))
        if self.array.shape[1] == 1:
            return self.array
        if labels == "middles":
            return 0.5*(self.array[:, nodes] + self.array[:, nodes + 1])
        return self.array[:, nodes]


def _compact(part: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """The numbers of an array one after the other, as they lie in memory, and the strides of its axes, 0 for length 1.

    Targets that come as (time, sample) transposed are many: to turn them would cost as much as a part of the run.
    """
    moved = part.transpose(np.argsort([-stride for stride in part.strides], kind="stable"))
    if not moved.flags.c_contiguous:
        moved = part = np.ascontiguousarray(part)
    return moved.reshape(-1), [
        stride//part.itemsize if length > 1 else 0 for stride, length in zip(part.strides, part.shape, strict=True)
    ]  # fmt: skip


class Signals:
    """All inputs, or all targets, of a problem."""

    def __init__(self, signals: Sequence[Signal], labels: str) -> None:
        self.signals, self.labels = list(signals), labels
        self.constant = all(s.function is None and s.array.shape[1] == 1 for s in self.signals)
        self._kept: tuple[np.ndarray, np.ndarray] | None = None

    def block(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The flat buffer and the layout (offset, strides of sample, label and place) of a block of labels."""
        if self._kept is not None:
            return self._kept
        parts = [_compact(signal.labelled(first, count, self.labels)) for signal in self.signals]
        layout = np.zeros((len(parts), 4), np.int64)
        offset = 0
        for row, (flat, strides) in zip(layout, parts, strict=True):
            row[:] = offset, *strides
            offset += flat.size
        flat = np.zeros(0) if not parts else parts[0][0]
        if len(parts) > 1:
            flat = np.concatenate([flat for flat, _ in parts])
        if self.constant:
            self._kept = flat, layout
        return flat, layout
