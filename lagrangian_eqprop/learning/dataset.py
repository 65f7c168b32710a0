"""A data set: the arguments of `gradient` whose batch axis is cut into mini-batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import sympy as sp

from ..boundary import Boundary, Ends, Equilibrium, Initial, Periodic, check_boundary
from ..eqprop.equilibrium import gradient_of
from ..eqprop.equilibrium import mean_loss as mean_loss_at_rest
from ..eqprop.estimators import Estimator
from ..eqprop.gradient import cost_list, gradient, problem_of
from ..eqprop.initial import free_run
from ..eqprop.result import Gradient
from ..eqprop.steady import MiniBatches
from ..errors import ConvergenceError, invalid
from ..grid import Grid
from ..solvers.equilibrium import Settling
from ..solvers.signals import Signal
from ..solvers.start import Start
from ..solvers.statics import Statics
from ..symbols.definition import Definition

Arrays = dict[sp.Symbol, np.ndarray]


class Dataset:
    """Boundary conditions, inputs and targets, checked once by the library's own rules of axes.

    Parameters
    ----------
    system, boundary, grid, cost, targets, inputs, parameters, options
        As for `gradient`; options are method and compiled.

    Attributes
    ----------
    size : int
        The number of samples B; 1 where nothing has a batch axis.
    values : dict of Symbol to ndarray
        All parameters of the system and the costs.
    """

    def __init__(
        self, system: Definition, boundary: Boundary | Equilibrium, grid: Grid | None, cost: Any, *,
        targets: Mapping[Any, Any] | None, inputs: Mapping[Any, Any] | None, parameters: Mapping[Any, Any] | None,
        **options: Any,
    ) -> None:  # fmt: skip
        if not cost_list(cost):
            raise invalid("cost", "a lep.Cost or a non-empty list of them", repr(cost))
        given = {"targets": targets, "inputs": inputs, "parameters": parameters}
        self.boundary = boundary
        self._batches: MiniBatches | None = None
        if isinstance(boundary, Equilibrium):
            choices: dict[str, Any] = {**given, **options}
            self._read_static(Statics(system, cost_list(cost), **choices), boundary, inputs, targets)
            return
        if grid is None:
            raise invalid("grid", "a lep.Grid", "None")
        check_boundary(boundary)
        problem = problem_of(system, grid, cost, {**given, **options}, boundary)
        if isinstance(boundary, Initial):
            states: dict[str, Any] = {"q": boundary.q, "v": boundary.v, "p": boundary.p}
        elif isinstance(boundary, Ends):
            guess = None if boundary.guess is None or boundary.guess.ndim == 2 else boundary.guess[:, 0]
            states = {"q_start": boundary.q_start, "q_stop": boundary.q_stop, "guess": guess}
        else:
            states = boundary.batched(system.size)
        self.size = problem.batch_of(states) or 1
        self.values = dict(problem.values)
        self.batched_parameters = [s for s, v in self.values.items() if v.ndim > problem.bound.parameters[s].ndim]
        self._inputs = self._given(system.inputs, inputs, problem.inputs.signals)
        self._targets = self._given([symbol for symbol, _ in problem.bound.targets], targets, problem.targets.signals)

    def gradient_at_rest(
        self, values: Arrays, samples: np.ndarray, estimator: Estimator, on_failure: str
    ) -> Gradient:  # fmt: skip
        """The gradient at the equilibria of some samples."""
        if self._batches is None:
            assert isinstance(self.boundary, Equilibrium)
            self._batches = MiniBatches(self._statics, self.boundary, estimator)
        result = self._batches.gradient(values, samples, lambda: Settling(*self._question(values, samples)))
        return gradient_of(self.settling(values, samples), estimator, None, on_failure) if result is None else result

    def settling(self, values: Arrays, samples: np.ndarray) -> Settling:
        """The equilibria of some samples; what does not depend on values is kept from mini-batch to mini-batch."""
        statics, boundary = self._question(values, samples)
        if samples.size not in self._settlings:
            self._settlings[samples.size] = Settling(statics, boundary)
        else:
            self._settlings[samples.size].renew(statics, boundary.guess)
        return self._settlings[samples.size]

    def _question(self, values: Arrays, samples: np.ndarray) -> tuple[Statics, Equilibrium]:
        assert isinstance(self.boundary, Equilibrium)
        statics = self._statics.part(self.take_parameters(values, samples), samples)
        return statics, self.boundary.of(self._rows(self.boundary.guess, samples))

    def _read_static(self, statics: Statics, boundary: Equilibrium, inputs: Any, targets: Any) -> None:
        self._statics: Statics = statics
        self._settlings: dict[int, Settling] = {}  # by their number of samples
        self.size = statics.batch_of(boundary.guess) or 1
        self.values = dict(statics.values)
        self.batched_parameters = statics.own

        def read(symbols: Sequence[sp.Symbol], arrays: Sequence[np.ndarray], given: Any) -> dict[sp.Symbol, Any]:
            named = {key.name if isinstance(key, sp.Symbol) else key: value for key, value in (given or {}).items()}
            pairs = zip(symbols, arrays, strict=True)
            return {s: _Rows(np.reshape(a, np.shape(named[s.name]))) if len(a) > 1 else named[s.name] for s, a in pairs}

        self._inputs = read(statics.system.inputs, statics.inputs, inputs)
        self._targets = read([symbol for symbol, _ in statics.bound.targets], statics.targets, targets)

    @staticmethod
    def _given(
        symbols: Sequence[sp.Symbol], given: Mapping[Any, Any] | None, signals: Sequence[Signal]
    ) -> dict[sp.Symbol, Any]:
        """Values by Symbol, those with a batch axis as functions of the samples wanted."""
        named = {key.name if isinstance(key, sp.Symbol) else key: value for key, value in (given or {}).items()}
        found = {}
        for symbol, signal in zip(symbols, signals, strict=True):
            value = named[symbol.name]
            if signal.batch is None:
                found[symbol] = value
            else:
                found[symbol] = _Rows(value if callable(value) else np.asarray(value, float))
        return found

    def _rows(self, state: np.ndarray, samples: np.ndarray, axes: int = 1) -> np.ndarray:
        """What belongs to some samples; all of it where there is no batch axis."""
        return state[samples] if state.ndim > axes and len(state) == self.size else state

    def take(self, samples: np.ndarray) -> dict[str, Any]:
        """The arguments ``boundary, inputs, targets`` of some samples."""

        def rows(state: np.ndarray | None, axes: int = 1) -> np.ndarray | None:
            return None if state is None else self._rows(state, samples, axes)

        b = self.boundary
        part: Boundary | Equilibrium
        if isinstance(b, Equilibrium):
            guess = rows(b.guess)
            part = b if guess is None or guess.ndim < 2 else b.of(guess)
        elif isinstance(b, Initial):
            part = Initial(rows(b.q), v=rows(b.v), p=rows(b.p), project=b.project)
        elif isinstance(b, Periodic):
            phase = {i: rows(value, 0) for i, value in b.phase.items()} if isinstance(b.phase, dict) else b.phase
            part = Periodic(rows(b.guess, 2), b.twist, phase=phase, energy=rows(b.energy, 0))
        else:
            part = b.with_data(rows(b.q_start), rows(b.q_stop), rows(b.guess, 2))

        def cut(signals: Mapping[sp.Symbol, Any]) -> dict[sp.Symbol, Any]:
            return {s: v.take(samples, self.size) if isinstance(v, _Rows) else v for s, v in signals.items()}

        return {"boundary": part, "inputs": cut(self._inputs), "targets": cut(self._targets)}

    def take_parameters(self, values: Arrays, samples: np.ndarray) -> Arrays:
        """Parameters, those given for every sample cut like the data."""
        cut = [s for s in self.batched_parameters if len(values[s]) == self.size]
        return {s: v[samples] if s in cut else v for s, v in values.items()}


class _Rows:
    """A signal with a batch axis: an array, or a function whose values have one."""

    def __init__(self, value: np.ndarray | Callable[[np.ndarray], Any]) -> None:
        self.value = value

    def take(self, samples: np.ndarray, size: int) -> Any:
        value = self.value
        if callable(value):
            return lambda times: _rows(np.asarray(value(times)), samples, size)
        return _rows(value, samples, size)


def _rows(array: np.ndarray, samples: np.ndarray, size: int) -> np.ndarray:
    return array[samples] if len(array) == size else array


def mean_loss(
    system: Definition, data: Dataset, grid: Grid | None, cost: Any, values: Arrays, chunk: int, **options: Any
) -> float:
    """The mean loss of all samples; of initial-value problems by a free run alone."""
    total = 0.0
    for low in range(0, data.size, chunk):
        samples = np.arange(low, min(low + chunk, data.size))
        part = data.take(samples)
        boundary = part.pop("boundary")
        part = {**part, **options, "parameters": data.take_parameters(values, samples)}
        if isinstance(boundary, Equilibrium):
            total += mean_loss_at_rest(system, boundary, cost_list(cost), **part)*samples.size
            continue
        if not isinstance(boundary, Initial):
            total += gradient(system, boundary, grid, cost, **part).loss*samples.size
            continue
        assert grid is not None
        problem = problem_of(system, grid, cost, part)
        free = free_run(problem, Start(problem, boundary, "ignore"), False)
        if not free.failures.good.all():
            raise ConvergenceError(free.failures.message(problem.grid))
        total += float(np.mean(free.losses))*samples.size
    return total/data.size


def validator(
    validation: Any, system: Definition, boundary: Any, grid: Grid | None, cost: Any, values: Arrays,
    batch: int | None, options: dict[str, Any],
) -> Callable[[Arrays], Any] | None:  # fmt: skip
    """A function of the parameters; a mapping is checked before the training begins, not after its first epoch."""
    if not isinstance(validation, Mapping):
        return validation
    wrong = set(validation) - {"boundary", "targets", "inputs"}
    if wrong:
        raise invalid("validation", "a mapping of boundary, targets and inputs", f"{sorted(wrong, key=str)[0]!r} in it")
    data = Dataset(
        system, validation.get("boundary", boundary), grid, cost, targets=validation.get("targets"),
        inputs=validation.get("inputs"), parameters=values, **options,
    )  # fmt: skip
    return lambda now: mean_loss(system, data, grid, cost, now, batch or data.size, **options)
