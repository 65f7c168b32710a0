"""Stage 4, cache: generated modules in a folder that only their owner can write.

A module's name is a hash of everything its text and its machine code depend on: the expression, the
method, the options, the text of this library's own compiler and kernels, and the versions of numba,
llvmlite and numpy. A hit therefore derives nothing. The file is written under a temporary name and
renamed, so that two processes at once see either nothing or all of it; numba keeps its machine code
beside it.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import py_compile
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from ..errors import CacheError

VARIABLE = "LAGRANGIAN_EQPROP_CACHE"
_loaded: dict[str, ModuleType] = {}


def folder() -> Path:
    """The cache folder, made if need be.

    Raises
    ------
    CacheError
        If it cannot be made or written, belongs to somebody else, or others can write to it.
    """
    chosen = os.environ.get(VARIABLE)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(chosen) if chosen else Path(base) / "lagrangian_eqprop"
    remedy = f"set {VARIABLE} to a folder of your own"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.stat()
    except OSError as error:
        text = f"cache folder {str(path)!r} must be a folder that can be made; got {error}; {remedy}"
        raise CacheError(text) from error
    if hasattr(os, "getuid"):
        if status.st_uid != os.getuid():
            owner = f"its owner has uid {status.st_uid}"
            raise CacheError(f"cache folder {str(path)!r} must belong to you; {owner}; {remedy}")
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            mode = stat.S_IMODE(status.st_mode)
            raise CacheError(
                f"cache folder {str(path)!r} must be writable by you alone; its mode is {mode:04o}; "
                f"run chmod 700 on it or {remedy}"
            )
    if not os.access(path, os.W_OK | os.X_OK):
        raise CacheError(f"cache folder {str(path)!r} must be writable; it is not; {remedy}")
    return path


@functools.cache
def fingerprint() -> str:
    """A hash of the library's own text and of the versions that shape machine code."""
    import llvmlite
    import numba
    import numpy

    digest = hashlib.sha256()
    root = Path(__file__).parent.parent
    for part in ("symbols", "compiler", "methods", "solvers", "eqprop"):
        for source in sorted((root / part).glob("*.py")):
            digest.update(source.read_bytes())
    versions = (sys.version_info[:2], numba.__version__, llvmlite.__version__, numpy.__version__)
    digest.update(repr(versions).encode())
    return digest.hexdigest()


def name_of(*parts: str) -> str:
    """The module name that belongs to an input."""
    digest = hashlib.sha256()
    for part in (fingerprint(), *parts):
        digest.update(part.encode())
        digest.update(b"\0")
    return "lep_" + digest.hexdigest()[:40]


def fetch(name: str, write: Callable[[], str]) -> tuple[ModuleType, bool]:
    """The module of this name, and whether it was there already.

    ``write`` makes its text; it is called only when the file does not exist.
    """
    if name in _loaded:
        return _loaded[name], True
    path = folder() / f"{name}.py"
    hit = path.exists()
    if not hit:
        text = write()
        try:
            handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(temporary, path)
            py_compile.compile(str(path))  # so that the next process need not parse it
        except OSError as error:
            text = f"cache folder {str(path.parent)!r} must be writable; got {error}; set {VARIABLE}"
            raise CacheError(text) from error
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    _loaded[name] = module
    return module, hit


def contents() -> list[Path]:
    """The files in the cache folder."""
    return sorted(path for path in folder().rglob("*") if path.is_file())


def clear() -> int:
    """Remove every generated file; returns how many."""
    files = [path for path in contents() if path.name.startswith("lep_")]
    for path in files:
        path.unlink(missing_ok=True)
    return len(files)
