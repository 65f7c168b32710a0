"""Initial data of systems with constraints: checked, moved onto the constraint, and the chain rule through that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy import ndarray

from ..errors import ConvergenceError, invalid
from .problem import Problem

if TYPE_CHECKING:
    from .start import Start

TOLERANCE = 1e-8  # by which data may miss the constraint, relative to their size: rounding of what was typed in
_DENSE = 512  # coordinates and multipliers up to which the stability of a step is looked at


def constrain(problem: Problem, start: Start) -> None:
    """Move a start onto the constraint; ``start.given`` and ``start.mu`` keep what the chain rule needs."""
    start.given = start.q.copy()
    v = start.p/start.masses
    start.mu, moved, turned = project(problem, start.q, start.p)
    if not start.boundary.project:
        _refuse("q", "on the constraint", moved, np.abs(start.given).max(1))
        name = "v" if start.boundary.v is not None else "p"
        _refuse(name, "tangent to the constraint, its velocity G v = 0", turned, np.abs(v).max(1))


def project(problem: Problem, q: ndarray, p: ndarray, theta: ndarray | None = None) -> tuple[ndarray, ndarray, ndarray]:
    """q onto the constraint and p into its tangent space, in place; the multipliers of both, and how far they moved."""
    mu = np.zeros((len(q), 2, problem.system.multipliers), q.dtype)
    moved, turned, residual = np.zeros(len(q)), np.zeros(len(q)), np.zeros(len(q))
    problem.run("onto_constraints", problem.env(0, 1, theta), q, p, mu, moved, turned, residual)
    for b in np.flatnonzero(~(residual <= 0)):
        raise ConvergenceError(
            f"no position on the constraint was found from that of sample {b} (residual {residual[b]:.1e}): it is too "
            f"far away, or the constraints depend on each other there"
        )
    for b in np.flatnonzero(~np.isfinite(p).all(1)):
        raise invalid("constraints", "independent of each other at the start", f"dependent ones in sample {b}")
    return mu, moved, turned


def _refuse(name: str, must: str, missed: ndarray, size: ndarray) -> None:
    for b in np.flatnonzero(missed > TOLERANCE*np.maximum(size, 1e-300)):
        came = f"sample {b} that misses it by {missed[b]:.1e}; project=True moves it there"
        raise invalid(name, must, came)


def chain(problem: Problem, start: Start, c: ndarray, a: ndarray, g: ndarray, good: ndarray) -> None:
    """a = dJ/dx of the positions used becomes dJ/dq of those given, in place; c is dJ/dp; g takes what theta did."""
    problem.run("from_constraints", problem.env(0, 1), start.given, start.q, start.mu, c, a, g, good)


def stiffness(problem: Problem, start: Start) -> ndarray:
    """The largest eigenvalue of M^-1 V'' in the tangent space of every sample; zero, untold, for a large system."""
    samples, d = start.q.shape
    D = d + problem.system.multipliers
    if D > _DENSE:
        return np.zeros(samples)
    m, H, G = np.zeros((samples, d)), np.zeros((samples, D*D)), np.zeros((samples, D*D))
    problem.run("curvatures", problem.env(0, 1), start.q, m, H, G)
    root = 1/np.sqrt(np.abs(m))
    H = H.reshape(-1, D, D)[:, :d, :d]*root[:, :, None]*root[:, None]
    normals = np.linalg.qr((G.reshape(-1, D, D)[:, d:, :d]*root[:, None]).transpose(0, 2, 1))[0]
    tangent = np.eye(d) - normals @ normals.transpose(0, 2, 1)
    return np.linalg.eigvalsh(tangent @ H @ tangent)[:, -1]
