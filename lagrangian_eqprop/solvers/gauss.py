"""Running the Gauss method: one trajectory after the other, its stages in lanes.

Two guards stand beside the usual ones. Sweeps whose change does not shrink make a step fail. And the last
Legendre mode of the stage velocities, which says how well a polynomial of this degree follows the path, is
reported when it is large: the method stays stable, symplectic and wrong where stiff motion is not resolved.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
from numpy import ndarray

from ..compiler import cache
from ..compiler.build_unrolled import tables_digest, unrollable
from ..compiler.contract import CLOCK, LABELS, Layout
from ..compiler.kernel import kernels_of
from ..compiler.unrolled import Flags, Unrolled
from ..compiler.unrolled_text import module_text
from ..errors import AccuracyWarning, invalid
from ..methods import gauss, gauss_response
from ..methods.gauss_stages import stage_text
from ..methods.gauss_tables import STAGES, columns, tables, width_of
from ..trajectory import Trajectory
from .failures import Failures
from .problem import Problem
from .record import Keeper, make_trajectory
from .signals import Signal
from .start import Start

# A path is not resolved where its Legendre modes decay more slowly than this a degree: measured on the last mode,
# as a power, it is 2e-4 of the largest velocity for 8 stages.
_DECAY = 2e-4**(1/7)
_CHUNK = 2**19  # values of inputs and stages kept at once


def check_stages(stages: Any) -> int:
    """The number of stages, 4 where none is given."""
    if stages is None:
        return 4
    if isinstance(stages, bool) or not isinstance(stages, (int, np.integer)) or stages not in STAGES:
        raise invalid("stages", f"an integer from {STAGES[0]} to {STAGES[-1]}", repr(stages))
    return int(stages)


def refuse_gauss(problem: Problem) -> None:
    """Where steps from initial data are taken place by place, or nudged."""
    if problem.stages:
        must = "'verlet' or 'midpoint' here; from initial data 'gauss' gives free paths and Exact alone"
        raise invalid("method", must, "'gauss'")


def check_problem(problem: Problem, stages: int, dtype: Any) -> None:
    """Refuse what this method does not do, a large system included."""
    if not problem.compiled:
        raise invalid("compiled", "True with method='gauss', whose stages stand in vector registers", "False")
    if np.dtype(dtype) != np.float64:
        raise invalid("dtype", "'float64' with method='gauss'", repr(dtype))
    module_of(problem, stages)


def module_of(problem: Problem, stages: int) -> ModuleType:
    """The generated module of a system and a number of stages; with costs also for the response."""
    known: dict = problem.system.__dict__.setdefault("_gauss", {})
    shapes = tuple(value.shape for value in problem.bound.parameters.values())
    staged = problem.sampled_inside
    key = (stages, shapes, problem.bound.digest, staged)
    if key not in known:
        system, bound = problem.system, problem.bound
        if not unrollable((*system.terms, *bound.terms), system.size):
            raise ValueError(
                f"method must fit the size of the system; 'gauss' writes every term out at every place, and "
                f"{system.size} coordinates with their terms are too many; use 'verlet' or 'midpoint'"
            )
        parts = (gauss, gauss_response) if problem.costs else (gauss,)

        def write() -> str:
            # an input or a target in lanes is one whose stages lie side by side
            targets = tuple(staged[number] for _, number in bound.targets)
            flags = Flags(inputs=(True,)*len(system.inputs), targets=targets)
            layout = Layout(len(shapes), len(system.inputs), len(bound.targets), len(system.terms))
            unrolled = Unrolled(system.size, shapes, flags, layout)
            unrolled.add(system.terms, bound.terms)
            unrolled.sample_at_stages(staged)
            title = f"gauss: {system.size} coordinates, {stages} stages. Generated; do not edit."
            functions = [function for part in parts for function in part.functions(unrolled)]
            kernels = [kernel for part in parts for kernel in kernels_of(part)]
            text = module_text(unrolled, functions, kernels, title, width_of(stages))
            return text + "\n" + stage_text(system.size, stages, any(staged))

        places = tables_digest([*system.terms, *bound.terms])
        numbers = f"{shapes} {stages} {len(bound.targets)} {staged}"
        name = cache.name_of("gauss", system.digest, bound.digest, places, numbers)
        known[key] = cache.fetch(name, write)[0]
    return known[key]


def at_stages(signal: Signal, labels: ndarray, stages: int) -> ndarray:
    """An input or target at the stages of the steps after ``labels``: (batch, stages or 1, steps or 1, places)."""
    if signal.function is None:
        if signal.array.shape[1] == 1:
            return signal.array[:, None]
        before, after = signal.sampled(labels, "nodes"), signal.sampled(labels + 1, "nodes")
        return np.stack([before + c*(after - before) for c in tables(stages).c], 1)
    found = [signal.sampled(labels + c, "nodes") for c in tables(stages).c]
    return np.stack(found, 1)


class Stretch:
    """Some steps of all samples: the signals and tables that the kernels read."""

    def __init__(self, problem: Problem, stages: int, first: int, count: int) -> None:
        labels, width = np.arange(first, first + count), width_of(stages)
        self.problem, self.first, self.count = problem, first, count
        self.closing = first + count == problem.grid.steps
        terms, inputs, targets = (
            len(part) for part in (problem.system.terms, problem.inputs.signals, problem.targets.signals)
        )
        self.layout = Layout(len(problem.theta_layout), inputs, targets, terms)
        weights = problem.weights(first, count + 1)
        clock = np.array([problem.grid.start + first*problem.grid.step, problem.grid.step])
        parts = [clock, weights.ravel()]
        self.inputs = np.zeros((inputs, 5), np.int64)  # offset, strides of sample, stage, step and place
        self.targets = np.zeros((targets, 5), np.int64)
        offset = CLOCK + weights.size
        sampled = [at_stages(signal, labels, stages) for signal in problem.inputs.signals]
        for signal in problem.targets.signals:
            inside = signal.inside  # a target of a cost at the stages
            sampled.append(
                at_stages(signal, labels, stages) if inside else signal.labelled(first, count + 1, "nodes")[:, None]
            )
        for row, values in zip((*self.inputs, *self.targets), sampled, strict=True):
            if values.shape[1] > 1:
                values = values[:, np.minimum(np.arange(width), stages - 1)]
            strides = np.cumprod((1, *values.shape[:0:-1]))[::-1]
            row[:] = offset, *np.where(np.array(values.shape) > 1, strides, 0)
            parts.append(values.ravel())
            offset += values.size
        self.signals = np.concatenate(parts)

    def table(self, sample: int) -> ndarray:
        """The layouts as one sample sees them."""
        layout = self.layout
        table = np.zeros(layout.of("term", 0), np.int64)
        table[LABELS] = self.count + 1
        for k, (offset, batch, place) in enumerate(self.problem.theta_layout):
            row = layout.of("p", k)
            table[row : row + 3] = offset + sample*batch, 0, place
        for k, (offset, batch, stage, step, place) in enumerate(self.inputs):
            row = layout.of("u", k)
            table[row : row + 4] = offset + sample*batch, stage, step, place
        for k, (offset, batch, stage, step, place) in enumerate(self.targets):
            row = layout.of("y", k)
            table[row : row + 4] = offset + sample*batch, stage, step, place
        return table


class Run:
    """The free path of every sample, stretch by stretch.

    One stretch covers the grid, unless inputs or targets in time, or the stages that a response reads, would fill
    memory.
    """

    def __init__(self, problem: Problem, start: Start, stages: int) -> None:
        self.problem, self.start, self.stages = problem, start, stages
        self.samples, self.size = start.q.shape
        self.module = module_of(problem, stages)
        self.columns, self.width = columns(stages, problem.grid.step), width_of(stages)
        self.coefficients = np.empty(max(self.module.COEFFICIENTS, 1))
        self.reset()

    def reset(self) -> None:
        """Back to the start."""
        self.z = np.ascontiguousarray(np.concatenate([self.start.q, self.start.p], 1))
        self.guess = np.repeat(self.start.v[:, :, None], self.width, 2)
        self.extremes, self.reports = np.zeros((self.samples, 3, self.width)), np.zeros((self.samples, 4))
        self.losses = np.zeros((self.samples, 1))

    def stretches(self) -> Iterator[Stretch]:
        """The stretches in the order of time."""
        problem, wide = self.problem, 0
        signals = (*problem.inputs.signals, *problem.targets.signals)
        if not (problem.inputs.constant and problem.targets.constant):
            wide = self.stages*sum(signal.array.shape[0]*signal.array.shape[2] for signal in signals)
        if problem.costs:
            wide = max(wide, 2*self.size*self.width)
        length = max(256, _CHUNK//wide) if wide else problem.grid.steps
        for first in range(0, problem.grid.steps, length):
            yield Stretch(problem, self.stages, first, min(length, problem.grid.steps - first))

    def advance(
        self, stretch: Stretch, b: int, slots: ndarray, nodes: ndarray, path: ndarray, failures: Failures,
        acts: bool = False,
    ) -> None:  # fmt: skip
        """One sample over one stretch."""
        report, z = self.reports[b], self.z[b]
        self.module.gauss_forward(
            self.problem.theta, stretch.signals, stretch.table(b), self.coefficients, self.columns, z, self.guess[b],
            stretch.count, stretch.closing, slots, nodes.reshape(-1), path, self.losses[b], self.extremes[b], acts,
            report,
        )  # fmt: skip
        if report[0] >= 0 or not np.isfinite(z).all():
            failures.step[b] = stretch.first + (stretch.count if report[0] < 0 else int(report[0]))
            failures.residual[b] = report[1] if report[0] >= 0 else np.inf

    def forward(self, kept: ndarray, progress: Any = None, acts: bool = False) -> tuple[ndarray, Failures]:
        """Nodes (samples, kept, 2, d), and what failed."""
        nodes = np.empty((self.samples, len(kept), 2, self.size))
        failures, nothing = Failures(self.samples), np.empty((0, self.width))
        self.reset()
        for stretch in self.stretches():
            first, count = stretch.first, stretch.count
            slots = np.full(count + 1, -1)
            low, high = np.searchsorted(kept, [first, first + count + stretch.closing])
            slots[kept[low:high] - first] = np.arange(high - low)
            for b in map(int, np.flatnonzero(failures.good)):
                self.advance(stretch, b, slots, nodes[b, low:high], nothing, failures, acts)
            if progress is not None:
                progress.update(count)
        nodes[~failures.good] = np.nan
        return nodes, failures

    def roughness(self) -> ndarray:
        """The last Legendre mode of V over the largest V, (samples,)."""
        fastest = self.extremes[:, 0].max(1)
        return np.divide(self.reports[:, 3], fastest, out=np.zeros(self.samples), where=fastest > 0)

    def loss(self) -> ndarray:
        """J so far, at nodes and at stages, (samples,)."""
        return self.losses[:, 0] + self.extremes[:, 2, : self.stages].sum(1)

    def actions(self) -> ndarray:
        """The sum of h b_i L over all steps, (samples,)."""
        self.forward(np.zeros(0, int), acts=True)
        return self.extremes[:, 1, : self.stages].sum(1)


def gauss_trajectory(
    problem: Problem, boundary: Any, stages: int, save: Any, stability: str, dtype: Any, progress: Any
) -> tuple[Trajectory | None, Failures]:  # fmt: skip
    """The trajectory, or None where every sample failed, and what failed."""
    check_problem(problem, stages, dtype)
    start = Start(problem, boundary, stability)
    keeper = Keeper(problem, start.batch, save)
    run = Run(problem, start, stages)
    nodes, failures = run.forward(keeper.kept, progress)
    if not failures.good.any():
        return None, failures
    warn_if_rough(run.roughness(), failures.good, problem, stages, 5)
    q, p = np.ascontiguousarray(nodes[:, :, 0]), np.ascontiguousarray(nodes[:, :, 1])
    message = failures.message(problem.grid)
    made = make_trajectory(problem, q, p, keeper.kept, start.batch, failures.good, message, start.v)

    def action() -> Any:
        total = np.where(failures.good, run.actions(), np.nan)
        return total if start.batch is not None else total[0]

    return dataclasses.replace(made, _action=action), failures


def warn_if_rough(roughness: ndarray, good: ndarray, problem: Problem, stages: int, level: int) -> None:
    """Say that a path is not resolved; ``level`` as for warnings."""
    measured, limit = np.where(good, roughness, 0.0), _DECAY**(stages - 1)
    worst = int(np.argmax(measured))
    if measured[worst] > limit:
        sample = f" of sample {worst}" if len(measured) > 1 else ""
        warnings.warn(
            f"step {problem.grid.step:.4g} with {stages} stages does not resolve the path{sample}: the last Legendre "
            f"mode of the stage velocities reached {measured[worst]:.1e} of the largest velocity (up to {limit:.1g} "
            f"is fine); take a smaller step or more stages",
            AccuracyWarning,
            stacklevel=level,
        )
