"""The methods, one discrete Lagrangian a file, and the choice between them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import ModuleType

from ..compiler.analysis import why_not
from ..compiler.kernel import kernels_of
from ..errors import invalid, unknown
from ..symbols.definition import Definition
from . import (
    clock,
    clock_substeps,
    common,
    gauss,
    gauss_action,
    linear,
    midpoint,
    midpoint_action,
    midpoint_adjoint,
    midpoint_forced,
    midpoint_forced_adjoint,
    stability,
    verlet,
    verlet_action,
    verlet_adjoint,
    verlet_fixed,
    verlet_weighted,
    verlet_weighted_action,
    verlet_weighted_adjoint,
)
from .compositions import check_order, substeps


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
    trapezoidal : bool
        Whether the action is the trapezoidal rule at nodes, and with it a cost at nodes.
    substeps : tuple of float
        Lengths of the sub-steps of a composition, in steps; 1 alone for a method itself.
    base : str or None
        The method that a composition is made of.
    form_of : str
        The method of which this is the form for damped systems, if it is one.
    """

    name: str
    order: int
    explicit: bool
    symmetric: bool
    labels: str
    kernels: tuple[Callable, ...]  # of the loops over places
    trapezoidal: bool = False
    substeps: tuple[float, ...] = (1.0,)
    base: str | None = None
    form_of: str = ""

    @property
    def public(self) -> str:
        """The name users ask for it by."""
        return self.form_of or self.base or self.name


def _method(
    name: str, module: ModuleType, *others: ModuleType, single: tuple[Callable, ...] = (), form_of: str = ""
) -> Method:  # fmt: skip
    kernels = tuple(k for part in (clock, common, linear, *others) for k in kernels_of(part))
    traits = module.ORDER, module.EXPLICIT, module.SYMMETRIC, module.LABELS
    return Method(name, *traits, (*kernels, *single), name == "verlet", form_of=form_of)


METHODS = {
    "verlet": _method("verlet", verlet, verlet, verlet_action, verlet_adjoint, verlet_fixed, stability),
    "midpoint": _method("midpoint", midpoint, midpoint, midpoint_action, midpoint_adjoint),
    # the order is twice the stages; loops over places are for two-point problems alone: see ``solvers.gauss``
    "gauss": _method("gauss", gauss, gauss_action, single=(midpoint.node_velocity,)),
}


# Forms that a method takes for some systems; they go under the name of the method.
_WEIGHTED = _method(
    "verlet_weighted", verlet_weighted, verlet_weighted, verlet_weighted_action, verlet_weighted_adjoint, stability,
    single=(verlet.new_work, verlet.prepare, verlet.finish, verlet.start), form_of="verlet",
)  # fmt: skip

_FORCED = _method(
    "midpoint_forced", midpoint, midpoint, midpoint_action, midpoint_forced, midpoint_forced_adjoint, form_of="midpoint"
)


@functools.cache
def composed(name: str, order: int) -> Method:
    """A composition of Verlet or midpoint; its kernels read times and steps of sub-steps."""
    if order == 2:
        return METHODS[name]
    plain = kernels_of(clock)
    kernels = (*kernels_of(clock_substeps), *(k for k in METHODS[name].kernels if k not in plain))
    return replace(
        METHODS[name], name=f"composed {name}", order=order, kernels=kernels, substeps=substeps(order), base=name
    )


def choose(system: Definition, name: str | None, order: int | None = None) -> Method:
    """The method asked for, or Verlet where it fits and midpoint elsewhere; with ``order`` a composition of it.

    Raises
    ------
    ValueError
        If the method or the order does not exist, or does not fit the Lagrangian; the message says why.
    """
    if name is not None and name not in METHODS:
        raise unknown("method", str(name), METHODS)
    if system.forced and name != "verlet":
        if name == "gauss" or order not in (None, 2):
            came = f"method={name!r}, order={order!r}"
            raise invalid("method", "'midpoint' of order 2 for a system with rayleigh or force", came)
        return _FORCED
    if name == "gauss":
        if order is not None:
            must = "given with 'verlet' or 'midpoint'; that of 'gauss' is twice its stages"
            raise invalid("order", must, repr(order))
        return METHODS[name]
    order = check_order(order)
    if name == "midpoint":
        return composed(name, order)
    reason = why_not(system)
    if name == "verlet" and reason:
        raise ValueError(
            f"method must fit the Lagrangian; 'verlet' needs a constant diagonal mass and a potential of the "
            f"coordinates alone, but {reason}; use method='midpoint'"
        )
    if not reason and system.damping is not None:
        if order != 2:
            raise invalid("order", "2 for Verlet of a system with damping; midpoint has compositions", str(order))
        return _WEIGHTED
    return composed("midpoint" if reason else "verlet", order)
