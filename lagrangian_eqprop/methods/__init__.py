"""The methods, one discrete Lagrangian a file, and the choice between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

from ..compiler.analysis import why_not
from ..compiler.kernel import kernels_of
from ..errors import unknown
from ..symbols.definition import Definition
from . import (
    common,
    gauss,
    gauss_action,
    linear,
    midpoint,
    midpoint_action,
    midpoint_adjoint,
    stability,
    verlet,
    verlet_action,
    verlet_adjoint,
    verlet_weighted,
    verlet_weighted_action,
)


@dataclass(frozen=True)
class Method:
    """A variational integrator: its traits and its kernels.

    Attributes
    ----------
    order : int
        Order of the trajectory in the step; 0 where it depends on the stages.
    explicit, symmetric : bool
        Whether a step needs no equation to be solved; whether L_d(x, y) at h is -L_d(y, x) at -h.
    labels : "nodes" or "middles"
        Where inputs are read.
    """

    name: str
    order: int
    explicit: bool
    symmetric: bool
    labels: str
    kernels: tuple[Callable, ...]  # of the loops over places


def _method(name: str, module: ModuleType, *others: ModuleType, single: tuple[Callable, ...] = ()) -> Method:
    kernels = tuple(k for part in (common, linear, *others) for k in kernels_of(part))
    return Method(name, module.ORDER, module.EXPLICIT, module.SYMMETRIC, module.LABELS, (*kernels, *single))


METHODS = {
    "verlet": _method("verlet", verlet, verlet, verlet_action, verlet_adjoint, stability),
    "midpoint": _method("midpoint", midpoint, midpoint, midpoint_action, midpoint_adjoint),
    # the order is twice the stages; loops over places are for two-point problems alone: see ``solvers.gauss``
    "gauss": _method("gauss", gauss, gauss_action, single=(midpoint.node_velocity,)),
}


# Forms that a method takes for some systems; they go under the name of the method.
_WEIGHTED = _method(
    "verlet_weighted", verlet_weighted, verlet_weighted, verlet_weighted_action, stability,
    single=(verlet.new_work, verlet.prepare, verlet.finish, verlet.start),
)  # fmt: skip


def choose(system: Definition, name: str | None) -> Method:
    """The method asked for, or Verlet where it fits and midpoint elsewhere.

    Raises
    ------
    ValueError
        If the method does not exist, or does not fit the Lagrangian; the message says why.
    """
    if name is not None and name not in METHODS:
        raise unknown("method", str(name), METHODS)
    if name in ("midpoint", "gauss"):
        return METHODS[name]
    reason = why_not(system)
    if name == "verlet" and reason:
        raise ValueError(
            f"method must fit the Lagrangian; 'verlet' needs a constant diagonal mass and a potential of the "
            f"coordinates alone, but {reason}; use method='midpoint'"
        )
    if not reason and system.damping is not None:
        return _WEIGHTED
    return METHODS["midpoint" if reason else "verlet"]
