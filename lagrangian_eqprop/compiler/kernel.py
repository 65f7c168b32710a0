"""Kernels: plain Python functions whose text becomes part of every generated module.

A kernel is a loop that knows no system: a time step, an echo, an elimination. It is written once, in
the file where its formula stands, and marked with :func:`kernel`. The emitter copies its text into the
generated module, beside the functions derived from the user's expression, so that one self-contained
file is compiled and cached, and the same text runs as plain Python.

A kernel may call other kernels of the same module and the functions listed in ``contract``; it may use
``np`` and nothing else. It must not depend on the value type: arrays of float64 and complex128 both pass.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TypeVar

Function = TypeVar("Function", bound=Callable)


def kernel(function: Function) -> Function:
    """Mark a function as a kernel and return it unchanged."""
    function.__kernel__ = True  # type: ignore[attr-defined]
    return function


def entry(function: Function) -> Function:
    """Mark a kernel that Python calls: its machine code is kept on disk, with all that it calls inside."""
    return kernel(function)


def inlined(function: Function) -> Function:
    """Mark a kernel whose text is to stand inside its callers: every call of another counts references to arrays."""
    return kernel(function)


def kernels_of(module: object) -> list[Callable]:
    """The kernels that a Python module defines, in the order of its text."""
    found = [
        value
        for value in vars(module).values()
        if getattr(value, "__kernel__", False) and value.__module__ == module.__name__  # type: ignore[attr-defined]
    ]
    return sorted(found, key=lambda function: function.__code__.co_firstlineno)


def text_of(function: Callable) -> str:
    """The text of a kernel as it stands in a generated module."""
    text = inspect.getsource(function)
    for mark, decorator in (("@kernel", "@jit"), ("@entry", "@entry_jit"), ("@inlined", "@inlined_jit")):
        text = text.replace(mark, decorator, 1)
    return text
