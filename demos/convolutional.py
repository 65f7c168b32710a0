"""A convolutional network at rest learns to read ten thousand images of MNIST.

Maps of units between 0 and 1 see the image, and each other, through small kernels that move over it; the kernels act
both ways, as couplings of an energy do. The outputs settle, are nudged toward the right answer and away from it, and
settle again; what changes between the two, summed over all places of a kernel, is its gradient:

    dJ/dw = [dE/dw(q_beta) - dE/dw(q_-beta)]/(2 beta)

The images are the first 10000 of those of --data FILE.npz, else of MNIST from openml.org, else scikit-learn's small
digits. The test images are looked at after every epoch to draw the curve; they select nothing, and the error that
counts is that of the last epoch. A training that was stopped goes on where it was, if the same command is given again.
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
from lagrangian_eqprop.systems.convolutional_hopfield import convolutional_hopfield
from lagrangian_eqprop.systems.layered import LayeredNetwork

from ._mnist_data import Digits, load
from ._output import write


@dataclass(frozen=True)
class Setting:
    """Everything that is chosen; written beside the figure."""

    images: int = 10000  # the first of the training images
    maps: tuple[int, ...] = (16, 32)
    kernels: tuple[int, ...] = (5, 5)
    strides: tuple[int, ...] = (2, 2)
    gains: tuple[float, ...] = (1.5, 0.3, 0.3)
    sweeps: tuple[int, int] = (8, 6)  # free and nudged
    beta: float = 0.5
    rates: tuple[float, ...] = (0.004, 0.001, 0.002)  # of Adam, layer by layer, along a cosine to zero over all steps
    batch: int = 16
    epochs: int = 15
    seed: int = 0  # of the initial couplings and the order of the images


SMALL = Setting(images=600, maps=(8, 16), kernels=(3, 3), strides=(1, 2), rates=(0.02, 0.005, 0.01), batch=20, epochs=4)


def network_of(setting: Setting, side: int) -> LayeredNetwork:
    """The energy for images of so many pixels along an edge, and how it comes to rest."""
    network = convolutional_hopfield(
        side, setting.maps, setting.kernels, setting.strides, gains=setting.gains, seed=setting.seed
    )
    return replace(network, rest=lep.Equilibrium(0.0, solver="sweeps", iterations=setting.sweeps, tolerance=None))


def train(setting: Setting, network: LayeredNetwork, digits: Digits, checkpoint: Path) -> Any:
    """The history; its validation is the test error and the CPU seconds of every epoch."""
    each = -(-len(digits.train)//setting.batch)
    steps, done = each*setting.epochs, 0
    before = time.process_time()

    def falling(rate: float) -> Callable[[int], float]:
        def at(n: int) -> float:
            nonlocal done
            done = n + 1
            return rate*(1 + np.cos(np.pi*n/steps))/2

        return at

    def validation(values: Any) -> tuple[float, float]:
        nonlocal before
        wrong = float((network.read(digits.test, values, dtype="float32") != digits.test_digits).mean())
        now = time.process_time()
        spent, before = now - before, now
        print(f"epoch {done//each:2} of {setting.epochs}: test error {wrong:.2%}, {spent:.1f} CPU seconds", flush=True)
        return wrong, spent

    layers = zip(network.weights, network.biases, setting.rates, strict=True)
    rates = {symbol: falling(rate) for weight, bias, rate in layers for symbol in (weight, bias)}
    history = network.system.fit(
        network.rest, cost=network.cost, inputs=network.inputs(digits.train),
        targets=network.targets(digits.train_digits), epochs=setting.epochs, batch=setting.batch, dtype="float32",
        seed=setting.seed, optimiser=lep.Adam(rates), estimator=lep.Centered(setting.beta), validation=validation,
        progress=sys.stderr.isatty(), checkpoint=checkpoint,
    )  # fmt: skip
    if history.interrupted:  # half a training is nothing to draw
        raise KeyboardInterrupt
    return history


def run(output: Path, short: bool = False, data: Path | None = None) -> dict[str, Any]:
    """Train and draw.

    Parameters
    ----------
    output : Path
        Folder for ``convolutional.png``, ``convolutional.json`` and ``convolutional.npz``, the parameters; while the
        training lasts, for its checkpoint.
    short : bool
        Four epochs of 600 images, of scikit-learn's small digits where no file is given, to see that it works.
    data : Path, optional
        A .npz file; see :func:`~lagrangian_eqprop.demos._mnist_data.load`.

    Returns
    -------
    dict
        The numbers of the JSON file.
    """
    from ._convolutional_figure import draw

    setting = SMALL if short else Setting()
    digits = load(data, fetch=not short).first(setting.images)
    network = network_of(setting, round(digits.train.shape[1]**0.5))
    layers = "-".join(str(len(layer)) for layer in network.layers[1:])
    print(f"{digits.source}: {len(digits.train)} images, {len(digits.test)} test images; units of the layers {layers}")
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    checkpoint = output / f"checkpoint{'_short' if short else ''}.npz"
    history = train(setting, network, digits, checkpoint)
    error, cpu = history.validation.T
    minutes = {"minutes": history.seconds.sum()/60, "cpu_minutes": cpu.sum()/60}
    numbers = {
        "test_error": error[-1], **minutes, "source": digits.source, "loss": history.loss, "test_errors": error,
        "seconds": history.seconds, "cpu_seconds": cpu,
    }  # fmt: skip
    print(f"test error after {setting.epochs} epochs: {error[-1]:.2%}; " + ", ".join(
        f"{value:.1f} {name.replace('_', ' ').replace('cpu', 'CPU')}" for name, value in minutes.items()))  # fmt: skip
    figure = draw(network, setting.maps, history, digits)
    write(output, "convolutional", figure, {**asdict(setting), "short": short}, numbers)
    lep.save(output / "convolutional.npz", history.parameters)
    checkpoint.unlink()
    return numbers
