"""One double pendulum (m = l = 1, g = 9.81) for 100 s from angles (2, 1) and velocities (0.3, -0.2): chaotic motion.

Drift is the largest |E - E_0|/(3 g) at whole seconds. The error is the distance of the angles from the true motion
after 5 s, before chaos has taken over; the truth is scipy's DOP853 at a tolerance of 1e-13.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..harness import PROJECT, Case, Peer, Run, distance, first_words, numbers, require

G = 9.81
BEGIN = np.array([2.0, 1.0, 0.3, -0.2])
EARLY = 5


def problem(size: str) -> SimpleNamespace:
    """The time span alone."""
    (seconds,) = numbers(size)
    return SimpleNamespace(seconds=seconds, time=float(seconds))


def rates(y: Any, cos: Any, sin: Any) -> list[Any]:
    """The equations of motion, in any library's functions."""
    a, b, v, w = y
    c, s = cos(a - b), sin(a - b)
    f, g = -w*w*s - 2*G*sin(a), v*v*s - G*sin(b)
    return [v, w, (f - c*g)/(2.0 - c*c), (2.0*g - c*f)/(2.0 - c*c)]


def energy(y: np.ndarray) -> np.ndarray:
    """Of states (..., 4)."""
    a, b, v, w = np.moveaxis(y, -1, 0)
    return v**2 + w**2/2 + v*w*np.cos(a - b) - 2*G*np.cos(a) - G*np.cos(b)


def project(step: float, **options: Any) -> Callable[[Any], dict[str, Run]]:
    """The library. What is timed keeps the last node; another run keeps the whole seconds."""

    def build(work: Any) -> dict[str, Run]:
        import sympy as sp
        from sympy.physics.mechanics import dynamicsymbols

        import lagrangian_eqprop as lep

        a, b = dynamicsymbols("a b")
        v, w = a.diff(), b.diff()
        system = lep.System(v**2 + w**2/2 + v*w*sp.cos(a - b) + 2*G*sp.cos(a) + G*sp.cos(b), coordinates=[a, b])
        for name in set(options) - {"method"}:
            require(lep.System.trajectory, name)
        start = lep.Initial(q=BEGIN[:2], v=BEGIN[2:])
        second = round(1/step)
        grid = lep.Grid(second*work.seconds, step=step)

        def states(save: Any) -> np.ndarray:
            path = first_words(lambda: system.trajectory(start, grid, save=save, **options), "method")
            return np.concatenate([path.q, path.v], -1)

        return timed(lambda: states("last")[-1], lambda: states(second), f"h = {step:g}")

    return build


def timed(last: Callable[[], np.ndarray], seconds: Callable[[], np.ndarray], note: str) -> dict[str, Run]:
    """The run that is timed, and beside it the states at whole seconds, computed once and not timed."""
    kept: list[np.ndarray] = []

    def run() -> dict[str, Any]:
        state = last()
        if not kept:
            return {"y": state, "seconds_of": seconds, "kept": kept, "note": note}
        return {"y": state}

    return {"": run}


def in_scipy(method: str) -> Callable[[Any], dict[str, Run]]:
    """``solve_ivp``."""

    def build(work: Any) -> dict[str, Run]:
        return timed(
            lambda: scipy_states(method, 1e-9, work.time)[-1],
            lambda: scipy_states(method, 1e-9, work.time, np.arange(work.seconds + 1.0)), "tolerance 1e-9",
        )  # fmt: skip

    return build


def scipy_states(method: str, tolerance: float, time: float, at: Any = None) -> np.ndarray:
    """The states at some times, by default at the steps."""
    import math

    from scipy.integrate import solve_ivp

    def rate(_: float, y: np.ndarray) -> list[float]:
        return rates(y.tolist(), math.cos, math.sin)

    return solve_ivp(rate, (0.0, time), BEGIN, method, t_eval=at, rtol=tolerance, atol=tolerance).y.T


def in_heyoka(tolerance: float) -> Callable[[Any], dict[str, Run]]:
    """Adaptive Taylor series."""

    def build(work: Any) -> dict[str, Run]:
        import heyoka

        heyoka.llvm_state.set_diskcache_enabled(False)
        y = heyoka.make_vars("a", "b", "v", "w")
        equations = list(zip(y, rates(y, heyoka.cos, heyoka.sin), strict=True))
        integrator = heyoka.taylor_adaptive(equations, np.zeros(4), tol=tolerance)

        def begin() -> None:
            integrator.time = 0.0
            integrator.state[:] = BEGIN

        def last() -> np.ndarray:
            begin()
            integrator.propagate_until(work.time)
            return integrator.state.copy()

        def seconds() -> np.ndarray:
            begin()
            return integrator.propagate_grid(np.arange(work.seconds + 1.0))[-1]

        return timed(last, seconds, f"tolerance {tolerance:.0e}")

    return build


def in_diffrax(solver: str) -> Callable[[Any], dict[str, Run]]:
    """An adaptive Runge-Kutta method."""

    def build(work: Any) -> dict[str, Run]:
        import diffrax
        import jax
        import jax.numpy as jnp

        term = diffrax.ODETerm(lambda t, y, _: jnp.array(rates(y, jnp.cos, jnp.sin)))
        control = diffrax.PIDController(rtol=1e-9, atol=1e-9)

        def whole(y: Any, saved: Any) -> Any:
            return diffrax.diffeqsolve(
                term, getattr(diffrax, solver)(), 0.0, work.time, 0.01, y, max_steps=10**6,
                stepsize_controller=control, saveat=saved,
            ).ys  # fmt: skip

        end = jax.jit(lambda y: whole(y, diffrax.SaveAt(t1=True)))
        often = jax.jit(lambda y: whole(y, diffrax.SaveAt(ts=jnp.arange(work.seconds + 1.0))))
        begin = jnp.asarray(BEGIN)
        return timed(lambda: np.asarray(end(begin))[-1], lambda: np.asarray(often(begin)), "tolerance 1e-9")

    return build


def reference(work: Any) -> dict[str, np.ndarray]:
    """The angles after some seconds."""
    early = min(EARLY, work.seconds)
    return {"q": scipy_states("DOP853", 1e-13, float(early), [float(early)])[-1, :2]}


def errors(work: Any, label: str, result: Mapping[str, Any], truth: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Energy drift, and the distance of the angles early on."""
    states = result["seconds_of"]()
    result["kept"].append(states)
    drift = np.abs(energy(states) - energy(BEGIN)).max()/(3*G)
    return {"error": distance(states[min(EARLY, work.seconds), :2], truth["q"]), "drift": float(drift)}


GAUSS = {"method": "gauss", "stages": 8}
CASE = Case(
    name="long_run",
    title="A double pendulum for a long time",
    statement=(
        "100 s of a chaotic double pendulum, the last state kept. Drift is the largest relative departure "
        "from the energy at whole seconds, error the distance of the angles from the true motion after "
        f"{EARLY} s, before chaos multiplies it."
    ),
    sizes=("100 s",),
    quick=("2 s",),
    problem=problem,
    reference=reference,
    errors=errors,
    peers={
        f"{PROJECT}, Gauss, h = 0.05": Peer(project(0.05, **GAUSS)),
        f"{PROJECT}, Gauss, h = 0.04": Peer(project(0.04, **GAUSS)),
        f"{PROJECT}, Gauss, h = 0.025": Peer(project(0.025, **GAUSS)),
        f"{PROJECT}, midpoint, h = 0.01": Peer(project(0.01, method="midpoint")),
        f"{PROJECT}, midpoint, h = 0.001": Peer(project(0.001, method="midpoint")),
        "heyoka, Taylor": Peer(in_heyoka(1e-9), ("heyoka",)),
        "heyoka, Taylor, tolerance 1e-15": Peer(in_heyoka(1e-15), ("heyoka",)),
        "diffrax, Tsit5": Peer(in_diffrax("Tsit5"), ("jax", "diffrax")),
        "diffrax, Dopri8": Peer(in_diffrax("Dopri8"), ("jax", "diffrax")),
        "scipy, DOP853": Peer(in_scipy("DOP853"), ("scipy",)),
        "scipy, RK45": Peer(in_scipy("RK45"), ("scipy",)),
    },
)
