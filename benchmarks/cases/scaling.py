"""How the cost of the library grows: with sites, steps, samples, stages and threads.

A chain of coupled Duffing oscillators as in the case ``tracking``, forward and the gradient in all its parameters; for
stages a double pendulum by Gauss elements. Labels are "forward" or "gradient" and the value on the axis.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..harness import PROJECT, Case, Peer, Run, first_words, numbers, require

STEP, AIM = 0.02, 0.3


def problem(size: str) -> SimpleNamespace:
    """The axis, and the values on it."""
    return SimpleNamespace(axis=size.split()[0], values=numbers(size))


def duffing(sites: int, steps: int, batch: int, **options: Any) -> dict[str, Run]:
    """Forward and gradient; a unit is a site, a step and a sample."""
    import sympy as sp
    from sympy.physics.mechanics import dynamicsymbols

    import lagrangian_eqprop as lep

    (x, z), (m, k, c, g, y) = dynamicsymbols("x z"), sp.symbols("m k c g y")
    left = np.arange(sites - 1)
    network = lep.System(
        [
            lep.Term(m*x.diff()**2/2 - k*x**2/2 - c*x**4/4, on=[x], at=np.arange(sites)),
            lep.Term(-g*(z - x)**2/2, on=[x, z], at=np.stack([left, left + 1], 1)),
        ],
        size=sites,
        parameters={m: np.ones(sites), k: np.ones(sites), c: np.full(sites, 0.2), g: np.full(sites - 1, 0.5)},
    )
    random = np.random.default_rng(9)
    start = lep.Initial(q=0.5*random.standard_normal((batch, sites)), p=0.5*random.standard_normal((batch, sites)))
    grid = lep.Grid(steps, step=STEP)
    cost = lep.Cost((x - y)**2/2, on=[x], at=[sites - 1], targets=[y])
    units = sites*steps*batch

    def forward() -> dict[str, Any]:
        return {"q": network.trajectory(start, grid, save="last", **options).q, "units": units}

    def gradient() -> dict[str, Any]:
        return {"gradient": network.gradient(start, grid, cost, targets={y: AIM}, **options)[k], "units": units}

    return {"forward": forward, "gradient": gradient}


def pendulum(stages: int) -> dict[str, Run]:
    """Gauss elements of so many stages; a unit is a step and a stage."""
    import sympy as sp
    from sympy.physics.mechanics import dynamicsymbols

    import lagrangian_eqprop as lep

    require(lep.System.trajectory, "stages")
    a, b = dynamicsymbols("a b")
    v, w = a.diff(), b.diff()
    y = sp.Symbol("y")
    system = lep.System(v**2 + w**2/2 + v*w*sp.cos(a - b) + 19.62*sp.cos(a) + 9.81*sp.cos(b), coordinates=[a, b])
    start, grid, steps = lep.Initial(q=[1.0, 0.5], v=[0.3, -0.2]), lep.Grid(1000, step=0.01), 1000
    cost = lep.Cost((b - y)**2/2, targets=[y])
    options: dict[str, Any] = {"method": "gauss", "stages": stages}

    def forward() -> dict[str, Any]:
        path = first_words(lambda: system.trajectory(start, grid, save="last", **options), "method")
        return {"q": path.q, "units": steps*stages}

    def gradient() -> dict[str, Any]:
        result = first_words(lambda: system.gradient(start, grid, cost, targets={y: AIM}, **options), "method")
        return {"gradient": result.initial.q, "units": steps*stages}

    return {"forward": forward, "gradient": gradient}


def threads(count: int) -> dict[str, Run]:
    """So many threads, on as many cores as there are."""
    import lagrangian_eqprop as lep

    require(lep.System.trajectory, "threads")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
    return duffing(16, 1000, 512, threads=count)


AXES: Mapping[str, Callable[[int], dict[str, Run]]] = {
    "sites": lambda sites: duffing(sites, max(2**20//sites, 10), 1),
    "steps": lambda steps: duffing(16, steps, 64),
    "samples": lambda batch: duffing(16, 1000, batch),
    "stages": pendulum,
    "threads": threads,
}


def project(work: Any) -> dict[str, Run]:
    """The library, at every value on the axis."""
    found: dict[str, Run] = {}
    for value in work.values:
        for kind, run in AXES[work.axis](value).items():
            found[f"{kind} {value}"] = run
    return found


CASE = Case(
    name="scaling",
    title="How the cost grows",
    statement=(
        "This library alone, forward and gradient: over the sites of one long chain (about a million site "
        "steps each), and for 16 coupled oscillators over steps (64 samples), samples (1000 steps) and "
        "threads (512 samples, 1000 steps); over the stages of Gauss elements for one double pendulum (1000 "
        "steps)."
    ),
    sizes=("sites 16 256 4096 65536", "steps 100 1000 10000", "samples 1 8 64 512", "stages 2 4 8", "threads 1 2"),
    quick=("samples 1 3",),
    problem=problem,
    reference=lambda work: {},
    errors=lambda work, label, result, truth: {},
    peers={PROJECT: Peer(project)},
    repeats=7,
    work=lambda size, label: f"{label.split()[1]} {size.split()[0]}, {label.split()[0]}",
)
