"""A Fermi-Pasta-Ulam-Tsingou chain: H = sum p^2/2 + sum over bonds of d^2/2 + beta d^4/4, beta = 0.3, both ends fixed.

Störmer-Verlet with h = 0.05, one trajectory. The reference of the discrete map is a plain loop in extended precision,
that of the motion scipy's DOP853 at a relative tolerance of 1e-12.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from .. import native
from ..harness import PROJECT, Case, Peer, Run, distance, numbers

BETA, STEP = 0.3, 0.05


def problem(size: str) -> SimpleNamespace:
    """The lowest mode and some noise."""
    masses, steps = numbers(size)
    random = np.random.default_rng(2)
    q = np.sin(np.pi*np.arange(1, masses + 1)/(masses + 1)) + 0.1*random.standard_normal(masses)
    return SimpleNamespace(masses=masses, steps=steps, time=steps*STEP, q=q, p=0.1*random.standard_normal(masses))


def project(work: Any) -> dict[str, Run]:
    """The library: masses, bonds, and a bond to each wall."""
    import sympy as sp
    from sympy.physics.mechanics import dynamicsymbols

    import lagrangian_eqprop as lep

    (x, z), b, n = dynamicsymbols("x z"), sp.Symbol("b"), work.masses
    chain = lep.System(
        [
            lep.Term(x.diff()**2/2, on=[x], at=np.arange(n)),
            lep.Term(-(z - x)**2/2 - b*(z - x)**4/4, on=[x, z], at=np.stack([np.arange(n - 1), np.arange(1, n)], 1)),
            lep.Term(-x**2/2 - b*x**4/4, on=[x], at=[0]),
            lep.Term(-x**2/2 - b*x**4/4, on=[x], at=[n - 1]),
        ],
        size=n,
        parameters={b: BETA},
    )
    start = lep.Initial(q=work.q, p=work.p)
    grid = lep.Grid(work.steps, step=STEP)

    def run() -> dict[str, Any]:
        path = chain.trajectory(start, grid, save="last")
        return {"q": path.q[-1], "p": path.p[-1]}

    return {"": run}


def force(q: np.ndarray) -> np.ndarray:
    """The force on every mass."""
    d = np.diff(q, prepend=0.0, append=0.0)
    return np.diff(d + BETA*d**3)


def loop(q: np.ndarray, p: np.ndarray, steps: int) -> dict[str, np.ndarray]:
    """The map in numpy, in the precision of what is given."""
    n = len(q)
    q, p = np.concatenate([[0.0], q, [0.0]]).astype(q.dtype), p.copy()
    d, f, change = np.empty(n + 1, q.dtype), np.empty(n + 1, q.dtype), np.empty(n, q.dtype)
    for k in range(steps + 1):
        np.subtract(q[1:], q[:-1], out=d)
        np.multiply(d, d, out=f)
        f *= BETA
        f += 1
        f *= d
        np.subtract(f[1:], f[:-1], out=change)
        change *= STEP/2 if k in (0, steps) else STEP
        p += change
        if k < steps:
            np.multiply(p, STEP, out=change)
            q[1:-1] += change
    return {"q": q[1:-1], "p": p}


def in_numpy(work: Any) -> dict[str, Run]:
    """A loop over steps, whole arrays in each."""
    return {"": lambda: loop(work.q, work.p, work.steps)}


def jax_force(q: Any) -> Any:
    """The force on every mass, in jax."""
    import jax.numpy as jnp

    d = jnp.diff(jnp.pad(q, 1))
    f = d + BETA*d*d*d
    return f[1:] - f[:-1]


def in_jax(work: Any) -> dict[str, Run]:
    """``jax.lax.scan`` over steps."""
    import jax
    import jax.numpy as jnp

    def step(state: Any, _: Any) -> Any:
        q, p = state
        q = q + STEP*p
        return (q, p + STEP*jax_force(q)), None

    @jax.jit
    def whole(q: Any, p: Any) -> Any:
        (q, p), _ = jax.lax.scan(step, (q, p + STEP/2*jax_force(q)), length=work.steps)
        return q, p - STEP/2*jax_force(q)

    q, p = jnp.asarray(work.q), jnp.asarray(work.p)
    return {"": lambda: dict(zip("qp", map(np.asarray, whole(q, p)), strict=True))}


def in_diffrax(work: Any) -> dict[str, Run]:
    """SemiImplicitEuler between half kicks, which is Verlet."""
    import diffrax
    import jax
    import jax.numpy as jnp

    terms = (diffrax.ODETerm(lambda t, p, _: p), diffrax.ODETerm(lambda t, q, _: jax_force(q)))

    @jax.jit
    def whole(q: Any, p: Any) -> Any:
        solution = diffrax.diffeqsolve(
            terms, diffrax.SemiImplicitEuler(), 0.0, work.time, STEP, (q, p + STEP/2*jax_force(q)),
            max_steps=work.steps + 1, saveat=diffrax.SaveAt(t1=True), stepsize_controller=diffrax.ConstantStepSize(),
        )  # fmt: skip
        q, p = solution.ys[0][0], solution.ys[1][0]
        return q, p - STEP/2*jax_force(q)

    q, p = jnp.asarray(work.q), jnp.asarray(work.p)
    return {"": lambda: dict(zip("qp", map(np.asarray, whole(q, p)), strict=True))}


def in_heyoka(work: Any) -> dict[str, Run]:
    """Adaptive Taylor series; every mass has its own expression."""
    import heyoka

    heyoka.llvm_state.set_diskcache_enabled(False)
    n = work.masses
    q, p = (heyoka.make_vars(*[f"{name}{k}" for k in range(n)]) for name in "qp")
    d = [q[0], *(right - left for left, right in zip(q[:-1], q[1:], strict=True)), -q[-1]]
    f = [x + BETA*x*x*x for x in d]
    equations = [*zip(q, p, strict=True), *((p[k], f[k + 1] - f[k]) for k in range(n))]
    integrator = heyoka.taylor_adaptive(equations, np.zeros(2*n), tol=1e-9, compact_mode=n > 64)

    def run() -> dict[str, Any]:
        integrator.time = 0.0
        integrator.state[:] = np.concatenate([work.q, work.p])
        done = integrator.propagate_until(work.time)
        q, p = np.split(integrator.state.copy(), 2)
        return {"q": q, "p": p, "adaptive": True, "note": f"tolerance 1e-9, {done[3]} steps"}

    return {"": run}


def in_scipy(work: Any, tolerance: float = 1e-9) -> dict[str, Run]:
    """DOP853."""
    from scipy.integrate import solve_ivp

    def rate(_: float, y: np.ndarray) -> np.ndarray:
        q, p = np.split(y, 2)
        return np.concatenate([p, force(q)])

    def run() -> dict[str, Any]:
        done = solve_ivp(
            rate, (0.0, work.time), np.concatenate([work.q, work.p]), "DOP853", rtol=tolerance, atol=tolerance
        )
        q, p = np.split(done.y[:, -1], 2)
        return {"q": q, "p": p, "adaptive": True, "note": f"tolerance {tolerance:.0e}, {done.nfev} forces"}

    return {"": run}


def in_c(flags: tuple[str, ...]) -> Any:
    """Two passes a step: the bonds, then kick and drift together."""

    def build(work: Any) -> dict[str, Run]:
        kinds = ("long", "long", "double", "double", "array", "array", "array")
        call = native.function(native.compiled("chain", flags), "chain", *kinds)
        wall = np.zeros(1)

        def run() -> dict[str, Any]:
            q, p, room = np.concatenate([wall, work.q, wall]), work.p.copy(), np.empty(work.masses + 1)
            call(work.masses, work.steps, STEP, BETA, q, p, room)
            return {"q": q[1:-1], "p": p}

        return {"": run}

    return build


def reference(work: Any) -> dict[str, np.ndarray]:
    """End points of the discrete map, and of the motion."""
    discrete = loop(work.q.astype(np.longdouble), work.p.astype(np.longdouble), work.steps)
    return {"discrete": discrete["q"].astype(float), "motion": in_scipy(work, 1e-12)[""]()["q"]}


def errors(work: Any, label: str, result: Mapping[str, Any], truth: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Distance from the discrete map (rounding) and from the motion."""
    found = {"error": distance(result["q"], truth["motion"])}
    if not result.get("adaptive"):
        found["rounding"] = distance(result["q"], truth["discrete"])
    return found


CASE = Case(
    name="chain",
    title="A long chain",
    statement=(
        "One Fermi-Pasta-Ulam-Tsingou chain with quartic bonds between two walls, Störmer-Verlet with h = "
        "0.05, the last node kept. Sizes: masses x steps. heyoka, which writes out every mass, takes part up "
        "to 1024 masses."
    ),
    sizes=("64 x 10000", "1024 x 10000", "16384 x 1000"),
    quick=("8 x 50",),
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
        "heyoka, Taylor": Peer(in_heyoka, ("heyoka",), sizes=("8", "64", "1024")),
        "scipy, DOP853": Peer(in_scipy, ("scipy",)),
    },
)
