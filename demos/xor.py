"""Five coupled phases learn the exclusive or.

Every phase is coupled with every other; two of them are held at -pi/2 or pi/2, the inputs, and the last one should come
to rest at pi/2 where they differ and at -pi/2 where they agree (Wang, Wanjura and Marquardt 2024). Couplings, fields
and the directions of the fields are trained from random values by equilibrium propagation; all four cases are one
batch. Seen in the picture: the loss of every seed, where the output rests before and after, and the phases that were
found for each of the four cases. A seed that does not learn is counted and shown like the others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import lagrangian_eqprop as lep
from lagrangian_eqprop.plotting import COLOURS
from lagrangian_eqprop.systems.phases import BITS, NODES

from ._output import GREY, new_figure, tidy, write

RATE = 0.05
REST = lep.Equilibrium(0.1)
LEARNED = np.pi/4  # an output is right within this angle of its target


def learn(case: Any, seed: int, epochs: int, estimator: Any) -> dict[str, Any]:
    """Train one network."""
    rng = np.random.default_rng(seed)
    start = {"J": rng.normal(size=(NODES, NODES)), "h": rng.normal(size=NODES - 2),
             "psi": rng.uniform(-np.pi, np.pi, NODES - 2)}  # fmt: skip
    options: dict[str, Any] = {"cost": case.cost, "inputs": case.inputs, "targets": case.targets}
    before = case.system.equilibrium(REST, inputs=case.inputs, parameters=start).q
    history = case.system.fit(
        REST, **options, parameters=start, epochs=epochs, batch=None, optimiser=lep.Adam(RATE),
        estimator=estimator, progress=False,
    )  # fmt: skip
    after = case.system.equilibrium(REST, inputs=case.inputs, parameters=history.parameters).q
    (target,) = case.targets.values()
    off = np.abs(np.angle(np.exp(1j*(after[:, -1:] - target)))).max()
    return {"seed": seed, "loss": history.loss, "before": before, "after": after, "off": float(off),
            "learned": bool(off < LEARNED)}  # fmt: skip


def run(output: Path, short: bool = False, seeds: int = 10) -> dict[str, Any]:
    """Learn and draw.

    Parameters
    ----------
    output : Path
        Folder for ``xor.png`` and ``xor.json``.
    short : bool
        Fewer epochs, and two seeds.
    seeds : int
        How many networks.

    Returns
    -------
    dict
        The numbers of ``xor.json``.
    """
    epochs, count = (80, min(seeds, 2)) if short else (200, seeds)
    case, estimator = lep.systems.get("phases"), lep.Centered(1e-3)
    runs = []
    for seed in range(count):
        runs.append(learn(case, seed, epochs, estimator))
        last = runs[-1]
        print(
            f"seed {seed}: loss {last['loss'][0]:.3f} -> {last['loss'][-1]:.4f}, largest error {last['off']:.3f} rad",
            flush=True,
        )
    learned = sum(entry["learned"] for entry in runs)
    print(f"{learned} of {count} networks answer within {LEARNED:.2f} rad in all four cases")
    numbers = {"runs": runs, "learned": learned, "networks": count}
    configuration = {"rate": RATE, "epochs": epochs, "estimator": repr(estimator), "nodes": NODES, "short": short}
    write(output, "xor", draw(case, runs), configuration, numbers)
    return numbers


def draw(case: Any, runs: list[dict[str, Any]]) -> Any:
    """Losses, outputs before and after, and the phases of the best network as hands of clocks."""
    figure = new_figure(15, 4.8)
    losses, outputs, clocks = figure.subplots(1, 3, width_ratios=[1.1, 1, 1.2])
    for entry in runs:
        losses.semilogy(entry["loss"], color=COLOURS[0] if entry["learned"] else COLOURS[1], lw=1)
    for colour, text in ((COLOURS[0], "learned"), (COLOURS[1], "not learned")):
        number = sum(entry["learned"] == (text == "learned") for entry in runs)
        losses.plot([], [], color=colour, label=f"{text}: {number}")
    losses.set(xlabel="epochs", ylabel="cost, mean of the four cases")
    losses.legend(frameon=False)
    tidy(losses, "a", "Loss of every seed")
    (target,) = case.targets.values()
    place = np.arange(4)
    for entry in runs:
        for key, colour, shift in (("before", GREY, -0.15), ("after", COLOURS[0], 0.15)):
            angle = np.angle(np.exp(1j*entry[key][:, -1]))
            outputs.plot(place + shift, angle, "o", color=colour, ms=5, alpha=0.6, mew=0)
    outputs.plot([], [], "o", color=GREY, label="before")
    outputs.plot([], [], "o", color=COLOURS[0], label="after")
    outputs.plot(place, target[:, 0], "_", color="black", ms=40)
    outputs.plot([], [], color="black", label="target")
    names = [" ".join("+" if bit > 0 else "-" for bit in bits) for bits in BITS]
    outputs.set_xticks(place, names)
    outputs.set(xlabel="inputs ($\\pm\\pi/2$)", ylabel="output (rad)", ylim=(-np.pi, np.pi + 1.4))
    outputs.legend(frameon=False, ncols=3, loc="upper center")
    tidy(outputs, "b", "Output of every seed")
    best = min(runs, key=lambda entry: entry["loss"][-1])
    for row, phases in enumerate(best["after"]):
        for node, angle in enumerate(phases):
            colour = COLOURS[2] if node < 2 else COLOURS[0] if node == NODES - 1 else GREY
            clocks.add_patch(_circle(node, -row))
            clocks.plot([node, node + 0.36*np.cos(angle)], [-row, -row + 0.36*np.sin(angle)], color=colour, lw=3)
    heads = ["input", "input", *["hidden"]*(NODES - 3), "output"]
    clocks.set_xticks(range(NODES), heads)
    clocks.set_yticks(-place, names)
    clocks.set(aspect="equal", xlim=(-0.6, NODES - 0.4), ylim=(-3.6, 0.6))
    tidy(clocks, "c", f"Phases at rest, seed {best['seed']}")
    return figure


def _circle(x: float, y: float) -> Any:
    from matplotlib.patches import Circle

    return Circle((x, y), 0.4, fill=False, edgecolor=GREY, lw=0.8)
