"""From the import to the first result, in a fresh process; with an empty cache, and with what an earlier process left.

See ``benchmarks.cold`` for the work. The references are a midpoint rule in numpy by fixed-point iteration and scipy's
DOP853 for the links, and forward and adjoint in numpy for the sites.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from .. import cold
from ..harness import PROJECT, Case, Peer, Run, distance, numbers, relative


def problem(size: str) -> SimpleNamespace:
    """The size alone."""
    return SimpleNamespace(size=size, kind=size.split()[0], count=numbers(size)[0])


def fresh(peer: str) -> Callable[[Any], dict[str, Run]]:
    """Every run is a process of its own."""

    def build(work: Any) -> dict[str, Run]:
        kept = tempfile.TemporaryDirectory(prefix="benchmarks_cold_")

        def once(cache: Path) -> dict[str, Any]:
            target = cache/"result.npz"
            command = [sys.executable, "-m", "benchmarks.cold", peer, work.size, str(target), str(cache)]
            begin = time.perf_counter()
            done = subprocess.run(
                command, env={**os.environ, "LAGRANGIAN_EQPROP_CACHE": str(cache)}, capture_output=True, text=True
            )
            whole = time.perf_counter() - begin
            if done.returncode:
                raise RuntimeError(done.stderr.strip().splitlines()[-1])
            seconds = json.loads(done.stdout.splitlines()[-1])["seconds"]
            with np.load(target) as stored:
                return {**stored, "seconds": seconds, "note": f"whole process {whole:.2f} s"}

        def empty() -> dict[str, Any]:
            with tempfile.TemporaryDirectory(prefix="benchmarks_cold_") as folder:
                return once(Path(folder))

        def warm() -> dict[str, Any]:
            cache = Path(kept.name)
            if not (cache/"result.npz").exists():
                once(cache)
            return once(cache)

        return {"empty cache": empty, "warm cache": warm}

    return build


def links(n: int) -> dict[str, np.ndarray]:
    """The angles of the links after the discrete map, and after the motion."""
    from scipy.integrate import solve_ivp

    a, begin = cold.rods(n)
    weight = cold.G*np.diag(a)

    def slopes(q: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """L_q, and the mass matrix."""
        apart = q[:, None] - q
        return -(a*np.sin(apart)*v).sum(1)*v - weight*np.sin(q), a*np.cos(apart)

    q, v, p, h = begin, 0*begin, 0*begin, cold.STEP
    for _ in range(cold.STEPS):
        for _ in range(60):
            Lq, mass = slopes(q + h/2*v, v)
            v = np.linalg.solve(mass, p + h/2*Lq)
        Lq, mass = slopes(q + h/2*v, v)
        q, p = q + h*v, mass @ v + h/2*Lq

    def rate(_: float, y: np.ndarray) -> np.ndarray:
        q, v = np.split(y, 2)
        apart = q[:, None] - q
        return np.concatenate([v, np.linalg.solve(a*np.cos(apart), -(a*np.sin(apart)*v**2).sum(1) - weight*np.sin(q))])

    done = solve_ivp(rate, (0.0, cold.STEPS*h), np.concatenate([begin, 0*begin]), "DOP853", rtol=1e-12, atol=1e-12)
    return {"discrete": q, "motion": done.y[:n, -1]}


def sites(n: int) -> dict[str, np.ndarray]:
    """The gradient in all springs."""
    k, q = cold.oscillators(n)
    h, p, path = cold.SITE_STEP, np.zeros(n), []

    def coupled(d: np.ndarray) -> np.ndarray:
        return np.diff(cold.COUPLING*np.diff(d), prepend=0.0, append=0.0)

    for s in range(cold.SITE_STEPS):
        path.append(q)
        p = p + (h if s else h/2)*(coupled(q) - (k + cold.QUARTIC*q*q)*q)
        q = q + h*p
    to_q, to_p, slope = q.copy(), np.zeros(n), np.zeros(n)
    for s in range(cold.SITE_STEPS - 1, -1, -1):
        to_p += h*to_q
        w = (h if s else h/2)*to_p
        slope -= w*path[s]
        to_q = to_q + coupled(w) - w*(k + 3*cold.QUARTIC*path[s]**2)
    return {"gradient": slope}


def reference(work: Any) -> dict[str, np.ndarray]:
    """The answers by other means."""
    return links(work.count) if work.kind == "links" else sites(work.count)


def errors(work: Any, label: str, result: Mapping[str, Any], truth: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Distances of the angles from the discrete map (rounding) and from the motion, or relative of the gradient."""
    if work.kind == "sites":
        return {"error": relative(result["gradient"], truth["gradient"])}
    found = {"error": distance(result["q"], truth["motion"])}
    if "adaptive" not in result:
        found["rounding"] = distance(result["q"], truth["discrete"])
    return found


CASE = Case(
    name="cold_start",
    title="Cold start",
    statement=(
        "A fresh process, from the import of the library to its first result, imports and compilation "
        "included (numpy and sympy are there before). Sizes: links of a pendulum, 100 midpoint steps; sites "
        "of a chain of oscillators, the gradient of 10 Verlet steps in a spring at each site."
    ),
    sizes=("links 2", "links 10", "sites 10", "sites 1000000"),
    quick=("sites 10",),
    problem=problem,
    reference=reference,
    errors=errors,
    peers={
        PROJECT: Peer(fresh("here")),
        "jax": Peer(fresh("jax"), ("jax",)),
        "heyoka": Peer(fresh("heyoka"), ("heyoka",), sizes=("links",)),
    },
    repeats=3,
)
