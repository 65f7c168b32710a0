"""The loss as a plain function of numbers, real or complex: the reference that knows no gradient code.

An imaginary step of 1e-30 in one number, carried through the forward map alone, gives the derivative of the
loss without cancellation (Squire and Trapp 1998).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import ndarray

from ..boundary import Ends, Initial, Periodic
from ..errors import ConvergenceError
from ..solvers.constrained import project
from ..solvers.gauss import refuse_gauss
from ..solvers.initial import integrate
from ..solvers.periodic import Cycle, State
from ..solvers.problem import Problem
from ..solvers.robin import two_point
from ..solvers.start import Start
from ..solvers.twopoint import solve

IMAGINARY = 1e-30


@dataclass(frozen=True)
class Entry:
    """One number of the problem: which quantity, and which of its elements."""

    quantity: str
    index: int  # in the flattened quantity


class Forward:
    """J of an initial-value problem as a function of theta, q_0 and the velocity or momentum given."""

    def __init__(self, problem: Problem, boundary: Initial) -> None:
        refuse_gauss(problem)
        self.problem = problem
        self.start = Start(problem, boundary, "ignore")
        self.by_velocity = boundary.v is not None
        other = self.start.v if self.by_velocity else self.start.p
        self.quantities: dict[str, ndarray] = {"initial.q": boundary.q}
        if boundary.v is not None:
            self.quantities["initial.v"] = boundary.v
        if boundary.p is not None:
            self.quantities["initial.p"] = boundary.p
        q = self.start.given if problem.system.constraints else self.start.q
        self.base = {"theta": problem.theta, "q": q, "other": other}

    def state(self, changes: dict[str, ndarray], dtype: Any) -> tuple[ndarray, ndarray, ndarray, ndarray]:
        """theta, q_0, p_0 and the guess of the velocity, with quantities replaced."""
        theta = changes.get("theta", self.base["theta"]).astype(dtype)
        q = np.array(np.broadcast_to(changes.get("q", self.base["q"]), self.start.q.shape)).astype(dtype)
        other = np.array(np.broadcast_to(changes.get("other", self.base["other"]), self.start.q.shape)).astype(dtype)
        guess = self.start.v.astype(dtype)
        if self.problem.method.first_order:
            p = np.zeros_like(q)
            self.problem.run("structure_momenta", self.problem.env(0, 1, theta), q, p)
            return theta, q, p, guess
        if not self.by_velocity and not self.problem.system.constraints:
            return theta, q, other, guess
        p, env = np.zeros_like(q), self.problem.env(0, 1, theta, "nodes")
        if self.problem.method.name in ("verlet", "rattle"):
            self.problem.run("masses", env, q, p)
            p = p*other if self.by_velocity else other.copy()
            if self.problem.system.constraints:
                project(self.problem, q, p, theta)
        else:
            self.problem.run("initial_momenta", env, q, other, p)
        return theta, q, p, guess

    def final(self, changes: dict[str, ndarray], dtype: Any, at_fixed_p: bool = False) -> ndarray:
        """q_N, for the growth of small deviations."""
        theta, q, p, guess = self.state({} if at_fixed_p else changes, dtype)
        if self.problem.method.first_order:
            theta, q, p, guess = self.state(changes, dtype)  # there is no p to hold fixed
        elif at_fixed_p:
            q = changes["q"].astype(dtype)
        integrate(self.problem, q, p, guess, theta)
        return q

    def loss(self, changes: dict[str, ndarray], dtype: Any) -> complex:
        """J."""
        theta, q, p, guess = self.state(changes, dtype)
        problem, total = self.problem, np.zeros(len(q), dtype)

        def judge(first: int, nodes_q: ndarray, nodes_p: ndarray) -> None:
            count = nodes_q.shape[1] - 1
            last = count + (first + count == problem.grid.steps)
            problem.run("losses", problem.env(first, count, theta), nodes_q, 0, last, total)

        failures = integrate(problem, q, p, guess, theta, (judge,))
        if not failures.good.all():
            raise ConvergenceError(failures.message(problem.grid))
        return complex(total.mean())

    def value(self, entry: Entry) -> ndarray:
        """The array that holds an entry, and its place among ``changes``."""
        return self.quantities.get(entry.quantity, self.base["theta"])

    @staticmethod
    def key(entry: Entry) -> str:
        return {"initial.q": "q", "initial.v": "other", "initial.p": "other"}.get(entry.quantity, "theta")


class ForwardEnds:
    """J of a two-point problem as a function of theta and the fixed ends, on the branch of the free path."""

    def __init__(self, problem: Problem, boundary: Ends) -> None:
        self.problem, self.boundary = problem, boundary
        self.two, self.found = solve(problem, boundary, "raise")
        self.quantities: dict[str, ndarray] = {}
        if boundary.q_start is not None:
            self.quantities["ends.start"] = boundary.q_start
        if boundary.q_stop is not None:
            self.quantities["ends.stop"] = boundary.q_stop
        self.base = {"theta": problem.theta}

    def loss(self, changes: dict[str, ndarray], dtype: Any) -> complex:
        """J, by Newton from the free path."""
        problem, two, steps = self.problem, self.two, self.problem.grid.steps
        theta = changes.get("theta", self.base["theta"]).astype(dtype)
        moved = two_point(problem, self.boundary)
        moved.env = moved.env._replace(theta=theta)
        total = np.zeros(two.samples, dtype)
        paths = []
        for b, free in enumerate(self.found):
            q = free.q.astype(dtype)
            for key, node in (("start", 0), ("stop", -1)):
                if key in changes:
                    q[node] = np.broadcast_to(changes[key], (two.samples, q.shape[1]))[b]
            for _ in range(2):  # the imaginary part is right one iteration after the real one
                path = moved.newton(b, q, 0.0 if dtype is float else 0j, search=False)
                if path is None:
                    raise ConvergenceError("the two-point reference did not converge")
                q = path
            paths.append(q)
        problem.run("losses", moved.env, np.stack(paths), 0, steps + 1, total)
        return complex(total.mean())

    def value(self, entry: Entry) -> ndarray:
        return self.quantities.get(entry.quantity, self.base["theta"])

    @staticmethod
    def key(entry: Entry) -> str:
        return {"ends.start": "start", "ends.stop": "stop"}.get(entry.quantity, "theta")


class ForwardPeriodic:
    """J of a closed path as a function of theta, of the twist, and of the energy, on the branch of the free path."""

    def __init__(self, problem: Problem, boundary: Periodic) -> None:
        self.problem, self.boundary = problem, boundary
        self.found = []
        self.cycle = Cycle(problem, boundary)
        for b in range(self.cycle.samples):
            orbit = self.cycle.find(b)
            if orbit.message:
                raise ConvergenceError(orbit.message)
            self.found.append(orbit)
        given = {"energy": boundary.energy, "twist": boundary.twist}
        self.quantities: dict[str, ndarray] = {f"periodic.{key}": v for key, v in given.items() if v is not None}
        self.base = {"theta": problem.theta}

    def loss(self, changes: dict[str, ndarray], dtype: Any) -> complex:
        """J, by Newton from the free path."""
        theta = changes.get("theta", self.base["theta"]).astype(dtype)
        moved = Cycle(self.problem, self.boundary, theta)
        moved.twist = changes.get("twist", moved.twist)
        moved.energies = np.atleast_1d(changes.get("energy", moved.energies))
        total: complex = 0.0
        for b, free in enumerate(self.found):
            s = free.state
            state: State | None = State(s.x.astype(dtype), dtype(s.h), s.mu.astype(dtype))
            for _ in range(2):  # the imaginary part is right one iteration after the real one
                if state is not None:
                    state = moved.newton(b, state, 0.0 if dtype is float else 0j, search=False)
            if state is None:
                raise ConvergenceError("the reference for closed paths did not converge")
            total += complex(self.problem.run("orbit_cost", moved.clock(state.h), b, moved.lift(state.x)))
        return total/len(self.found)

    def value(self, entry: Entry) -> ndarray:
        return self.quantities.get(entry.quantity, self.base["theta"])

    @staticmethod
    def key(entry: Entry) -> str:
        return entry.quantity[9:] if entry.quantity.startswith("periodic.") else "theta"


AnyForward = Forward | ForwardEnds | ForwardPeriodic


def complex_step(forward: AnyForward, entry: Entry) -> float:
    """dJ/d(entry) by an imaginary step."""
    value = forward.value(entry).astype(complex)
    value.flat[entry.index] += 1j*IMAGINARY
    return forward.loss({forward.key(entry): value}, complex).imag/IMAGINARY


def central_difference(forward: AnyForward, entry: Entry) -> float:
    """dJ/d(entry) by a central difference of the loss; a smaller one where the path does not exist so far away."""
    value = np.array(forward.value(entry), float)
    step = 6e-6*max(abs(value.flat[entry.index]), 1e-2)
    for smaller in (1.0, 0.1, 0.01, 0.001):
        losses = []
        try:
            for sign in (1, -1):
                moved = value.copy()
                moved.flat[entry.index] += sign*step*smaller
                losses.append(forward.loss({forward.key(entry): moved}, float).real)
        except ConvergenceError:
            continue
        return (losses[0] - losses[1])/(2*step*smaller)
    return float("nan")


def growth(forward: Forward, columns: int = 64) -> float:
    """G = |dq_N/dq_0| at fixed p_0: the largest singular value over samples (of at most ``columns`` columns)."""
    samples, d = forward.start.q.shape
    chosen = np.unique(np.linspace(0, d - 1, min(d, columns)).astype(int))
    jacobian = np.zeros((samples, d, len(chosen)))
    for place, index in enumerate(chosen):
        q = forward.start.q.astype(complex)
        q[:, index] += 1j*IMAGINARY
        jacobian[:, :, place] = forward.final({"q": q}, complex, at_fixed_p=True).imag/IMAGINARY
    return float(np.linalg.norm(jacobian, 2, axis=(1, 2)).max())
