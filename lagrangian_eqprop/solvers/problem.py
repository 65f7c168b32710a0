"""A problem: a system with its method, grid, costs and values, checked and laid out for the kernels."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import sympy as sp

from ..boundary import check_width
from ..compiler.build import build
from ..compiler.contract import CLOCK, HEADER, LABELS, TIMES, Environment
from ..errors import invalid
from ..grid import Grid
from ..methods import Method, choose
from ..methods.sparsity import sparse_pattern
from ..symbols.cost import BoundCosts, Cost
from ..symbols.definition import Definition, lookup
from .refined import Refined, refined
from .signals import Signal, Signals
from .weight import check_span

_BLOCK = 2**17  # values of a state kept at once while stepping


class Problem:
    """Everything about a question that is not its boundary condition.

    Parameters
    ----------
    system, grid
        The definition and the time grid.
    costs : sequence of Cost
        Empty for a trajectory alone.
    targets, inputs, parameters : mapping
        Values by Symbol or name.
    method : str or None
        The method asked for.
    order : int or None
        The order asked for, by a composition of the method.
    compiled : bool
        False for plain Python.
    kernels : sequence of functions
        The solvers' kernels, added to the method's.
    seeing : bool
        Whether costs may see velocities; kernels cannot.
    """

    stages = 0  # of Gauss elements; other methods have none

    def __init__(
        self,
        system: Definition,
        grid: Grid,
        costs: Sequence[Cost] = (),
        *,
        targets: Mapping[Any, Any] | None = None,
        inputs: Mapping[Any, Any] | None = None,
        parameters: Mapping[Any, Any] | None = None,
        method: str | None = None,
        order: int | None = None,
        compiled: bool = True,
        kernels: Sequence[Callable] = (),
        seeing: bool = False,
    ) -> None:
        if not isinstance(grid, Grid):
            raise invalid("grid", "a lep.Grid", type(grid).__name__)
        for cost in costs:
            if not isinstance(cost, Cost):
                raise invalid("cost", "a lep.Cost or a list of them", type(cost).__name__)
            if cost.weights is not None and len(cost.weights) != grid.steps + 1:
                raise invalid("weights of the cost", f"of shape ({grid.steps + 1},)", f"shape {cost.weights.shape}")
        _check_dynamics(system)
        self.system, self.costs = system, tuple(costs)
        self.bound = bind(system, self.costs)
        if self.bound.sees_velocities and not seeing:
            must = "a function of coordinates, targets and time here; velocities are for gradient alone"
            raise invalid("the cost", must, "a velocity in it")
        self.method: Method = choose(system, method, order)
        self.grid: Refined = refined(grid, tuple(self.method.substeps))
        self.sampled_inside = tuple(inside(cost, self.method) for cost in self.costs)
        self._given: dict[str, Any] = {"targets": targets, "inputs": inputs, "parameters": parameters}
        self.compiled = compiled
        self._kernels = kernels
        self._read_parameters({} if parameters is None else parameters)
        check_span(self)
        self._read_signals({} if inputs is None else inputs, {} if targets is None else targets)

    @functools.cached_property
    def module(self) -> ModuleType:
        """The module of loops over places, built when it is first needed."""
        return build(
            self.system, self.bound.terms, self.bound.digest, self.method.name,
            (*self.method.kernels, *self._kernels), self.method.explicit, len(self.bound.parameters),
            len(self.bound.targets), self.compiled,
        ).module  # fmt: skip

    @functools.cached_property
    def base(self) -> Problem:
        """The same problem by the method that a composition is made of, on the user's grid: the same nodes."""
        if self.method.base is None:
            return self
        return Problem(
            self.system, self.grid.coarse, self.costs, **self._given, method=self.method.base, compiled=self.compiled,
            kernels=self._kernels,
        )  # fmt: skip

    # ------------------------------------------------------------------ values
    def _read_parameters(self, given: Mapping[Any, Any]) -> None:
        kept = self.bound.__dict__
        self.values: dict[sp.Symbol, np.ndarray]
        if not given and "_defaults" in kept:
            self.values, self.theta_layout, self.theta, self.has_own_parameters = kept["_defaults"]
            return
        defaults = self.bound.parameters
        values = dict(defaults)
        for symbol, value in by_symbol("parameters", given, defaults).items():
            name = f"parameters[{symbol.name}]"
            try:
                array = np.array(value, float)
            except (TypeError, ValueError) as error:
                raise invalid(name, "numbers", repr(value)) from error
            shape = defaults[symbol].shape
            if array.shape != shape and array.shape[1:] != shape or array.ndim > len(shape) + 1:
                raise invalid(name, f"of shape {shape}, or one more leading axis for a batch", f"shape {array.shape}")
            if not np.isfinite(array).all():
                raise invalid(name, "finite", "nan or inf")
            values[symbol] = array
        self.values = values
        self.theta_layout = np.zeros((len(values), 3), np.int64)
        offset = 0
        for row, (symbol, value) in zip(self.theta_layout, values.items(), strict=True):
            shape = defaults[symbol].shape
            batched = value.ndim > len(shape) and len(value) > 1  # a batch of one serves all samples
            row[:] = offset, int(np.prod(shape)) if batched else 0, 1 if shape else 0
            offset += value.size
        self.theta = np.concatenate([v.ravel() for v in values.values()]) if values else np.zeros(0)
        self.theta.setflags(write=False)
        self.has_own_parameters = bool(self.theta_layout[:, 1].any())
        if not given:
            kept["_defaults"] = self.values, self.theta_layout, self.theta, self.has_own_parameters

    def _read_signals(self, inputs: Mapping[Any, Any], targets: Mapping[Any, Any]) -> None:
        given = by_symbol("inputs", inputs, self.system.inputs)
        signals = []
        for number, symbol in enumerate(self.system.inputs):
            if symbol not in given:
                raise invalid(f"inputs[{symbol.name}]", "given", "nothing")
            places = None if self.system.single else self.system.width(number)
            signals.append(Signal(f"inputs[{symbol.name}]", given[symbol], places, False, self.grid))
        wanted = by_symbol("targets", targets, [symbol for symbol, _ in self.bound.targets])
        aims = []
        for symbol, number in self.bound.targets:
            if symbol not in wanted:
                raise invalid(f"targets[{symbol.name}]", "given", "nothing")
            cost, term = self.costs[number], self.bound.terms[number]
            places = None if cost.single else term.places.count
            within = self.sampled_inside[number]
            aim = Signal(f"targets[{symbol.name}]", wanted[symbol], places, cost.when == "end", self.grid, within)
            if within and aim.function is None and aim.array.shape[1] > 1:
                must = "a callable of the times or constant in time, since its cost is sampled between nodes"
                raise invalid(aim.name, must, "an array at the nodes")
            aims.append(aim)
        self.inputs = Signals(signals, self.method.labels)
        self.node_inputs = Signals(signals, "nodes")
        self.targets = Signals(aims, "nodes")

    def batch_of(self, states: Mapping[str, np.ndarray | None], axes: int = 1) -> int | None:
        """The batch that states, parameters, inputs and targets agree on; None where none has one."""
        sizes: dict[str, int] = {}
        for name, state in states.items():
            if state is not None:
                check_width(name, state, self.system.size)
                if state.ndim > axes:
                    sizes[name] = len(state)
        for symbol, value in self.values.items():
            if value.ndim > self.bound.parameters[symbol].ndim:
                sizes[f"parameters[{symbol.name}]"] = len(value)
        for signal in (*self.inputs.signals, *self.targets.signals):
            if signal.batch is not None:
                sizes[signal.name] = signal.batch
        lengths = {length for length in sizes.values() if length != 1} or set(sizes.values())
        if len(lengths) > 1:
            came = ", ".join(f"{name}: {length}" for name, length in sizes.items())
            raise invalid("the batch axis", "of one length everywhere", came)
        return lengths.pop() if lengths else None

    # ------------------------------------------------------------------ what kernels read
    def blocks(self, width: int) -> list[tuple[int, int]]:
        """(first, count) of blocks of steps whose states of ``width`` values fit a small buffer."""
        length = int(min(1024, max(16, _BLOCK // max(width, 1))))
        return [(k, min(length, self.grid.steps - k)) for k in range(0, self.grid.steps, length)]

    @property
    def pattern(self) -> np.ndarray:
        """The sparse pattern of Newton's matrix, empty for a dense one."""
        dense = self.method.explicit or self.method.first_order  # an antisymmetric structure needs row exchanges
        return np.zeros(0, np.int64) if dense else _pattern(self.system)[0]

    def env(
        self, first: int, count: int, theta: np.ndarray | None = None, labels: str = "method", dense: bool = False
    ) -> Environment:
        """The environment of the nodes first..first+count, inputs at the method's labels or at nodes."""
        steps = count + (labels == "nodes" or self.method.labels == "nodes")
        inputs, input_layout = (self.node_inputs if labels == "nodes" else self.inputs).block(first, steps)
        targets, target_layout = self.targets.block(first, count + 1)
        weights = self.weights(first, count + 1)
        clock = np.array([*self.grid.times(first, 1), self.grid.step])
        parts = [clock, weights.ravel(), inputs, targets]
        times = 0
        if self.grid.substeps > 1:
            times = CLOCK + weights.size + inputs.size + targets.size
            at = first + np.arange(count + 1)
            parts += [self.grid.at(at), self.grid.sizes(at)]
        signals = np.concatenate(parts)
        input_layout, target_layout = input_layout.copy(), target_layout.copy()
        input_layout[:, 0] += CLOCK + weights.size
        target_layout[:, 0] += CLOCK + weights.size + inputs.size
        layouts = np.concatenate([self.theta_layout.ravel(), input_layout.ravel(), target_layout.ravel()])
        table = self._table(dense)
        found = table[HEADER : HEADER + layouts.size]
        if table[LABELS] != count + 1 or table[TIMES] != times or (found != layouts).any():
            table = table.copy()  # an environment in use must not change
            table[LABELS], table[TIMES] = count + 1, times
            table[HEADER : HEADER + layouts.size] = layouts
            self.bound.__dict__["_tables"][self.method.name, dense] = table
        return Environment(self.theta if theta is None else theta, signals, table)

    def _table(self, dense: bool) -> np.ndarray:
        """The integers that kernels read, with the layouts of the call before; kept, since training asks again."""
        kept = self.bound.__dict__.setdefault("_tables", {})
        if (self.method.name, dense) in kept:
            return kept[self.method.name, dense]
        terms = [term.places for term in (*self.system.terms, *self.system.constraints, *self.bound.terms)]
        nothing = np.zeros(0, np.int64)
        sparse = not dense and self.pattern.size
        pattern, slots, offsets = _pattern(self.system) if sparse else (nothing, nothing, nothing)
        signals = np.zeros((len(self.inputs.signals) + len(self.targets.signals), 4), np.int64)
        layout = np.zeros((len(terms), 4), np.int64)
        at = HEADER + self.theta_layout.size + signals.size + layout.size
        for row, places in zip(layout, terms, strict=True):
            row[:3] = at, places.shape[0], places.shape[-1]
            at += places.table.size
        layout[: len(offsets), 3] = at + offsets
        header = [0, at if slots.size else 0, at + slots.size if pattern.size else 0, 0, 0, self.system.multipliers]
        parts = [header, self.theta_layout.ravel(), signals.ravel(), layout.ravel()]
        parts += [places.table.ravel() for places in terms]
        kept[self.method.name, dense] = np.concatenate([*parts, slots, pattern]).astype(np.int64)
        return kept[self.method.name, dense]

    def weights(self, first: int, count: int) -> np.ndarray:
        """The quadrature weights of the costs at nodes, shape (costs, count).

        They are zero at the inner nodes of a composition, unless the cost is sampled by the method: then the
        trapezoidal rule of every sub-step makes them. They are zero everywhere for stages of Gauss.
        """
        s, last = self.grid.substeps, self.grid.steps - first
        rows = np.full((len(self.costs), count), self.grid.step)
        for row, cost, within in zip(rows, self.costs, self.sampled_inside, strict=True):
            if within and self.method.name == "gauss":
                row[:] = 0.0
                continue
            if within:
                sizes = self.grid.sizes(np.arange(first - 1, first + count))
                row[:] = 0.5*(sizes[:-1] + sizes[1:])
            elif s > 1:
                row[:] = np.where((first + np.arange(count)) % s == 0, self.grid.step, 0.0)
            if cost.weights is not None:
                row[-first % s :: s] = cost.weights[(first + s - 1)//s : (first + count - 1)//s + 1]
            elif cost.when == "end":
                row[:] = 0.0
                row[last : last + 1] = 1.0
            else:
                row[: 1 if first == 0 else 0] *= 0.5
                row[last : last + 1] *= 0.5
        return rows

    def shaped(self, g: np.ndarray, batch: int | None, divisor: int) -> dict[sp.Symbol, np.ndarray]:
        """A flat gradient as arrays of the parameters' shapes, each divided by the number of samples."""
        result = {}
        for (symbol, value), row in zip(self.values.items(), self.theta_layout, strict=True):
            result[symbol] = g[row[0] : row[0] + value.size].reshape(value.shape) / divisor
        return result

    def run(self, kernel: str, *arguments: Any) -> Any:
        """Call a kernel; plain Python must not warn where compiled code would not."""
        function = getattr(self.module, kernel)
        if self.compiled:
            return function(*arguments)
        with np.errstate(all="ignore"):
            return function(*arguments)

    def coordinate_name(self, index: int) -> str:
        """How messages call a coordinate."""
        return self.system.coordinates[index].func.__name__ if self.system.single else f"coordinate {index}"

    def each_block(self, width: int, backwards: bool = False) -> Iterator[tuple[int, int]]:
        """The blocks in the order in which they are passed."""
        blocks = self.blocks(width)
        return iter(blocks[::-1] if backwards else blocks)


def _check_dynamics(system: Definition) -> None:
    """Bounds, clamps and shared kernels have a meaning at rest alone."""
    for found, what in ((system.bounded, "bounds"), (system.clamped, "clamped coordinates"),
                        (any(term.places.convolution for term in system.terms), "a Convolution")):  # fmt: skip
        if found:
            raise invalid("boundary", f"lep.Equilibrium for a system with {what}", "a boundary condition of a path")


def by_symbol(argument: str, given: Any, declared: Any) -> dict[sp.Symbol, Any]:
    """Values by symbol, whether they were given by symbol or by name."""
    if not isinstance(given, Mapping):
        raise invalid(argument, "a mapping of Symbols or names to values", type(given).__name__)
    found: dict[sp.Symbol, Any] = {}
    for key, value in given.items():
        symbol = lookup(key, declared, argument)
        if symbol in found:
            raise invalid(f"{argument}[{symbol.name}]", "given once", "both by Symbol and by name")
        found[symbol] = value
    return found


def inside(cost: Cost, method: Method) -> bool:
    """Whether a cost is sampled between the nodes of the user's grid.

    Raises
    ------
    ValueError
        If it is to be sampled by a method that does not do so.
    """
    if cost.quadrature != "method":
        return False
    if not method.trapezoidal and method.name != "gauss":
        must = f"'nodes' with method {method.name!r}; 'verlet' and 'gauss' sample costs themselves"
        raise invalid("quadrature of the cost", must, "'method'")
    return len(method.substeps) > 1 or method.name == "gauss"


def bind(system: Definition, costs: tuple[Cost, ...]) -> BoundCosts:
    """Costs read for this system; kept with it, since training asks again and again."""
    kept: dict = system.__dict__.setdefault("_bound_costs", {})
    key = tuple(map(id, costs))
    if key not in kept or any(a is not b for a, b in zip(kept[key].costs, costs, strict=True)):
        kept[key] = BoundCosts(system, costs)
    return kept[key]


def _pattern(system: Definition) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pattern, slots and their offsets of a system's Newton matrix, found once."""
    if "_pattern" not in system.__dict__:
        system.__dict__["_pattern"] = sparse_pattern([term.places for term in system.terms], system.size)
    return system.__dict__["_pattern"]
