"""Running an unrolled system: samples in blocks of lanes, blocks on threads.

A block carries ``width`` samples side by side through the whole trajectory. The last block of a batch that
is no multiple of the width begins earlier, so that it overlaps the one before; what it computes again is left
out of sums. Blocks write to rows of their own and are added up in their order, so that results do not depend
on the number of threads.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import numpy as np
from numpy import ndarray

from ..compiler.build_unrolled import build_unrolled, tables_digest, unrollable
from ..compiler.kernel import kernels_of
from ..compiler.lanes import empty_rows
from ..compiler.machine import near_cache, registers
from ..compiler.unrolled import Flags
from ..methods import midpoint_unrolled, verlet_unrolled
from ..methods import unrolled as entries
from .problem import Problem

_METHODS = {"verlet": verlet_unrolled, "midpoint": midpoint_unrolled}
_PAD = 8  # rows of lanes kept between blocks of sums, so that threads share no cache line


def applies(problem: Problem) -> bool:
    """Whether a problem is small enough, and compiled."""
    if not problem.compiled or problem.method.name not in _METHODS:
        return False
    kept = problem.bound.__dict__
    if "_unrollable" not in kept:
        kept["_unrollable"] = unrollable((*problem.system.terms, *problem.bound.terms), problem.system.size)
    return kept["_unrollable"]


def lanes(size: int, samples: int, echo: bool, item: int, curved: bool = False) -> int:
    """How many samples stand side by side: wide for few coordinates, where a width hides latency.

    ``echo`` says whether the response is carried too, ``curved`` whether there are elementary functions, whose chains
    are long. Measured on processors with 32 registers of 64 bytes and with 16 of 32; a value takes 8 to 1 of them.
    """
    if samples == 1:
        return 1
    if registers().number >= 32:
        live = size*(4 if echo else 2)
        taken = 8 if live <= 2 else 4 if live <= 4 else 2 if live <= 16 else 1
    elif size == 1:
        taken = 8 if curved and not echo else 4
    elif curved or size == 2:
        taken = 2
    else:
        taken = 1 if echo or 4 < size <= 6 else 2  # up to six coordinates a state of single registers is kept in them
    widest = taken*registers().size//item
    while widest > samples:
        widest //= 2
    return widest


def _curved(problem: Problem) -> bool:
    """Whether the Lagrangian has elementary functions."""
    kept = problem.system.__dict__
    if "_curved" not in kept:
        kept["_curved"] = any(term.graph.functions([term.root]) for term in problem.system.terms)
    return kept["_curved"]


@functools.lru_cache(maxsize=64)
def _starts(samples: int, width: int) -> ndarray:
    """The first sample of every block."""
    starts = np.minimum(np.arange(0, samples, width), samples - width)
    starts.setflags(write=False)
    return starts


class Blocks:
    """A problem's samples in blocks of lanes, and the module that runs them."""

    def __init__(self, problem: Problem, samples: int, dtype: Any = float, threads: int | None = None) -> None:
        self.problem, self.samples, self.dtype = problem, samples, np.dtype(dtype)
        self.size, self.threads = problem.system.size, threads
        self.width = lanes(self.size, samples, bool(problem.costs), self.dtype.itemsize, _curved(problem))
        self.starts = _starts(samples, self.width)
        self.count = len(self.starts)
        self.kept = _METHODS[problem.method.name].PATH*self.size  # rows of a stored path for each node
        self.module: ModuleType = self._build()

    def _build(self) -> ModuleType:
        problem, method = self.problem, _METHODS[self.problem.method.name]
        flags = Flags(
            self.dtype == np.float32, problem.has_own_parameters,
            tuple(signal.array.shape[0] > 1 for signal in problem.inputs.signals),
            tuple(signal.array.shape[0] > 1 for signal in problem.targets.signals),
        )
        kept = problem.bound.__dict__
        if "_places" not in kept:
            shapes = [value.shape for value in problem.bound.parameters.values()]
            kept["_places"] = tables_digest([*problem.system.terms, *problem.bound.terms]), shapes
        places, shapes = kept["_places"]
        key = (
            problem.method.name, problem.bound.digest, places, tuple(shapes), flags.single, flags.parameters,
            flags.inputs, flags.targets, self.width,
        )  # fmt: skip
        known: dict = problem.system.__dict__.setdefault("_unrolled", {})
        if key not in known:
            kernels = (*kernels_of(method), *kernels_of(entries))
            if not problem.costs:
                echo = ("back_block", "echo_block", "unrolled_gradient")
                kernels = tuple(kernel for kernel in kernels if kernel.__name__ not in echo)
            known[key] = build_unrolled(
                problem.system, problem.bound.terms, problem.bound.digest, shapes, problem.method.name,
                method.functions, kernels, len(problem.bound.targets), flags, self.width,
            ).module  # fmt: skip
        return known[key]

    # ------------------------------------------------------------------ lanes and samples
    def rows(self, count: int) -> ndarray:
        return empty_rows(count, self.width, self.dtype)

    def to_lanes(self, values: ndarray, out: ndarray) -> None:
        """(samples, n) into out (blocks, n, width)."""
        full = self.samples//self.width
        out[:full] = values[: full*self.width].reshape(full, self.width, -1).transpose(0, 2, 1)
        if full < self.count:
            out[full] = values[self.starts[full] :].T

    def to_samples(self, values: ndarray) -> ndarray:
        """(blocks, ..., width) as (samples, ...)."""
        moved = values.transpose(0, values.ndim - 1, *range(1, values.ndim - 1))
        full = self.samples//self.width
        whole = moved[:full].reshape(full*self.width, *moved.shape[2:])
        if full < self.count:
            return np.concatenate([whole, moved[full, full*self.width - self.starts[full] :]])
        return whole

    @property
    def fresh(self) -> ndarray:
        """Which lanes of which blocks are samples that no block before has, (blocks, width)."""
        fresh = np.ones((self.count, self.width), bool)
        if self.count > 1:
            fresh[-1, : self.starts[-2] + self.width - self.starts[-1]] = False
        return fresh

    # ------------------------------------------------------------------ runs
    def _over_blocks(self, call: Callable[[int, int, ndarray], None]) -> None:
        """Call with ranges of blocks and a coefficient table for each thread."""
        threads = min(self.threads or 1, self.count)
        entries_of_table = 4*max(self.module.COEFFICIENTS, 1)

        def table() -> ndarray:
            if self.problem.has_own_parameters:
                return self.rows(entries_of_table)
            return np.empty(entries_of_table, self.dtype)

        if threads == 1:
            call(0, self.count, table())
            return
        edges = np.linspace(0, self.count, threads + 1).astype(int)
        ranges = [(int(a), int(b)) for a, b in zip(edges[:-1], edges[1:], strict=True)]
        others = [_pool(threads - 1).submit(call, *blocks, table()) for blocks in ranges[1:]]
        call(*ranges[0], table())  # the calling thread takes its share
        for done in others:
            done.result()

    def state(self, q: ndarray, p: ndarray, v: ndarray) -> ndarray:
        """Rows of positions, momenta and velocities of every block."""
        z = self.rows(self.count*3*self.size)
        view = z.reshape(self.count, 3, self.size, self.width)
        for part, values in enumerate((q, p, v)):
            self.to_lanes(values, view[:, part])
        return z

    def run(
        self, z: ndarray, first: int, count: int, slots: ndarray | None = None, gradient: str = "",
        retrace: str | None = None, w: ndarray | None = None, g: ndarray | None = None,
    ) -> dict[str, ndarray]:  # fmt: skip
        """``count`` steps from node ``first`` on; ``gradient`` is "there", "back" or "both" with the echo."""
        problem, module = self.problem, self.module
        env = problem.env(first, count)
        theta, signals = (a.astype(self.dtype, copy=False) for a in (env.theta, env.signals))
        saved = 0 if slots is None else int(slots.max(initial=-1)) + 1
        slots = np.full(count + 1, -1) if slots is None else slots
        nodes = self.rows(self.count*saved*2*self.size)
        totals, bounds, residual = (np.zeros((self.count, self.width), self.dtype) for _ in range(3))
        closing, opening = first + count == problem.grid.steps, first == 0
        if not gradient:
            def forward(low: int, high: int, c: ndarray) -> None:
                module.unrolled_forward(
                    theta, signals, env.table, c, self.starts, low, high, count, slots, 2*self.size*saved, nodes,
                    totals, z, bounds, residual, closing,
                )  # fmt: skip
            self._over_blocks(forward)
        else:
            stored = gradient == "both" and self.stores(count, retrace)
            assert g is not None
            rows, sums = g.shape[1], g.reshape(-1, self.width)

            def both(low: int, high: int, c: ndarray) -> None:
                path = self.rows(((count if stored else min(count, module.PART)) + 1)*self.kept)
                module.unrolled_gradient(
                    theta, signals, env.table, c, self.starts, low, high, count, slots, 2*self.size*saved, nodes,
                    path, stored, totals, z, bounds, residual, closing, opening, gradient != "back",
                    gradient != "there", w, sums, rows,
                )  # fmt: skip
            self._over_blocks(both)
        return {"nodes": nodes.reshape(self.count, saved, 2, self.size, self.width), "losses": totals,
                "bounds": bounds, "residual": residual}  # fmt: skip

    def nodes_of(self, z: ndarray, first: int, count: int) -> ndarray:
        """All nodes of a run from z, which is left alone: (samples, count + 1, 2, d)."""
        again, slots = z.copy(), np.arange(count + 1)
        if self.problem.costs:
            g = np.zeros((self.count, 0, self.width), self.dtype)
            found = self.run(again, first, count, slots, "there", None, self.rows(0), g)
        else:
            found = self.run(again, first, count, slots)
        return self.to_samples(found["nodes"])

    def stores(self, count: int, retrace: str | None) -> bool:
        """Whether the echo reads stored states: where they fit the cache, unless the user decides."""
        if retrace is not None:
            return retrace == "store"
        return (count + 1)*self.kept*self.width*self.dtype.itemsize <= near_cache()


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that wait for work: to start them costs as much as a small run."""
    return ThreadPoolExecutor(threads)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork


def stretches(problem: Problem, samples: int, backwards: bool = False) -> list[tuple[int, int]]:
    """(first, count) of the runs that cover the grid: one, unless inputs or targets in time would fill memory."""
    steps = problem.grid.steps
    if problem.inputs.constant and problem.targets.constant:
        length = steps
    else:
        signals = (*problem.inputs.signals, *problem.targets.signals)
        wide = sum(signal.array.shape[0]*signal.array.shape[2] for signal in signals)
        length = max(1024, 2**22//max(wide, 1))
    found = [(k, min(length, steps - k)) for k in range(0, steps, length)]
    return found[::-1] if backwards else found


def cores() -> int:
    """How many threads a default run may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
