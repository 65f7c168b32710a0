"""Initial-value problems: stepping the discrete map, block by block."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy import ndarray

from ..boundary import Initial
from ..compiler.contract import Environment, hessian
from ..compiler.kernel import kernel
from ..errors import AccuracyWarning, ConvergenceError, invalid
from ..methods.common import copy, node_energy, node_momentum
from ..methods.stability import largest_stiffness
from ..methods.verlet import (  # each method defines these; named here to be read and checked
    finish,
    interval_action,
    new_work,
    node_velocity,
    prepare,
    start,
    step,
)  # fmt: skip
from ..trajectory import Trajectory
from .problem import Problem


@kernel
def advance(
    env: Environment, count: int, q: ndarray, p: ndarray, guess: ndarray, nodes_q: ndarray, nodes_p: ndarray,
    failed: ndarray, residual: ndarray,
) -> None:  # fmt: skip
    """``count`` steps of every sample that has not failed, and every node on the way."""
    work = new_work(env, q[0])
    for b in range(q.shape[0]):
        if failed[b] >= 0:
            continue
        x, y = q[b], p[b]
        prepare(env, b, x, guess[b], work)
        start(env, b, 0, x, work)
        copy(x, nodes_q[b, 0])
        copy(y, nodes_p[b, 0])
        for j in range(count):
            left = step(env, b, j, j + 1, x, y, work)
            copy(x, nodes_q[b, j + 1])
            copy(y, nodes_p[b, j + 1])
            if not left <= 0.0:
                failed[b] = j + 1
                residual[b] = left
                break
        finish(guess[b], work)


@kernel
def initial_momenta(env: Environment, q: ndarray, v: ndarray, p: ndarray) -> None:
    """p = L_v(q, v, t) at label 0."""
    for b in range(q.shape[0]):
        node_momentum(env, b, 0, q[b], v[b], p[b])


@kernel
def velocities(env: Environment, nodes_q: ndarray, nodes_p: ndarray, v: ndarray, energy: ndarray) -> None:
    """Velocities and energies at nodes; nan where p = L_v(q, v) was not solved. v[:, 0] holds the first guess."""
    work = new_work(env, nodes_q[0, 0])
    for b in range(nodes_q.shape[0]):
        prepare(env, b, nodes_q[b, 0], v[b, 0], work)
        for j in range(nodes_q.shape[1]):
            if j > 0:
                copy(v[b, j - 1], v[b, j])
            left = node_velocity(env, b, j, nodes_q[b, j], nodes_p[b, j], v[b, j], work)
            if left <= 0.0:
                energy[b, j] = node_energy(env, b, j, nodes_q[b, j], nodes_p[b, j], v[b, j])
            else:
                for i in range(v.shape[2]):
                    v[b, j, i] = np.nan
                energy[b, j] = np.nan


@kernel
def actions(env: Environment, nodes_q: ndarray, total: ndarray) -> None:
    """total += the sum of L_d over the intervals between nodes."""
    work = new_work(env, nodes_q[0, 0])
    for b in range(nodes_q.shape[0]):
        prepare(env, b, nodes_q[b, 0], nodes_q[b, 0], work)
        for k in range(nodes_q.shape[1] - 1):
            total[b] += interval_action(env, b, k, nodes_q[b, k], nodes_q[b, k + 1], work)


@kernel
def mass_matrix(env: Environment, q: ndarray, v: ndarray, M: ndarray) -> None:
    """L_vv of sample 0 at label 0, flat."""
    hessian(env, 0, 0, env.signals[0], q, v, 0.0, 0.0, 0.0, 1.0, M)


@kernel
def masses(env: Environment, q: ndarray, m: ndarray) -> None:
    """The constant masses of every sample, for an explicit method."""
    work = new_work(env, q[0])
    for b in range(q.shape[0]):
        prepare(env, b, q[b], q[b], work)
        copy(work[0], m[b])


@kernel
def stiffest(env: Environment, q: ndarray, rounds: int, m: ndarray, values: ndarray) -> None:
    """Masses, and the largest eigenvalue of M^-1 V'', of every sample."""
    work = new_work(env, q[0])
    for b in range(q.shape[0]):
        prepare(env, b, q[b], q[b], work)
        copy(work[0], m[b])
        values[b] = largest_stiffness(env, b, q[b], rounds, work)


class Start:
    """Initial data of a problem, batched, with the momenta that they mean."""

    def __init__(self, problem: Problem, boundary: Initial, stability: str = "check") -> None:
        self.boundary = boundary
        self.failed: Failures | None = None
        given = {"q": boundary.q, "v": boundary.v, "p": boundary.p}
        self.batch = problem.batch_of(given)
        samples = self.batch or 1
        size = problem.system.size

        def spread(state: ndarray) -> ndarray:
            return np.array(np.broadcast_to(state, (samples, size)))

        self.q = spread(boundary.q)
        env = problem.env(0, 1, labels="nodes")
        if stability not in ("check", "ignore"):
            raise invalid("stability", "'check' or 'ignore'", repr(stability))
        given_v = boundary.v is not None
        self.v = spread(boundary.v) if boundary.v is not None else np.zeros((samples, size))
        self.p = spread(boundary.p) if boundary.p is not None else np.zeros((samples, size))
        if problem.method.explicit:
            m = explicit_masses(problem, env, self.q, stability)
            self.p, self.v = (m*self.v, self.v) if given_v else (self.p, self.p/m)
            return
        check_regular(problem, env, self.q, self.v)
        if given_v:
            run(problem, "initial_momenta", env, self.q, self.v, self.p)
            return
        v = self.v[:, None].copy()
        run(problem, "velocities", env, self.q[:, None], self.p[:, None], v, np.zeros((samples, 1)))
        if not np.isfinite(v).all():
            text = "p = L_v(q, v) has no solution near v = 0 for the initial momentum; give v instead of p"
            raise ConvergenceError(text)
        self.v = v[:, 0]


def run(problem: Problem, kernel_name: str, *arguments: Any) -> Any:
    """Call a kernel; plain Python must not warn where compiled code would not."""
    function = getattr(problem.module, kernel_name)
    if problem.compiled:
        return function(*arguments)
    with np.errstate(all="ignore"):
        return function(*arguments)


_REGULAR = "the Lagrangian must be regular: its mass matrix L_vv must be invertible; "


def check_regular(problem: Problem, env: Environment, q: ndarray, v: ndarray) -> None:
    """Refuse a Lagrangian whose mass matrix L_vv is singular at the start."""
    size = problem.system.size
    if not problem.sparse:
        M = np.zeros(size*size)
        run(problem, "mass_matrix", env, q[0], v[0], M)
        singular = np.linalg.svd(M.reshape(size, size), compute_uv=False)
        if not singular[-1] > 1e-14*singular[0]:
            raise ValueError(f"{_REGULAR}its singular values at the start reach down to {singular[-1]:.1e}")


def explicit_masses(problem: Problem, env: Environment, q: ndarray, stability: str) -> ndarray:
    """The masses of every sample; with ``stability="check"`` a step that is too large is refused before the first.

    A path beyond the limit may stay finite and wrong, so that waiting for nan would be no guard.
    """
    m, values = np.zeros_like(q), np.zeros(len(q))
    if stability == "check":
        rounds = int(np.clip(2_000_000//q.shape[1], 16, 100))
        run(problem, "stiffest", env, q, rounds, m, values)
    else:
        run(problem, "masses", env, q, m)
    for index in np.flatnonzero(~((m != 0) & np.isfinite(m)).all(0)):
        raise ValueError(f"{_REGULAR}{problem.coordinate_name(int(index))} has no kinetic energy")
    worst = float(values.max())
    number = problem.grid.step**2*worst
    if number >= 3:
        limit = 2/np.sqrt(worst)
        bound = f"below {limit:.4g} for Verlet (2 over the largest frequency at the start)"
        text = f"step must be {bound}; got {problem.grid.step:.4g}"
        if number >= 4:
            raise ValueError(text + "; take a smaller step, or stability='ignore' to study it")
        warnings.warn(text + ", which is close to the limit", AccuracyWarning, stacklevel=5)
    return m


class Failures:
    """Which samples failed, where, and with which residual."""

    def __init__(self, samples: int) -> None:
        self.step = np.full(samples, -1)
        self.residual = np.zeros(samples)
        self.back = np.zeros(samples, bool)

    @property
    def good(self) -> ndarray:
        return self.step < 0

    def settle(self, failed: ndarray, residual: ndarray, first: int, back: bool = False) -> None:
        """Take over what a block reports, by numbers of the whole grid."""
        new = (failed >= 0) & self.good
        self.step[new] = failed[new] + first
        self.residual[new] = residual[new]
        self.back[new] = back

    def message(self, grid: Any) -> str:
        bad = np.flatnonzero(~self.good)
        if not bad.size:
            return "converged"
        b = bad[0]
        k, left = int(self.step[b]), self.residual[b]
        way = "on the way back " if self.back[b] else ""
        stuck = np.isfinite(left) and left > 0
        what = f"Newton left a residual of {left:.1e}" if stuck else "the state or its loss became infinite"
        return (
            f"{bad.size} of {self.step.size} samples failed; sample {b} at step {k} {way}"
            f"(t = {grid.start + k*grid.step:.4g}): {what}; try a smaller step or other initial data"
        )


Observer = Callable[[int, ndarray, ndarray], None]


def integrate(
    problem: Problem, q: ndarray, p: ndarray, guess: ndarray, theta: ndarray | None = None,
    observers: tuple[Observer, ...] = (), failures: Failures | None = None, progress: Any = None,
) -> Failures:  # fmt: skip
    """Step all samples over the grid, in place; observers see (first node, nodes of q, nodes of p) of each block."""
    failures = failures or Failures(len(q))
    for first, count in problem.each_block(q.size):
        env = problem.env(first, count, theta)
        nodes = np.empty((2, len(q), count + 1, q.shape[1]), q.dtype)
        failed, residual = np.where(failures.good, -1, 0), np.zeros(len(q))
        run(problem, "advance", env, count, q, p, guess, nodes[0], nodes[1], failed, residual)
        failed[~failures.good] = -1
        _find_infinite(nodes, q, p, failed, residual, failures)
        failures.settle(failed, residual, first)
        if not failures.good.all():
            nodes[:, ~failures.good] = np.nan
        if not failures.good.any():
            break
        for observe in observers:
            observe(first, nodes[0], nodes[1])
        if progress is not None:
            progress.update(count)
    return failures


def _find_infinite(
    nodes: ndarray, q: ndarray, p: ndarray, failed: ndarray, residual: ndarray, failures: Failures
) -> None:  # fmt: skip
    """Samples that are no longer finite at the end of a block, and the step at which that began."""
    finite = np.isfinite(q).all(1) & np.isfinite(p).all(1)
    for b in np.flatnonzero(~finite & failures.good & (failed < 0)):
        failed[b], residual[b] = int(np.argmax(~np.isfinite(nodes[:, b]).all((0, 2)))), np.inf


def without(start: Start, failures: Failures) -> Start:
    """The same start, with the failed samples marked so that nothing is done for them."""
    start.failed = failures
    return start


class Keeper:
    """An observer that keeps the nodes ``save`` asks for, and makes a trajectory of them."""

    def __init__(self, problem: Problem, batch: int | None, save: Any, nudged: bool = False) -> None:
        steps, self.nudged = problem.grid.steps, nudged
        if save == "all":
            self.kept = np.arange(steps + 1)
        elif save == "last":
            self.kept = np.array([steps])
        elif isinstance(save, (int, np.integer)) and not isinstance(save, bool) and save >= 1:
            self.kept = np.unique(np.append(np.arange(0, steps + 1, int(save)), steps))
        else:
            raise invalid("save", "'all', 'last' or a positive integer", repr(save))
        self.problem, self.batch = problem, batch
        self.q: ndarray | None = None
        self.p: ndarray | None = None

    def __call__(self, first: int, nodes_q: ndarray, nodes_p: ndarray) -> None:
        if self.q is None or self.p is None:
            shape = (len(nodes_q), len(self.kept), nodes_q.shape[2])
            self.q, self.p = np.full(shape, np.nan, nodes_q.dtype), np.full(shape, np.nan, nodes_q.dtype)
        # a node between two blocks is taken from the later one
        low, high = np.searchsorted(self.kept, [first, first + nodes_q.shape[1]])
        chosen = self.kept[low:high] - first
        self.q[:, low:high], self.p[:, low:high] = nodes_q[:, chosen], nodes_p[:, chosen]

    def trajectory(self, start: Start, failures: Failures) -> Trajectory:
        assert self.q is not None and self.p is not None
        message = failures.message(self.problem.grid)

        def again(observe: Observer) -> None:
            """Step once more, for what the kept nodes do not tell."""
            repeated = Failures(len(start.q))
            repeated.step[:] = failures.step
            q, p = start.q.copy(), start.p.copy()
            integrate(self.problem, q, p, start.v.copy(), observers=(observe,), failures=repeated)

        return make_trajectory(
            self.problem, self.q, self.p, self.kept, self.batch, failures.good, message, start.v,
            again=None if self.nudged else again,
        )  # fmt: skip


def make_trajectory(
    problem: Problem, q: ndarray, p: ndarray, kept: ndarray, batch: int | None, good: ndarray, message: str,
    v_start: ndarray, morse_index: ndarray | None = None, residual: ndarray | None = None,
    again: Callable[[Observer], None] | None = None,
) -> Trajectory:  # fmt: skip
    """A trajectory from batched arrays; velocities, energies and the action are computed when they are asked for.

    ``again`` passes all nodes to an observer once more, where not all were kept.
    """
    steps = problem.grid.steps

    def squeeze(value: ndarray) -> ndarray:
        return value if batch is not None else value[0]

    def nodes() -> tuple[ndarray, ndarray]:
        v, energy = np.zeros_like(q), np.zeros(q.shape[:2], q.dtype)
        v[:, 0] = v_start
        low = 0
        while low < len(kept):  # blocks of nodes that lie side by side
            high = low + 1
            while high < len(kept) and kept[high] == kept[high - 1] + 1 and high - low < 1024:
                high += 1
            env = problem.env(int(kept[low]), high - low - 1, labels="nodes")
            part_q, part_p, part_v = (np.ascontiguousarray(a[:, low:high]) for a in (q, p, v))
            part_e = np.zeros((len(q), high - low), q.dtype)
            run(problem, "velocities", env, part_q, part_p, part_v, part_e)
            v[:, low:high], energy[:, low:high] = part_v, part_e
            if high < len(kept):
                v[:, high] = v[:, high - 1]
            low = high
        return squeeze(v), squeeze(energy)

    def action() -> ndarray:
        total = np.zeros(len(q), q.dtype)

        def add(first: int, nodes_q: ndarray, nodes_p: ndarray) -> None:
            run(problem, "actions", problem.env(first, nodes_q.shape[1] - 1), nodes_q, total)

        if len(kept) == steps + 1:
            for first, count in problem.each_block(q.size):
                part = np.ascontiguousarray(q[:, first : first + count + 1])
                add(first, part, part)
        elif again is not None:
            again(add)
        else:
            raise ValueError("save must be 'all' for the action of a nudged trajectory; this one kept fewer nodes")
        return squeeze(total)

    batched = batch is not None
    times = problem.grid.start + kept*problem.grid.step
    return Trajectory(
        t=times, q=squeeze(q), p=squeeze(p), success=good.copy() if batched else bool(good[0]),
        status=np.where(good, 0, 1) if batched else int(not good[0]), message=message,
        morse_index=None if morse_index is None else (morse_index if batched else int(morse_index[0])),
        residual=None if residual is None else (residual if batched else float(residual[0])),
        _nodes=nodes, _action=action,
    )  # fmt: skip
