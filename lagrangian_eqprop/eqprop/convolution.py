"""The gradient of a linear damped system from rest, by nudged runs of the same device: the convolution action.

With symmetric M, D, K the operator M d_t^2 + D d_t + K is symmetric in the pairing <u, v> = integral of u(T - t) v(t),
so that a linear system at rest before t_0 has an action although it is damped. Its nudge is the error of the free path
injected backwards in time: node k of the nudged run gets the kick

    p_k^- = p_k^+ - beta w_{N-k} c_q(q_{N-k})

in a run forward from the same rest. Discretely, q_1..q_N and the equations of the nodes 0..N-1 are a block Toeplitz
system T q = f whose blocks are symmetric; reversing the order of time transposes it. So the response delta of the
nudged run read backwards is the adjoint up to its sign, and nothing is left at the ends, for every beta:

    dJ/dtheta = -d_beta [<q, d_theta T q>/2 - <q, d_theta f>] = d_theta W(q, w),   w_k = -delta_{N-k}
    dJ/dp_0 = w_0

W is the virtual work of ``methods.midpoint_forced``. The action is quadratic, so that the contrast of two nudges is a
product of their mean and their difference; taken in that form it loses no digits. Source: Berneman and Hexner (2025);
Bösch, Gediz and Türeci (2026), section 6.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ndarray

from ..boundary import Initial
from ..compiler.contract import Environment, cost_gradient
from ..compiler.derivatives import gradient
from ..compiler.kernel import entry
from ..compiler.lowering import Local
from ..errors import invalid
from ..methods.common import copy, node_time
from ..methods.midpoint import finish, new_work, prepare, start, step
from ..methods.midpoint_forced import virtual_work
from ..solvers.problem import Problem
from ..symbols.terms import LocalTerm
from .estimators import ConvolutionAction
from .radius import Parts

if TYPE_CHECKING:
    from .initial import FreeRun


@entry
def errors(env: Environment, first: int, last: int, nodes: ndarray, kicks: ndarray) -> None:
    """kicks += w c_q of the nodes first..last-1."""
    for b in range(nodes.shape[0]):
        for j in range(first, last):
            cost_gradient(env, b, j, node_time(env, j), nodes[b, j], kicks[b, j], 1.0)


@entry
def driven(
    env: Environment, count: int, q: ndarray, p: ndarray, guess: ndarray, kicks: ndarray, nodes: ndarray,
    good: ndarray,
) -> None:  # fmt: skip
    """``count`` steps, each after the kick of its first node."""
    work = new_work(env, q[0])
    for b in range(q.shape[0]):
        if not good[b]:
            continue
        x, y = q[b], p[b]
        prepare(env, b, x, guess[b], work)
        start(env, b, 0, x, work)
        for j in range(count):
            for i in range(x.shape[0]):
                y[i] -= kicks[b, j, i]
            if not step(env, b, j, j + 1, x, y, work) <= 0.0:
                x[0] = np.nan
            copy(x, nodes[b, j + 1])
        finish(guess[b], work)


@entry
def pairing(
    env: Environment, count: int, nodes: ndarray, w: ndarray, g: ndarray, slope: ndarray, good: ndarray, first: bool
) -> None:
    """g += d_theta W(q, w) over ``count`` intervals; slope += d(W + J)/dq at the very first node."""
    work, W1, W2 = new_work(env, nodes[0, 0]), np.zeros_like(nodes[0, 0]), np.zeros_like(nodes[0, 0])
    for b in range(nodes.shape[0]):
        if not good[b]:
            continue
        for k in range(count):
            virtual_work(env, b, k, nodes[b, k], nodes[b, k + 1], w[b, k], w[b, k + 1], g, 1.0, W1, W2, work)
            if first and k == 0:
                for i in range(W1.shape[0]):
                    slope[b, i] += W1[i]
                cost_gradient(env, b, k, node_time(env, k), nodes[b, k], slope[b], 1.0)


def convolve(problem: Problem, free: FreeRun, estimator: ConvolutionAction) -> Parts:
    """The contrast of two nudged runs, of all samples that have not failed."""
    good, steps = free.failures.good, problem.grid.steps
    path = np.concatenate([nodes[:, :-1] for nodes in free.nodes] + [free.nodes[-1][:, -1:]], 1)
    kicks = np.zeros_like(path)
    blocks = list(problem.each_block(free.q.size))
    for first, count in blocks:
        part, last = slice(first, first + count + 1), count + (first + count == steps)
        problem.run("errors", problem.env(first, count), 0, last, path[:, part], kicks[:, part])
    kicks *= estimator.beta
    moved = [_nudged(problem, free, sign*kicks[:, ::-1], blocks) for sign in (1.0, -1.0)]
    lost = good & ~np.isfinite(moved).all((0, 2, 3))
    free.failures.step[lost], free.failures.residual[lost] = steps, np.inf
    mean, delta = 0.5*(moved[0] + moved[1]), (moved[0] - moved[1])/(2*estimator.beta)
    w, g, slope = -delta[:, ::-1], np.zeros_like(problem.theta), np.zeros_like(free.q)
    for first, count in blocks:
        part = slice(first, first + count + 1)
        rows = np.ascontiguousarray(mean[:, part]), np.ascontiguousarray(w[:, part])
        problem.run("pairing", problem.env(first, count), count, *rows, g, slope, good & ~lost, first == 0)
    return Parts(g, slope, w[:, 0].copy())


def _nudged(problem: Problem, free: FreeRun, kicks: ndarray, blocks: list[tuple[int, int]]) -> ndarray:
    """The nodes of a run from the same rest, (samples, N+1, d)."""
    q, p, guess = free.start.q.copy(), free.start.p.copy(), free.start.v.copy()
    nodes = np.zeros_like(kicks)
    nodes[:, 0] = q
    for first, count in blocks:
        found = np.zeros((len(q), count + 1, q.shape[1]))
        part = np.ascontiguousarray(kicks[:, first : first + count])
        problem.run("driven", problem.env(first, count), count, q, p, guess, part, found, free.failures.good)
        nodes[:, first + 1 : first + count + 1] = found[:, 1:]
    return nodes


# ---------------------------------------------------------------------- where it holds
def check(problem: Problem, boundary: Any) -> None:
    """Refuse what is not linear, not symmetric, or not at rest at the start, by name.

    Raises
    ------
    ValueError
        Says which term, initial datum or argument stands against it.
    """
    system, must = problem.system, "another than ConvolutionAction, which is for linear systems with rayleigh"
    if system.damping is not None:
        raise invalid("estimator", f"{must}; damping makes the action depend on time", "damping=")
    if not system.forced:
        raise invalid("estimator", f"{must}; where nothing is damped the others are exact", repr(system.name))
    for term in system.terms:
        reason = _against(problem, term)
        if reason:
            raise invalid("estimator", must, f"{term.label}, which {reason}")
    if isinstance(boundary, Initial):
        for name, state in (("q", boundary.q), ("v", boundary.v), ("p", boundary.p)):
            if state is not None and state.any():
                raise invalid(f"{name} of Initial", "0 for ConvolutionAction, which begins at rest", "other values")


def _against(problem: Problem, term: LocalTerm) -> str:
    """Why a term leaves the system not linear or not symmetric; empty where it does not."""
    local, graph, size = Local(term), term.graph, term.size
    if term.forces is not None and not term.forces.rayleigh:
        return "need not be symmetric; write it as a Rayleigh function"
    names = [problem.coordinate_name(k) if problem.system.single else str(x) for k, x in _named(term)]
    pulls, momenta = local.pulls(), local.slopes()[1]
    rows = [gradient(graph, part, [*local.q, *local.v]) for part in (*pulls, *momenta)]
    for a, row in enumerate(rows):
        for slope in row:
            kinds = {kind for kind, _ in graph.symbols([slope])} - {"p"}
            if kinds & {"q", "v"}:
                return f"is not quadratic in {names[a % size]}"
            if kinds:
                what = "time" if "t" in kinds else "inputs"
                return f"has a coefficient of {names[a % size]} that depends on {what}"
    for a in range(size):
        for b in range(size):
            if term.forces is not None and rows[a][b] != graph.zero:
                return f"pushes {names[a]} by positions"
            if term.forces is None and graph.sum([(rows[a][size + b], 1), (rows[b][size + a], -1)]) != graph.zero:
                return f"couples {names[a]} and the velocity of {names[b]} without symmetry"
    return ""


def _named(term: LocalTerm) -> list[tuple[int, Any]]:
    """Coordinates of the system that the local ones of the first place stand for, and what the term calls them."""
    return list(zip(term.places.rows_of_coordinates()[0].tolist(), term.on, strict=True))
