"""The module of a chain whose parts stand in lanes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..symbols.definition import Definition
from . import cache
from .build import Build
from .kernel import text_of
from .swept import Run, Swept
from .unrolled_text import definition, header_text

_LARGEST = np.finfo(float).max
# what moves rows: name, arguments, lines
_MOVES = [
    ("begin", "q, p, s", "a = lanes(q, s)", "b = lanes(p, s)", "return (a, b, a,)"),
    ("turned", "z", "a, b, c, = z", "d = shifted(c, c)", "return (d, 0.0*d, c,)"),
    ("keep", "q, p, s, z", "a, b, c, = z", "put(q, s, a)", "put(p, s, b)", "return ()"),
    ("to_next", "x, to, of", "a = lanes(x, of)", "put(x, to, shifted(a, a))", "return ()"),
    ("to_last", "x, to, of", "a = lanes(x, of)", "put(x, to, following(a, a))", "return ()"),
    ("begin_stiffness", "q, s", "a = lanes(q, s)", "b = 0.0*a", "return (a, b, b,)"),
    ("put_in", "x, s, state, r, own, scale", "put(x, s, scale*gather(state, r, own))", "return ()"),
    ("take_out", "x, s, state, r, own, scale, z", "lost, = z", "a = scale*lanes(x, s)", "scatter(state, r, own, a)",
     f"b = lost + select(less_equal(magnitude(a), {_LARGEST}), 0.0, 1.0)", "return (b,)"),
    ("nothing_lost", "x, s", "a = 0.0*lanes(x, s)", "return (a,)"),  # nan if that row is not finite
    ("all_lost", "z", "lost, = z", "return (total(lost),)"),
]  # fmt: skip


def build_swept(
    system: Definition, shapes: Sequence[tuple[int, ...]], runs: Sequence[Run], uniform: bool,
    kernels: Sequence[Callable], width: int,
) -> tuple[Build, Swept]:  # fmt: skip
    """The module, from the cache where it is there, and the expressions it was made of."""
    swept = Swept(system.terms, shapes, runs, uniform)
    ranks = [len(shape) for shape in shapes]
    name = cache.name_of("swept", system.digest, f"{[run.form for run in runs]} {ranks} {uniform} {width}")

    def write() -> str:
        functions = swept.text()
        functions += [definition(name, arguments, lines) for name, arguments, *lines in _MOVES]
        title = f"verlet, swept: {len(system.terms)} terms, {width} parts in lanes. Generated; do not edit."
        coefficients = max(len(swept.hoisting.coefficients), 1)
        header = header_text(title, width, 0, coefficients)
        return "\n\n".join([header, *functions, *map(text_of, kernels)])

    module, hit = cache.fetch(name, write)
    return Build(module, hit), swept
