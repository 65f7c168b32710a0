"""Symmetric compositions: their coefficients, orders, symmetry and gradients.

The oracle takes the discrete Lagrangians of all sub-steps, differentiated by sympy, and knows nothing else of the
library; only the lengths of the sub-steps are the library's, and the order conditions test these on their own.
"""

from __future__ import annotations

import itertools

import mpmath
import numpy as np
import pytest
import sympy as sp
from oracles import Loss, Mechanics, assert_close, between, complex_step, run
from scipy.integrate import solve_ivp
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep
from lagrangian_eqprop.methods.compositions import ORDERS, substeps
from lagrangian_eqprop.solvers.refined import Refined

t = dynamicsymbols._t
q, x, z = dynamicsymbols("q x z")
m, k, a, u, y, r = sp.symbols("m k a u y r")
vx, vz = x.diff(t), z.diff(t)
PLAIN = {"compiled": False}
EVERY_ORDER = pytest.mark.parametrize("order", ORDERS)

SEPARABLE = m*(vx**2 + vz**2)/2 - (x**2 + z**2)/2 - a*(x**2*z - z**3/3) + u*x + sp.cos(t)*z/5
COUPLED = m*vx**2 + vz**2/2 + m*vx*vz*sp.cos(x - z) + 2*a*sp.cos(x) + a*sp.cos(z) + u*z
HENON = lep.System(SEPARABLE, coordinates=[x, z], parameters={m: 1.2, a: 0.9}, inputs=[u])
PENDULA = lep.System(COUPLED, coordinates=[x, z], parameters={m: 1.1, a: 1.5}, inputs=[u])
CASES = pytest.mark.parametrize(
    ("system", "method"), [(HENON, "verlet"), (HENON, "midpoint"), (PENDULA, "midpoint")],
    ids=["separable-verlet", "separable-midpoint", "coupled-midpoint"],
)  # fmt: skip
START = lep.Initial(q=[0.3, -0.2], v=[0.2, 0.4])
ENDS = lep.Ends([0.3, -0.2], [0.1, 0.35])


def drive(times):
    return 0.3*np.cos(1.3*times)


def aim(times):
    return 0.2*np.sin(times)


COST = lep.Cost(r*(x - y)**2/2 + z**4*(1 + t), targets=[y], parameters={r: 0.7})


# ---------------------------------------------------------------------- coefficients
def words_of(gammas, order):
    """Coefficients of exp(Y(gamma_1)) exp(Y(gamma_2)) ... by words in letters 1, 3, 5, 7 up to their sum ``order``.

    Y(g) = g X_1 + g^3 X_3 + g^5 X_5 + ... is what a symmetric method of order 2 is the flow of; letters do not commute.
    """
    def product(one, two):
        found = {}
        for (left, c), (right, e) in itertools.product(one.items(), two.items()):
            if sum(left) + sum(right) <= order:
                found[left + right] = found.get(left + right, 0) + c*e
        return found

    total = {(): mpmath.mpf(1)}
    for gamma in gammas:
        letter = {(n,): mpmath.mpf(gamma)**n for n in range(1, order + 1, 2)}
        power, flow = {(): mpmath.mpf(1)}, {(): mpmath.mpf(1)}
        for n in range(1, order + 1):
            power = {word: value/n for word, value in product(power, letter).items()}
            flow = {word: flow.get(word, 0) + power.get(word, 0) for word in flow.keys() | power.keys()}
        total = product(total, flow)
    return total


def violation(gammas, order):
    """By how much the composition differs from exp(X_1), the flow itself."""
    return max(abs(value - (1/mpmath.factorial(len(word)) if set(word) <= {1} else 0))
               for word, value in words_of(gammas, order).items())  # fmt: skip


@EVERY_ORDER
def test_order_conditions(order):
    gammas = substeps(order)
    with mpmath.workdps(40):
        assert violation(gammas, order) < 4e-16
        assert violation(gammas, order + 1) > 1e-6  # the order is not higher
    assert gammas == gammas[::-1]
    inner = np.cumsum(gammas)[:-1]
    assert inner.min() > 0 and inner.max() < 1


# ---------------------------------------------------------------------- the oracle
def refined(grid, order, method):
    """(t, h) of all sub-steps, and the input that each reads."""
    pieces = []
    for node in range(grid.steps):
        inner = 0.0
        for gamma in substeps(order):
            pieces.append((grid.start + (node + inner)*grid.step, gamma*grid.step))
            inner += gamma
    if method == "midpoint":
        return pieces, [[drive(time + h/2)] for time, h in pieces]
    return pieces, [([drive(time)], [drive(time + h)]) for time, h in pieces]


def oracle(system, method, order, grid):
    """Functions of theta (m, a, r) and of the state, complex: J of initial data, J between ends, all sub-steps."""
    L = SEPARABLE if system is HENON else COUPLED
    mechanics = Mechanics(L, [x, z], [m, a], [u])
    loss = Loss(r*(x - y)**2/2 + z**4*(1 + t), [x, z], [y], [r])
    pieces, inputs = refined(grid, order, method)

    def from_start(theta, q0, v0):
        p0 = np.array(mechanics.momentum(q0, v0, grid.start, theta[:2], [drive(grid.start)]))
        path = run(mechanics, method, q0, p0, theta[:2], grid, inputs, pieces)
        return path, loss(path[0][:: len(substeps(order))], grid, theta[2:], [aim(grid.t)])

    def from_ends(theta, start, stop, guess):
        path = np.array(guess, complex)
        path[0], path[-1] = start, stop
        path, hessian = between(mechanics, method, path, theta[:2], grid, (False, False), inputs, pieces=pieces)
        return path, hessian, loss(path[:: len(substeps(order))], grid, theta[2:], [aim(grid.t)])

    def action(path, theta):
        total = 0.0
        for (time, h), given, before, after in zip(pieces, inputs, path[:-1], path[1:], strict=True):
            v = (after - before)/h
            if method == "midpoint":
                total += h*mechanics.value((before + after)/2, v, time + h/2, theta[:2], given)
            else:
                ends = zip((before, after), (time, time + h), given, strict=True)
                total += sum(h/2*mechanics.value(at, v, when, theta[:2], force) for at, when, force in ends)
        return total

    return from_start, from_ends, action


def theta_of(system):
    return np.array([system.parameters[m], system.parameters[a], 0.7], float)


def between_nodes(path, order):
    """A guess for all sub-steps, linear between the nodes of a path."""
    inner = np.concatenate([[0.0], np.cumsum(substeps(order))[:-1]])
    steps = np.append((np.arange(len(path) - 1)[:, None] + inner).ravel(), len(path) - 1)
    return np.stack([np.interp(steps, np.arange(len(path)), column) for column in path.T], 1)


@CASES
@EVERY_ORDER
def test_initial_value_problem_against_the_oracle(system, method, order):
    """Nodes, momenta, action, loss and every gradient, by complex steps through the oracle."""
    grid = lep.Grid(5, step=0.25, start=0.4)
    from_start, _, action = oracle(system, method, order, grid)
    theta, s = theta_of(system), len(substeps(order))
    (qs, ps), loss = from_start(theta, START.q, START.v)
    options = {"inputs": {u: drive}, "method": method, "order": order, **PLAIN}
    path = system.trajectory(START, grid, **options)
    assert path.t.shape == (6,) and np.array_equal(path.t, grid.t)
    assert_close(path.q, qs[::s].real, 1e-13)
    assert_close(path.p, ps[::s].real, 1e-13)
    assert_close(path.action, action(qs, theta).real, 1e-13)
    parts = [complex_step(lambda x: from_start(x, START.q, START.v)[1], theta),
             complex_step(lambda x: from_start(theta, x, START.v)[1], START.q),
             complex_step(lambda x: from_start(theta, START.q, x)[1], START.v)]  # fmt: skip
    estimators = [lep.Exact(), lep.Adjoint(), lep.Holomorphic()]
    for estimator in estimators if order == 4 else estimators[:1]:
        found = system.gradient(START, grid, COST, targets={y: aim}, estimator=estimator, **options)
        assert_close(found.loss, loss.real, 1e-13)
        assert_close([found[m], found[a], found[r]], parts[0], 1e-11)
        assert_close(found.initial.q, parts[1], 1e-11)
        assert_close(found.initial.v, parts[2], 1e-11)


@CASES
@EVERY_ORDER
def test_two_point_problem_against_the_oracle(system, method, order):
    grid = lep.Grid(5, step=0.3, start=0.4)
    _, from_ends, action = oracle(system, method, order, grid)
    theta, s = theta_of(system), len(substeps(order))
    options = {"inputs": {u: drive}, "method": method, "order": order, **PLAIN}
    path = system.trajectory(ENDS, grid, **options)
    guess, _, loss = from_ends(theta, ENDS.q_start, ENDS.q_stop, between_nodes(path.q, order))
    assert path.q.shape == (6, 2)
    assert_close(path.q, guess[::s].real, 1e-12)
    assert_close(path.action, action(guess, theta).real, 1e-12)
    parts = [complex_step(lambda x: from_ends(x, ENDS.q_start, ENDS.q_stop, guess)[2], theta),
             complex_step(lambda x: from_ends(theta, x, ENDS.q_stop, guess)[2], ENDS.q_start),
             complex_step(lambda x: from_ends(theta, ENDS.q_start, x, guess)[2], ENDS.q_stop)]  # fmt: skip
    estimators = [lep.Exact(), lep.Adjoint(), lep.Holomorphic()]
    for estimator in estimators if order == 4 else estimators[:1]:
        found = system.gradient(ENDS, grid, COST, targets={y: aim}, estimator=estimator, **options)
        assert_close(found.loss, loss.real, 1e-12)
        assert_close([found[m], found[a], found[r]], parts[0], 1e-11)
        assert_close(found.ends.start, parts[1], 1e-11)
        assert_close(found.ends.stop, parts[2], 1e-11)


@pytest.mark.parametrize("boundary", [START, ENDS], ids=["initial", "ends"])
@pytest.mark.parametrize(("kind", "slope"), [(lep.OneSided, 1), (lep.Centered, 2)])
def test_slopes_in_the_nudge(boundary, kind, slope):
    grid = lep.Grid(6, step=0.25)
    options = {"targets": {y: aim}, "inputs": {u: drive}, "order": 4, **PLAIN}
    exact = HENON.gradient(boundary, grid, COST, **options)[a]
    betas, errors = np.geomspace(1e-2, 1e-1, 4), []
    for beta in betas:
        found = HENON.gradient(boundary, grid, COST, estimator=kind(beta), **options)
        errors.append(abs(found[a] - exact))
    assert abs(np.polyfit(np.log(betas), np.log(errors), 1)[0] - slope) < 0.05


def test_holomorphic_slope():
    grid = lep.Grid(6, step=0.25)
    options = {"targets": {y: aim}, "inputs": {u: drive}, "order": 6, **PLAIN}
    exact = HENON.gradient(START, grid, COST, **options)[a]
    radii = np.array([0.5, 0.7, 1.0])
    errors = [abs(HENON.gradient(START, grid, COST, estimator=lep.Holomorphic(radius, 4), **options)[a] - exact)
              for radius in radii]  # fmt: skip
    assert abs(np.polyfit(np.log(radii), np.log(errors), 1)[0] - 4) < 0.2


# ---------------------------------------------------------------------- order and symmetry
def reference(system, duration, parameters):
    """The end of the path by a method of order 8 with tolerances of 1e-13."""
    L = SEPARABLE if system is HENON else COUPLED
    plain, speeds = sp.symbols("q0:2"), sp.symbols("v0:2")
    L = L.subs({vx: speeds[0], vz: speeds[1]}).subs({x: plain[0], z: plain[1]})
    L = L.subs({s: float(value) for s, value in {**system.parameters, **parameters}.items()})
    Lv = sp.Matrix([L.diff(v) for v in speeds])
    force = sp.Matrix([L.diff(c) for c in plain]) - Lv.jacobian(plain)*sp.Matrix(speeds) - Lv.diff(t)
    acceleration = sp.lambdify([t, plain, speeds, u], Lv.jacobian(speeds).LUsolve(force))

    def slope(time, state):
        return np.concatenate([state[2:], np.ravel(acceleration(time, state[:2], state[2:], drive(time)))])

    begin = np.concatenate([START.q, START.v])
    return solve_ivp(slope, (0, duration), begin, method="DOP853", rtol=1e-13, atol=1e-14).y[:2, -1]


DURATION = {HENON: 2.0, PENDULA: 1.0}  # where the error is far above rounding and has its leading term alone
STEPS = {(HENON, 4): (32, 48, 64, 96), (HENON, 6): (16, 20, 28, 40), (HENON, 8): (7, 8, 10, 12),
         (PENDULA, 4): (12, 16, 24, 32), (PENDULA, 6): (8, 10, 14, 20), (PENDULA, 8): (6, 7, 8, 10)}  # fmt: skip


@CASES
@EVERY_ORDER
def test_order(system, method, order):
    strength = {a: 0.6}
    exact = reference(system, DURATION[system], strength)
    steps, errors = np.array(STEPS[system, order]), []
    options = {"inputs": {u: drive}, "parameters": strength, "method": method, "order": order, "save": "last", **PLAIN}
    for n in steps:
        path = system.trajectory(START, lep.Grid(int(n), duration=DURATION[system]), **options)
        errors.append(np.linalg.norm(path.q[-1] - exact))
    assert abs(np.polyfit(np.log(steps), np.log(errors), 1)[0] + order) < 0.1, errors


@EVERY_ORDER
def test_order_between_ends(order):
    """Of the end momentum, against the finest path."""
    ends, found = lep.Ends([0.2, 0.1], [0.3, -0.1]), []
    options = {"inputs": {u: drive}, "parameters": {a: 0.6}, **PLAIN}
    for steps, p in ((6, order), (9, order), (24, 8)):
        path = PENDULA.trajectory(ends, lep.Grid(steps, duration=0.8), order=p, **options)
        found.append(path.p[0])
    errors = [np.linalg.norm(p - found[-1]) for p in found[:-1]]
    assert abs(np.log(errors[0]/errors[1])/np.log(1.5) - order) < 0.6, errors


@CASES
@EVERY_ORDER
def test_there_and_back(system, method, order):
    """With momenta turned round, and time with them, a path returns to where it began, at a coarse step."""
    even = {"inputs": {u: drive}, "method": method, "order": order, **PLAIN}  # drive and cos(t) are even
    there = system.trajectory(START, lep.Grid(6, step=0.4), **even)
    back = system.trajectory(
        lep.Initial(there.q[-1], p=-there.p[-1]), lep.Grid(6, step=0.4, start=-6*0.4), **even
    )  # fmt: skip
    assert_close(back.q[::-1], there.q, 1e-12)
    assert_close(-back.p[::-1], there.p, 1e-12)


@EVERY_ORDER
def test_symplectic(order):
    e, d = 1e-4, 2
    moves = np.concatenate([e*np.eye(4), -e*np.eye(4)])
    begin = lep.Initial(START.q + moves[:, :d], p=np.array([0.2, 0.4]) + moves[:, d:])
    path = PENDULA.trajectory(begin, lep.Grid(4, step=0.4), inputs={u: drive}, order=order, save="last", **PLAIN)
    ends = np.concatenate([path.q[:, -1], path.p[:, -1]], 1)
    jacobian = ((ends[:4] - ends[4:])/(2*e)).T
    omega = np.kron([[0, 1], [-1, 0]], np.eye(d))
    assert np.abs(jacobian.T @ omega @ jacobian - omega).max() < 1e-6*np.abs(jacobian).max()**2


def test_a_central_force_keeps_the_angular_momentum():
    system = lep.System((vx**2 + vz**2)/2 + 1/sp.sqrt(x**2 + z**2), coordinates=[x, z])
    path = system.trajectory(lep.Initial([1.0, 0.0], v=[0.1, 0.9]), lep.Grid(20, step=0.15), order=6, **PLAIN)
    momentum = path.q[:, 0]*path.p[:, 1] - path.q[:, 1]*path.p[:, 0]
    assert_close(momentum, np.full(21, 0.9), 1e-12)
    assert np.ptp(path.energy) < 1e-6


# ---------------------------------------------------------------------- inputs, results, failures
@EVERY_ORDER
def test_arrays_are_linear_in_every_step(order):
    """An array at the nodes is the callable whose graph it is, corner by corner."""
    grid = lep.Grid(8, step=0.25)
    values = np.sin(1 + 3*grid.t)
    options = {"order": order, **PLAIN}
    for system in (HENON, PENDULA):
        given = system.trajectory(START, grid, inputs={u: values}, **options)
        called = system.trajectory(START, grid, inputs={u: lambda t: np.interp(t, grid.t, values)}, **options)
        assert_close(given.q, called.q, 1e-12)


def test_targets_are_asked_for_at_nodes_alone():
    seen = []

    def only_nodes(times):
        seen.extend(times)
        return np.sin(times)

    grid = lep.Grid(5, step=0.3)
    found = HENON.gradient(START, grid, COST, targets={y: only_nodes}, inputs={u: drive}, order=4, **PLAIN)
    again = HENON.gradient(START, grid, COST, targets={y: np.sin(grid.t)}, inputs={u: drive}, order=4, **PLAIN)
    assert set(seen) <= set(grid.t)
    assert_close(found.loss, again.loss, 1e-15)


def test_saved_nodes_and_weights():
    grid = lep.Grid(7, step=0.2)
    options = {"inputs": {u: drive}, "order": 6, **PLAIN}
    path = HENON.trajectory(START, grid, **options)
    some = HENON.trajectory(START, grid, save=3, **options)
    assert_close(some.t, grid.t[[0, 3, 6, 7]], 1e-15)
    for name in ("q", "p", "v", "energy"):
        assert_close(getattr(some, name), getattr(path, name)[[0, 3, 6, 7]], 1e-13)
    assert_close(some.action, path.action, 1e-14)
    weights = np.arange(8.0)
    cost = lep.Cost(x**2 + z, weights=weights)
    expected = (weights*(path.q[:, 0]**2 + path.q[:, 1])).sum()
    assert_close(HENON.gradient(START, grid, cost, **options).loss, expected, 1e-14)
    end = lep.Cost(x*z, when="end")
    assert_close(HENON.gradient(START, grid, end, **options).loss, path.q[-1, 0]*path.q[-1, 1], 1e-14)


@pytest.mark.parametrize("boundary", [START, ENDS], ids=["initial", "ends"])
def test_nudged_trajectories(boundary):
    """A small nudge moves the action by beta times the derivative that both paths agree on; nodes are the grid's."""
    grid = lep.Grid(6, step=0.25)
    options = {"inputs": {u: drive}, "targets": {y: aim}, "order": 4, **PLAIN}
    free = HENON.trajectory(boundary, grid, inputs={u: drive}, order=4, **PLAIN)
    for beta in (1e-3, -1e-3):
        moved = HENON.trajectory(boundary, grid, cost=COST, nudge=beta, **options)
        assert moved.q.shape == free.q.shape == (7, 2)
        gap = moved.q - free.q
        if boundary is START:
            assert_close(gap[-1], np.zeros(2), 1e-13)
            # S_d by its ends: dS = p_N dq_N - p_0 dq_0
            assert_close(moved.action - free.action, -(free.p[0] @ gap[0]), 2e-2)
        else:
            assert_close(gap[[0, -1]], np.zeros((2, 2)), 1e-14)
            assert abs(moved.action - free.action) < 1e-6  # stationary
    if boundary is START:
        result = HENON.gradient(START, grid, COST, estimator=lep.Centered(1e-3), save="all", **options)
        assert result.nudged.q.shape == (7, 2) and result.path.q.shape == (7, 2)
        assert_close(result.path.q, free.q, 1e-14)


@EVERY_ORDER
@pytest.mark.parametrize("duration", [2.0, 4.0, 7.0, 10.0])
def test_morse_index_counts_conjugate_points(order, duration):
    """floor(w T/pi) of the oscillator, although sub-steps that go back have negative masses."""
    spring = lep.System(m*q.diff(t)**2/2 - k*q**2/2, coordinates=[q], parameters={m: 1.0, k: 1.0})
    path = spring.trajectory(lep.Ends([0.3], [0.4]), lep.Grid(30, duration=duration), order=order, **PLAIN)
    assert path.morse_index == int(duration/np.pi)
    natural = spring.trajectory(lep.Ends([0.3], None), lep.Grid(30, duration=duration), order=order, **PLAIN)
    assert natural.morse_index == int(duration/np.pi + 0.5)


def test_a_nudge_that_leaves_the_branch_names_the_index():
    options = {"targets": {y: aim}, "inputs": {u: drive}, "order": 4, **PLAIN}
    grid = lep.Grid(10, step=0.5)
    index = HENON.trajectory(ENDS, grid, inputs={u: drive}, order=4, **PLAIN).morse_index
    with pytest.raises(lep.ConvergenceError, match=rf"leaves the branch .*\(Morse index {index} against"):
        HENON.gradient(ENDS, grid, COST, estimator=lep.Centered(200.0), **options)


def test_paths_between_distant_ends():
    """Ends that Newton does not reach from the straight line."""
    L = vx**2 + vz**2/2 + vx*vz*sp.cos(x - z) + 9.81*(2*sp.cos(x) + sp.cos(z))
    pendula, grid = lep.System(L, coordinates=[x, z]), lep.Grid(50, duration=1.0)
    path = pendula.trajectory(lep.Ends([0.3, -0.2], [1.0, 0.5]), grid, order=4, **PLAIN)
    again = pendula.trajectory(lep.Initial(path.q[0], p=path.p[0]), grid, order=4, **PLAIN)
    assert_close(again.q, path.q, 1e-8)
    near = pendula.trajectory(lep.Ends([0.3, -0.2], [1.0, 0.5]), grid, **PLAIN)
    assert np.abs(near.q - path.q).max() < 1e-2


def test_a_guess_has_the_nodes_of_the_grid():
    grid = lep.Grid(12, step=0.25)
    begin = HENON.trajectory(START, grid, inputs={u: drive}, **PLAIN)
    ends = lep.Ends(begin.q[0], begin.q[-1], guess=begin.q)
    path = HENON.trajectory(ends, grid, inputs={u: drive}, order=4, **PLAIN)
    assert np.abs(path.q - begin.q).max() < 0.05
    with pytest.raises(ValueError, match=r"guess must be of shape \(13, 2\)"):
        HENON.trajectory(lep.Ends([0.0, 0.0], [1.0, 1.0], guess=begin.q[1:]), grid, inputs={u: drive}, order=4)


NET = lep.System(
    [lep.Term(m*vx**2/2 - k*x**2/2 - a*x**4/4, on=[x], at=np.arange(4)),
     lep.Term(-r*(x - z)**2/2, on=[x, z], at=[[0, 1], [1, 2], [2, 3]])],
    size=4, parameters={m: 1.0, k: np.linspace(0.5, 1.5, 4), a: 0.3, r: np.ones(3)},
)  # fmt: skip
READ = lep.Cost((x - y)**2/2, on=[x], at=[1, 3], targets=[y])


@pytest.mark.parametrize(
    ("method", "boundary"),
    [("verlet", "initial"), ("verlet", "ends"), ("midpoint", "initial"), ("midpoint", "ends")],
)
@pytest.mark.slow
def test_compiled_is_the_plain_path(method, boundary):
    """A batch of networks, by every estimator; a sample has what it has alone."""
    rng = np.random.default_rng(0)
    grid, begin = lep.Grid(6, step=0.3), rng.normal(size=(2, 3, 4))*0.4
    where = lep.Initial(begin[0], v=begin[1]) if boundary == "initial" else lep.Ends(begin[0], begin[1])
    options = {"targets": {y: rng.normal(size=(3, 1, 2))}, "method": method, "order": 4}
    alone = lep.Initial(begin[0, 1], v=begin[1, 1]) if boundary == "initial" else lep.Ends(begin[0, 1], begin[1, 1])
    for estimator in (lep.Exact(), lep.Adjoint(), lep.Centered(1e-3)):
        plain = NET.gradient(where, grid, READ, estimator=estimator, **options, **PLAIN)
        fast = NET.gradient(where, grid, READ, estimator=estimator, **options)
        tolerance = 1e-9 if isinstance(estimator, lep.Centered) else 1e-11
        assert_close(fast.losses, plain.losses, 1e-13)
        for symbol in (m, k, a, r):
            assert_close(fast[symbol], plain[symbol], tolerance)
    path = NET.trajectory(where, grid, method=method, order=4)
    slow = NET.trajectory(alone, grid, method=method, order=4, **PLAIN)
    for name in ("q", "p", "v", "energy", "action"):
        assert_close(getattr(path, name)[1], getattr(slow, name), 1e-11)


def test_check_and_fit_know_the_order():
    grid = lep.Grid(5, step=0.3)
    options = {"targets": {y: aim}, "inputs": {u: drive}, "order": 4, **PLAIN}
    assert HENON.check(START, grid, COST, **options).passed
    assert HENON.check(ENDS, grid, COST, **options).passed
    history = HENON.fit(START, grid, COST, epochs=3, optimiser=lep.SGD(0.05), progress=False, train=[a], **options)
    first = HENON.gradient(START, grid, COST, **options)
    assert_close(history.loss[0], first.loss, 1e-14)
    assert history.loss[2] < history.loss[0]
    assert "env.table[4]" in HENON.source(order=4, compiled=False)


def test_order_two_is_the_method_itself():
    grid = lep.Grid(9, step=0.2)
    given, plain = (HENON.trajectory(START, grid, inputs={u: drive}, **PLAIN, **o) for o in ({"order": 2}, {}))
    assert np.array_equal(given.q, plain.q)


@pytest.mark.parametrize("order", [0, 3, 5, 10, 4.0, "4", True])
def test_a_bad_order_is_refused_by_name(order):
    with pytest.raises(ValueError, match="order must be 2, 4, 6 or 8; got"):
        HENON.trajectory(START, lep.Grid(3, step=0.1), inputs={u: drive}, order=order)
    with pytest.raises(ValueError, match="order must be 2, 4, 6 or 8; got"):
        PENDULA.gradient(START, lep.Grid(3, step=0.1), COST, targets={y: 0.0}, inputs={u: drive}, order=order)


def test_what_does_not_go_together():
    grid = lep.Grid(3, step=0.1)
    with pytest.raises(ValueError, match="order must be given with 'verlet' or 'midpoint'"):
        HENON.trajectory(START, grid, inputs={u: drive}, method="gauss", order=4)
    with pytest.raises(ValueError, match="stages must be given with method='gauss' alone"):
        HENON.trajectory(START, grid, inputs={u: drive}, stages=4, order=4)
    with pytest.raises(ValueError, match="method must fit the Lagrangian"):
        PENDULA.trajectory(START, grid, inputs={u: drive}, method="verlet", order=4)


def test_the_longest_substep_must_be_stable():
    """2/w over the largest |gamma|, which is 0.658 at order 4."""
    spring = lep.System(q.diff(t)**2/2 - 100*q**2/2, coordinates=[q])
    limit = 0.2/0.6579630871775028
    with pytest.raises(ValueError, match=rf"step must be below {limit:.4g} .*the longest sub-step"):
        spring.trajectory(lep.Initial([1.0], v=[0.0]), lep.Grid(3, step=1.01*limit), order=4, **PLAIN)
    with pytest.warns(lep.AccuracyWarning):
        spring.trajectory(lep.Initial([1.0], v=[0.0]), lep.Grid(3, step=0.9*limit), order=4, **PLAIN)
    spring.trajectory(lep.Initial([1.0], v=[0.0]), lep.Grid(3, step=0.5*limit), order=4, **PLAIN)


def test_failures_name_steps_of_the_grid():
    wall = lep.System(q.diff(t)**2/2 + q**4, coordinates=[q])
    grid = lep.Grid(40, step=0.1)
    with pytest.raises(lep.ConvergenceError, match=r"at step (\d+)") as caught:
        wall.trajectory(lep.Initial([2.0], v=[3.0]), grid, order=4, stability="ignore", **PLAIN)
    step = int(str(caught.value).split("at step ")[1].split()[0])
    assert 0 < step < 15 and f"(t = {step*0.1:.4g})" in str(caught.value)


def test_refined_times_are_symmetric():
    for order in ORDERS:
        grid = Refined(lep.Grid(3, step=0.5, start=-0.75), substeps(order))
        times = grid.times(0, grid.steps + 1)
        np.testing.assert_allclose(times, -times[::-1], rtol=0, atol=1e-15)
        np.testing.assert_allclose(np.diff(times), grid.sizes(np.arange(grid.steps)), rtol=0, atol=1e-15)
        np.testing.assert_array_equal(times[:: grid.substeps], grid.coarse.t)
