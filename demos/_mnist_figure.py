"""The picture of the MNIST demo: the test error of every epoch, and digits that were misread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lagrangian_eqprop.plotting import COLOURS

from ._mnist_data import Digits
from ._output import GREY, new_figure, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS, COLUMNS = 4, 8


def draw(title: str, history: Any, digits: Digits, read: np.ndarray) -> Figure:
    """Left the curve, right the first misread test images."""
    figure = new_figure(13, 5.2)
    left, right = figure.subfigures(1, 2, width_ratios=[1, 1.35])  # type: ignore[misc]
    curve = left.subplots()
    epochs, wrong = np.arange(1, len(history.loss) + 1), 100*history.validation
    curve.plot(epochs, wrong, "o-", ms=4, lw=2, color=COLOURS[1])
    curve.annotate(
        f"{wrong[-1]:.2f} %", (epochs[-1], wrong[-1]), (0, 10), textcoords="offset points", ha="right",
        color=COLOURS[1], weight="bold",
    )  # fmt: skip
    curve.set(xlabel="epoch", ylabel="misread test images, %")
    curve.set_ylim(0, 1.1*wrong.max() + 0.1)
    curve.xaxis.get_major_locator().set_params(integer=True)
    curve.grid(alpha=0.25)
    tidy(curve, "a", title)
    missed = np.flatnonzero(read != digits.test_digits)
    side = round(digits.test.shape[1]**0.5)
    right.suptitle(
        f"b  {len(missed)} of {len(read)} misread; the first of them (shown, read)", x=0.02, ha="left", fontsize=11
    )
    for axes, place in zip(right.subplots(ROWS, COLUMNS).flat, range(ROWS*COLUMNS), strict=True):
        axes.axis("off")
        if place < len(missed):
            index = missed[place]
            axes.imshow(digits.test[index].reshape(side, -1), cmap="gray_r", vmin=0, vmax=1)
            axes.set_title(f"{digits.test_digits[index]}, {read[index]}", fontsize=9, color=GREY, pad=2)
    return figure
