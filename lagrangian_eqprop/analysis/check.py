"""``system.check``: every estimator on the user's own problem, against a complex step through the forward map."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..boundary import Boundary, Ends, Initial, check_boundary
from ..eqprop.dissipation import check_action
from ..eqprop.estimators import Adjoint, Centered, Estimator, Exact, Holomorphic
from ..eqprop.gradient import check_analytic, gradient, problem_of
from ..eqprop.result import Gradient
from ..errors import AccuracyWarning, ConvergenceError
from ..grid import Grid
from ..solvers.limits import refuse
from ..solvers.problem import Problem
from ..symbols.definition import Definition
from .forward import (
    AnyForward,
    Entry,
    Forward,
    ForwardEnds,
    ForwardPeriodic,
    central_difference,
    complex_step,
    growth,
)
from .study import Study, study

_MOST = 48  # entries of one quantity that are compared; more are thinned out evenly
DIFFERENCES = "finite differences"


@dataclass(frozen=True)
class Check:
    """What :meth:`System.check` found; printing it shows the table.

    Attributes
    ----------
    errors : dict of str to float
        The largest relative error of each estimator.
    by_quantity : dict of str to dict of str to float
        Relative errors of each quantity: the largest difference of its entries over the largest entry of its
        own, or over a hundredth of the largest of all where that is larger (a
        null gradient has no size of its own).
    reference : dict of str to ndarray
        The complex-step derivatives of the entries compared.
    growth : float or None
        G = |dq_N/dq_0|, how the trajectory multiplies small deviations; None for other boundaries.
    tolerance : float
        max(1e-11, 2e-12 G) for initial data, 1e-9 for other boundaries.
    passed : bool
        Whether Exact, Adjoint and Holomorphic (where the functions are analytic) are within it.
    study : Study or None
        With ``thorough``: slopes in beta, order in the step, null gradients, and what the map does to deviations.
    """

    name: str
    loss: float
    errors: dict[str, float]
    by_quantity: dict[str, dict[str, float]]
    reference: dict[str, np.ndarray]
    growth: float | None
    tolerance: float
    passed: bool
    notes: tuple[str, ...]
    study: Study | None = None

    def __str__(self) -> str:
        names = list(self.errors)
        width = max(14, *(len(quantity) + 2 for quantity in self.by_quantity))
        head = f"{self.name}: J = {self.loss:.12g}; relative errors against complex step through the forward map"
        lines = [head, "".join(["quantity".ljust(width), "dJ (largest)".rjust(14), *(n.rjust(20) for n in names)])]
        for quantity, row in self.by_quantity.items():
            values = self.reference[quantity]
            largest = values.flat[np.abs(values).argmax()]
            cells = [f"{row[name]:.1e}".rjust(20) for name in names]
            lines.append(quantity.ljust(width) + f"{largest: .5e}".rjust(14) + "".join(cells))
        cells = [f"{self.errors[name]:.1e}".rjust(20) for name in names]
        lines.append("largest".ljust(width) + "".rjust(14) + "".join(cells))
        if self.growth is not None:
            lines.append(f"growth G = |dq_N/dq_0| = {self.growth:.3g}")
        verdict = "passed" if self.passed else "FAILED"
        lines.append(f"{verdict}: Exact, Adjoint and Holomorphic must be within {self.tolerance:.1e}")
        words = self.study.lines() if self.study is not None else []
        return "\n".join([*lines, *words, *self.notes])

    def plot(self, file: Any = None) -> Any:
        """The bias of finite nudges against beta; see :func:`lagrangian_eqprop.plotting.plot_check`."""
        from ..plotting import plot_check

        return plot_check(self, file)


def check(
    system: Definition, boundary: Boundary, grid: Grid, cost: Any, *, targets: Any = None, inputs: Any = None,
    parameters: Any = None, method: str | None = None, compiled: bool = True, stability: str = "check",
    estimators: Sequence[Estimator] = (), order: int | None = None, thorough: bool = False,
) -> Check:  # fmt: skip
    """Compare all estimators with derivatives that use no gradient code.

    Parameters
    ----------
    boundary, grid, cost, targets, inputs, parameters, method, compiled, stability, order
        As for ``gradient``.
    estimators : sequence of estimators
        More of them to be compared, such as ``lep.Echo(1e-3)``; what they give does not change the verdict.

    thorough : bool
        Measure also what theory says more of: see :class:`lagrangian_eqprop.analysis.study.Study`.

    Returns
    -------
    Check
        Print it for the table.

    Warns
    -----
    AccuracyWarning
        If the growth G of small deviations is beyond 1e6: rounding errors grow with it.
    """
    options = {
        "targets": targets, "inputs": inputs, "parameters": parameters, "method": method, "order": order,
        "compiled": compiled,
    }  # fmt: skip
    check_boundary(boundary)
    problem = problem_of(system, grid, cost, options, boundary)
    check_action(problem, boundary)
    if not isinstance(boundary, Initial):
        refuse(system, "boundary", type(boundary).__name__, "lep.Initial in the check")
    forward, notes = forward_of(problem, boundary), list[str]()
    g = growth(forward) if isinstance(forward, Forward) else None
    if g is not None and g > 1e6:
        text = (
            f"the trajectory multiplies small deviations by {g:.1e}: gradients lose digits; at this rate an echo that "
            f"is integrated back breaks down after t = {36*grid.duration/np.log(g):.3g}"
        )
        warnings.warn(text, AccuracyWarning, stacklevel=3)
    compared: dict[str, Estimator] = {"Exact": Exact(), "Holomorphic": Holomorphic(), "Adjoint": Adjoint()}
    if system.forced:
        del compared["Holomorphic"]
        notes.append("Holomorphic and Centered left out: with forces that no Lagrangian gives no echo is exact")
    try:
        check_analytic(problem)
    except ValueError as error:
        if compared.pop("Holomorphic", None):
            notes.append(f"Holomorphic left out: {error}")

    def estimate(estimator: Estimator) -> Gradient:
        return gradient(system, boundary, grid, cost, estimator=estimator, stability=stability, **options)

    results = {name: estimate(estimator) for name, estimator in compared.items()}
    for estimator in estimators:
        name = type(estimator).__name__
        results[f"{name} {len(results)}" if name in (*results, "Centered") else name] = estimate(estimator)
    beta = _small_nudge(g)
    while "Centered" not in results and not system.forced and beta > 1e-12:
        try:
            results["Centered"] = estimate(Centered(beta))
        except ConvergenceError:  # a nudge may leave the branch
            beta *= 0.1
    entries, reference = references(problem, forward, notes)
    columns: dict[str, Callable[[Entry], float]] = {
        name: partial(read, problem, found) for name, found in results.items()
    }
    columns[DIFFERENCES] = partial(central_difference, forward)
    by_column = {name: errors_of(read, entries, reference) for name, read in columns.items()}
    table = {quantity: {name: by_column[name][quantity] for name in columns} for quantity in entries}
    errors = {name: max(row.values()) for name, row in by_column.items()}
    tolerance = max(1e-11, 2e-12*g) if g is not None else 1e-9
    passed = all(errors[name] <= tolerance for name in ("Exact", "Adjoint", "Holomorphic") if name in errors)
    more = None
    if thorough:

        def again(other: Definition, on: Grid, estimator: Estimator | None) -> Gradient:
            return gradient(other, boundary, on, cost, estimator=estimator, stability=stability, **options)

        def worst(result: Gradient) -> float:
            return max(errors_of(partial(read, problem, result), entries, reference).values())

        more = study(system, grid, forward, options, again, worst)
    return Check(system.name, results["Exact"].loss, errors, table, reference, g, tolerance, passed, tuple(notes), more)


def forward_of(problem: Problem, boundary: Boundary) -> AnyForward:
    """The loss as a function of parameters and boundary data, by the forward map alone."""
    if isinstance(boundary, Initial):
        return Forward(problem, boundary)
    return ForwardEnds(problem, boundary) if isinstance(boundary, Ends) else ForwardPeriodic(problem, boundary)


def references(
    problem: Problem, forward: AnyForward, notes: list[str]
) -> tuple[dict[str, list[Entry]], dict[str, np.ndarray]]:
    """What is compared, by quantity, and its derivatives by complex step."""
    entries = _entries(problem, forward, notes)
    found = {name: np.array([complex_step(forward, entry) for entry in chosen]) for name, chosen in entries.items()}
    return entries, found


def errors_of(
    column: Callable[[Entry], float], entries: dict[str, list[Entry]], reference: dict[str, np.ndarray]
) -> dict[str, float]:
    """The relative error of each quantity."""
    largest = max(np.abs(values).max() for values in reference.values())
    found = {quantity: np.array([column(entry) for entry in chosen]) for quantity, chosen in entries.items()}
    return {quantity: _error(values, reference[quantity], largest) for quantity, values in found.items()}


def _small_nudge(g: float | None) -> float:
    """Where rounding eps/beta and the bias (beta G)^2 of a centered estimate meet."""
    return float((1e-16/max(g or 1.0, 1.0)**2)**(1/3)*10)


def _entries(problem: Any, forward: AnyForward, notes: list[str]) -> dict[str, list[Entry]]:
    """The numbers to compare, by quantity; theta's are numbered within theta."""
    found = {}
    for (symbol, value), row in zip(problem.values.items(), problem.theta_layout, strict=True):
        found[symbol.name] = [Entry(symbol.name, int(row[0]) + index) for index in range(value.size)]
    for quantity, value in forward.quantities.items():
        found[quantity] = [Entry(quantity, index) for index in range(np.size(value))]
    for quantity, entries in found.items():
        if len(entries) > _MOST:
            notes.append(f"{quantity}: {_MOST} of {len(entries)} entries compared")
            found[quantity] = [entries[k] for k in np.unique(np.linspace(0, len(entries) - 1, _MOST).astype(int))]
    return found


def read(problem: Any, result: Gradient, entry: Entry) -> float:
    """An entry of a gradient."""
    if entry.quantity.startswith("initial."):
        return float(getattr(result.initial, entry.quantity[8:]).flat[entry.index])
    if entry.quantity.startswith("ends."):
        return float(getattr(result.ends, entry.quantity[5:]).flat[entry.index])
    if entry.quantity.startswith("periodic."):
        return float(np.asarray(getattr(result.periodic, entry.quantity[9:])).flat[entry.index])
    symbol = next(s for s in problem.values if s.name == entry.quantity)
    offset = problem.theta_layout[list(problem.values).index(symbol), 0]
    return float(result.parameters[symbol].flat[entry.index - offset])


def _error(values: np.ndarray, reference: np.ndarray, largest: float) -> float:
    scale = max(np.abs(reference).max(), 1e-2*largest, 1e-300)
    return float(np.abs(values - reference).max()/scale)
