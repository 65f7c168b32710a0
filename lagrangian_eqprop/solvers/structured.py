"""Lagrangians linear in the velocities: where they begin, and the node quantities that follow from W q' = -H_q."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ndarray

from ..errors import invalid
from .nodes import Nodes
from .problem import Problem

if TYPE_CHECKING:
    from .start import Start


def begin(problem: Problem, start: Start) -> None:
    """The momenta W q that the kernels carry, and a first guess of the velocity."""
    boundary = start.boundary
    for name, given in (("v", boundary.v), ("p", boundary.p)):
        if given is not None:
            must = "left out: the Lagrangian is linear in the velocities, so that q alone is the state"
            raise invalid(name, must, f"shape {given.shape}")
    q = start.q[:, None]
    nodes = Nodes(problem, np.zeros(1, int))
    W = nodes.structure(q)[:, 0]
    singular = np.linalg.svd(W, compute_uv=False)
    for b in np.flatnonzero(~(singular[:, -1] > 1e-14*singular[:, 0])):
        raise ValueError(
            f"a Lagrangian linear in the velocities must have an invertible structure L_vq - L_qv (of pairs of "
            f"coordinates); its singular values in sample {b} reach {singular[b, -1]:.1e}"
        )
    start.v = velocities(nodes, q)[:, 0]
    problem.run("structure_momenta", problem.env(0, 1), start.q, start.p)


def velocities(nodes: Nodes, q: ndarray) -> ndarray:
    """v = -W^-1 H_q at nodes, of the shape of q."""
    return np.linalg.solve(nodes.structure(q), nodes.force(q)[..., None])[..., 0]


def chain(problem: Problem, start: Start, parts: Any, pull: ndarray) -> None:
    """pull -= (d_beta q_0) a_theta(q_0), with d_beta q_0 = W^-1 dJ/dq_0."""
    good = np.isfinite(parts.dq).all(1)
    nodes, q = Nodes(problem, np.zeros(1, int)), start.q[:, None]
    gp = np.where(good[:, None], -np.linalg.solve(nodes.structure(q)[:, 0], parts.dq[..., None])[..., 0], 0.0)
    pull += nodes.chain(q, np.zeros_like(q), gp[:, None])[2]
