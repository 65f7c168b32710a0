"""Closed paths: stationary points of the discrete action on the circle, q_N = R q_0.

The unknowns are the nodes q_0..q_{N-1}, and where the energy E is given the step h = T/N. With multipliers mu of the
phase conditions g,

    F = S_d(q_0, ..., q_{N-1}, R q_0; h) - beta C - mu g(q) + E N h

is stationary. By the nodes: the discrete Euler-Lagrange equations, at node 0 -P_0 + R^T P_N = 0. By the step:
-dS_d/dT = E (Maupertuis' principle). A system that does not depend on time has no force along the shift of an orbit,
so that mu vanishes beyond all orders in h (Marsden and West 2001; Doedel et al. 1991 for phase conditions).

Newton's method with the natural level test (Deuflhard 2004, section 3.3): a step must shorten the next one, which
does not depend on how nodes, energy and phase are weighed; where that fails, continuation in a source that makes the
guess a solution. The monodromy matrix M is the product of the tangent maps of the intervals; its eigenvalues are
the Floquet multipliers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy import ndarray

from ..boundary import Periodic, check_width
from ..compiler.contract import CLOCK, Environment
from ..compiler.kernel import entry
from ..errors import invalid
from ..methods.verlet import new_work, prepare
from ..methods.verlet_action import interval_hessian
from ..trajectory import Trajectory
from .cyclic import Cyclic
from .nudges import nudge_hessian
from .period import ByStep, action_by_step, cost_by_step, depends_on_time
from .problem import Problem
from .record import make_trajectory
from .twopoint import judge
from .twopoint_search import alternates, check_memory

SINGULAR = 1e-12  # smallest singular value over the largest entry, below which a Hessian counts as singular
FORCE = 1e-4  # largest force of a phase condition over the momenta of the path


@entry
def interval_hessians(
    env: Environment, b: int, q: ndarray, beta: complex, H11: ndarray, H12: ndarray, H22: ndarray, K: ndarray
) -> None:
    """D_11, D_12, D_22 of L_d for every interval, and -beta w c_qq at every node; flat blocks, added."""
    work = new_work(env, q[0])
    prepare(env, b, q[0], q[0], work)
    for k in range(q.shape[0] - 1):
        interval_hessian(env, b, k, q[k], q[k + 1], H11[k], H12[k], H22[k], work)
    if beta != 0.0:
        nudge_hessian(env, b, q, -beta, K)


@dataclass
class State:
    """The unknowns of one sample."""

    x: ndarray  # (N, d)
    h: Any
    mu: ndarray  # one a phase condition

    def moved(self, dx: ndarray, dh: Any, dmu: ndarray, length: float = 1.0) -> State:
        return State(self.x + length*dx, self.h + length*dh, self.mu + length*dmu)


@dataclass
class Orbit:
    """A closed path of one sample, or why there is none."""

    state: State
    q: ndarray  # (N+1, d)
    p: ndarray
    residual: float
    index: int
    message: str = ""


@dataclass
class Blocks:
    """Second derivatives along a path: of L_d by intervals, and of the nudge at nodes."""

    H11: ndarray
    H12: ndarray
    H22: ndarray
    K: ndarray


class Cycle:
    """The discrete action of one problem on its circle."""

    def __init__(self, problem: Problem, boundary: Periodic, theta: ndarray | None = None) -> None:
        if problem.method.name not in ("verlet", "midpoint"):
            raise invalid("method", "'verlet' or 'midpoint' without order for closed paths", repr(problem.method.name))
        if problem.system.damping is not None:
            must = "other than Periodic with damping: its weight e^(damping*t) has no period"
            raise invalid("boundary", must, "Periodic")
        self.problem, self.boundary = problem, boundary
        self.nodes, self.size = problem.grid.steps, problem.system.size
        N, d = self.nodes, self.size
        check_width("guess", boundary.guess, d)
        if boundary.guess.shape[-2] != N + 1:
            raise invalid("guess", f"of shape ({N + 1}, {d}) or (B, {N + 1}, {d})", f"shape {boundary.guess.shape}")
        check_memory(30*N*d*d*16, N, d)
        self.twist = np.eye(d) if boundary.twist is None else boundary.twist
        self.free = boundary.energy is not None
        self.energies = np.atleast_1d(boundary.energy) if boundary.energy is not None else np.zeros(0)
        self.pins = boundary.phase if isinstance(boundary.phase, dict) else {}
        self.conditions = len(self.pins) if self.pins else int(boundary.phase == "guess")
        self.batch = problem.batch_of(boundary.batched(d))
        self.samples = self.batch or 1
        self.mover = depends_on_time(problem, costs=False)
        if self.free:
            self._check_free()
        theta = problem.theta if theta is None else theta
        self.env = problem.env(0, N, theta, dense=True)
        self.cyclic = Cyclic(N, d)

    def _check_free(self) -> None:
        mover = depends_on_time(self.problem, costs=True)
        if mover:
            raise ValueError(f"energy must not be given where something depends on time; {mover} does")
        for signal in self.problem.targets.signals:
            if signal.function is not None and not signal.terminal:
                raise invalid(signal.name, "an array over the nodes where the period is unknown", "a callable")

    # ------------------------------------------------------------------ data of one sample
    def guess(self, b: int) -> State:
        guess = self.boundary.guess
        x = guess if guess.ndim == 2 else guess[b if len(guess) > 1 else 0]
        return State(x[:-1].copy(), self.problem.grid.step, np.zeros(self.conditions))

    def energy(self, b: int) -> Any:
        return self.energies[b if self.energies.size > 1 else 0]

    def levels(self, b: int) -> ndarray:
        """The values of the coordinates that phase conditions hold."""
        return np.array([v[b if v.size > 1 else 0] if v.ndim else v for v in self.pins.values()], float)

    def slopes(self, b: int) -> ndarray:
        """The gradients of the phase conditions, (N, d, conditions)."""
        a = np.zeros((self.nodes, self.size, self.conditions))
        if self.pins:
            for j, i in enumerate(self.pins):
                a[0, i, j] = 1.0
        elif self.conditions:
            speed = self._differences(self.guess(b).x)
            a[..., 0] = speed/max(np.linalg.norm(speed), 1e-300)
        return a

    def _differences(self, x: ndarray) -> ndarray:
        before = np.concatenate([np.linalg.solve(self.twist, x[-1])[None], x[:-1]])
        after = np.concatenate([x[1:], (self.twist @ x[0])[None]])
        return 0.5*(after - before)

    def lift(self, x: ndarray) -> ndarray:
        """All nodes of a path, the last one R times the first."""
        return np.concatenate([x, (self.twist @ x[0])[None]])

    def pull(self, slope: ndarray) -> ndarray:
        """Derivatives by all nodes (N+1, d) as derivatives by the unknown ones."""
        found = slope[:-1].copy()
        found[0] += self.twist.T @ slope[-1]
        return found

    def clock(self, h: Any) -> Environment:
        """The environment with another step; quadrature weights grow with it."""
        if not self.free:
            return self.env
        signals = self.env.signals.astype(np.result_type(type(h), float))
        signals[1] = h
        weights = signals[CLOCK : CLOCK + len(self.problem.costs)*(self.nodes + 1)].reshape(-1, self.nodes + 1)
        for row, cost in zip(weights, self.problem.costs, strict=True):
            if cost.weights is None and cost.when == "path":
                row *= h/self.problem.grid.step
        return self.env._replace(signals=signals)

    # ------------------------------------------------------------------ the action and its derivatives
    def slope(self, b: int, q: ndarray, h: Any, beta: complex) -> tuple[ndarray, ndarray, ndarray]:
        """D_1 L_d and D_2 L_d of the intervals, and beta w c_q at the nodes."""
        D1, D2, slope = np.zeros_like(q[1:]), np.zeros_like(q[1:]), np.zeros_like(q)
        self.problem.run("action_gradient", self.clock(h), b, q, typed(beta, q), D1, D2, slope)
        return D1, D2, slope

    def by_step(self, b: int, q: ndarray, h: Any, beta: complex) -> ByStep:
        """Derivatives of S_d - beta C by the step."""
        found = action_by_step(self.problem, b, q, h, self.env.theta)
        if beta != 0.0:
            cost = cost_by_step(self.problem, b, q, h, self.env.theta)
            found = ByStep(found.h - beta*cost.h, found.hq - beta*cost.hq, found.hh, found.htheta - beta*cost.htheta)
        return found

    def residual(self, b: int, s: State, beta: complex) -> tuple[ndarray, ndarray, float]:
        """The derivatives of F by the nodes and by the rest; and the largest momentum."""
        q, a = self.lift(s.x), self.slopes(b)
        D1, D2, slope = self.slope(b, q, s.h, beta)
        total = -slope
        total[:-1] += D1
        total[1:] += D2
        rest = []
        if self.free:
            rest.append(self.by_step(b, q, s.h, beta).h + self.energy(b)*self.nodes)
        if self.pins:
            rest += list(self.levels(b) - s.x[0, list(self.pins)])
        elif self.conditions:
            rest.append(-np.sum(a[..., 0]*(s.x - self.guess(b).x)))
        scale = float(max(np.abs(D1).max(), np.abs(D2).max()))
        return self.pull(total) - a @ s.mu, np.array(rest, q.dtype), scale

    def blocks(self, b: int, q: ndarray, h: Any, beta: complex) -> Blocks:
        N, d = self.nodes, self.size
        H11, H12, H22 = (np.zeros((N, d*d), q.dtype) for _ in range(3))
        K = np.zeros((N + 1, d*d), q.dtype)
        self.problem.run("interval_hessians", self.clock(h), b, q, typed(beta, q), H11, H12, H22, K)
        return Blocks(*(H.reshape(-1, d, d) for H in (H11, H12, H22, K)))

    def factorise(self, b: int, s: State, beta: complex) -> tuple[int, float]:
        """Eliminate the second derivatives of F; the Morse index on the phase conditions, and the smallest pivot."""
        q, R = self.lift(s.x), self.twist
        parts = self.blocks(b, q, s.h, beta)
        diagonal = parts.H11 + parts.K[:-1]
        diagonal[1:] += parts.H22[:-1]
        diagonal[0] += R.T @ (parts.H22[-1] + parts.K[-1]) @ R
        upper = parts.H12.copy()
        upper[-1] = upper[-1] @ R
        m = self.free + self.conditions
        border, corner = np.zeros((self.nodes, self.size, m), q.dtype), np.zeros((m, m), q.dtype)
        if self.free:
            step = self.by_step(b, q, s.h, beta)
            border[..., 0], corner[0, 0] = self.pull(step.hq), step.hh
        border[..., self.free :] = -self.slopes(b)
        negative, smallest = self.cyclic.factorise(diagonal, upper, border, corner, self._stiff(s))
        return negative - self.conditions, smallest

    def _stiff(self, s: State) -> ndarray:
        """Where H is held while it is eliminated: against shifts, and against growth where the energy prevents that."""
        mark = np.zeros((self.nodes, self.size))
        if self.pins:
            mark[0, list(self.pins)] = 1.0
        elif self.conditions:
            mark.flat[int(np.abs(self._differences(s.x.real)).argmax())] = 1.0
        if self.free:
            away = np.abs(s.x.real - s.x.real.mean(0))*(mark == 0.0)
            mark.flat[int(away.argmax())] = 1.0
        return mark

    def solve(self, right: ndarray, rest: ndarray) -> tuple[ndarray, Any, ndarray]:
        """The answer of nodes, step and multipliers, with the last factors."""
        x, y = self.cyclic.solve(right, rest)
        return x, (y[0] if self.free else 0.0), y[self.free :]

    def shifted(self, b: int) -> State | None:
        """The orbit closest to the guess, shifted in time to where its first coordinates come near their values."""
        boundary = self.boundary
        other = Cycle(self.problem, Periodic(boundary.guess, boundary.twist, phase="guess", energy=boundary.energy))
        found = other.newton(b, self.guess(b), 0.0)
        if found is None:
            return None
        q, N = self.lift(found.x), self.nodes
        x, y = q[:-1][:, list(self.pins)], q[1:][:, list(self.pins)]
        way, gap = y - x, self.levels(b) - x
        part = np.clip((gap*way).sum(1)/np.maximum((way*way).sum(1), 1e-300), 0.0, 1.0)
        left = ((gap - part[:, None]*way)**2).sum(1)
        k = int(np.argmin(np.where(left <= left.min() + 1e-9*(gap**2).max(), np.arange(N), N)))
        more = np.concatenate([q[:-1], q[:-1] @ self.twist.T, q[:1] @ self.twist.T @ self.twist.T])
        x = (1.0 - part[k])*more[k : k + N] + part[k]*more[k + 1 : k + 1 + N]
        return State(x, found.h, np.zeros(len(self.pins)))

    # ------------------------------------------------------------------ ways to a stationary point
    def newton(
        self, b: int, s: State, beta: complex, search: bool = True, source: tuple[ndarray, ndarray] | None = None,
        rounds: int = 60,
    ) -> State | None:  # fmt: skip
        """Newton's method; with ``search`` a step must shorten the next one. None where it fails."""

        def rest_of(s: State) -> tuple[ndarray, ndarray, float]:
            r, below, scale = self.residual(b, s, beta)
            return (r, below, scale) if source is None else (r - source[0], below - source[1], scale)

        def length_of(move: tuple[ndarray, Any, ndarray], s: State) -> float:
            stretch = abs(move[1]/s.h)*np.abs(s.x).max() if self.free else 0.0
            return float(max(np.abs(move[0]).max(), stretch))

        here, before, tiny = rest_of(s), np.inf, 1e-14*float(np.abs(s.x).max())
        for _ in range(rounds):
            if not (np.isfinite(here[0]).all() and np.isfinite(here[1]).all()):
                return None
            if not self.factorise(b, s, beta)[1] > 0.0:
                return None
            move = self.solve(-here[0], -here[1])
            change = length_of(move, s)
            if not np.isfinite(change):
                return None
            small = change <= max(1e-7*float(np.abs(s.x).max()), tiny) or float(np.abs(here[0]).max()) <= 1e-11*here[2]
            if small and (change >= 0.5*before or change == 0.0):
                return s  # no step changes anything more
            length = 1.0
            if self.free and abs(move[1]) > 0.3*abs(s.h):
                length = float(0.3*abs(s.h)/abs(move[1]))
            there = s.moved(*move, length)
            left = rest_of(there)
            while search and not small and not self._shorter(left, there, change, length, length_of):
                length *= 0.5
                if length < 1e-4:
                    return None
                there = s.moved(*move, length)
                left = rest_of(there)
            s, here = there, left
            before = change if length == 1.0 else np.inf
        return None

    def _shorter(self, left: Any, there: State, change: float, length: float, length_of: Any) -> bool:
        """The natural level test: is the simplified Newton step at the new point shorter?"""
        if not (np.isfinite(left[0]).all() and np.isfinite(left[1]).all()):
            return False
        return length_of(self.solve(-left[0], -left[1]), there) <= (1.0 - 0.25*length)*change

    def continuation(self, b: int, s: State) -> State | None:
        """Solve with (1 - r) times the guess's residual as a source, for r from 0 to 1."""
        right, rest, _ = self.residual(b, s, 0.0)
        done, stride = 0.0, 0.1
        while done < 1.0:
            trial = min(1.0, done + stride)
            found = self.newton(b, s, 0.0, False, ((1.0 - trial)*right, (1.0 - trial)*rest), 12)
            if found is None or np.abs(found.x - s.x).max() > 1.0 + np.abs(s.x).max():
                stride *= 0.5
                if stride < 1e-3:
                    return None
                continue
            s, done, stride = found, trial, 1.5*stride
        return s

    def attempts(self, b: int) -> Iterator[State | None]:
        """What each way of searching finds."""
        yield self.newton(b, self.guess(b), 0.0)
        near = self.shifted(b) if self.pins else None
        if near is not None:
            yield self.newton(b, near, 0.0)
        yield self.continuation(b, self.guess(b))

    def find(self, b: int) -> Orbit:
        """The closed path of a sample."""
        guess = self.guess(b)
        rejected, doubtful = "", None
        for state in self.attempts(b):
            if state is None:
                continue
            if alternates(q := self.lift(state.x), np.ones(len(q) - 1)):
                rejected = " (a path that jumps from node to node, an artefact of the grid, was found and rejected)"
                continue
            found = self.orbit(b, state, 0.0)
            if not found.message or not self.pins:
                return found
            doubtful = doubtful or found
        if doubtful is not None:
            return doubtful
        q = self.lift(guess.x)
        left = float(np.abs(self.residual(b, guess, 0.0)[0]).max())
        message = (
            f"no closed path found for sample {b}{rejected}: Newton and continuation failed from a guess with residual "
            f"{left:.1e}; {self._kernel_hint()}try another guess or more steps"
        )
        return Orbit(guess, q, np.full_like(q, np.nan), left, -1, message)

    def nudged(self, b: int, free: Orbit, beta: complex) -> Orbit | None:
        """The nudged path on the free one's branch; None where Newton leaves it."""
        kind = np.result_type(type(beta), float)
        start = State(free.state.x.astype(kind), kind.type(free.state.h), free.state.mu.astype(kind))
        found = self.newton(b, start, beta, search=False, rounds=30)
        return None if found is None else self.orbit(b, found, beta)

    def orbit(self, b: int, s: State, beta: complex) -> Orbit:
        """Momenta and Morse index of what was found, and whether it is sound."""
        q = self.lift(s.x)
        D1, D2, slope = self.slope(b, q, s.h, beta)
        p = np.concatenate([-D1, D2[-1:]])
        p[0] += slope[0]
        p[-1] -= slope[-1]
        right, rest, scale = self.residual(b, s, beta)
        index, smallest = self.factorise(b, s, beta)
        force = float(np.abs(self.slopes(b) @ s.mu).max(initial=0.0))
        residual = float(max(np.abs(right).max(), force if beta == 0.0 else 0.0))
        found = Orbit(s, q, p, residual, int(index))
        if beta == 0.0:
            found.message = self._doubt(b, s, smallest, right, force, scale)
        return found

    def _doubt(self, b: int, s: State, smallest: float, right: ndarray, force: float, scale: float) -> str:
        """Why a free path is none, or "" where it is sound."""
        size = max(float(np.abs(s.x).max()), float(np.abs(self.guess(b).x).max()))
        moves = bool(np.abs(self.lift(s.x) - s.x[0]).max() > 1e-7*size)
        if not self.mover and moves and not self.conditions:
            return (
                f"the closed path of sample {b} is not isolated: nothing depends on time, so that every shift of it in "
                "time is one too, a kernel of the Hessian; give phase='guess' or phase={coordinate: value}"
            )
        if self.conditions and not moves:
            return f"the search of sample {b} ended at rest, in an equilibrium, which has no phase; try another guess"
        stiffness = float(np.abs(self.cyclic.diagonal).max())
        if not (smallest > SINGULAR and self.cyclic.smallest_singular_value() > SINGULAR):
            return (
                f"the Hessian of the action is singular at the closed path of sample {b}: det(M - 1) = 0, M the "
                f"monodromy matrix, the path is not isolated or in resonance; {self._kernel_hint()}change the period"
            )
        if force > FORCE*scale:
            return (
                f"the phase condition of sample {b} holds the path with a force of {force:.1e}: there is no orbit of "
                "this period through this phase; change phase, the period or the guess"
            )
        if not np.abs(right).max() <= 1e-8*max(scale, 1e-6*stiffness*size, 1e-300):
            return f"the path of sample {b} leaves a residual of {np.abs(right).max():.1e}; try another guess"
        return ""

    def _kernel_hint(self) -> str:
        if self.pins:
            return "phase must name a coordinate on its way through the value, not where it turns; "
        if self.mover or self.conditions:
            return "" if self.conditions else "at a resonance (det(M - 1) = 0) there is none; "
        return "nothing depends on time, which needs phase='guess' (det(M - 1) = 0 along an orbit); "

    # ------------------------------------------------------------------ Floquet
    def monodromy(self, b: int, orbit: Orbit, beta: float) -> ndarray:
        """d(q_N, P_N)/d(q_0, P_0), turned back by the twist, (2d, 2d)."""
        d, R = self.size, self.twist
        if not np.isfinite(orbit.p).all():
            return np.full((2*d, 2*d), np.nan)
        parts = self.blocks(b, orbit.q, orbit.state.h, beta)
        dq, dp = np.eye(d, 2*d), np.eye(d, 2*d, d)
        for k in range(self.nodes):  # K = -beta w c_qq: kicks of the nudge
            dp = dp + parts.K[k] @ dq
            after = -np.linalg.solve(parts.H12[k], dp + parts.H11[k] @ dq)
            dq, dp = after, parts.H12[k].T @ dq + parts.H22[k] @ after
        dp = dp + parts.K[-1] @ dq
        return np.concatenate([np.linalg.solve(R, dq), R.T @ dp])


def free_orbits(cycle: Cycle) -> list[Orbit]:
    """The closed paths of all samples."""
    return [cycle.find(b) for b in range(cycle.samples)]


def moved_orbits(cycle: Cycle, free: list[Orbit], beta: float) -> list[Orbit]:
    """The nudged paths on the branches of the free ones; those that leave them carry a message."""
    found = []
    for b, orbit in enumerate(free):
        moved = None if orbit.message else cycle.nudged(b, orbit, beta)
        if orbit.message or (moved is not None and moved.index == orbit.index):
            found.append(moved or orbit)
            continue
        text = (
            f"the nudged path of sample {b} leaves the branch of the free one at beta = {beta:.3g} (Morse index "
            f"{orbit.index} against {moved.index if moved else 'none'}); take a smaller nudge, or Exact"
        )
        found.append(replace(orbit, message=text))
    return found


def trajectory(
    problem: Problem, boundary: Periodic, on_failure: str, beta: float = 0.0, progress: Any = None
) -> Trajectory:
    """The closed trajectory, free or nudged."""
    cycle = Cycle(problem, boundary)
    orbits = free_orbits(cycle)
    if beta:
        orbits = moved_orbits(cycle, orbits, beta)
    if progress is not None:
        progress.update(1)
    judge([orbit.message for orbit in orbits], on_failure)
    return as_trajectory(cycle, orbits, beta)


def as_trajectory(cycle: Cycle, orbits: list[Orbit], beta: float = 0.0) -> Trajectory:
    """Orbits of all samples as one trajectory; failed samples are nan."""
    problem, batch, N = cycle.problem, cycle.batch, cycle.nodes
    messages = [orbit.message for orbit in orbits]
    good = np.array([not message for message in messages])
    q, p = np.stack([orbit.q for orbit in orbits]), np.stack([orbit.p for orbit in orbits])
    q[~good], p[~good] = np.nan, np.nan
    index, residual = (np.array([getattr(orbit, name) for orbit in orbits]) for name in ("index", "residual"))
    made = make_trajectory(
        problem, q, p, np.arange(N + 1), batch, good, judge(messages, "return"), np.zeros_like(q[:, 0]), index, residual
    )  # fmt: skip
    steps = np.array([float(orbit.state.h) if ok else np.nan for orbit, ok in zip(orbits, good, strict=True)])

    def squeeze(value: ndarray) -> Any:
        return value if batch is not None else value[0]

    def monodromy() -> ndarray:
        found = [cycle.monodromy(b, orbit, beta) if good[b] else np.full((2*cycle.size,)*2, np.nan)
                 for b, orbit in enumerate(orbits)]  # fmt: skip
        return squeeze(np.stack(found))

    def action() -> ndarray:
        values = [float(problem.run("action_value", cycle.clock(orbit.state.h), b, orbit.q, 0.0)) if good[b] else np.nan
                  for b, orbit in enumerate(orbits)]  # fmt: skip
        return squeeze(np.array(values))

    if not cycle.free:
        return replace(made, period=N*problem.grid.step, _monodromy=monodromy)
    t = problem.grid.start + steps[:, None]*np.arange(N + 1)
    period = squeeze(N*steps)
    return replace(
        made, t=squeeze(t), period=period if batch is not None else float(period), _monodromy=monodromy, _action=action
    )  # fmt: skip


def typed(beta: complex, q: ndarray) -> complex | float:
    return complex(beta) if np.iscomplexobj(q) else float(np.real(beta))
