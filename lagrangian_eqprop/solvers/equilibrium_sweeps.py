"""Exact block-coordinate minimisation for layered energies: asynchronous sweeps.

Where no term couples two coordinates of a layer and the energy is quadratic in each coordinate by itself, or sinusoidal
in each, the minimum over a whole layer, the others standing still, is known coordinate by coordinate:

    quadratic      q_i <- clip(q_i - E_i/E_ii),   E_i = (E + beta c)_q,   E_ii = (E + beta c)_qq
    sinusoidal     q_i <- q_i - atan2(E_i, E_ii),   as E = -R cos(q_i - phase) has E_i = R sin, E_ii = R cos

(Scellier, Ernoult, Kendall and Kumar 2023 for Hopfield networks, Scellier 2024 for resistive ones). Where E_ii is not
positive the minimum is at a bound; without one the sample fails.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

from ..compiler.statics import bent, layers, unwavy
from ..errors import invalid
from .energies import Energies
from .energy_terms import Side, spread
from .equilibrium_relaxation import left_over, measured
from .phase import Phase


class _Part(NamedTuple):
    """A side of a term, by its number, and where its coordinates stand in the layer."""

    side: int
    nudge: bool
    own: Any  # positions among the side's coordinates
    at: Any  # positions in the layer
    once: bool  # no position occurs twice


class _Layer(NamedTuple):
    index: Any  # positions in the state
    parts: list[_Part]
    still: bool  # the curvatures do not depend on the state
    walls: tuple[float, float] | None  # the bounds, where they are those of all


def why_not(energies: Energies) -> str | None:
    """Why sweeps are impossible; None where they are possible."""
    label = bent(energies.plan, energies.cost_plan)
    if label is not None and not _wavy(energies):
        kind = "quadratic (or, without bounds, sinusoidal)"
        return f"an energy {kind} in each coordinate by itself, which {label} is not"
    if _colours(energies) is None:
        return "a term whose local coordinates stand for different ones"
    return None


def _wavy(energies: Energies) -> bool:
    """Whether all free coordinates are phases; found once."""
    kept: dict = energies.split.__dict__.setdefault("wavy", {})
    key = id(energies.cost_plan)
    if key not in kept or kept[key][0] is not energies.cost_plan:
        waves = not energies.bounded and unwavy(energies.plan, energies.cost_plan) is None
        kept[key] = energies.cost_plan, waves
    return kept[key][1]


def _colours(energies: Energies) -> ndarray | None:
    kept: dict = energies.split.__dict__.setdefault("colours", {})
    key = id(energies.cost_plan)
    if key not in kept or kept[key][0] is not energies.cost_plan:
        kept[key] = energies.cost_plan, layers(energies.plan, energies.cost_plan, energies.split.is_free)
    return kept[key][1]


def check_sweeps(energies: Energies) -> None:
    """Refuse an energy that sweeps do not minimise."""
    reason = why_not(energies)
    if reason is not None:
        raise invalid("solver", f"other than sweeps, which need {reason}", "'sweeps'")


def _layers(energies: Energies) -> list[_Layer]:
    """All layers; found once for a system and its cost."""
    kept: dict = energies.split.__dict__.setdefault("layers", {})
    key = id(energies.cost_plan)
    if key not in kept or kept[key][0] is not energies.cost_plan:
        kept[key] = energies.cost_plan, _found(energies)
    return kept[key][1]


def _found(energies: Energies) -> list[_Layer]:
    colours = _colours(energies)
    assert colours is not None
    colours = colours[energies.split.free]
    found = []
    sides, own = energies.sides
    free = [_positions(side) for side in sides]
    for colour in range(int(colours.max()) + 1):
        for members in _blocks(np.flatnonzero(colours == colour), free):
            place = np.full(energies.width + 1, -1)  # the last one: of what is clamped
            place[members] = np.arange(len(members))
            parts = []
            for number, side in enumerate(sides):
                at = place[free[number]]
                mine = np.flatnonzero(at >= 0)
                if mine.size:
                    once = len(np.unique(at[mine])) == len(mine)
                    places = _slice(mine, side.gather.count), _slice(at[mine], len(members))
                    parts.append(_Part(number, number >= own, *places, once))
            still = all(sides[part.side].still for part in parts)
            lower, upper = energies.lower[members], energies.upper[members]
            even = (lower == lower[0]).all() and (upper == upper[0]).all()
            walls = (float(lower[0]), float(upper[0])) if even else None
            found.append(_Layer(_slice(members, -1), parts, still, walls))
    return found


def _positions(side: Side) -> ndarray:
    """The position in the state of every coordinate of a side, -1 for a clamped one."""
    found = np.full(side.gather.count, -1)
    found[side.gather.mask if side.gather.mask is not None else slice(None)] = side.gather.free
    return found


def _blocks(members: ndarray, sides: list[ndarray]) -> list[ndarray]:
    """Members in runs, of which slices make no copy; all of them together where a side reaches into several."""
    runs = np.split(members, np.flatnonzero(np.diff(members) != 1) + 1)
    number = np.full(members[-1] + 1, -1)
    for k, run in enumerate(runs):
        number[run] = k
    for side in sides:
        reached = number[side[(side >= 0) & (side <= members[-1])]]
        if len(np.unique(reached[reached >= 0])) > 1:
            return [members]
    return runs


def _slice(indices: ndarray, count: int) -> Any:
    if len(indices) and (np.diff(indices) == 1).all():
        return slice(int(indices[0]), int(indices[-1]) + 1) if len(indices) != count else slice(None)
    return indices


def sweeps(
    energies: Energies, q: ndarray, beta: Any, iterations: int, tolerance: float | None, held: ndarray | None = None
) -> Phase:
    """``iterations`` sweeps over all layers, or until no sample has more than ``tolerance`` left."""
    found, (sides, _), q = _layers(energies), energies.sides, q.copy()
    wavy = _wavy(energies)
    bends: list[Any] = [None]*len(found)
    number = 0
    for number in range(1, iterations + 1):  # noqa: B007
        largest = np.zeros(len(q))
        for k, layer in enumerate(found):
            x = q[:, layer.index]
            slope = np.zeros_like(x) if energies.constant is None else (
                energies.constant[:, layer.index].astype(q.dtype, "K"))  # fmt: skip
            bend = bends[k]
            fresh = None if bend is not None else np.zeros_like(x)
            for part in layer.parts:
                if part.nudge and beta == 0:
                    continue
                side = sides[part.side]
                if fresh is None:
                    _add(slope, part, side, side.slope(q), beta)
                else:
                    for out, value in zip((slope, fresh), side.both(q), strict=True):
                        _add(out, part, side, value, beta)
            if fresh is not None:
                bend = fresh
                if layer.still:
                    bend = bends[k] = _scalar(bend)
            new = _of_wave(x, slope, bend) if wavy else _minimum(x, slope, bend, energies, layer)
            if held is not None:
                new = np.where(held[:, layer.index], x, new)
            if tolerance is not None:
                size = np.abs(bend) + np.abs(slope) if wavy else bend
                largest = np.maximum(largest, np.abs((new - x)*size).max(1, initial=0.0))
            q[:, layer.index] = new
        if tolerance is not None and not (largest > tolerance).any():
            if (left_over(energies, q, energies.slope(q, beta), held) <= tolerance).all():
                break
    return Phase(q, measured(energies, q, beta, held), number)


def _add(out: ndarray, part: _Part, side: Side, value: Any, beta: Any) -> None:
    if isinstance(value, float):
        if value == 0.0:
            return
        own: Any = value
    elif np.ndim(value) == 0:
        own = value
    else:
        own = spread(value, (value.shape[0], side.gather.count))[:, part.own]
    if part.nudge:
        own = beta*own
    if part.once:
        out[:, part.at] += own
    else:
        np.add.at(out.T, part.at, np.broadcast_to(own, (len(out), len(part.at))).T)


def _scalar(values: ndarray) -> Any:
    """One number where all are equal."""
    first = values.flat[0]
    return first if (values == first).all() else values


def _minimum(x: ndarray, slope: ndarray, bend: Any, energies: Energies, layer: _Layer) -> ndarray:
    """Of a parabola with slope and curvature at x, within the bounds."""
    if np.iscomplexobj(x):
        return x - slope/bend
    lower, upper = layer.walls or (energies.lower[layer.index], energies.upper[layer.index])
    if np.all(bend > 0):
        return np.clip(x - slope/bend, lower, upper)
    with np.errstate(all="ignore"):
        inside = np.clip(x - slope/bend, lower, upper)
        # a line or a parabola that is open below: the bound with the lower energy
        low, high = (slope*(wall - x) + 0.5*bend*(wall - x)**2 for wall in (lower, upper))
        wall = np.where(low < high, lower, upper)
    still = (bend == 0) & (slope == 0)
    return np.where(bend > 0, inside, np.where(still, x, wall))


def _of_wave(x: ndarray, slope: ndarray, bend: ndarray) -> ndarray:
    """Of a sinusoid with slope and curvature at x; near the real axis where they are complex."""
    return x - (np.arctan(slope/bend) if np.iscomplexobj(x) else np.arctan2(slope, bend))
