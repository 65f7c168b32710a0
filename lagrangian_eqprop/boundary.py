"""Boundary conditions: which stationary point of the action is meant."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from .errors import invalid
from .symbols.cost import Cost


class Initial:
    """Initial data: a position, and a velocity or a momentum.

    Parameters
    ----------
    q : array_like, shape (d,) or (B, d)
        Initial coordinates; two axes are a batch.
    v, p : array_like, same shapes
        Initial velocity, which means p_0 = L_v(q, v, t_0), or initial momentum; exactly one of the two, and none for a
        Lagrangian linear in the velocities, where q alone is the state.
    project : bool
        Of a system with constraints: move q along the normals onto the constraint and drop what is normal of v or p,
        as one wants where the constraint is trained. False refuses data that do not satisfy it.
    """

    def __init__(self, q: Any, v: Any = None, p: Any = None, *, project: bool = False) -> None:
        if v is not None and p is not None:
            raise invalid("v", "given, or p, but not both", "both")
        self.q = _state("q", q)
        self.v = None if v is None else _state("v", v)
        self.p = None if p is None else _state("p", p)
        if not isinstance(project, (bool, np.bool_)):
            raise invalid("project", "True or False", repr(project))
        self.project = bool(project)

    def __repr__(self) -> str:
        other = "v given" if self.v is not None else "p given" if self.p is not None else "q alone"
        return f"Initial(q of shape {self.q.shape}, {other})"


class Ends:
    """Two ends: each fixed at a position, or natural (its momentum vanishes).

    Parameters
    ----------
    q_start, q_stop : array_like, shape (d,) or (B, d), or None
        Positions at the first and the last node; None for a natural end.
    guess : array_like, shape (N+1, d) or (B, N+1, d), optional
        Where the search for the path begins; by default the straight line between the ends.
    start, stop : Cost, optional
        Potentials W_0 and W_N at natural ends, ``lep.Cost(..., when="end")`` without targets, which are added to the
        action: P_0 = dW_0(q_0), P_N = -dW_N(q_N). Their parameters are trained like the system's.
    """

    def __init__(self, q_start: Any, q_stop: Any, guess: Any = None, *, start: Any = None, stop: Any = None) -> None:
        self.q_start = None if q_start is None else _state("q_start", q_start)
        self.q_stop = None if q_stop is None else _state("q_stop", q_stop)
        self.guess = None if guess is None else _state("guess", guess, (2, 3))
        self.start, self.stop = start, stop
        self.potentials: tuple[int, ...] = ()  # the nodes, 0 and -1, that have one
        for name, node, potential, end in (("start", 0, start, self.q_start), ("stop", -1, stop, self.q_stop)):
            if potential is not None:
                _check_potential(name, potential, end)
                self.potentials += (node,)
        self._silent: dict[int, tuple[Any, ...]] = {}

    def with_data(self, q_start: Any, q_stop: Any, guess: Any) -> Ends:
        """The same potentials with other data."""
        other = Ends(q_start, q_stop, guess, start=self.start, stop=self.stop)
        other._silent = self._silent  # read once, not with every batch of a training
        return other

    def silent(self, steps: int) -> tuple[Any, ...]:
        """The potentials as costs of no weight: a problem then knows their parameters."""
        if steps not in self._silent:
            found = [copy.copy(potential) for potential in (self.start, self.stop) if potential is not None]
            for potential in found:
                potential.weights = np.zeros(steps + 1)
            self._silent[steps] = tuple(found)
        return self._silent[steps]

    def __repr__(self) -> str:
        kinds = ["natural" if end is None else "fixed" for end in (self.q_start, self.q_stop)]
        return f"Ends({kinds[0]}, {kinds[1]})"


class Periodic:
    """A closed path: q_N = R q_0 and P_N = R^-T P_0, where R is the identity unless ``twist`` says otherwise.

    Parameters
    ----------
    guess : array_like, shape (N+1, d) or (B, N+1, d)
        Where the search begins; which of many closed paths is found depends on it. Its last node is not used.
    twist : array_like, shape (d, d), or a number, optional
        R, invertible: -1 for antiperiodic paths, a permutation for choreographies. A closed path goes on as a
        trajectory, P_N = R^-T P_0, where the Lagrangian is invariant under R.
    phase : "guess" or mapping of int to float or array_like (B,), optional
        What decides between the shifts in time of one orbit, where the system does not depend on time by itself.
        "guess": sum over nodes of (q_k - guess_k) . guess'_k = 0, the shift closest to the guess. {i: value}:
        coordinate i is value at node 0 (more than one coordinate where there are more symmetries).
    energy : float or array_like, shape (B,), optional
        With it the period is unknown: the orbit of this energy is sought, beginning with T = grid.duration. The energy
        is that of the discrete path, -dS_d/dT, of which p v - L at the nodes differs by the square of the step.
        ``phase`` is "guess" by default.
    """

    def __init__(self, guess: Any, twist: Any = None, *, phase: Any = None, energy: Any = None) -> None:
        self.guess = _state("guess", guess, (2, 3))
        self.twist = None if twist is None else _matrix(twist, self.guess.shape[-1])
        self.energy = None if energy is None else _numbers("energy", energy)
        self.phase: str | dict[int, np.ndarray] | None = phase
        if phase is None and energy is not None:
            self.phase = "guess"
        if isinstance(phase, Mapping):
            self.phase = {_index(key, self.guess.shape[-1]): _numbers(f"phase[{key}]", phase[key]) for key in phase}
        if self.phase is not None and self.phase != "guess" and not (self.phase and isinstance(self.phase, dict)):
            raise invalid("phase", "'guess', a mapping of coordinate numbers to values, or None", repr(phase))

    def batched(self, size: int) -> dict[str, np.ndarray]:
        """What has a batch axis, as states of ``size`` coordinates by name."""
        numbers = {"energy": self.energy}
        if isinstance(self.phase, dict):
            numbers |= {f"phase[{i}]": value for i, value in self.phase.items()}
        found = {k: np.repeat(v[:, None], size, 1) for k, v in numbers.items() if v is not None and v.ndim}
        return {"guess": self.guess[:, 0], **found} if self.guess.ndim == 3 else found

    def __repr__(self) -> str:
        kind = "" if self.twist is None else ", twisted"
        return f"Periodic({'period fixed' if self.energy is None else 'energy fixed'}{kind})"


def _check_potential(name: str, potential: Any, end: np.ndarray | None) -> None:
    if not isinstance(potential, Cost):
        raise invalid(name, 'a lep.Cost(..., when="end")', type(potential).__name__)
    if end is not None:
        raise invalid(name, f"None where q_{name} is given", "both")
    if potential.when != "end" or potential.weights is not None or potential.targets:
        raise invalid(name, 'a lep.Cost with when="end", without weights and targets', repr(potential))


def _matrix(twist: Any, size: int) -> np.ndarray:
    try:
        R = np.array(twist, float)
    except (TypeError, ValueError) as error:
        raise invalid("twist", f"a number or an array of shape ({size}, {size})", repr(twist)) from error
    R = R*np.eye(size) if R.ndim == 0 else R
    if R.shape != (size, size):
        raise invalid("twist", f"a number or an array of shape ({size}, {size})", f"shape {R.shape}")
    if not np.isfinite(R).all() or np.linalg.cond(R) > 1e12:
        raise invalid("twist", "invertible", np.array2string(R, threshold=9))
    return R


def _numbers(name: str, value: Any) -> np.ndarray:
    try:
        array = np.array(value, float)
    except (TypeError, ValueError) as error:
        raise invalid(name, "a number, or one a sample", repr(value)) from error
    if array.ndim > 1 or not array.size or not np.isfinite(array).all():
        raise invalid(name, "a finite number, or one a sample", f"shape {array.shape}" if array.ndim > 1 else value)
    return array


def _index(key: Any, size: int) -> int:
    if isinstance(key, bool) or not isinstance(key, (int, np.integer)) or not 0 <= key < size:
        raise invalid("phase", f"a mapping whose keys are coordinate numbers from 0 to {size - 1}", repr(key))
    return int(key)


class Equilibrium:
    """A point of rest: E_q = 0 at every coordinate that no bound stops, E = -L without velocities.

    Parameters
    ----------
    guess : float or array_like, shape (d,) or (B, d)
        Where the search begins; clamped coordinates are overwritten by their inputs, others brought within bounds.
    solver : str, optional
        "newton" to a minimum, "stationary" (Newton to the nearest stationary point, of any index), "relaxation"
        (q <- q - step E_q, all at once), "accelerated" (the same with Nesterov's momentum), "sweeps" (layer by layer,
        each minimised exactly). None lets the library choose: relaxation where ``step`` is given; else sweeps, where
        the energy allows them and has dense or convolutional couplings; else Newton for sparse or small systems;
        else accelerated. The choice is named by ``rest.solver``.
    step : float, optional
        Of relaxation and acceleration, in units of q^2/E; by default from the largest eigenvalue of the Hessian.
    iterations : int or (int, int), optional
        At most so many; a pair stands for free and nudged phases. By default 200 for Newton, else 20000.
    tolerance : float or None
        Largest |E_q| left at a coordinate that no bound stops, in units of E/q. By default 1e-10, in
        single precision 1e-4. None runs exactly ``iterations`` and reports the residual.
    """

    SOLVERS = ("newton", "stationary", "relaxation", "accelerated", "sweeps")

    def __init__(
        self, guess: Any = 0.0, *, solver: str | None = None, step: float | None = None, iterations: Any = None,
        tolerance: Any = "default",
    ) -> None:  # fmt: skip
        self.guess = np.array(guess, float) if np.ndim(guess) == 0 and _number(guess) else _state("guess", guess)
        if solver is not None and solver not in self.SOLVERS:
            raise invalid("solver", "one of " + ", ".join(self.SOLVERS), repr(solver))
        if step is not None and (not _number(step) or not 0 < step < np.inf):
            raise invalid("step", "a positive number", repr(step))
        if step is not None and solver in ("newton", "stationary", "sweeps"):
            raise invalid("step", f"left out for {solver}", repr(step))
        pair = iterations if isinstance(iterations, (list, tuple)) else (iterations, iterations)
        whole = [isinstance(n, (int, np.integer)) and not isinstance(n, bool) and n > 0 for n in pair]
        if iterations is not None and (len(pair) != 2 or not all(whole)):
            raise invalid("iterations", "a positive integer, or a pair for free and nudged phases", repr(iterations))
        default = isinstance(tolerance, str) and tolerance == "default"
        if not default and tolerance is not None and (not _number(tolerance) or not 0 < tolerance < np.inf):
            raise invalid("tolerance", "a positive number or None", repr(tolerance))
        if tolerance is None and iterations is None:
            raise invalid("iterations", "given where tolerance is None", "None")
        self.solver, self.step = solver, None if step is None else float(step)
        self.iterations = None if iterations is None else (int(pair[0]), int(pair[1]))
        self.tolerance = tolerance if default or tolerance is None else float(tolerance)

    def of(self, guess: np.ndarray) -> Equilibrium:
        """The same with another guess, of some of the samples."""
        other = copy.copy(self)
        other.guess = guess
        return other

    def __repr__(self) -> str:
        return f"Equilibrium(guess of shape {self.guess.shape}, solver={self.solver!r})"


def _number(value: Any) -> bool:
    real = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    return real and bool(np.isfinite(value))


def _state(name: str, value: Any, axes: tuple[int, ...] = (1, 2)) -> np.ndarray:
    try:
        array = np.array(value, float)
    except (TypeError, ValueError) as error:
        raise invalid(name, "an array of real numbers", repr(value)) from error
    if array.ndim not in axes:
        forms = "(d,) or (B, d)" if axes == (1, 2) else "(N+1, d) or (B, N+1, d)"
        raise invalid(name, f"of shape {forms}", f"shape {array.shape}")
    if not np.isfinite(array).all():
        raise invalid(name, "finite", "nan or inf")
    return array


Boundary = Initial | Ends | Periodic


def check_boundary(boundary: Any, *kinds: type) -> None:
    """Every call takes a boundary condition first."""
    if not isinstance(boundary, kinds or (Initial, Ends, Periodic)):
        raise invalid("boundary", "lep.Initial, lep.Ends or lep.Periodic", type(boundary).__name__)


def check_width(name: str, array: np.ndarray, size: int) -> None:
    """The last axis of every state is the coordinates."""
    if array.shape[-1] != size:
        raise invalid(name, f"of shape (..., {size}), one value a coordinate", f"shape {array.shape}")
