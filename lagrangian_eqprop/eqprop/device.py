"""The echo of a device: three runs of its own forward map, with the faults that a device has.

Nothing is solved backwards here: after the free run the momenta are flipped, the inputs played backwards, and the
device goes on, nudged. The faults are those of an experiment: what is read is noisy, the state wanders on its way
and is not turned exactly, parameters have a few bits. With none of them the result is that of ``Centered`` or
``OneSided``.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy import ndarray

from ..compiler.contract import Environment, Layout
from ..solvers.failures import Failures
from ..solvers.initial import integrate
from ..solvers.problem import Problem, bind
from ..solvers.signals import Signal, Signals
from ..symbols.definition import lookup
from .estimators import Echo, contrast
from .initial import FreeRun, failed_samples
from .radius import Parts
from .reversal import CLOCK, check_reversible, device


def on_the_way_back(problem: Problem, reversal: str) -> Problem:
    """The problem of the device as it goes back; the same where nothing in its Lagrangian changes."""
    system = device(problem.system, reversal)
    if system is problem.system:
        return problem
    back = copy.copy(problem)
    back.__dict__.pop("module", None)
    back.system, back.bound = system, bind(system, problem.costs)
    signals = list(problem.inputs.signals)
    if len(system.inputs) > len(signals):
        signals.append(Signal(CLOCK, lambda times: times, None, False, problem.grid))
    back.inputs, back.node_inputs = Signals(signals, problem.method.labels), Signals(signals, "nodes")
    return back


def quantised(problem: Problem, estimator: Echo) -> dict[Any, ndarray]:
    """The parameters as the device holds them: on the levels of its ranges, the nearest one."""
    values = dict(problem.values)
    for key, (low, high) in (estimator.ranges or {}).items():
        symbol = lookup(key, values, "ranges")
        levels = 2**(estimator.bits or 0) - 1
        level = np.rint(np.clip((values[symbol] - low)/(high - low), 0.0, 1.0)*levels)
        values[symbol] = low + (high - low)*level/levels
    return values


def played_backwards(problem: Problem, env: Environment, count: int) -> Environment:
    """A block of nodes whose inputs are met from the last label to the first; there is no other time in it."""
    table, inputs = env.table.copy(), len(problem.inputs.signals)
    row = Layout(len(problem.theta_layout), inputs, len(problem.targets.signals), 0).of("u", 0)
    layout = table[row : row + 4*inputs].reshape(inputs, 4)  # offset, strides of a sample, of a label and of a place
    labels = count + (problem.method.labels == "nodes")
    layout[:, 0] += (labels - 1)*layout[:, 2]
    layout[:, 2] *= -1
    return env._replace(table=table)


def sizes(problem: Problem, free: FreeRun) -> ndarray:
    """Root mean squares of every position and every momentum along the free paths, (2, d)."""
    total, seen = np.zeros((2, problem.system.size)), 0
    q, p, guess = free.start.q.copy(), free.start.p.copy(), free.start.v.copy()
    failures = Failures(len(q))
    failures.step[:] = free.failures.step

    def add(first: int, nodes_q: ndarray, nodes_p: ndarray) -> None:
        nonlocal seen
        for row, nodes in zip(total, (nodes_q, nodes_p), strict=True):
            row += np.nansum(nodes**2, (0, 1))
        seen += int(np.isfinite(nodes_q[..., 0]).sum())

    integrate(problem, q, p, guess, observers=(add,), failures=failures)
    return np.sqrt(total/max(seen, 1))


def echo(problem: Problem, free: FreeRun, estimator: Echo, progress: Any = None) -> Parts:
    """The parts of the gradient as the device gives them."""
    check_reversible(problem.system, problem.method, estimator.reversal)
    back, rng = on_the_way_back(problem, estimator.reversal), np.random.default_rng(estimator.seed)
    betas, coefficients = contrast(estimator)
    samples, d, steps = *free.q.shape, problem.grid.steps
    noisy = estimator.measurement or estimator.state or estimator.turn
    size = sizes(problem, free) if noisy else np.zeros((2, d))
    q, p, guess = (np.repeat(a[:, None], len(betas), 1) for a in (free.q, -free.p, -free.guess))

    def blur(deviation: float) -> None:
        if deviation:
            q[:] += deviation*size[0]*rng.standard_normal(q.shape)
            p[:] += deviation*size[1]*rng.standard_normal(p.shape)

    blur(estimator.turn)
    g = np.zeros_like(problem.theta)
    failed, residual = failed_samples(free.failures), np.zeros(samples)
    dead, last = failed.copy(), None
    for first, count in problem.each_block(2*q.size, backwards=True):
        ahead = back.env(first, count)
        shape = (samples, len(betas), count)
        noise, readings = np.zeros((samples, len(betas), 0, 2, d)), np.zeros((samples, len(betas), 0, d))
        if estimator.state:
            noise = estimator.state/np.sqrt(steps)*size*rng.standard_normal((*shape, 2, d))
        if estimator.measurement:
            readings = estimator.measurement*size[0]*rng.standard_normal((*shape[:2], count + 1, d))
            readings[:, :, 0] = readings[:, :, 0] if last is None else last  # a node is read once
            last = readings[:, :, -1]
        if first + count == steps:
            back.run("first_kicks", ahead, count, q, p, -betas)
        back.run(
            "replay", played_backwards(back, ahead, count), ahead, count, betas, coefficients, q, p, guess, g,
            np.zeros((*shape, 2, d)), noise, readings, failed, residual,
        )  # fmt: skip
        failed[dead == 0] = -1
        bad = (failed < 0) & free.failures.good & ~np.isfinite(q).all((1, 2))
        failed[bad], residual[bad] = 0, np.inf
        free.failures.settle(failed, residual, first, back=True)
        failed = dead = failed_samples(free.failures)
        if progress is not None:
            progress.update(count)
    blur(estimator.measurement)
    dq = np.einsum("k,bkd->bd", coefficients, q - free.start.q[:, None])
    dp = np.einsum("k,bkd->bd", coefficients, -p - free.start.p[:, None])
    return Parts(g, dp, -dq)
