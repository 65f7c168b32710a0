"""What a trajectory carries besides its nodes, and nudged trajectories."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from oracles import Mechanics, assert_close, run
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep

t = dynamicsymbols._t
q, x, z = dynamicsymbols("q x z")
m, k, a, b, u, y = sp.symbols("m k a b u y")
PLAIN = {"compiled": False}
GRID = lep.Grid(12, step=0.15)
THETA = {m: 1.3, k: 0.8, a: 0.4}
DUFFING = lep.System(m*q.diff(t)**2/2 - k*q**2/2 - a*q**4/4, coordinates=[q], parameters=THETA)
GYRO = (
    m*(x.diff(t)**2 + z.diff(t)**2)/2 + a*x**2*z.diff(t)**2/2 + b*(x*z.diff(t) - z*x.diff(t))
    - k*(x**2 + z**4)/2 + t*x/5
)
TWO = lep.System(GYRO, coordinates=[x, z], parameters={m: 1.1, a: 0.4, b: 0.3, k: 0.8})
START, COST = lep.Initial([0.7], v=[0.4]), lep.Cost((q - y)**2/2, targets=[y])
NUDGED = {"cost": COST, "targets": {y: 0.2}, **PLAIN}
METHODS = pytest.mark.parametrize("method", ["verlet", "midpoint"])


def test_velocity_energy_and_action():
    path = TWO.trajectory(lep.Initial([0.7, -0.2], v=[0.1, 0.5]), GRID, **PLAIN)
    mechanics, theta = Mechanics(GYRO, [x, z], [m, a, b, k]), [1.1, 0.4, 0.3, 0.8]
    for time, position, momentum, velocity, energy in zip(path.t, path.q, path.p, path.v, path.energy):
        assert_close(mechanics.momentum(position, velocity, time, theta, []), momentum, 1e-13)
        assert_close(momentum @ velocity - mechanics.value(position, velocity, time, theta, []), energy, 1e-13)
    middles = zip((path.q[1:] + path.q[:-1])/2, np.diff(path.q, axis=0)/0.15, path.t[:-1] + 0.075)
    assert_close(path.action, 0.15*sum(mechanics.value(Q, V, time, theta, []) for Q, V, time in middles), 1e-13)
    assert_close(path.q, run(mechanics, "midpoint", path.q[0], path.p[0], theta, GRID)[0].real, 1e-12)


def test_action_of_verlet_is_the_trapezoidal_rule():
    path = DUFFING.trajectory(START, GRID, **PLAIN)
    position, velocity = path.q[:, 0], np.diff(path.q[:, 0])/0.15
    potential = 0.8*position**2/2 + 0.4*position**4/4
    assert_close(path.action, 0.15*np.sum(1.3*velocity**2/2 - (potential[1:] + potential[:-1])/2), 1e-13)


@METHODS
@pytest.mark.parametrize(("save", "kept"), [("last", [12]), (5, [0, 5, 10, 12]), (4, [0, 4, 8, 12]), (99, [0, 12])])
def test_saved_nodes(save, kept, method):
    every = DUFFING.trajectory(START, GRID, method=method, **PLAIN)
    some = DUFFING.trajectory(START, GRID, save=save, method=method, **PLAIN)
    for name in ("t", "q", "p", "v", "energy"):
        assert_close(getattr(some, name), getattr(every, name)[kept], 1e-12)
    assert_close(some.action, every.action, 1e-13)


@METHODS
def test_energy_of_a_path_made_with_a_cost_that_has_weights(method):
    cost = lep.Cost(q**2, weights=np.linspace(0, 1, 13))
    result = DUFFING.gradient(START, GRID, cost, save="all", method=method, **PLAIN)
    assert_close(result.path.energy, DUFFING.trajectory(START, GRID, method=method, **PLAIN).energy, 1e-14)


@METHODS
def test_callables_are_not_asked_beyond_the_grid(method):
    """A function may not exist after the last node: sqrt(T - t) does not."""
    system = lep.System(m*q.diff(t)**2/2 + u*q, coordinates=[q], parameters={m: 1.0}, inputs=[u])
    asked = []

    def given(times):
        asked.extend(times)
        return np.cos(times)

    path = system.trajectory(START, GRID, inputs={u: given}, method=method, **PLAIN)
    assert np.isfinite(path.energy).all() and np.isfinite(path.action)
    system.gradient(START, GRID, COST, inputs={u: given}, targets={y: given}, method=method, **PLAIN)
    assert min(asked) >= 0.0 and max(asked) <= GRID.t[-1] + 1e-12


@METHODS
def test_a_nudged_path_shares_the_last_position_and_momentum(method):
    free = DUFFING.trajectory(START, GRID, method=method, **PLAIN)
    nudged = DUFFING.trajectory(START, GRID, nudge=0.3, method=method, **NUDGED)
    assert_close(nudged.q[-1], free.q[-1], 1e-14)
    assert_close(nudged.p[-1], free.p[-1], 1e-14)
    assert abs(nudged.q[0] - free.q[0]) > 0.01


@METHODS
@pytest.mark.parametrize("fixed", [{"v": [0.4]}, {"p": [0.52]}], ids=str)
def test_ends_of_nudged_paths_are_the_gradients_of_initial_data(method, fixed):
    """dJ/dp_0 = -d_beta q_0 and dJ/dq_0 = +d_beta P_0, at fixed p."""
    start = lep.Initial([0.7], **fixed)
    plus, minus = (DUFFING.trajectory(start, GRID, nudge=beta, method=method, **NUDGED) for beta in (1e-4, -1e-4))
    at_p = DUFFING.gradient(lep.Initial([0.7], p=[0.52]), GRID, COST, targets={y: 0.2}, method=method, **PLAIN)
    assert_close((plus.q[0] - minus.q[0])/2e-4, -at_p.initial.p, 1e-7)
    assert_close((plus.p[0] - minus.p[0])/2e-4, at_p.initial.q, 1e-7)


@METHODS
def test_momenta_of_a_nudged_path_are_kicked_at_the_nodes(method):
    """p[k] departs; what arrives differs from it by beta w_k c_q, and P_0, P_N lie outside all kicks."""
    beta, h = 0.3, GRID.step
    nudged = DUFFING.trajectory(START, GRID, nudge=beta, method=method, **NUDGED)
    position, force = nudged.q[:, 0], lambda x: -0.8*x - 0.4*x**3
    velocity, middle = np.diff(position)/h, (position[1:] + position[:-1])/2
    if method == "verlet":
        depart, arrive = (1.3*velocity + s*h/2*force(x) for s, x in ((-1, position[:-1]), (1, position[1:])))
    else:
        depart, arrive = (1.3*velocity + s*h/2*force(middle) for s in (-1, 1))
    kick = beta*h*(position - 0.2)
    assert_close(nudged.p[1:-1, 0], depart[1:], 1e-12)
    assert_close(depart[1:], arrive[:-1] - kick[1:-1], 1e-12)
    assert_close(nudged.p[0, 0], depart[0] + kick[0]/2, 1e-12)
    assert_close(nudged.p[-1, 0], arrive[-1] - kick[-1]/2, 1e-12)


@pytest.mark.parametrize("estimator", [lep.Centered(0.2), lep.OneSided(0.2)], ids=["centered", "one-sided"])
@pytest.mark.parametrize("boundary", [START, lep.Ends([0.7], [0.5]), lep.Ends([0.7], None)], ids=repr)
def test_saved_paths_of_a_gradient_are_the_trajectories(boundary, estimator):
    grid = lep.Grid(12, step=0.05)
    result = DUFFING.gradient(boundary, grid, COST, targets={y: 0.2}, estimator=estimator, save="all", **PLAIN)
    free = DUFFING.trajectory(boundary, grid, **PLAIN)
    nudged = DUFFING.trajectory(boundary, grid, nudge=0.2, **NUDGED)
    for found, expected in ((result.path, free), (result.nudged, nudged)):
        assert_close(found.q, expected.q, 1e-12)
        assert_close(found.p, expected.p, 1e-12)


@METHODS
@pytest.mark.parametrize("stop", [[0.5], None])
def test_end_momenta_of_nudged_ends_are_the_gradients_of_ends(stop, method):
    """dJ/dq_start = +d_beta P_0, dJ/dq_stop = -d_beta P_N; at a natural end P_N stays zero."""
    ends, grid = lep.Ends([0.7], stop), lep.Grid(8, step=0.1)
    plus, minus = (DUFFING.trajectory(ends, grid, nudge=beta, method=method, **NUDGED) for beta in (1e-4, -1e-4))
    result = DUFFING.gradient(ends, grid, COST, targets={y: 0.2}, method=method, **PLAIN)
    assert_close((plus.p[0] - minus.p[0])/2e-4, result.ends.start, 1e-6)
    if stop is None:
        assert abs(plus.p[-1, 0]) < 1e-13 and result.ends.stop is None
    else:
        assert_close((plus.p[-1] - minus.p[-1])/2e-4, -result.ends.stop, 1e-6)


def test_a_single_free_node_at_a_conjugate_point_is_refused():
    """Two steps with h^2 k/m = 2: the only entry of the Hessian is a difference of equal numbers."""
    system = lep.System(q.diff(t)**2/2 - k*q**2/2, coordinates=[q], parameters={k: 1.0})
    with pytest.raises(lep.ConvergenceError, match="singular|no stationary path"):
        system.trajectory(lep.Ends([0.0], [0.5]), lep.Grid(2, step=np.sqrt(2)), **PLAIN)


def test_asking_changes_nothing():
    before = DUFFING.digest, {s: float(value) for s, value in DUFFING.parameters.items()}
    first = DUFFING.gradient(START, GRID, COST, targets={y: 0.2}, parameters={k: 2.0}, **PLAIN)
    second = DUFFING.gradient(START, GRID, COST, targets={y: 0.2}, parameters={k: 2.0}, **PLAIN)
    assert first.loss == second.loss and first[k] == second[k]
    assert before == (DUFFING.digest, {s: float(value) for s, value in DUFFING.parameters.items()})


def test_trained_parameters_of_system_and_cost_serve_a_free_path():
    t = sp.Symbol("t")
    x, k, g = sp.Function("x")(t), sp.Symbol("k"), sp.Symbol("g")
    spring = lep.System(x.diff(t)**2/2 - k*x**2/2, coordinates=[x], parameters={k: 1.0})
    cost = lep.Cost(g*x**2/2, parameters={g: 1.0})
    start, grid = lep.Initial(q=[1.0], v=[0.0]), lep.Grid(9, step=0.1)
    path = spring.trajectory(start, grid, cost=cost, parameters={"k": 2.0, "g": 3.0}, compiled=False)
    assert np.array_equal(path.q, spring.trajectory(start, grid, parameters={k: 2.0}, compiled=False).q)
    with pytest.raises(ValueError, match="parameters must be one of k; got 'g'"):
        spring.trajectory(start, grid, parameters={"g": 3.0}, compiled=False)
