"""Progress of long work, on the terminal's error stream."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def bar(show: bool, total: int, unit: str) -> Iterator[Any]:
    """A progress bar, or None where none is wanted."""
    if not show:
        yield None
        return
    from tqdm import tqdm

    with tqdm(total=total, unit=unit, leave=False) as ticks:
        yield ticks
