"""Which compiled code solves the whole paths of a problem, and the buffers it works in.

A system small enough to be written out has a module of its own (``newton_text``), eight intervals at a time for real
numbers, one for complex ones. Every other system, a method without a formula there, and plain Python use the
problem's module, whose equations are summed term by term (``newton_terms``). The elimination is compiled once for all
systems that are written out.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy import ndarray

from ..compiler import cache
from ..compiler.contract import HEADER, Environment, Layout
from ..compiler.emission import module_text
from ..compiler.kernel import kernels_of
from ..compiler.unrolled import operations
from . import newton_band, newton_gauss, newton_lanes, newton_paths
from .gauss_text import Element, elements_text
from .newton_paths import Room
from .newton_text import STAGES, Path, path_text
from .problem import Problem

LANES = 8
OPERATIONS = 1000  # of L and c at all places, above which a system is not written out
KNOWN = 4  # coordinates up to which the elimination is compiled for their number
_KEPT_BYTES = 2**26  # buffers above are not kept from call to call

_kept = threading.local()


@dataclass(frozen=True)
class Backend:
    """The module for one system with its costs, one method and one kind of number."""

    module: ModuleType
    dtype: type
    lanes: int = 1  # intervals at a time
    rows: int = 0  # of lanes, for what the functions of an interval return
    timed: bool = False  # whether they ask for the time


class Workspace:
    """A backend with the environment and the buffers of one problem.

    The buffers are scratch. A thread uses them for one call after another, so that the system need not clear fresh
    memory every time.
    """

    def __init__(
        self, problem: Problem, env: Environment, low: int, high: int, complex_numbers: bool = False,
        written_out: bool = True,
    ) -> None:  # fmt: skip
        plain = Backend(problem.module, complex if complex_numbers else float) if not written_out else None
        self.backend = backend = plain or backend_of(problem, complex_numbers)
        nodes, d = problem.grid.steps + 1, problem.system.size
        self.compiled, self.env = problem.compiled, env
        self.span = (nodes, d, low, high)
        self.shape = (1,)*d if d <= KNOWN else ()
        self.size = nodes*d
        self.length = self.size + backend.lanes*d  # of a path with room behind
        if backend.rows and problem.stages:
            self.length += problem.grid.steps*(problem.stages - 1)*d  # for the modes of Gauss elements
        self.room = _room(self.size, self.length, d, backend)
        self.room = self.room._replace(pace=1.0/problem.grid.gamma)
        if backend.timed:
            self.room = self.room._replace(times=problem.grid.times(0, nodes + backend.lanes))
        if backend.lanes > 1 and (problem.inputs.signals or problem.costs):
            first = HEADER + problem.theta_layout.size
            count = 4*(len(problem.inputs.signals) + len(problem.targets.signals))
            strides = env.table[first : first + count].reshape(-1, 4)[:, 2]
            behind = np.zeros(backend.lanes*max(problem.stages, 1)*int(strides.max(initial=1)))
            self.env = env._replace(signals=np.concatenate([env.signals, behind]))

    def padded(self, paths: ndarray) -> ndarray:
        """Paths (rows, nodes, d) as flat rows with room behind."""
        flat: ndarray = np.zeros((len(paths), self.length), self.backend.dtype)
        flat[:, : self.size] = paths.reshape(len(paths), self.size)
        return flat

    def paths(self, flat: ndarray) -> ndarray:
        """Flat rows, with room behind or without, as paths (rows, nodes, d)."""
        return np.ascontiguousarray(flat[:, : self.size]).reshape(len(flat), *self.span[:2])

    def run(self, name: str, *arguments: Any) -> None:
        """Call an entry of the backend; plain Python must not warn where compiled code would not."""
        function = getattr(self.backend.module, name)
        if self.compiled:
            function(self.env, *arguments)
            return
        with np.errstate(all="ignore"):
            function(self.env, *arguments)


def _room(size: int, length: int, d: int, backend: Backend) -> Room:
    """This thread's buffers, new ones where the last do not fit."""
    key = size, length, d, backend.dtype, backend.lanes, backend.rows
    last = getattr(_kept, "room", None)
    if last is not None and last[0] == key:
        return last[1]
    more, dtype = size + d, backend.dtype
    room = Room(
        np.empty(length, dtype), np.empty(more, dtype), np.empty(more, dtype), np.empty(2*d*more, dtype),
        np.empty(more), np.empty(d, np.int64), np.empty(0), np.empty((backend.rows, backend.lanes), dtype),
        np.ones(1),
    )  # fmt: skip
    if room.H.nbytes <= _KEPT_BYTES:
        _kept.room = key, room
    return room


def backend_of(problem: Problem, complex_numbers: bool) -> Backend:
    """The backend of a problem, kept with its costs."""
    kept: dict[Any, Backend] = problem.bound.__dict__.setdefault("_path_backends", {})
    key = problem.method.name, problem.compiled, complex_numbers, problem.stages
    if key not in kept:
        dtype = complex if complex_numbers else float
        fits = operations((*problem.system.terms, *problem.bound.terms)) <= OPERATIONS
        if problem.compiled and (problem.method.name in STAGES or problem.stages) and fits:
            lanes = 1 if complex_numbers else LANES
            module = _written_out(problem, lanes)
            kept[key] = Backend(module, dtype, lanes, module.ROWS, module.TIMED)
        else:
            kept[key] = Backend(problem.module, dtype)
    return kept[key]


def _written_out(problem: Problem, width: int) -> ModuleType:
    """The module of a system with all its places; from the cache where it is there."""
    system, bound = problem.system, problem.bound
    shapes = [value.shape for value in bound.parameters.values()]
    places = hashlib.sha256()
    for term in (*system.terms, *bound.terms):
        places.update(f"{term.places.kind} {term.places.shape} ".encode() + term.places.table.tobytes())
    numbers = f"{width} {system.size} {len(system.terms)} {shapes} {len(bound.targets)} {problem.stages}"
    name = cache.name_of("paths", system.digest, bound.digest, problem.method.name, numbers, places.hexdigest())
    shared = cache.name_of("band elimination")
    title = "Band elimination, for all systems. Generated; do not edit."
    cache.fetch(shared, lambda: module_text([], kernels_of(newton_band), title, True))

    def write() -> str:
        layout = Layout(len(shapes), len(system.inputs), len(bound.targets), len(system.terms))
        kernels = [k for part in (newton_lanes, newton_paths) for k in kernels_of(part)]
        title = f"Whole paths, {problem.method.name}, {width} intervals at a time. Generated; do not edit."
        eliminates = {shared: kernels_of(newton_band)}
        if problem.stages:
            element = Element(system.size, shapes, layout, system.terms, bound.terms, problem.stages)
            return elements_text(element, [*kernels_of(newton_gauss), *kernels], title, width, eliminates)
        path = Path(system.size, shapes, layout, system.terms, bound.terms, STAGES[problem.method.name])
        return path_text(path, kernels, title, width, eliminates)

    return cache.fetch(name, write)[0]
