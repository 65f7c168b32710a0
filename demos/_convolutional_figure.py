"""The picture of the convolutional demo: the test error, the kernels with what they see, and digits misread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lagrangian_eqprop.plotting import COLOURS
from lagrangian_eqprop.systems.layered import LayeredNetwork

from ._mnist_data import Digits
from ._output import GREY, new_figure, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS, COLUMNS = 4, 5  # of misread digits
SHOWN = 16  # kernels at most


def draw(network: LayeredNetwork, maps: tuple[int, ...], history: Any, digits: Digits) -> Figure:
    """Above the curve and misread digits, below the kernels of the first layer and the maps of one digit at rest."""
    figure = new_figure(12, 8)
    above, below = figure.subfigures(2, 1)  # type: ignore[misc]
    left, right = above.subfigures(1, 2, width_ratios=[1.35, 1])
    _curve(left.subplots(), history)
    read = network.read(digits.test, history.parameters, dtype="float32")
    side = round(digits.test.shape[1]**0.5)
    missed = np.flatnonzero(read != digits.test_digits)
    _misread(right, missed, read, digits, side)
    _kernels(below, network, maps, history, digits.test[0].reshape(side, side))
    return figure


def _curve(axes: Any, history: Any) -> None:
    wrong = 100*history.validation[:, 0]
    epochs = np.arange(1, len(wrong) + 1)
    axes.plot(epochs, wrong, "o-", ms=4, lw=2, color=COLOURS[1])
    axes.annotate(
        f"{wrong[-1]:.2f} %", (epochs[-1], wrong[-1]), (0, 10), textcoords="offset points", ha="right",
        color=COLOURS[1], weight="bold",
    )  # fmt: skip
    axes.set(xlabel="epoch", ylabel="misread test images, %", xlim=(0.5, len(wrong) + 0.5))
    axes.set_ylim(0, 1.1*wrong.max() + 0.1)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.25)
    tidy(axes, "a", "Test error")


def _misread(part: Any, missed: np.ndarray, read: np.ndarray, digits: Digits, side: int) -> None:
    text = f"b  {len(missed)} of {len(read)} misread; the first of them (shown, read)"
    part.suptitle(text, x=0.02, ha="left", fontsize=11)
    for number, axes in enumerate(part.subplots(ROWS, COLUMNS).flat):
        axes.axis("off")
        if number < len(missed):
            at = missed[number]
            axes.imshow(digits.test[at].reshape(side, side), cmap="gray_r", vmin=0, vmax=1)
            axes.set_title(f"{digits.test_digits[at]}, {read[at]}", fontsize=9, color=GREY, pad=2)


def _kernels(part: Any, network: LayeredNetwork, maps: tuple[int, ...], history: Any, image: np.ndarray) -> None:
    """Each kernel of the first layer above the map that it makes of a digit."""
    rest = network.system.equilibrium(
        network.rest, inputs=network.inputs(image.ravel()), parameters=history.parameters, dtype="float32"
    )
    seen = rest.q[network.layers[1]].reshape(maps[0], -1)
    edge = round(seen.shape[1]**0.5)
    kernels = history.parameters[network.weights[0]][:, 0]
    count = min(maps[0], SHOWN)
    half = -(-count//2)
    far = np.abs(kernels).max()
    text = "c  Kernels of the first layer (red excites, blue inhibits), below each what it makes of the digit, at rest"
    part.suptitle(text, x=0.01, ha="left", fontsize=11)
    first, rest_of = part.subfigures(1, 2, width_ratios=[1, half])
    axes = first.subplots()
    axes.imshow(image, cmap="gray_r", vmin=0, vmax=1)
    axes.axis("off")
    grid = rest_of.subplots(4, half)
    for axes in grid.flat:
        axes.axis("off")
    for k in range(count):
        row, column = 2*(k//half), k % half
        grid[row, column].imshow(kernels[k], cmap="RdBu_r", vmin=-far, vmax=far)
        grid[row + 1, column].imshow(seen[k].reshape(edge, edge), cmap="gray_r", vmin=0, vmax=1)
