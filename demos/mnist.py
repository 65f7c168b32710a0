"""Three networks at rest learn to read MNIST: a deep Hopfield network, resistors with diodes, and phases.

Each is an energy whose first layer is held by the image. The outputs settle, are nudged toward the right answer and
away from it, and settle again; what changes between the two, coupling by coupling, is the gradient:

    dJ/dw = [dE/dw(q_beta) - dE/dw(q_-beta)]/(2 beta)

--model hopfield | resistive | xy chooses one. The images are those of --data FILE.npz, else MNIST from openml.org,
else scikit-learn's small digits. The test images are looked at after every epoch to draw the curve; they select
nothing, and the error that counts is that of the last epoch.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
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
    """Everything that is chosen; written beside the figure."""

    build: Callable[..., LayeredNetwork]
    hidden: int
    epochs: int
    batch: int
    beta: float
    optimiser: str  # "sgd" or "adam"
    rates: tuple[float, ...]  # of every layer's couplings and fields
    decay: str  # "cosine", to zero over all steps, or "epoch", by 1 % after each
    nonnegative: bool = False


MODELS = {
    "hopfield": Setting(deep_hopfield, 500, 25, 20, 0.5, "sgd", (0.1, 0.05), "cosine"),
    "resistive": Setting(resistive_network, 100, 10, 4, 1.0, "sgd", (0.006, 0.006), "epoch", nonnegative=True),
    "xy": Setting(phase_network, 500, 10, 50, 0.5, "adam", (0.002, 0.002), "cosine"),
}
TITLES = {"hopfield": "Deep Hopfield network", "resistive": "Deep resistive network", "xy": "Phase network"}


def optimiser(setting: Setting, network: LayeredNetwork, steps: int, epochs: int) -> Any:
    """Rates that fall with the number of the step; ``steps`` an epoch."""

    def falling(rate: float) -> Callable[[int], float]:
        if setting.decay == "cosine":
            return lambda n: rate*(1 + np.cos(np.pi*n/(steps*epochs)))/2
        return lambda n: rate*0.99**(n//steps)

    rates = {}
    for layer, weight in enumerate(network.weights):
        places = len(network.biases)//len(network.weights)
        for symbol in (weight, *network.biases[layer*places : (layer + 1)*places]):
            rates[symbol] = falling(setting.rates[layer])
    return lep.Adam(rates) if setting.optimiser == "adam" else lep.SGD(rates)


def train(
    setting: Setting, digits: Digits, seed: int, epochs: int
) -> tuple[LayeredNetwork, Any, float]:  # fmt: skip
    """A trained network, its history, whose validation is the test error, and the seconds it took."""
    network = setting.build((digits.train.shape[1], setting.hidden, 10), seed=seed)
    began, epoch = time.perf_counter(), 0

    def validation(values: Any) -> float:
        nonlocal epoch
        epoch += 1
        wrong = float((network.read(digits.test, values, dtype="float32") != digits.test_digits).mean())
        spent = (time.perf_counter() - began)/60
        print(f"seed {seed}, epoch {epoch:2} of {epochs}: test error {wrong:.2%}, {spent:.1f} minutes", flush=True)
        return wrong

    history = network.system.fit(
        network.rest, cost=network.cost, inputs=network.inputs(digits.train),
        targets=network.targets(digits.train_digits), epochs=epochs, batch=setting.batch, dtype="float32", seed=seed,
        optimiser=optimiser(setting, network, -(-len(digits.train)//setting.batch), epochs),
        estimator=lep.Centered(setting.beta), validation=validation, progress=sys.stderr.isatty(),
        limits={weight: (0, None) for weight in network.weights} if setting.nonnegative else None,
    )  # fmt: skip
    if history.interrupted:  # half a training is nothing to draw
        raise KeyboardInterrupt
    return network, history, time.perf_counter() - began


def run(
    output: Path, short: bool = False, seeds: int = 1, model: str = "hopfield", data: Path | None = None
) -> dict[str, Any]:
    """Train with seeds 0, 1, ... and draw the first.

    Parameters
    ----------
    output : Path
        Folder for ``mnist_MODEL.png``, ``mnist_MODEL.json`` and ``mnist_MODEL.npz``, the parameters of seed 0.
    short : bool
        Four epochs of 600 images, of scikit-learn's small digits where no file is given, to see that it works.
    seeds : int
        How many networks; the seed draws the initial couplings and the order of the images.
    model : str
        "hopfield", "resistive" or "xy".
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
    if model not in MODELS:
        raise ValueError(f"model must be one of {', '.join(MODELS)}; got {model!r}")
    setting = MODELS[model]
    digits = load(data, fetch=not short).first(600 if short else None)
    epochs = 4 if short else setting.epochs
    shape = f"{digits.train.shape[1]}-{setting.hidden}-10"
    print(f"{TITLES[model]} {shape}, {digits.source}: {len(digits.train)} images, {len(digits.test)} test images")
    runs: list[dict[str, Any]] = []
    first: Any = None
    for seed in range(seeds):
        network, history, seconds = train(setting, digits, seed, epochs)
        error = history.validation
        runs.append({
            "seed": seed, "test_error": error[-1], "seconds": seconds, "loss": history.loss, "test_errors": error
        })  # fmt: skip
        first = (network, history) if seed == 0 else first
    network, history = first
    mean = float(np.mean([r["test_error"] for r in runs]))
    numbers = {"test_error": runs[0]["test_error"], "mean_test_error": mean, "source": digits.source, "runs": runs}
    print(f"test error after {epochs} epochs: {mean:.2%}" + (f", mean of {seeds} seeds" if seeds > 1 else ""))
    read = network.read(digits.test, history.parameters, dtype="float32")
    figure = draw(f"{TITLES[model]} {shape}", history, digits, read)
    chosen = {**asdict(setting), "build": setting.build.__name__, "epochs": epochs, "short": short, "seeds": seeds}
    write(output, f"mnist_{model}", figure, {"model": model, **chosen}, numbers)
    lep.save(Path(output) / f"mnist_{model}.npz", history.parameters)
    return numbers
