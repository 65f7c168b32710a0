"""The module of a chain whose sites stand in lanes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..symbols.definition import Definition
from . import cache
from .build import Build
from .kernel import text_of
from .swept import Run, Swept
from .unrolled_text import definition, header_text


def build_swept(
    system: Definition, shapes: Sequence[tuple[int, ...]], runs: Sequence[Run | None], kernels: Sequence[Callable],
    width: int,
) -> tuple[Build, Swept]:  # fmt: skip
    """The module, from the cache where it is there, and the expressions it was made of."""
    swept = Swept(system.terms, shapes, runs)
    forms = [run.offsets if run else None for run in runs]
    ranks = [len(shape) for shape in shapes]
    name = cache.name_of("swept", system.digest, f"{forms} {ranks} {width}")

    def write() -> str:
        functions = swept.text()
        carried = ", ".join("0.0*p0" for run in runs if run and len(run.offsets) == 2)
        lines = ["p0 = lanes(p, 0)", "q0 = lanes(q, WIDTH)", f"return ({carried + ', ' if carried else ''}q0,)"]
        functions.insert(0, definition("nothing_carried", "q, p", lines))
        title = f"verlet, swept: {len(system.terms)} terms, {width} sites in lanes. Generated; do not edit."
        coefficients = len(swept.hoisting.coefficients)
        header = header_text(title, width, 0, coefficients)
        return "\n\n".join([header, *functions, *map(text_of, kernels)])

    module, hit = cache.fetch(name, write)
    return Build(module, hit), swept
