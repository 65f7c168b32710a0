"""A network of Duffing oscillators learns to read handwritten digits, and how it does is drawn.

An image of 8 x 8 pixels sets the initial displacements of 64 oscillators, at rest; 64 hidden ones and 10 outputs
begin at rest in the middle. All swing freely, coupled by

    L = sum_i [x_i'^2/2 - k_i x_i^2/2 - a_i x_i^4/4] + sum_ij w_ij x_i z_j + sum_jd u_jd z_j x_d

(i inputs, j hidden ones, d outputs in the last sum), and the output that is displaced furthest when the time is up
is the answer. The couplings, the springs k and a of every oscillator and the gain of the softmax are trained by
equilibrium propagation alone: the echo of a nudge at the outputs, Exact() being its limit. Images are those of
scikit-learn; a fifth of them is held out, is looked at only to draw its curve, and selects nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sympy as sp
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep

from ._output import write

PIXELS, CLASSES = 64, 10


@dataclass(frozen=True)
class Setting:
    """Everything that is chosen; written beside the figure. The physics is dimensionless."""

    hidden: int = 64
    steps: int = 30
    step: float = 0.2
    amplitude: float = 2.0  # displacement of a black pixel is amplitude*(1 - level), of a white one -amplitude*level
    level: float = 0.5
    smoothing: float = 0.1  # this share of every target is spread over all ten: an answer need not be certain
    stiffness: float = 1.0
    hardening: float = 1.0
    coupling: float = 0.3  # of the random initial couplings, over the root of the number that meet
    gain: float = 4.0
    epochs: int = 20
    batch: int = 32
    rate: float = 0.01  # of Adam, falling to zero along a cosine
    images: int | None = None  # how many to train with; None: all


class Network:
    """The oscillators, their cost, and how images and labels enter."""

    def __init__(self, setting: Setting, seed: int) -> None:
        x, z = dynamicsymbols("x z")
        k, a, w, u, gain = sp.symbols("k a w u gain")
        size = PIXELS + setting.hidden + CLASSES
        inputs, hidden, self.outputs = np.split(np.arange(size), [PIXELS, PIXELS + setting.hidden])
        rng = np.random.default_rng(seed)

        def couplings(rows: int, columns: int) -> np.ndarray:
            return rng.normal(size=(rows, columns))*setting.coupling/np.sqrt(rows)

        self.system = lep.System(
            [
                lep.Term(x.diff()**2/2 - k*x**2/2 - a*x**4/4, on=[x], at=np.arange(size)),
                lep.Term(w*x*z, on=[x, z], at=lep.AllPairs(inputs, hidden)),
                lep.Term(u*x*z, on=[x, z], at=lep.AllPairs(hidden, self.outputs)),
            ],
            size=size,
            parameters={
                k: np.full(size, setting.stiffness), a: np.full(size, setting.hardening),
                w: couplings(PIXELS, setting.hidden), u: couplings(setting.hidden, CLASSES),
            },
            name="network",
        )  # fmt: skip
        out = dynamicsymbols(f"x:{CLASSES}")
        self.labels = sp.symbols(f"y:{CLASSES}")
        likelihood = sum(y*gain*q for y, q in zip(self.labels, out, strict=True))
        self.cost = lep.Cost(  # the cross-entropy of a softmax
            sp.log(sum(sp.exp(gain*q) for q in out)) - likelihood,
            targets=self.labels, on=out, at=[self.outputs], when="end", parameters={gain: setting.gain},
        )  # fmt: skip
        self.setting, self.grid = setting, lep.Grid(setting.steps, step=setting.step)

    def start(self, images: np.ndarray) -> lep.Initial:
        """Images (B, 64) from 0 to 1 as displacements of the inputs; everything at rest."""
        q = np.zeros((len(images), self.system.size))
        q[:, :PIXELS] = self.setting.amplitude*(images - self.setting.level)
        return lep.Initial(q=q, v=np.zeros(self.system.size))

    def targets(self, digits: np.ndarray) -> dict[sp.Symbol, np.ndarray]:
        """Almost 1 for the right output and almost 0 for the others, shape (B, 1): one place."""
        share = self.setting.smoothing
        return {y: (1 - share)*(digits == digit)[:, None] + share/CLASSES for digit, y in enumerate(self.labels)}

    def swing(self, images: np.ndarray, values: Any, save: str = "last") -> lep.trajectory.Trajectory:
        """The trajectories that images begin."""
        own = {symbol: values[symbol] for symbol in self.system.parameters}  # the gain belongs to the cost
        return self.system.trajectory(self.start(images), self.grid, parameters=own, save=save, stability="ignore")

    def read(self, images: np.ndarray, values: Any) -> np.ndarray:
        """The digits that the network sees, shape (B,)."""
        return self.swing(images, values).q[:, -1, self.outputs].argmax(1)

    def train(self, images: np.ndarray, digits: np.ndarray, seed: int, validation: Callable) -> Any:
        """Learn; one call."""
        s = self.setting
        total = s.epochs*-(-len(images)//s.batch)
        return self.system.fit(
            self.start(images), self.grid, self.cost, targets=self.targets(digits), epochs=s.epochs, batch=s.batch,
            optimiser=lep.Adam(lambda n: s.rate*(1 + np.cos(np.pi*n/total))/2), estimator=lep.Exact(), seed=seed,
            validation=validation, progress=sys.stderr.isatty(),
        )  # fmt: skip


def load_images() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images to train with, held-out images, and their digits, in this order; pixels from 0 to 1."""
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise ValueError(
            "the digits are scikit-learn's, which is not installed; pip install 'lagrangian_eqprop[demos]'"
        ) from error
    images, digits = load_digits(return_X_y=True)
    return tuple(train_test_split(images/16, digits, test_size=0.2, random_state=0, stratify=digits))


def train_one(setting: Setting, seed: int, data: tuple[np.ndarray, ...]) -> tuple[Network, Any, float]:
    """A network trained from one seed, its history, and the seconds it took."""
    train, held, train_digits, held_digits = data
    network = Network(setting, seed)
    began, epoch = time.perf_counter(), 0

    def validation(values: Any) -> tuple[float, float]:
        nonlocal epoch
        epoch += 1
        seen = float((network.read(train[: len(held)], values) == train_digits[: len(held)]).mean())
        new = float((network.read(held, values) == held_digits).mean())
        if not sys.stderr.isatty() and (epoch % 5 == 0 or epoch in (1, setting.epochs)):
            spent = time.perf_counter() - began
            print(f"seed {seed}, epoch {epoch:2} of {setting.epochs}: held-out {new:.2%}, {spent:.0f} s", flush=True)
        return seen, new

    history = network.train(train, train_digits, seed, validation)
    if history.interrupted:  # half a training is nothing to draw
        raise KeyboardInterrupt
    return network, history, time.perf_counter() - began


def run(output: Path, short: bool = False, seeds: int = 1) -> dict[str, Any]:
    """Train with seeds 0, 1, ... and draw the first.

    Parameters
    ----------
    output : Path
        Folder for ``digits.png``, ``digits.json`` and ``digits.npz``, the trained parameters of seed 0.
    short : bool
        A few images and two epochs, to see that it works.
    seeds : int
        How many networks; the seed draws the initial couplings and the order of the images.

    Returns
    -------
    dict
        The numbers of ``digits.json``.
    """
    from ._digits_figure import draw

    if isinstance(seeds, bool) or not isinstance(seeds, (int, np.integer)) or seeds < 1:
        raise ValueError(f"seeds must be a positive integer; got {seeds!r}")
    setting = Setting(hidden=16, epochs=2, images=400) if short else Setting()
    train, held, train_digits, held_digits = load_images()
    data = train[: setting.images], held, train_digits[: setting.images], held_digits
    print(f"{PIXELS + setting.hidden + CLASSES} oscillators, {len(data[0])} images to learn from, {len(held)} held out")
    print("compiling; the first epoch includes it", flush=True)
    runs: list[dict[str, Any]] = []
    first: Any = None
    for seed in range(seeds):
        network, history, seconds = train_one(setting, seed, data)
        runs.append({
            "seed": seed, "accuracy": history.validation[-1, 1], "seconds": seconds, "loss": history.loss,
            "training_accuracy": history.validation[:, 0], "held_out_accuracy": history.validation[:, 1],
        })  # fmt: skip
        right = runs[-1]["accuracy"]
        print(f"seed {seed}: {right:.2%} of {len(held)} held-out digits read correctly, {seconds:.0f} s", flush=True)
        first = (network, history) if seed == 0 else first
    network, history = first
    numbers = {"accuracy": runs[0]["accuracy"], "mean_accuracy": np.mean([r["accuracy"] for r in runs]), "runs": runs}
    if seeds > 1:
        print(f"mean of {seeds} seeds: {numbers['mean_accuracy']:.2%}")
    figure = draw(network, history, held, held_digits)
    write(output, "digits", figure, {**asdict(setting), "seeds": seeds}, numbers)
    lep.save(Path(output) / "digits.npz", history.parameters)
    return numbers
