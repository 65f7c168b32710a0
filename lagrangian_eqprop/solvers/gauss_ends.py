"""Two-point problems by Gauss elements: what their kernels read, and the guard on their resolution."""

from __future__ import annotations

import numpy as np

from ..compiler.contract import CLOCK, ELEMENTS, HEADER, LABELS, Environment
from ..methods.gauss_tables import elements
from .gauss import at_stages
from .problem import Problem


def stage_environment(problem: Problem) -> Environment:
    """The environment of the whole grid: inputs at every stage of every step, targets at the nodes."""
    steps, stages = problem.grid.steps, problem.stages
    plain = problem.env(0, steps, dense=True)
    at = HEADER + problem.theta_layout.size
    clock = plain.signals[: CLOCK + len(problem.costs)*(steps + 1)]
    parts, offset = [clock], clock.size
    inputs = np.zeros((len(problem.inputs.signals), 4), np.int64)
    for row, signal in zip(inputs, problem.inputs.signals, strict=True):
        values = at_stages(signal, np.arange(steps), stages).swapaxes(1, 2)  # (samples, steps, stages, places)
        if values.shape[1:3] != (1, 1):
            values = np.broadcast_to(values, (len(values), steps, stages, values.shape[3]))
        samples, _, _, places = values.shape
        labels = values.size//(samples*places)
        row[:] = offset, labels*places if samples > 1 else 0, places if labels > 1 else 0, int(places > 1)
        parts.append(values.ravel())
        offset += values.size
    flat, targets = problem.targets.block(0, steps + 1)
    layouts = np.concatenate([inputs, targets + np.array([offset, 0, 0, 0])])
    table = plain.table.copy()
    table[LABELS], table[ELEMENTS] = steps + 1, offset + flat.size
    table[at : at + layouts.size] = layouts.ravel()
    return Environment(problem.theta, np.concatenate([*parts, flat, elements(stages)]), table)
