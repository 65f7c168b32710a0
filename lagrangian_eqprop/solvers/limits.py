"""What systems with constraints and Lagrangians linear in the velocities cannot do, said where it is asked for."""

from __future__ import annotations

from typing import Any

from ..boundary import Ends, Periodic
from ..compiler.analysis import is_first_order
from ..errors import invalid
from ..symbols.definition import Definition

ESTIMATORS = ("Exact", "Adjoint", "OneSided", "Centered", "Holomorphic")  # whose formulas know these systems


def which(system: Definition) -> str:
    """What such a system is, in the user's words; empty for any other."""
    if system.constraints:
        return "with constraints"
    return "whose Lagrangian is linear in the velocities" if is_first_order(system) else ""


def refuse(system: Definition, argument: str, came: Any, must: str = "left out") -> None:
    """Refuse an argument of such a system."""
    what = which(system)
    if what:
        raise invalid(argument, f"{must} for a system {what}", str(came))


def check_boundary(system: Definition, boundary: Any) -> None:
    """A closed path has no data to put on a constraint; two ends are twice as much as a state that is q alone."""
    if isinstance(boundary, Periodic):
        refuse(system, "boundary", "Periodic", "lep.Initial" if not system.constraints else "lep.Initial or lep.Ends")
    if isinstance(boundary, Ends) and not system.constraints:
        refuse(system, "boundary", "Ends", "lep.Initial, since q alone is the state,")
    if isinstance(boundary, Ends) and boundary.potentials:
        refuse(system, "start and stop", "a potential", "left out of lep.Ends")


def check_gradient(system: Definition, boundary: Any, estimator: Any, input_gradients: bool) -> None:
    """Other estimators read states as they are: they would miss what normals, or momenta that follow from q, owe."""
    if not which(system):
        return
    check_boundary(system, boundary)
    if type(estimator).__name__ not in ESTIMATORS:
        refuse(system, "estimator", repr(estimator), f"one of {', '.join(ESTIMATORS)}")
    if input_gradients:
        refuse(system, "input_gradients", True, "False")
