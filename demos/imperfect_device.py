"""A chain of oscillators that learns although its state is noisy and its parameters have ten bits.

Six Duffing oscillators, L = sum of x'^2/2 - k x^2/2 - a x^4/4 - c (x - x_next)^2/2, are driven at the first and read at
the fourth; they learn to answer like a teacher with other stiffnesses. Ideal is the exact gradient in double precision.
The device has nothing but its own motion (``lep.Echo``): a run, a flip of the momenta, and a run with the drive played
backwards at each of two nudges. Its state wanders on the way back, by 5 % of its root mean square in all, and its
parameters stand on 2^10 levels of their range.

A small nudge drowns in the noise, noise/beta, and a large one is not in the linear regime, beta^2: the middle panel
shows the errors of the first gradient and the nudge that was taken. With four bits instead of ten, parameters jump from
level to level as they are trained, and the loss with them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import sympy as sp
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep
from lagrangian_eqprop.errors import invalid
from lagrangian_eqprop.plotting import COLOURS

from ._output import GREY, new_figure, tidy, write

SITES, READ, STEPS, STEP, DRIVES, HELD = 6, 3, 150, 0.1, 24, 8
NUDGE, NOISE, BITS, FEW = 0.2, 0.05, 10, 4
x, z = dynamicsymbols("x z")
k, a, c, u, y = sp.symbols("k a c u y")
RANGES = {k: (0.0, 2.0), a: (-0.5, 1.0), c: (0.0, 2.0)}
DEVICES: dict[str, dict[str, Any]] = {
    "ideal": {},
    "noise": {"state": NOISE},
    "noise and 10 bits": {"state": NOISE, "bits": BITS, "ranges": RANGES},
    "noise and 4 bits": {"state": NOISE, "bits": FEW, "ranges": RANGES},
}


class Task:
    """The chain, its drives, and what the teacher answers to them."""

    def __init__(self, seed: int = 0) -> None:
        links = np.stack([np.arange(SITES - 1), np.arange(1, SITES)], 1)
        self.chain = lep.System(
            [lep.Term(x.diff()**2/2 - k*x**2/2 - a*x**4/4, on=[x], at=np.arange(SITES)),
             lep.Term(-c*(x - z)**2/2, on=[x, z], at=links), lep.Term(u*x, on=[x], at=[0])],
            size=SITES, inputs=[u],
            parameters={k: np.full(SITES, 0.6), a: np.full(SITES, 0.1), c: np.full(SITES - 1, 0.6)},
        )  # fmt: skip
        self.cost = lep.Cost((x - y)**2/2, on=[x], at=[READ], targets=[y])
        self.grid, self.rest = lep.Grid(STEPS, step=STEP), lep.Initial(np.zeros(SITES), p=np.zeros(SITES))
        rng = np.random.default_rng(seed)
        self.teacher = {
            k: rng.uniform(0.3, 1.2, SITES), a: rng.uniform(0.0, 0.4, SITES), c: rng.uniform(0.3, 1.2, SITES - 1)
        }  # fmt: skip
        pace, phase = rng.uniform(0.5, 1.6, (DRIVES + HELD, 3)), rng.uniform(0, 2*np.pi, (DRIVES + HELD, 3))
        drives = 0.6*np.cos(pace[..., None]*self.grid.t + phase[..., None]).sum(1)[..., None]
        answers = self.answer(drives, self.teacher)[..., None]
        self.shown: dict[str, Any] = {"inputs": {u: drives[:DRIVES]}, "targets": {y: answers[:DRIVES]}}
        self.held: dict[str, Any] = {"inputs": {u: drives[DRIVES:]}, "targets": {y: answers[DRIVES:]}}
        weights = np.full(STEPS + 1, STEP)
        weights[[0, -1]] *= 0.5
        self.silence = float((answers[DRIVES:, :, 0]**2/2 @ weights).mean())

    def answer(self, drives: np.ndarray, parameters: Any) -> np.ndarray:
        """What is read at the fourth oscillator, (drives, nodes)."""
        return self.chain.trajectory(self.rest, self.grid, inputs={u: drives}, parameters=parameters).q[..., READ]

    def estimator(self, name: str, seed: int) -> Any:
        faults = DEVICES[name]
        return lep.Echo(NUDGE, seed=seed, **faults) if faults else lep.Exact()

    def held_loss(self, name: str, parameters: Any) -> float:
        """The loss over drives that were never shown, relative to that of a chain that does not move."""
        faults = {key: value for key, value in DEVICES[name].items() if key in ("bits", "ranges")}
        measure = lep.Echo(NUDGE, **faults)  # its loss is that of the parameters as the device holds them
        found = self.chain.gradient(
            self.rest, self.grid, self.cost, parameters=parameters, estimator=measure, **self.held
        )  # fmt: skip
        return found.loss/self.silence

    def train(self, name: str, seed: int, epochs: int) -> tuple[np.ndarray, dict[Any, np.ndarray]]:
        """Losses over held drives, before and after every epoch, and the parameters."""
        losses = [self.held_loss(name, None)]
        history = self.chain.fit(
            self.rest, self.grid, self.cost, epochs=epochs, batch=8, optimiser=lep.Adam(1e-2), seed=seed,
            estimator=self.estimator(name, seed), validation=lambda values: self.held_loss(name, values),
            progress=False, **self.shown,
        )  # fmt: skip
        return np.append(losses, history.validation), dict(history.parameters)

    def gradient(self, estimator: Any) -> np.ndarray:
        """All derivatives at the start of training."""
        found = self.chain.gradient(self.rest, self.grid, self.cost, estimator=estimator, **self.shown)
        return np.concatenate([found[symbol] for symbol in (k, a, c)])


def run(output: Path, short: bool = False, seeds: int | None = None) -> dict[str, Any]:
    """Train the devices, measure the errors of their gradients, and draw.

    Parameters
    ----------
    output : Path
        Folder for ``imperfect_device.png`` and ``imperfect_device.json``.
    short : bool
        Few epochs and nudges, two seeds.
    seeds : int, optional
        How many trainings of each device; by default 5.

    Returns
    -------
    dict
        The numbers of ``imperfect_device.json``.
    """
    count = (2 if short else 5) if seeds is None else seeds
    if count < 1:
        raise invalid("seeds", "a positive integer", count)
    task, epochs = Task(), 12 if short else 200
    print("compiling the chain", flush=True)
    exact = task.gradient(lep.Exact())
    betas = np.logspace(-2.5, 0.5, 7 if short else 19)

    def error(beta: float, repeats: int, **faults: Any) -> float:
        estimators = [lep.Echo(beta, seed=seed, **faults) for seed in range(repeats)]
        found = [np.linalg.norm(task.gradient(one) - exact)**2 for one in estimators]
        return float(np.sqrt(np.mean(found))/np.linalg.norm(exact))

    errors = {"no fault": np.array([error(beta, 1) for beta in betas])}
    for percent in (0.5, 5.0):
        errors[f"{percent:g} % noise"] = np.array([error(b, 2 if short else 8, state=percent/100) for b in betas])
    devices: dict[str, Any] = {}
    learned: dict[Any, np.ndarray] = {}
    for name in DEVICES:
        runs = [task.train(name, seed, epochs) for seed in range(count)]
        curves = np.array([curve for curve, _ in runs])
        devices[name] = {"loss": curves, "last": float(np.median(curves[:, -max(1, epochs//10) :]))}
        print(f"{name}: held-out loss from {curves[0, 0]:.3g} to {devices[name]['last']:.2g} (median of {count} seeds)")
        if name == "noise and 10 bits":
            learned = runs[0][1]
    drive = task.held["inputs"][u][:1]
    traces = {
        "teacher": task.answer(drive, task.teacher)[0], "before": task.answer(drive, None)[0],
        "after": task.answer(drive, learned)[0],
    }  # fmt: skip
    numbers = {
        "devices": devices, "betas": betas, "errors": errors, "traces": traces, "times": task.grid.t,
        "gradient": exact,
    }  # fmt: skip
    configuration = {
        "sites": SITES, "read": READ, "steps": STEPS, "step": STEP, "drives": DRIVES, "held": HELD, "nudge": NUDGE,
        "noise": NOISE, "bits": BITS, "few_bits": FEW, "epochs": epochs, "rate": 1e-2, "batch": 8, "seeds": count,
        "ranges": {symbol.name: pair for symbol, pair in RANGES.items()}, "short": short,
    }  # fmt: skip
    write(output, "imperfect_device", draw(numbers), configuration, numbers)
    return numbers


def draw(numbers: dict[str, Any]) -> Any:
    """Learning curves, errors of the gradient, and what was learned."""
    figure = new_figure(15, 5)
    curves, nudges, traces = figure.subplots(1, 3, width_ratios=[1.25, 1, 1])
    for colour, (name, device) in zip(COLOURS, numbers["devices"].items(), strict=False):
        losses = device["loss"]
        epochs = np.arange(losses.shape[1])
        alone = name == "noise"  # hardly another curve than that with 10 bits: no band of its own, and dashes on top
        if not alone:
            curves.fill_between(epochs, losses.min(0), losses.max(0), color=colour, alpha=0.13, lw=0)
        curves.semilogy(
            epochs, np.median(losses, 0), "--" if alone else "-", color=colour, lw=1.6, zorder=3 if alone else 2,
            label=f"{name}: {device['last']:.2g}",
        )  # fmt: skip
    tidy(curves, "a", f"Learning: median and range of {len(losses)} runs")
    curves.set(xlabel="epoch", ylabel="loss over unseen drives, relative to no answer at all")
    curves.legend(frameon=False, fontsize=9, title="device: median over the last tenth", alignment="left")
    betas = numbers["betas"]
    for colour, (name, errors) in zip(("black", COLOURS[2], COLOURS[1]), numbers["errors"].items(), strict=True):
        nudges.loglog(betas, errors, "o-", ms=3.5, lw=1.2, color=colour, label=name)
    nudges.axvline(NUDGE, color=GREY, lw=1, ls=":")
    nudges.text(NUDGE*1.08, 2e-5, "taken", color=GREY, fontsize=9)
    tidy(nudges, "b", r"The first gradient: noise/$\beta$ against $\beta^2$")
    nudges.set(xlabel=r"nudge $\beta$", ylabel="relative error", ylim=(1e-5, 1e2))
    nudges.legend(frameon=False, fontsize=9, loc="upper left")
    times, shown = numbers["times"], numbers["traces"]
    traces.plot(times, shown["teacher"], color="black", lw=2.5, label="teacher")
    traces.plot(times, shown["before"], color=GREY, lw=1.2, label="before training")
    traces.plot(times, shown["after"], "--", color=COLOURS[2], lw=1.8, label="after, noise and 10 bits")
    tidy(traces, "c", "The fourth oscillator under an unseen drive")
    low, high = traces.get_ylim()
    traces.set(xlabel="$t$ (dimensionless)", ylabel="$x_4$ (dimensionless)", ylim=(low, high + 0.45*(high - low)))
    traces.legend(frameon=False, fontsize=9, loc="upper left")
    for axes in (curves, nudges, traces):
        axes.grid(alpha=0.25)
    return figure
