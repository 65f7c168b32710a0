"""Files: npz archives with a description in JSON, nothing pickled; parameters kept in them."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from glob import escape
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import sympy as sp

from ..errors import invalid

FORMAT = "lagrangian_eqprop parameters"
VERSION = 1
_DESCRIPTION = "description"
_PART = ".part"


def save(path: str | os.PathLike[str], parameters: Mapping[Any, Any]) -> None:
    """Write parameters to a file.

    The file appears whole or not at all: it is written beside ``path`` and then renamed.

    Parameters
    ----------
    path : path-like
        The file, taken as it is given; ``.npz`` is the usual suffix. An existing file is replaced.
    parameters : mapping of Symbol or str to array_like
        Such as ``history.parameters``.

    Raises
    ------
    ValueError
        If two parameters have one name, or a value is not an array of numbers.
    """
    arrays: dict[str, np.ndarray] = {}
    if not isinstance(parameters, Mapping):
        raise invalid("parameters", "a mapping of Symbols or names to arrays", type(parameters).__name__)
    for key, value in parameters.items():
        name = key.name if isinstance(key, sp.Symbol) else key
        if not isinstance(name, str):
            raise invalid("parameters", "a mapping of Symbols or names to arrays", f"the key {key!r}")
        if name in arrays:
            raise invalid("parameters", "of different names", f"{name!r} twice")
        arrays[name] = _numbers(name, value)
    description = {"format": FORMAT, "version": VERSION, "names": list(arrays)}
    # Names may hold anything that a symbol's may; in the archive the arrays are numbered.
    write_archive(path, description, {f"values_{number}": array for number, array in enumerate(arrays.values())})


def load(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read parameters from a file.

    Parameters
    ----------
    path : path-like
        A file written by :func:`save`.

    Returns
    -------
    dict of str to ndarray
        By name, usable as ``parameters=``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is another kind of file, damaged, or of a newer format.
    """
    must = "a file written by lep.save"
    description, arrays = read_archive("path", path, must, FORMAT, VERSION)
    try:
        return {name: _numbers(name, arrays[f"values_{number}"]) for number, name in enumerate(description["names"])}
    except (KeyError, ValueError, TypeError) as error:
        raise invalid("path", must, f"{os.fspath(path)!r}, which is damaged ({error})") from error


def write_archive(
    path: str | os.PathLike[str], description: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> None:
    """Write a file that appears whole or not at all, also where the process is ended meanwhile."""
    from .. import __version__

    text = json.dumps({**description, "library": __version__})
    target = Path(path)
    part = target.with_name(f".{target.name}.{uuid4().hex[:8]}{_PART}")
    try:
        with open(part, "xb") as file:
            entries: dict[str, Any] = {_DESCRIPTION: np.array(text), **arrays}
            np.savez(file, allow_pickle=False, **entries)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def clear_parts(path: Path) -> None:
    """Remove what a process that was ended while it wrote has left beside ``path``."""
    for part in path.parent.glob(f".{escape(path.name)}.{'[0-9a-f]'*8}{_PART}"):
        part.unlink(missing_ok=True)


def read_archive(
    argument: str, path: str | os.PathLike[str], must: str, format_: str, version: int
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The description and the arrays of a file of this format; ``argument`` and ``must`` are for messages."""
    shown = repr(os.fspath(path))
    try:
        archive = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise invalid(argument, must, f"{shown}, which numpy cannot read as an archive ({error})") from error
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise invalid(argument, must, f"{shown}, a single array")
    with archive:
        try:
            description = json.loads(str(archive[_DESCRIPTION][()]))
            found, came = description["format"], description["version"]
            if found != format_:
                raise ValueError(f"its format is {found!r}")
        except (KeyError, ValueError, TypeError, zipfile.BadZipFile, OSError, EOFError) as error:
            raise invalid(argument, must, f"{shown}, an archive without its description ({error})") from error
        if came != version:
            raise invalid(argument, f"of format version {version}", f"version {came!r} in {shown}; update the library")
        try:
            return description, {name: archive[name] for name in archive.files if name != _DESCRIPTION}
        except (KeyError, ValueError, zipfile.BadZipFile, OSError, EOFError) as error:
            raise invalid(argument, must, f"{shown}, which is damaged ({error})") from error


def _numbers(name: str, value: Any) -> np.ndarray:
    try:
        array = np.asarray(value, float)
    except (TypeError, ValueError) as error:
        raise invalid(f"parameters[{name}]", "an array of real numbers", repr(value)) from error
    return array
