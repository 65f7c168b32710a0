"""Checkpoints: a training that was ended at any moment goes on as if it had not been.

A checkpoint is the state between two steps, with a description of the arguments it belongs to. The order of an
epoch's samples is drawn again from the state that the random generator had when the epoch began.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sympy as sp

from ..boundary import Ends, Equilibrium, Initial
from ..errors import invalid
from ..symbols.cost import BoundCosts, Cost
from ..symbols.definition import Definition
from ..symbols.terms import LocalTerm
from .storage import clear_parts, read_archive, write_archive

FORMAT = "lagrangian_eqprop checkpoint"
VERSION = 1
_MUST = "a checkpoint of lep.System.fit, or a file that does not exist yet"
_SHORT = 40  # characters of a description that a message shows


@dataclass(frozen=True)
class State:
    """A training between two steps; it is replaced whole, so that an interrupt never sees half a step."""

    values: dict[sp.Symbol, np.ndarray]
    optimiser: Any
    random: Any  # the random generator's state when this epoch began; None where no file keeps it
    epoch: int = 0
    step: int = 0  # steps of this epoch that are done
    total: float = 0.0  # the sum of the losses of this epoch's samples so far, and their number
    count: int = 0
    spent: float = 0.0  # seconds of this epoch
    finished: tuple[tuple[float, Any, float], ...] = ()  # of every epoch its loss, its validation and its seconds


class Checkpoint:
    """The file of one training.

    Parameters
    ----------
    path : path-like
        Replaced at every writing, whole or not at all.
    every : int or None
        Steps from one writing to the next; None: the end of every epoch.
    description : mapping of str to str
        What must agree on resuming, by the names of the arguments; see :func:`describe`.
    """

    def __init__(self, path: str | os.PathLike[str], every: int | None, description: Mapping[str, str]) -> None:
        if not isinstance(path, (str, os.PathLike)):
            raise invalid("checkpoint", "the path of a file", repr(path))
        self.path, self.every, self.description = Path(path), every, dict(description)

    def read(self, symbols: Iterable[sp.Symbol]) -> State | None:
        """The state in the file; None where there is no file.

        Raises
        ------
        ValueError
            If the file is no checkpoint, is damaged, or belongs to a training with other arguments, which are named.
        """
        clear_parts(self.path)
        try:
            description, arrays = read_archive("checkpoint", self.path, _MUST, FORMAT, VERSION)
        except FileNotFoundError:
            return None
        try:
            written = dict(description["arguments"])
            here = self.description
            others = [name for name in {**here, **written} if written.get(name) != here.get(name)]
            state = None if others else State(**_decoded(description["state"], arrays, {s.name: s for s in symbols}))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise invalid("checkpoint", _MUST, f"{str(self.path)!r}, which is damaged ({error})") from error
        if others:
            told = "; ".join(_difference(name, written.get(name), here.get(name)) for name in others)
            must = "of a training with the same arguments, or another file"
            raise invalid("checkpoint", must, f"{str(self.path)!r} with other {told}")
        return state

    def write(self, state: State) -> None:
        """Replace the file."""
        arrays: list[np.ndarray] = []
        tree = _encoded({field.name: getattr(state, field.name) for field in dataclasses.fields(state)}, arrays)
        description = {"format": FORMAT, "version": VERSION, "arguments": self.description, "state": tree}
        write_archive(self.path, description, {f"array_{number}": array for number, array in enumerate(arrays)})

    def due(self, state: State, many: int) -> bool:
        """Whether this state is one to write; ``many`` steps are an epoch."""
        return (state.epoch*many + state.step) % (self.every or many) == 0


def _difference(name: str, written: str | None, here: str | None) -> str:
    short = all(text is not None and len(text) <= _SHORT for text in (written, here))
    return f"{name} ({written}, here {here})" if short else name


# ---------------------------------------------------------------------- the state as JSON and arrays
def _encoded(value: Any, arrays: list[np.ndarray]) -> Any:
    """Nested tuples, lists, dictionaries, numbers and None as they are, arrays by their number."""
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biufc":
        arrays.append(np.asarray(value))
        return {"array": len(arrays) - 1}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if type(value) in (tuple, list):
        return {type(value).__name__: [_encoded(part, arrays) for part in value]}
    if isinstance(value, Mapping):
        return {"mapping": [[_key(key), _encoded(part, arrays)] for key, part in value.items()]}
    return _refuse(value)


def _key(key: Any) -> Any:
    if isinstance(key, sp.Symbol):
        return {"symbol": key.name}
    return key if isinstance(key, (str, int)) else _refuse(key)


def _refuse(value: Any) -> Any:
    must = "of numbers, arrays, tuples, lists, dictionaries and None for a checkpoint"
    raise invalid("the state of the optimiser", must, f"{type(value).__name__} in it")


def _decoded(tree: Any, arrays: Mapping[str, np.ndarray], symbols: Mapping[str, sp.Symbol]) -> Any:
    if not isinstance(tree, dict):
        return tree
    ((kind, content),) = tree.items()
    if kind == "array":
        return arrays[f"array_{content}"][()]  # a number where it has no axes, as arithmetic leaves it
    if kind == "mapping":
        pairs = [(symbols[key["symbol"]] if isinstance(key, dict) else key, part) for key, part in content]
        return {key: _decoded(part, arrays, symbols) for key, part in pairs}
    parts = [_decoded(part, arrays, symbols) for part in content]
    return {"tuple": tuple, "list": list}[kind](parts)


# ---------------------------------------------------------------------- what must agree on resuming
def describe(
    system: Definition, costs: tuple[Cost, ...], optimiser: Any, times: Any, **arguments: Any
) -> dict[str, str]:
    """One text for every argument, the same for the same meaning; arrays by their hash.

    Functions of time are compared by their values at the nodes ``times``, schedules by their first rate; other
    functions cannot be compared.
    """
    bound = BoundCosts(system, costs)
    weighed = [[cost.when, cost.weights] for cost in costs]
    walls = [system.size, system.of_energy, system.lower, system.upper, system.clamped]
    found = {
        "system": [system.digest, _places(system.terms), list(system.parameters), list(system.inputs), walls],
        "cost": [bound.digest, _places(bound.terms), list(bound.parameters), [s for s, _ in bound.targets], weighed],
    }
    described = {name: _described(value, times) for name, value in {**found, **arguments}.items()}
    described["optimiser"] = _described(optimiser, 0)
    return {name: json.dumps(value) for name, value in described.items()}


def _places(terms: tuple[LocalTerm, ...]) -> list[Any]:
    found = []
    for places in (term.places for term in terms):
        sliding = places.convolution and [places.convolution.stride, places.convolution.padding]
        found.append([places.kind, places.table, places.shape, sliding])
    return found


def _described(value: Any, times: Any) -> Any:
    if isinstance(value, sp.Symbol):
        return value.name
    if isinstance(value, str) and len(value) > _SHORT:
        return hashlib.sha256(value.encode()).hexdigest()[:32]
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and not value.ndim):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, (np.ndarray, list, tuple)):
        array = _numbers(value)
        if array is None:
            return [_described(part, times) for part in value]
        return f"{array.shape} {hashlib.sha256(array.data).hexdigest()[:32]}"
    if isinstance(value, Mapping):
        named = {_described(key, times): _described(part, times) for key, part in value.items()}
        return {str(key): named[key] for key in sorted(named, key=str)}
    if callable(value):
        return "a function" if times is None else _described(np.asarray(value(times)), None)
    fields: dict[str, Any] = {}
    if dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    elif isinstance(value, (Initial, Ends, Equilibrium)):
        fields = vars(value)
    return [type(value).__name__, _described(fields, times)]


def _numbers(value: Any) -> np.ndarray | None:
    """An array, or a list that could be one."""
    try:
        array = np.asarray(value)
    except ValueError:  # of unequal lengths
        return None
    return np.ascontiguousarray(array, float) if array.dtype.kind in "biuf" else None
