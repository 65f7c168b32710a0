"""Errors of the estimators against the nudge beta, and of the discrete gradient against the step h, with their slopes.

Left: equilibrium propagation with a finite nudge misses the gradient by O(beta) one-sided, by O(beta^2) centered and
by O(beta^N) with N complex nudges on a circle, down to rounding; the reference is the limit itself, Exact(). Right:
the gradient of the *discretised* loss is O(h^2) away from that of the continuous one, since both methods are of order
2. Against the discrete gradient, which the classical adjoint computes by other code, there is no h in it: the error
is rounding at every step size, the coarsest too.

The system is a driven Duffing oscillator, L = q'^2/2 - k q^2/2 - a q^4/4 + f cos(w t) q, with the cost (q - y(t))^2/2
over its path; the errors are those of the gradient with respect to k and a. The continuous gradient is integrated
from the sensitivity equations by scipy's DOP853 at a tolerance of 1e-13.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import sympy as sp
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep
from lagrangian_eqprop.plotting import COLOURS

from ._output import GREY, new_figure, tidy, write

STIFFNESS, HARDENING, PUSH, PACE = 0.8, 0.6, 0.4, 1.3
START, DURATION = (0.9, 0.2), 8.0
FLOOR = 1e-17  # where an error of nought is drawn
METHODS = {"verlet": "Verlet", "midpoint": "midpoint"}


def aim(t: Any) -> Any:
    """What q is compared with."""
    return 0.5*np.sin(0.7*t)


def problem() -> tuple[lep.System, lep.Cost, tuple[sp.Symbol, ...], dict[str, Any]]:
    """The oscillator, its cost, the parameters k and a, and the other arguments of a gradient."""
    q = dynamicsymbols("q")
    k, a, u, y = sp.symbols("k a u y")
    system = lep.System(
        q.diff()**2/2 - k*q**2/2 - a*q**4/4 + u*q, [q], parameters={k: STIFFNESS, a: HARDENING}, inputs=[u]
    )  # fmt: skip
    options = {"targets": {y: aim}, "inputs": {u: lambda t: PUSH*np.cos(PACE*t)}}
    return system, lep.Cost((q - y)**2/2, targets=[y]), (k, a), options


def continuous_gradient() -> np.ndarray:
    """dJ/dk and dJ/da of J = integral of (q - y)^2/2: with s = dq/dk, s'' = -(k + 3 a q^2) s - q, and so for a."""
    from scipy.integrate import solve_ivp

    def rates(t: float, z: np.ndarray) -> list[float]:
        q, v, sk, vk, sa, va, _, _ = z
        curvature = STIFFNESS + 3*HARDENING*q*q
        force = -STIFFNESS*q - HARDENING*q**3 + PUSH*np.cos(PACE*t)
        error = q - aim(t)
        return [v, force, vk, -curvature*sk - q, va, -curvature*sa - q**3, error*sk, error*sa]

    found = solve_ivp(rates, (0, DURATION), [*START, 0, 0, 0, 0, 0, 0], method="DOP853", rtol=1e-13, atol=1e-15)
    return found.y[-2:, -1]


def slope(
    x: np.ndarray, error: np.ndarray, low: np.ndarray | float, high: float = 0.1
) -> tuple[float, np.ndarray]:
    """Slope of log error against log x, and the points it is fitted to: above rounding (low), below high."""
    kept = (error > low) & (error < high)
    return (float(np.polyfit(np.log(x[kept]), np.log(error[kept]), 1)[0]) if kept.sum() > 1 else np.nan), kept


def run(output: Path, short: bool = False) -> dict[str, Any]:
    """Measure and draw.

    Parameters
    ----------
    output : Path
        Folder for ``gradients.png`` and ``gradients.json``.
    short : bool
        Fewer nudges and step sizes.

    Returns
    -------
    dict
        The numbers of ``gradients.json``: errors and slopes.
    """
    system, cost, parameters, options = problem()
    start = lep.Initial(q=[START[0]], v=[START[1]])

    def gradient(estimator: Any, steps: int = 200, method: str = "verlet") -> np.ndarray:
        grid = lep.Grid(steps, duration=DURATION)
        result = system.gradient(start, grid, cost, estimator=estimator, method=method, **options)
        return np.array([result[symbol] for symbol in parameters])

    def distance(found: np.ndarray, reference: np.ndarray) -> float:
        return float(np.linalg.norm(found - reference)/np.linalg.norm(reference))

    print("compiling Verlet", flush=True)
    exact = gradient(lep.Exact())
    betas = np.logspace(-7, -1, 13 if short else 37)
    estimators = {
        "OneSided": (1, lambda beta: lep.OneSided(beta)),
        "Centered": (2, lambda beta: lep.Centered(beta)),
        "Holomorphic, N = 4": (4, lambda beta: lep.Holomorphic(radius=beta, points=4)),
        "Holomorphic, N = 6": (6, lambda beta: lep.Holomorphic(radius=beta, points=6)),
    }
    nudged: dict[str, Any] = {}
    for name, (order, make) in estimators.items():
        errors = np.array([distance(gradient(make(beta)), exact) for beta in betas])
        fitted, kept = slope(betas, errors, 1e-13/betas)  # a difference of two paths divided by beta loses that much
        nudged[name] = {"order": order, "errors": errors, "slope": fitted, "fitted": kept}
        print(f"{name}: slope {nudged[name]['slope']:.2f} in beta, {order} expected")
    truth = continuous_gradient()
    counts = np.array([64, 128, 256] if short else [16, 24, 32, 48, 64, 96, 128, 256, 512, 1024])
    stepped: dict[str, Any] = {}
    for method, name in METHODS.items():
        print(f"step sizes with {name}", flush=True)
        found = [(gradient(lep.Exact(), n, method), gradient(lep.Adjoint(), n, method)) for n in counts]
        errors = np.array([distance(echo, truth) for echo, _ in found])
        against = np.array([distance(echo, adjoint) for echo, adjoint in found])
        fitted, kept = slope(DURATION/counts, errors, 1e-11, 0.02)
        stepped[method] = {"errors": errors, "against_discrete": against, "slope": fitted, "fitted": kept}
        print(f"{name}: slope {fitted:.2f} in h, 2 expected; against the discrete gradient at most {against.max():.0e}")
    numbers = {
        "betas": betas, "nudge": nudged, "steps": counts, "step": stepped, "gradient": exact, "continuous": truth
    }  # fmt: skip
    configuration = {
        "stiffness": STIFFNESS, "hardening": HARDENING, "push": PUSH, "pace": PACE, "start": START,
        "duration": DURATION, "steps": 200, "method": "verlet", "short": short,
    }  # fmt: skip
    write(output, "gradients", draw(numbers), configuration, numbers)
    return numbers


def draw(numbers: dict[str, Any]) -> Any:
    """Both panels; dotted guides have the expected slopes."""
    figure = new_figure(13, 5.6)
    left, right = figure.subplots(1, 2)
    betas = numbers["betas"]

    def guide(axes: Any, x: np.ndarray, entry: dict[str, Any], order: int, colour: str) -> None:
        """A line of the expected slope through the middle of the points that were fitted."""
        fitted = np.flatnonzero(entry["fitted"])
        if fitted.size:
            middle = fitted[len(fitted)//2]
            axes.loglog(x, entry["errors"][middle]*(x/x[middle])**order, ":", color=colour, lw=1)

    for colour, (name, entry) in zip(COLOURS, numbers["nudge"].items(), strict=False):
        label = f"{name}: slope {entry['slope']:.2f}"
        left.loglog(betas, np.maximum(entry["errors"], FLOOR), "o", ms=4, color=colour, label=label)
        guide(left, betas, entry, entry["order"], colour)
    tidy(left, "a", "A finite nudge; dotted: slopes 1, 2, 4, 6")
    left.text(2e-6, 1e-13, "rounding, divided by $\\beta$", color=GREY, fontsize=9)
    left.set_xlabel(r"nudge $\beta$ (of Holomorphic the radius)")
    left.set_ylabel("relative error against Exact()")
    step = DURATION/numbers["steps"]
    for colour, marker, (name, entry) in zip(COLOURS, "os", numbers["step"].items(), strict=False):
        label = f"{METHODS[name]}, against the continuous gradient: slope {entry['slope']:.2f}"
        right.loglog(step, entry["errors"], marker, ms=6, color=colour, label=label)
        guide(right, step, entry, 2, colour)
        label = f"{METHODS[name]}, against the discrete gradient (adjoint): rounding at every $h$"
        rounding = np.maximum(entry["against_discrete"], FLOOR)
        right.loglog(step, rounding, marker, ms=6, mfc="none", color=colour, label=label)
    tidy(right, "b", "A finite step; dotted: slope 2")
    right.set(xlabel="step $h$", ylabel="relative error of Exact()")
    for axes, top in ((left, 1e4), (right, 1e4)):
        axes.set_ylim(FLOOR/2, top)
        axes.grid(alpha=0.25)
        axes.legend(frameon=False, fontsize=9, loc="upper left")
    return figure
