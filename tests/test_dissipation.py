"""Damping in proportion to mass: the weighted action against complex steps through an integrator of its own."""

from __future__ import annotations

import warnings

import numpy as np
import oracles
import pytest
import sympy as sp
from oracles import Loss, Mechanics, assert_agrees, assert_close, drive, ends_gradients, initial_gradients, run
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep

t = dynamicsymbols._t
q, x, z = dynamicsymbols("q x z")
m, k, a, b, u, y, gamma = sp.symbols("m k a b u y gamma")
vq, vx, vz = q.diff(t), x.diff(t), z.diff(t)
PLAIN = {"compiled": False}
BOTH = pytest.mark.parametrize("method", ["verlet", "midpoint"])


def weighted(rule, rate=-1):
    """The rule with L_d times e^{gamma (t + h/2)}; gamma is the last parameter."""

    def times(mechanics, x, y, t, h, theta, u):
        return tuple(np.exp(theta[rate]*(t + h/2))*part for part in rule(mechanics, x, y, t, h, theta, u))

    return times


class Weighted(Mechanics):
    """Mechanics whose nodal momentum has the weight of its node."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        bare = self.momentum
        self.momentum = lambda q, v, t, theta, u: np.exp(theta[-1]*t)*np.array(bare(q, v, t, theta, u))


@pytest.fixture(autouse=True)
def rules(monkeypatch):
    monkeypatch.setattr(oracles, "RULES", {name: weighted(rule) for name, rule in oracles.RULES.items()})


# A drive at the nodes, an explicit time in the potential and a shared parameter: each has its own place to go wrong.
DRIVEN = m*vq**2/2 - k*q**2/2 - a*q**4/4 + u*q - b*q**2*sp.cos(1.7*t)
DRIVEN_VALUES = {m: 1.3, k: 0.8, a: 0.4, b: 0.2, gamma: 0.35}
GRID = lep.Grid(14, step=0.17, start=0.3)
SHORT = lep.Grid(14, step=0.06, start=0.3)  # long before any conjugate point
DRIVE = 0.5*np.cos(1.3*GRID.t)
TARGET = 0.5*np.sin(0.7*GRID.t)
ESTIMATORS = [
    (lep.Exact(), 1e-11), (lep.Adjoint(), 1e-11), (lep.Holomorphic(), 1e-9), (lep.Centered(1e-4), 2e-7),
    (lep.OneSided(1e-6), 2e-4),
]  # fmt: skip


def driven():
    system = lep.System(DRIVEN, coordinates=[q], parameters=DRIVEN_VALUES, inputs=[u], damping=gamma)
    cost = lep.Cost((q - y)**2/2 + q**3/7, targets=[y])
    return system, cost, Weighted(DRIVEN, [q], list(DRIVEN_VALUES), [u]), Loss(cost.expression, [q], [y])


@BOTH
@pytest.mark.parametrize("fixed", ["v", "p"])
def test_initial_gradients(method, fixed):
    system, cost, mechanics, loss = driven()
    values = list(DRIVEN_VALUES.values())
    expected = initial_gradients(
        mechanics, method, lambda q, grid, theta, targets: loss(q, grid, (), targets), [0.6], GRID, values,
        u=drive(DRIVE[:, None], method, GRID.steps), first=[DRIVE[0]], targets=[TARGET], **{fixed: [0.4]},
    )  # fmt: skip
    for estimator, tolerance in ESTIMATORS:
        result = system.gradient(
            lep.Initial([0.6], **{fixed: [0.4]}), GRID, cost, targets={y: TARGET}, inputs={u: DRIVE},
            estimator=estimator, method=method, **PLAIN,
        )  # fmt: skip
        assert_agrees(result, expected, list(DRIVEN_VALUES), tolerance, fixed)


@BOTH
@pytest.mark.parametrize("free", [(False, False), (True, False), (False, True)])
def test_ends_gradients(method, free):
    system, cost, mechanics, loss = driven()
    values = list(DRIVEN_VALUES.values())
    ends = lep.Ends(None if free[0] else [0.6], None if free[1] else [0.9])
    options = {"targets": {y: TARGET}, "inputs": {u: DRIVE}, "method": method, **PLAIN}
    path = system.trajectory(ends, SHORT, inputs={u: DRIVE}, method=method, **PLAIN)
    expected = ends_gradients(
        mechanics, method, lambda q, grid, theta, targets: loss(q, grid, (), targets), path.q, SHORT, values, free=free,
        u=drive(DRIVE[:, None], method, SHORT.steps), targets=[TARGET],
    )  # fmt: skip
    for estimator, tolerance in ESTIMATORS:
        result = system.gradient(ends, SHORT, cost, estimator=estimator, **options)
        assert_agrees(result, expected, list(DRIVEN_VALUES), max(tolerance, 1e-10))


COUPLED = m*vx**2/2 + vz**2/2 + b*vx*vz*sp.cos(x) - k*(x - z)**2/2 - a*z**4/4
COUPLED_VALUES = {m: 1.3, k: 0.8, a: 0.4, b: 0.3, gamma: 0.5}


def test_gradients_of_a_lagrangian_that_does_not_separate():
    system = lep.System(COUPLED, coordinates=[x, z], parameters=COUPLED_VALUES, damping=gamma)
    mechanics = Weighted(COUPLED, [x, z], list(COUPLED_VALUES))
    loss = Loss(x**2 - z*x, [x, z], end=True)
    expected = initial_gradients(
        mechanics, "midpoint", lambda q, grid, theta, targets: loss(q, grid), [0.6, -0.2], GRID,
        list(COUPLED_VALUES.values()), v=[0.4, 0.1],
    )  # fmt: skip
    cost = lep.Cost(x**2 - z*x, when="end")
    for estimator, tolerance in ESTIMATORS:
        start = lep.Initial([0.6, -0.2], v=[0.4, 0.1])
        result = system.gradient(start, GRID, cost, estimator=estimator, **PLAIN)
        assert_agrees(result, expected, list(COUPLED_VALUES), tolerance)


@BOTH
def test_nodes_action_and_energy(method):
    """Momenta are those of the weighted Lagrangian; velocities and the energy those of the motion."""
    system, _, mechanics, _ = driven()
    values = list(DRIVEN_VALUES.values())
    path = system.trajectory(lep.Initial([0.6], v=[0.4]), GRID, inputs={u: DRIVE}, method=method, **PLAIN)
    p = np.array(mechanics.momentum([0.6], [0.4], GRID.start, values, [0]))
    labels = drive(DRIVE[:, None], method, GRID.steps)
    qs, ps = run(mechanics, method, [0.6], p, values, GRID, labels)
    assert_close(path.q, qs.real, 1e-12)
    assert_close(path.p, ps.real, 1e-12)
    v = np.exp(-0.35*GRID.t)[:, None]*ps.real/1.3
    assert_close(path.v, v, 1e-12)
    Q, t = path.q[:, 0], GRID.t
    potential = 0.4*Q**2 + 0.1*Q**4 - DRIVE*Q + 0.2*Q**2*np.cos(1.7*t)
    assert_close(path.energy, 0.65*v[:, 0]**2 + potential, 1e-12)
    h, action = GRID.step, 0.0
    for n in range(GRID.steps):
        slope = (path.q[n + 1] - path.q[n])/h
        if method == "midpoint":
            one = mechanics.value((path.q[n] + path.q[n + 1])/2, slope, t[n] + h/2, values, labels[n])
        else:
            one = (mechanics.value(path.q[n], slope, t[n], values, labels[n][0])
                   + mechanics.value(path.q[n + 1], slope, t[n + 1], values, labels[n][1]))/2  # fmt: skip
        action += h*np.exp(0.35*(t[n] + h/2))*one
    assert_close(path.action, action, 1e-12)


def test_the_weight_written_by_hand_is_the_same_for_midpoint():
    bare = m*vq**2/2 - k*q**2/2 - a*q**4/4
    values = {m: 1.3, k: 0.8, a: 0.4, gamma: 0.3}
    system = lep.System(bare, coordinates=[q], parameters=values, damping=gamma)
    hand = lep.System(sp.exp(gamma*t)*bare, coordinates=[q], parameters=values)
    start, cost, options = lep.Initial([0.7], v=[0.1]), lep.Cost(q**2), {"method": "midpoint", **PLAIN}
    one, other = (s.trajectory(start, GRID, **options) for s in (system, hand))
    assert_close(one.q, other.q, 1e-14)
    assert_close(one.p, other.p, 1e-14)
    assert_close(one.energy, other.energy*np.exp(-0.3*GRID.t), 1e-13)
    first, second = (s.gradient(start, GRID, cost, **options) for s in (system, hand))
    for symbol in values:
        assert_close(first[symbol], second[symbol], 1e-13)
    assert system.lagrangian.equals(hand.lagrangian)


@pytest.mark.parametrize("method", ["verlet", pytest.param("gauss", marks=pytest.mark.slow)])
def test_equation_of_motion(method):
    """m q'' + gamma m q' + k q = 0, of the order of the method."""
    system = lep.System(m*vq**2/2 - k*q**2/2, coordinates=[q], parameters={m: 1.3, k: 0.8}, damping=0.4)
    options = {"stages": 2} if method == "gauss" else PLAIN
    rate, frequency = 0.2, np.sqrt(0.8/1.3 - 0.04)
    errors = []
    for steps in (40, 80):
        grid = lep.Grid(steps, duration=8.0)
        path = system.trajectory(lep.Initial([1.0], v=[0.5]), grid, method=method, **options)
        s = frequency*grid.t
        exact = np.exp(-rate*grid.t)*(np.cos(s) + (0.5 + rate)/frequency*np.sin(s))
        errors.append(np.abs(path.q[:, 0] - exact).max())
    order = np.log2(errors[0]/errors[1])
    assert abs(order - (4 if method == "gauss" else 2)) < 0.05, errors


@BOTH
def test_weight_does_not_depend_on_where_time_begins(method):
    """A shift of time scales the action: velocities, energies and gradients other than the rate's own do not see it."""
    system = lep.System(m*vq**2/2 - k*sp.cosh(q), coordinates=[q], parameters={m: 1.3, k: 0.8}, damping=0.4)
    start, cost = lep.Initial([0.7], v=[0.3]), lep.Cost(q**2)
    grids = [lep.Grid(20, step=0.1, start=shift) for shift in (0.0, 3.0)]
    paths = [system.trajectory(start, grid, method=method, **PLAIN) for grid in grids]
    assert_close(paths[0].q, paths[1].q, 1e-13)
    assert_close(paths[0].v, paths[1].v, 1e-13)
    assert_close(paths[0].energy, paths[1].energy, 1e-13)
    found = [system.gradient(start, grid, cost, method=method, **PLAIN) for grid in grids]
    assert_close(found[0][m], found[1][m], 1e-12)
    assert_close(found[0].initial.v, found[1].initial.v, 1e-12)


@BOTH
def test_rates_of_each_sample(method):
    system = lep.System(m*vq**2/2 - k*sp.cosh(q), coordinates=[q], parameters={m: 1.3, k: 0.8, gamma: 0.1},
                        damping=gamma)  # fmt: skip
    rates, start, cost = np.array([0.0, 0.4, -0.3]), lep.Initial([0.7], v=[0.3]), lep.Cost(q**2)
    options = {"method": method, **PLAIN}
    together = system.gradient(start, GRID, cost, parameters={gamma: rates}, **options)
    path = system.trajectory(start, GRID, parameters={gamma: rates}, **options)
    for n, rate in enumerate(rates):
        alone = system.gradient(start, GRID, cost, parameters={gamma: rate}, **options)
        assert_close(3*together[gamma][n], alone[gamma], 1e-13)
        one = system.trajectory(start, GRID, parameters={gamma: rate}, **options)
        assert_close(path.energy[n], one.energy, 1e-13)
        assert_close(path.action[n], one.action, 1e-13)


def test_without_a_rate_nothing_changes():
    plain = lep.System(m*vq**2/2 - k*sp.cosh(q), coordinates=[q], parameters={m: 1.3, k: 0.8})
    system = lep.System(m*vq**2/2 - k*sp.cosh(q), coordinates=[q], parameters={m: 1.3, k: 0.8, gamma: 0.0},
                        damping=gamma)  # fmt: skip
    start, cost = lep.Initial([0.7], v=[0.3]), lep.Cost(q**2)
    for method in ("verlet", "midpoint"):
        one, other = (s.gradient(start, GRID, cost, method=method, **PLAIN) for s in (plain, system))
        assert_close(other[m], one[m], 1e-13)
        assert_close(other.initial.v, one.initial.v, 1e-13)
    zero = lep.System(m*vq**2/2 - k*q**2/2, coordinates=[q], parameters={m: 1.3, k: 0.8}, damping=0)
    assert zero.damping is None and not zero.lagrangian.has(sp.exp)


def test_network():
    """Terms of a network carry the weight each; a chain against the same written out."""
    c, count = sp.Symbol("c"), 4
    edges = np.stack([np.arange(count - 1), np.arange(1, count)], 1)
    net = lep.System(
        [lep.Term(m*vx**2/2 - k*x**2/2 - x**4/8, on=[x], at=np.arange(count)),
         lep.Term(-c*(x - z)**2/2, on=[x, z], at=edges)],
        size=count, parameters={m: 1.2, k: np.full(count, 0.7), c: 0.5, gamma: 0.3}, damping=gamma,
    )  # fmt: skip
    Q = dynamicsymbols(f"q0:{count}")
    total = sum(m*p.diff(t)**2/2 - k*p**2/2 - p**4/8 for p in Q)
    total -= sum(c*(Q[i] - Q[i + 1])**2/2 for i in range(count - 1))
    one = lep.System(total, coordinates=Q, parameters={m: 1.2, k: 0.7, c: 0.5, gamma: 0.3}, damping=gamma)
    start = lep.Initial([0.4, -0.2, 0.6, 0.1], v=[0.1, 0.3, -0.2, 0.4])
    costs = lep.Cost(x**2/2, on=[x], at=[3]), lep.Cost(Q[3]**2/2)
    for method in ("verlet", "midpoint"):
        options = {"method": method, **PLAIN}
        found = [s.gradient(start, GRID, cost, **options) for s, cost in zip((net, one), costs, strict=True)]
        assert_close(found[0][gamma], found[1][gamma], 1e-13)
        assert_close(found[0][k].sum(), found[1][k], 1e-13)


@BOTH
@pytest.mark.slow
def test_compiled_code_does_the_same(method):
    system, cost, _, _ = driven()
    start, ends = lep.Initial([0.6], v=[0.4]), lep.Ends([0.6], [0.9])
    options = {"targets": {y: TARGET}, "inputs": {u: DRIVE}, "method": method}
    for estimator in (lep.Exact(), lep.Adjoint(), lep.Centered(1e-4)):
        for boundary in (start, ends):
            one, other = (system.gradient(boundary, SHORT, cost, estimator=estimator, compiled=c, **options)
                          for c in (True, False))  # fmt: skip
            assert_close([one[s] for s in DRIVEN_VALUES], [other[s] for s in DRIVEN_VALUES], 1e-9)


def test_compiled_midpoint_stands_in_lanes_as_before():
    system, cost, _, _ = driven()
    start = lep.Initial([[0.6], [0.2], [-0.4]], v=[0.4])
    options = {"targets": {y: TARGET}, "inputs": {u: DRIVE}, "method": "midpoint"}
    one, other = (system.gradient(start, GRID, cost, compiled=c, **options) for c in (True, False))
    assert_close([one[s] for s in DRIVEN_VALUES], [other[s] for s in DRIVEN_VALUES], 1e-12)


# ---------------------------------------------------------------------- how far the weight reaches
def linear(damping):
    return lep.System(m*vq**2/2 - k*q**2/2, coordinates=[q], parameters={m: 1.3, k: 0.8}, damping=damping)


def test_times_beyond_the_range_of_doubles_are_refused():
    start, cost = lep.Initial([0.6], v=[0.4]), lep.Cost(q**2)
    with pytest.raises(ValueError, match=r"times up to 1000; got t = 1200"):
        linear(0.3).trajectory(start, lep.Grid(1200, step=1.0), **PLAIN)
    with pytest.raises(ValueError, match=r"times up to 1000; got t = 2000"):
        linear(-0.3).gradient(start, lep.Grid(1, step=1.0, start=-2000.0), cost, **PLAIN)


def test_an_echo_with_much_gain_warns_and_reads_its_span():
    start, cost, grid = lep.Initial([0.6], v=[0.4]), lep.Cost(q**2), lep.Grid(500, duration=50.0)
    with pytest.warns(lep.AccuracyWarning, match=r"below 35 keeps ten digits"):
        found = linear(0.4).gradient(start, grid, cost, estimator=lep.Centered(1e-4), **PLAIN)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        adjoint = linear(0.4).gradient(start, grid, cost, estimator=lep.Adjoint(), **PLAIN)
        exact = linear(0.4).gradient(start, grid, cost, **PLAIN)
    assert_close(found[k], adjoint[k], 1e-6)
    assert_close(exact[k], adjoint[k], 1e-10)


@pytest.mark.parametrize(("given", "message"), [
    (sp.Symbol("rate"), "damping must be a Symbol of parameters with one value.*'rate', which is not in parameters"),
    (k, "damping must be .* 'k' of shape"),
    (np.nan, "damping must be .*; got nan"),
    (True, "damping must be .*; got True"),
    (2*m, "damping must be .*; got 2[*]m"),
    ("gamma", "damping must be .*; got 'gamma'"),
])  # fmt: skip
def test_bad_rates(given, message):
    with pytest.raises(ValueError, match=message):
        lep.System([lep.Term(m*vx**2/2 - k*x**2/2, on=[x], at=[0, 1])], size=2, parameters={m: 1.0, k: [1.0, 2.0]},
                   damping=given)  # fmt: skip
