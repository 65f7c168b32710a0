"""Equilibrium propagation on energies and actions: symbolic systems, variational integrators, exact local gradients."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .boundary import Ends, Equilibrium, Initial, Periodic
from .convergent import Convergent
from .errors import AccuracyWarning, CacheError, ConvergenceError
from .grid import Grid
from .symbols.convolution import Convolution
from .symbols.cost import Cost, IntegralCost
from .symbols.terms import AllPairs, Term
from .system import System
from .thermal import Thermal

if TYPE_CHECKING:
    from . import analysis, demos, plotting, systems
    from .eqprop.estimators import (
        Adjoint,
        Centered,
        ConvolutionAction,
        Echo,
        Exact,
        Holomorphic,
        NaiveForward,
        OneSided,
    )
    from .learning.optimisers import SGD, Adam
    from .learning.storage import load, save
    from .solvers.fixed import FixedPoint

__version__ = "0.1.0"

# What numba, scipy or matplotlib stand behind is imported at its first use.
_LATER = {
    "Adjoint": "eqprop.estimators", "Centered": "eqprop.estimators", "Exact": "eqprop.estimators",
    "Holomorphic": "eqprop.estimators", "OneSided": "eqprop.estimators", "Adam": "learning.optimisers",
    "SGD": "learning.optimisers", "load": "learning.storage", "save": "learning.storage", "systems": "",
    "demos": "", "plotting": "", "Echo": "eqprop.estimators", "NaiveForward": "eqprop.estimators",
    "FixedPoint": "solvers.fixed", "ConvolutionAction": "eqprop.estimators", "analysis": "",
}  # fmt: skip

__all__ = [
    "AccuracyWarning", "Adam", "Adjoint", "AllPairs", "CacheError", "Centered", "ConvergenceError", "Convergent",
    "Convolution", "ConvolutionAction", "Cost", "Echo", "Ends", "Equilibrium", "Exact", "FixedPoint", "Grid",
    "Holomorphic", "Initial", "IntegralCost", "NaiveForward", "OneSided", "Periodic", "SGD", "System", "Term",
    "Thermal", "analysis", "demos", "load", "plotting", "save", "systems",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _LATER[name]
    found = importlib.import_module(f".{module or name}", __name__)
    globals()[name] = found if not module else getattr(found, name)  # found at once the next time
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
