"""Penalties of a ridge regression learned by contrast: one for each feature, found on held-out data.

The regression is an energy whose state is the vector of weights and whose parameters are the logarithms of the
penalties; the error on held-out samples is the cost. The weights settle twice, free and nudged by the held-out samples,
and each penalty reads its own weight in both states. Most features are noise: their penalties should grow until the
regression leaves them out, and the error on fresh data should fall below what one common penalty can reach, even the
best one. With few held-out samples they can be overfitted like anything else that is
trained. Every gradient is compared with the closed form that linear algebra gives.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import lagrangian_eqprop as lep
from lagrangian_eqprop.plotting import COLOURS
from lagrangian_eqprop.systems.ridge import regression, values

from ._output import GREY, new_figure, tidy, write

FEATURES, RELEVANT = 12, 3
SAMPLES, HELD_OUT, FRESH = 24, 48, 4000
NOISE = 0.5
RATE, BETA = 0.1, 1e-4


def weights(r: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The regression with penalties exp(r), by linear algebra."""
    return np.linalg.solve(x.T @ x + np.diag(np.exp(r)), x.T @ y)


def closed_form(r: np.ndarray, x: np.ndarray, y: np.ndarray, X: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """dJ/dr of J = |Y - X w|^2/2: -exp(r_i) w_i times the i-th of (x^T x + exp(r))^-1 X^T (X w - Y)."""
    w = weights(r, x, y)
    return -np.exp(r)*w*np.linalg.solve(x.T @ x + np.diag(np.exp(r)), X.T @ (X @ w - Y))


def draw_data(seed: int) -> tuple[np.ndarray, ...]:
    """Samples, held-out samples and fresh ones: x, y, X, Y, and x and y of the fresh ones."""
    rng = np.random.default_rng(seed)
    true = np.zeros(FEATURES)
    true[:RELEVANT] = rng.choice([-1.0, 1.0], RELEVANT)*rng.uniform(0.7, 1.3, RELEVANT)
    found: list[np.ndarray] = []
    for count in (SAMPLES, HELD_OUT, FRESH):
        x = rng.normal(size=(count, FEATURES))
        found += [x, x @ true + NOISE*rng.normal(size=count)]
    return tuple(found)


def learn(seed: int, steps: int) -> dict[str, Any]:
    """Train the penalties on one data set; errors are means over samples of the squared residual."""
    x, y, X, Y, fresh_x, fresh_y = draw_data(seed)
    system, cost = regression(FEATURES, SAMPLES, HELD_OUT)
    r = system.parameter("r")
    value, optimiser = {r: system.parameters[r]}, lep.Adam(RATE)
    state = optimiser.start(value)
    options: dict[str, Any] = {"cost": cost, "inputs": values(x, y), "targets": values(X, Y, "XY")}
    held, fresh, apart, penalties = [], [], [], []

    def error(r: np.ndarray) -> float:
        return float(((fresh_y - fresh_x @ weights(r, x, y))**2).mean())

    for _ in range(steps):
        result = system.gradient(
            lep.Equilibrium(tolerance=1e-11), parameters=value, estimator=lep.Centered(BETA), **options
        )
        exact = closed_form(value[r], x, y, X, Y)
        apart.append(float(np.abs(result[r] - exact).max()/np.abs(exact).max()))
        held.append(2*result.loss/HELD_OUT)
        fresh.append(error(value[r]))
        penalties.append(value[r])
        state, value = optimiser.step(state, value, {r: result[r]})
    common = np.linspace(-6, 8, 141)
    best = min(error(np.full(FEATURES, level)) for level in common)
    return {
        "held_out": held, "fresh": fresh, "difference": apart, "penalties": np.array(penalties),
        "common": best, "learned": error(value[r]), "seed": seed,
    }  # fmt: skip


def run(output: Path, short: bool = False, seeds: int = 5) -> dict[str, Any]:
    """Learn and draw.

    Parameters
    ----------
    output : Path
        Folder for ``meta_learning.png`` and ``meta_learning.json``.
    short : bool
        Fewer steps, and two data sets.
    seeds : int
        How many data sets.

    Returns
    -------
    dict
        The numbers of ``meta_learning.json``.
    """
    steps, count = (40, min(seeds, 2)) if short else (100, seeds)
    runs = []
    for seed in range(count):
        runs.append(learn(seed, steps))
        print(
            f"data set {seed}: error on fresh data {runs[-1]['fresh'][0]:.4f} with all penalties 1, "
            f"{runs[-1]['common']:.4f} with the best common one, {runs[-1]['learned']:.4f} with those learned",
            flush=True,
        )
    worst = max(max(entry["difference"]) for entry in runs)
    print(f"largest difference from the closed-form gradient: {worst:.1e} of it; variance of the noise: {NOISE**2}")
    numbers = {
        "runs": runs, "difference": worst, "start": float(np.mean([entry["fresh"][0] for entry in runs])),
        "common": float(np.mean([entry["common"] for entry in runs])),
        "learned": float(np.mean([entry["learned"] for entry in runs])),
    }  # fmt: skip
    configuration = {
        "features": FEATURES, "relevant": RELEVANT, "samples": SAMPLES, "held_out": HELD_OUT, "fresh": FRESH,
        "noise": NOISE, "rate": RATE, "beta": BETA, "steps": steps, "seeds": count, "short": short,
    }  # fmt: skip
    write(output, "meta_learning", draw(runs), configuration, numbers)
    return numbers


def draw(runs: list[dict[str, Any]]) -> Any:
    """Errors and penalties of the first data set, and the gradient against the closed form in all of them."""
    figure = new_figure(15, 4.8)
    errors, penalties, apart = figure.subplots(1, 3)
    first = runs[0]
    errors.plot(first["held_out"], color=COLOURS[0], label="held-out samples (trained on)")
    errors.plot(first["fresh"], color=COLOURS[1], label="fresh samples")
    errors.axhline(first["common"], color=COLOURS[1], ls="--", lw=1, label="fresh, best common penalty")
    errors.axhline(NOISE**2, color=GREY, ls=":", label="noise of the data")
    errors.set(xlabel="steps", ylabel="mean squared error (dimensionless)", ylim=(0, None))
    errors.legend(frameon=False, fontsize=9)
    tidy(errors, "a", "Errors of the regression")
    for feature in range(FEATURES):
        colour, label = (COLOURS[2], "relevant") if feature < RELEVANT else (GREY, "noise")
        name = label if feature in (0, RELEVANT) else None
        penalties.semilogy(np.exp(first["penalties"][:, feature]), color=colour, label=name)
    penalties.set(xlabel="steps", ylabel="penalty exp($r_i$) (dimensionless)")
    penalties.legend(title="features", frameon=False, fontsize=9)
    tidy(penalties, "b", "A penalty for each feature")
    for entry, colour in zip(runs, COLOURS * len(runs), strict=False):
        apart.semilogy(entry["difference"], color=colour, lw=1, label=f"data set {entry['seed']}")
    apart.set(xlabel="steps", ylabel="largest difference over largest entry")
    apart.legend(frameon=False, fontsize=9)
    tidy(apart, "c", f"Gradient by nudges of {BETA:g} and closed form")
    return figure
