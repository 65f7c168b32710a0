"""A question about rest: a system with its costs and values, checked and laid out for the solvers of equilibria.

Nothing has a time axis here: inputs and targets are (P,) or (B, P) with places, scalars or (B,) without.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sympy as sp
from numpy import ndarray

from ..compiler.statics import Plan, plan_of, plan_of_costs
from ..errors import invalid
from ..symbols.cost import Cost
from ..symbols.definition import Definition
from .energies import Energies
from .energy_terms import Values
from .failures import all_finite
from .gathering import Split
from .limits import refuse
from .problem import bind, by_symbol

_TYPES: tuple[Any, ...] = (float, np.float64, np.float32, "float64", "float32")


class Statics:
    """Everything about an equilibrium that is not its guess and its solver.

    Parameters
    ----------
    system, costs
        The definition, and costs, empty for an equilibrium alone.
    targets, inputs, parameters : mapping
        Values by Symbol or name.
    dtype : "float64" or "float32"
    trusted : bool
        Parameters were checked before: training asks again and again.
    compiled : bool
        False keeps to numpy.
    """

    def __init__(
        self, system: Definition, costs: Sequence[Cost] = (), *, targets: Mapping[Any, Any] | None = None,
        inputs: Mapping[Any, Any] | None = None, parameters: Mapping[Any, Any] | None = None, dtype: Any = float,
        trusted: bool = False, compiled: bool = True,
    ) -> None:  # fmt: skip
        if dtype not in _TYPES:
            raise invalid("dtype", "'float64' or 'float32'", repr(dtype))
        for cost in costs:
            if not isinstance(cost, Cost):
                raise invalid("cost", "a lep.Cost or a list of them", type(cost).__name__)
            if cost.weights is not None:
                raise invalid("weights of the cost", "left out at an equilibrium", f"shape {cost.weights.shape}")
        refuse(system, "boundary", "one of rest", "lep.Initial")
        self.system, self.costs, self.dtype = system, tuple(costs), np.dtype(dtype)
        self.trusted, self.compiled = trusted, compiled
        self.bound = bind(system, self.costs)
        self.split = _split(system)
        self.plan = plan_of(system)
        if "_static_costs" not in self.bound.__dict__:  # kept with what it belongs to: training asks again and again
            self.bound.__dict__["_static_costs"] = plan_of_costs(self.bound.terms)
        self.cost_plan: Plan = self.bound.__dict__["_static_costs"]
        self.shapes = [value.shape for value in self.bound.parameters.values()]
        self._read_parameters(parameters or {}, trusted)
        self._batches: dict[str, int] = {}
        self.inputs = self._read_inputs({} if inputs is None else inputs)
        self.targets = self._read_targets({} if targets is None else targets)

    # ------------------------------------------------------------------ values
    def _read_parameters(self, given: Mapping[Any, Any], trusted: bool) -> None:
        defaults = self.bound.parameters
        self.values: dict[sp.Symbol, ndarray] = dict(defaults)
        if trusted:
            self.values.update(given)
            given = {}
        for symbol, value in by_symbol("parameters", given, defaults).items():
            name, shape = f"parameters[{symbol.name}]", defaults[symbol].shape
            array = _numbers(name, value, float)
            if array.shape != shape and array.shape[1:] != shape or array.ndim > len(shape) + 1:
                raise invalid(name, f"of shape {shape}, or one more leading axis for a batch", f"shape {array.shape}")
            self.values[symbol] = array
        self.own = [symbol for symbol, value in self.values.items() if value.ndim > defaults[symbol].ndim]

    def _read_inputs(self, inputs: Mapping[Any, Any]) -> list[ndarray]:
        given = by_symbol("inputs", inputs, self.system.inputs)
        found = []
        for number, symbol in enumerate(self.system.inputs):
            if symbol not in given:
                raise invalid(f"inputs[{symbol.name}]", "given", "nothing")
            places = None if self.system.single else self.system.width(number)
            found.append(self._axes(f"inputs[{symbol.name}]", given[symbol], places))
        return found

    def _read_targets(self, targets: Mapping[Any, Any]) -> list[ndarray]:
        wanted = by_symbol("targets", targets, [symbol for symbol, _ in self.bound.targets])
        found = []
        for symbol, number in self.bound.targets:
            if symbol not in wanted:
                raise invalid(f"targets[{symbol.name}]", "given", "nothing")
            places = None if self.costs[number].single else self.bound.terms[number].places.count
            found.append(self._axes(f"targets[{symbol.name}]", wanted[symbol], places))
        return found

    def _axes(self, name: str, value: Any, places: int | None) -> ndarray:
        """(batch or 1, places or 1)."""
        if callable(value):
            raise invalid(name, "an array: at an equilibrium nothing depends on the time", "a function")
        array = _numbers(name, value, self.dtype)
        forms = {0: "a scalar", **({1: "(B,)"} if places is None else {1: f"({places},)", 2: f"(B, {places})"})}
        fits = array.ndim in forms and (places is None or not array.ndim or array.shape[-1] in (1, places))
        if not fits:
            raise invalid(name, " or ".join(forms.values()), f"shape {array.shape}")
        if array.ndim == (1 if places is None else 2):
            self._batches[name] = len(array)
        if places is None:
            return array.reshape(-1, 1)
        return array.reshape(-1, array.shape[-1] if array.ndim else 1)

    def batch_of(self, guess: ndarray) -> int | None:
        """The batch that guess, parameters, inputs and targets agree on; None where none has one."""
        sizes = {"guess": len(guess)} if guess.ndim > 1 else {}
        sizes.update({f"parameters[{symbol.name}]": len(self.values[symbol]) for symbol in self.own})
        sizes.update(self._batches)
        lengths = {length for length in sizes.values() if length != 1} or set(sizes.values())
        if len(lengths) > 1:
            came = ", ".join(f"{name}: {length}" for name, length in sizes.items())
            raise invalid("the batch axis", "of one length everywhere", came)
        return lengths.pop() if lengths else None

    # ------------------------------------------------------------------ for the solvers
    def part(self, values: dict[sp.Symbol, ndarray], samples: ndarray) -> Statics:
        """The same question for some of its samples, and for parameters that need no check."""

        def rows(arrays: list[ndarray]) -> list[ndarray]:
            return [array.take(samples, 0) if len(array) > 1 else array for array in arrays]

        other = copy.copy(self)
        other.trusted, other.values = True, values
        other.inputs, other.targets = rows(self.inputs), rows(self.targets)
        other._batches = {name: len(samples) if length > 1 else 1 for name, length in self._batches.items()}
        return other

    def energies(self, samples: int) -> Energies:
        """E + beta c of all samples."""
        bounds = self.split.bounds(self.system.lower, self.system.upper, self.dtype)
        return Energies(
            self.plan, self.cost_plan, self.split, self.numbers(), bounds, samples, self.dtype, self.compiled
        )  # fmt: skip

    def numbers(self) -> Values:
        """All that does not move, in the precision wanted."""
        parameters = []
        for value, shape in zip(self.values.values(), self.shapes, strict=True):
            array = value.astype(self.dtype, copy=False)
            parameters.append(array[0] if array.ndim > len(shape) and len(array) == 1 else array)
        batched = any(array.ndim > len(shape) for array, shape in zip(parameters, self.shapes, strict=True))
        return Values(parameters, self.shapes, self.inputs, self.targets, self.held(self.inputs), batched)

    def held(self, inputs: Sequence[ndarray]) -> ndarray:
        """Clamped coordinates, (1 or B, clamped)."""
        given = dict(zip(self.system.inputs, inputs, strict=True))
        pieces = [(places, given[symbol]) for symbol, places in self.system.clamped.items()]
        if len(pieces) == 1 and pieces[0][1].shape[1] == len(pieces[0][0]):
            return pieces[0][1]
        held = np.zeros((max((len(array) for _, array in pieces), default=1), len(self.split.clamped)), self.dtype)
        for places, array in pieces:
            held[:, self.split.where[places]] = array
        return held

    def start(self, guess: ndarray, samples: int) -> ndarray:
        """The guess of all samples at the free coordinates, within bounds."""
        if guess.ndim and guess.shape[-1] != self.system.size:
            raise invalid("guess", f"a number or of shape (..., {self.system.size})", f"shape {guess.shape}")
        free = self.split.free
        part = guess if not guess.ndim else guess[..., free]
        q = np.empty((samples, len(free)), self.dtype, order=self.plan.order)
        q[:] = np.clip(part, self.system.lower[free], self.system.upper[free])
        return q

    def shaped(self, found: list[ndarray], count: int) -> dict[sp.Symbol, ndarray]:
        """Sums over samples as gradients of the mean, in the shapes that were given."""
        dtype = self.dtype if self.trusted else np.dtype(float)
        return {
            symbol: (part/count).astype(dtype, copy=False).reshape(value.shape)
            for (symbol, value), part in zip(self.values.items(), found, strict=True)
        }


def _split(system: Definition) -> Split:
    """Free and clamped coordinates of a system; found once."""
    if "_split" not in system.__dict__:
        places = [np.zeros(0, np.int64), *system.clamped.values()]
        system.__dict__["_split"] = Split(system.size, np.concatenate(places))
    return system.__dict__["_split"]


def _numbers(name: str, value: Any, dtype: Any) -> ndarray:
    try:
        array = np.array(value, dtype)
    except (TypeError, ValueError) as error:
        raise invalid(name, "numbers", repr(value)) from error
    if not all_finite(array):
        raise invalid(name, "finite", "nan or inf")
    return array
