"""Training at equilibria: one epoch of equilibrium propagation in a deep Hopfield network, float32.

E = sum s^2/2 - b s - x W1 h - h W2 o over hidden units h and outputs o within [0, 1], images x held; the cost is
(o - y)^2/2. Each mini-batch relaxes by 30 steps s <- clip(s - E_s/2) from 1/2, and by 10 more with the nudge
beta = 1/2; a step of descent with rate 0.1 follows the contrast of the two. Images and classes are random numbers; the
order of the samples is the one that the library draws for seed 0, and it is given to all. The library also takes
the loss of every sample and looks for numbers that are not finite. The reference is the same in float64.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..harness import PROJECT, Case, Peer, Run, numbers, relative, require

FREE, NUDGED, STEP, BETA, RATE = 30, 10, 0.5, 0.5, 0.1
NAMES = ("W1", "b1", "W2", "b2")


def problem(size: str) -> SimpleNamespace:
    """Images, classes and weights to begin with."""
    pixels, hidden, classes, many, batch = numbers(size)
    random = np.random.default_rng(5)
    samples = many*batch
    x, y = random.uniform(size=(samples, pixels)), np.eye(classes)[random.integers(classes, size=samples)]
    begin = {
        "W1": random.standard_normal((pixels, hidden))/np.sqrt(pixels), "b1": np.zeros(hidden),
        "W2": random.standard_normal((hidden, classes))/np.sqrt(hidden), "b2": np.zeros(classes),
    }  # fmt: skip
    single = {name: value.astype(np.float32) for name, value in {"x": x, "y": y, **begin}.items()}
    return SimpleNamespace(
        **single, pixels=pixels, hidden=hidden, classes=classes, batch=batch, many=many,
        order=np.random.default_rng(0).permutation(samples),
    )  # fmt: skip


def project(work: Any) -> dict[str, Run]:
    """The library."""
    import sympy as sp
    from sympy.physics.mechanics import dynamicsymbols

    import lagrangian_eqprop as lep

    require(lep.System, "energy")
    (q, z), (W1, b1, W2, b2, y, x) = dynamicsymbols("q z"), sp.symbols("W1 b1 W2 b2 y x")
    image, hidden, out = np.split(np.arange(work.pixels + work.hidden + work.classes), np.cumsum(
        [work.pixels, work.hidden]))  # fmt: skip
    network = lep.System(
        energy=[
            lep.Term(q**2/2 - b1*q, [q], hidden), lep.Term(q**2/2 - b2*q, [q], out),
            lep.Term(-W1*q*z, [q, z], lep.AllPairs(image, hidden)),
            lep.Term(-W2*q*z, [q, z], lep.AllPairs(hidden, out)),
        ],
        size=work.pixels + work.hidden + work.classes, bounds=(0, 1), clamped={x: image},
        parameters={W1: work.W1, b1: work.b1, W2: work.W2, b2: work.b2},
    )  # fmt: skip
    cost = lep.Cost((q - y)**2/2, on=[q], at=out, targets=[y])
    rest = lep.Equilibrium(0.5, step=STEP, iterations=(FREE, NUDGED), tolerance=None)

    def run() -> dict[str, Any]:
        history = network.fit(
            rest, cost=cost, targets={y: work.y}, inputs={x: work.x}, epochs=1, batch=work.batch, dtype="float32",
            optimiser=lep.SGD(RATE), estimator=lep.OneSided(BETA), progress=False,
        )  # fmt: skip
        return {name: history[name] for name in NAMES}

    return {"": run}


def epoch(work: Any, dtype: Any) -> dict[str, np.ndarray]:
    """One epoch in numpy."""
    W1, b1, W2, b2 = (getattr(work, name).astype(dtype) for name in NAMES)
    x, y = work.x[work.order].astype(dtype), work.y[work.order].astype(dtype)
    step, beta, rate = (np.dtype(dtype).type(value) for value in (STEP, BETA, RATE/BETA/work.batch))

    def relax(a: np.ndarray, h: np.ndarray, o: np.ndarray, aim: Any, steps: int) -> tuple[np.ndarray, np.ndarray]:
        for _ in range(steps):
            dh, do = a + o @ W2.T - h, h @ W2 + b2 - o
            if aim is not None:
                do += beta*(aim - o)
            h, o = np.clip(h + step*dh, 0, 1), np.clip(o + step*do, 0, 1)
        return h, o

    for low in range(0, len(x), work.batch):
        image, aim = x[low : low + work.batch], y[low : low + work.batch]
        a = image @ W1 + b1
        h0, o0 = (np.full((work.batch, count), 0.5, dtype) for count in (work.hidden, work.classes))
        h0, o0 = relax(a, h0, o0, None, FREE)
        h1, o1 = relax(a, h0, o0, aim, NUDGED)
        W2 += rate*(h1.T @ o1 - h0.T @ o0)
        b2 += rate*(o1 - o0).sum(0)
        W1 += rate*(image.T @ (h1 - h0))
        b1 += rate*(h1 - h0).sum(0)
    return {"W1": W1, "b1": b1, "W2": W2, "b2": b2}


def in_numpy(work: Any) -> dict[str, Run]:
    """Matrix products in float32."""
    return {"": lambda: dict(epoch(work, np.float32))}


def in_jax(work: Any) -> dict[str, Run]:
    """The whole epoch in one compiled ``jax.lax.scan`` over mini-batches."""
    import jax
    import jax.numpy as jnp

    step, beta, rate = (np.float32(value) for value in (STEP, BETA, RATE/BETA/work.batch))

    def descend(weights: Any, data: Any) -> Any:
        (W1, b1, W2, b2), (x, y) = weights, data
        a = x @ W1 + b1

        def move(nudge: Any) -> Any:
            def one(_: Any, state: Any) -> Any:
                h, o = state
                dh, do = a + o @ W2.T - h, h @ W2 + b2 - o + nudge*(y - o)
                return jnp.clip(h + step*dh, 0, 1), jnp.clip(o + step*do, 0, 1)

            return one

        begin = tuple(jnp.full((work.batch, count), 0.5, jnp.float32) for count in (work.hidden, work.classes))
        h0, o0 = jax.lax.fori_loop(0, FREE, move(np.float32(0)), begin)
        h1, o1 = jax.lax.fori_loop(0, NUDGED, move(beta), (h0, o0))
        moved = (x.T @ (h1 - h0), (h1 - h0).sum(0), h1.T @ o1 - h0.T @ o0, (o1 - o0).sum(0))
        return tuple(w + rate*change for w, change in zip((W1, b1, W2, b2), moved, strict=True)), None

    x, y = (jnp.asarray(v[work.order].reshape(work.many, work.batch, -1)) for v in (work.x, work.y))
    begin = tuple(jnp.asarray(getattr(work, name)) for name in NAMES)
    compiled = jax.jit(lambda weights: jax.lax.scan(descend, weights, (x, y))[0])
    return {"": lambda: dict(zip(NAMES, map(np.asarray, compiled(begin)), strict=True))}


def in_torch(work: Any) -> dict[str, Run]:
    """The same operations in torch, without its own derivatives."""
    import torch

    torch.set_num_threads(1)
    x, y = (torch.tensor(v[work.order]) for v in (work.x, work.y))
    rate = RATE/BETA/work.batch

    def relax(a: Any, h: Any, o: Any, aim: Any, W2: Any, b2: Any, steps: int, nudge: float) -> Any:
        for _ in range(steps):
            dh, do = a + o @ W2.T - h, h @ W2 + b2 - o + nudge*(aim - o)
            h, o = (h + STEP*dh).clamp(0, 1), (o + STEP*do).clamp(0, 1)
        return h, o

    @torch.no_grad()
    def run() -> dict[str, Any]:
        W1, b1, W2, b2 = (torch.tensor(getattr(work, name)) for name in NAMES)
        for low in range(0, len(x), work.batch):
            image, aim = x[low : low + work.batch], y[low : low + work.batch]
            a = image @ W1 + b1
            h, o = (torch.full((work.batch, count), 0.5) for count in (work.hidden, work.classes))
            h0, o0 = relax(a, h, o, aim, W2, b2, FREE, 0.0)
            h1, o1 = relax(a, h0, o0, aim, W2, b2, NUDGED, BETA)
            W2 += rate*(h1.T @ o1 - h0.T @ o0)
            b2 += rate*(o1 - o0).sum(0)
            W1 += rate*(image.T @ (h1 - h0))
            b1 += rate*(h1 - h0).sum(0)
        return {"W1": W1.numpy(), "b1": b1.numpy(), "W2": W2.numpy(), "b2": b2.numpy()}

    return {"": run}


def reference(work: Any) -> dict[str, np.ndarray]:
    """The weights after the epoch, in float64."""
    return epoch(work, float)


def errors(work: Any, label: str, result: Mapping[str, Any], truth: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The largest distance of a weight as a part of the largest change of its array."""
    begin = {name: getattr(work, name).astype(float) for name in NAMES}
    return {"error": max(relative(result[name] - begin[name], truth[name] - begin[name]) for name in NAMES)}


CASE = Case(
    name="layers",
    title="Training at equilibria",
    statement=(
        "One epoch of equilibrium propagation in a deep Hopfield network with hard sigmoids, float32: per mini-batch "
        "30 free and 10 nudged steps of 0.5, and a step of descent. Sizes: inputs x hidden units x outputs, "
        "mini-batches of so many samples. Errors are relative to the change of the weights, against numpy in float64."
    ),
    sizes=("64 x 128 x 10, 14 mini-batches of 128",),
    quick=("6 x 8 x 3, 2 mini-batches of 5",),
    problem=problem,
    reference=reference,
    errors=errors,
    peers={
        PROJECT: Peer(project),
        "numpy": Peer(in_numpy),
        "jax": Peer(in_jax, ("jax",)),
        "torch": Peer(in_torch, ("torch",)),
    },
)
