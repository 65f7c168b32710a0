"""The methods, one discrete Lagrangian a file, and the choice between them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import ModuleType

from ..compiler.analysis import is_first_order, why_not, why_not_constant
from ..compiler.kernel import kernels_of
from ..errors import invalid, unknown
from ..symbols.definition import Definition
from . import (
    clock,
    clock_substeps,
    common,
    first_order,
    gauss,
    gauss_action,
    linear,
    midpoint,
    midpoint_action,
    midpoint_adjoint,
    midpoint_forced,
    midpoint_forced_adjoint,
    rattle,
    rattle_action,
    rattle_start,
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
    first_order : bool
        Whether it is for Lagrangians linear in the velocities, whose state is q alone.
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
    first_order: bool = False

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
    "first-order midpoint": replace(_method("first-order midpoint", first_order, first_order), first_order=True),
    "rattle": _method("rattle", rattle, rattle, rattle_action, rattle_start),
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
    if is_first_order(system):
        return _first_order(system, name, order)
    if name == "first-order midpoint":
        raise invalid("method", "'verlet', 'midpoint' or 'gauss' for a Lagrangian with kinetic energy", repr(name))
    if system.constraints:
        return _constrained(system, name, order)
    if name == "rattle":
        raise invalid("method", "'verlet', 'midpoint' or 'gauss' for a system without constraints", "'rattle'")
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


def _constrained(system: Definition, name: str | None, order: int | None) -> Method:
    """RATTLE, where the Lagrangian allows it."""
    if name not in (None, "rattle"):
        raise invalid("method", "'rattle' for a system with constraints", repr(name))
    if check_order(order) != 2:
        raise invalid("order", "2 for a system with constraints", repr(order))
    _refuse_forces(system, "with constraints")
    reason = why_not(system)
    if reason:
        raise ValueError(
            f"constraints must come with a constant diagonal mass and a potential of the coordinates alone, as "
            f"'rattle' needs them; but {reason}; use coordinates that need no constraint"
        )
    return METHODS["rattle"]


def _first_order(system: Definition, name: str | None, order: int | None) -> Method:
    """The midpoint rule for q' alone, where the structure is constant."""
    if name not in (None, "midpoint", "first-order midpoint"):
        raise invalid("method", "'midpoint' for a Lagrangian linear in the velocities", repr(name))
    if check_order(order) != 2:
        raise invalid("order", "2 for a Lagrangian linear in the velocities", repr(order))
    _refuse_forces(system, "whose Lagrangian is linear in the velocities")
    reason = why_not_constant(system)
    if reason:
        raise ValueError(
            f"a Lagrangian linear in the velocities must have coefficients of them that are linear in the coordinates "
            f"and know neither time nor inputs; {reason}; use other coordinates (such as logarithms), or add a mass"
        )
    if system.constraints:
        raise invalid("constraints", "none for a Lagrangian linear in the velocities", f"{system.multipliers} of them")
    return METHODS["first-order midpoint"]


def _refuse_forces(system: Definition, which: str) -> None:
    """Neither the weight of damping nor a force has a place in these methods."""
    given = (("damping", system.damping is not None), ("rayleigh and force", system.forced))
    for argument, present in given:
        if present:
            raise invalid(argument, f"left out for a system {which}", f"{system.name!r} with it")
