"""Separable Lagrangians that no library has a list of: given as text, Störmer-Verlet, forward and gradient.

The reference is a loop over steps in numpy, and a complex step in every parameter for the gradient.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from ..harness import PROJECT, Case, Peer, Run, numbers
from ..texts import Text, complex_steps, errors, jax_runs, loss_of, project, work_of


def total(form: str, count: int, ring: bool = True) -> str:
    """A sum over sites, with i the site and j the next one."""
    return " + ".join(form.format(i=i, j=(i + 1) % count) for i in range(count if ring else count - 1))


def sites(count: int) -> str:
    """Names of coordinates."""
    return " ".join(f"q{i}" for i in range(count))


PAIRS = " + ".join(f"q{i}**2*q{j}**2" for j in range(6) for i in range(j))

TEXTS = {
    "henon_heiles": Text(
        "m*(dx**2 + dy**2)/2 - k*(x**2 + y**2)/2 - c*(x**2*y - y**3/3)", "x y",
        {"m": 1.0, "k": 1.0, "c": 0.8}, 0.02, (-0.3, 0.3), (-0.2, 0.2),
    ),
    "quartics": Text(
        f"m/2*({total('dq{i}**2', 6)}) - k/2*({total('q{i}**2', 6)}) "
        f"- a/4*({total('q{i}**4', 6)}) - c/2*({PAIRS})", sites(6),
        {"m": 1.1, "k": 0.9, "a": 0.4, "c": 0.3}, 0.02, (-0.8, 0.8), (-0.5, 0.5),
    ),
    "rotors": Text(
        f"m/2*({total('dq{i}**2', 8)}) + j*({total('cos(q{j} - q{i})', 8)}) + f*({total('cos(q{i})', 8)})", sites(8),
        {"m": 1.0, "j": 0.7, "f": 0.3}, 0.02, (-1.0, 1.0), (-0.5, 0.5),
    ),
    "toda": Text(
        f"m/2*({total('dq{i}**2', 8)}) - a/b*({total('exp(b*(q{j} - q{i}))', 8)})", sites(8),
        {"m": 1.0, "a": 1.0, "b": 0.6}, 0.02, (-0.7, 0.7), (-0.7, 0.7),
    ),
    "saturating": Text(
        f"m/2*({total('dq{i}**2', 8)}) - k/2*({total('tanh(q{j} - q{i})**2', 8, False)}) "
        f"- g/2*({total('q{i}**2', 8)})", sites(8),
        {"m": 1.0, "k": 1.5, "g": 0.4}, 0.02, (-1.0, 1.0), (-1.0, 1.0),
    ),
}  # fmt: skip


def problem(size: str) -> SimpleNamespace:
    """A batch of random starts."""
    name, rest = size.split(maxsplit=1)
    batch, steps = numbers(rest)
    return work_of(TEXTS[name], batch, steps, 4)


def in_jax(work: Any) -> dict[str, Run]:
    """The derivatives of the text, by sympy, in a ``jax.lax.scan``."""
    plain, h = work.plain, work.step
    force, masses = plain.function(plain.slopes(plain.q), "jax"), plain.masses("jax")
    nothing = [0.0]*len(plain.q)

    def kick(q: Any, p: Any, theta: Any, length: float) -> Any:
        return [y + length*f for y, f in zip(p, force(q, nothing, theta), strict=True)]

    def begin(q: Any, v: Any, theta: Any) -> Any:
        p = [m*w for m, w in zip(masses(q, v, theta), v, strict=True)]
        return q, kick(q, p, theta, h/2)

    def step(state: Any, theta: Any) -> Any:
        q, p = state
        q = [x + h*y/m for x, y, m in zip(q, p, masses(q, p, theta), strict=True)]
        return q, kick(q, p, theta, h)

    def finish(state: Any, theta: Any) -> Any:
        q, p = state
        return q, kick(q, p, theta, -h/2)

    return jax_runs(work, begin, step, finish)


def reference(work: Any) -> dict[str, np.ndarray]:
    """The same map in numpy."""
    plain, h = work.plain, work.step
    force, masses = plain.function(plain.slopes(plain.q), "numpy"), plain.masses("numpy")

    def walk(q: Any, v: Any, theta: Any) -> Any:
        m = np.array(masses(q, v, theta)).reshape(-1, 1)
        q, p = np.array(q), m*np.array(v)
        last = [q[-1]]
        p = p + h/2*np.array(force(q, v, theta))
        for k in range(work.steps):
            q = q + h*p/m
            p = p + (h if k < work.steps - 1 else h/2)*np.array(force(q, v, theta))
            last.append(q[-1])
        return q, p, loss_of(last, h)

    return complex_steps(work, walk)


CASE = Case(
    name="unlisted",
    title="Lagrangians on no list",
    statement=(
        "Separable Lagrangians that are given as text, Störmer-Verlet with h = 0.02: two polynomial "
        "potentials, a ring of rotors coupled by cosines, a Toda ring, springs that saturate like tanh. "
        "Forward gives the end states; the gradient is that of a squared miss of the last coordinate in all "
        "parameters. jax gets the forces derived by sympy, and checkpoints 25 steps apart. Sizes: samples x "
        "steps. Errors are relative to a loop in numpy and complex steps."
    ),
    sizes=tuple(f"{name} 1024 x 1000" for name in TEXTS),
    quick=("henon_heiles 9 x 20",),
    problem=problem,
    reference=reference,
    errors=errors,
    peers={PROJECT: Peer(project), "jax": Peer(in_jax, ("jax",))},
)
