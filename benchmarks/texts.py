"""Lagrangians that are given as text: for the library, and in plain functions for its peers and the reference.

The text is in the names of coordinates, ``d`` before such a name for the velocity, and the names of parameters. The
loss is that of a cost (last coordinate - AIM)^2/2 at every node with trapezoidal weights, the mean over the batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import sympy as sp
from sympy.physics.mechanics import dynamicsymbols

from .harness import Run, relative

AIM = 0.3
TINY = 1e-30


@dataclass(frozen=True)
class Text:
    """A Lagrangian, defaults of its parameters, a step, and the ranges of random starts."""

    lagrangian: str
    coordinates: str
    parameters: Mapping[str, float]
    step: float
    q: tuple[float, float]
    v: tuple[float, float]


def work_of(text: Text, batch: int, steps: int, seed: int) -> SimpleNamespace:
    """Arrays of shape (batch, coordinates), and the plain functions."""
    random = np.random.default_rng(seed)
    shape = batch, len(text.coordinates.split())
    plain = Plain(text)
    q, v = random.uniform(*text.q, shape), random.uniform(*text.v, shape)
    return SimpleNamespace(text=text, plain=plain, batch=batch, steps=steps, step=text.step, q=q, v=v)


class Plain:
    """The Lagrangian in plain symbols, and its derivatives as functions of sequences of arrays."""

    def __init__(self, text: Text) -> None:
        self.names = text.coordinates.split()
        self.q = [sp.Symbol(name) for name in self.names]
        self.v = [sp.Symbol("d" + name) for name in self.names]
        self.theta = [sp.Symbol(name) for name in text.parameters]
        self.values = list(text.parameters.values())
        known = {symbol.name: symbol for symbol in (*self.q, *self.v, *self.theta)}
        self.lagrangian = sp.sympify(text.lagrangian, known)

    def slopes(self, symbols: Sequence[sp.Symbol]) -> list[sp.Expr]:
        """Derivatives of the Lagrangian."""
        return [self.lagrangian.diff(symbol) for symbol in symbols]

    def function(self, expressions: Any, modules: str) -> Any:
        """A function of (q, v, theta), for "numpy" or "jax"."""
        return sp.lambdify([self.q, self.v, self.theta], expressions, modules, cse=True)

    def masses(self, modules: str) -> Any:
        """The diagonal of L_vv."""
        return self.function([slope.diff(v) for slope, v in zip(self.slopes(self.v), self.v, strict=True)], modules)


def project(work: Any, **options: Any) -> dict[str, Run]:
    """The library: the text is read by sympy, and that is all."""
    import lagrangian_eqprop as lep

    names = work.text.coordinates.split()
    q = [dynamicsymbols(name) for name in names]
    theta = [sp.Symbol(name) for name in work.text.parameters]
    y = sp.Symbol("aim")
    known = {symbol.name: symbol for symbol in theta}
    for name, x in zip(names, q, strict=True):
        known |= {name: x, "d" + name: x.diff()}
    system = lep.System(
        sp.sympify(work.text.lagrangian, known), coordinates=q,
        parameters=dict(zip(theta, work.text.parameters.values(), strict=True)),
    )  # fmt: skip
    start = lep.Initial(q=work.q, v=work.v)
    grid = lep.Grid(work.steps, step=work.step)
    cost = lep.Cost((q[-1] - y)**2/2, targets=[y])

    def forward() -> dict[str, Any]:
        path = system.trajectory(start, grid, save="last", **options)
        return {"q": path.q[:, -1].T, "p": path.p[:, -1].T}

    def gradient() -> dict[str, Any]:
        result = system.gradient(start, grid, cost, targets={y: AIM}, **options)
        return {"loss": result.loss, "gradient": np.array([result[symbol] for symbol in theta])}

    return {"forward": forward, "gradient": gradient}


def loss_of(last: Sequence[Any], step: float) -> Any:
    """The loss from the last coordinate at every node."""
    weights = [step]*len(last)
    weights[0] = weights[-1] = step/2
    return sum(w*((x - AIM)**2/2).mean() for w, x in zip(weights, last, strict=True))


def complex_steps(work: Any, walk: Any) -> dict[str, np.ndarray]:
    """End state, loss and gradient from ``walk(q, v, theta) -> q, p, loss`` in complex numpy: f' = Im f(x + i e)/e."""
    values = np.array(work.plain.values)
    q, p, loss = walk(list(work.q.T), list(work.v.T), list(values))
    slopes = []
    for k in range(len(values)):
        theta = values.astype(complex)
        theta[k] += 1j*TINY
        slopes.append(np.imag(walk([x + 0j for x in work.q.T], [x + 0j for x in work.v.T], list(theta))[2])/TINY)
    return {"q": np.array(q), "p": np.array(p), "loss": np.asarray(loss), "gradient": np.array(slopes)}


def errors(work: Any, label: str, result: Mapping[str, Any], truth: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Relative distances of loss and gradient, or of the end states."""
    names = ("q", "p") if label == "forward" else ("loss", "gradient")
    return {"error": max(relative(result[name], truth[name]) for name in names)}


def jax_runs(work: Any, begin: Any, step: Any, finish: Any) -> dict[str, Run]:
    """Runs by ``jax.lax.scan``, the gradient with checkpoints 25 steps apart.

    ``begin(q, v, theta)`` makes the state, whose first entry holds the coordinates, ``step(state, theta)`` the next
    one, ``finish(state, theta)`` positions and momenta.
    """
    import jax
    import jax.numpy as jnp

    q, v = ([jnp.asarray(column) for column in x.T] for x in (work.q, work.v))
    theta = [jnp.asarray(value) for value in work.plain.values]
    inner = 25 if work.steps % 25 == 0 else work.steps

    @jax.jit
    def forward(q: Any, v: Any, theta: Any) -> Any:
        state, _ = jax.lax.scan(lambda s, _: (step(s, theta), None), begin(q, v, theta), length=work.steps)
        return finish(state, theta)

    def loss(theta: Any) -> Any:
        theta = [jnp.broadcast_to(value, (work.batch,)) for value in theta]  # sums over the batch leave the loop

        def stage(state: Any, _: Any) -> Any:
            state = step(state, theta)
            return state, ((state[0][-1] - AIM)**2/2).mean()

        segment = jax.checkpoint(lambda state, _: jax.lax.scan(stage, state, length=inner))
        state = begin(q, v, theta)
        first = ((state[0][-1] - AIM)**2/2).mean()
        _, rest = jax.lax.scan(segment, state, length=work.steps//inner)
        rest = rest.ravel()
        return work.step*(first/2 + rest.sum() - rest[-1]/2)

    derivative = jax.jit(jax.value_and_grad(loss))

    def ends() -> dict[str, Any]:
        q_end, p_end = forward(q, v, theta)
        return {"q": np.array([np.asarray(x) for x in q_end]), "p": np.array([np.asarray(x) for x in p_end])}

    def gradient() -> dict[str, Any]:
        value, slopes = derivative(theta)
        return {"loss": float(value), "gradient": np.array([float(slope) for slope in slopes])}

    return {"forward": ends, "gradient": gradient}
