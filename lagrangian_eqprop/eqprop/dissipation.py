"""What a dissipative system cannot do, said where it is asked for."""

from __future__ import annotations

from typing import Any

from ..boundary import Initial
from ..errors import invalid
from ..solvers.problem import Problem
from .convolution import check as check_convolution
from .estimators import Adjoint, ConvolutionAction, Echo, Estimator, Exact, NaiveForward


def _named(problem: Problem) -> str:
    """The forces of a system, in the user's words."""
    labels = [term.label for term in problem.system.terms if term.forces is not None]
    return f"{problem.system.name!r} has forces that no Lagrangian gives ({', '.join(labels)})"


def check_action(problem: Problem, boundary: Any) -> None:
    """Forces leave no action to be stationary, so that only initial data pick out a path."""
    if problem.system.forced and not isinstance(boundary, Initial):
        must = "lep.Initial, or the system damped by damping= alone"
        raise invalid("boundary", must, f"{type(boundary).__name__}, but {_named(problem)}: no action is stationary")


def check_estimator(problem: Problem, boundary: Any, estimator: Estimator) -> None:
    """An echo needs an action, a convolution a linear system."""
    if isinstance(estimator, ConvolutionAction):
        check_convolution(problem, boundary)
    elif isinstance(estimator, NaiveForward) and problem.method.name == "verlet_weighted":
        raise invalid("method", "'midpoint' for NaiveForward on a damped system", "'verlet'")
    elif isinstance(estimator, Echo) and problem.system.damping is not None:
        raise ValueError(
            f"estimator must not be Echo for {problem.system.name!r}: its damping breaks the symmetry under reversal "
            f"of time, so that the echo would need gain where the device has damping; Centered computes that echo"
        )
    elif problem.system.forced and not isinstance(estimator, (Exact, Adjoint)):
        raise ValueError(
            f"estimator must be Exact or Adjoint here, not {type(estimator).__name__}: {_named(problem)}, which makes "
            f"an exact echo impossible. The nudged path of such a system answers by its response, where the gradient "
            f"needs the transposed one; the two are equal only where an action is stationary, and what is missing is "
            f"of the order of the damping. Exact sweeps doubled variables instead, ConvolutionAction nudges a linear "
            f"system from rest; damping in proportion to mass, System(..., damping=gamma), keeps an action and every "
            f"estimator"
        )


def check_nudge(problem: Problem, nudge: float) -> None:
    """A nudged path of such a system would be no stationary point of anything."""
    if problem.system.forced and nudge:
        raise invalid("nudge", "0", f"{nudge!r}, but {_named(problem)}: no action is stationary, and no echo exact")
