"""All ways of a double pendulum from one pose to another in a given time, found from random guesses.

Both ends of the path are fixed, so it is a stationary point of the discrete action S, and there are several. A path
that minimises S has Morse index 0; an index of n is a saddle with n directions that lead down. The colour of a path is
its index; its action is written beside it. Guesses are the straight line with a few random sines on top, from a
seeded generator; those from which no path was found are counted and told, and nothing is said of paths that no guess
led to.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import lagrangian_eqprop as lep
from lagrangian_eqprop.plotting import COLOURS

from ._output import new_figure, tidy, write

START, STOP = np.array([0.3, -0.2]), np.array([1.0, 0.5])
DURATION = 2.0
WAVES, SIZE = 3, 2.0  # of the random sines on the guesses: how many, and their size in radians


def guesses(grid: lep.Grid, count: int, seed: int) -> np.ndarray:
    """Paths from START to STOP, shape (count, N+1, 2): the straight line first, then random ones."""
    share = np.linspace(0, 1, grid.steps + 1)
    number = np.arange(1, WAVES + 1)
    sizes = np.random.default_rng(seed).normal(size=(count, WAVES, 2))*SIZE/number[:, None]
    sizes[0] = 0.0
    waves = np.sin(np.pi*number*share[:, None])
    return START + (STOP - START)*share[:, None] + np.einsum("kw,nwd->nkd", waves, sizes)


def distinct(path: lep.trajectory.Trajectory) -> list[dict[str, Any]]:
    """The different paths among those found, by their action; how many guesses led to each."""
    found: list[dict[str, Any]] = []
    indices = np.asarray(path.morse_index)
    for sample in np.flatnonzero(path.success):
        for known in found:
            if np.abs(known["q"] - path.q[sample]).max() < 1e-5:
                known["guesses"] += 1
                break
        else:
            found.append({
                "action": float(path.action[sample]), "index": int(indices[sample]),
                "energy": float(path.energy[sample].mean()), "guesses": 1, "q": path.q[sample],
            })  # fmt: skip
    return sorted(found, key=lambda entry: entry["action"])


def run(output: Path, short: bool = False, guess_count: int = 60, seed: int = 0) -> dict[str, Any]:
    """Search and draw.

    Parameters
    ----------
    output : Path
        Folder for ``two_point.png`` and ``two_point.json``.
    short : bool
        A few guesses.
    guess_count, seed : int
        How many guesses, and the seed they are drawn with.

    Returns
    -------
    dict
        The numbers of ``two_point.json``: action, Morse index and energy of every path, and the guesses that failed.
    """
    count = min(guess_count, 8) if short else guess_count
    grid = lep.Grid(100, duration=DURATION)
    system = lep.systems.get("double_pendulum").system
    print(f"compiling, then {count} guesses", flush=True)
    ends = lep.Ends(START, STOP, guess=guesses(grid, count, seed))
    path = system.trajectory(ends, grid, on_failure="return")
    found = distinct(path)
    failed = int(count - np.sum(path.success))
    for entry in found:
        kind = "minimum" if entry["index"] == 0 else f"saddle of Morse index {entry['index']}"
        text = f"{kind}, energy {entry['energy']:.2f} J, guesses that led there: {entry['guesses']}"
        print(f"S = {entry['action']:9.4f} J s   {text}")
    print(f"{len(found)} paths from {count} guesses; from {failed} of them none was found")
    shown = [{key: value for key, value in entry.items() if key != "q"} for entry in found]
    numbers = {"paths": shown, "guesses": count, "failed": failed, "message": path.message}
    configuration = {
        "system": "double_pendulum", "parameters": {s.name: float(v) for s, v in system.parameters.items()},
        "start": START, "stop": STOP, "duration": DURATION, "steps": grid.steps, "waves": WAVES, "size": SIZE,
        "guesses": count, "seed": seed, "short": short,
    }  # fmt: skip
    write(output, "two_point", draw(found, count, failed), configuration, numbers)
    return numbers


def draw(found: list[dict[str, Any]], count: int, failed: int) -> Any:
    """Paths in the plane of the angles, the way of the lower mass in space, and the action of every path."""
    figure = new_figure(15, 5.6)
    plane, space, action = figure.subplots(1, 3, width_ratios=[1.15, 1.15, 1])
    for entry in reversed(found):
        a, b = entry["q"].T
        plane.plot(a, b, **_look(entry["index"]))
        space.plot(*_masses(entry["q"])[1].T, **_look(entry["index"]))
    for index in sorted({entry["index"] for entry in found}):
        those = sum(entry["index"] == index for entry in found)
        name = "minimum, index 0" if index == 0 else f"saddle, index {index}"
        action.plot([], [], label=f"{name}: {those}", **_look(index))
    for name, pose, marker, offset in (("start", START, "o", (-10, -16)), ("stop", STOP, "s", (10, 6))):
        plane.plot(*pose, marker, color="black", ms=8, zorder=5)
        plane.annotate(name, pose, offset, textcoords="offset points", ha="right" if name == "start" else "left")
        rods = np.stack([np.zeros(2), *_masses(pose)])
        space.plot(*rods.T, "-", color="black", lw=2, zorder=5)
        space.plot(*rods[1:].T, marker, color="black", ms=8, zorder=5)
    space.plot(0, 0, "^", color="black", ms=9, zorder=5)
    plane.set(xlabel="upper angle $a$ (rad)", ylabel="lower angle $b$ (rad)")
    tidy(plane, "a", f"{len(found)} paths from {count} guesses; {failed} guesses led to none")
    space.set(xlabel="$x$ (m)", ylabel="height (m)", aspect="equal", adjustable="datalim")
    tidy(space, "b", "The way of the lower mass from start to stop")
    _actions(action, found)
    action.legend(frameon=False, fontsize=9, loc="upper left")
    return figure


def _look(index: int) -> dict[str, Any]:
    """Minima stand out; every index has its colour and its dashes."""
    style = ("-", "--", "-.", ":")[index % 4]
    return {"color": COLOURS[index % len(COLOURS)], "ls": style, "lw": 2.4 if index == 0 else 1.6}


def _masses(q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the two masses are, (..., 2) each; both rods are 1 m long."""
    rods = np.stack([np.sin(q), -np.cos(q)], -1)
    return rods[..., 0, :], rods.sum(-2)


def _actions(axes: Any, found: list[dict[str, Any]]) -> None:
    """A level diagram; values closer than a line of text are moved apart."""
    values = [entry["action"] for entry in found]
    gap = (max(values, default=1.0) - min(values, default=0.0))/26 or 1.0
    last: dict[int, float] = {}
    for entry in found:
        index, action = entry["index"], entry["action"]
        colour = COLOURS[index % len(COLOURS)]
        last[index] = max(action, last.get(index, -np.inf) + gap)
        axes.plot([index - 0.3, index], [action, action], "-", lw=1.8, color=colour)
        axes.plot([index, index + 0.08], [action, last[index]], "-", lw=0.6, color=colour)
        axes.text(index + 0.1, last[index], f"{action:.2f}", va="center", fontsize=8, color=colour)
    tidy(axes, "c", "Action of every path")
    axes.set(xlabel="Morse index", ylabel="$S$ (J s)")
    axes.set_xlim(-0.5, max((entry["index"] for entry in found), default=0) + 0.6)
    axes.xaxis.get_major_locator().set_params(integer=True)
