"""C sources compiled by gcc at run time, into a folder that is removed afterwards."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .harness import Unavailable

SOURCES = Path(__file__).parent / "c"
PLAIN = ("-O3", "-march=native")
FAST = (*PLAIN, "-ffast-math")
WIDE = (*FAST, "-mprefer-vector-width=512")

_KEPT: list[tempfile.TemporaryDirectory] = []


def compiled(source: str, flags: tuple[str, ...]) -> ctypes.CDLL:
    """The shared library of ``c/<source>.c``."""
    folder = tempfile.TemporaryDirectory(prefix="benchmarks_c_")
    _KEPT.append(folder)
    target = str(Path(folder.name) / f"{source}.so")
    command = ["gcc", *flags, "-shared", "-fPIC", str(SOURCES / f"{source}.c"), "-o", target, "-lm"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise Unavailable(f"gcc {' '.join(flags)}: {lines[0]}")
    return ctypes.CDLL(target)


def function(library: ctypes.CDLL, name: str, *kinds: str) -> Callable[..., None]:
    """A function that returns nothing; ``kinds`` are "long", "double" and "array" (C-contiguous float64)."""
    types = {"long": ctypes.c_long, "double": ctypes.c_double, "array": ctypes.c_void_p}
    found = getattr(library, name)
    found.restype = None
    found.argtypes = [types[kind] for kind in kinds]
    arrays = [place for place, kind in enumerate(kinds) if kind == "array"]

    def call(*arguments: Any) -> None:
        given = list(arguments)
        for place in arrays:
            given[place] = given[place].ctypes.data
        found(*given)

    return call


def aligned(*shape: int) -> np.ndarray:
    """An array of float64 that begins on a 64-byte boundary, where vectors may be loaded whole."""
    size = int(np.prod(shape))
    room = np.zeros(size + 8)
    first = -room.ctypes.data % 64 // 8
    return room[first:first + size].reshape(shape)
