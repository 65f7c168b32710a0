"""Equilibria, and the gradient of a cost at them by equilibrium propagation (Scellier and Bengio 2017).

    dJ/dtheta = d/dbeta E_theta(q_beta) + c_theta,   E_q(q_beta) + beta c_q(q_beta) = 0

Nudged phases begin at the free equilibrium and so stay on its branch. The limit of no nudge is the linear response
E_qq delta = -c_q on the coordinates that no bound stops: saturated ones do not respond. The circle of complex nudges
keeps them at their bounds too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from ..boundary import Equilibrium
from ..errors import ConvergenceError
from ..rest import Rest
from ..solvers.energies import Energies
from ..solvers.energy_terms import Slopes
from ..solvers.equilibrium import Settling
from ..solvers.hessians import Hessians, Singular
from ..solvers.phase import Phase
from ..solvers.statics import Statics
from ..symbols.definition import Definition
from ..symbols.graph import NONANALYTIC
from .estimators import Adjoint, Centered, Estimator, Exact, Holomorphic, OneSided, half_circle
from .radius import Parts, search_radius
from .result import Gradient

_ITERATED = 1500  # coordinates above which a dense response is solved by MINRES


def equilibrium(
    system: Definition, boundary: Equilibrium, *, costs: Any = (), nudge: float = 0.0, on_failure: str = "raise",
    **options: Any,
) -> Rest:  # fmt: skip
    """See :meth:`lagrangian_eqprop.System.equilibrium`."""
    settling = Settling(Statics(system, costs, **options), boundary)
    free = settling.free()
    good, message = settling.check(free, on_failure)
    if nudge == 0.0:
        return settling.rest(free, good, message)
    phase = settling.nudged(free, float(nudge))
    fine = good & settling.good(phase)
    message = settling.message(phase, fine, "nudged equilibrium")
    if not fine.all() and on_failure == "raise":
        raise ConvergenceError(message)
    return settling.rest(phase, fine, message, float(nudge))


def gradient(
    system: Definition, boundary: Equilibrium, costs: Any, *, estimator: Estimator, save: Any = None,
    on_failure: str = "raise", **options: Any,
) -> Gradient:  # fmt: skip
    """The gradient at an equilibrium; see :func:`lagrangian_eqprop.eqprop.gradient.gradient`."""
    return gradient_of(Settling(Statics(system, costs, **options), boundary), estimator, save, on_failure)


def gradient_of(settling: Settling, estimator: Estimator, save: Any = None, on_failure: str = "raise") -> Gradient:
    """The same of a question that was checked."""
    if isinstance(estimator, Holomorphic):
        _check_analytic(settling)
    free = settling.free()
    good, message = settling.check(free, on_failure)
    found: Slopes = {}
    with np.errstate(all="ignore"):
        good, error, nudged, message = _estimate(settling, free, estimator, found, good, message, on_failure)
        energies = settling.energies
        every = None if good.all() else good
        energies.cost_theta(free.q, found, every)
        losses = np.where(good, energies.cost(free.q), np.nan)
    count = int(good.sum())
    batched = settling.batch is not None
    rest = None if save is None else settling.rest(free, good, message)
    pushed = None
    if save is not None and nudged is not None and isinstance(estimator, (OneSided, Centered)):
        pushed = settling.rest(nudged, good, message, abs(estimator.beta))
    return Gradient(
        loss=float(losses[good].mean()), losses=losses if batched else losses[0],
        parameters=settling.statics.shaped(energies.gathered(found), count), success=good if batched else bool(good[0]),
        message=message, error=error, path=rest, nudged=pushed,
    )  # fmt: skip


def mean_loss(system: Definition, boundary: Equilibrium, costs: Any, **options: Any) -> float:
    """J by the free phase alone."""
    settling = Settling(Statics(system, costs, **options), boundary)
    free = settling.free()
    settling.check(free, "raise")
    return float(settling.energies.cost(free.q).mean())


def _check_analytic(settling: Settling) -> None:
    statics = settling.statics
    for term in (*statics.system.terms, *statics.bound.terms):
        for name in sorted(NONANALYTIC[name] for name in term.graph.functions([term.root]) & NONANALYTIC.keys()):
            raise ValueError(
                f"estimator must not be Holomorphic where functions are not analytic; {term.label} contains "
                f"{name}; use Exact or Centered"
            )


# ---------------------------------------------------------------------- estimators
def _estimate(
    settling: Settling, free: Phase, estimator: Estimator, found: Slopes, good: ndarray, message: str, on_failure: str
) -> tuple[ndarray, float | None, Phase | None, str]:
    """The estimate, added to ``found`` over the samples that are good in all phases; these, an error, a phase."""
    if isinstance(estimator, (Exact, Adjoint)):
        response, fine = _response(settling, free, good, isinstance(estimator, Adjoint))
        if not fine.all() and (on_failure == "raise" or not fine.any()) and not fine[good].all():
            lost = int(np.flatnonzero(good & ~fine)[0])
            raise ConvergenceError(
                f"the Hessian at the equilibrium of sample {lost} is singular: the energy is flat in a direction; "
                "fix it by a term of the energy, or use OneSided or Centered"
            )
        settling.energies.along(free.q, response, found, None if fine.all() else fine)
        return fine, None, None, message
    if isinstance(estimator, Holomorphic):
        error = _holomorphic(settling, free, estimator, found, good)
        return good, error, None, message
    beta = abs(estimator.beta) if isinstance(estimator, Centered) else estimator.beta
    first = settling.nudged(free, beta)
    second = settling.nudged(free, -beta) if isinstance(estimator, Centered) else free
    for phase, sign in ((first, 1), (second, -1)):
        if phase is free:
            continue
        settled = settling.good(phase)
        settled &= _same_branch(settling, free, phase)
        if not settled[good].all() and (on_failure == "raise" or not (good & settled).any()):
            text = settling.message(phase, settled | ~good, f"nudged equilibrium (beta = {sign*beta:.3g})")
            raise ConvergenceError(f"{text}, a smaller beta, or Exact")
        if not settled[good].all():
            message = settling.message(phase, settled | ~good, f"nudged equilibrium (beta = {sign*beta:.3g})")
        good = good & settled
    weight = 0.5/beta if isinstance(estimator, Centered) else 1.0/beta
    settling.energies.contrast(first.q, second.q, weight, found, None if good.all() else good)
    return good, None, first, message


def _same_branch(settling: Settling, free: Phase, nudged: Phase) -> ndarray:
    """Whether the index is that of the free equilibrium; Newton may jump, the others follow the slope."""
    one, other = free.indices, nudged.indices
    if one is None or other is None or settling.energies.bounded:
        return np.ones(len(free.q), bool)
    return (one == other) | (one < 0) | (other < 0)


def _holomorphic(
    settling: Settling, free: Phase, estimator: Holomorphic, found: Slopes, good: ndarray
) -> float | None:  # fmt: skip
    unit, counts = half_circle(estimator.points)
    energies = settling.energies
    every = None if good.all() else good

    def circle(radius: float) -> tuple[_Circle, ndarray] | None:
        part: Slopes = {}
        moved = []
        for point, count in zip(unit, counts, strict=True):
            phase = settling.nudged(free, complex(radius*point))
            if not settling.good(phase)[good].all():
                return None
            energies.contrast(phase.q, free.q, count*point.conjugate()/(estimator.points*radius), part, every)
            moved.append((phase.q - free.q)[good])
        return _Circle(part), np.stack(moved, 1)

    if estimator.radius is not None:
        radius = abs(estimator.radius)
    else:
        response, _ = _response(settling, free, good, False)
        speed = np.abs(response[good]).max(initial=0.0)
        size = max(np.abs(free.q[good]).max(initial=0.0), 1e-3)
        radius = float(np.clip(0.1*size/max(speed, 1e-300), 1e-9, 1e3))
    best = search_radius(circle, radius, estimator)
    assert isinstance(best, _Circle)
    for key, value in best.slopes.items():
        found[key] = found.get(key, 0.0) + value
    return best.error


class _Circle(Parts):
    """An estimate whose parts are kept by term."""

    def __init__(self, slopes: Slopes) -> None:
        super().__init__(np.zeros(0), np.zeros(0), np.zeros(0))
        self.slopes = slopes


# ---------------------------------------------------------------------- linear response
def _response(settling: Settling, free: Phase, good: ndarray, adjoint: bool) -> tuple[ndarray, ndarray]:
    """delta (B, free) with E_qq delta = -c_q on the unsaturated coordinates, and which samples have one."""
    energies = settling.energies
    slope = np.zeros_like(free.q)
    energies.add_cost_slope(free.q, slope)
    held = settling.held(free)
    found, fine = np.zeros_like(free.q), good.copy()
    right = np.where(held, 0.0, -slope).astype(free.q.dtype)
    rows = np.flatnonzero(good)
    if energies.products and energies.width > _ITERATED:
        _iterated(energies, free.q, held, right, found, fine)
        return found, fine
    chunk = 1 if energies.sparse else energies.chunk
    for first in range(0, len(rows), chunk):
        some = rows[first : first + chunk]
        part = energies if len(some) == len(good) else energies.take(some)
        if adjoint:
            found[some] = _adjoint(part, free.q[some], held[some], right[some])
            continue
        hessians = Hessians(part, free.q[some])
        for k, b in enumerate(some):
            try:
                found[b] = hessians.factored(k, held[b]).solve(right[b])
            except Singular:
                fine[b] = False
    return found, fine & np.isfinite(found).all(1)


def _adjoint(energies: Energies, q: ndarray, held: ndarray, right: ndarray) -> ndarray:
    """The multipliers lambda of E_q = 0, lambda^T E_qq = -c_q: the Jacobian column by column, solved by LU."""
    columns = np.empty((len(q), energies.width, energies.width), q.dtype)
    for i in range(energies.width):
        unit = np.zeros_like(q)
        unit[:, i] = 1
        columns[:, :, i] = energies.product(q, unit)
    keep = ~held
    columns *= keep[:, :, None]*keep[:, None]
    columns[:, range(energies.width), range(energies.width)] += held
    try:
        return np.linalg.solve(columns.swapaxes(1, 2), right[..., None])[..., 0]
    except np.linalg.LinAlgError:
        return np.full_like(right, np.nan)


def _iterated(
    energies: Energies, q: ndarray, held: ndarray, right: ndarray, found: ndarray, fine: ndarray
) -> None:  # fmt: skip
    """The same by MINRES, sample by sample, for a Hessian too large to be written down."""
    from scipy.sparse.linalg import LinearOperator, minres

    for b in np.flatnonzero(fine):
        part, x, keep = energies.take(np.array([b])), q[b : b + 1], ~held[b]

        def multiply(v: ndarray, part: Energies = part, x: ndarray = x, keep: ndarray = keep) -> ndarray:
            v = v.ravel()
            return np.where(keep, part.product(x, np.where(keep, v, 0.0)[None].astype(x.dtype))[0], v)

        operator = LinearOperator((energies.width, energies.width), matvec=multiply, dtype=q.dtype)
        found[b], info = minres(operator, right[b], rtol=1e-13, maxiter=20*energies.width)
        fine[b] = info == 0

