"""Dense networks: 1024 oscillators in two groups of 512, every one coupled to all of the other group.

H = sum p^2/2 + x^2/2 + 0.1 x^4/4 + V,    V = - sum w x z  ("bilinear")  or  sum w (x - z)^2/2  ("springs"),

x of the first group, z of the second; Störmer-Verlet with h = 0.1. The cost (x - y)^2/2 is that of the last ten
oscillators at the end, summed, the mean over the batch; the gradient is that in all of w. The yardstick is the time
that numpy's matrix product alone needs for the same products: in each step every block once in each direction, three
times that for the gradient and one outer product more. The reference is the same written out in numpy, in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..harness import PROJECT, Case, Peer, Run, numbers, relative, require

STEP, QUARTIC, OUTPUTS = 0.1, 0.1, 10


def problem(size: str) -> SimpleNamespace:
    """Random weights, starts and targets; "float32" takes the same numbers, rounded."""
    kind, dtype = size.split()[:2]
    sites, batch, steps = numbers(size.split(maxsplit=2)[2])
    random = np.random.default_rng(8)
    half = sites//2
    shape = half, half
    w = 0.3/np.sqrt(half)*random.standard_normal(shape) if kind == "bilinear" else random.uniform(0, 2/half, shape)
    q, p = 0.5*random.standard_normal((2, batch, sites))
    y = random.uniform(-0.5, 0.5, (batch, OUTPUTS))
    rounded = (x.astype(dtype) for x in (w, q, p, y))
    names = ("w", "q", "p", "y")
    rest = {"kind": kind, "dtype": dtype, "sites": sites, "half": half, "batch": batch, "steps": steps}
    return SimpleNamespace(**dict(zip(names, rounded, strict=True)), **rest)


def project(work: Any) -> dict[str, Run]:
    """The library."""
    import sympy as sp
    from sympy.physics.mechanics import dynamicsymbols

    import lagrangian_eqprop as lep

    options: dict[str, Any] = {}
    if work.dtype != "float64":
        require(lep.System.gradient, "dtype")
        options["dtype"] = work.dtype
    (x, z), (w, y) = dynamicsymbols("x z"), sp.symbols("w y")
    groups = np.arange(work.half), np.arange(work.half, work.sites)
    network = lep.System(
        [
            lep.Term(x.diff()**2/2 - x**2/2 - QUARTIC*x**4/4, on=[x], at=np.arange(work.sites)),
            lep.Term(w*x*z if work.kind == "bilinear" else -w*(x - z)**2/2, on=[x, z], at=lep.AllPairs(*groups)),
        ],
        size=work.sites,
        parameters={w: work.w},
    )
    start, grid = lep.Initial(q=work.q, p=work.p), lep.Grid(work.steps, step=STEP)
    cost = lep.Cost((x - y)**2/2, on=[x], at=np.arange(work.sites - OUTPUTS, work.sites), targets=[y], when="end")

    def forward() -> dict[str, Any]:
        path = network.trajectory(start, grid, save="last", **options)
        return {"q": path.q[:, -1], "p": path.p[:, -1]}

    def gradient() -> dict[str, Any]:
        result = network.gradient(start, grid, cost, targets={y: work.y}, **options)
        return {"loss": result.loss, "gradient": result[w]}

    return {"forward": forward, "gradient": gradient}


class Numpy:
    """The map and its adjoint, by matrix products."""

    def __init__(self, work: Any, dtype: str) -> None:
        self.work, self.h, self.springs = work, np.dtype(dtype).type(STEP), work.kind == "springs"
        self.w, self.q, self.p, self.y = (x.astype(dtype) for x in (work.w, work.q, work.p, work.y))
        self.quartic = np.dtype(dtype).type(QUARTIC)
        self.stiff = np.ones(work.sites, dtype)
        if self.springs:
            self.stiff += np.concatenate([self.w.sum(1), self.w.sum(0)])

    def coupling(self, q: np.ndarray) -> np.ndarray:
        """w z for the first group, and x w for the second."""
        half = self.work.half
        return np.concatenate([q[:, half:] @ self.w.T, q[:, :half] @ self.w], 1)

    def force(self, q: np.ndarray) -> np.ndarray:
        """On every oscillator."""
        return self.coupling(q) - self.stiff*q - self.quartic*q*q*q

    def path(self) -> tuple[list[np.ndarray], np.ndarray]:
        """All positions, and the last momentum."""
        q, p, h = self.q, self.p + self.h/2*self.force(self.q), self.h
        found = [q]
        for k in range(self.work.steps):
            q = q + h*p
            p = p + (h if k < self.work.steps - 1 else h/2)*self.force(q)
            found.append(q)
        return found, p

    def gradient(self) -> tuple[Any, np.ndarray]:
        """The loss and its derivative in w."""
        found, _ = self.path()
        half, h = self.work.half, self.h
        miss = found[-1][:, -OUTPUTS:] - self.y
        to_q, to_p, slope = np.zeros_like(self.q), np.zeros_like(self.q), np.zeros_like(self.w)
        to_q[:, -OUTPUTS:] = miss/np.float32(self.work.batch)
        for k in range(self.work.steps, 0, -1):
            to_p += h*to_q
            pull, q = (h if k > 1 else h/2)*to_p, found[k - 1]
            slope += pull[:, :half].T @ q[:, half:] + q[:, :half].T @ pull[:, half:]
            if self.springs:
                own = (pull*q).sum(0)
                slope -= own[:half, None] + own[half:]
            to_q = to_q + self.coupling(pull) - pull*(self.stiff + 3*self.quartic*q*q)
        return (miss**2).sum()/2/self.work.batch, slope


def in_numpy(work: Any) -> dict[str, Run]:
    """Matrix products, in the precision of the case."""

    def forward() -> dict[str, Any]:
        path, p = Numpy(work, work.dtype).path()
        return {"q": path[-1], "p": p}

    def gradient() -> dict[str, Any]:
        loss, slope = Numpy(work, work.dtype).gradient()
        return {"loss": loss, "gradient": slope}

    return {"forward": forward, "gradient": gradient}


def yardstick(work: Any) -> dict[str, Run]:
    """The products alone, into arrays that are there."""
    half = work.half
    x, z = np.ascontiguousarray(work.q[:, :half]), np.ascontiguousarray(work.q[:, half:])
    a, b, outer, w = np.empty_like(x), np.empty_like(z), np.empty_like(work.w), work.w

    def products(sets: int, outers: int) -> Callable[[], dict[str, Any]]:
        def run() -> dict[str, Any]:
            for _ in range(work.steps):
                for _ in range(sets):
                    np.matmul(z, w.T, out=a)
                    np.matmul(x, w, out=b)
                for _ in range(outers):
                    np.matmul(x.T, z, out=outer)
            return {}

        return run

    return {"forward": products(1, 0), "gradient": products(3, 1)}


def in_jax(work: Any) -> dict[str, Run]:
    """``jax.lax.scan`` over steps; every path is stored."""
    import jax
    import jax.numpy as jnp

    half, springs = work.half, work.kind == "springs"
    q0, p0, y, w0 = (jnp.asarray(x) for x in (work.q, work.p, work.y, work.w))

    def force(w: Any, q: Any) -> Any:
        pull = jnp.concatenate([q[:, half:] @ w.T, q[:, :half] @ w], 1) - q - QUARTIC*q**3
        return pull - jnp.concatenate([w.sum(1), w.sum(0)])*q if springs else pull

    def path(w: Any) -> Any:
        def step(state: Any, _: Any) -> Any:
            q, p = state
            q = q + STEP*p
            return (q, p + STEP*force(w, q)), None

        (q, p), _ = jax.lax.scan(step, (q0, p0 + STEP/2*force(w, q0)), length=work.steps)
        return q, p - STEP/2*force(w, q)

    def loss(w: Any) -> Any:
        return ((path(w)[0][:, -OUTPUTS:] - y)**2).sum()/2/work.batch

    end, derivative = jax.jit(path), jax.jit(jax.value_and_grad(loss))

    def forward() -> dict[str, Any]:
        q, p = end(w0)
        return {"q": np.asarray(q), "p": np.asarray(p)}

    def gradient() -> dict[str, Any]:
        value, slope = derivative(w0)
        return {"loss": float(value), "gradient": np.asarray(slope)}

    return {"forward": forward, "gradient": gradient}


def reference(work: Any) -> dict[str, np.ndarray]:
    """End states, loss and gradient in float64."""
    same = Numpy(work, "float64")
    path, p = same.path()
    loss, slope = same.gradient()
    return {"q": path[-1], "p": p, "loss": np.asarray(loss), "gradient": slope}


def errors(work: Any, label: str, result: Mapping[str, Any], truth: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Relative distances of loss and gradient, or of the end states."""
    names = [name for name in (("q", "p") if label == "forward" else ("loss", "gradient")) if name in result]
    return {"error": max(relative(result[name], truth[name]) for name in names)} if names else {}


CASE = Case(
    name="dense",
    title="Dense networks",
    statement=(
        "Two groups of oscillators, every one coupled to all of the other group, Störmer-Verlet with h = 0.1; "
        "forward, and the gradient in all couplings of a cost at the end. Sizes: oscillators x samples x "
        "steps. The yardstick is numpy's matrix product alone, each block once in each direction and step, "
        "three such sets and one outer product a step for the gradient. Errors are relative to numpy in "
        "float64."
    ),
    sizes=tuple(f"{kind} float{bits} 1024 x 256 x 20" for kind in ("bilinear", "springs") for bits in (64, 32)),
    quick=("springs float64 24 x 4 x 5",),
    problem=problem,
    reference=reference,
    errors=errors,
    peers={
        PROJECT: Peer(project),
        "yardstick, numpy matmul": Peer(yardstick),
        "numpy": Peer(in_numpy),
        "jax": Peer(in_jax, ("jax",)),
    },
)
