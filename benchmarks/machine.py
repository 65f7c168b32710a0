"""The machine a run was made on, what is installed there, and the surroundings of a child process."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

CAN_PIN = hasattr(os, "sched_setaffinity")

PACKAGES = ("lagrangian_eqprop", "numpy", "scipy", "sympy", "numba", "jax", "jaxlib", "diffrax", "heyoka", "torch")

ONE_THREAD = {
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "1",
}  # fmt: skip

# These make OpenBLAS take kernels for another processor than the one it runs on.
MISLEADING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OPENBLAS_VERBOSE")


def installed(need: str) -> bool:
    """Whether a module can be imported, or the compiler be called."""
    return shutil.which("gcc") is not None if need == "gcc" else importlib.util.find_spec(need) is not None


def missing(needs: Iterable[str]) -> list[str]:
    """What of it is not installed."""
    return [need for need in needs if not installed(need)]


def surroundings(scratch: Path) -> dict[str, str]:
    """The environment of a child: one thread, a cache of its own, and this checkout first on the path."""
    environment = {name: value for name, value in os.environ.items() if name not in MISLEADING}
    root = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(part for part in (root, environment.get("PYTHONPATH", "")) if part)
    return {**environment, **ONE_THREAD, "PYTHONPATH": path, "LAGRANGIAN_EQPROP_CACHE": str(scratch / "cache")}


def pin(core: int | None) -> bool:
    """Keep this process on one core; False where the operating system cannot."""
    if core is None or not CAN_PIN:
        return False
    os.sched_setaffinity(0, {core})
    return True


def cores() -> list[int]:
    """The cores this process may use."""
    if CAN_PIN:
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def facts() -> dict[str, str]:
    """Processor, system and versions, for the head of a report."""
    system = f"{platform.system()} {platform.machine()}"
    found = {"processor": _processor(), "cores": str(len(cores())), "system": system}
    caches = [_text(f"/sys/devices/system/cpu/cpu0/cache/index{n}/size") for n in (0, 2, 3)]
    if all(caches):
        found["caches"] = " / ".join(caches)
    found["python"] = platform.python_version()
    for package in PACKAGES:
        found[package] = _version(package)
    if shutil.which("gcc"):
        found["gcc"] = subprocess.run(["gcc", "-dumpfullversion"], capture_output=True, text=True).stdout.strip()
    return {name: value for name, value in found.items() if value}


def _version(package: str) -> str:
    if package == "lagrangian_eqprop":
        import lagrangian_eqprop

        return lagrangian_eqprop.__version__
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _processor() -> str:
    known = dict(line.split(":", 1) for line in _text("/proc/cpuinfo").splitlines() if ":" in line)
    known = {name.strip(): value.strip() for name, value in known.items()}
    flags = known.get("flags", "").split()
    widest = next((f" with {name}" for flag, name in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in flags), "")
    return known.get("model name", platform.processor() or platform.machine()) + widest
