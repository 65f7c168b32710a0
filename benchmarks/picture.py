"""Pictures of a run: how much longer others need than the library, error against time, and how the cost grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.ticker import NullFormatter  # noqa: E402

from .harness import PROJECT  # noqa: E402
from .report import base, groups  # noqa: E402

Row = Mapping[str, Any]
FAMILIES = {
    PROJECT: "#1b1b1b", "C": "#d1495b", "jax": "#2e86ab", "diffrax": "#7fb7d6", "heyoka": "#e09f3e", "scipy": "#588157",
    "numpy": "#9d8189", "yardstick": "#6a4c93",
}  # fmt: skip
MARKERS = "oDs^v<>"


def family(peer: str) -> str:
    """What a peer's name begins with."""
    return peer.split(",")[0]


def ratios(path: Path, rows: Sequence[Row]) -> None:
    """One line for each piece of work, one mark for each peer at its time divided by the library's."""
    shown = [(group, first) for group in groups(rows) if (first := base(group)) is not None and len(group) > 1]
    if not shown:
        return
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.27*len(shown)), layout="constrained")
    named: set[str] = set()
    for place, (group, first) in enumerate(shown):
        seen: dict[str, int] = {}
        for row in group:
            kind = family(row["peer"])
            variant = seen[kind] = seen.get(kind, -1) + 1
            axes.plot(
                row["median"]/first["median"], place, MARKERS[variant % len(MARKERS)], ms=5, alpha=0.85,
                color=FAMILIES.get(kind, "grey"), label=None if kind in named else kind,
            )  # fmt: skip
            named.add(kind)
    axes.axvline(1.0, color="#1b1b1b", lw=0.8)
    axes.set_xscale("log")
    axes.set_yticks(range(len(shown)), [f"{group[0]['case']}: {group[0]['work']}" for group, _ in shown], fontsize=7)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("time divided by that of the library (left of the line: faster than the library)")
    figure.legend(loc="outside upper center", ncols=len(named), fontsize=8, frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def precision(path: Path, rows: Sequence[Row]) -> None:
    """Error against time where methods of different orders meet."""
    kinds = ("long_run", "two_point")
    shown = [group for group in groups(rows) if group[0]["case"] in kinds and len(group) > 1]
    if not shown:
        return
    figure, panels = plt.subplots(1, len(shown), figsize=(3.6*len(shown), 5.0), layout="constrained", squeeze=False)
    for axes, group in zip(panels[0], shown):
        seen: dict[str, int] = {}
        for row in group:
            kind = family(row["peer"])
            variant = seen[kind] = seen.get(kind, -1) + 1
            axes.loglog(
                row["median"], max(row["errors"]["error"], 1e-16), MARKERS[variant % len(MARKERS)],
                color=FAMILIES.get(kind, "grey"), label=row["peer"],
            )  # fmt: skip
        axes.set_title(f"{group[0]['case']}: {group[0]['work']}", fontsize=9)
        axes.set_xlabel("time (s)")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.3)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), fontsize=6, frameon=False)
    panels[0][0].set_ylabel("error")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def scaling(path: Path, rows: Sequence[Row]) -> None:
    """Time over each axis of the case ``scaling``, forward and gradient."""
    lines: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for row in rows:
        if row["case"] == "scaling":
            kind, value = row["label"].split()
            per = row["median"]/row["units"]*1e9
            lines.setdefault(row["size"].split()[0], {}).setdefault(kind, []).append((float(value), per))
    if not lines:
        return
    figure, panels = plt.subplots(1, len(lines), figsize=(3.2*len(lines), 3.2), layout="constrained", squeeze=False)
    for axes, (name, kinds) in zip(panels[0], lines.items()):
        for (kind, points), style in zip(kinds.items(), ("o-", "s--")):
            axes.semilogx(*zip(*points), style, label=kind, color="#1b1b1b" if style == "o-" else "#2e86ab")
        axes.set_xlabel(name)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    panels[0][0].set_ylabel("ns per unit (site, step, sample; stage)")
    panels[0][0].legend(frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def draw(folder: Path, rows: Sequence[Row]) -> None:
    """All pictures for which there are rows."""
    ratios(folder/"ratios.png", [row for row in rows if row["case"] != "scaling"])
    precision(folder/"precision.png", rows)
    scaling(folder/"scaling.png", rows)
