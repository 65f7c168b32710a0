"""Gradients with respect to inputs in time, so that what drives one system may be what another puts out.

An input enters the action like a parameter of a single label,

    dJ/du_k = d_beta d(-S_d)/du_k

at the nudged path: the local quantity, not summed over time. Arrays are linear between nodes, so that a value at a
node owns half of what the two middles beside it receive.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy as sp
from numpy import ndarray

from ..boundary import Ends, Initial
from ..errors import invalid
from ..solvers.problem import Problem
from ..solvers.signals import Signal
from ..solvers.slopes import Slopes, along_intervals, of_inputs
from ..solvers.start import Start
from . import ends as two_point
from . import initial as initial_value
from .estimators import Centered, Estimator, Exact, OneSided, contrast


def input_gradients(
    problem: Problem, boundary: Any, estimator: Estimator, good: ndarray
) -> dict[sp.Symbol, ndarray]:  # fmt: skip
    """dJ/du of every input, in the shape of what was given; of a callable, at the labels where the method calls it."""
    if not isinstance(estimator, (Exact, OneSided, Centered)):
        raise invalid("estimator", "Exact, Centered or OneSided for the gradients of inputs", repr(estimator))
    if problem.method.name not in ("verlet", "midpoint"):
        raise invalid("method", "'verlet' or 'midpoint' for the gradients of inputs", repr(problem.method.name))
    if not isinstance(boundary, (Initial, Ends)):
        raise invalid("boundary", "lep.Initial or lep.Ends for the gradients of inputs", type(boundary).__name__)
    slopes = Slopes(problem, len(good), inputs=True)
    if isinstance(boundary, Initial):
        paths = _initial_paths(problem, boundary, estimator)
    else:
        paths = _ends_paths(problem, boundary, estimator)
    for q, dq, factor in paths:
        rows = good[:, None, None]
        q = np.where(rows, q, q[good][:1])
        if dq is None:
            of_inputs(slopes, q, -factor)
        else:
            dq = np.where(rows, dq, 0.0)
            along_intervals(slopes, q, -dq[:, :-1], -dq[:, 1:])
    found = {}
    for symbol, signal, value in zip(problem.system.inputs, problem.inputs.signals, slopes.inputs, strict=True):
        found[symbol] = _shaped(signal, np.where(good[:, None, None], value, 0.0)/good.sum(), problem.method.labels)
    return found


Path = tuple[ndarray, ndarray | None, float]


def _initial_paths(problem: Problem, boundary: Initial, estimator: Estimator) -> list[Path]:
    """Nudged paths with their coefficients, or the free path with its response."""
    start = Start(problem, boundary, "ignore")
    free = initial_value.free_run(problem, start, False)
    record: list[ndarray] = []
    if isinstance(estimator, Exact):
        initial_value.linear_response(problem, free, None, record)
        q, dq = (_joined([nodes[:, :, part] for nodes in record[::-1]]) for part in range(2))
        return [(q, dq, 1.0)]
    assert isinstance(estimator, (OneSided, Centered))
    betas, coefficients = initial_value.with_free(*contrast(estimator))
    initial_value.echo_at(problem, free, betas, coefficients, record, None, estimator.nudge == "linearised")
    whole = [_joined([nodes[:, k, :, 0] for nodes in record[::-1]]) for k in range(len(betas))]
    return [(q, None, float(c)) for q, c in zip(whole, coefficients, strict=True) if c]


def _ends_paths(problem: Problem, boundary: Ends, estimator: Estimator) -> list[Path]:
    two, paths = two_point.solve(problem, boundary, "return")
    if isinstance(estimator, Exact):
        return [(paths.q, two_point.response_paths(two, paths), 1.0)]
    assert isinstance(estimator, (OneSided, Centered))
    found: list[Path] = []
    for beta, coefficient in zip(*contrast(estimator), strict=True):
        moved = paths if beta == 0.0 else two_point.moved_paths(two, paths, float(beta), estimator.nudge)
        found.append((moved.q, None, float(coefficient)))
    return found


def _joined(blocks: list[ndarray]) -> ndarray:
    """Blocks of nodes that share their first and last ones."""
    return np.concatenate([*(block[:, :-1] for block in blocks[:-1]), blocks[-1]], 1)


def _shaped(signal: Signal, value: ndarray, labels: str) -> ndarray:
    """(samples, labels, places) in the shape of what was given."""
    shape = list(signal.array.shape)
    if signal.function is not None:
        shape[1] = value.shape[1]
    elif labels == "middles" and shape[1] > 1:
        at_nodes = np.zeros((value.shape[0], value.shape[1] + 1, value.shape[2]))
        at_nodes[:, :-1] += 0.5*value
        at_nodes[:, 1:] += 0.5*value
        value = at_nodes
    for axis in range(3):
        if shape[axis] == 1 and value.shape[axis] > 1:
            value = value.sum(axis, keepdims=True)
    return signal.like_given(value)
