"""The module of an unrolled system: from its definition to kernels in lanes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple

from ..symbols.definition import Definition
from ..symbols.terms import LocalTerm
from . import cache
from .build import Build
from .contract import Layout
from .machine import registers
from .unrolled import LIMIT, Flags, Straight, Unrolled, operations
from .unrolled_text import module_text

_builds: dict[str, Build] = {}


def unrollable(terms: Sequence[LocalTerm], size: int) -> bool:
    """Whether a system is small enough to be written out."""
    return size <= 64 and operations(terms) <= LIMIT


def tables_digest(terms: Sequence[LocalTerm]) -> str:
    """A hash of the places of all terms, which an unrolled module has in its text."""
    digest = hashlib.sha256()
    for term in terms:
        digest.update(repr(term.places.shape).encode() + term.places.table.tobytes())
    return digest.hexdigest()


def build_unrolled(
    system: Definition, costs: Sequence[LocalTerm], cost_digest: str, shapes: Sequence[tuple[int, ...]],
    method: str, functions: Callable[[Unrolled], list[Straight]], kernels: Sequence[Callable], targets: int,
    flags: Flags, width: int,
) -> Build:  # fmt: skip
    """The module, from the cache where it is there."""
    begin = time.perf_counter()
    places = tables_digest([*system.terms, *costs])
    options = f"{system.size} {shapes} {targets} {astuple(flags)} {width} {registers()}"
    name = cache.name_of("unrolled", system.digest, cost_digest, places, method, options)
    if name in _builds:
        return _builds[name]
    seconds: dict[str, float] = {}

    def write() -> str:
        started = time.perf_counter()
        layout = Layout(len(shapes), len(system.inputs), targets, len(system.terms))
        unrolled = Unrolled(system.size, shapes, flags, layout)
        unrolled.add(system.terms, costs)
        derived = functions(unrolled)
        seconds["derivatives and lowering"] = time.perf_counter() - started
        started = time.perf_counter()
        title = f"{method}, unrolled: {system.size} coordinates, {width} lanes. Generated; do not edit."
        text = module_text(unrolled, derived, kernels, title, width)
        seconds["emission"] = time.perf_counter() - started
        return text

    module, hit = cache.fetch(name, write)
    seconds["cache and import"] = time.perf_counter() - begin - sum(seconds.values())
    _builds[name] = Build(module, hit, seconds)
    return _builds[name]
