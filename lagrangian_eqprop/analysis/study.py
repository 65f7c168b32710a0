"""What ``system.check(..., thorough=True)`` measures beside the gradients, each number with what theory says of it.

    bias in beta      slope 1 of OneSided, 2 of Centered (Laborieux et al. 2021)
    order in h        of the loss: that of the costs' quadrature and the method, 2 by default
    null gradients    of an overall scale of L where velocities or positions are given; of a gauge, L + s d(q^2/2)/dt
    symplecticity     M^T Omega M = Omega, M the tangent of the map over the whole path (Marsden and West 2001)
    conjugate points  where det dq_k/dp_0 changes sign
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy as sp
from numpy import ndarray

from ..eqprop.estimators import Centered, OneSided
from ..grid import Grid
from ..solvers.initial import integrate
from ..symbols.definition import Definition
from ..symbols.terms import Term
from .forward import IMAGINARY, Forward

BETAS = np.geomspace(1e-3, 1e-2, 4)
_LARGEST = 8  # coordinates whose tangent map is looked at


@dataclass(frozen=True)
class Study:
    """Measured beside the gradients; None where a number does not exist.

    Attributes
    ----------
    bias : dict of str to ndarray
        The relative errors of OneSided and Centered at ``BETAS``.
    slopes : dict of str to float
        Their slopes in beta.
    order : float or None
        Of the loss in the step; None with inputs or targets given at nodes, or where the loss has converged.
    nulls : dict of str to float
        Derivatives that must vanish, relative to the largest of the others.
    symplecticity, condition : float or None
        max |M^T Omega M - Omega|/|M|^2, and |M| |M^-1|.
    exponent, breakdown : float or None
        ln |M|/T, and the time after which an echo that is integrated back is lost, ln(1/eps)/exponent.
    conjugate : tuple of int
        Nodes at which det dq_k/dp_0 of the first sample has changed sign.
    """

    bias: dict[str, ndarray]
    slopes: dict[str, float]
    order: float | None
    nulls: dict[str, float]
    symplecticity: float | None
    condition: float | None
    exponent: float | None
    breakdown: float | None
    conjugate: tuple[int, ...]

    def lines(self) -> list[str]:
        """The verdict in words."""
        found = []
        for name, expected in (("OneSided", 1), ("Centered", 2)):
            if name in self.slopes:
                slope = self.slopes[name]
                close = abs(slope - expected) <= 0.05
                fine = "as theory says" if close else f"where theory says {expected}: look closer"
                if self.bias[name].max() < 1e-9:
                    fine = "without bias: the problem is linear in the nudge"
                found.append(f"{name}: bias in beta of slope {slope:.2f}, {fine}")
        if self.order is not None:
            found.append(f"the loss converges with order {self.order:.2f} in the step")
        for name, value in self.nulls.items():
            doubt = "" if value <= 1e-10 else ", which should be rounding"
            found.append(f"null gradient of {name}: {value:.1e}{doubt}")
        if self.symplecticity is not None:
            fine = "symplectic" if self.symplecticity <= 1e-11 else "NOT symplectic"
            found.append(f"{fine}: M^T Omega M differs from Omega by {self.symplecticity:.1e} |M|^2")
            found.append(f"condition of the tangent map: {self.condition:.2g}")
        if self.exponent is not None and self.breakdown is not None:
            found.append(f"deviations grow at a rate of {self.exponent:.2g}; an echo that is integrated back is lost "
                         f"after t = {self.breakdown:.3g}")  # fmt: skip
        if self.conjugate:
            found.append(f"conjugate points near nodes {', '.join(map(str, self.conjugate[:8]))}")
        return found


def study(
    system: Definition, grid: Grid, forward: Any, options: dict[str, Any], gradient: Callable[..., Any],
    error: Callable[[Any], float],
) -> Study:  # fmt: skip
    """Measure; ``gradient`` takes (system, grid, estimator, parameters), ``error`` compares one with the reference."""
    bias = {} if system.forced else _bias(system, grid, gradient, error)
    slopes = {name: float(np.polyfit(np.log(BETAS), np.log(np.maximum(e, 1e-300)), 1)[0]) for name, e in bias.items()}
    numbers: dict[str, Any] = dict.fromkeys(("symplecticity", "condition", "exponent", "breakdown"))
    conjugate: tuple[int, ...] = ()
    simple = not (system.constraints or system.forced) and isinstance(forward, Forward)
    if simple and system.size <= _LARGEST and not forward.problem.method.first_order:
        paths = tangents(forward)
        numbers, conjugate = _of_map(paths, grid.duration), _conjugate(paths)
    return Study(bias, slopes, _order(system, grid, options, gradient), _nulls(system, grid, forward, gradient),
                 **numbers, conjugate=conjugate)  # fmt: skip


def _bias(system: Definition, grid: Grid, gradient: Any, error: Any) -> dict[str, ndarray]:
    estimators: dict[str, type[OneSided] | type[Centered]] = {"OneSided": OneSided, "Centered": Centered}
    return {
        name: np.array([error(gradient(system, grid, kind(float(beta)))) for beta in BETAS])
        for name, kind in estimators.items()
    }


def _order(system: Definition, grid: Grid, options: dict[str, Any], gradient: Any) -> float | None:
    """log2 of how much closer each halving of the step brings the loss."""
    signals = [*(options["inputs"] or {}).values(), *(options["targets"] or {}).values()]
    if any(np.ndim(value) and not callable(value) for value in signals):
        return None
    try:
        grids = [Grid(grid.steps*k, duration=grid.duration, start=grid.start) for k in (1, 2, 4)]
        losses = [gradient(system, finer, None).loss for finer in grids]
    except ValueError:  # costs with weights at the nodes
        return None
    first, second = abs(losses[0] - losses[1]), abs(losses[1] - losses[2])
    return float(np.log2(first/second)) if second > 1e-11*abs(losses[0]) else None


def _nulls(system: Definition, grid: Grid, forward: Any, gradient: Any) -> dict[str, float]:
    """Gradients that vanish for every L: of its scale, and of a total derivative added to it."""
    at_fixed_p = isinstance(forward, Forward) and not forward.by_velocity
    plain = not (system.constraints or system.forced or system.damping is not None)
    if at_fixed_p or not plain or forward.problem.method.first_order or forward.problem.theta.size == 0:
        return {}
    scale, found = sp.Dummy("scale"), {}
    cases: dict[str, tuple[Callable[[Any], Any], float]] = {"the scale of L": (lambda e: scale*e, 1.0)}
    if forward.problem.method.labels == "middles" and system.single:
        gauge = sum(x*x.diff() for x in system.coordinates)
        cases["a gauge"] = (lambda e: e + scale*gauge, 0.0)
    for name, (changed, value) in cases.items():
        parameters = {**system.parameters, scale: value}
        if system.single:
            other = type(system)(changed(system.source_terms[0].expression), coordinates=list(system.coordinates),
                                 parameters=parameters, inputs=list(system.inputs))  # fmt: skip
        else:
            terms = [Term(changed(term.expression), on=term.on, at=term.at) for term in system.source_terms]
            other = type(system)(terms, size=system.size, parameters=parameters, inputs=list(system.inputs))
        result = gradient(other, grid, None)
        largest = max(np.abs(v).max(initial=0.0) for s, v in result.parameters.items() if s != scale)
        found[name] = float(np.abs(result.parameters[scale]).max()/max(largest, 1e-300))
    return found


def tangents(forward: Forward) -> ndarray:
    """M_k = d(q_k, p_k)/d(q_0, p_0) of the first sample at every node, (N+1, 2d, 2d), by complex steps."""
    theta, q, p, guess = forward.state({}, complex)
    d, found = q.shape[1], []
    for column in range(2*d):
        x, y, v = q[:1].copy(), p[:1].copy(), guess[:1].copy()
        (x if column < d else y)[0, column % d] += 1j*IMAGINARY
        nodes: list[ndarray] = []

        def keep(first: int, nodes_q: ndarray, nodes_p: ndarray, nodes: list = nodes) -> None:
            both = np.concatenate([nodes_q[0], nodes_p[0]], 1).imag/IMAGINARY
            nodes.append(both if first == 0 else both[1:])

        integrate(forward.problem, x, y, v, theta, (keep,))
        found.append(np.concatenate(nodes))
    return np.stack(found, 2)


def _of_map(paths: ndarray, duration: float) -> dict[str, float | None]:
    M, d = paths[-1], paths.shape[1]//2
    Omega = np.block([[np.zeros((d, d)), np.eye(d)], [-np.eye(d), np.zeros((d, d))]])
    size = float(np.linalg.norm(M, 2))
    exponent = float(np.log(size)/duration)
    lost = 36/exponent if size > 1e3 else None
    return {
        "symplecticity": float(np.abs(M.T @ Omega @ M - Omega).max()/size**2), "condition": float(np.linalg.cond(M)),
        "exponent": exponent, "breakdown": lost,
    }  # fmt: skip


def _conjugate(paths: ndarray) -> tuple[int, ...]:
    d = paths.shape[1]//2
    signs = np.sign(np.linalg.det(paths[1:, :d, d:]))
    return tuple(int(k) + 2 for k in np.flatnonzero(signs[1:] != signs[:-1]))
