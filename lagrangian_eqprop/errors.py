"""Every message has one shape: which argument, what it must be, what came."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class ConvergenceError(RuntimeError):
    """A solver did not reach a stationary point.

    The message names the residual, the step or the iteration, and what to try.
    """


class CacheError(OSError):
    """The folder of generated modules cannot be used."""


class AccuracyWarning(UserWarning):
    """A result exists, but rounding or the step size has cost it digits."""


def invalid(argument: str, must: str, came: object) -> ValueError:
    """The one shape of a message about a bad argument."""
    return ValueError(f"{argument} must be {must}; got {came}")


def unknown(argument: str, name: str, known: Iterable[str]) -> ValueError:
    """A name that does not exist, with the near one where there is one."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return invalid(argument, "one of " + ", ".join(names), repr(name) + hint)
