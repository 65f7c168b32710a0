"""The compiler: from a definition to a module of kernels, in named stages, each a file, each timed.

    derivatives   derivatives.py   reverse mode on the expression graph (inside lowering)
    lowering      lowering.py      which local values each function of a term needs, a loop over its places
    emission      emission.py      one readable self-contained module
    cache         cache.py         a file named by a hash of its input; a hit skips the stages above
    machine code  numba            at the first call of each kernel, kept beside the file

The expression itself was read into a graph when the system was defined (``symbols``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import ModuleType

from ..symbols.definition import Definition
from ..symbols.terms import LocalTerm
from . import cache
from .emission import module_text
from .lowering import lower


@dataclass(frozen=True)
class Build:
    """A compiled system: its module, and what each stage took."""

    module: ModuleType
    hit: bool
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def source(self) -> str:
        with open(str(self.module.__file__), encoding="utf-8") as file:
            return file.read()


_builds: dict[str, Build] = {}


def build(
    system: Definition,
    costs: Sequence[LocalTerm],
    cost_digest: str,
    method: str,
    kernels: Sequence[Callable],
    separable: bool,
    parameters: int,
    targets: int,
    compiled: bool = True,
) -> Build:
    """The module of a system, its costs and a method; from the cache where it is there."""
    begin = time.perf_counter()
    name = cache.name_of(system.digest, cost_digest, method, f"{compiled} {parameters} {targets}")
    if name in _builds:
        return _builds[name]
    seconds: dict[str, float] = {}

    def write() -> str:
        started = time.perf_counter()
        functions = lower(system.terms, costs, separable, system.constraints)
        seconds["derivatives and lowering"] = time.perf_counter() - started
        started = time.perf_counter()
        terms = len(system.terms) + len(system.constraints)
        title = f"{method}: {terms} terms, {len(costs)} costs. Generated; do not edit."
        text = module_text(
            functions, kernels, title, compiled, parameters, len(system.inputs), targets, terms, system.damping
        )
        seconds["emission"] = time.perf_counter() - started
        return text

    module, hit = cache.fetch(name, write)
    seconds["cache and import"] = time.perf_counter() - begin - sum(seconds.values())
    _builds[name] = Build(module, hit, seconds)
    return _builds[name]
