"""What all demos share: a picture, and beside it a JSON file with the configuration and the numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import lagrangian_eqprop as lep

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GREY = "#8c8c8c"


def new_figure(width: float, height: float, dpi: int = 120) -> Figure:
    """A figure of its own, without pyplot's global state; sizes in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def tidy(axes: Any, letter: str, title: str) -> None:
    """A panel's letter and title, and only the two axes lines that are read."""
    axes.set_title(f"{letter}  {title}", loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)


def write(output: Path, name: str, figure: Figure, configuration: dict[str, Any], numbers: dict[str, Any]) -> None:
    """Write ``name.png`` and ``name.json`` into a folder, which is made, and say where."""
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    versions = {"lagrangian_eqprop": lep.__version__, "numpy": np.__version__}
    record = {"demo": name, "versions": versions, "configuration": configuration, "numbers": numbers}
    (output / f"{name}.json").write_text(json.dumps(_plain(record), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    figure.savefig(output / f"{name}.png")
    print(f"wrote {output / f'{name}.png'} and {output / f'{name}.json'}")


def _plain(value: Any) -> Any:
    """What json can write: no arrays, and null for what is not finite."""
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.12g}") if np.isfinite(value) else None
    return value
