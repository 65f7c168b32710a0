"""What the processor is like, as far as generated code is shaped for it: vector registers and caches."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

import llvmlite.binding as llvm
from numba.core import config


class Registers(NamedTuple):
    """The vector registers: how many there are, and bytes of each."""

    number: int
    size: int


@functools.cache
def registers() -> Registers:
    """Those of the processor that numba compiles for."""
    asked = getattr(config, "CPU_FEATURES", None)
    features = {part[1:] for part in asked.split(",") if part.startswith("+")} if asked else {
        name for name, there in llvm.get_host_cpu_features().items() if there
    }
    if "avx512vl" in features:
        return Registers(32, 64)
    if "avx" in features:
        return Registers(16, 32)
    return Registers(32 if "neon" in features else 16, 16)


@functools.cache
def near_cache() -> int:
    """Bytes of cache that one core reads fast: its second level, and its share of the third; 1 MiB where unknown."""
    total = 0
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            level, kind, size, shared = ((index/name).read_text().strip() for name in _FILES)
            if kind != "Instruction" and level in ("2", "3"):
                total += int(size.removesuffix("K"))*1024//_count(shared)
        except (OSError, ValueError):
            continue
    return total or 2**20


_FILES = ("level", "type", "size", "shared_cpu_list")


def _count(ranges: str) -> int:
    """How many numbers "0-3,8" lists."""
    ends = [part.split("-") for part in ranges.split(",")]
    return sum(int(pair[-1]) - int(pair[0]) + 1 for pair in ends)
