"""The nodes of a path that are kept, and the trajectory made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy import ndarray

from ..compiler.contract import Environment
from ..compiler.kernel import entry
from ..errors import invalid
from ..methods.common import copy, node_energy
from ..methods.verlet import new_work, node_velocity, prepare
from ..methods.verlet_action import interval_action
from ..trajectory import Trajectory
from .failures import Failures
from .forward import all_nodes
from .initial import Observer, integrate
from .nodes import Nodes, chunk, fits, path_action
from .problem import Problem
from .products import all_nodes as all_nodes_of_products
from .products import applies as multiplies
from .start import Start
from .structured import velocities as velocities_of_structure
from .unrolled import applies
from .weight import unweighted


@entry
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


@entry
def actions(env: Environment, nodes_q: ndarray, total: ndarray) -> None:
    """total += the sum of L_d over the intervals between nodes."""
    work = new_work(env, nodes_q[0, 0])
    for b in range(nodes_q.shape[0]):
        prepare(env, b, nodes_q[b, 0], nodes_q[b, 0], work)
        for k in range(nodes_q.shape[1] - 1):
            total[b] += interval_action(env, b, k, nodes_q[b, k], nodes_q[b, k + 1], work)


def guess_of(q: ndarray, kept: ndarray, problem: Problem, v_start: ndarray) -> ndarray:
    """First guesses of the velocities at kept nodes: differences of positions where neighbours were kept."""
    if len(kept) < 2 or (np.diff(kept) > 1).any():
        return np.broadcast_to(v_start[:, None], q.shape)
    return np.gradient(q, problem.grid.step, axis=1)


class Keeper:
    """An observer that keeps the nodes ``save`` asks for, and makes a trajectory of them."""

    def __init__(self, problem: Problem, batch: int | None, save: Any, nudged: bool = False) -> None:
        steps, self.nudged = problem.grid.coarse.steps, nudged
        if save == "all":
            self.kept = np.arange(steps + 1)
        elif save == "last":
            self.kept = np.array([steps])
        elif isinstance(save, (int, np.integer)) and not isinstance(save, bool) and save >= 1:
            self.kept = np.unique(np.append(np.arange(0, steps + 1, int(save)), steps))
        else:
            raise invalid("save", "'all', 'last' or a positive integer", repr(save))
        self.labels = self.kept*problem.grid.substeps
        self.problem, self.batch = problem, batch
        self.q: ndarray | None = None
        self.p: ndarray | None = None

    def __call__(self, first: int, nodes_q: ndarray, nodes_p: ndarray) -> None:
        if self.q is None or self.p is None:
            shape = (len(nodes_q), len(self.kept), nodes_q.shape[2])
            self.q, self.p = np.full(shape, np.nan, nodes_q.dtype), np.full(shape, np.nan, nodes_q.dtype)
        # a node between two blocks is taken from the later one
        low, high = np.searchsorted(self.labels, [first, first + nodes_q.shape[1]])
        chosen = self.labels[low:high] - first
        self.q[:, low:high], self.p[:, low:high] = nodes_q[:, chosen], nodes_p[:, chosen]

    def trajectory(
        self, start: Start, failures: Failures, blocks: Sequence[tuple[int, ndarray, ndarray]] = ()
    ) -> Trajectory:  # fmt: skip
        """The trajectory; ``blocks`` are all sub-steps of a nudged one, as an observer sees them."""
        assert self.q is not None and self.p is not None
        message = failures.message(self.problem.grid)

        def again(observe: Observer) -> None:
            """Step once more, for what the kept nodes do not tell."""
            for block in blocks:
                observe(*block)
            if self.nudged:
                return
            if applies(self.problem):
                all_nodes(self.problem, start, observe)
                return
            if multiplies(self.problem):
                all_nodes_of_products(self.problem, start, observe)
                return
            repeated = Failures(len(start.q))
            repeated.step[:] = failures.step
            q, p = start.q.copy(), start.p.copy()
            integrate(self.problem, q, p, start.v.copy(), observers=(observe,), failures=repeated)

        return make_trajectory(
            self.problem, self.q, self.p, self.kept, self.batch, failures.good, message, start.v,
            again=None if self.nudged and not blocks else again,
        )  # fmt: skip


def make_trajectory(
    problem: Problem, q: ndarray, p: ndarray, kept: ndarray, batch: int | None, good: ndarray, message: str,
    v_start: ndarray, morse_index: ndarray | None = None, residual: ndarray | None = None,
    again: Callable[[Observer], None] | None = None,
) -> Trajectory:  # fmt: skip
    """A trajectory from batched arrays; velocities, energies and the action are computed when they are asked for.

    ``kept`` numbers nodes of the user's grid; ``again`` passes all nodes, those of sub-steps included, to an observer
    once more, where not all were kept.
    """
    whole = problem
    steps = problem.grid.steps

    def squeeze(value: ndarray) -> ndarray:
        return value if batch is not None else value[0]

    def nodes() -> tuple[ndarray, Callable[[], ndarray]]:
        """Velocities, and energies when they are asked for."""
        v, energy = np.zeros_like(q), np.zeros(q.shape[:2], q.dtype)
        v[:, 0] = v_start
        problem = whole.base  # nodes do not depend on the sub-steps between them
        if problem.method.first_order:
            here = Nodes(problem, kept)
            v = velocities_of_structure(here, q)
            return squeeze(v), lambda: squeeze((p*v).sum(-1) - here.lagrangian(q, v))
        if fits(problem, len(q)):
            length = chunk(problem, len(q))
            parts = [slice(low, low + length) for low in range(0, len(kept), length)]
            for part in parts:
                here = Nodes(problem, kept[part])
                if problem.method.explicit:
                    v[:, part] = p[:, part]/here.mass_diagonal(q[:, part], v[:, part])
                else:
                    v[:, part] = here.velocity(q[:, part], p[:, part], guess_of(q, kept, problem, v_start)[:, part])

            def energies() -> ndarray:
                for part in parts:
                    L = Nodes(problem, kept[part]).lagrangian(q[:, part], v[:, part])
                    energy[:, part] = (p[:, part]*v[:, part]).sum(-1) - L
                return squeeze(unweighted(problem, energy, kept))

            return squeeze(v), energies
        low = 0
        while low < len(kept):  # blocks of nodes that lie side by side
            high = low + 1
            while high < len(kept) and kept[high] == kept[high - 1] + 1 and high - low < 1024:
                high += 1
            env = problem.env(int(kept[low]), high - low - 1, labels="nodes")
            part_q, part_p, part_v = (np.ascontiguousarray(a[:, low:high]) for a in (q, p, v))
            part_e = np.zeros((len(q), high - low), q.dtype)
            problem.run("velocities", env, part_q, part_p, part_v, part_e)
            v[:, low:high], energy[:, low:high] = part_v, part_e
            if high < len(kept):
                v[:, high] = v[:, high - 1]
            low = high
        return squeeze(v), lambda: squeeze(unweighted(problem, energy, kept))

    def action() -> ndarray:
        total = np.zeros(len(q), q.dtype)

        def add(first: int, nodes_q: ndarray, nodes_p: ndarray) -> None:
            if fits(problem, len(q)):
                length = chunk(problem, len(q))
                for low in range(0, nodes_q.shape[1] - 1, length):
                    part = nodes_q[:, low : low + length + 1]
                    total[:] += path_action(problem, part, first + low + np.arange(part.shape[1]))
                return
            problem.run("actions", problem.env(first, nodes_q.shape[1] - 1), nodes_q, total)

        if len(kept) == steps + 1:
            for first, count in problem.each_block(q.size):
                part = np.ascontiguousarray(q[:, first : first + count + 1])
                add(first, part, part)
        elif again is not None:
            again(add)
        else:
            raise ValueError("save must be 'all' for the action of a nudged trajectory; this one kept fewer nodes")
        return squeeze(total)

    if problem.method.first_order:  # L_v(q) in the gauge of L, where the kernels carry W q
        p = Nodes(problem, kept).momentum(q, np.zeros_like(q))
    batched = batch is not None
    times = problem.grid.start + kept*problem.grid.step
    return Trajectory(
        t=times, q=squeeze(q), p=squeeze(p), success=good.copy() if batched else bool(good[0]),
        status=np.where(good, 0, 1) if batched else int(not good[0]), message=message,
        morse_index=None if morse_index is None else (morse_index if batched else int(morse_index[0])),
        residual=None if residual is None else (residual if batched else float(residual[0])),
        _nodes=nodes, _action=action,
    )  # fmt: skip
