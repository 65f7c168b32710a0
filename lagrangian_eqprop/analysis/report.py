"""``system.compile()``: compile ahead of time, and say what it took."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..compiler import cache
from ..compiler.analysis import why_not
from ..compiler.build import Build, build
from ..compiler.build_unrolled import unrollable
from ..compiler.products import products_of
from ..eqprop.gradient import cost_list, kernels_for
from ..errors import invalid
from ..methods import choose
from ..solvers.problem import bind
from ..symbols.definition import Definition
from ..symbols.terms import LocalTerm


@dataclass(frozen=True)
class CompileReport:
    """What :meth:`System.compile` did; printing it shows the lines.

    Attributes
    ----------
    method : str
        The integrator chosen, and why.
    seconds : dict of str to float
        What each stage took; stages that the cache made unnecessary are absent.
    cached : bool
        Whether the module was there already.
    lowering : dict of str to str
        How each term is evaluated.
    path : str
        The generated module.
    """

    method: str
    reason: str
    seconds: dict[str, float]
    cached: bool
    lowering: dict[str, str]
    path: str

    def __str__(self) -> str:
        lines = [f"method: {self.method} ({self.reason})"]
        lines += [f"{stage}: {1e3*seconds:.1f} ms" for stage, seconds in self.seconds.items()]
        lines += [f"{term}: {how}" for term, how in self.lowering.items()]
        return "\n".join([*lines, f"module ({'found in the cache' if self.cached else 'new'}): {self.path}"])


def built(
    system: Definition, method: str | None, cost: Any, compiled: bool = True, order: int | None = None
) -> Build:  # fmt: skip
    """The module of a system, without any values."""
    bound = bind(system, cost_list(cost))
    chosen = choose(system, method, order)
    return build(
        system, bound.terms, bound.digest, chosen.name, (*chosen.kernels, *kernels_for(cost_list(cost), system.forced)),
        chosen.explicit, len(bound.parameters), len(bound.targets), compiled,
    )  # fmt: skip


def compile_report(
    system: Definition, method: str | None = None, cost: Any = None, order: int | None = None
) -> CompileReport:  # fmt: skip
    """Build the module and the machine code of the time step."""
    reason = why_not(system)
    chosen = choose(system, method, order)
    if chosen.name == "gauss":
        raise invalid("method", "'verlet' or 'midpoint' here (Gauss compiles when its stages are known)", "'gauss'")
    made = built(system, method, cost, order=order)
    seconds = dict(made.seconds)
    begin = time.perf_counter()
    machine_code(made)
    seconds["machine code of the time step"] = time.perf_counter() - begin
    lowering = lowerings(system, bind(system, cost_list(cost)).terms, chosen.name)
    why = f"{reason}, so L does not separate" if reason else "L separates with constant masses: steps are explicit"
    if chosen.first_order:
        why = "L is linear in the velocities: q alone is the state"
    elif system.constraints:
        why = "L separates with constant masses: a step is explicit but for the multipliers of the constraints"
    path = str(cache.folder() / f"{made.module.__name__}.py")
    return CompileReport(chosen.name, why if method is None else "asked for", seconds, made.hit, lowering, path)


def lowerings(system: Definition, costs: Sequence[LocalTerm], method: str) -> dict[str, str]:
    """How each term of a system and its costs is evaluated in paths from initial data, and in Exact."""
    if method in ("verlet", "midpoint") and unrollable((*system.terms, *costs), system.size):
        return {term.label: "written out" for term in (*system.terms, *costs)}
    products = products_of(system) if method == "verlet" else None
    if any(term.places.kind != "table" for term in costs):
        products = None
    found = {}
    for number, term in enumerate((*system.terms, *system.constraints, *costs)):
        places = term.places
        form = {
            "table": f"a loop over {places.shape[0]} rows of an index table" if places.shape[0] > 1 else "one place",
            "pairs": f"a double loop over {places.shape[0]} x {places.shape[-1]} pairs, no table",
            "group": f"a double loop over the pairs of {places.shape[0]} coordinates, no table",
        }[places.kind]
        if products and number in products:
            count = sum(part.feature != term.graph.one for part in products[number])
            form = f"matrix products ({count} {'product' if count == 1 else 'products'} a step)"
        found[term.label] = form
    return found


def machine_code(made: Build) -> None:
    """Let numba compile the loop over time steps for float64 arrays."""
    from numba import types

    from ..compiler.contract import Environment

    vector, matrix, cube = types.float64[::1], types.float64[:, ::1], types.float64[:, :, ::1]
    integers = types.int64[::1]
    env = types.NamedTuple((vector, vector, integers), Environment)
    made.module.advance.compile((env, types.int64, types.int64, matrix, matrix, matrix, cube, cube, integers, vector))
