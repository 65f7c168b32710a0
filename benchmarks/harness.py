"""What a case is made of: the work, the truth about its answer, and the peers that do it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

PROJECT = "lagrangian_eqprop"

Run = Callable[[], dict[str, Any]]
"""Does the whole work once. Arrays it returns are compared with the reference; of other entries, ``note`` is a remark,
``units`` the amount of work behind the time, and ``seconds`` replaces the time taken around the call."""


class Unavailable(Exception):
    """Raised by a peer that cannot take part; the text is the reason."""


@dataclass(frozen=True)
class Peer:
    """One way to do the work of a case.

    Parameters
    ----------
    build : callable
        From the problem to the functions that are timed, one for each label of the case. What it does itself
        (imports, arrays, compilers called at once) is set-up and not timed.
    needs : tuple of str
        Modules it imports, and "gcc".
    sizes : tuple of str, optional
        First words of the sizes it takes part in; all of them by default.
    """

    build: Callable[[Any], Mapping[str, Run]]
    needs: tuple[str, ...] = ()
    sizes: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Case:
    """A piece of work at several sizes.

    Parameters
    ----------
    name, title, statement : str
        What to type, the heading, and the work in a sentence or two.
    sizes, quick : tuple of str
        The sizes of a full run, and the tiny ones that only show that everything works.
    problem : callable
        From a size to the arrays that every peer gets.
    reference : callable
        From a problem to the true answers; shares no code with the library.
    errors : callable
        From (problem, label, result, reference) to the distances that stand beside the time.
    peers : mapping
        By name. Those of the library begin with its name, and ratios are taken to the first of them.
    repeats : int, optional
        An upper limit where one run is long.
    work : callable, optional
        How the work of a size and a label is called in tables.
    """

    name: str
    title: str
    statement: str
    sizes: tuple[str, ...]
    quick: tuple[str, ...]
    problem: Callable[[str], Any]
    reference: Callable[[Any], dict[str, np.ndarray]]
    errors: Callable[[Any, str, Mapping[str, Any], Mapping[str, np.ndarray]], dict[str, float]]
    peers: Mapping[str, Peer]
    repeats: int | None = None
    work: Callable[[str, str], str] = lambda size, label: f"{size}, {label}" if label else size


def numbers(size: str) -> list[int]:
    """The whole numbers in the name of a size: "4096 x 1000" is [4096, 1000]."""
    return [int(text) for text in re.findall(r"\d+", size)]


def distance(value: Any, truth: Any) -> float:
    """The largest absolute difference."""
    return float(np.max(np.abs(np.asarray(value) - truth)))


def relative(value: Any, truth: Any) -> float:
    """The largest difference as a part of the largest true value."""
    return float(np.max(np.abs(np.asarray(value) - truth))/np.max(np.abs(truth)))


def require(function: Callable, *options: str) -> None:
    """Refuse to take part where a function does not know an option yet."""
    missing = [option for option in options if option not in inspect.signature(function).parameters]
    if missing:
        raise Unavailable(f"the library has no option {' or '.join(missing)} yet")


def first_words(call: Callable[[], Any], argument: str) -> Any:
    """What a call returns; where its argument is refused by name, the peer does not take part."""
    try:
        return call()
    except (TypeError, ValueError) as error:
        if argument in str(error):
            raise Unavailable(" ".join(str(error).split())) from error
        raise
