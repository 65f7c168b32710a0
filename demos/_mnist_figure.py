"""The picture of the MNIST demo: the test error of every epoch, and digits that were misread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lagrangian_eqprop.plotting import COLOURS

from ._mnist_data import Digits
from ._output import GREY, new_figure, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS, COLUMNS = 4, 8


def draw(title: str, errors: Sequence[np.ndarray], digits: Digits, read: np.ndarray) -> Figure:
    """Left the test errors of every seed after every epoch, right the first test images that seed 0 misread."""
    figure = new_figure(13, 5.2)
    left, right = figure.subfigures(1, 2, width_ratios=[1, 1.35])  # type: ignore[misc]
    curve = left.subplots()
    for seed, wrong in reversed(list(enumerate(errors))):
        look = {"color": COLOURS[1], "lw": 2} if seed == 0 else {"color": GREY, "lw": 1, "ls": ("--", ":")[seed % 2]}
        text = f"seed {seed}: {100*wrong[-1]:.2f} % at the end"
        curve.plot(np.arange(1, len(wrong) + 1), 100*wrong, marker="o", ms=4, label=text, **look)
    curve.legend(frameon=False, reverse=True)
    curve.set(xlabel="epoch", ylabel="misread test images, %")
    curve.set_ylim(0, 110*max(wrong.max() for wrong in errors))
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
