"""The picture of the digits demo: how it learned, what it confuses, and how an image swings into an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lagrangian_eqprop.plotting import COLOURS

from ._output import GREY, new_figure, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .digits import Network

FRAMES = 6


def draw(network: Network, history: Any, images: np.ndarray, digits: np.ndarray) -> Figure:
    """A figure of 1600 x 900 pixels from a trained network and the held-out images."""
    figure = new_figure(16, 9, dpi=100)
    halves: Any = figure.subfigures(1, 2, width_ratios=[1, 2.1])
    left, right = halves
    read = network.read(images, history.parameters)
    losses, errors, table = left.subplots(3, 1, height_ratios=[0.45, 1, 2])
    _curves(losses, errors, history)
    _confusion(table, digits, read)
    _swinging(right, network, history.parameters, images, digits, read)
    return figure


def _curves(losses: Any, errors: Any, history: Any) -> None:
    epochs = np.arange(1, len(history.loss) + 1)
    wrong = 100*(1 - history.validation)
    losses.plot(epochs, history.loss, color=GREY, lw=2)
    tidy(losses, "a", f"Learning: {100 - wrong[-1, 1]:.1f} % of the held-out digits are read correctly")
    losses.set(ylabel="loss", xticklabels=[])
    for column, (name, colour, style) in enumerate([("training", COLOURS[0], "--"), ("held-out", COLOURS[1], "-")]):
        errors.plot(epochs, wrong[:, column], style, color=colour, lw=2, label=f"{name} images")
    errors.set_ylim(0, max(10.0, 1.1*np.quantile(wrong, 0.95)))
    last = (epochs[-1], wrong[-1, 1])
    look = {"ha": "right", "color": COLOURS[1], "weight": "bold"}
    errors.annotate(f"{last[1]:.1f} %", last, (0, 8), textcoords="offset points", **look)
    errors.spines[["top", "right"]].set_visible(False)
    errors.set(xlabel="epoch", ylabel="misread, %")
    errors.legend(frameon=False, fontsize=9)
    for axes in (losses, errors):
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.25)


def _confusion(axes: Any, digits: np.ndarray, read: np.ndarray) -> None:
    table = np.zeros((10, 10), int)
    np.add.at(table, (digits, read), 1)
    share = table/np.maximum(table.sum(1, keepdims=True), 1)
    axes.imshow(share**0.5, cmap="Blues", vmin=0, vmax=1.1)
    for (row, column), count in np.ndenumerate(table):
        if count:
            colour = "white" if row == column else COLOURS[1]
            weight = "normal" if row == column else "bold"
            axes.text(column, row, count, ha="center", va="center", color=colour, fontsize=9, weight=weight)
    tidy(axes, "b", "Held-out digits: what was shown and what was read")
    axes.set(xlabel="read", ylabel="shown", xticks=range(10), yticks=range(10))
    axes.tick_params(length=0)


def _chosen(digits: np.ndarray, read: np.ndarray) -> list[int]:
    """The first held-out images of two digits that were read, and the first that was not (or a third)."""
    right = [int(np.flatnonzero((read == digits) & (digits == digit))[0]) for digit in digits[read == digits]]
    found = list(dict.fromkeys(right))[:3]
    found += [index for index in range(len(digits)) if index not in found][: 3 - len(found)]
    wrong = np.flatnonzero(read != digits)
    return [*found[:2], int(wrong[0])] if wrong.size else found


def _swinging(
    figure: Any, network: Network, values: Any, images: np.ndarray, digits: np.ndarray, read: np.ndarray
) -> None:
    shown = _chosen(digits, read)
    path = network.swing(images[shown], values, save="all")
    steps = network.grid.steps
    moments = np.linspace(0, steps, FRAMES).round().astype(int)
    outer = figure.add_gridspec(len(shown), 1)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    for row, index in enumerate(shown):
        grid = outer[row].subgridspec(2, FRAMES + 1, width_ratios=[1]*FRAMES + [3.2])
        largest = np.abs(path.q[row, :, :-10]).max()
        for column, moment in enumerate(moments):
            groups = np.split(path.q[row, moment], [64, path.q.shape[2] - 10])[:2]
            for line, group in enumerate(groups):
                axes = figure.add_subplot(grid[line, column])
                axes.imshow(group.reshape(-1, 8), cmap="PuOr_r", vmin=-largest, vmax=largest)
                axes.set(xticks=[], yticks=[])
                if line == 0 and row == 0:
                    axes.set_title(f"$t = {path.t[moment]:.1f}$", fontsize=10)
                if column == 0:
                    axes.set_ylabel("inputs" if line == 0 else "hidden", fontsize=9)
        _outputs(figure.add_subplot(grid[:, -1]), network, path, row, int(digits[index]), int(read[index]))
    figure.suptitle(
        "c  How an image swings into an answer: displacements of the oscillators, orange up and purple down",
        x=0.01, ha="left", fontsize=11,
    )  # fmt: skip


def _outputs(axes: Any, network: Network, path: Any, row: int, shown: int, read: int) -> None:
    """The ten outputs in time, each named where it ends."""
    curves = path.q[row][:, network.outputs]
    for digit, curve in enumerate(curves.T):
        colour = COLOURS[0] if digit == shown else COLOURS[1] if digit == read else GREY
        front = digit in (shown, read)
        width, alpha, order = (2.5, 1, 3) if front else (1, 0.6, 2)
        axes.plot(path.t, curve, color=colour, lw=width, alpha=alpha, zorder=order)
        if front:
            axes.annotate(
                str(digit), (path.t[-1], curve[-1]), (5, 0), textcoords="offset points", color=colour, weight="bold",
                va="center", fontsize=13,
            )  # fmt: skip
    verdict = f"a {shown}, read as {read}" if shown == read else f"a {shown}, misread as {read}"
    tidy(axes, "", verdict)
    axes.axvline(path.t[-1], color=GREY, lw=0.8)
    axes.set_ylabel("outputs", fontsize=9)
    axes.margins(x=0.08)
    if row == 2:
        axes.set_xlabel("$t$ (the answer is read at the end)")
