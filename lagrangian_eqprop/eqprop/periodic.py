"""Gradients of closed paths: nudged paths on the same circle.

With F = S_d - beta C - mu g + E N h stationary by the nodes, by the multipliers mu of phase conditions and, where the
energy E is given, by the step h (``solvers.periodic``), every gradient is dJ/ds = d_beta(-F_s): nothing is left at
the seam, since P . dq is the same on both sides. By parameters that is d_beta(-S_theta) + C_theta, by data

    fixed period      dJ/dT = d_beta(-S_h + beta C_h)/N        (inputs and targets keep their values at the nodes)
    free period       dJ/dE = -d_beta T
    phase {i: value}  dJ/dvalue = -d_beta mu
    twist             dJ/dR = -d_beta(P_N q_0^T)

A phase condition is part of the question: of all shifts of an orbit in time J is that of the one it picks, and the
gradient follows that one. A cost that no shift changes does not depend on it. The limit beta to 0 is the linear
response, the bordered cyclic Hessian times (dq, dh, dmu) = (C_q, C_h, 0).

Sources: Scellier (2021); Pourcel et al. (2025, arXiv:2506.06248); Massar (2025) for periodic paths.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from ..boundary import Periodic
from ..compiler.contract import Environment
from ..compiler.kernel import entry
from ..errors import ConvergenceError
from ..methods.verlet import new_work, prepare
from ..methods.verlet_action import interval_parameters
from ..solvers.nudges import nudge_value
from ..solvers.period import action_by_step, cost_by_step
from ..solvers.periodic import Cycle, Orbit, as_trajectory, free_orbits, moved_orbits
from ..solvers.problem import Problem
from ..solvers.twopoint import judge
from .estimators import Adjoint, Centered, Estimator, Exact, Holomorphic, OneSided, contrast, half_circle
from .radius import Parts, search_radius
from .result import Gradient, PeriodicGradient


@entry
def orbit_parameters(env: Environment, b: int, q: ndarray, weight: complex, g: ndarray) -> None:
    """g += weight d_theta(-S_d)."""
    work = new_work(env, q[0])
    prepare(env, b, q[0], q[0], work)
    for k in range(q.shape[0] - 1):
        interval_parameters(env, b, k, q[k], q[k + 1], g, -weight, work)


@entry
def orbit_cost(env: Environment, b: int, q: ndarray) -> Any:
    """C."""
    return nudge_value(env, b, q)


def gradient(problem: Problem, boundary: Periodic, estimator: Estimator, save: Any, on_failure: str) -> Gradient:
    """The gradient of closed paths; see :func:`lagrangian_eqprop.eqprop.gradient.gradient`."""
    cycle = Cycle(problem, boundary)
    orbits = free_orbits(cycle)
    judge([orbit.message for orbit in orbits], on_failure)
    g, losses = np.zeros_like(problem.theta), np.full(cycle.samples, np.nan)
    data = np.full((cycle.samples, _width(cycle)), np.nan)
    error: float | None = None
    for b, orbit in enumerate(orbits):
        if orbit.message:
            continue
        try:
            part = _estimate(cycle, b, orbit, estimator)
        except ConvergenceError as failure:
            orbit.message = str(failure)
            continue
        env = cycle.clock(orbit.state.h)
        losses[b] = float(problem.run("orbit_cost", env, b, orbit.q))
        if problem.theta.size:
            mask = np.arange(b + 1) == b
            paths = np.broadcast_to(orbit.q, (b + 1, *orbit.q.shape)).copy()
            problem.run("explicit_parameters", env, paths, 0, cycle.nodes + 1, mask, g)
        g += part.g
        data[b] = part.dq[0]
        if part.error is not None:
            error = max(part.error, error or 0.0)
    messages = [orbit.message for orbit in orbits]
    message = judge(messages, on_failure)
    good = np.array([not text for text in messages])
    count, batched = int(good.sum()), cycle.batch is not None
    path = nudged = None
    if save is not None:
        path = as_trajectory(cycle, orbits)
        if isinstance(estimator, (OneSided, Centered)):
            beta = abs(estimator.beta)
            nudged = as_trajectory(cycle, moved_orbits(cycle, orbits, beta), beta)
    return Gradient(
        loss=float(losses[good].mean()), losses=losses if batched else losses[0],
        parameters=problem.shaped(g, cycle.batch, count), success=good if batched else bool(good[0]), message=message,
        periodic=_data(cycle, data, good), error=error, path=path, nudged=nudged,
    )  # fmt: skip


def _width(cycle: Cycle) -> int:
    return 1 + cycle.conditions + cycle.size**2


def _data(cycle: Cycle, data: ndarray, good: ndarray) -> PeriodicGradient:
    """Derivatives of the mean by the data of the boundary, in the shapes given."""
    data = data/good.sum()

    def fold(column: ndarray, given: ndarray) -> ndarray:
        if given.ndim and given.size == cycle.samples:
            return column
        return np.full(given.shape, column[good].sum())

    d, pins = cycle.size, list(cycle.pins)
    energy, twist = cycle.boundary.energy, cycle.boundary.twist
    return PeriodicGradient(
        period=float(data[good, 0].sum()) if energy is None else None,
        energy=None if energy is None else fold(data[:, 0], energy),
        phase={i: fold(data[:, 1 + j], cycle.pins[i]) for j, i in enumerate(pins)} if pins else None,
        twist=None if twist is None else data[good, -d*d:].sum(0).reshape(d, d),
    )  # fmt: skip


def _estimate(cycle: Cycle, b: int, free: Orbit, estimator: Estimator) -> Parts:
    """The parts of one sample; ``dq`` (1, width) holds the derivatives by the boundary's data."""
    if isinstance(estimator, Exact):
        return _exact(cycle, b, free)
    if isinstance(estimator, Adjoint):
        return _adjoint(cycle, b, free)
    if isinstance(estimator, Holomorphic):
        return _holomorphic(cycle, b, free, estimator)
    betas, coefficients = contrast(estimator)
    orbits = []
    for beta in betas:
        (moved,) = _moved(cycle, b, free, [float(beta)]) if beta else (free,)
        if moved is None or moved.index != free.index:
            raise ConvergenceError(
                f"the nudged path of sample {b} leaves the branch of the free one at beta = {beta:.3g} (Morse index "
                f"{free.index} against {moved.index if moved else 'none'}); take a smaller beta, or Exact"
            )
        orbits.append(moved)
    return _contrast(cycle, b, free, orbits, betas, coefficients)


def _moved(cycle: Cycle, b: int, free: Orbit, betas: list[Any]) -> list[Orbit | None]:
    return [cycle.nudged(b, free, beta) for beta in betas]


def _contrast(
    cycle: Cycle, b: int, free: Orbit, orbits: list[Orbit], betas: ndarray, coefficients: ndarray
) -> Parts:
    """The sum over nudged paths of coefficient times what the gradient is read from."""
    kind = np.result_type(betas, float)
    g, data = np.zeros(cycle.problem.theta.shape, kind), np.zeros(_width(cycle), kind)
    start = _readings(cycle, b, free, 0.0)
    for orbit, beta, coefficient in zip(orbits, betas, coefficients.astype(kind), strict=True):
        cycle.problem.run("orbit_parameters", cycle.clock(orbit.state.h), b, orbit.q, coefficient, g)
        data += coefficient*(_readings(cycle, b, orbit, beta) - start)  # the coefficients add up to nothing
    return Parts(g, data[None], np.zeros((1, 0)))


def _readings(cycle: Cycle, b: int, orbit: Orbit, beta: Any) -> ndarray:
    """-F by the boundary's data: period or energy, phases, twist."""
    s = orbit.state
    by_clock = -s.h*cycle.nodes if cycle.free else -cycle.by_step(b, orbit.q, s.h, beta).h/cycle.nodes
    return np.concatenate([[by_clock], -s.mu, -np.outer(orbit.p[-1], s.x[0]).ravel()])


def _exact(cycle: Cycle, b: int, free: Orbit) -> Parts:
    """The limit of no nudge at all."""
    slope, by_clock = _cost_slopes(cycle, b, free)
    cycle.factorise(b, free.state, 0.0)
    return _respond(cycle, b, free, cycle.solve(cycle.pull(slope), by_clock), slope)


def _cost_slopes(cycle: Cycle, b: int, free: Orbit) -> tuple[ndarray, ndarray]:
    """The derivatives of C by nodes, and by the step where that is unknown; zeros for the phase conditions."""
    h = free.state.h
    slope = cycle.slope(b, free.q, h, 1.0)[2]
    clock = [cost_by_step(cycle.problem, b, free.q, h, cycle.env.theta).h] if cycle.free else []
    return slope, np.append(clock, np.zeros(cycle.conditions))


def _respond(cycle: Cycle, b: int, free: Orbit, response: tuple[ndarray, Any, ndarray], slope: ndarray) -> Parts:
    """What follows from the response of nodes, step and multipliers to the nudge."""
    dx, dh, dmu = response
    problem, h, q = cycle.problem, free.state.h, free.q
    theta, dq = cycle.env.theta, cycle.lift(dx)
    g = np.zeros_like(problem.theta)
    problem.run("path_response", cycle.clock(h), b, q, dq, g)
    step = action_by_step(problem, b, q, h, theta)
    parts = cycle.blocks(b, q, h, 0.0)
    dP = parts.H12[-1].T @ dq[-2] + parts.H22[-1] @ dq[-1] - slope[-1]
    if cycle.free:
        g -= step.htheta*dh
        dP += step.hq[-1]*dh
        by_clock = -cycle.nodes*dh
    else:
        direct = cost_by_step(problem, b, q, h, theta).h
        by_clock = (direct - np.sum(step.hq*dq))/cycle.nodes
    twist = -np.outer(dP, q[0]) - np.outer(free.p[-1], dx[0])
    return Parts(g, np.concatenate([[by_clock], -dmu, twist.ravel()])[None], np.zeros((1, 0)))


def _adjoint(cycle: Cycle, b: int, free: Orbit) -> Parts:
    """Lagrange multipliers of all equations together, by a general sparse solver."""
    from scipy.sparse import block_array, coo_array, csc_array, eye_array
    from scipy.sparse.linalg import splu

    slope, by_clock = _cost_slopes(cycle, b, free)
    N, d, R, s = cycle.nodes, cycle.size, cycle.twist, free.state
    parts = cycle.blocks(b, free.q, s.h, 0.0)
    node, row, column = np.indices((N, d, d))
    here, there = node*d + row, node*d + column
    values, rows, columns = [], [], []
    for block, i, j in ((parts.H11, 0, 0), (parts.H12, 0, d), (parts.H12.swapaxes(1, 2), d, 0), (parts.H22, d, d)):
        values.append(block.ravel())
        rows.append((here + i).ravel())
        columns.append((there + j).ravel())
    full = coo_array((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=((N + 1)*d,)*2)
    seam = csc_array((R.T.ravel(), np.tile(np.arange(d), d), np.append(np.arange(d + 1)*d, np.full((N - 1)*d, d*d))))
    closing = block_array([[eye_array(N*d)], [seam]], format="csc")  # all nodes of the unknown ones
    border = -cycle.slopes(b).reshape(N*d, -1)
    corner = np.zeros((cycle.free + cycle.conditions,)*2)
    if cycle.free:
        step = action_by_step(cycle.problem, b, free.q, s.h, cycle.env.theta)
        border = np.column_stack([cycle.pull(step.hq).ravel(), border])
        corner[0, 0] = step.hh
    jacobian = closing.T @ full.tocsc() @ closing
    if len(corner):
        jacobian = block_array([[jacobian, csc_array(border)], [csc_array(border.T), csc_array(corner)]], format="csc")
    right = np.concatenate([cycle.pull(slope).ravel(), by_clock])
    multiplier = -splu(jacobian.tocsc()).solve(right, trans="T")
    nodes, rest = multiplier[: N*d].reshape(N, d), multiplier[N*d :]
    return _respond(cycle, b, free, (-nodes, -rest[0] if cycle.free else 0.0, -rest[cycle.free :]), slope)


def _holomorphic(cycle: Cycle, b: int, free: Orbit, estimator: Holomorphic) -> Parts:
    unit, counts = half_circle(estimator.points)

    def circle(radius: float) -> tuple[Parts, ndarray] | None:
        betas = radius*unit
        orbits = [orbit for orbit in _moved(cycle, b, free, [complex(beta) for beta in betas]) if orbit is not None]
        if len(orbits) < len(unit):
            return None
        coefficients = counts*unit.conj()/(estimator.points*radius)
        parts = _contrast(cycle, b, free, orbits, betas, coefficients)
        start = _readings(cycle, b, free, 0.0)
        moved = [np.append((orbit.q - free.q).ravel(), _readings(cycle, b, orbit, beta) - start)
                 for orbit, beta in zip(orbits, betas, strict=True)]  # fmt: skip
        return Parts(parts.g.real.copy(), parts.dq.real.copy(), parts.dp), np.stack(moved)[None]

    first = abs(estimator.radius) if estimator.radius is not None else _first_radius(cycle, b, free)
    return search_radius(circle, first, estimator)


def _first_radius(cycle: Cycle, b: int, free: Orbit) -> float:
    """A nudge that moves the path by a tenth of its size, judged by the linear response."""
    slope, by_clock = _cost_slopes(cycle, b, free)
    cycle.factorise(b, free.state, 0.0)
    dx, dh, _ = cycle.solve(cycle.pull(slope), by_clock)
    speed = max(np.abs(dx).max(), abs(dh/free.state.h)*np.abs(free.q).max())
    return float(np.clip(0.1*max(np.abs(free.q).max(), 1e-3)/max(speed, 1e-300), 1e-9, 1e3))
