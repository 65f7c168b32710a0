"""Where an initial-value problem begins: momenta, regularity, and whether the step is stable."""

from __future__ import annotations

import warnings

import numpy as np
from numpy import ndarray

from ..boundary import Initial
from ..compiler.contract import Environment, hessian
from ..compiler.kernel import entry
from ..errors import AccuracyWarning, ConvergenceError, invalid
from ..methods.common import copy, node_momentum
from ..methods.stability import largest_stiffness
from ..methods.verlet import new_work, prepare
from .constrained import constrain, stiffness
from .failures import Failures
from .nodes import Nodes, fits
from .problem import Problem
from .structured import begin


@entry
def initial_momenta(env: Environment, q: ndarray, v: ndarray, p: ndarray) -> None:
    """p = L_v(q, v, t) at label 0."""
    for b in range(q.shape[0]):
        node_momentum(env, b, 0, q[b], v[b], p[b])


@entry
def mass_matrix(env: Environment, q: ndarray, v: ndarray, M: ndarray) -> None:
    """L_vv of every sample at label 0, flat or on the sparse pattern."""
    for b in range(q.shape[0]):
        hessian(env, b, 0, env.signals[0], q[b], v[b], 0.0, 0.0, 0.0, 1.0, M[b])


@entry
def masses(env: Environment, q: ndarray, m: ndarray) -> None:
    """The constant masses of every sample, for an explicit method."""
    work = new_work(env, q[0])
    for b in range(q.shape[0]):
        prepare(env, b, q[b], q[b], work)
        copy(work[0], m[b])


@entry
def stiffest(env: Environment, q: ndarray, rounds: int, m: ndarray, values: ndarray) -> None:
    """Masses, and the largest eigenvalue of M^-1 V'', of every sample."""
    work = new_work(env, q[0])
    for b in range(q.shape[0]):
        prepare(env, b, q[b], q[b], work)
        copy(work[0], m[b])
        values[b] = largest_stiffness(env, b, q[b], rounds, work)


class Start:
    """Initial data of a problem, batched, with the momenta that they mean."""

    def __init__(self, problem: Problem, boundary: Initial, stability: str = "check") -> None:
        self.boundary = boundary
        self.failed: Failures | None = None
        # of a constrained system: q as given, and the multipliers that moved q and p
        self.given = self.mu = np.zeros((0, 0))
        given = {"q": boundary.q, "v": boundary.v, "p": boundary.p}
        self.batch = problem.batch_of(given)
        samples = self.batch or 1
        size = problem.system.size

        def spread(state: ndarray) -> ndarray:
            if state.ndim == 1 and samples == 1:
                return np.array(state[None])  # the same, at once
            full = state.ndim == 2 and len(state) == samples
            return np.array(state if full else np.broadcast_to(state, (samples, size)), order="C")

        self.q = spread(boundary.q)
        if stability not in ("check", "ignore", "later"):
            raise invalid("stability", "'check' or 'ignore'", repr(stability))
        given_v = boundary.v is not None
        self.v = spread(boundary.v) if boundary.v is not None else np.zeros((samples, size))
        self.p = spread(boundary.p) if boundary.p is not None else np.zeros((samples, size))
        if problem.method.first_order:
            begin(problem, self)
            return
        if boundary.v is None and boundary.p is None:
            raise invalid("v", "given, or p, but not both", "neither")
        if problem.method.explicit:
            self.masses = self._masses(problem)
            if stability == "check" and not problem.system.constraints:
                check_stability(problem, self, None, stability)
            if given_v:
                self.p = self.masses*self.v
            else:
                self.v = self.p/self.masses
            if problem.system.constraints:
                constrain(problem, self)
                check_stability(problem, self, None, stability)
            return
        nodes = Nodes(problem, np.zeros(1, int)) if fits(problem, samples) else None
        if nodes is not None:
            q, v = self.q[:, None], self.v[:, None]
            check_masses(problem, nodes.mass(q, v)[:, 0])
            if given_v:
                self.p = nodes.momentum(q, v)[:, 0]
                return
            self.v = nodes.velocity(q, self.p[:, None], v)[:, 0]
        else:
            env = problem.env(0, 1, labels="nodes")
            check_regular(problem, env, self.q, self.v)
            if given_v:
                problem.run("initial_momenta", env, self.q, self.v, self.p)
                return
            v = self.v[:, None].copy()
            problem.run("velocities", env, self.q[:, None], self.p[:, None], v, np.zeros((samples, 1)))
            self.v = v[:, 0]
        if not np.isfinite(self.v).all():
            text = "p = L_v(q, v) has no solution near v = 0 for the initial momentum; give v instead of p"
            raise ConvergenceError(text)

    def _masses(self, problem: Problem) -> ndarray:
        """The constant masses of an explicit method, (1, d) or one row a sample; kept where they are the defaults."""
        default = problem.theta is problem.bound.__dict__.get("_defaults", (None,)*3)[2]
        default = default and problem.system.damping is None  # else they depend on the time of the first node
        if default and "_masses" in problem.bound.__dict__:
            return problem.bound.__dict__["_masses"]
        rows = len(self.q) if problem.has_own_parameters else 1
        q = self.q[:rows, None]
        m = Nodes(problem, np.zeros(1, int)).mass_diagonal(q, np.zeros_like(q))[:, 0]  # of terms with velocities alone
        for index in np.flatnonzero(~((m != 0) & np.isfinite(m)).all(0)):
            raise ValueError(f"{_REGULAR}{problem.coordinate_name(int(index))} has no kinetic energy")
        if default:
            problem.bound.__dict__["_masses"] = m
        return m


_ONCE = 2**25  # values that may be computed for a single node, once a run
_REGULAR = "the Lagrangian must be regular: its mass matrix L_vv must be invertible; "


def check_regular(problem: Problem, env: Environment, q: ndarray, v: ndarray) -> None:
    """Refuse a Lagrangian whose mass matrix L_vv is singular at the start."""
    size = problem.system.size
    pattern = problem.pattern
    M = np.zeros((len(q), pattern[1] if pattern.size else size*size))
    problem.run("mass_matrix", env, q, v, M)
    if pattern.size:  # a row without an entry; a vanishing pivot further on is Newton's to report
        rows = np.maximum.reduceat(np.abs(M).min(0), pattern[2 : size + 2])
        for row in np.flatnonzero(rows == 0.0):
            name = problem.coordinate_name(int(pattern[-size:][row]))
            raise ValueError(f"{_REGULAR}{name} has no kinetic energy")
        return
    check_masses(problem, M.reshape(-1, size, size))


def check_masses(problem: Problem, M: ndarray) -> None:
    """Refuse a singular mass matrix of any sample."""
    for index in np.flatnonzero((np.abs(M).max(2) == 0).any(0)) if M.shape[1] > 1 else ():
        raise ValueError(f"{_REGULAR}{problem.coordinate_name(int(index))} has no kinetic energy")
    if _surely_regular(M):
        return
    singular = np.linalg.svd(M, compute_uv=False)
    for b in np.flatnonzero(~(singular[:, -1] > 1e-14*singular[:, 0])):
        raise ValueError(f"{_REGULAR}its singular values at the start of sample {b} reach {singular[b, -1]:.1e}")


def _surely_regular(M: ndarray) -> bool:
    """Whether a bound far cheaper than singular values says so for all samples.

    The smallest is at least |det M| ((n - 1)/|M|^2)^((n-1)/2) with the Frobenius norm |M|, which bounds the largest.
    Source: Yu and Gu, Linear Algebra and its Applications 253 (1997) 25.
    """
    n = M.shape[1]
    square = np.einsum("bij,bij->b", M, M)
    with np.errstate(all="ignore"):
        least = np.abs(np.linalg.det(M))*((n - 1)/square)**((n - 1)/2)
    return bool((least > 1e-13*np.sqrt(square)).all())


def check_stability(problem: Problem, start: Start, bounds: ndarray | None, stability: str) -> None:
    """Refuse a step of an explicit method that is too large at the start.

    A path beyond the limit may stay finite and wrong, so that waiting for nan would be no guard. ``bounds`` on the
    largest eigenvalue of M^-1 V'', where they are known, spare the search for the eigenvalue itself.
    """
    if stability == "ignore" or not problem.method.explicit:
        return
    longest = float(np.abs(problem.grid.gamma).max())  # of the sub-steps of a composition
    step = longest*problem.grid.step
    if bounds is None and problem.system.constraints:
        bounds = stiffness(problem, start)
    elif bounds is None and fits(problem, len(start.q), _ONCE):  # compiling the search takes longer
        rows = Nodes(problem, np.zeros(1, int)).stiffness(start.q[:, None])[:, 0]
        bounds = (rows/np.abs(start.masses)).max(1)
    if bounds is not None and (step**2*bounds < 3).all():
        return
    if bounds is None or not problem.system.constraints:
        m, bounds = np.zeros_like(start.q), np.zeros(len(start.q))
        rounds = int(np.clip(2_000_000//start.q.shape[1], 16, 100))
        problem.run("stiffest", problem.env(0, 1, labels="nodes"), start.q, rounds, m, bounds)
    worst = float(bounds.max())
    number = step**2*worst
    if number >= 3:
        limit = 2/np.sqrt(worst)/longest
        text = f"step must be below {limit:.4g} for Verlet (2 over the largest frequency at the start"
        if longest != 1.0:
            text += f" and over {longest:.3g}, the longest sub-step in steps"
        text += f"); got {problem.grid.step:.4g}"
        if number >= 4:
            raise ValueError(text + "; take a smaller step, or stability='ignore' to study it")
        warnings.warn(text + ", which is close to the limit", AccuracyWarning, stacklevel=6)


def without(start: Start, failures: Failures) -> Start:
    """The same start, with the failed samples marked so that nothing is done for them."""
    start.failed = failures
    return start
