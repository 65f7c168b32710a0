"""The gradient of a loss by equilibrium propagation: one call for every boundary condition and estimator."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy import ndarray

from ..boundary import Boundary, Ends, Equilibrium, Initial, Periodic, check_boundary
from ..compiler.kernel import kernels_of
from ..errors import ConvergenceError, invalid
from ..grid import Grid
from ..solvers import (
    constrained,
    limits,
    newton_band,
    newton_paths,
    newton_terms,
    nudges,
    record,
    start,
    structured,
    tangent,
    twopoint,
)
from ..solvers import initial as stepping
from ..solvers import periodic as closed
from ..solvers.fixed import FixedPoint
from ..solvers.gauss import check_problem, check_stages
from ..solvers.nodes import Nodes, fits
from ..solvers.problem import Problem
from ..solvers.products import applies as multiplies
from ..solvers.record import Keeper
from ..solvers.start import Start, without
from ..solvers.unrolled import applies
from ..symbols.cost import Cost
from ..symbols.definition import Definition
from ..symbols.graph import NONANALYTIC
from ..thermal import Thermal
from . import (
    adjoint,
    convolution,
    doubled,
    echo,
    ends,
    equilibrium,
    inputs,
    naive,
    periodic,
    products,
    replay,
    thermal,
)
from . import initial as initial_value
from .constrained_ends import constrained_ends
from .device import quantised
from .dissipation import check_action, check_estimator
from .estimators import (
    Adjoint,
    Centered,
    ConvolutionAction,
    Echo,
    Estimator,
    Exact,
    Holomorphic,
    NaiveForward,
    OneSided,
)
from .exact import exact
from .exact_fixed import exact_fixed
from .exact_gauss import exact_gauss
from .result import Gradient, InitialGradient, InputGradients

_STEPPING = (start, stepping, tangent, record, nudges, twopoint, closed, newton_band, newton_terms, newton_paths)
_ALL = (*_STEPPING, echo, replay, adjoint, initial_value, naive, ends, periodic)
_SWEEPING = (*_ALL, doubled, convolution)  # of systems with forces, whose method has what it calls
_ESTIMATORS = (OneSided, Centered, Echo, Holomorphic, Exact, Adjoint, NaiveForward, ConvolutionAction)


def cost_list(cost: Cost | Sequence[Cost] | None) -> tuple[Cost, ...]:
    """A cost, or a list of costs that are summed."""
    if cost is None:
        return ()
    if isinstance(cost, Cost):
        return (cost,)
    if not isinstance(cost, (list, tuple)):
        raise invalid("cost", "a lep.Cost or a list of them", repr(cost))
    return tuple(cost)


@functools.cache
def _kernels_of(parts: tuple[ModuleType, ...]) -> tuple[Callable, ...]:
    return tuple(function for part in parts for function in kernels_of(part))


def kernels_for(costs: Sequence[Cost], forced: bool = False) -> tuple[Callable, ...]:
    """The kernels of a module: those for trajectories, and with a cost those for gradients."""
    return _kernels_of(_STEPPING if not costs else _SWEEPING if forced else _ALL)


def potentials_of(boundary: Any, grid: Any) -> tuple[Cost, ...]:
    """Potentials at the ends, as costs of no weight."""
    return boundary.silent(grid.steps) if isinstance(boundary, Ends) and isinstance(grid, Grid) else ()


def problem_of(
    system: Definition, grid: Grid, cost: Any, options: dict[str, Any], boundary: Any = None,
    stages: int | None = None,
) -> Problem:  # fmt: skip
    """The problem with the kernels it needs; it knows the parameters of potentials at the boundary."""
    costs = (*cost_list(cost), *potentials_of(boundary, grid))
    problem = Problem(system, grid, costs, kernels=kernels_for(costs, system.forced), **options)
    if problem.method.name == "gauss":
        problem.stages = check_stages(stages)
    elif stages is not None:
        raise invalid("stages", "given with method='gauss' alone", f"method {problem.method.name!r}")
    return problem


def gradient(
    system: Definition, boundary: Boundary | Equilibrium | Thermal, grid: Grid | None = None, cost: Any = None, *,
    estimator: Estimator | None = None, save: Any = None, on_failure: str = "raise", stability: str = "check",
    progress: bool = False, retrace: Any = None, dtype: Any = float, threads: int | None = None,
    stages: int | None = None, input_gradients: bool = False, **options: Any,
) -> Gradient:  # fmt: skip
    """See :meth:`lagrangian_eqprop.System.gradient`."""
    check_on_failure(on_failure)
    estimator = Exact() if estimator is None else estimator
    check_kind(estimator)
    if not cost_list(cost):
        raise invalid("cost", "a lep.Cost or a non-empty list of them", repr(cost))
    check_choices(retrace, dtype, threads)
    if isinstance(boundary, Equilibrium):
        paths = {"method": options.pop("method", None), "order": options.pop("order", None)}
        check_static(grid, retrace=retrace, threads=threads, stages=stages, **paths)
        return equilibrium.gradient(
            system, boundary, cost_list(cost), estimator=estimator, save=save, on_failure=on_failure, dtype=dtype,
            **options,
        )  # fmt: skip
    if isinstance(boundary, Thermal):
        others = {"save": save, "retrace": retrace, "threads": threads, "stages": stages}
        others |= {"method": options.pop("method", None), "order": options.pop("order", None)}
        check_static(grid, **others)
        options.pop("compiled", None)
        return thermal.gradient(system, boundary, cost_list(cost), estimator=estimator, dtype=dtype, **options)
    if grid is None:
        raise invalid("grid", "a lep.Grid", "None")
    fixed = FixedPoint() if isinstance(retrace, str) and retrace == "bits" else retrace
    if isinstance(fixed, FixedPoint) and not (isinstance(boundary, Initial) and isinstance(estimator, Exact)):
        raise invalid("retrace", "'bits' for Initial and Exact alone", f"{boundary!r} and {estimator!r}")
    if isinstance(fixed, FixedPoint) and (save is not None or dtype not in (float, np.float64, "float64")):
        raise invalid("retrace", "'bits' without save, and in float64", f"save={save!r} and dtype={dtype!r}")
    limits.check_gradient(system, boundary, estimator, input_gradients)
    problem = problem_of(system, grid, cost, options, boundary, stages)
    check_action(problem, boundary)
    check_estimator(problem, boundary, estimator)
    if isinstance(estimator, Echo):
        if not isinstance(boundary, Initial):
            must = "other than Echo where there is no free run: an echo begins where that ended"
            raise invalid("estimator", must, repr(estimator))
        if estimator.ranges:
            coarse = {**options, "parameters": quantised(problem, estimator)}
            problem = problem_of(system, grid, cost, coarse, boundary, stages)
    if isinstance(estimator, Holomorphic):
        check_analytic(problem)
    if isinstance(estimator, NaiveForward) and not isinstance(boundary, Initial):
        raise invalid("boundary", "lep.Initial with NaiveForward", type(boundary).__name__)
    if isinstance(boundary, Ends):
        if system.constraints:
            between = constrained_ends(problem, boundary, options)
            found = ends.gradient(between.wider, between.boundary, estimator, save, on_failure, between)
        else:
            found = ends.gradient(problem, boundary, estimator, save, on_failure)
    elif isinstance(boundary, Periodic):
        found = periodic.gradient(problem, boundary, estimator, save, on_failure)
    else:
        check_boundary(boundary, Initial)
        found = _initial(
            problem, boundary, estimator, save, on_failure, stability, progress, fixed, dtype, threads
        )  # fmt: skip
    if input_gradients:
        slopes = inputs.input_gradients(problem, boundary, estimator, np.atleast_1d(found.success))
        return dataclasses.replace(found, inputs=InputGradients(slopes))
    return found


def check_kind(estimator: Any) -> None:
    if not isinstance(estimator, _ESTIMATORS):
        names = ", ".join(kind.__name__ for kind in _ESTIMATORS)
        raise invalid("estimator", f"an instance of {names}", repr(estimator))


def check_on_failure(on_failure: str) -> None:
    if on_failure not in ("raise", "return"):
        raise invalid("on_failure", "'raise' or 'return'", repr(on_failure))


def check_static(grid: Any, **paths: Any) -> None:
    """An equilibrium has no time, and none of the choices that concern paths."""
    for name, value in {"grid": grid, **paths}.items():
        if value is not None:
            raise invalid(name, "left out at an equilibrium", repr(value))


def check_choices(retrace: Any, dtype: Any, threads: int | None) -> None:
    if not isinstance(retrace, FixedPoint) and retrace not in (None, "store", "integrate", "bits"):
        raise invalid("retrace", "'store', 'integrate', 'bits', a lep.FixedPoint or None", repr(retrace))
    if dtype not in (float, np.float64, np.float32, "float64", "float32"):
        raise invalid("dtype", "'float64' or 'float32'", repr(dtype))
    if threads is not None and (not isinstance(threads, (int, np.integer)) or isinstance(threads, bool) or threads < 1):
        raise invalid("threads", "a positive integer or None", repr(threads))


def check_analytic(problem: Problem) -> None:
    """Holomorphic needs functions of a complex variable; some would compile to a plausible wrong answer."""
    for term in (*problem.system.terms, *problem.system.constraints, *problem.bound.terms):
        for name in sorted(NONANALYTIC[name] for name in term.graph.functions([term.root]) & NONANALYTIC.keys()):
            raise ValueError(
                f"estimator must not be Holomorphic where functions are not analytic; {term.label} contains "
                f"{name}; use Exact or Centered"
            )


def _looped(
    problem: Problem, begin: Start, estimator: Estimator, keeper: Keeper | None, ticks: Any
) -> tuple[initial_value.FreeRun, Any]:  # fmt: skip
    """The free run and the estimate by loops over places; once more without the samples that failed."""
    store = isinstance(estimator, Adjoint) or problem.system.forced
    balance = initial_value.balances(problem, estimator)
    free = initial_value.free_run(problem, begin, store, (keeper,) if keeper else (), ticks, balance)
    parts = None
    clean = free.failures.good.all()  # a sample that failed has left its mark on the sums over samples
    while free.failures.good.any():
        if not clean:
            free = initial_value.free_run(problem, without(begin, free.failures), store, balance=balance)
        before = free.failures.good.sum()
        if isinstance(estimator, NaiveForward):
            parts = naive.naive(problem, free, estimator.beta, ticks)
        else:
            parts = initial_value.estimate(problem, free, estimator, ticks)
        clean = free.failures.good.sum() == before
        if clean:
            break
        parts = None
    return free, parts


def _gauss(
    problem: Problem, begin: Start, stability: str, retrace: str | None, ticks: Any, **options: Any
) -> Any:  # fmt: skip
    return exact_gauss(problem, begin, problem.stages, ticks)


def _initial(
    problem: Problem, boundary: Initial, estimator: Estimator, save: Any, on_failure: str, stability: str,
    progress: bool, retrace: Any, dtype: Any, threads: int | None,
) -> Gradient:  # fmt: skip
    from ..progress import bar

    lowered: Callable | None = exact if applies(problem) else products.exact if multiplies(problem) else None
    if problem.method.name == "gauss":
        if not isinstance(estimator, Exact) or save is not None:
            must = "Exact, without save, for method='gauss' from initial data"
            raise invalid("estimator", must, repr(estimator))
        check_problem(problem, problem.stages, dtype)
        lowered = _gauss
    if isinstance(retrace, FixedPoint):
        lowered = functools.partial(exact_fixed, retrace)
    fast = isinstance(estimator, Exact) and save is None and lowered is not None
    begin = Start(problem, boundary, "later" if fast and stability == "check" else stability)
    samples = begin.batch or 1
    keeper = Keeper(problem, begin.batch, save) if save is not None else None
    with bar(progress, 2*problem.grid.steps, "steps") as ticks:
        if fast and lowered is not None:
            parts, losses, failures = lowered(problem, begin, stability, retrace, ticks, dtype=dtype, threads=threads)
            explicit, free = np.zeros_like(problem.theta), None
        else:
            free, parts = _looped(problem, begin, estimator, keeper, ticks)
            losses, failures, explicit = free.losses, free.failures, free.explicit
    good = failures.good
    message = failures.message(problem.grid)
    if not good.all() and (on_failure == "raise" or not good.any()):
        raise ConvergenceError(message)
    assert parts is not None
    gq, gv = parts.dq.copy(), np.zeros_like(begin.q)
    pull = np.zeros_like(problem.theta)
    gq_at_v = gq.copy()
    if problem.method.first_order:
        structured.chain(problem, begin, parts, pull)
        if isinstance(estimator, Adjoint):
            pull[:] = 0.0
    elif problem.method.explicit and boundary.v is None:
        gv = begin.masses*parts.dp
    elif fits(problem, samples) or multiplies(problem):
        gp = np.where(good[:, None], parts.dp, 0.0)
        found = Nodes(problem, np.zeros(1, int)).chain(begin.q[:, None], begin.v[:, None], gp[:, None])
        gq_at_v, gv, pull = gq + found[0][:, 0], found[1][:, 0], found[2]
    else:
        env = problem.env(0, 1, labels="nodes")
        problem.run("chain", env, begin.q, begin.v, parts.dp, gq_at_v, gv, pull, good)
    total = parts.g + explicit
    if boundary.v is not None or problem.method.first_order:
        total = total + pull
    if boundary.v is not None:
        gq = gq_at_v
    if problem.system.constraints:
        constrained.chain(problem, begin, parts.dp, gq, total, good)
    count = int(good.sum())
    for part in (gq, gv, parts.dp):
        part[~good] = np.nan
    batched = begin.batch is not None

    def fold(value: ndarray, given: ndarray) -> ndarray:
        """The derivative of the mean, in the shape of what was given."""
        value = value/count
        if given.ndim == 2 and len(given) == samples:
            return value
        total = value.sum(0, keepdims=given.ndim == 2)
        return total if good.all() else np.nansum(value, 0, keepdims=given.ndim == 2)

    other = boundary.v if boundary.v is not None else boundary.p
    shown = losses if batched else losses[0]
    initial: InitialGradient | None = InitialGradient(
        fold(gq, boundary.q), *((None, None) if other is None else (fold(gv, other), fold(parts.dp, other)))
    )  # fmt: skip
    residual: Callable | None = None
    if parts.ends is not None and free is not None:
        run, moved, initial = free, parts.ends, None
        residual = lambda: problem.shaped(naive.missing(problem, run, moved), begin.batch, count)  # noqa: E731
    path, nudged = (None, None) if free is None else _saved(problem, estimator, save, keeper, free)
    return Gradient(
        loss=float(losses[good].mean()), losses=shown, parameters=problem.shaped(total, begin.batch, count),
        success=good if batched else bool(good[0]), message=message, error=parts.error,
        initial=initial, path=path, nudged=nudged, _residual=residual,
    )  # fmt: skip


def _saved(problem: Problem, estimator: Estimator, save: Any, keeper: Any, free: Any) -> tuple[Any, Any]:
    if keeper is None:
        return None, None
    path = keeper.trajectory(free.start, free.failures)
    if not isinstance(estimator, (OneSided, Centered)):
        return path, None
    return path, nudged_initial(problem, free, abs(estimator.beta), save, estimator.nudge == "linearised")


def nudged_initial(
    problem: Problem, free: initial_value.FreeRun, beta: float, save: Any, linearised: bool = False
) -> Any:
    """The nudged final-value trajectory."""
    keeper = Keeper(problem, free.start.batch, save, nudged=True)
    blocks: list[ndarray] = []
    betas = np.array([0.0, beta] if linearised else [beta])
    initial_value.echo_at(problem, free, betas, np.zeros(len(betas)), blocks, None, linearised)
    found = [
        (first, nodes[:, -1, :, 0], nodes[:, -1, :, 1])
        for (first, _), nodes in zip(problem.each_block(2*free.q.size*len(betas)), blocks[::-1], strict=True)
    ]
    for block in found:
        keeper(*block)
    # the action of a composition needs its sub-steps
    kept = save == "all" and problem.grid.substeps > 1
    return keeper.trajectory(free.start, free.failures, found if kept else ())
