"""The gradient of a tracking loss through a chain of 16 coupled Duffing oscillators.

H = sum p^2/2m + k q^2/2 + c q^4/4 + sum g (q_{i+1} - q_i)^2/2, free ends; Störmer-Verlet with h = 0.02;

    loss = h/2 sum_{k=1..n} sum over the batch of (q_last(t_k) - y_k)^2,

63 parameters: m, k, c of every site, g of every pair of neighbours. Forward alone means the end states.
The reference is a forward pass and its adjoint written out in numpy, in extended precision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from .. import native
from ..harness import PROJECT, Case, Peer, Run, numbers, relative, require

SITES, STEP = 16, 0.02


def problem(size: str) -> SimpleNamespace:
    """Random parameters and starts; the targets are what parameters up to 10 % off would do."""
    batch, steps = numbers(size)
    random = np.random.default_rng(3)
    ranges = (0.8, 1.2, SITES), (0.8, 1.2, SITES), (0.1, 0.3, SITES), (0.3, 0.7, SITES - 1)
    theta = [random.uniform(*bounds) for bounds in ranges]
    q, p = 0.5*random.standard_normal((2, batch, SITES))
    other = [value*random.uniform(0.9, 1.1, value.shape) for value in theta]
    y = np.array([state[0][:, -1] for state in states(other, q, p, steps)][1:])
    return SimpleNamespace(batch=batch, steps=steps, theta=theta, q=q, p=p, y=y)


def force(theta: Any, q: np.ndarray) -> np.ndarray:
    """The force on every oscillator, samples along the first axis."""
    _, k, c, g = theta
    tension = g*np.diff(q, axis=1)
    f = -(k + c*q*q)*q
    f[:, :-1] += tension
    f[:, 1:] -= tension
    return f


def states(theta: Any, q: np.ndarray, p: np.ndarray, steps: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Positions at the nodes 0..n, with the momenta half a step later (at the last node: on time)."""
    p = p + STEP/2*force(theta, q)
    found = [(q, p)]
    for k in range(steps):
        q = q + STEP*p/theta[0]
        p = p + (STEP if k < steps - 1 else STEP/2)*force(theta, q)
        found.append((q, p))
    return found


def adjoint(theta: Any, q: np.ndarray, p: np.ndarray, y: np.ndarray) -> tuple[Any, np.ndarray]:
    """The loss and its gradient: the map above, transposed step by step."""
    m, k, c, g = theta
    steps = len(y)
    path = [state[0] for state in states(theta, q, p, steps)]
    loss = STEP/2*sum(((path[s + 1][:, -1] - y[s])**2).sum() for s in range(steps))
    to_q, to_p = np.zeros_like(q), np.zeros_like(q)
    gm, gk, gc, gg = (np.zeros_like(value) for value in theta)
    for s in range(steps, 0, -1):
        before, after = path[s - 1], path[s]
        to_q[:, -1] += STEP*(after[:, -1] - y[s - 1])
        gm -= (to_q*(after - before)).sum(0)/m
        to_p += STEP*to_q/m
        pull = (STEP if s > 1 else STEP/2)*to_p
        gk -= (pull*before).sum(0)
        gc -= (pull*before*before*before).sum(0)
        apart = np.diff(pull, axis=1)
        gg -= (apart*np.diff(before, axis=1)).sum(0)
        to_q -= pull*(k + 3*c*before*before)
        to_q[:, :-1] += g*apart
        to_q[:, 1:] -= g*apart
    return loss, np.concatenate([gm, gk, gc, gg])


def project(work: Any, **options: Any) -> dict[str, Run]:
    """The library; gradients there are of the mean over the batch."""
    import sympy as sp
    from sympy.physics.mechanics import dynamicsymbols

    import lagrangian_eqprop as lep

    if options:
        require(lep.System.gradient, *options)
    (x, z), (m, k, c, g, y) = dynamicsymbols("x z"), sp.symbols("m k c g y")
    network = lep.System(
        [
            lep.Term(m*x.diff()**2/2 - k*x**2/2 - c*x**4/4, on=[x], at=np.arange(SITES)),
            lep.Term(-g*(z - x)**2/2, on=[x, z], at=np.stack([np.arange(SITES - 1), np.arange(1, SITES)], 1)),
        ],
        size=SITES,
        parameters=dict(zip((m, k, c, g), work.theta, strict=True)),
    )
    start = lep.Initial(q=work.q, p=work.p)
    grid = lep.Grid(work.steps, step=STEP)
    cost = lep.Cost((x - y)**2/2, on=[x], at=[SITES - 1], targets=[y], weights=[0.0] + [STEP]*work.steps)
    targets = {y: np.concatenate([np.zeros((1, work.batch)), work.y]).T[:, :, None]}

    def forward() -> dict[str, Any]:
        path = network.trajectory(start, grid, save="last")
        return {"q": path.q[:, -1], "p": path.p[:, -1]}

    def gradient() -> dict[str, Any]:
        result = network.gradient(start, grid, cost, targets=targets, **options)
        found = np.concatenate([result[symbol] for symbol in (m, k, c, g)])
        return {"loss": work.batch*result.loss, "gradient": work.batch*found}

    return {"gradient": gradient} if options else {"forward": forward, "gradient": gradient}


def classical(work: Any) -> dict[str, Run]:
    """The library's own discrete adjoint, made to compare with."""
    import lagrangian_eqprop as lep

    return project(work, estimator=lep.Adjoint())


def with_retrace(kind: str) -> Callable[[Any], dict[str, Run]]:
    """How the path is found again on the way back: integrated, or read from what was stored."""
    return lambda work: project(work, retrace=kind)


def in_numpy(work: Any) -> dict[str, Run]:
    """Forward and adjoint by hand."""

    def forward() -> dict[str, Any]:
        q, p = states(work.theta, work.q, work.p, work.steps)[-1]
        return {"q": q, "p": p}

    def gradient() -> dict[str, Any]:
        loss, found = adjoint(work.theta, work.q, work.p, work.y)
        return {"loss": loss, "gradient": found}

    return {"forward": forward, "gradient": gradient}


def jax_force(theta: Any, q: Any) -> Any:
    """The force on every oscillator, in jax, samples along the last axis, where it is fastest."""
    import jax.numpy as jnp

    _, k, c, g = theta
    tension = jnp.pad(g*(q[1:] - q[:-1]), ((1, 1), (0, 0)))
    return -(k + c*q*q)*q + tension[1:] - tension[:-1]


def jax_arrays(work: Any) -> tuple[Any, Any, Any, Any]:
    """Starts (sites, samples), targets, and parameters."""
    import jax.numpy as jnp

    return jnp.asarray(work.q.T), jnp.asarray(work.p.T), jnp.asarray(work.y), tuple(map(jnp.asarray, work.theta))


def spread(theta: Any, samples: int) -> Any:
    """Parameters of every sample: so the sums over samples leave the loop."""
    import jax.numpy as jnp

    return tuple(jnp.broadcast_to(value[:, None], (len(value), samples)) for value in theta)


def in_jax(work: Any, inner: int | None = None) -> dict[str, Run]:
    """``jax.lax.scan`` over steps; with ``inner``, checkpoints that many steps apart."""
    import jax
    import jax.numpy as jnp

    q0, p0, y, theta = jax_arrays(work)

    def step(theta: Any, state: Any) -> Any:
        q, p = state
        q = q + STEP*p/theta[0]
        return q, p + STEP*jax_force(theta, q)

    @jax.jit
    def forward(theta: Any, q: Any, p: Any) -> Any:
        theta = spread(theta, work.batch)
        begin = q, p + STEP/2*jax_force(theta, q)
        (q, p), _ = jax.lax.scan(lambda state, _: (step(theta, state), None), begin, length=work.steps)
        return q, p - STEP/2*jax_force(theta, q)

    def loss(theta: Any) -> Any:
        theta = spread(theta, work.batch)

        def stage(state: Any, target: Any) -> Any:
            state = step(theta, state)
            return state, jnp.sum((state[0][-1] - target)**2)

        begin = q0, p0 + STEP/2*jax_force(theta, q0)
        if inner is None:
            return STEP/2*jnp.sum(jax.lax.scan(stage, begin, y)[1])
        segment = jax.checkpoint(lambda state, targets: jax.lax.scan(stage, state, targets))
        return STEP/2*jnp.sum(jax.lax.scan(segment, begin, y.reshape(-1, inner, work.batch))[1])

    return jax_runs(theta, jax.jit(jax.value_and_grad(loss)), None if inner else lambda: forward(theta, q0, p0))


def jax_runs(theta: Any, derivative: Any, forward: Any = None) -> dict[str, Run]:
    """What is timed, with numpy arrays as answers."""

    def gradient() -> dict[str, Any]:
        loss, found = derivative(theta)
        return {"loss": float(loss), "gradient": np.concatenate([np.asarray(part) for part in found])}

    def ends() -> dict[str, Any]:
        q, p = forward()
        return {"q": np.asarray(q).T, "p": np.asarray(p).T}

    return {"gradient": gradient} if forward is None else {"forward": ends, "gradient": gradient}


def in_diffrax(work: Any) -> dict[str, Run]:
    """SemiImplicitEuler between half kicks, which is Verlet, with recursive checkpoints."""
    import diffrax
    import jax
    import jax.numpy as jnp

    q0, p0, y, theta = jax_arrays(work)
    terms = (
        diffrax.ODETerm(lambda t, p, theta: p/theta[0]), diffrax.ODETerm(lambda t, q, theta: jax_force(theta, q))
    )  # fmt: skip

    def path(theta: Any, saved: Any) -> Any:
        return diffrax.diffeqsolve(
            terms, diffrax.SemiImplicitEuler(), 0.0, work.steps*STEP, STEP, (q0, p0 + STEP/2*jax_force(theta, q0)),
            args=theta, max_steps=work.steps, saveat=saved, stepsize_controller=diffrax.ConstantStepSize(),
            adjoint=diffrax.RecursiveCheckpointAdjoint(),
        ).ys  # fmt: skip

    @jax.jit
    def forward(theta: Any) -> Any:
        theta = spread(theta, work.batch)
        q, p = path(theta, diffrax.SaveAt(t1=True))
        return q[0], p[0] - STEP/2*jax_force(theta, q[0])

    def loss(theta: Any) -> Any:
        q = path(spread(theta, work.batch), diffrax.SaveAt(steps=True))[0]
        return STEP/2*jnp.sum((q[:, -1] - y)**2)

    return jax_runs(theta, jax.jit(jax.value_and_grad(loss)), lambda: forward(theta))


def lanes(x: np.ndarray) -> np.ndarray:
    """(samples, columns) as (blocks, columns, 8), aligned."""
    found = native.aligned(len(x)//8, x.shape[1], 8)
    found[:] = x.reshape(-1, 8, x.shape[1]).transpose(0, 2, 1)
    return found


def in_c(flags: tuple[str, ...]) -> Callable[[Any], dict[str, Run]]:
    """Forward and adjoint by hand, eight samples in a vector."""

    def build(work: Any) -> dict[str, Run]:
        library = native.compiled("tracking", flags)
        shared = ("long", "long", "double", *["array"]*6)
        ends = native.function(library, "forward", *shared)
        whole = native.function(library, "gradient", *shared, *["array"]*3)
        room, y, blocks = native.aligned(work.steps + 1, SITES, 8), lanes(work.y.T), work.batch//8

        def forward() -> dict[str, Any]:
            q, p = lanes(work.q), lanes(work.p)
            ends(blocks, work.steps, STEP, *work.theta, q, p)
            return {"q": q.transpose(0, 2, 1).reshape(work.q.shape), "p": p.transpose(0, 2, 1).reshape(work.p.shape)}

        def gradient() -> dict[str, Any]:
            q, p, result = lanes(work.q), lanes(work.p), np.empty(4*SITES)
            whole(blocks, work.steps, STEP, *work.theta, q, p, y, room, result)
            return {"loss": result[0], "gradient": result[1:]}

        return {"forward": forward, "gradient": gradient}

    return build


def reference(work: Any) -> dict[str, np.ndarray]:
    """End states, loss and gradient in extended precision."""
    theta = [x.astype(np.longdouble) for x in work.theta]
    q, p, y = (x.astype(np.longdouble) for x in (work.q, work.p, work.y))
    loss, found = adjoint(theta, q, p, y)
    end = states(theta, q, p, work.steps)[-1]
    values = {"loss": loss, "gradient": found, "q": end[0], "p": end[1]}
    return {name: np.asarray(value, float) for name, value in values.items()}


def errors(work: Any, label: str, result: Mapping[str, Any], truth: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Relative distances of loss and gradient, or of the end states."""
    names = ("q", "p") if label == "forward" else ("loss", "gradient")
    return {"error": max(relative(result[name], truth[name]) for name in names)}


CASE = Case(
    name="tracking",
    title="The gradient of a tracking loss",
    statement=(
        "16 coupled Duffing oscillators, Störmer-Verlet with h = 0.02, a squared miss of the last one at "
        "every node; its exact gradient in 63 parameters. Forward alone gives the end states. Sizes: samples "
        "x steps. The error is the largest distance from a numpy adjoint in extended precision, relative to "
        "the largest entry."
    ),
    sizes=("64 x 1000",),
    quick=("8 x 50",),
    problem=problem,
    reference=reference,
    errors=errors,
    peers={
        PROJECT: Peer(project),
        f"{PROJECT}, path integrated again": Peer(with_retrace("integrate")),
        f"{PROJECT}, path stored": Peer(with_retrace("store")),
        f"{PROJECT}, classical adjoint": Peer(classical),
        "C": Peer(in_c(native.PLAIN), ("gcc",)),
        "C, fast-math": Peer(in_c(native.FAST), ("gcc",)),
        "C, fast-math, 512 bits": Peer(in_c(native.WIDE), ("gcc",)),
        "numpy, adjoint by hand": Peer(in_numpy),
        "jax": Peer(in_jax, ("jax",)),
        "jax, checkpoints 25 steps apart": Peer(lambda work: in_jax(work, 25), ("jax",)),
        "diffrax, recursive checkpoints": Peer(in_diffrax, ("jax", "diffrax")),
    },
)
