"""One first result, in the process it is started in: ``python -m benchmarks.cold PEER SIZE FILE [CACHE]``.

The clock starts before the library is imported, with numpy (and for this library sympy and the written Lagrangian)
already there, and stops when the arrays are; what a library imports and compiles on the way is included. With a cache
folder, jax and heyoka keep compiled code there, as this library does in the folder of its own variable.

links n: a chain of n rods (m = l = 1, g = 9.81), L = 1/2 sum_ij a_ij v_i v_j cos(q_i - q_j) + g sum_i a_ii cos(q_i),
a_ij = n - max(i, j) counted from 0; 100 steps of 0.01 by the midpoint rule, at rest at first.
sites n: a chain of n Duffing oscillators, each with its own spring k_i; 10 Verlet steps of 0.05, and the gradient of
sum x^2/2 at the end in all k_i.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

G, STEPS, STEP = 9.81, 100, 0.01
SITE_STEPS, SITE_STEP, QUARTIC, COUPLING = 10, 0.05, 0.3, 0.5

Clock = Callable[[], None]


def rods(n: int) -> tuple[np.ndarray, np.ndarray]:
    """a_ij, and the angles at first."""
    i = np.arange(n)
    return n - np.maximum.outer(i, i).astype(float), 0.6 + 0.1*np.sin(1.0 + i)


def oscillators(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Springs, and positions at first."""
    i = np.arange(n)
    return 1.0 + 0.2*np.sin(i), 0.5*np.cos(0.7*i)


def links_here(n: int, clock: Clock, cache: str | None) -> dict[str, Any]:
    """This library, links."""
    import sympy as sp
    from sympy.physics.mechanics import dynamicsymbols

    a, begin = rods(n)
    q = [dynamicsymbols(f"q{i}") for i in range(n)]
    v = [x.diff() for x in q]
    kinetic = sum(sp.Rational(int(a[i, j]), 2)*v[i]*v[j]*sp.cos(q[i] - q[j]) for i in range(n) for j in range(n))
    lagrangian = kinetic + G*sum(int(a[i, i])*sp.cos(q[i]) for i in range(n))
    clock()
    import lagrangian_eqprop as lep

    path = lep.System(lagrangian, coordinates=q).trajectory(
        lep.Initial(q=begin, v=0*begin), lep.Grid(STEPS, step=STEP), save="last"
    )
    return {"q": path.q[-1]}


def links_jax(n: int, clock: Clock, cache: str | None) -> dict[str, Any]:
    """jax, links: the momenta by automatic differentiation, Newton's method within ``lax.scan``."""
    clock()
    import jax
    import jax.numpy as jnp

    if cache:
        keep(jax, cache)
    numbers, begin = rods(n)
    a = jnp.asarray(numbers)

    def lagrangian(q: Any, v: Any) -> Any:
        return (a*jnp.cos(q[:, None] - q)*v[:, None]*v).sum()/2 + G*(jnp.diag(a)*jnp.cos(q)).sum()

    first = jax.grad(lagrangian, (0, 1))

    def ends(q: Any, v: Any) -> Any:
        Lq, Lv = first(q + STEP/2*v, v)
        return Lv - STEP/2*Lq, Lv + STEP/2*Lq

    def step(state: Any, _: Any) -> Any:
        q, p, v = state

        def newton(v: Any, _: Any) -> Any:
            slope = jax.jacfwd(lambda w: ends(q, w)[0])(v)
            return v - jnp.linalg.solve(slope, ends(q, v)[0] - p), None

        v, _ = jax.lax.scan(newton, v, length=4)
        return (q + STEP*v, ends(q, v)[1], v), None

    @jax.jit
    def whole(q: Any, v: Any) -> Any:
        return jax.lax.scan(step, (q, first(q, v)[1], v), length=STEPS)[0][0]

    return {"q": np.asarray(whole(begin, 0*begin))}


def links_heyoka(n: int, clock: Clock, cache: str | None) -> dict[str, Any]:
    """heyoka, links: its own Euler-Lagrange equations, adaptive Taylor series."""
    clock()
    import heyoka

    heyoka.llvm_state.set_diskcache_enabled(cache is not None)
    if cache:
        heyoka.llvm_state.set_diskcache_path(cache)
    a, begin = rods(n)
    q = heyoka.make_vars(*[f"q{i}" for i in range(n)])
    v = heyoka.make_vars(*[f"v{i}" for i in range(n)])
    lagrangian = heyoka.expression(0.0)
    for i in range(n):
        lagrangian += a[i, i]/2*v[i]*v[i] + G*a[i, i]*heyoka.cos(q[i])
        for j in range(i):
            lagrangian += a[i, j]*v[i]*v[j]*heyoka.cos(q[i] - q[j])
    equations = heyoka.lagrangian(lagrangian, q, v)
    integrator = heyoka.taylor_adaptive(equations, np.zeros(2*n), tol=1e-9, compact_mode=n > 3)
    integrator.state[:n] = begin
    integrator.propagate_until(STEPS*STEP)
    return {"q": integrator.state[:n].copy(), "adaptive": np.array(True)}


def sites_here(n: int, clock: Clock, cache: str | None) -> dict[str, Any]:
    """This library, sites."""
    import sympy as sp
    from sympy.physics.mechanics import dynamicsymbols

    springs, begin = oscillators(n)
    (x, z), k, left = dynamicsymbols("x z"), sp.Symbol("k"), np.arange(n - 1)
    clock()
    import lagrangian_eqprop as lep

    network = lep.System(
        [
            lep.Term(x.diff()**2/2 - k*x**2/2 - QUARTIC*x**4/4, on=[x], at=np.arange(n)),
            lep.Term(-COUPLING*(z - x)**2/2, on=[x, z], at=np.stack([left, left + 1], 1)),
        ],
        size=n,
        parameters={k: springs},
    )
    cost = lep.Cost(x**2/2, on=[x], at=np.arange(n), when="end")
    result = network.gradient(lep.Initial(q=begin, p=0*begin), lep.Grid(SITE_STEPS, step=SITE_STEP), cost)
    return {"gradient": result[k]}


def sites_jax(n: int, clock: Clock, cache: str | None) -> dict[str, Any]:
    """jax, sites."""
    clock()
    import jax
    import jax.numpy as jnp

    if cache:
        keep(jax, cache)
    springs, begin = oscillators(n)

    def force(k: Any, q: Any) -> Any:
        tension = jnp.pad(COUPLING*(q[1:] - q[:-1]), 1)
        return -(k + QUARTIC*q*q)*q + tension[1:] - tension[:-1]

    def loss(k: Any, q: Any) -> Any:
        def step(state: Any, _: Any) -> Any:
            q, p = state
            q = q + SITE_STEP*p
            return (q, p + SITE_STEP*force(k, q)), None

        (q, _), _ = jax.lax.scan(step, (q, SITE_STEP/2*force(k, q)), length=SITE_STEPS)
        return (q*q).sum()/2

    return {"gradient": np.asarray(jax.jit(jax.grad(loss))(springs, begin))}


def keep(jax: Any, cache: str) -> None:
    """Let jax keep everything it compiles."""
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


FIRST_RESULTS = {
    ("here", "links"): links_here, ("jax", "links"): links_jax, ("heyoka", "links"): links_heyoka,
    ("here", "sites"): sites_here, ("jax", "sites"): sites_jax,
}  # fmt: skip


def main() -> None:
    """Write the arrays to a file, and say how long they took."""
    peer, size, target, *cache = sys.argv[1:]
    kind, count = size.split()
    begin: list[float] = []
    work = FIRST_RESULTS[peer, kind]
    result = work(int(count), lambda: begin.append(time.perf_counter()), cache[0] if cache else None)
    seconds = time.perf_counter() - begin[0]
    np.savez(target, **result)
    print("\n" + json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
