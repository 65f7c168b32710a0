"""Every kind of network that rests learns the same digits: what each energy can do with 8 x 8 pixels.

Hopfield networks with smooth units and with hard ones, resistors with diodes, pipes, springs in the plane, coupled
phases, an oscillator Ising machine, predictive coding and a memory that competes in a log-sum-exp: nine energies, one
rule. The first layer of each is held by the image, the outputs settle, are nudged toward the right answer and away
from it, and every parameter moves by the difference of its own dE/dtheta:

    dJ/dtheta = [dE/dtheta(q_beta) - dE/dtheta(q_-beta)]/(2 beta)

The images are scikit-learn's; a fifth of them is held out, is looked at to draw the curves, and selects nothing.
--model chooses one. Pipes without diodes answer in proportion to the image, so that they can only draw planes between
digits.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import lagrangian_eqprop as lep
from lagrangian_eqprop.plotting import COLOURS
from lagrangian_eqprop.systems.continuous_hopfield import continuous_hopfield
from lagrangian_eqprop.systems.deep_hopfield import deep_hopfield
from lagrangian_eqprop.systems.elastic_network import elastic_network
from lagrangian_eqprop.systems.ising_network import ising_network
from lagrangian_eqprop.systems.layered import LayeredNetwork
from lagrangian_eqprop.systems.memory_network import memory_network
from lagrangian_eqprop.systems.phase_network import phase_network
from lagrangian_eqprop.systems.predictive_network import predictive_network
from lagrangian_eqprop.systems.resistive_network import resistive_network

from ._mnist_data import Digits, load
from ._output import new_figure, tidy, write


@dataclass(frozen=True)
class Setting:
    """Everything that is chosen; written beside the figure."""

    build: Callable[..., LayeredNetwork]
    title: str
    hidden: int
    epochs: int
    rate: float  # falling to zero along a cosine
    optimiser: Any = lep.Adam
    beta: float = 0.5
    batch: int = 32
    dtype: str = "float32"
    inputs: int = 64
    nonnegative: bool = False  # conductances and stiffnesses


MODELS = {
    "continuous_hopfield": Setting(continuous_hopfield, "Hopfield, smooth units", 64, 12, 0.005),
    "deep_hopfield": Setting(deep_hopfield, "Hopfield, hard units", 64, 15, 0.2, lep.SGD),
    "resistive": Setting(partial(resistive_network, gain=20.0), "resistors, diodes", 64, 15, 0.002, nonnegative=True),
    "flow": Setting(
        partial(resistive_network, gain=20.0, diodes=False), "pipes", 32, 15, 0.01, nonnegative=True
    ),
    "elastic": Setting(
        elastic_network, "springs", 12, 6, 0.005, beta=0.005, dtype="float64", inputs=16, nonnegative=True
    ),
    "phases": Setting(phase_network, "phases", 64, 12, 0.01),
    "ising": Setting(ising_network, "oscillator Ising machine", 64, 12, 0.003),
    "predictive": Setting(predictive_network, "predictive coding", 32, 8, 0.01, beta=0.1, dtype="float64"),
    "memory": Setting(memory_network, "log-sum-exp memory", 16, 8, 0.02, beta=0.01, dtype="float64"),
}  # fmt: skip


def train(setting: Setting, digits: Digits, seed: int, epochs: int) -> dict[str, Any]:
    """One network: its losses and held-out errors, epoch by epoch, and the seconds of the processor."""
    network = setting.build((setting.inputs, setting.hidden, 10), seed=seed)
    steps, began = epochs*-(-len(digits.train)//setting.batch), time.process_time()
    history = network.system.fit(
        network.rest, cost=network.cost, inputs=network.inputs(digits.train),
        targets=network.targets(digits.train_digits), epochs=epochs, batch=setting.batch, seed=seed,
        dtype=setting.dtype, estimator=lep.Centered(setting.beta), progress=sys.stderr.isatty(), on_failure="return",
        optimiser=setting.optimiser(lambda n: setting.rate*(1 + np.cos(np.pi*n/steps))/2),
        validation=lambda values: (
            network.read(digits.test, values, dtype=setting.dtype, on_failure="return") != digits.test_digits
        ).mean(),
        limits={weight: (0, None) for weight in network.weights} if setting.nonnegative else None,
    )  # fmt: skip
    if history.interrupted:  # half a training is nothing to draw
        raise KeyboardInterrupt
    error = history.validation
    return {"seed": seed, "loss": history.loss, "errors": error, "error": float(error[-1]),
            "seconds": time.process_time() - began}  # fmt: skip


def run(output: Path, short: bool = False, seeds: int = 1, model: str | None = None) -> dict[str, Any]:
    """Train every network, or one, and draw how each learned.

    Parameters
    ----------
    output : Path
        Folder for ``digits_at_rest.png`` and ``digits_at_rest.json``.
    short : bool
        Two epochs of 320 images, to see that it works.
    seeds : int
        How many networks of each kind; the seed draws the initial couplings and the order of the images.
    model : str, optional
        One of the names of ``MODELS``.

    Returns
    -------
    dict
        The numbers of the JSON file.
    """
    if isinstance(seeds, bool) or not isinstance(seeds, (int, np.integer)) or seeds < 1:
        raise ValueError(f"seeds must be a positive integer; got {seeds!r}")
    if model is not None and model not in MODELS:
        raise ValueError(f"model must be one of {', '.join(MODELS)}; got {model!r}")
    digits = load(fetch=False).first(320 if short else None)
    runs: dict[str, list[dict[str, Any]]] = {}
    for name in [model] if model else MODELS:
        setting = MODELS[name]
        epochs = 2 if short else setting.epochs
        runs[name] = [train(setting, digits, seed, epochs) for seed in range(seeds)]
        mean = np.mean([found["error"] for found in runs[name]])
        spent = sum(found["seconds"] for found in runs[name])
        print(f"{setting.title + ',':27} {setting.hidden:3} hidden: {mean:7.2%} of {len(digits.test)} held-out images "
              f"misread after {epochs} epochs, {spent:.0f} s", flush=True)  # fmt: skip
    chosen = {}
    for name in runs:
        setting = MODELS[name]
        chosen[name] = {**asdict(setting), "build": str(setting.build), "optimiser": setting.optimiser.__name__}
    numbers = {name: {"error": float(np.mean([r["error"] for r in found])), "runs": found}
               for name, found in runs.items()}  # fmt: skip
    write(output, "digits_at_rest", draw(runs), {"models": chosen, "short": short, "seeds": seeds}, numbers)
    return numbers


def draw(runs: dict[str, list[dict[str, Any]]]) -> Any:
    """Left the held-out error of every epoch, right where each network ended, best first."""
    figure = new_figure(13, 5.2)
    curves, ends = figure.subplots(1, 2, width_ratios=[1.2, 1])
    order = sorted(runs, key=lambda name: -np.mean([found["error"] for found in runs[name]]))
    colour = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(runs)}
    for name, found in runs.items():
        for one in found:
            curves.plot(np.arange(1, len(one["errors"]) + 1), 100*one["errors"], "o-", ms=3, lw=1.5, color=colour[name])
    curves.set(xlabel="epoch", ylabel="misread held-out images, %", yscale="log")
    curves.yaxis.set_major_formatter("{x:g}")
    curves.xaxis.get_major_locator().set_params(integer=True)
    curves.grid(alpha=0.25, which="both")
    tidy(curves, "a", "8 x 8 digits, 1437 to learn from and 360 held out")
    for row, name in enumerate(order):
        errors = [100*one["error"] for one in runs[name]]
        ends.plot(errors, [row]*len(errors), "o", ms=8, color=colour[name], alpha=0.8)
        ends.annotate(f"{np.mean(errors):.1f} %", (max(errors), row), (9, 0), textcoords="offset points", va="center")
    ends.set_yticks(range(len(order)), [MODELS[name].title for name in order])
    ends.set(xlabel="misread after the last epoch, %", xlim=(0, None), ylim=(-0.6, len(order) - 0.4))
    ends.margins(x=0.2)
    ends.grid(alpha=0.25, axis="x")
    tidy(ends, "b", "Where each ended")
    return figure
