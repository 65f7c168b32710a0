"""Newton's method for whole paths in compiled code, and what follows from its last factors.

Newton on D_2 L_d(q_{k-1}, q_k) + D_1 L_d(q_k, q_{k+1}) = beta w_k c_q(q_k) for all free nodes of a path at once; with
``search`` a step is halved until it reduces the residual. Once a step is small, later ones keep the factors: they
gain as many digits again, for a fraction of the work (Ortega and Rheinboldt 1970, section 7.1).

Paths are flat, node after node. ``span`` is (nodes, d, first free node, first node that is free no more); ``shape``
has d entries where d is small. A module calls its own ``path_residual``, ``path_hessian`` and so on: those of
``newton_lanes`` or those of ``newton_terms``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy import ndarray

from ..compiler.contract import Environment
from ..compiler.kernel import entry
from .newton_band import alternates, backward_band, factorise_band, forward_band, measure, subtract_band
from .newton_lanes import path_hessian, path_parameters, path_pull, path_residual


class Room(NamedTuple):
    """Scratch: flat over the nodes of a path (and one more), but for ``reach`` (d,), ``times`` and rows of lanes."""

    trial: ndarray
    r: ndarray
    move: ndarray
    H: ndarray
    made: ndarray
    reach: ndarray
    times: ndarray
    out: ndarray
    pace: ndarray  # of ``newton_band.alternates``


# Instead of a Morse index: no convergence; a path, but its pivots or its residual are in doubt. Others are -2, pivots
# too small to go on or a guess of which nothing can be said, and -3, a path that jumps from node to node: there the
# search begins anew.
FAILED, DOUBTFUL = -1, -4


@entry
def solve_paths(
    env: Environment, shape: tuple, span: tuple, samples: ndarray, betas: ndarray, search: bool, rounds: int,
    q: ndarray, p: ndarray, index: ndarray, residual: ndarray, room: Room,
) -> None:  # fmt: skip
    """From the guesses ``q`` to stationary paths, each of a sample and a nudge; momenta, Morse index and residual.

    The tolerances are those of ``TwoPoint.newton``. A path is given up where the smallest relative pivot falls below
    1e-10 on the way, and its index is in doubt below 1e-8 at the end. The negative numbers are named above.
    """
    r, move, trial, H = room.r, room.move, room.trial, room.H
    first, last = span[2]*span[1], span[3]*span[1]
    for row in range(q.shape[0]):
        b, beta, x, momenta = samples[row], betas[row], q[row], p[row]
        index[row] = -1
        negative, smallest, scale, norm, width = 0, 1.0, 0.0, np.inf, 0.0
        length, change, before, small, fresh, done = 0.0, 0.0, np.inf, False, True, False
        for g in range(x.shape[0]):
            trial[g] = x[g]
        for g in range(move.shape[0]):
            move[g] = 0.0
        for _ in range(rounds + 2):  # steps, and the first and the last look
            earlier = norm
            while True:  # how far to go: all the way, or half as far again and again; not at all the first time
                for g in range(first, last):
                    trial[g] = x[g] - length*move[g]
                scale = path_residual(env, b, trial, beta, span, r, momenta, room)
                residual[row], norm = measure(r, span)
                if not search or small or length == 0.0 or norm <= (1.0 - 1e-4*length)**2*earlier:
                    break
                length *= 0.5
                if length < 1e-4:
                    break
            if 0.0 < length < 1e-4 or not norm < np.inf:
                if not earlier < np.inf:
                    index[row] = -2
                break
            for g in range(first, last):
                x[g] = trial[g]
            for g in range(span[0]*span[1], x.shape[0]):  # what an interval carries goes with its nodes
                x[g] = trial[g]
            if length > 0.0:
                # steps shrink by change/before: is what is left to come below rounding?
                done = small and before < np.inf and change*change <= 1e-17*width*before
                before = change if length == 1.0 else np.inf
            # few digits to spare: count pivots at the path itself, not beside it
            fresh = not small or (done and smallest < 1e-3)
            if done and not fresh:
                break
            for g in range(r.shape[0]):
                move[g] = r[g]
            if fresh:
                path_hessian(env, b, x, beta, span, H, room)
                negative, smallest = factorise_band(H, shape, span, move, room.reach, room.made)
            else:
                forward_band(H, shape, span, move)
            if done:
                break
            backward_band(H, shape, span, move)
            width, _ = measure(x, span)
            change, finite = measure(move, span)
            if not smallest > 1e-10:
                index[row] = -2
                break
            if not finite < np.inf:
                break
            small = change <= 1e-7*width or residual[row] <= 1e-11*scale
            length = 1.0
            if small and (change >= 0.5*before or change == 0.0):
                # no step changes anything more: the root, as well as rounding lets it be found
                length, done = 0.0, True
        if done:
            stiffness, _ = measure(room.made, span)  # where all is at rest, scale tells nothing
            sound = residual[row] <= 1e-8*scale or residual[row] <= 1e-15*stiffness*width
            index[row] = negative if smallest > 1e-8 and sound else -4
            if alternates(x, span, room.pace):
                index[row] = -3


@entry
def respond_paths(
    env: Environment, shape: tuple, span: tuple, q: ndarray, done: ndarray, slope: ndarray, G: ndarray, g: ndarray,
    ends: ndarray, room: Room,
) -> None:  # fmt: skip
    """The linear response y to the nudge, Hess(S_d) y = w c_q at the free nodes, and what follows from it.

    g += d_theta(-S_d) along y; ``ends`` (samples, 2, d) = w c_q - Hess(S_d) y at the first and the last node.
    ``done`` says for which samples that is wanted, and becomes false where a pivot is too small for it.
    """
    size, d = span[0]*span[1], span[1]
    r, move, y, H = room.r, room.move, room.trial, room.H
    for b in range(q.shape[0]):
        if not done[b]:
            continue
        path_hessian(env, b, q[b], 0.0, span, H, room)
        path_pull(env, b, q[b], span, slope, room)
        for k in range(H.shape[0]):
            G[k] = H[k]
        for k in range(y.shape[0]):
            y[k] = 0.0
        for k in range(size):
            move[k] = slope[k]
        for again in range(2):  # the second time a refinement
            if again == 0:
                _, smallest = factorise_band(H, shape, span, move, room.reach, room.made)
                done[b] = smallest > 1e-8
            else:
                forward_band(H, shape, span, move)
            backward_band(H, shape, span, move)
            for k in range(size):
                y[k] += move[k]
                r[k] = slope[k]
            subtract_band(G, span, y, r)
            for k in range(size):
                move[k] = r[k]
        if done[b]:
            for i in range(d):
                ends[b, 0, i], ends[b, 1, i] = r[i], r[size - d + i]
            path_parameters(env, b, q[b], y, True, -1.0, span, g, room)


@entry
def contrast_paths(
    env: Environment, span: tuple, samples: ndarray, coefficients: ndarray, q: ndarray, g: ndarray, room: Room
) -> None:  # fmt: skip
    """g += the sum over paths of coefficient d_theta(-S_d)."""
    for row in range(q.shape[0]):
        path_parameters(env, samples[row], q[row], q[row], False, -coefficients[row], span, g, room)
