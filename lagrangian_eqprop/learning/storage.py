"""Parameters in files: one npz archive, its description in JSON, nothing pickled."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import sympy as sp

from ..errors import invalid

FORMAT = "lagrangian_eqprop parameters"
VERSION = 1
_DESCRIPTION = "description"


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
    from .. import __version__

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
    description = {"format": FORMAT, "version": VERSION, "library": __version__, "names": list(arrays)}
    # Names may hold anything that a symbol's may; in the archive the arrays are numbered.
    entries = {f"values_{number}": array for number, array in enumerate(arrays.values())}
    target = Path(path)
    part = target.with_name(f".{target.name}.{uuid4().hex[:8]}.part")
    try:
        with open(part, "xb") as file:
            np.savez(file, allow_pickle=False, **{_DESCRIPTION: np.array(json.dumps(description))}, **entries)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


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
    try:
        archive = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise invalid("path", must, f"{os.fspath(path)!r}, which numpy cannot read as an archive ({error})") from error
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise invalid("path", must, f"{os.fspath(path)!r}, a single array")
    with archive:
        try:
            description = json.loads(str(archive[_DESCRIPTION][()]))
            format_, version, names = (description[key] for key in ("format", "version", "names"))
            if format_ != FORMAT:
                raise ValueError(f"its format is {format_!r}")
        except (KeyError, ValueError, TypeError, zipfile.BadZipFile, OSError, EOFError) as error:
            raise invalid("path", must, f"{os.fspath(path)!r}, an archive without its description ({error})") from error
        if version != VERSION:
            came = f"version {version!r} in {os.fspath(path)!r}; update the library"
            raise invalid("path", f"of format version {VERSION}", came)
        try:
            return {name: _numbers(name, archive[f"values_{number}"]) for number, name in enumerate(names)}
        except (KeyError, ValueError, zipfile.BadZipFile, OSError, EOFError) as error:
            raise invalid("path", must, f"{os.fspath(path)!r}, which is damaged ({error})") from error


def _numbers(name: str, value: Any) -> np.ndarray:
    try:
        array = np.asarray(value, float)
    except (TypeError, ValueError) as error:
        raise invalid(f"parameters[{name}]", "an array of real numbers", repr(value)) from error
    return array
