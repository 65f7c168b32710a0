"""Studies of a problem: is its gradient right, what did compiling take, is it chaotic, how does learning go?"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .chaos import Lyapunov, lyapunov
    from .coupled import coupled_learning
    from .retracing import Retrace, retrace
    from .step_by_step import TimeResolved, time_resolved

_LATER = {
    "Lyapunov": "chaos", "Retrace": "retracing", "TimeResolved": "step_by_step", "coupled_learning": "coupled",
    "lyapunov": "chaos", "retrace": "retracing", "time_resolved": "step_by_step",
}  # fmt: skip

__all__ = ["Lyapunov", "Retrace", "TimeResolved", "coupled_learning", "lyapunov", "retrace", "time_resolved"]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_LATER[name]}", __name__), name)
