"""Many pendula: H = p^2/(2 m l^2) - m g l cos(q), m = l = 1, g = 9.81; Störmer-Verlet with h = 0.01.

The reference of the discrete map is a plain loop in extended precision, that of the motion scipy's DOP853 at a
relative tolerance of 1e-13.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from .. import native
from ..harness import PROJECT, Case, Peer, Run, distance, numbers

M, L, G, STEP = 1.0, 1.0, 9.81, 0.01


def problem(size: str) -> SimpleNamespace:
    """Random angles and momenta, most of them far from small oscillations."""
    batch, steps = numbers(size)
    random = np.random.default_rng(1)
    return SimpleNamespace(
        batch=batch, steps=steps, time=steps*STEP, q=random.uniform(-2.5, 2.5, batch), p=random.uniform(-1, 1, batch)
    )


def project(work: Any) -> dict[str, Run]:
    """The library."""
    import sympy as sp
    from sympy.physics.mechanics import dynamicsymbols

    import lagrangian_eqprop as lep

    q, (m, l, g) = dynamicsymbols("q"), sp.symbols("m l g")
    pendulum = lep.System(
        m*l**2*q.diff()**2/2 + m*g*l*sp.cos(q), coordinates=[q], parameters={m: M, l: L, g: G}
    )  # fmt: skip
    start = lep.Initial(q=work.q[:, None], p=work.p[:, None])
    grid = lep.Grid(work.steps, step=STEP)

    def run() -> dict[str, Any]:
        path = pendulum.trajectory(start, grid, save="last")
        return {"q": path.q[:, -1, 0], "p": path.p[:, -1, 0]}

    return {"": run}


def loop(q: np.ndarray, p: np.ndarray, steps: int) -> dict[str, np.ndarray]:
    """The map in numpy, in the precision of what is given."""
    drift, kick = STEP/(M*L**2), STEP*M*G*L
    q, p = q.copy(), p - kick/2*np.sin(q)
    for k in range(steps):
        q += drift*p
        p -= (kick if k < steps - 1 else kick/2)*np.sin(q)
    return {"q": q, "p": p}


def in_numpy(work: Any) -> dict[str, Run]:
    """A loop over steps, whole arrays in each."""
    return {"": lambda: loop(work.q, work.p, work.steps)}


def in_jax(work: Any) -> dict[str, Run]:
    """``jax.lax.scan`` over steps."""
    import jax
    import jax.numpy as jnp

    drift, kick = STEP/(M*L**2), STEP*M*G*L

    def step(state: Any, _: Any) -> Any:
        q, p = state
        q = q + drift*p
        return (q, p - kick*jnp.sin(q)), None

    @jax.jit
    def whole(q: Any, p: Any) -> Any:
        (q, p), _ = jax.lax.scan(step, (q, p - kick/2*jnp.sin(q)), length=work.steps)
        return q, p + kick/2*jnp.sin(q)

    q, p = jnp.asarray(work.q), jnp.asarray(work.p)
    return {"": lambda: dict(zip("qp", map(np.asarray, whole(q, p)), strict=True))}


def in_diffrax(work: Any) -> dict[str, Run]:
    """SemiImplicitEuler between half kicks, which is Verlet."""
    import diffrax
    import jax
    import jax.numpy as jnp

    pull = M*G*L
    terms = (diffrax.ODETerm(lambda t, p, _: p/(M*L**2)), diffrax.ODETerm(lambda t, q, _: -pull*jnp.sin(q)))

    @jax.jit
    def whole(q: Any, p: Any) -> Any:
        solution = diffrax.diffeqsolve(
            terms, diffrax.SemiImplicitEuler(), 0.0, work.time, STEP, (q, p - STEP/2*pull*jnp.sin(q)),
            max_steps=work.steps + 1, saveat=diffrax.SaveAt(t1=True),
        )  # fmt: skip
        q, p = solution.ys[0][0], solution.ys[1][0]
        return q, p + STEP/2*pull*jnp.sin(q)

    q, p = jnp.asarray(work.q), jnp.asarray(work.p)
    return {"": lambda: dict(zip("qp", map(np.asarray, whole(q, p)), strict=True))}


def heyoka_taylor(work: Any) -> dict[str, Run]:
    """Adaptive Taylor series, as many pendula at once as the registers hold."""
    import heyoka

    heyoka.llvm_state.set_diskcache_enabled(False)
    q, p = heyoka.make_vars("q", "p")
    width = heyoka.recommended_simd_size()
    equations = [(q, p/(M*L**2)), (p, -M*G*L*heyoka.sin(q))]
    integrator = heyoka.taylor_adaptive_batch(equations, np.zeros((2, width)), tol=1e-9)
    count = -(-work.batch//width)
    begin = np.zeros((2, count*width))
    begin[:, :work.batch] = work.q, work.p
    blocks = begin.reshape(2, count, width)

    def run() -> dict[str, Any]:
        ends = np.empty_like(blocks)
        for k in range(count):
            integrator.set_time(0.0)
            integrator.state[:] = blocks[:, k]
            integrator.propagate_until(work.time)
            ends[:, k] = integrator.state
        q, p = ends.reshape(2, -1)[:, :work.batch]
        return {"q": q, "p": p, "adaptive": True, "note": "tolerance 1e-9"}

    return {"": run}


def heyoka_function(work: Any) -> dict[str, Run]:
    """One Verlet step as a compiled function of heyoka, called for every step."""
    import heyoka

    heyoka.llvm_state.set_diskcache_enabled(False)
    q, p = heyoka.make_vars("q", "p")
    kick = STEP*M*G*L
    moved = q + STEP/(M*L**2)*p
    step = heyoka.cfunc([moved, p - kick*heyoka.sin(moved)], [q, p])

    def run() -> dict[str, Any]:
        now = np.stack([work.q, work.p - kick/2*np.sin(work.q)])
        then = np.empty_like(now)
        for _ in range(work.steps):
            step(inputs=now, outputs=then)
            now, then = then, now
        return {"q": now[0], "p": now[1] + kick/2*np.sin(now[0])}

    return {"": run}


def in_scipy(work: Any, tolerance: float = 1e-9) -> dict[str, Run]:
    """DOP853, all pendula as one system."""
    from scipy.integrate import solve_ivp

    def rate(_: float, y: np.ndarray) -> np.ndarray:
        q, p = np.split(y, 2)
        return np.concatenate([p/(M*L**2), -M*G*L*np.sin(q)])

    def run() -> dict[str, Any]:
        done = solve_ivp(
            rate, (0.0, work.time), np.concatenate([work.q, work.p]), "DOP853", rtol=tolerance, atol=tolerance
        )
        q, p = np.split(done.y[:, -1], 2)
        return {"q": q, "p": p, "adaptive": True, "note": f"tolerance {tolerance:.0e}, {done.nfev} forces"}

    return {"": run}


def in_c(flags: tuple[str, ...]) -> Any:
    """Blocks in the first cache, sin by the C library (or its vector version, where the flags allow it)."""

    def build(work: Any) -> dict[str, Run]:
        call = native.function(
            native.compiled("pendula", flags), "pendula", "long", "long", "double", "double", "double", "array", "array"
        )

        def run() -> dict[str, Any]:
            q, p = work.q.copy(), work.p.copy()
            call(work.batch, work.steps, STEP, 1/(M*L**2), M*G*L, q, p)
            return {"q": q, "p": p}

        return {"": run}

    return build


def reference(work: Any) -> dict[str, np.ndarray]:
    """End points of the discrete map, and of the motion."""
    discrete = loop(work.q.astype(np.longdouble), work.p.astype(np.longdouble), work.steps)
    return {"discrete": discrete["q"].astype(float), "motion": in_scipy(work, 1e-13)[""]()["q"]}


def errors(work: Any, label: str, result: Mapping[str, Any], truth: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Distance from the discrete map (rounding) and from the motion."""
    found = {"error": distance(result["q"], truth["motion"])}
    if not result.get("adaptive"):
        found["rounding"] = distance(result["q"], truth["discrete"])
    return found


CASE = Case(
    name="pendula",
    title="Many pendula",
    statement=(
        "Independent pendula, Störmer-Verlet with h = 0.01, the last node kept. Sizes: pendula x steps. "
        "heyoka's Taylor method and DOP853 solve the same time span adaptively."
    ),
    sizes=("4096 x 1000",),
    quick=("70 x 30",),
    problem=problem,
    reference=reference,
    errors=errors,
    peers={
        PROJECT: Peer(project),
        "C": Peer(in_c(native.PLAIN), ("gcc",)),
        "C, fast-math": Peer(in_c(native.FAST), ("gcc",)),
        "C, fast-math, 512 bits": Peer(in_c(native.WIDE), ("gcc",)),
        "numpy": Peer(in_numpy),
        "jax": Peer(in_jax, ("jax",)),
        "diffrax": Peer(in_diffrax, ("jax", "diffrax")),
        "heyoka, Taylor": Peer(heyoka_taylor, ("heyoka",)),
        "heyoka, compiled step": Peer(heyoka_function, ("heyoka",)),
        "scipy, DOP853": Peer(in_scipy, ("scipy",)),
    },
)
