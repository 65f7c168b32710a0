"""Lagrangians with terms linear in the velocity, and what no exact gradient may depend on: gauge and overall scale."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from oracles import Loss, Mechanics, assert_agrees, assert_close, ends_gradients, initial_gradients
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep

t = dynamicsymbols._t
x, z = dynamicsymbols("x z")
m, e, B, b, c, w, s, a, f, y = sp.symbols("m e B b c w s a f y")
vx, vz = x.diff(t), z.diff(t)
PLAIN = {"compiled": False}
ESTIMATORS = {
    "exact": (lep.Exact(), 1e-11),
    "adjoint": (lep.Adjoint(), 1e-11),
    "holomorphic": (lep.Holomorphic(), 1e-9),
    "centered": (lep.Centered(1e-4), 2e-7),
    "one-sided": (lep.OneSided(1e-6), 2e-4),
}
GRID = lep.Grid(12, step=0.07, start=0.3)
START = [0.8, -0.3], [0.4, 0.9]
TARGET = 0.5*np.sin(0.7*GRID.t)
R2 = x**2 + z**2
KINETIC = m*(vx**2 + vz**2)/2
CASES = {
    # a field that grows outwards, e B (1 + b r^2): all of it trained
    "growing field": (KINETIC + e*B*(1 + b*R2/2)*(x*vz - z*vx)/2 - e*c*R2/2, {m: 1.1, e: 0.8, B: 1.5, b: 0.3, c: 0.2}),
    # a vector potential that changes in time drives the particle too: E = -dA/dt
    "induction": (
        KINETIC + e*B*sp.cos(w*t)*(x*vz - z*vx)/2 + a*sp.sin(x*z)*vx - c*x**4/4,
        {m: 0.9, e: 1.2, B: 0.7, w: 2.1, a: 0.4, c: 0.5},
    ),
    # Foucault's pendulum seen from the turning earth: Coriolis force and centrifugal potential
    "turning frame": (
        m*((vx - w*z)**2 + (vz + w*x)**2)/2 - c*R2/2, {m: 1.3, w: 0.6, c: 2.0},
    ),
}  # fmt: skip


def problem(name):
    expression, parameters = CASES[name]
    system = lep.System(expression, coordinates=[x, z], parameters=parameters)
    density = (x - y)**2/2 + z**3/5
    return (
        system, lep.Cost(density, targets=[y]), list(parameters), list(parameters.values()),
        Mechanics(expression, [x, z], list(parameters)), Loss(density, [x, z], [y], list(parameters)),
    )  # fmt: skip


@pytest.mark.parametrize("fixed", ["v", "p"])
@pytest.mark.parametrize("name", CASES)
def test_gyroscopic_terms_from_initial_data(name, fixed):
    system, cost, symbols, theta, mechanics, loss = problem(name)
    position, other = START
    expected = initial_gradients(mechanics, "midpoint", loss, position, GRID, theta, **{fixed: other}, targets=[TARGET])
    for estimator, tolerance in ESTIMATORS.values():
        found = system.gradient(
            lep.Initial(position, **{fixed: other}), GRID, cost, targets={y: TARGET}, estimator=estimator, **PLAIN
        )  # fmt: skip
        assert_agrees(found, expected, symbols, tolerance, fixed)


ENDS = [*((name, (False, False)) for name in CASES), ("turning frame", (False, True))]


@pytest.mark.parametrize(("name", "free"), ENDS)
def test_gyroscopic_terms_between_two_ends(name, free):
    system, cost, symbols, theta, mechanics, loss = problem(name)
    ends = lep.Ends(START[0], None if free[1] else [1.0, 0.4])
    path = system.trajectory(ends, GRID, **PLAIN)
    expected = ends_gradients(mechanics, "midpoint", loss, path.q, GRID, theta, free=free, targets=[TARGET])
    for estimator, tolerance in ESTIMATORS.values():
        found = system.gradient(ends, GRID, cost, targets={y: TARGET}, estimator=estimator, **PLAIN)
        assert_agrees(found, expected, symbols, 10*tolerance)


def test_a_batch_in_a_magnetic_field_by_machine_code():
    """Straight-line code in lanes and loops over places, sample by sample."""
    system, cost, symbols, theta, mechanics, loss = problem("growing field")
    q = np.array([[0.8, -0.3], [0.5, 0.2], [-0.4, 0.6]])
    v = np.array([[0.4, 0.9], [-0.7, 0.1], [0.2, 0.3]])
    expected = [
        initial_gradients(mechanics, "midpoint", loss, q[b], GRID, theta, v=v[b], targets=[TARGET]) for b in range(3)
    ]
    for name in ("exact", "adjoint"):
        estimator, tolerance = ESTIMATORS[name]
        found = system.gradient(lep.Initial(q, v=v), GRID, cost, targets={y: TARGET}, estimator=estimator)
        assert_close(found.losses, [each["loss"] for each in expected], 1e-13)
        assert_close([found[k] for k in symbols], np.mean([each["theta"] for each in expected], 0), tolerance)
        assert_close(found.initial.v, np.array([each["other"] for each in expected])/3, tolerance)


# ---------------------------------------------------------------------- L -> L + dF/dt
def with_gauge(F):
    """The growing field with a total time derivative of f F added."""
    expression, parameters = CASES["growing field"]
    return lep.System(expression + f*F.diff(t), coordinates=[x, z], parameters={**parameters, f: 0.7})


def gauge_gradients(F, boundary, grid, estimator):
    """The gradients with the gauge term and without it."""
    cost = lep.Cost((x - 0.4)**2/2 + z**3/5)
    plain = lep.System(CASES["growing field"][0], coordinates=[x, z], parameters=CASES["growing field"][1])
    options = {"estimator": estimator, "method": "midpoint", **PLAIN}
    return with_gauge(F).gradient(boundary, grid, cost, **options), plain.gradient(boundary, grid, cost, **options)


BOUNDARIES = {"initial": lep.Initial(*START), "ends": lep.Ends(START[0], [1.0, 0.4])}
# The midpoint rule keeps these exactly: F(q_{k+1}, t_{k+1}) - F(q_k, t_k) is h dF/dt in the middle.
EXACT_GAUGES = {"quadratic": x*z + sp.Rational(3, 2)*x**2 - z**2/2, "with time": x*t - 2*z*t + x**2,
                "of time": t**2 + x}  # fmt: skip


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("gauge", EXACT_GAUGES)
def test_a_total_derivative_changes_no_gradient(gauge, boundary):
    estimators = {"exact": 1e-12, "adjoint": 1e-12, "holomorphic": 1e-9, "centered": 1e-8}
    for name, tolerance in estimators.items():
        found, plain = gauge_gradients(EXACT_GAUGES[gauge], BOUNDARIES[boundary], GRID, ESTIMATORS[name][0])
        size = max(np.abs(found[k]).max() for k in plain.parameters)
        assert abs(found[f]) <= tolerance*size, name
        assert_close([found[k] for k in plain.parameters], [plain[k] for k in plain.parameters], 10*tolerance)
        assert_close(found.loss, plain.loss, 1e-12)


def test_a_gauge_at_fixed_momentum_is_another_question():
    """p_0 contains F_q: held fixed, the velocity changes with f, and so does the loss."""
    found, _ = gauge_gradients(x*z, lep.Initial(START[0], p=START[1]), GRID, lep.Exact())
    assert abs(found[f]) > 1e-3


def test_other_gauges_vanish_with_the_square_of_the_step():
    left = []
    for steps in (20, 40, 80):
        grid = lep.Grid(steps, duration=0.84)
        left.append(abs(gauge_gradients(sp.sin(x)*z**2*(1 + t), BOUNDARIES["initial"], grid, lep.Exact())[0][f]))
    assert 3.8 < left[0]/left[1] < 4.2 and 3.8 < left[1]/left[2] < 4.2


# ---------------------------------------------------------------------- L -> s L
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("method", ["verlet", "midpoint"])
def test_the_scale_of_the_action_is_not_seen(method, boundary):
    """Stationary points of s S are those of S: dJ/ds = 0 at fixed velocity and between fixed ends."""
    magnetic = 0 if method == "verlet" else B*(1 + R2/2)*(x*vz - z*vx)
    parameters = {s: 1.3, m: 1.1, c: 0.6} | ({} if method == "verlet" else {B: 0.8})
    expression = s*(KINETIC + magnetic - c*R2/2 - x**2*z**2)
    system, cost = lep.System(expression, coordinates=[x, z], parameters=parameters), lep.Cost((x - 0.4)**2/2 + z**3/5)
    for name, tolerance in {"exact": 1e-12, "adjoint": 1e-12, "holomorphic": 1e-9}.items():
        found = system.gradient(
            BOUNDARIES[boundary], GRID, cost, method=method, estimator=ESTIMATORS[name][0], **PLAIN
        )  # fmt: skip
        assert abs(found[s]) <= tolerance*np.abs(found[c])
    at_p = system.gradient(lep.Initial(START[0], p=START[1]), GRID, cost, method=method, **PLAIN)
    assert abs(at_p[s]) > 1e-3*abs(at_p[c])


def test_only_the_ratio_of_charge_and_mass_matters():
    """m dJ/dm + e dJ/de = 0 for a charge in given fields at fixed velocity."""
    system, cost, *_ = problem("growing field")
    found = system.gradient(lep.Initial(*START), GRID, cost, targets={y: TARGET}, **PLAIN)
    assert abs(1.1*found[m] + 0.8*found[e]) <= 1e-12*abs(found[m])
