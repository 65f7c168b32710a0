"""Three networks at rest learn to read MNIST: a deep Hopfield network, resistors with diodes, and phases.

Each is an energy whose first layer is held by the image. The outputs settle, are nudged toward the right answer and
away from it, and settle again; what changes between the two, coupling by coupling, is the gradient:

    dJ/dw = [dE/dw(q_beta) - dE/dw(q_-beta)]/(2 beta)

--model hopfield | resistive | xy chooses one, --hidden N its hidden units. The images are those of --data FILE.npz,
else MNIST from openml.org, else scikit-learn's small digits. The test images are looked at after every epoch to draw
the curve; they select nothing, and the error that counts is that of the last epoch. A training that was ended goes on
from its checkpoint, a file in the folder of the results, when the same command is given again.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import lagrangian_eqprop as lep
from lagrangian_eqprop.systems.deep_hopfield import deep_hopfield
from lagrangian_eqprop.systems.layered import LayeredNetwork
from lagrangian_eqprop.systems.phase_network import phase_network
from lagrangian_eqprop.systems.resistive_network import resistive_network

from ._mnist_data import Digits, load
from ._output import write


@dataclass(frozen=True)
class Setting:
    """Everything that is chosen; written beside the figure. Rates fall to zero along a cosine."""

    build: Callable[..., LayeredNetwork]
    hidden: int
    gain: float  # of the initial couplings (hopfield), volts of a white pixel (resistive), local fields (xy)
    epochs: int
    batch: int
    beta: float
    sweeps: tuple[int, int]  # of a free and of a nudged phase
    optimiser: str  # "sgd" or "adam"
    rates: tuple[float, float]  # of the couplings and fields of the hidden layer and of the outputs
    momentum: float = 0.0  # of "sgd"
    nonnegative: bool = False


MODELS: dict[str, tuple[Setting, ...]] = {  # the first is the default; another width takes those of the nearest
    "hopfield": (Setting(deep_hopfield, 1024, 0.5, 15, 32, 0.5, (6, 4), "sgd", (0.16, 0.08)),),
    "resistive": (
        Setting(resistive_network, 100, 100.0, 8, 4, 1.0, (4, 4), "sgd", (0.02, 0.02), nonnegative=True),
        Setting(resistive_network, 1024, 480.0, 15, 32, 1.0, (4, 4), "sgd", (0.02, 0.02), 0.9, nonnegative=True),
    ),
    "xy": (Setting(phase_network, 500, 1.0, 12, 50, 0.5, (6, 4), "adam", (0.002, 0.002)),),
}
TITLES = {"hopfield": "Deep Hopfield network", "resistive": "Deep resistive network", "xy": "Phase network"}


def chosen(model: str, hidden: int | None) -> Setting:
    """The settings of a network and a width."""
    if model not in MODELS:
        raise ValueError(f"model must be one of {', '.join(MODELS)}; got {model!r}")
    if hidden is None:
        return MODELS[model][0]
    if isinstance(hidden, bool) or not isinstance(hidden, (int, np.integer)) or hidden < 1:
        raise ValueError(f"hidden must be a positive integer; got {hidden!r}")
    nearest = min(MODELS[model], key=lambda setting: abs(np.log(setting.hidden/hidden)))
    return replace(nearest, hidden=int(hidden))


def network_of(setting: Setting, pixels: int, seed: int) -> LayeredNetwork:
    """The network, and how its phases settle."""
    network = setting.build((pixels, setting.hidden, 10), seed, setting.gain)
    return replace(network, rest=lep.Equilibrium(0.0, solver="sweeps", iterations=setting.sweeps, tolerance=None))


def train(
    setting: Setting, digits: Digits, seed: int, epochs: int, checkpoint: Path
) -> tuple[LayeredNetwork, lep.History]:
    """A trained network and its history, whose validation is the test error and the CPU minutes of every epoch."""
    network = network_of(setting, digits.train.shape[1], seed)
    steps, number = -(-len(digits.train)//setting.batch), 0
    began, used = time.perf_counter(), time.process_time()

    def falling(rate: float) -> Callable[[int], float]:
        def at(n: int) -> float:
            nonlocal number
            number = n + 1
            return rate*(1 + np.cos(np.pi*n/(steps*epochs)))/2

        return at

    def validation(values: Any) -> tuple[float, float]:
        nonlocal used
        wrong = float((network.read(digits.test, values, dtype="float32") != digits.test_digits).mean())
        spent, used = (time.process_time() - used)/60, time.process_time()
        clock = (time.perf_counter() - began)/60
        epoch = f"epoch {number//steps:2} of {epochs}" if number else "resumed"  # between two epochs
        spoken = f"{spent:.2f} CPU minutes for it, {clock:.1f} minutes since the start"
        print(f"seed {seed}, {epoch}: test error {wrong:.2%}, {spoken}", flush=True)
        return wrong, spent

    layers = len(network.weights)
    rates = {symbol: falling(setting.rates[k]) for k, symbol in enumerate(network.weights)}
    rates |= {s: falling(setting.rates[k*layers//len(network.biases)]) for k, s in enumerate(network.biases)}
    history = network.system.fit(
        network.rest, cost=network.cost, inputs=network.inputs(digits.train),
        targets=network.targets(digits.train_digits), epochs=epochs, batch=setting.batch, dtype="float32", seed=seed,
        optimiser=lep.Adam(rates) if setting.optimiser == "adam" else lep.SGD(rates, setting.momentum),
        estimator=lep.Centered(setting.beta), validation=validation, checkpoint=checkpoint,
        limits={weight: (0, None) for weight in network.weights} if setting.nonnegative else None,
        progress=sys.stderr.isatty(),
    )  # fmt: skip
    if history.interrupted:  # half a training is nothing to draw
        print(f"the same command goes on from {checkpoint}")
        raise KeyboardInterrupt
    return network, history


def run(
    output: Path, short: bool = False, seeds: int = 1, model: str = "hopfield", hidden: int | None = None,
    data: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train with seeds 0, 1, ... and draw the first.

    Parameters
    ----------
    output : Path
        Folder for ``mnist_MODEL_HIDDEN`` with the endings ``.png``, ``.json`` and ``.npz``, the parameters of seed 0;
        and for the checkpoints, which are removed in the end.
    short : bool
        Four epochs of 600 images, four a step, to see that it works; of the small digits where no file is given.
    seeds : int
        How many networks; the seed draws the initial couplings and the order of the images.
    model : str
        "hopfield", "resistive" or "xy".
    hidden : int, optional
        Hidden units; by default 1024 of a Hopfield network, 100 of resistors, 500 phases.
    data : Path, optional
        A .npz file; see :func:`~lagrangian_eqprop.demos._mnist_data.load`.

    Returns
    -------
    dict
        The numbers of the JSON file.
    """
    from ._mnist_figure import draw

    if isinstance(seeds, bool) or not isinstance(seeds, (int, np.integer)) or seeds < 1:
        raise ValueError(f"seeds must be a positive integer; got {seeds!r}")
    setting = chosen(model, hidden)
    digits = load(data, fetch=not short).first(600 if short else None)
    setting = replace(setting, epochs=4, batch=4) if short else setting
    name, shape = f"mnist_{model}_{setting.hidden}", f"{digits.train.shape[1]}-{setting.hidden}-10"
    title = f"{TITLES[model]} {shape}"
    print(f"{title}, {digits.source}: {len(digits.train)} images, {len(digits.test)} test images")
    settings = {**asdict(setting), "build": setting.build.__name__}
    print(", ".join(f"{key} {value}" for key, value in settings.items()), flush=True)
    Path(output).mkdir(parents=True, exist_ok=True)
    files = [Path(output)/f"{name}_{'short_' if short else ''}{seed}.checkpoint" for seed in range(seeds)]
    runs: list[dict[str, Any]] = []
    first: Any = None
    for seed, file in enumerate(files):
        network, history = train(setting, digits, seed, setting.epochs, file)
        assert history.validation is not None
        errors, minutes = history.validation.T
        runs.append({
            "seed": seed, "test_error": errors[-1], "minutes": history.seconds.sum()/60, "cpu_minutes": minutes.sum(),
            "loss": history.loss, "test_errors": errors,
        })  # fmt: skip
        print(
            f"seed {seed}: test error {errors[-1]:.2%} after {setting.epochs} epochs, "
            f"{runs[-1]['minutes']:.1f} minutes, {runs[-1]['cpu_minutes']:.1f} CPU minutes"
        )
        first = (network, history) if seed == 0 else first
    network, history = first
    mean = float(np.mean([r["test_error"] for r in runs]))
    numbers = {"test_error": runs[0]["test_error"], "mean_test_error": mean, "source": digits.source, "runs": runs}
    if seeds > 1:
        print(f"test error {mean:.2%}, mean of {seeds} seeds")
    read = network.read(digits.test, history.parameters, dtype="float32")
    figure = draw(title, [run["test_errors"] for run in runs], digits, read)
    write(output, name, figure, {"model": model, **settings, "short": short, "seeds": seeds}, numbers)
    lep.save(Path(output)/f"{name}.npz", history.parameters)
    for file in files:
        file.unlink()
    return numbers
