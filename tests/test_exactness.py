"""Every gradient against complex steps through an integrator that shares no code with the library (see oracles)."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from oracles import (
    Loss,
    Mechanics,
    assert_agrees,
    assert_close,
    complex_step,
    drive,
    drive_of,
    ends_gradients,
    initial_gradients,
    run,
)  # fmt: skip
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep

t = dynamicsymbols._t
q, x, z = dynamicsymbols("q x z")
m, M, k, a, b, w, u, s, y, g = sp.symbols("m M k a b w u s y g")
vq, vx, vz = q.diff(t), x.diff(t), z.diff(t)
PLAIN = {"compiled": False}
ESTIMATORS = {
    "exact": (lep.Exact(), 1e-11),
    "adjoint": (lep.Adjoint(), 1e-11),
    "holomorphic": (lep.Holomorphic(), 1e-9),
    "centered": (lep.Centered(1e-4), 2e-7),
    "one-sided": (lep.OneSided(1e-6), 2e-4),
}
CASES = {
    "duffing": (m*vq**2/2 - k*q**2/2 - a*q**4/4, [q], {m: 1.3, k: 0.8, a: 0.4}, "verlet midpoint"),
    "swung in time": (m*vq**2/2 - k*(1 + b*sp.cos(2*t))*sp.cosh(q), [q], {m: 0.9, k: 0.8, b: 0.3}, "verlet midpoint"),
    "two masses": (
        m*vx**2/2 + M*vz**2/2 - k*(x - z)**2/2 - a*sp.sin(x)*z**3, [x, z],
        {m: 1.2, M: 0.7, k: 1.1, a: 0.3}, "verlet midpoint",
    ),
    "double pendulum": (
        (m + M)*vx**2/2 + M*vz**2/2 + M*vx*vz*sp.cos(x - z) + (m + M)*a*sp.cos(x) + M*a*sp.cos(z),
        [x, z], {m: 1.0, M: 0.6, a: 1.5}, "midpoint",
    ),
    "magnetic": (
        m*(vx**2 + vz**2)/2 + b*(x*vz - z*vx)/2 - k*(x**2 + 2*z**2)/2 + a*x*vx*z**2, [x, z],
        {m: 1.1, b: 0.9, k: 0.7, a: 0.2}, "midpoint",
    ),
    "growing mass": (sp.exp(b*t)*(m*vq**2/2 - k*(1 - sp.cos(q))), [q], {b: 0.2, m: 1.1, k: 0.9}, "midpoint"),
    "relativistic": (-m*sp.sqrt(1 - vq**2) - k*q**2/2, [q], {m: 1.3, k: 0.7}, "midpoint"),
}  # fmt: skip
RUNS = [(name, method) for name, case in CASES.items() for method in case[3].split()]
GRID = lep.Grid(12, step=0.17, start=0.3)
SHORT = lep.Grid(12, step=0.05, start=0.3)  # long before any conjugate point
TARGET = 0.5*np.sin(0.7*GRID.t)
START = {1: ([0.6], [0.4]), 2: ([0.6, -0.3], [0.4, 0.5])}


def problem(name):
    """A system, a sum of two costs with a parameter, and the same for the oracle."""
    expression, coordinates, parameters, _ = CASES[name]
    system = lep.System(expression, coordinates=coordinates, parameters=parameters)
    path, end = g*(coordinates[0] - y)**2/2 + coordinates[-1]**3/5, sp.exp(coordinates[0])*k
    if k not in parameters:
        end = sp.exp(coordinates[0])
    costs = [lep.Cost(path, targets=[y], parameters={g: 1.4}), lep.Cost(end, when="end")]
    symbols = [*parameters, g]
    losses = Loss(path, coordinates, [y], symbols), Loss(end, coordinates, (), symbols, end=True)

    def loss(q, grid, theta, targets):
        return losses[0](q, grid, theta, targets) + losses[1](q, grid, theta)

    return system, costs, symbols, Mechanics(expression, coordinates, symbols), loss, [*parameters.values(), 1.4]


@pytest.mark.parametrize("fixed", ["v", "p"])
@pytest.mark.parametrize(("name", "method"), RUNS)
def test_initial_gradients(name, method, fixed):
    system, costs, symbols, mechanics, loss, theta = problem(name)
    position, other = START[mechanics.size]
    expected = initial_gradients(mechanics, method, loss, position, GRID, theta, **{fixed: other}, targets=[TARGET])
    start, options = lep.Initial(q=position, **{fixed: other}), {"targets": {y: TARGET}, "method": method, **PLAIN}
    for estimator, tolerance in ESTIMATORS.values():
        result = system.gradient(start, GRID, costs, estimator=estimator, **options)
        assert_agrees(result, expected, symbols, tolerance, fixed)


@pytest.mark.parametrize("free", [(False, False), (True, False), (False, True), (True, True)], ids=str)
@pytest.mark.parametrize(("name", "method"), RUNS)
def test_ends_gradients(name, method, free):
    if name == "two masses" and all(free):
        name = "magnetic" if method == "midpoint" else "duffing"  # at rest, two masses and a spring may be anywhere
    system, costs, symbols, mechanics, loss, theta = problem(name)
    start, stop = (None if natural else position for natural, position in zip(free, ([0.6, -0.3], [0.7, 0.2])))
    cut = slice(mechanics.size)
    ends = lep.Ends(*(end and end[cut] for end in (start, stop)))
    path = system.trajectory(ends, SHORT, method=method, **PLAIN)
    expected = ends_gradients(mechanics, method, loss, path.q, SHORT, theta, free=free, targets=[TARGET])
    for estimator, tolerance in ESTIMATORS.values():
        result = system.gradient(ends, SHORT, costs, targets={y: TARGET}, estimator=estimator, method=method, **PLAIN)
        assert_agrees(result, expected, symbols, 10*tolerance)


MACHINE = [("duffing", "verlet", name) for name in ESTIMATORS]
MACHINE += [("magnetic", "midpoint", name) for name in ("exact", "adjoint", "centered")]


@pytest.mark.parametrize(("name", "method", "estimator"), MACHINE)
def test_machine_code_gives_the_same(name, method, estimator):
    system, costs, _, _, _, _ = problem(name)
    estimator = ESTIMATORS[estimator][0]
    options = {"targets": {y: TARGET}, "estimator": estimator, "method": method}
    start, stop = np.array([0.6, -0.3])[: system.size], np.array([0.9, 0.2])[: system.size]
    for boundary in (lep.Initial(start, v=stop), lep.Ends(start, stop), lep.Ends(start, None)):
        one, two = (system.gradient(boundary, SHORT, costs, compiled=compiled, **options) for compiled in (True, False))
        tolerance = 1e-6 if isinstance(estimator, lep.OneSided) else 1e-8
        assert_close(one.loss, two.loss, 1e-13)
        for symbol in one.parameters:
            assert_close(one[symbol], two[symbol], tolerance)


def test_the_simplest_leapfrog_by_hand():
    """Kick, drift, kick of a Duffing oscillator in four lines."""
    def J(theta, h=0.17):
        mass, stiffness, quartic, x, v = theta
        total, force = 0.5*h*x**2/2, -stiffness*x - quartic*x**3
        for k in range(12):
            v = v + 0.5*h*force/mass
            x = x + h*v
            force = -stiffness*x - quartic*x**3
            v = v + 0.5*h*force/mass
            total += (0.5 if k == 11 else 1.0)*h*x**2/2
        return total

    expected = complex_step(J, [1.3, 0.8, 0.4, 0.6, 0.4])
    expression, coordinates, parameters, _ = CASES["duffing"]
    system = lep.System(expression, coordinates=coordinates, parameters=parameters)
    result = system.gradient(lep.Initial([0.6], [0.4]), GRID, lep.Cost(q**2/2), **PLAIN)
    assert_close([result[m], result[k], result[a], *result.initial.q, *result.initial.v], expected, 1e-12)


DRIVEN = m*vq**2/2 - k*q**2/2 - a*q**4/4 + u*q - b*s*q**2


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("kind", ["array", "callable"])
@pytest.mark.parametrize("method", ["verlet", "midpoint"])
def test_inputs(method, kind, estimator):
    theta = {m: 1.3, k: 0.8, a: 0.4, b: 0.6}
    system = lep.System(DRIVEN, coordinates=[q], parameters=theta, inputs=[u, s])
    functions = [lambda time: np.cos(1.3*time), lambda time: time**2/4]
    nodes = np.stack([f(GRID.t) for f in functions], 1)
    mechanics, loss = Mechanics(DRIVEN, [q], list(theta), [u, s]), Loss((q - 1)**2/2, [q], (), list(theta))
    if kind == "array":
        given, driven = dict(zip([u, s], nodes.T)), drive(nodes, method, GRID.steps)
    else:
        given, driven = dict(zip([u, s], functions)), drive_of(functions, method, GRID)
    values = list(theta.values())
    expected = initial_gradients(mechanics, method, loss, [0.6], GRID, values, v=[0.4], u=driven, first=nodes[0])
    estimator, tolerance = ESTIMATORS[estimator]
    options = {"inputs": given, "method": method, "estimator": estimator, **PLAIN}
    result = system.gradient(lep.Initial([0.6], [0.4]), GRID, lep.Cost((q - 1)**2/2), **options)
    assert_agrees(result, expected, list(theta), tolerance)


@pytest.mark.parametrize("kind", ["array", "callable"])
def test_an_input_in_the_momentum_is_read_at_the_first_node(kind):
    """p_0 = L_v at t_0, although the midpoint rule reads inputs in the middles."""
    expression, theta = m*vq**2/2 + u*b*q*vq - k*q**2/2, {m: 1.3, k: 0.8, b: 0.6}
    system = lep.System(expression, coordinates=[q], parameters=theta, inputs=[u])
    function = lambda time: np.cos(1.3*time)  # noqa: E731
    nodes = function(GRID.t)[:, None]
    driven = drive(nodes, "midpoint", GRID.steps) if kind == "array" else drive_of([function], "midpoint", GRID)
    mechanics, loss = Mechanics(expression, [q], list(theta), [u]), Loss(q**4, [q], (), list(theta))
    values = list(theta.values())
    expected = initial_gradients(mechanics, "midpoint", loss, [0.6], GRID, values, v=[0.4], u=driven, first=nodes[0])
    given = {u: nodes[:, 0] if kind == "array" else function}
    result = system.gradient(lep.Initial([0.6], [0.4]), GRID, lep.Cost(q**4), inputs=given, **PLAIN)
    assert_agrees(result, expected, list(theta), 1e-11)


@pytest.mark.parametrize("method", ["verlet", "midpoint"])
@pytest.mark.parametrize("options", [{}, {"when": "end"}, {"weights": np.linspace(-1, 2, 13)}], ids=" ".join)
def test_weights_of_a_cost(options, method):
    expression, coordinates, parameters, _ = CASES["duffing"]
    system = lep.System(expression, coordinates=coordinates, parameters=parameters)
    loss = Loss(sp.cos(q)*t, [q], (), list(parameters), options.get("when") == "end", options.get("weights"))
    mechanics = Mechanics(expression, coordinates, list(parameters))
    expected = initial_gradients(mechanics, method, loss, [0.6], GRID, list(parameters.values()), v=[0.4])
    start, cost = lep.Initial([0.6], [0.4]), lep.Cost(sp.cos(q)*t, **options)
    for estimator, tolerance in ESTIMATORS.values():
        result = system.gradient(start, GRID, cost, method=method, estimator=estimator, **PLAIN)
        assert_agrees(result, expected, list(parameters), 10*tolerance)


@pytest.mark.parametrize("method", ["verlet", "midpoint"])
def test_a_callable_target_is_read_at_the_nodes(method):
    expression, coordinates, parameters, _ = CASES["duffing"]
    system = lep.System(expression, coordinates=coordinates, parameters=parameters)
    cost = lep.Cost((q - y)**2, targets=[y])
    one, two = (
        system.gradient(lep.Initial([0.6], [0.4]), GRID, cost, targets={y: value}, method=method, **PLAIN)
        for value in (np.exp, np.exp(GRID.t))
    )
    assert one.loss == two.loss and one[k] == two[k]


def test_velocity_and_momentum_held_fixed_differ_for_the_mass_alone():
    """Forgetting -(d_m p_0) d_beta q_0 would make them equal."""
    expression, coordinates, parameters, _ = CASES["duffing"]
    system = lep.System(expression, coordinates=coordinates, parameters=parameters)
    at_v = system.gradient(lep.Initial([0.6], v=[0.4]), GRID, lep.Cost(q**2), **PLAIN)
    at_p = system.gradient(lep.Initial([0.6], p=[0.4*1.3]), GRID, lep.Cost(q**2), **PLAIN)
    assert_close(at_v[k], at_p[k], 1e-12)
    assert_close(at_v[m], at_p[m] + 0.4*at_p.initial.p[0], 1e-12)
    assert abs(at_v[m] - at_p[m]) > 0.1*abs(at_v[m])


def test_sign_convention():
    """Free particle, J = q_N: dJ/dq_0 = 1, dJ/dp_0 = T/m, dJ/dm = -T p_0/m^2, and a force f adds T^2/2m of itself."""
    f = sp.Symbol("f")
    system = lep.System(m*vq**2/2 + f*q, coordinates=[q], parameters={m: 2.0, f: 0.0})
    start, grid, cost = lep.Initial([0.5], p=[1.0]), lep.Grid(10, duration=3.0), lep.Cost(q, when="end")
    for estimator in (lep.Exact(), lep.Adjoint(), lep.Centered(0.1), lep.OneSided(1e-6), lep.Holomorphic(0.1)):
        tolerance = 1e-5 if isinstance(estimator, lep.OneSided) else 1e-12
        result = system.gradient(start, grid, cost, estimator=estimator, **PLAIN)
        assert_close(result.initial.q, [1.0], tolerance)
        assert_close(result.initial.p, [1.5], tolerance)
        assert_close(result[m], -0.75, tolerance)
        assert_close(result[f], 2.25, tolerance)


def test_positive_nudges_push_to_lower_cost():
    """V -> V + beta c: seen from its end, the nudged path comes from where a force -beta c' acted."""
    system = lep.System(vq**2/2, coordinates=[q])
    cost = lep.Cost(q**2/2, weights=[0, 0, 1, 0, 0])
    nudged = system.trajectory(lep.Initial([1.0], v=[0.0]), lep.Grid(4, step=1.0), cost=cost, nudge=0.25, **PLAIN)
    velocity = np.diff(nudged.q[:, 0])
    assert_close(velocity[2] - velocity[1], -0.25*nudged.q[2, 0], 1e-14)


def test_time_reading_costs():
    """The explicit time of a cost and of a Lagrangian begin at the grid's start."""
    system = lep.System(vq**2/2 + t*q, coordinates=[q])
    grid = lep.Grid(40, step=0.05, start=-1.0)
    path = system.trajectory(lep.Initial([0.0], v=[0.0]), grid, method="midpoint", **PLAIN)
    exact = (path.t + 1)**3/6 - (path.t + 1)**2/2
    assert_close(path.q[:, 0], exact, 1e-3)
    mechanics = Mechanics(vq**2/2 + t*q, [q])
    assert_close(path.q, run(mechanics, "midpoint", [0.0], [0.0], [], grid)[0].real, 1e-13)


@pytest.mark.parametrize("power", "-7/2 -3 -5/2 -2 -3/2 -1 -1/2 1/2 3/2 5/2 7/2 5 -1/3 67".split())
def test_powers(power):
    """The force and its derivative of every kind of power that is written as products and roots."""
    n, grid = sp.Rational(power), lep.Grid(4, step=0.1)
    system = lep.System(m*vq**2/2 - k*q**n, coordinates=[q], parameters={m: 1.0, k: 0.1})
    mechanics, loss = Mechanics(m*vq**2/2 - k*q**n, [q], [m, k]), Loss(q**n, [q], (), [m, k])
    expected = initial_gradients(mechanics, "midpoint", loss, [0.9], grid, [1.0, 0.1], v=[0.1])
    result = system.gradient(lep.Initial([0.9], v=[0.1]), grid, lep.Cost(q**n), method="midpoint", **PLAIN)
    assert_agrees(result, expected, [m, k], 1e-11)


def test_central_force():
    """1/r in two coordinates: the force is r/r^3."""
    expression = m*(vx**2 + vz**2)/2 + k/sp.sqrt(x**2 + z**2)
    system = lep.System(expression, coordinates=[x, z], parameters={m: 1.1, k: 0.9})
    mechanics, loss = Mechanics(expression, [x, z], [m, k]), Loss(x*z, [x, z], (), [m, k])
    for method in ("verlet", "midpoint"):
        expected = initial_gradients(mechanics, method, loss, [1.2, 0.1], SHORT, [1.1, 0.9], v=[0.1, 0.7])
        result = system.gradient(lep.Initial([1.2, 0.1], v=[0.1, 0.7]), SHORT, lep.Cost(x*z), method=method, **PLAIN)
        assert_agrees(result, expected, [m, k], 1e-11)
