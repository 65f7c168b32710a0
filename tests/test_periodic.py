"""Closed paths: closed forms, and a dense Newton in complex numpy that shares no code with the library.

The oracle solves F(z) = 0 for z = (nodes, step, multipliers) with the Jacobian by complex step at the real part;
parameters, period, energy, phase and twist may be complex, so that derivatives of the loss are complex steps through
all of it.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import sympy as sp
from oracles import RULES, Loss, Mechanics, assert_close, complex_step, drive, drive_of
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep
from lagrangian_eqprop.solvers.cyclic import Cyclic

t = dynamicsymbols._t
q, x, z = dynamicsymbols("q x z")
m, k, a, u, y, c = sp.symbols("m k a u y c")
PLAIN = {"compiled": False}
BOTH = pytest.mark.parametrize("method", ["verlet", "midpoint"])
EXACT = [lep.Exact(), lep.Adjoint(), lep.Holomorphic()]
FORCED = m*q.diff(t)**2/2 - k*q**2/2 - a*q**4/4 + u*q
DUFFING = m*q.diff(t)**2/2 - k*q**2/2 - a*q**4/4
SPRING = lep.System(m*q.diff(t)**2/2 - k*q**2/2, coordinates=[q], parameters={m: 1.3, k: 0.8})
VALUES = {m: 1.3, k: 0.8, a: 0.4}


class Oracle:
    """The equations of a closed path, as they are written in books."""

    def __init__(self, lagrangian, coordinates, symbols, method, grid, *, inputs=(), u=None, pins=(), reference=None):
        self.mechanics = Mechanics(lagrangian, coordinates, symbols, inputs)
        self.rule, self.method, self.grid = RULES[method], method, grid
        self.u = drive(None, method, grid.steps) if u is None else u
        self.pins, self.reference = list(pins), reference  # node 0 held, or the integral condition

    def path(self, z, R):
        x = z[: self.grid.steps*len(R)].reshape(self.grid.steps, len(R))
        return np.concatenate([x, (R @ x[0])[None]])

    def energy(self, x, y, h, theta):
        """-d_h L_d of an interval of a system without time or inputs."""
        def of(q, v):
            p = np.array(self.mechanics.momentum(q, v, 0.0, theta, ()))
            return p @ v - self.mechanics.value(q, v, 0.0, theta, ())

        v = (y - x)/h
        return of((x + y)/2, v) if self.method == "midpoint" else (of(x, v) + of(y, v))/2

    def equations(self, z, theta, R, T, energy, values):
        N, d = self.grid.steps, len(R)
        path, rest = self.path(z, R), z[N*d :]
        h, mu = (T/N, rest) if energy is None else (rest[0], rest[1:])
        slope, heat = np.zeros((N + 1, d), complex), 0.0
        for j in range(N):
            D1, D2 = self.rule(self.mechanics, path[j], path[j + 1], self.grid.start + j*h, h, theta, self.u[j])[:2]
            slope[j] += D1
            slope[j + 1] += D2
            heat = heat + (self.energy(path[j], path[j + 1], h, theta) if energy is not None else 0.0)
        found = slope[:N].copy()
        found[0] += R.T @ slope[N]
        below = [] if energy is None else [heat/N - energy]
        if self.reference is not None:
            ahead = np.concatenate([self.reference[1:N], (R.real @ self.reference[0])[None]])
            behind = np.concatenate([np.linalg.solve(R.real, self.reference[N - 1])[None], self.reference[: N - 1]])
            pull = (ahead - behind)/np.linalg.norm(ahead - behind)
            below.append(np.sum(pull*(path[:N] - self.reference[:N])))
            found -= pull*mu[0]
        for number, (i, value) in enumerate(zip(self.pins, values, strict=True)):
            below.append(path[0, i] - value)
            found[0, i] -= mu[number]
        return np.concatenate([found.ravel(), below])

    def solve(self, start, theta, R, T, energy=None, values=()):
        z, extra = np.array(start, complex), 2
        for _ in range(40):
            J = np.zeros((len(z), len(z)))
            for j in range(len(z)):
                moved = z.real.astype(complex)
                moved[j] += 1e-40j
                data = (None if s is None else np.real(s) for s in (theta, R, T, energy, values))
                J[:, j] = self.equations(moved, *data).imag/1e-40
            move = np.linalg.solve(J, -self.equations(z, theta, R, T, energy, values))
            z = z + move
            if np.abs(move.real).max() <= 1e-12*(1 + np.abs(z.real).max()):
                extra -= 1
                if extra < 0:
                    return z
        raise ArithmeticError("the oracle's Newton did not converge")

    def loss(self, loss, start, theta, R, T, energy=None, values=(), targets=()):
        z = self.solve(start, theta, R, T, energy, values)
        N, d = self.grid.steps, len(R)
        grid = SimpleNamespace(steps=N, start=self.grid.start, step=T/N if energy is None else z[N*d])
        w = loss.weights(SimpleNamespace(steps=N, step=1.0))
        path, times = self.path(z, R), grid.start + grid.step*np.arange(N + 1)
        if loss.given is None and not loss.end:
            w = w*grid.step
        aims = [np.broadcast_to(target, (N + 1,)) for target in targets]
        return sum(w[j]*loss.c(path[j], [aim[j] for aim in aims], times[j], theta) for j in range(N + 1))


def start_of(path, *rest):
    """The unknowns of the oracle near a path of the library."""
    return np.concatenate([path.q[:-1].ravel(), *map(np.atleast_1d, rest)])


# ---------------------------------------------------------------------- the solver of bordered circles
@pytest.mark.parametrize("nodes", [1, 2, 3, 5, 6])
@pytest.mark.parametrize("kind", [float, complex])
@pytest.mark.parametrize("conjugate", [False, True])
def test_bordered_circles_against_dense_algebra(nodes, kind, conjugate):
    """``conjugate``: every leading block is singular, and pivots must cross pairs."""
    rng, d = np.random.default_rng(nodes), 2
    D, U = rng.normal(size=(nodes, d, d)).astype(kind), rng.normal(size=(nodes, d, d)).astype(kind)
    if kind is complex:
        D, U = D + 0.1j*rng.normal(size=D.shape), U + 0.1j*rng.normal(size=U.shape)
    D = (D + D.swapaxes(1, 2))*(not conjugate)
    H = np.zeros((nodes, d, nodes, d), kind)
    for j in range(nodes):
        H[j, :, j] += D[j]
        H[j, :, (j + 1) % nodes] += U[j]
        H[(j + 1) % nodes, :, j] += U[j].T
    H = H.reshape(nodes*d, nodes*d)
    for width in (0, 1, 2):
        V, K = rng.normal(size=(nodes, d, width)).astype(kind), np.diag(rng.normal(size=width)).astype(kind)
        stiff = np.zeros((nodes, d))
        stiff[0, : min(width, 1)] = 1.0
        cyclic = Cyclic(nodes, d)
        negative, _ = cyclic.factorise(D, U, V, K, stiff)
        dense = np.block([[H, V.reshape(nodes*d, width)], [V.reshape(nodes*d, width).T, K]])
        right, below = rng.normal(size=(nodes, d)), rng.normal(size=width)
        found = np.concatenate([part.ravel() for part in cyclic.solve(right, below)])
        assert_close(found, np.linalg.solve(dense, np.concatenate([right.ravel(), below])), 1e-10)
        if kind is float:
            assert negative == np.sum(np.linalg.eigvalsh(dense) < 0)


# ---------------------------------------------------------------------- driven
@BOTH
@pytest.mark.parametrize("steps", [1, 2, 9, 10])
def test_a_driven_orbit_and_its_gradients(steps, method):
    T = 5.0
    grid = lep.Grid(steps, duration=T, start=0.3)
    L = FORCED + 0.2*q*sp.sin(2*sp.pi*t/5)
    system = lep.System(L, coordinates=[q], parameters=VALUES, inputs=[u])
    force, aim = 0.4 + 0.3*np.cos(2*np.pi*grid.t/T), 0.5*np.sin(0.7*grid.t)
    expression = (q - y)**2/2*(1 + k*q) + sp.cos(t)*q
    cost, closed = lep.Cost(expression, targets=[y]), lep.Periodic(np.full((steps + 1, 1), 0.3))
    given = {"targets": {y: aim}, "inputs": {u: force}, "method": method, **PLAIN}
    path = system.trajectory(closed, grid, inputs={u: force}, method=method, **PLAIN)
    theta, R = np.array(list(VALUES.values())), np.eye(1)
    oracle = Oracle(L, [q], VALUES, method, grid, inputs=[u], u=drive(force[:, None], method, steps))
    loss, start = Loss(expression, [q], [y], list(VALUES)), start_of(path)
    assert_close(path.q[:-1].ravel(), oracle.solve(start, theta, R, T).real, 1e-12)
    assert np.abs(path.p[-1] - path.p[0]).max() < 1e-14
    assert path.success and path.residual < 1e-12 and path.period == T

    def J(theta, T):
        return oracle.loss(loss, start, theta, R, T, targets=[aim])

    by_theta, by_T = complex_step(lambda s: J(s, T), theta), complex_step(lambda s: J(theta, s[0]), [T])
    for estimator in EXACT:
        result = system.gradient(closed, grid, cost, estimator=estimator, **given)
        assert_close(result.loss, J(theta, T).real, 1e-12)
        assert_close([result[s] for s in VALUES], by_theta, 1e-11)
        assert_close(result.periodic.period, by_T[0], 1e-11)
        assert result.periodic.energy is result.periodic.phase is result.periodic.twist is None


@BOTH
def test_slopes_in_the_nudge(method):
    grid = lep.Grid(10, duration=5.0)
    system = lep.System(FORCED, coordinates=[q], parameters=VALUES, inputs=[u])
    force = 0.4 + 0.3*np.cos(2*np.pi*grid.t/5)
    closed, given = lep.Periodic(np.zeros((11, 1))), {"inputs": {u: force}, "method": method}

    def numbers(estimator):
        result = system.gradient(closed, grid, lep.Cost((q - 0.3)**4 + q**3), estimator=estimator, **given, **PLAIN)
        return np.array([*(result[s] for s in VALUES), result.periodic.period])

    exact = numbers(lep.Exact())
    for make, betas, slope in (
        (lep.OneSided, (1e-4, 1e-3), 1), (lep.Centered, (1e-3, 1e-2), 2),
        (lambda r: lep.Holomorphic(r, points=4), (0.01, 0.03), 4),
        (lambda r: lep.Holomorphic(r, points=6), (0.02, 0.06), 6),
    ):  # fmt: skip
        errors = [np.abs(numbers(make(beta)) - exact).max() for beta in betas]
        assert abs(np.log(errors[1]/errors[0])/np.log(betas[1]/betas[0]) - slope) < 0.05, (slope, errors)


@BOTH
def test_multipliers_of_an_oscillator(method):
    """M turns by N f: e^{+-i N f}; Verlet has sin(f/2) = h w/2, midpoint tan(f/2) = h w/2."""
    steps, T = 9, 4.0
    path = SPRING.trajectory(lep.Periodic(np.ones((steps + 1, 1))), lep.Grid(steps, duration=T), method=method, **PLAIN)
    half = T/steps*np.sqrt(0.8/1.3)/2
    phase = steps*2*(np.arcsin(half) if method == "verlet" else np.arctan(half))
    assert_close(np.sort(path.multipliers.imag), np.array([-1, 1])*abs(np.sin(phase)), 1e-12)
    assert_close(path.multipliers.real, np.full(2, np.cos(phase)), 1e-12)
    j = np.arange(steps)  # the circle's own modes: 2m/h (1 - cos) - h k for Verlet
    if method == "verlet":
        modes = 2*1.3/(T/steps)*(1 - np.cos(2*np.pi*j/steps)) - T/steps*0.8
        assert path.morse_index == np.sum(modes < 0)


@BOTH
def test_multipliers_come_in_symplectic_pairs(method):
    """d = 2, forced; M^T Omega M = Omega, and M against the tangent of the flow by complex steps of the oracle."""
    L = (x.diff(t)**2 + z.diff(t)**2)/2 - x**2/2 - z**2/3 - x**2*z + u*x
    grid, steps = lep.Grid(12, duration=3.0), 12
    system = lep.System(L, coordinates=[x, z], inputs=[u])
    force = 0.3*np.cos(2*np.pi*grid.t/3)
    path = system.trajectory(lep.Periodic(np.zeros((13, 2))), grid, inputs={u: force}, method=method, **PLAIN)
    M, Omega = path.monodromy, np.block([[np.zeros((2, 2)), np.eye(2)], [-np.eye(2), np.zeros((2, 2))]])
    assert_close(M.T @ Omega @ M, Omega, 1e-12)
    assert_close(np.sort_complex(1/path.multipliers), np.sort_complex(path.multipliers), 1e-10)
    from oracles import run

    mechanics = Mechanics(L, [x, z], [], [u])
    for j in range(4):
        state = np.concatenate([path.q[0], path.p[0]]).astype(complex)
        state[j] += 1e-40j
        qs, ps = run(mechanics, method, state[:2], state[2:], [], grid, drive(force[:, None], method, steps))
        assert_close(np.concatenate([qs[-1], ps[-1]]).imag/1e-40, M[:, j], 1e-10)


def test_only_closed_paths_have_multipliers():
    path = SPRING.trajectory(lep.Initial([1.0], v=[0.0]), lep.Grid(5, step=0.1), **PLAIN)
    with pytest.raises(ValueError, match="boundary must be lep.Periodic"):
        _ = path.multipliers


@pytest.mark.parametrize("compiled", [True, False])
def test_batches_nudged_paths_and_compiled_code(compiled):
    """Two samples as one call and alone; a nudged path solves the nudged equations; a cost of the end counts there."""
    grid = lep.Grid(10, duration=5.0)
    system = lep.System(FORCED, coordinates=[q], parameters=VALUES, inputs=[u])
    force = np.array([[0.4], [0.1]]) + 0.3*np.cos(2*np.pi*grid.t/5)
    aims, costs = np.array([0.2, -0.4]), [lep.Cost((q - y)**2/2, targets=[y], when="end"), lep.Cost(q**3)]
    stiff = np.array([0.8, 1.1])
    closed, options = lep.Periodic(np.zeros((11, 1))), {"compiled": compiled}
    for estimator in (lep.Exact(), lep.Centered(1e-4)):
        both = system.gradient(closed, grid, costs, targets={y: aims}, inputs={u: force}, parameters={k: stiff},
                               estimator=estimator, save="all", **options)  # fmt: skip
        assert both.path.q.shape == (2, 11, 1) and both.path.multipliers.shape == (2, 2) and both.losses.shape == (2,)
        alone = [system.gradient(closed, grid, costs, targets={y: aims[b]}, inputs={u: force[b]},
                                 parameters={k: stiff[b]}, estimator=estimator, **options)
                 for b in range(2)]  # fmt: skip
        assert_close(both[k], [r[k]/2 for r in alone], 1e-12)
        assert_close(both[m], sum(r[m] for r in alone)/2, 1e-12)
        assert_close(both.periodic.period, sum(r.periodic.period for r in alone)/2, 1e-12)
    exact = system.gradient(closed, grid, costs, targets={y: aims}, inputs={u: force}, parameters={k: stiff}, **options)
    assert_close(both[m], exact[m], 1e-6)
    nudged = both.nudged
    for b in range(2):
        D = np.zeros(11)
        for j in range(10):
            v, h = (nudged.q[b, j + 1, 0] - nudged.q[b, j, 0])/0.5, 0.5
            F = [-stiff[b]*s - 0.4*s**3 + f for s, f in zip(nudged.q[b, j : j + 2, 0], force[b, j : j + 2])]
            D[j : j + 2] += h/2*F[0] - 1.3*v, h/2*F[1] + 1.3*v
        w = np.full(11, 0.5)
        w[[0, -1]] = 0.25
        D -= 1e-4*w*3*nudged.q[b, :, 0]**2
        D[-1] -= 1e-4*(nudged.q[b, -1, 0] - aims[b])
        D[0] += D[-1]
        assert np.abs(D[:-1]).max() < 1e-13


# ---------------------------------------------------------------------- twisted
@BOTH
def test_a_twisted_path_and_its_gradients(method):
    """R a shear times a turn: nothing symmetric or orthogonal about it."""
    R = np.array([[0.8, -0.5], [0.3, 1.1]])
    L = m*x.diff(t)**2/2 + z.diff(t)**2 - k*(x**2 + z**2 + x*z) - a*x**4/4 + u*z + x*sp.cos(t)
    if method == "midpoint":
        L += a*x*z.diff(t)*z
    symbols, theta, T, grid = [m, k, a], np.array([1.3, 0.8, 0.4]), 2.5, lep.Grid(8, duration=2.5)
    system = lep.System(L, coordinates=[x, z], parameters=dict(zip(symbols, theta)), inputs=[u])
    force, expression = {u: lambda s: np.sin(s) + 0.5}, x**2*z + (z - 0.2)**2/2
    closed, given = lep.Periodic(np.zeros((9, 2)), R), {"inputs": force, "method": method, **PLAIN}
    path = system.trajectory(closed, grid, **given)
    oracle = Oracle(L, [x, z], symbols, method, grid, inputs=[u], u=drive_of([force[u]], method, grid))
    loss, start = Loss(expression, [x, z], (), symbols), start_of(path)
    assert_close(path.q[-1], R @ path.q[0], 1e-14)
    assert_close(path.p[-1], np.linalg.solve(R.T, path.p[0]), 1e-12)
    assert_close(path.q[:-1].ravel(), oracle.solve(start, theta, R, T).real, 1e-12)
    assert_close(np.sort_complex(1/path.multipliers), np.sort_complex(path.multipliers), 1e-9)
    expected = {
        "theta": complex_step(lambda s: oracle.loss(loss, start, s, R, T), theta),
        "period": complex_step(lambda s: oracle.loss(loss, start, theta, R, s[0]), [T])[0],
        "twist": complex_step(lambda s: oracle.loss(loss, start, theta, s, T), R),
    }
    for estimator in EXACT:
        result = system.gradient(closed, grid, lep.Cost(expression), estimator=estimator, **given)
        assert_close([result[s] for s in symbols], expected["theta"], 1e-11)
        assert_close(result.periodic.period, expected["period"], 1e-11)
        assert_close(result.periodic.twist, expected["twist"], 1e-11)


@BOTH
def test_half_an_orbit_is_antiperiodic(method):
    """A symmetric force of period T: q(t + T/2) = -q(t), and the whole orbit has the same nodes."""
    T, half, whole = 5.0, lep.Grid(6, duration=2.5), lep.Grid(12, duration=5.0)
    system = lep.System(FORCED, coordinates=[q], parameters=VALUES, inputs=[u])
    given = {"inputs": {u: lambda s: 0.6*np.cos(2*np.pi*s/T)}, "method": method, **PLAIN}
    one = system.trajectory(lep.Periodic(np.zeros((7, 1)), -1), half, **given)
    two = system.trajectory(lep.Periodic(np.zeros((13, 1))), whole, **given)
    assert_close(two.q[:7], one.q, 1e-12)
    assert_close(two.q[6:], -one.q, 1e-12)
    assert_close(np.sort_complex(one.multipliers**2), np.sort_complex(two.multipliers), 1e-11)
    costs = lep.Cost(q**2)
    small, large = (system.gradient(lep.Periodic(np.zeros((n + 1, 1)), R), g, costs, **given)
                    for n, R, g in ((6, -1, half), (12, None, whole)))  # fmt: skip
    assert_close(2*small.loss, large.loss, 1e-12)
    assert_close([2*small[s] for s in VALUES], [large[s] for s in VALUES], 1e-10)


# ---------------------------------------------------------------------- where there is none
@BOTH
def test_a_resonance_is_named(method):
    """An oscillator forced at its own discrete frequency, N f = 2 pi."""
    steps, w = 9, np.sqrt(0.8/1.3)
    h = 2/w*(np.sin if method == "verlet" else np.tan)(np.pi/steps)
    system = lep.System(m*q.diff(t)**2/2 - k*q**2/2 + u*q, coordinates=[q], parameters={m: 1.3, k: 0.8}, inputs=[u])
    grid = lep.Grid(steps, step=h)
    for force in (np.cos(2*np.pi*np.arange(steps + 1)/steps), np.cos(4*np.pi*np.arange(steps + 1)/steps)):
        with pytest.raises(lep.ConvergenceError, match=r"det\(M - 1\) = 0"):
            system.trajectory(lep.Periodic(np.zeros((steps + 1, 1))), grid, inputs={u: force}, method=method, **PLAIN)


def test_failures_are_named_and_may_be_returned():
    grid, system = lep.Grid(10, duration=5.0), lep.System(FORCED, coordinates=[q], parameters=VALUES, inputs=[u])
    spring = lep.System(m*q.diff(t)**2/2 - k*q**2/2 + u*q, coordinates=[q], parameters={m: 1.0, k: 1.0}, inputs=[u])
    resonant = (2/0.5*np.sin(np.pi/10))**2
    force = {u: 0.1*np.cos(2*np.pi*grid.t/5)}
    closed, given = lep.Periodic(np.zeros((11, 1))), {"inputs": force, "parameters": {k: [0.3, resonant]}, **PLAIN}
    with pytest.raises(lep.ConvergenceError, match="1 of 2 samples failed.*sample 1"):
        spring.trajectory(closed, grid, **given)
    path = spring.trajectory(closed, grid, on_failure="return", **given)
    assert list(path.success) == [True, False] and np.isnan(path.q[1]).all() and np.isnan(path.multipliers[1]).all()
    result = spring.gradient(closed, grid, lep.Cost(q**2), on_failure="return", **given)
    alone = spring.gradient(closed, grid, lep.Cost(q**2), inputs=force, parameters={k: 0.3}, **PLAIN)
    assert result.loss == alone.loss and result[m] == alone[m] and np.isnan(result.losses[1])
    assert_close(result[k], [alone[k], 0.0], 1e-14)
    with pytest.raises(lep.ConvergenceError, match="leaves the branch.*take a smaller"):
        system.trajectory(closed, grid, inputs=force, cost=lep.Cost(-q**4), nudge=1e3, **PLAIN)


def bad(*arguments, **options):
    return lambda: SPRING.trajectory(lep.Periodic(*arguments, **options), lep.Grid(5, step=0.1), **PLAIN)


@pytest.mark.parametrize(("call", "message"), [
    (bad(np.zeros(6)), r"guess must be of shape \(N\+1, d\)"),
    (bad(np.zeros((5, 1))), r"guess must be of shape \(6, 1\).*shape \(5, 1\)"),
    (bad(np.zeros((6, 2))), r"guess must be of shape \(\.\.\., 1\)"),
    (bad(np.zeros((6, 1)), np.ones((2, 2))), r"twist must be.*\(1, 1\); got shape \(2, 2\)"),
    (bad(np.zeros((6, 1)), 0.0), "twist must be invertible"),
    (bad(np.zeros((6, 1)), "back"), "twist must be a number or an array"),
    (bad(np.zeros((6, 1)), phase="start"), "phase must be 'guess', a mapping.*'start'"),
    (bad(np.zeros((6, 1)), phase={1: 0.0}), "phase must be a mapping whose keys.*from 0 to 0; got 1"),
    (bad(np.zeros((6, 1)), phase={}), "phase must be 'guess', a mapping"),
    (bad(np.zeros((6, 1)), energy=np.nan), "energy must be a finite number"),
    (bad(np.zeros((3, 6, 1)), energy=[1.0, 2.0]), "the batch axis must be of one length.*guess: 3, energy: 2"),
])  # fmt: skip
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ---------------------------------------------------------------------- nothing depends on time
def orbit_guess(steps, T, size=0.8):
    return size*np.cos(2*np.pi*np.arange(steps + 1)/steps + 0.3)[:, None]*np.array([T > 0])


def closed_by(kind, guess, energy):
    phase = {0: 0.75} if "pin" in kind else "guess"
    return lep.Periodic(guess, phase=phase, energy=energy if "energy" in kind else None)


@BOTH
@pytest.mark.parametrize("kind", ["guess", "pin", "energy guess", "energy pin"])
def test_an_autonomous_orbit_and_its_gradients(kind, method):
    """Fixed period or fixed energy, both phase conditions, and a cost that notices the phase."""
    steps, T, E = 15, 7.0, 0.5
    grid, guess = lep.Grid(steps, duration=T), orbit_guess(steps, T)
    system, closed = lep.System(DUFFING, coordinates=[q], parameters=VALUES), closed_by(kind, guess, E)
    expression, aim = (q - y)**2/2 + k*q**3, np.sin(np.arange(steps + 1))
    given = {"targets": {y: aim}, "method": method, **PLAIN}
    path = system.trajectory(closed, grid, method=method, **PLAIN)
    pins = {"pins": [0]} if "pin" in kind else {"reference": guess}
    oracle = Oracle(DUFFING, [q], VALUES, method, grid, **pins)
    theta, R, values = np.array(list(VALUES.values())), np.eye(1), [0.75]*("pin" in kind)
    free = "energy" in kind
    start = start_of(path, *([path.period/steps] if free else []), [0.0])
    found = oracle.solve(start, theta, R, T, E if free else None, values)
    assert_close(path.q[:-1].ravel(), found[:steps].real, 1e-11)
    assert_close(path.period, found[steps].real*steps if free else T, 1e-11)
    assert_close(path.t, path.period/steps*np.arange(steps + 1), 1e-13)
    assert path.morse_index == 2 and path.residual < 1e-8
    assert_close(np.prod(path.multipliers), 1.0, 1e-9)
    assert np.abs(path.multipliers - 1).max() < 1e-2 < np.abs(path.monodromy - np.eye(2)).max()  # a shear
    loss = Loss(expression, [q], [y], list(VALUES))

    def J(theta, T=T, E=E, values=values):
        return oracle.loss(loss, start, theta, R, T, E if free else None, values, [aim])

    by_theta = complex_step(J, theta)
    by_clock = complex_step((lambda s: J(theta, E=s[0])) if free else (lambda s: J(theta, T=s[0])), [E if free else T])
    by_value = complex_step(lambda s: J(theta, values=s), values)
    for estimator in EXACT:
        result = system.gradient(closed, grid, lep.Cost(expression, targets=[y]), estimator=estimator, **given)
        assert_close(result.loss, J(theta).real, 1e-11)
        assert_close([result[s] for s in VALUES], by_theta, 2e-11)
        assert_close(result.periodic.energy if free else result.periodic.period, by_clock[0], 2e-11)
        assert (result.periodic.period is None) == free and (result.periodic.energy is None) != free
        if "pin" in kind:
            assert_close(result.periodic.phase[0], by_value[0], 2e-11)


@BOTH
def test_slopes_in_the_nudge_with_an_unknown_period(method):
    system, grid = lep.System(DUFFING, coordinates=[q], parameters=VALUES), lep.Grid(10, duration=7)
    closed, cost = lep.Periodic(orbit_guess(10, 7), energy=0.5), lep.Cost(q**4 + q)

    def numbers(estimator):
        found = system.gradient(closed, grid, cost, estimator=estimator, method=method, **PLAIN)
        return np.array([*(found[s] for s in VALUES), found.periodic.energy])

    exact = numbers(lep.Exact())
    for make, betas, slope in (
        (lep.OneSided, (1e-4, 1e-3), 1), (lep.Centered, (1e-3, 1e-2), 2),
        (lambda r: lep.Holomorphic(r, points=4), (0.003, 0.01), 4),
    ):  # fmt: skip
        errors = [np.abs(numbers(make(beta)) - exact).max() for beta in betas]
        assert abs(np.log(errors[1]/errors[0])/np.log(betas[1]/betas[0]) - slope) < 0.05, (slope, errors)


@BOTH
def test_the_period_of_an_oscillator_in_closed_form(method):
    """N f = 2 pi whatever the energy: T = 2N/w sin(pi/N), Verlet, or tan(pi/N), midpoint; J = T with the cost 1."""
    steps, T = 12, 8.5
    exact = 2*steps/np.sqrt(0.8/1.3)*(np.sin if method == "verlet" else np.tan)(np.pi/steps)
    closed = lep.Periodic(orbit_guess(steps, T), energy=[0.2, 0.7])
    path = SPRING.trajectory(closed, lep.Grid(steps, duration=T), method=method, **PLAIN)
    assert_close(path.period, [exact, exact], 1e-12)
    assert path.t.shape == (2, steps + 1)
    amplitude = np.abs(path.q).max(1)[:, 0]
    assert_close(amplitude[1]/amplitude[0], np.sqrt(0.7/0.2), 1e-10)
    if method == "midpoint":  # the energy of an interval is that of its middle
        middle, v = (path.q[:, 1:] + path.q[:, :-1])/2, np.diff(path.q, axis=1)/exact*steps
        assert_close((1.3*v**2 + 0.8*middle**2)[..., 0]/2, np.outer([0.2, 0.7], np.ones(steps)), 1e-12)
    for estimator in EXACT:
        result = SPRING.gradient(closed, lep.Grid(steps, duration=T), lep.Cost(sp.Integer(1)), method=method,
                                 estimator=estimator, **PLAIN)  # fmt: skip
        assert_close(result.losses, [exact, exact], 1e-12)
        assert_close([result[k], result[m]], [-exact/1.6, exact/2.6], 1e-11)
        assert np.abs(result.periodic.energy).max() < 1e-11


@BOTH
def test_what_a_shift_in_time_does_not_change(method):
    """A cost of the orbit alone: the phase does not matter, and the scale of L, at fixed period, does not either."""
    system, grid, results = lep.System(DUFFING, coordinates=[q], parameters=VALUES), lep.Grid(40, duration=7.0), []
    for phase in ("guess", {0: 0.8}):
        closed = lep.Periodic(orbit_guess(40, 7.0), phase=phase)
        results.append(system.gradient(closed, grid, lep.Cost(q**2), method=method, **PLAIN))
    assert_close([results[0][s] for s in VALUES], [results[1][s] for s in VALUES], 1e-9)
    assert abs(results[1].periodic.phase[0]) < 1e-9
    for result in results:
        assert abs(sum(value*result[s] for s, value in VALUES.items())) < 1e-9*abs(result[k])


def test_the_kernel_of_an_autonomous_orbit_is_named():
    system, grid = lep.System(DUFFING, coordinates=[q], parameters=VALUES), lep.Grid(15, duration=7.0)
    start = system.trajectory(lep.Periodic(orbit_guess(15, 7.0), phase="guess"), grid, **PLAIN)
    with pytest.raises(lep.ConvergenceError, match="kernel of the Hessian; give phase|needs phase='guess'"):
        system.trajectory(lep.Periodic(start.q), grid, **PLAIN)
    with pytest.raises(lep.ConvergenceError, match="phase condition.*force|no closed path found"):
        system.trajectory(lep.Periodic(start.q, phase={0: 5.0}), grid, **PLAIN)
    with pytest.raises(lep.ConvergenceError, match="equilibrium, which has no phase|no closed path found"):
        system.trajectory(lep.Periodic(0*start.q + 1e-3*start.q, phase="guess"), lep.Grid(15, duration=3.0), **PLAIN)
    rest = system.trajectory(lep.Periodic(0.1 + 0*start.q), grid, **PLAIN)  # an equilibrium needs no phase
    assert np.abs(rest.q).max() < 1e-12


def test_a_rotation_is_a_kernel_too():
    """Two equal springs: orbits of an isotropic oscillator are never isolated."""
    L = (x.diff(t)**2 + z.diff(t)**2)/2 - (x**2 + z**2)/2 - (x**2 + z**2)**2/4
    n = np.arange(16)*2*np.pi/15
    guess = np.stack([0.7*np.cos(n), 0.7*np.sin(n)], 1)
    system, grid = lep.System(L, coordinates=[x, z]), lep.Grid(15, duration=5.0)
    path = system.trajectory(lep.Periodic(guess, phase="guess"), grid, **PLAIN)  # a circle: to shift is to rotate
    assert_close(np.hypot(*path.q.T), np.full(16, np.hypot(*path.q[0])), 1e-10)
    line = np.stack([0.8*np.cos(n), 0.4*np.cos(n)], 1)
    with pytest.raises(lep.ConvergenceError, match=r"det\(M - 1\) = 0|no closed path"):
        system.trajectory(lep.Periodic(line, phase="guess"), grid, **PLAIN)


def test_bad_input_where_the_period_is_unknown():
    closed = lep.Periodic(orbit_guess(5, 1), energy=1.0)
    driven = lep.System(FORCED, coordinates=[q], parameters=VALUES, inputs=[u])
    timed = lep.System(DUFFING + q*sp.sin(t), coordinates=[q], parameters=VALUES)
    cost = lep.Cost((q - y)**2, targets=[y])
    grid = lep.Grid(5, step=0.1)
    with pytest.raises(ValueError, match=r"energy must not be given.*inputs\[u\] does"):
        driven.trajectory(closed, grid, inputs={u: np.arange(6.0)}, **PLAIN)
    with pytest.raises(ValueError, match="energy must not be given.*the Lagrangian of system does"):
        timed.trajectory(closed, grid, **PLAIN)
    with pytest.raises(ValueError, match=r"targets\[y\] must be an array over the nodes.*callable"):
        SPRING.gradient(closed, grid, cost, targets={y: np.sin}, **PLAIN)


# ---------------------------------------------------------------------- choreographies
def test_a_rotating_wave_on_a_ring():
    """x_i(t + T/3) = x_{i+1}(t): a third of the period with a permutation is the whole orbit."""
    r = dynamicsymbols("r")
    ring = [x, z, r]
    L = sum(s.diff(t)**2/2 - k*s**2/2 - a*s**4/4 for s in ring)
    L -= sum((s - w)**2*c/2 for s, w in zip(ring, [z, r, x]))
    system = lep.System(L, coordinates=ring, parameters={k: 1.0, a: 0.5, c: 0.2})
    steps, T = 8, 4.5
    n = 2*np.pi*np.arange(3*steps + 1)/(3*steps)
    guess = np.stack([np.cos(n + 2*np.pi*i/3) for i in range(3)], 1)
    P = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    part = lep.Grid(steps, duration=T/3)
    third = system.trajectory(lep.Periodic(guess[: steps + 1], P, phase="guess"), part, **PLAIN)
    whole = np.concatenate([third.q[:-1], third.q[:-1] @ P.T, third.q[:-1] @ P, third.q[:1]])
    closed = lep.Periodic(whole, phase={1: third.q[0, 1]})
    path = system.trajectory(closed, lep.Grid(3*steps, duration=T), **PLAIN)
    assert_close(path.q, whole, 1e-8)
    cube = np.sort_complex(np.round(third.multipliers**3, 3))
    assert_close(cube, np.sort_complex(np.round(path.multipliers, 3)), 3e-2)
    cost = lep.Cost(x**2 + z**2 + r**2)
    small = system.gradient(lep.Periodic(third.q, P, phase="guess"), part, cost, **PLAIN)
    large = system.gradient(closed, lep.Grid(3*steps, duration=T), cost, **PLAIN)
    assert_close(3*small[c], large[c], 1e-7)
    assert_close(small.periodic.period, large.periodic.period, 1e-7)


# ---------------------------------------------------------------------- the rest of the library
def test_check_and_fit():
    grid, system = lep.Grid(8, duration=5.0), lep.System(FORCED, coordinates=[q], parameters=VALUES, inputs=[u])
    force, closed = {u: 0.4 + 0.3*np.cos(2*np.pi*grid.t/5)}, lep.Periodic(np.zeros((9, 1)), twist=1)
    table = system.check(closed, grid, lep.Cost(q**2 + q**3), inputs=force, **PLAIN)
    assert table.passed and {"m", "k", "a", "periodic.twist"} == set(table.errors and table.by_quantity)
    assert max(table.errors[name] for name in ("Exact", "Adjoint", "Holomorphic")) < 1e-11
    free = lep.System(DUFFING, coordinates=[q], parameters=VALUES)
    orbit = lep.Periodic(orbit_guess(10, 7.0), energy=0.5)
    table = free.check(orbit, lep.Grid(10, duration=7.0), lep.Cost(q**2), **PLAIN)
    assert table.passed and "periodic.energy" in table.by_quantity and table.growth is None
    seen = system.trajectory(closed, grid, inputs=force, parameters={k: 1.0}, **PLAIN).q[None, :, 0].repeat(3, 0)
    drives = {u: np.repeat(force[u][None], 3, 0)}
    cost = lep.Cost((q - y)**2/2, targets=[y])
    history = system.fit(closed, grid, cost, targets={y: seen}, inputs=drives, train=[k], batch=2, epochs=20,
                         optimiser=lep.SGD(0.5), progress=False, **PLAIN)  # fmt: skip
    assert abs(history[k] - 1.0) < 0.05 and history.loss[-1] < 1e-2*history.loss[0]


@pytest.mark.slow
def test_compiled_code_with_a_complex_period():
    """Nudges off the real axis move an unknown period off it too."""
    system, grid = lep.System(DUFFING, coordinates=[q], parameters=VALUES), lep.Grid(12, duration=7.0)
    closed, cost = lep.Periodic(orbit_guess(12, 7.0), energy=0.5), lep.Cost(q**2 + q)
    plain = system.gradient(closed, grid, cost, **PLAIN)
    for estimator in (lep.Exact(), lep.Holomorphic()):
        result = system.gradient(closed, grid, cost, estimator=estimator)
        assert_close([result[s] for s in VALUES], [plain[s] for s in VALUES], 1e-11)
        assert_close(result.periodic.energy, plain.periodic.energy, 1e-11)
