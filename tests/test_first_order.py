"""Lagrangians linear in the velocities: against plain numpy with complex steps, and against known motions."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from oracles import Loss, assert_close, complex_step
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep

t = dynamicsymbols._t
q, p, x, y, z, w = dynamicsymbols("q p x y z w")
vq, vp, vx, vy, vz, vw = (s.diff(t) for s in (q, p, x, y, z, w))
m, k, c, s, a, b, u, G, K, aim = sp.symbols("m k c s a b u G K aim")
PLAIN = {"compiled": False}
ESTIMATORS = {
    "exact": (lep.Exact(), 1e-11),
    "adjoint": (lep.Adjoint(), 1e-11),
    "holomorphic": (lep.Holomorphic(), 1e-9),
    "centered": (lep.Centered(1e-4), 2e-7),
    "one-sided": (lep.OneSided(1e-6), 2e-4),
}
GRID = lep.Grid(14, step=0.11, start=0.3)
TARGET = 0.5*np.sin(0.7*GRID.t)


class Phase:
    """W q' = -H_q by the midpoint rule in plain complex numpy; W and H by sympy from L."""

    def __init__(self, lagrangian, coordinates, symbols, inputs=()):
        velocities = [r.diff(t) for r in coordinates]
        plain = sp.symbols(f"plain_0:{len(coordinates)}")
        frozen = lagrangian.xreplace(dict(zip(velocities, plain)))
        slopes = [frozen.diff(v) for v in plain]
        A = sp.Matrix(slopes).jacobian(coordinates)
        H = -frozen.xreplace(dict.fromkeys(plain, 0))
        self.W = sp.lambdify([symbols], A - A.T, "numpy")
        arguments = [coordinates, t, symbols, inputs]
        self.slope = sp.lambdify(arguments, [H.diff(r) for r in coordinates], "numpy")
        self.curvature = sp.lambdify(arguments, sp.hessian(H, coordinates), "numpy")

    def run(self, state, theta, grid, drive=None):
        """All nodes; ``drive`` holds the inputs in the middles."""
        W, h, path = np.array(self.W(theta), complex), grid.step, [np.array(state, complex)]
        for n in range(grid.steps):
            here, there, time = path[-1], path[-1], grid.start + (n + 0.5)*h
            given = () if drive is None else (drive[n],)
            for _ in range(20):
                middle = (here + there)/2
                slope, bend = (np.array(f(middle, time, theta, given), complex) for f in (self.slope, self.curvature))
                there = there - np.linalg.solve(W + h/2*bend, W @ (there - here) + h*slope)
            path.append(there)
        return np.array(path)

    def gradients(self, loss, state, theta, grid, targets=(), drive=None):
        def J(theta, state):
            return loss(self.run(state, theta, grid, drive), grid, theta, targets)

        theta, state = np.array(theta, float), np.array(state, float)
        return (
            J(theta, state).real, complex_step(lambda v: J(v, state), theta), complex_step(lambda v: J(theta, v), state)
        )  # fmt: skip


PAIRS = k*(x - z)**2/2 + sp.cos(w)*y**2 + a*x**4
CASES = {
    "canonical": (p*vq - p**2/(2*m) - k*q**4/4, [q, p], {m: 1.3, k: 1.1}, [0.7, 0.3]),
    # the structure itself is trained, in an odd gauge: W = [[0, s + c], [-(s + c), 0]]
    "trained structure": (
        s*p*vq - c*q*vp + a*q*vq + b*vp - p**2/2 - sp.cosh(q) - q*p/4, [q, p],
        {s: 0.7, c: 0.5, a: 0.3, b: 0.9}, [0.6, -0.4],
    ),
    # four coordinates that are no pairs, the time in H
    "mixed": (
        s*x*vy + c*(y*vz - z*vy) + z*vw + a*x*vw - PAIRS*(1 + sp.sin(t)/3), [x, y, z, w],
        {s: 1.1, c: 0.4, a: 0.6, k: 0.8}, [0.5, -0.2, 0.3, 0.6],
    ),
    "vortices": (
        G*(x*vy - y*vx)/2 + K*(z*vw - w*vz)/2 - G*K*sp.log((x - z)**2 + (y - w)**2)/2, [x, y, z, w],
        {G: 1.3, K: -0.6}, [0.5, -0.2, -0.7, 0.6],
    ),
}  # fmt: skip


def problem(name):
    expression, coordinates, parameters, state = CASES[name]
    system = lep.System(expression, coordinates, parameters=parameters)
    first = list(parameters)[0]
    density = (coordinates[0] - aim)**2/2 + coordinates[1]**3*coordinates[0]*first
    return (
        system, lep.Cost(density, targets=[aim]), Phase(expression, coordinates, list(parameters)),
        Loss(density, coordinates, [aim], list(parameters)), list(parameters), list(parameters.values()), state,
    )  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_gradients(name):
    system, cost, oracle, loss, symbols, theta, state = problem(name)
    value, by_theta, by_state = oracle.gradients(loss, state, theta, GRID, [TARGET])
    for estimator, tolerance in ESTIMATORS.values():
        options = {"targets": {aim: TARGET}, "estimator": estimator, **PLAIN}
        found = system.gradient(lep.Initial(state), GRID, cost, **options)
        assert_close(found.loss, value, 1e-12)
        assert_close([found[symbol] for symbol in symbols], by_theta, tolerance)
        assert_close(found.initial.q, by_state, tolerance)
        assert found.initial.p is None and found.initial.v is None


@pytest.mark.parametrize("options", [{"when": "end"}, {"weights": np.linspace(2, -1, 15)}], ids=["end", "weights"])
def test_weights_at_the_ends(options):
    """Each nudge moves its node; what that does to a(q) counts at the first and at the last one too."""
    system, _, oracle, _, symbols, theta, state = problem("trained structure")
    density = q**2*p + p**3
    loss = Loss(density, [q, p], (), symbols, options.get("when") == "end", options.get("weights"))
    value, by_theta, by_state = oracle.gradients(loss, state, theta, GRID)
    for estimator, tolerance in ESTIMATORS.values():
        found = system.gradient(lep.Initial(state), GRID, lep.Cost(density, **options), estimator=estimator, **PLAIN)
        assert_close(found.loss, value, 1e-12)
        assert_close([found[symbol] for symbol in symbols], by_theta, 10*tolerance)
        assert_close(found.initial.q, by_state, 10*tolerance)


def test_driven_batches_with_parameters_of_their_own():
    expression = s*p*vq - p**2/2 - k*q**4/4 + u*q
    system = lep.System(expression, [q, p], parameters={s: 0.8, k: 1.1}, inputs=[u])
    oracle, loss = Phase(expression, [q, p], [s, k], [u]), Loss(q**2, [q, p], (), [s, k])
    drive, scales = np.cos(1.3*GRID.t)*np.array([[1.0], [0.4], [-0.7]]), np.array([0.8, 1.0, 1.5])
    states = np.array([[0.5, 0.1], [-0.3, 0.4], [0.2, 0.2]])
    middles = (drive[:, 1:] + drive[:, :-1])/2
    expected = [oracle.gradients(loss, states[n], [scales[n], 1.1], GRID, (), middles[n]) for n in range(3)]
    for name in ("exact", "adjoint", "centered"):
        estimator, tolerance = ESTIMATORS[name]
        options = {"inputs": {u: drive}, "parameters": {s: scales}, "estimator": estimator, **PLAIN}
        found = system.gradient(lep.Initial(states), GRID, lep.Cost(q**2), **options)
        assert_close(found.losses, [one[0] for one in expected], 1e-12)
        assert_close(3*found[s], [one[1][0] for one in expected], tolerance)
        assert_close(3*found[k], sum(one[1][1] for one in expected), tolerance)
        assert_close(3*found.initial.q, np.array([one[2] for one in expected]), tolerance)


@pytest.mark.slow
def test_machine_code_gives_the_same():
    system, cost, _, _, symbols, _, state = problem("vortices")
    for name in ("exact", "adjoint", "centered", "holomorphic"):
        one, two = (
            system.gradient(
                lep.Initial(state), GRID, cost, targets={aim: TARGET}, estimator=ESTIMATORS[name][0], compiled=compiled
            )
            for compiled in (True, False)
        )
        assert_close([one[symbol] for symbol in symbols], [two[symbol] for symbol in symbols], 1e-8)


# ---------------------------------------------------------------------- what else it must agree with
def test_the_canonical_form_is_the_midpoint_rule_of_the_other():
    """p q' - p^2/2m - V and m v^2/2 - V: the same discrete path, gradients at fixed p, energy and momenta."""
    potential = k*q**4/4 + sp.sin(q)
    phase = lep.System(p*vq - p**2/(2*m) - potential, [q, p], parameters={m: 1.3, k: 1.1})
    second = lep.System(m*vq**2/2 - potential, [q], parameters={m: 1.3, k: 1.1})
    cost = lep.Cost(q**3 - q)
    one = phase.gradient(lep.Initial([0.7, 0.3]), GRID, cost, save="all", **PLAIN)
    two = second.gradient(lep.Initial([0.7], p=[0.3]), GRID, cost, method="midpoint", save="all", **PLAIN)
    assert_close(one.path.q[:, 0], two.path.q[:, 0], 1e-13)
    assert_close(one.path.q[:, 1], two.path.p[:, 0], 1e-13)
    assert_close(one.path.p[:, 0], two.path.p[:, 0], 1e-13)  # L_v of q is p, that of p is nothing
    assert_close(one.path.v[:, 0], two.path.v[:, 0], 1e-12)
    assert_close(one.path.energy, two.path.energy, 1e-12)
    assert_close(one.path.action, two.path.action, 1e-12)
    assert_close([one[m], one[k]], [two[m], two[k]], 1e-11)
    assert_close(one.initial.q, [two.initial.q[0], two.initial.p[0]], 1e-11)


def test_the_gauge_changes_no_gradient():
    """p q', -q p' and anything between, with a trained share; and a trained total derivative has none."""
    H = p**2/2 + k*q**4/4 + q*p/5
    results = []
    for share in (1, 0, sp.Rational(1, 2), 3):
        system = lep.System(s*(share*p*vq - (1 - share)*q*vp) - H, [q, p], parameters={s: 0.8, k: 1.2})
        found = system.gradient(lep.Initial([0.5, 0.4]), GRID, lep.Cost(q**2*p), **PLAIN)
        results.append([found.loss, found[s], found[k], *found.initial.q])
    for other in results[1:]:
        assert_close(other, results[0], 1e-12)
    total = c*(q*p + q**2).diff(t)
    system = lep.System(p*vq + total - H, [q, p], parameters={c: 0.7, k: 1.2})
    for name, tolerance in {"exact": 1e-12, "adjoint": 1e-12, "holomorphic": 1e-9, "centered": 1e-7}.items():
        found = system.gradient(lep.Initial([0.5, 0.4]), GRID, lep.Cost(q**2*p), estimator=ESTIMATORS[name][0], **PLAIN)
        assert abs(found[c]) <= tolerance*abs(found[k])


def test_the_scale_of_the_action_is_not_seen():
    expression, coordinates, parameters, state = CASES["mixed"]
    system = lep.System(G*expression, coordinates, parameters={**parameters, G: 1.7})
    found = system.gradient(lep.Initial(state), GRID, lep.Cost(x*w), **PLAIN)
    assert abs(found[G]) <= 1e-12*abs(found[k])


def test_the_order_is_two_and_the_way_back_leads_to_the_start():
    system, *_, state = problem("canonical")
    ends = [
        system.trajectory(lep.Initial(state), lep.Grid(steps, duration=3.0), save="last", **PLAIN).q[-1]
        for steps in (30, 60, 120, 960)
    ]
    errors = [np.abs(end - ends[-1]).max() for end in ends[:3]]
    assert 3.7 < errors[0]/errors[1] < 4.3 and 3.7 < errors[1]/errors[2] < 4.3
    # H -> -H is time running backwards
    back = lep.System(-p*vq - p**2/(2*m) - k*q**4/4, [q, p], parameters={m: 1.3, k: 1.1})
    grid = lep.Grid(12, step=0.6)
    there = system.trajectory(lep.Initial(state), grid, **PLAIN)
    again = back.trajectory(lep.Initial(there.q[-1]), grid, **PLAIN)
    assert_close(again.q[::-1], there.q, 1e-12)


def test_nudged_paths_end_where_the_free_one_does():
    system, cost, *_, state = problem("canonical")
    free = system.trajectory(lep.Initial(state), GRID, **PLAIN)
    nudged = system.trajectory(lep.Initial(state), GRID, cost=cost, targets={aim: TARGET}, nudge=1e-3, **PLAIN)
    assert_close(nudged.q[-1], free.q[-1], 1e-15)
    assert 1e-5 < np.abs(nudged.q[0] - free.q[0]).max() < 1e-2


# ---------------------------------------------------------------------- the zoo
def circulations(case):
    return np.array([float(case.system.parameters[case.system.parameter(f"G{n}")]) for n in range(4)])


def test_two_vortices_turn_around_their_centre():
    """At distance r with (G_0 + G_1)/(2 pi r^2); the midpoint rule turns by 2 arctan(h/2 of that) a step, exactly."""
    case = lep.systems.get("point_vortices")
    values = {"G0": 1.5, "G1": 0.5, "G2": 1e-10, "G3": 1e-10}
    places = np.array([[-0.25, 0.0], [0.75, 0.0], [30.0, 40.0], [-50.0, 20.0]])
    grid = lep.Grid(50, step=0.2)
    path = case.system.trajectory(lep.Initial(places.ravel()), grid, parameters=values, **PLAIN)
    # the middle of a chord is nearer to the centre: the rate there is larger by 1/cos^2 of half the angle
    turned = np.unwrap(np.arctan2(path.q[:, 3], path.q[:, 2]))
    half = turned[1]/2
    np.testing.assert_allclose(np.tan(half), 0.1*2.0/(2*np.pi*np.cos(half)**2), rtol=1e-9)
    np.testing.assert_allclose(turned, 2*half*np.arange(51), atol=1e-9)
    np.testing.assert_allclose(turned[-1], 2.0/(2*np.pi)*10.0, rtol=2e-3)
    np.testing.assert_allclose(np.hypot(path.q[:, 2], path.q[:, 3]), 0.75, rtol=1e-9)


def test_plane_wave_on_the_lattice():
    """psi = A e^{i(k n - omega t)}, omega = 2 C (1 - cos k) + g A^2."""
    case = lep.systems.get("nls_lattice")
    n, amplitude = case.system.size//2, 0.7
    C, g = (float(case.system.parameters[case.system.parameter(name)]) for name in "Cg")
    wave = 2*np.pi*3/n
    half, h = 0.0, 0.02
    for _ in range(50):  # the middle of a chord is cos(half the angle) nearer to zero: 2 tan(half) = h omega there
        half = np.arctan(h/2*(2*C*(1 - np.cos(wave)) + g*(amplitude*np.cos(half))**2))
    psi = amplitude*np.exp(1j*wave*np.arange(n))
    start = lep.Initial(np.stack([psi.real, psi.imag], 1).ravel())
    grid, still = lep.Grid(40, step=h), {"V": np.zeros(n)}
    path = case.system.trajectory(start, grid, parameters=still, **PLAIN)
    found = path.q[:, 0::2] + 1j*path.q[:, 1::2]
    np.testing.assert_allclose(found, psi*np.exp(-2j*half*np.arange(41)[:, None]), atol=1e-12)
    assert abs(2*half/h - 2*C*(1 - np.cos(wave)) - g*amplitude**2) < 2e-3
    np.testing.assert_allclose((np.abs(found)**2).sum(1), n*amplitude**2, rtol=1e-13)


def test_lotka_volterra_is_the_predator_and_its_prey():
    """x' = x (a - b y), y' = y (d x - c), by scipy."""
    from scipy.integrate import solve_ivp

    case = lep.systems.get("lotka_volterra")
    a, b, c, d = (float(case.system.parameters[case.system.parameter(name)]) for name in "abcd")
    grid = lep.Grid(2000, duration=8.0)
    path = case.system.trajectory(case.start, grid, save="last", **PLAIN)
    found = solve_ivp(
        lambda _, n: [n[0]*(a - b*n[1]), n[1]*(d*n[0] - c)], (0, 8.0), np.exp(case.start.q), rtol=1e-10, atol=1e-12
    )  # fmt: skip
    np.testing.assert_allclose(np.exp(path.q[-1]), found.y[:, -1], rtol=1e-4)


def test_training_a_circulation():
    system, *_, state = problem("vortices")
    target = system.trajectory(lep.Initial(state), GRID, parameters={K: -0.3}, **PLAIN).q[:, 0]
    cost = lep.Cost((x - aim)**2/2, targets=[aim])
    history = system.fit(
        lep.Initial(state), GRID, cost, targets={aim: target}, epochs=100, optimiser=lep.Adam(1e-2), train=[K],
        progress=False, **PLAIN,
    )  # fmt: skip
    assert abs(history.parameters[K] + 0.3) < 0.01


# ---------------------------------------------------------------------- refusals
HERE = lep.Initial([0.5, 0.2])
REFUSALS = {
    "velocity": (
        lambda: problem("canonical")[0].trajectory(lep.Initial([0.7, 0.3], v=[0, 0]), GRID, **PLAIN),
        "v must be left out: the Lagrangian is linear",
    ),
    "momentum": (
        lambda: problem("canonical")[0].trajectory(lep.Initial([0.7, 0.3], p=[0, 0]), GRID, **PLAIN), "p must be left",
    ),
    "no velocity where one is needed": (
        lambda: lep.System(vq**2/2, [q]).trajectory(lep.Initial([0.5]), GRID, **PLAIN), "v must be given.*neither",
    ),
    "ends": (
        lambda: problem("canonical")[0].trajectory(lep.Ends([0, 0], [1, 1]), GRID, **PLAIN), "must be lep.Initial",
    ),
    "ends of a gradient": (
        lambda: problem("canonical")[0].gradient(lep.Ends([0, 0], [1, 1]), GRID, lep.Cost(q), **PLAIN), "lep.Initial",
    ),
    "structure of coordinates": (
        lambda: lep.System(q**2*p*vq - p**2, [q, p]).trajectory(HERE, GRID, **PLAIN),
        "multiplies a velocity by a function of coordinates that is not linear.*logarithms",
    ),
    "structure of time": (
        lambda: lep.System(t*p*vq - p**2 - q**2, [q, p]).trajectory(HERE, GRID, **PLAIN), "by a function of time",
    ),
    "structure of inputs": (
        lambda: lep.System(u*p*vq - p**2 - q**2, [q, p], inputs=[u]).trajectory(HERE, GRID, inputs={u: 1.0}, **PLAIN),
        "by a function of inputs",
    ),
    "odd": (
        lambda: lep.System(p*vq - p**2 - q**2 - x**2, [q, p, x]).trajectory(lep.Initial([1, 1, 1]), GRID, **PLAIN),
        "must have an invertible structure",
    ),
    "verlet": (
        lambda: problem("canonical")[0].trajectory(HERE, GRID, method="verlet", **PLAIN), "method must be 'midpoint'",
    ),
    "constrained": (
        lambda: lep.System(p*vq - p**2, [q, p], constraints=[q - p]).trajectory(HERE, GRID, **PLAIN), "must be none",
    ),
    "half massive": (
        lambda: lep.System(vq**2/2 + q*vp - p**2, [q, p]).trajectory(lep.Initial([1, 1], v=[0, 0]), GRID, **PLAIN),
        "mass matrix L_vv must be invertible",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals(case):
    question, message = REFUSALS[case]
    with pytest.raises(ValueError, match=message):
        question()


def test_newton_that_fails_says_where():
    system = lep.System(p*vq - p**2/2 + sp.exp(5*q), [q, p])
    with pytest.raises(lep.ConvergenceError, match=r"sample 0 at step \d+"):
        system.trajectory(lep.Initial([1.0, 3.0]), lep.Grid(20, step=1.0), **PLAIN)
