"""Running a chain whose sites stand in lanes: free paths of a few samples, one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from ..compiler.build_swept import build_swept
from ..compiler.kernel import kernels_of
from ..compiler.swept import run_of
from ..methods import verlet_swept
from .failures import Failures
from .problem import Problem
from .start import Start, check_stability

_FEW = 8  # samples; a larger batch fills lanes by itself
_WIDTH = 16  # sites; wider values gain nothing, since a pass is bound by memory


def applies(problem: Problem, samples: int) -> bool:
    """Whether the system is a long autonomous chain with shared or placed parameters, and the batch is small."""
    system = problem.system
    if not problem.compiled or problem.method.name != "verlet" or system.inputs or problem.has_own_parameters:
        return False
    if samples >= _FEW or system.size < 32:
        return False
    kept = system.__dict__
    if "_runs" not in kept:
        runs = [run_of(term) for term in system.terms]
        timeless = all(not term.indices("t") for term in system.terms)
        tables = all(term.places.kind == "table" for term in system.terms)
        # every site has its mass from one-site terms in runs; what is left over must be few
        heavy = [term.indices("v") for term in system.terms]
        light = all(run is not None and len(run.offsets) == 1 and not len(run.others)
                    for run, v in zip(runs, heavy, strict=True) if v)  # fmt: skip
        covers = any(run and v and run.first == 0 and run.count == system.size
                     for run, v in zip(runs, heavy, strict=True))  # fmt: skip
        others = sum(
            len(run.others) if run else len(term.places.table) for run, term in zip(runs, system.terms, strict=True)
        )
        fits = timeless and tables and light and covers and 16*others <= system.size
        kept["_runs"] = runs if fits else None
    return kept["_runs"] is not None


class Chain:
    """The buffers of a chain: sites behind a margin, arrays of values a place aligned with the sites."""

    def __init__(self, problem: Problem, masses: ndarray) -> None:
        system, runs = problem.system, problem.system.__dict__["_runs"]
        self.step, self.size = problem.grid.step, system.size
        shapes = [value.shape for value in system.parameters.values()]
        kernels = [k for k in kernels_of(verlet_swept)]
        known: dict = system.__dict__.setdefault("_swept", {})
        if "built" not in known:
            known["built"] = build_swept(system, shapes, runs, kernels, _WIDTH)
        built, swept = known["built"]
        self.module, values = built.module, list(problem.values.values())
        self.blocks = -(-self.size//_WIDTH)
        self.length = _WIDTH*(self.blocks + 2)
        count, arrays = len(system.terms), swept.arrays
        offsets = np.zeros(4*count + 2*len(arrays) + 1, np.int64)
        tables, buffers, at = list[ndarray](), list[ndarray](), 0
        for number, (term, run) in enumerate(zip(system.terms, runs, strict=True)):
            others = run.others if run else np.arange(len(term.places.table))
            offsets[4*number : 4*number + 3] = at, at + others.size*term.size, len(others)
            tables += [(term.places.table[others] + _WIDTH).ravel(), others]
            at += others.size*(term.size + 1)
            live = np.zeros(self.length)
            if run:
                live[_WIDTH + run.first : _WIDTH + run.first + run.count] = 1.0
            offsets[4*number + 3] = self.length*len(buffers)
            buffers.append(live)
        first, low, high = 4*count, 0, self.blocks
        for run in runs:
            if run:
                low, high = max(low, -(-run.first//_WIDTH)), min(high, (run.first + run.count)//_WIDTH)
        self.low, self.high = low, max(low, high)
        for k, (number, index) in enumerate(arrays):
            run, full = runs[number], np.ones(self.length)
            if run:
                part = slice(_WIDTH + run.first, _WIDTH + run.first + run.count)
                full[part] = values[index].ravel()[run.start : run.start + run.count]
            offsets[first + k] = self.length*len(buffers)
            buffers.append(full)
        pace = np.ones(self.length)
        pace[_WIDTH : _WIDTH + self.size] = 1.0/masses
        offsets[first + len(arrays)] = self.length*len(buffers)
        buffers.append(pace)
        loose = self.length*len(buffers)
        for k, (_, index) in enumerate(arrays):
            offsets[first + len(arrays) + 1 + k] = loose
            loose += values[index].size
            buffers.append(values[index].ravel())
        self.places, self.offsets = np.concatenate(buffers), offsets
        self.table = np.concatenate(tables).astype(np.int64) if tables else np.zeros(1, np.int64)
        self.theta = np.array([value if value.ndim == 0 else 0.0 for value in values], float)
        self.c = np.empty(3*max(self.module.COEFFICIENTS, 1))

    def padded(self, state: ndarray) -> ndarray:
        """Sites behind a margin, aligned for vector loads."""
        raw = np.zeros(self.length + 8)
        skip = (-raw.ctypes.data % 64)//8
        full = raw[skip : skip + self.length]
        full[_WIDTH : _WIDTH + self.size] = state
        return full

    def advance(self, q: ndarray, p: ndarray, count: int) -> None:
        """``count`` steps of one sample, in place."""
        self.module.swept_forward(
            self.theta, self.step, self.c, q, p, self.places, self.offsets, self.table, self.low,
            self.high, self.blocks, count,
        )  # fmt: skip


def forward(
    problem: Problem, start: Start, kept: ndarray, stability: str, progress: Any = None
) -> tuple[ndarray, ndarray, Failures]:  # fmt: skip
    """Positions and momenta at the nodes ``kept``, (samples, kept, d), and what failed."""
    check_stability(problem, start, None, stability)
    known: dict = problem.system.__dict__.setdefault("_swept", {})
    if known.get("theta") is not problem.theta or known["step"] != problem.grid.step:
        known.update(chain=Chain(problem, start.masses[0]), theta=problem.theta, step=problem.grid.step)
    chain: Chain = known["chain"]
    samples = len(start.q)
    q, p = np.full((samples, len(kept), chain.size), np.nan), np.full((samples, len(kept), chain.size), np.nan)
    failures = Failures(samples)
    inside = slice(_WIDTH, _WIDTH + chain.size)
    for b in range(samples):
        x, y, at = chain.padded(start.q[b]), chain.padded(start.p[b]), 0
        for k, node in enumerate(kept):
            if node > at:
                chain.advance(x, y, int(node) - at)
                at = int(node)
            q[b, k], p[b, k] = x[inside], y[inside]
            if not (np.isfinite(x).all() and np.isfinite(y).all()):
                _locate(chain, start, b, int(node), failures)
                q[b], p[b] = np.nan, np.nan
                break
    if progress is not None:
        progress.update(problem.grid.steps)
    return q, p, failures


def _locate(chain: Chain, start: Start, b: int, node: int, failures: Failures) -> None:
    """The step at which a sample that is infinite at a node became so."""
    inside, x, y = slice(_WIDTH, _WIDTH + chain.size), chain.padded(start.q[b]), chain.padded(start.p[b])
    for step in range(1, node + 1):
        chain.advance(x, y, 1)
        if not (np.isfinite(x[inside]).all() and np.isfinite(y[inside]).all()):
            failures.step[b], failures.residual[b] = step, np.inf
            return
