"""Stationary points of one path's action where plain Newton in compiled code does not settle the matter.

The blocks of the Hessian are eliminated with exchanges across nodes (``elimination``), so that no conjugate point on
the way does harm, and three ways are tried, each where the one before failed:

    newton        with a line search on the residual
    descent       on the action itself, its Hessian shifted until it is positive; for short enough times and
                  positive masses a minimiser exists (Tonelli), which a line search on the residual misses
    continuation  in a source that makes the guess a solution and is then taken away
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import ndarray

from ..boundary import Ends, check_width
from ..compiler import cache
from ..compiler.emission import module_text
from ..compiler.kernel import kernels_of
from ..errors import invalid
from . import elimination
from .gauss_ends import stage_environment
from .newton_backend import Workspace
from .problem import Problem

SINGULAR = 1e-13  # smallest pivot over its row, below which the Hessian counts as singular


@dataclass
class Solution:
    """A stationary path of one sample."""

    q: ndarray
    p: ndarray  # nodal momenta; the end momenta P_0 and P_N at the ends
    residual: float
    index: int
    message: str = ""

    @property
    def success(self) -> bool:
        return not self.message


@dataclass
class State:
    """The action near one path: residual of the free nodes and, where asked for, its Hessian."""

    D1: ndarray
    D2: ndarray
    slope: ndarray
    residual: ndarray
    size: float
    scale: float


class TwoPoint:
    """The discrete action of one problem between its ends, and the three ways to a stationary point."""

    potentials: tuple[Any, ...] = ()  # at natural ends; see ``robin``

    def __init__(self, problem: Problem, boundary: Ends) -> None:
        self.problem, self.boundary = problem, boundary
        if problem.stages and any(problem.sampled_inside):
            raise invalid("quadrature of the cost", "'nodes' with method 'gauss' between two ends", "'method'")
        steps, d = problem.grid.steps, problem.system.size
        nodes = problem.grid.coarse.steps + 1
        if boundary.guess is not None and boundary.guess.shape[-2] != nodes:
            must = f"of shape ({nodes}, {d}) or (B, {nodes}, {d})"
            raise invalid("guess", must, f"shape {boundary.guess.shape}")
        if boundary.guess is not None:
            check_width("guess", boundary.guess, d)
        guess_batch = None if boundary.guess is None or boundary.guess.ndim == 2 else boundary.guess[:, 0]
        self.batch = problem.batch_of({"q_start": boundary.q_start, "q_stop": boundary.q_stop, "guess": guess_batch})
        self.samples = self.batch or 1
        self.low = 0 if boundary.q_start is None else 1
        self.high = steps + 1 if boundary.q_stop is None else steps
        if self.high <= self.low:
            raise invalid("steps", "at least 2 between two fixed ends", steps)
        check_memory(2*(steps + 2)*d*d*8 + (problem.stages + 1)**2*d*d*8, steps + 1, d)
        self.env = stage_environment(problem) if problem.stages else problem.env(0, steps, dense=True)
        self._factors: dict[str, Any] = {}
        self._workspaces: dict[bool, Workspace] = {}
        self._written_out = True

    def workspace(self, complex_numbers: bool = False) -> Workspace:
        """What compiled code needs for whole paths."""
        if complex_numbers not in self._workspaces:
            self._workspaces[complex_numbers] = Workspace(
                self.problem, self.env, self.low, self.high, complex_numbers, self._written_out
            )
        return self._workspaces[complex_numbers]

    def exchange(self) -> None:
        """From now on eliminate the modes of Gauss elements with exchanges, term by term."""
        self._workspaces.clear()
        self._written_out = False

    @functools.cached_property
    def solver(self) -> Any:
        """The elimination with exchanges."""
        nodes, d = self.problem.grid.steps + 1, self.problem.system.size
        check_memory(elimination.elimination_bytes(nodes, d, 16) + 2*nodes*d*d*16, nodes, d)
        return elimination_module()

    def guesses(self) -> ndarray:
        """Where the search begins, for all samples: the guess given, or the straight line between the ends."""
        nodes, d = self.problem.grid.steps + 1, self.problem.system.size
        start, stop = self.boundary.q_start, self.boundary.q_stop
        q = np.empty((self.samples, nodes, d))
        if self.boundary.guess is not None:
            q[:] = self.refined(self.boundary.guess)
        else:
            first = start if start is not None else stop if stop is not None else np.zeros(d)
            last = stop if stop is not None else first
            np.multiply(self.refined(_way(self.problem.grid.coarse.steps + 1)), (last - first)[..., None, :], out=q)
            q += first[..., None, :]
        if start is not None:
            q[:, 0] = start
        if stop is not None:
            q[:, -1] = stop
        return q

    @functools.cached_property
    def pace(self) -> ndarray:
        """One over the size of every interval."""
        return 1.0/self.problem.grid.sizes(np.arange(self.problem.grid.steps))

    def refined(self, coarse: ndarray) -> ndarray:
        """A path through the user's nodes (..., N+1, d) at all nodes, by splines."""
        grid = self.problem.grid
        if grid.substeps == 1:
            return coarse
        from scipy.interpolate import CubicSpline

        found: ndarray = CubicSpline(grid.coarse.t, coarse, axis=-2)(grid.times(0, grid.steps + 1))
        found[..., :: grid.substeps, :] = coarse
        return found

    # ------------------------------------------------------------------ the action and its derivatives
    def value(self, b: int, q: ndarray, beta: float) -> float:
        return float(self.problem.run("action_value", self.env, b, q, beta))

    def state(self, b: int, q: ndarray, beta: complex, source: ndarray | None = None) -> State:
        """The residual at a path."""
        D1, D2, slope = np.zeros_like(q[1:]), np.zeros_like(q[1:]), np.zeros_like(q)
        self.problem.run("action_gradient", self.env, b, q, _typed(beta, q), D1, D2, slope)
        total = -slope
        total[:-1] += D1
        total[1:] += D2
        residual = total[self.low : self.high]
        if source is not None:
            residual = residual - source
        with np.errstate(all="ignore"):
            size, scale = float(np.abs(residual).max()), float(max(np.abs(D1).max(), np.abs(D2).max()))
        return State(D1, D2, slope, residual, size if np.isfinite(size) else np.inf, scale)

    def hessian(self, b: int, q: ndarray, beta: complex) -> tuple[ndarray, ndarray]:
        """Diagonal and upper blocks over all nodes."""
        nodes, d = q.shape
        diagonal, upper = np.zeros((nodes, d*d), q.dtype), np.zeros((nodes - 1, d*d), q.dtype)
        self.problem.run("action_hessian", self.env, b, q, _typed(beta, q), diagonal, upper)
        return diagonal.reshape(nodes, d, d), upper.reshape(nodes - 1, d, d)

    def factorise(self, diagonal: ndarray, upper: ndarray) -> tuple[int, float]:
        """Eliminate the free nodes; negative pivots and the smallest."""
        key = diagonal.dtype.char
        if key not in self._factors:
            self._factors[key] = self.solver.new_elimination(self.high - self.low, diagonal.shape[1], diagonal)
        with np.errstate(all="ignore"):
            D, U = diagonal[self.low : self.high], upper[self.low : self.high - 1]
            return self.solver.eliminate(D, U, self._factors[key])

    def solve(self, diagonal: ndarray, upper: ndarray, right: ndarray) -> ndarray:
        """Solve with the last factors of this type, with one step of refinement."""
        D, U = diagonal[self.low : self.high], upper[self.low : self.high - 1]
        factor = self._factors[diagonal.dtype.char]
        x = right.astype(diagonal.dtype)
        self.solver.substitute(factor, x)
        rest = np.empty_like(x)
        self.solver.residual_of(D, U, x, right.astype(diagonal.dtype), rest)
        self.solver.substitute(factor, rest)
        return x + rest

    def inner_index(self, b: int, q: ndarray) -> int:
        """Negative eigenvalues of the Hessian over the inner nodes of all steps, between fixed nodes of the user's.

        The discrete Lagrangian of a composition is what elimination of the inner nodes leaves, so that its Hessian has
        as many fewer (Haynsworth 1968).
        """
        s = self.problem.grid.substeps
        if s == 1:
            return 0
        diagonal, upper = self.hessian(b, q, 0.0)
        diagonal[::s], upper[::s], upper[s - 1 :: s] = np.eye(q.shape[1])*np.abs(diagonal).max(), 0.0, 0.0
        return int(self.factorise(diagonal, upper)[0])

    def add_parameters(self, b: int, q: ndarray, weight: complex, g: ndarray) -> None:
        """g += weight d_theta(-W) of potentials at the ends; here there are none."""

    def add_response(self, b: int, q: ndarray, dq: ndarray, g: ndarray) -> None:
        """g += d_theta(-W) along dq; here there are none."""

    # ------------------------------------------------------------------ ways to a stationary point
    def newton(
        self, b: int, q: ndarray, beta: complex, search: bool = True, source: ndarray | None = None, rounds: int = 60
    ) -> ndarray | None:
        """Newton's method; with ``search`` a step must reduce the residual. None where it fails."""
        here = self.state(b, q, beta, source)
        before = np.inf
        for _ in range(rounds):
            if not np.isfinite(here.size):
                return None
            diagonal, upper = self.hessian(b, q, beta)
            _, smallest = self.factorise(diagonal, upper)
            if not smallest > 0.0:
                return None
            move = np.zeros_like(q)
            move[self.low : self.high] = -self.solve(diagonal, upper, here.residual)
            change = float(np.abs(move).max())
            if not np.isfinite(change):
                return None
            small = change <= 1e-7*float(np.abs(q).max()) or here.size <= 1e-11*here.scale
            if small and (change >= 0.5*before or change == 0.0):
                return q  # no step changes anything more: the root, as well as rounding lets it be found
            length = 1.0
            there = self.state(b, q + move, beta, source)
            norm = np.linalg.norm(here.residual)
            while search and not small and not np.linalg.norm(there.residual) <= (1 - 1e-4*length)*norm:
                length *= 0.5
                if length < 1e-4:
                    return None
                there = self.state(b, q + length*move, beta, source)
            q, here = q + length*move, there
            before = change if length == 1.0 else np.inf
        return q if here.size <= 1e-10*here.scale else None

    def descent(self, b: int, q: ndarray, beta: float) -> ndarray | None:
        """Downhill on the action with a shifted Hessian, to a minimum; then Newton."""
        shift, value = 0.0, self.value(b, q, beta)
        eye = np.eye(q.shape[1])
        for _ in range(300):
            here = self.state(b, q, beta)
            if not np.isfinite(here.size):
                return None
            diagonal, upper = self.hessian(b, q, beta)
            unit = 1e-3*float(np.abs(diagonal).max())
            negative, smallest = self.factorise(diagonal + shift*eye, upper)
            while negative > 0 or not smallest > SINGULAR:
                shift = max(4.0*shift, unit)
                if shift > 1e12*unit:
                    return None
                negative, smallest = self.factorise(diagonal + shift*eye, upper)
            move = np.zeros_like(q)
            move[self.low : self.high] = -self.solve(diagonal + shift*eye, upper, here.residual)
            if shift == 0.0 and here.size <= 1e-6*here.scale:
                return self.newton(b, q, beta)
            with np.errstate(over="ignore", invalid="ignore"):
                slope = float(np.sum(here.residual*move[self.low : self.high]))
            length, found = 1.0, self.value(b, q + move, beta)
            while not found <= value + 1e-4*length*slope:
                length *= 0.5
                if length < 1e-8:
                    return self.newton(b, q, beta)
                found = self.value(b, q + length*move, beta)
            q, value = q + length*move, found
            shift = shift*0.1 if length == 1.0 else shift
            if shift < 1e-6*unit:
                shift = 0.0
        return None

    def continuation(self, b: int, q: ndarray, beta: float) -> ndarray | None:
        """Solve with (1 - s) times the guess's residual as a source, for s from 0 to 1."""
        source = self.state(b, q, beta).residual
        s, stride = 0.0, 0.1
        while s < 1.0:
            trial = min(1.0, s + stride)
            found = self.newton(b, q, beta, search=False, source=(1.0 - trial)*source, rounds=12)
            if found is None or np.abs(found - q).max() > 1.0 + np.abs(q).max():
                stride *= 0.5
                if stride < 1e-4:
                    return None
                continue
            q, s, stride = found, trial, 1.5*stride
        return q

    def bent(self, b: int, q: ndarray, beta: float) -> ndarray | None:
        """Newton from the guess bent by half waves: beyond a conjugate time the path may be far from the guess."""
        nodes, size = q.shape
        scale = max(float(np.abs(q).max()), 1e-3)
        rng, way = np.random.default_rng(0), _way(nodes)
        directions = [*np.eye(size), *-np.eye(size)] if size <= 4 else [*rng.standard_normal((8, size))]
        free_ends = (self.low == 0) + (self.high == nodes)
        for amplitude in (1.0, 2.0, 4.0):
            for waves in (1, 2):
                phase = np.pi*waves*(1.0 if free_ends == 0 else 0.5)*way
                wave = np.sin(phase) if self.low else np.cos(phase)
                for direction in directions:
                    with np.errstate(over="ignore", invalid="ignore"):
                        found = self.newton(b, q + amplitude*scale*wave*direction, beta)
                    if found is not None and not alternates(found, self.pace):
                        return found
        return None

    def free(self, b: int, newton_failed: bool, guess: ndarray | None = None) -> Solution:
        """The stationary path of a sample, by whichever way finds one."""
        guess = self.guesses()[b] if guess is None else guess
        rejected = ""
        # where sub-steps go back the action has no minimum
        ways: list[Callable[..., ndarray | None]] = [self.newton, self.descent, self.continuation, self.bent]
        if not (self.pace > 0).all():
            ways.remove(self.descent)
        for way in ways[newton_failed:]:
            found = way(b, guess.copy(), 0.0)
            if found is None:
                continue
            if alternates(found, self.pace):
                rejected = " (a path that jumps from node to node, an artefact of the grid, was found and rejected)"
                continue
            return self.solution(b, found, 0.0)
        left = self.state(b, guess, 0.0).size
        names = "Newton, descent on the action, continuation" if len(ways) == 4 else "Newton, continuation"
        message = (
            f"no stationary path found for sample {b}{rejected}: {names} and bent guesses "
            f"all failed from a guess with residual {left:.1e}; try guess=, a shorter duration or more steps"
        )
        return Solution(guess, np.full_like(guess, np.nan), left, -1, message)

    def solution(self, b: int, q: ndarray, beta: complex, pull: ndarray | None = None) -> Solution:
        """Momenta and Morse index of a path that was found; ``pull`` is a given force at its nodes."""
        slope = 0.0*q if pull is None else pull
        here = self.state(b, q, beta, slope[self.low : self.high])
        slope = slope + here.slope
        diagonal, upper = self.hessian(b, q, beta)
        index, smallest = self.factorise(diagonal, upper)
        p = np.concatenate([-here.D1, here.D2[-1:]])
        p[0] += slope[0]
        p[-1] -= slope[-1]
        message = ""
        # With few free nodes the diagonal may cancel as it is summed; the couplings still tell its size.
        blocks = diagonal[self.low : self.high]
        largest = max(float(np.abs(upper).max()), 1e-300)
        if not smallest > SINGULAR or (len(blocks) == 1 and _smallest_singular_value(blocks[0]) <= SINGULAR*largest):
            message = (
                f"the Hessian of the action is singular at the path of sample {b} (smallest pivot {smallest:.1e}): its "
                "end is conjugate to its start, the path is not isolated; change the duration or the ends"
            )
        elif not here.size <= 1e-8*max(here.scale, 1e-6*largest*float(np.abs(q).max()), 1e-300):
            message = f"the path of sample {b} leaves a residual of {here.size:.1e}; try more steps or another guess"
        return Solution(q, p, here.size, int(index), message)

    def nudged(self, b: int, free: Solution, beta: complex) -> Solution | None:
        """The nudged path on the free path's branch; None where Newton leaves it."""
        q = free.q.astype(np.result_type(type(beta), float))
        found = self.newton(b, q, beta, search=False, rounds=30)
        return None if found is None else self.solution(b, found, beta)

    def pulled(self, b: int, free: Solution, beta: float) -> Solution | None:
        """The path pulled by beta w c_q of the free path, a given force; None where Newton does not find it."""
        pull = beta*self.state(b, free.q, 1.0).slope
        found = self.newton(b, free.q, 0.0, search=False, source=pull[self.low : self.high], rounds=30)
        return None if found is None else self.solution(b, found, 0.0, pull)


@functools.lru_cache(maxsize=8)
def _way(nodes: int) -> ndarray:
    """From 0 to 1 in equal steps, a column."""
    way = np.linspace(0.0, 1.0, nodes)[:, None]
    way.setflags(write=False)
    return way


def check_memory(need: float, nodes: int, d: int) -> None:
    """Refuse what does not fit, before it is asked for."""
    if need < 2**28:
        return
    try:
        have = os.sysconf("SC_PHYS_PAGES")*os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return
    if need > 0.8*have:
        raise MemoryError(
            f"steps times size squared must fit in memory: the blocks of {nodes} nodes with {d} coordinates need "
            f"{need/2**30:.1f} GiB of {have/2**30:.1f}; take fewer steps or fewer coordinates"
        )


def elimination_module() -> Any:
    """The elimination does not depend on the system: one compiled module serves all, plain Python too."""
    name = cache.name_of("elimination")
    title = "Elimination. Generated; do not edit."
    return cache.fetch(name, lambda: module_text([], kernels_of(elimination), title, True))[0]


def _smallest_singular_value(block: ndarray) -> float:
    return float(np.linalg.svd(block, compute_uv=False)[-1])


def _typed(beta: complex, q: ndarray) -> complex | float:
    return complex(beta) if np.iscomplexobj(q) else float(np.real(beta))


def alternates(q: ndarray, pace: ndarray) -> bool:
    """Whether a path alternates from node to node: velocities change by twice their size."""
    velocity = np.diff(q, axis=0)*pace[:, None]
    return len(q) > 4 and float((np.diff(velocity, axis=0)**2).sum()) > 3.2*float((velocity**2).sum())
