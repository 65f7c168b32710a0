"""Trajectories, free and nudged, for every boundary condition."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..boundary import Boundary, Ends, Initial, Periodic, check_boundary
from ..errors import ConvergenceError, invalid
from ..grid import Grid
from ..progress import bar
from ..solvers import limits, periodic, products, swept, twopoint
from ..solvers.failures import Failures
from ..solvers.forward import forward
from ..solvers.gauss import gauss_trajectory, refuse_gauss
from ..solvers.initial import integrate
from ..solvers.problem import bind
from ..solvers.record import Keeper
from ..solvers.refined import Refined
from ..solvers.start import Start
from ..solvers.unrolled import applies
from ..symbols.definition import Definition, lookup
from ..trajectory import Trajectory
from . import initial as initial_value
from .constrained_ends import constrained_ends
from .dissipation import check_action, check_nudge
from .gradient import check_choices, check_on_failure, cost_list, nudged_initial, potentials_of, problem_of


def trajectory(
    system: Definition, boundary: Boundary, grid: Grid, *, cost: Any, nudge: float, save: Any, stability: str,
    on_failure: str, progress: bool, dtype: Any, threads: int | None, stages: int | None, **options: Any,
) -> Trajectory:  # fmt: skip
    """See :meth:`lagrangian_eqprop.System.trajectory`."""
    check_on_failure(on_failure)
    check_choices(None, dtype, threads)
    if not isinstance(nudge, (int, float, np.integer, np.floating)) or not np.isfinite(nudge):
        raise invalid("nudge", "a finite real number", repr(nudge))
    if nudge and not cost_list(cost):
        raise invalid("cost", "given for a nudged trajectory", repr(cost))
    if not nudge and cost is None and options.get("targets"):
        raise invalid("targets", "given together with a cost", "no cost")
    if not nudge:
        options["parameters"] = _own(system, cost, options.get("parameters"), potentials_of(boundary, grid))
        cost, options["targets"] = None, None
    problem = problem_of(system, grid, cost, options, boundary, stages)
    check_action(problem, boundary)
    check_nudge(problem, nudge)
    limits.check_boundary(system, boundary)
    if isinstance(boundary, Ends):
        with bar(progress, 1, "paths") as ticks:
            if system.constraints:
                return constrained_ends(problem, boundary, options).solved(on_failure, float(nudge), ticks)
            return twopoint.trajectory(problem, boundary, on_failure, float(nudge), ticks)
    if isinstance(boundary, Periodic):
        with bar(progress, 1, "paths") as ticks:
            return periodic.trajectory(problem, boundary, on_failure, float(nudge), ticks)
    check_boundary(boundary, Initial)
    if problem.method.name == "gauss":
        if nudge:
            refuse_gauss(problem)
        with bar(progress, grid.steps, "steps") as ticks:
            made, failed = gauss_trajectory(problem, boundary, problem.stages, save, stability, dtype, ticks)
        return settled(made, failed, on_failure, problem.grid)
    chain = not nudge and dtype not in (np.float32, "float32") and swept.applies(problem, samples_of(boundary))
    unrolled = not nudge and not chain and applies(problem)
    dense = not nudge and not chain and products.applies(problem)
    lowered = forward if unrolled else products.forward if dense else None
    start = Start(problem, boundary, "later" if (chain or lowered) and stability == "check" else stability)
    with bar(progress, grid.steps, "steps") as ticks:
        if nudge:
            free = initial_value.free_run(problem, start, False, (), ticks)
            failures = free.failures
            found = nudged_initial(problem, free, float(nudge), save) if failures.good.any() else None
        elif chain:
            keeper = Keeper(problem, start.batch, save)
            keeper.q, keeper.p, failures = swept.forward(problem, start, keeper.kept, stability, ticks)
            found = keeper.trajectory(start, failures) if failures.good.any() else None
        elif lowered:
            keeper = Keeper(problem, start.batch, save)
            keeper.q, keeper.p, failures = lowered(
                problem, start, keeper.kept, stability, ticks, dtype=dtype, threads=threads
            )  # fmt: skip
            found = keeper.trajectory(start, failures) if failures.good.any() else None
        else:
            keeper = Keeper(problem, start.batch, save)
            q, p, guess = start.q.copy(), start.p.copy(), start.v.copy()
            failures = integrate(problem, q, p, guess, observers=(keeper,), progress=ticks)
            found = keeper.trajectory(start, failures) if failures.good.any() else None
    return settled(found, failures, on_failure, problem.grid)


def samples_of(boundary: Initial) -> int:
    """How many samples the initial data have."""
    states = (boundary.q, boundary.v, boundary.p)
    return max(len(state) if state is not None and state.ndim > 1 else 1 for state in states)


def settled(found: Trajectory | None, failures: Failures, on_failure: str, grid: Refined) -> Trajectory:
    """What was found, where failures allow it."""
    if found is None or (on_failure == "raise" and not failures.good.all()):
        raise ConvergenceError(failures.message(grid))
    return found


def _own(system: Definition, cost: Any, parameters: Any, potentials: tuple[Any, ...]) -> Any:
    """The system's own parameters of those given: a free path owes nothing to a readout in the cost."""
    if not parameters or cost is None:
        return parameters
    known, own = (bind(system, (*costs, *potentials)).parameters for costs in (cost_list(cost), ()))
    return {key: value for key, value in parameters.items() if lookup(key, known, "parameters") in own}
