"""Pictures of trajectories, drawn without a display and without touching matplotlib's global state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import invalid
from .trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .analysis.check import Check
    from .analysis.step_by_step import TimeResolved

# Okabe and Ito's palette, told apart with any colour vision; their yellow, faint on white, is left out.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
LINES = len(COLOURS)  # more coordinates than this become a heat map
FAINT = 20  # further samples of a batch that are drawn behind the first
PORTRAITS = 3
COLUMNS = 4000  # of a heat map; more than the picture has pixels


def plot_trajectory(
    path: Trajectory,
    labels: Sequence[str] | None = None,
    invariants: Mapping[str, Callable[[Trajectory], np.ndarray]] | None = None,
    file: str | Path | None = None,
    *,
    title: str | None = None,
    time_label: str = "$t$",
) -> Figure:
    """Coordinates against time, what should be conserved, and phase portraits.

    More than seven coordinates are drawn as a heat map over time and index. Of a batch the first sample that
    succeeded is drawn, with up to twenty others faint behind it where lines are drawn; the title says so.

    Parameters
    ----------
    path : Trajectory
        With at least two nodes.
    labels : sequence of str, optional
        One a coordinate, with its unit: ``"$x$ (m)"``. By default q_0, q_1, ...
    invariants : mapping of str to function, optional
        Functions of the trajectory with values (N+1,) or (B, N+1). By default the energy alone.
    file : str or Path, optional
        Where to write the figure; the ending decides the format.
    title, time_label : str, optional
        Heading, and label of the time axis.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the trajectory has one node only, or the labels are not one a coordinate.

    Examples
    --------
    >>> import lagrangian_eqprop as lep
    >>> case = lep.systems.get("pendulum")
    >>> path = case.system.trajectory(case.start, case.grid)
    >>> figure = lep.plotting.plot_trajectory(path, case.labels, case.invariants)
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size = path.q.shape[-1]
    if path.q.shape[-2] < 2:
        raise invalid("path", "a trajectory of at least two nodes (save='all' or n)", f"{path.q.shape[-2]} node")
    names = [f"$q_{{{index}}}$" for index in range(size)] if labels is None else [str(label) for label in labels]
    if len(names) != size:
        raise invalid("labels", f"{size}, one a coordinate", len(names))
    batch = _Batch(path)
    portraits = _portraits(batch.q, names)

    figure = Figure(figsize=(9.0, 9.5), layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.add_gridspec(3, 1, height_ratios=(3.2, 1.8, 3.2))
    above = figure.add_subplot(rows[0])
    middle = figure.add_subplot(rows[1], sharex=above)
    below = rows[2].subgridspec(1, len(portraits))
    if size > LINES:
        _heat_map(figure, above, path.t, batch.q[batch.shown], names)
    else:
        _lines(above, path.t, batch, names)
    above.set_xlim(path.t[0], path.t[-1])
    above.tick_params(labelbottom=False)
    _changes(middle, path, batch, invariants)
    middle.set_xlabel(time_label)
    for column, portrait in enumerate(portraits):
        _portrait(figure.add_subplot(below[column]), batch, path, names, *portrait)
    heading = [text for text in (title, batch.note(size <= LINES)) if text]
    if heading:
        figure.suptitle("\n".join(heading), fontsize=12)
    if file is not None:
        figure.savefig(file, dpi=150)
    return figure


def plot_time_resolved(result: TimeResolved, file: str | Path | None = None, *, title: str | None = None) -> Figure:
    """Equilibrium propagation over backpropagation through time, and their difference.

    One row for the state and one for each parameter, with the entries that have the largest gradients.

    Parameters
    ----------
    result : TimeResolved
    file : str or Path, optional
        Where to write the figure; the ending decides the format.
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    state = [x if x.ndim == 2 else x[0] for x in (result.eqprop_state, result.bptt_state)]
    rows: list[tuple[str, np.ndarray, np.ndarray]] = [("the state", state[0], state[1])]
    rows += [(f"${symbol.name}$", result.eqprop[symbol], result.bptt[symbol]) for symbol in result.bptt]
    figure = Figure(figsize=(9.0, 2.3*len(rows) + 0.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), 2, sharex=True, squeeze=False)
    for (left, right), (name, found, exact) in zip(axes, rows, strict=True):
        found, exact = found.reshape(len(found), -1), exact.reshape(len(exact), -1)
        steps, size = np.arange(len(found)), np.abs(exact).max(initial=0.0) or 1.0
        for colour, entry in zip(COLOURS, np.argsort(-np.abs(exact).max(0))[:4]):
            left.plot(steps, exact[:, entry], color=colour, linewidth=3, alpha=0.45)
            left.plot(steps, found[:, entry], color=colour, linestyle="none", marker=".", markersize=5)
        right.semilogy(steps, np.maximum(np.abs(found - exact).max(1)/size, 1e-16), color=COLOURS[-1])
        left.set_ylabel(f"$dJ$ by {name}, each step")
        right.set_ylim(1e-14, 1.0)
        right.set_ylabel("largest difference\nover largest gradient")
        for panel in (left, right):
            panel.grid(alpha=0.3)
    axes[0, 0].plot([], [], color="grey", linewidth=3, alpha=0.6, label="backpropagation through time")
    axes[0, 0].plot([], [], color="grey", linestyle="none", marker=".", label="equilibrium propagation")
    axes[0, 0].legend(frameon=False, fontsize=8)
    for panel in axes[-1]:
        panel.set_xlabel("nudged steps; free steps before the end")
    if title:
        figure.suptitle(title, fontsize=12)
    if file is not None:
        figure.savefig(file, dpi=150)
    return figure


def plot_check(report: Check, file: str | Path | None = None) -> Figure:
    """What finite nudges cost: their bias against beta, beside the slopes of theory and the exact estimators.

    Parameters
    ----------
    report : Check
        Of ``system.check(..., thorough=True)``.
    file : str or Path, optional
        Where to write the figure; the ending decides the format.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the report was not thorough.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from .analysis.study import BETAS

    if report.study is None:
        raise invalid("report", "of a check with thorough=True", "one without a study")
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for colour, (name, errors) in zip(COLOURS, report.study.bias.items()):
        slope = report.study.slopes[name]
        axes.loglog(BETAS, errors, "o-", color=colour, label=f"{name}, slope {slope:.2f}")
    for colour, name in zip(COLOURS[2:], ("Exact", "Adjoint", "Holomorphic")):
        if name in report.errors:
            level = max(report.errors[name], 1e-17)
            axes.axhline(level, color=colour, linestyle="--", label=f"{name}, {report.errors[name]:.0e}")
    axes.set_xlabel("nudge $\\beta$")
    axes.set_ylabel("largest relative error of the gradient")
    axes.set_title(report.name)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=9)
    if file is not None:
        figure.savefig(file, dpi=150)
    return figure


def relative_change(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The change of a quantity since the start, over its largest size on the way.

    Parameters
    ----------
    values : ndarray, shape (..., N+1)

    Returns
    -------
    change : ndarray, shape (..., N+1)
    scale : ndarray, shape (...)
        The largest size; 1 where the quantity vanishes everywhere.
    """
    values = np.asarray(values)
    scale = np.max(np.abs(values), axis=-1, initial=0.0, where=np.isfinite(values))
    scale = np.where(scale > 0, scale, 1.0)
    return (values - values[..., :1])/scale[..., None], scale


def _largest(change: np.ndarray) -> float:
    return float(np.max(np.abs(change), initial=0.0, where=np.isfinite(change)))


class _Batch:
    """A trajectory with a batch axis in any case, and which samples of it are drawn."""

    def __init__(self, path: Trajectory) -> None:
        self.single = path.q.ndim == 2
        self.q = self.with_axis(path.q)
        self.p = self.with_axis(path.p)
        good = np.flatnonzero(np.broadcast_to(path.success, len(self.q)))
        self.shown = int(good[0]) if good.size else 0
        self.faint = [int(sample) for sample in good[1 : 1 + FAINT]]

    def with_axis(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(values)[None] if self.single else np.asarray(values)

    def note(self, lines: bool) -> str:
        """Which samples are to be seen."""
        if self.single:
            return ""
        text = f"sample {self.shown} of a batch of {len(self.q)}"
        if not self.faint:
            return text
        return f"{text}; {len(self.faint)} others faint" + ("" if lines else " in the lines")


def _symbol(label: str) -> str:
    """The label without its unit."""
    return label.split(" (")[0]


def _unit(labels: Sequence[str]) -> str:
    """The unit that all labels have in common, with its parentheses, or nothing."""
    units = {label[len(_symbol(label)) :] for label in labels}
    return units.pop() if len(units) == 1 else ""


def _lines(axes: Axes, t: np.ndarray, batch: _Batch, names: Sequence[str]) -> None:
    for index, name in enumerate(names):
        for sample in batch.faint:
            axes.plot(t, batch.q[sample, :, index], color=COLOURS[index], alpha=0.3, linewidth=0.7)
        axes.plot(t, batch.q[batch.shown, :, index], color=COLOURS[index], label=name, linewidth=1.4)
    axes.set_ylabel(names[0] if len(names) == 1 else "coordinates" + _unit(names))
    axes.grid(alpha=0.3)
    if len(names) > 1:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


def _heat_map(figure: Figure, axes: Axes, t: np.ndarray, q: np.ndarray, names: Sequence[str]) -> None:
    stride = -(-len(t)//COLUMNS)
    values = q[::stride].T
    low, high = np.nanmin(values), np.nanmax(values)
    # Around zero a diverging map shows signs; a common drift far from zero needs the whole range.
    both = low < 0 < high and min(-low, high) > 0.2*max(-low, high)
    limit = max(-low, high)
    scale = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit} if both else {"cmap": "cividis"}
    mesh = axes.pcolormesh(t[::stride], np.arange(len(names)), values, shading="nearest", rasterized=True, **scale)
    axes.set_ylabel("index of the coordinate")
    figure.colorbar(mesh, ax=axes, label="coordinate" + _unit(names), pad=0.01)


def _changes(axes: Axes, path: Trajectory, batch: _Batch, invariants: Mapping[str, Callable] | None) -> None:
    """Every invariant's change since the start, over its largest size, which the legend tells."""
    given = dict(invariants) if invariants else {"energy": lambda path: path.energy}
    for number, (name, function) in enumerate(given.items()):
        values = batch.with_axis(function(path))
        change, scales = relative_change(values)
        largest = _largest(change[batch.shown])
        colour = COLOURS[number % len(COLOURS)]
        for sample in batch.faint:
            axes.plot(path.t, change[sample], color=colour, alpha=0.3, linewidth=0.7)
        label = f"{name}: scale {scales[batch.shown]:.3g}, largest change {largest:.1e}"
        axes.plot(path.t, change[batch.shown], color=colour, label=label, linewidth=1.2)
    axes.set_ylabel("relative change" if len(given) > 1 else f"relative change\nof the {next(iter(given))}")
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    axes.grid(alpha=0.3)
    axes.set_title("change since the start, divided by the scale: the largest size on the way", fontsize=9, loc="left")
    # Above the curves, not over them.
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.28*len(given)*(high - low))
    axes.legend(loc="upper left", fontsize=9, framealpha=0.8)


def _portraits(q: np.ndarray, names: Sequence[str]) -> list[tuple[int, int | None]]:
    """Pairs (index, None) for a position and its momentum, or two indices for the path in a plane."""
    size = q.shape[-1]
    if size <= 2:
        plane = [(0, 1)] if size == 2 else []
        return [*((index, None) for index in range(size)), *plane]
    spread = np.nan_to_num(np.ptp(q[0], axis=0), nan=0.0)
    widest = np.sort(np.argsort(-spread, kind="stable")[:PORTRAITS])
    return [(int(index), None) for index in widest]


def _portrait(
    axes: Axes, batch: _Batch, path: Trajectory, names: Sequence[str], index: int, other: int | None
) -> None:
    horizontal = batch.q[..., index]
    vertical = batch.p[..., index] if other is None else batch.q[..., other]
    several = other is None and len(names) <= LINES  # then colours tell coordinates apart
    colour = COLOURS[index] if several else "#555555"
    for sample in batch.faint:
        axes.plot(horizontal[sample], vertical[sample], color=colour, alpha=0.3, linewidth=0.7)
    axes.plot(horizontal[batch.shown], vertical[batch.shown], color=colour, linewidth=0.9)
    marks: list[tuple[int, dict[str, Any]]] = [(0, {"markerfacecolor": "white"}), (-1, {})]
    for node, style in marks:
        axes.plot(horizontal[batch.shown, node], vertical[batch.shown, node], "o", color=colour, markersize=5, **style)
    axes.set_xlabel(names[index])
    axes.set_ylabel(f"momentum of {_symbol(names[index])}" if other is None else names[other])
    if other is None:
        axes.set_title("phase portrait; start hollow, end full", fontsize=9)
    else:
        axes.set_title("path", fontsize=9)
        if _unit(names) and np.ptp(horizontal[batch.shown]) < 5*np.ptp(vertical[batch.shown]) < 25*np.ptp(
            horizontal[batch.shown]
        ):
            axes.set_aspect("equal", adjustable="datalim")
    axes.grid(alpha=0.3)
