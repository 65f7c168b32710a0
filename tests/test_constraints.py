"""Holonomic constraints: SHAKE and RATTLE against plain numpy with complex steps, and against angles."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from oracles import Loss, assert_agrees, assert_close, complex_step
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep

t = dynamicsymbols._t
x, y, z, w = dynamicsymbols("x y z w")
m, M, l, r, g, k, u, c, aim = sp.symbols("m M l r g k u c aim")
vx, vy, vz, vw = (s.diff(t) for s in (x, y, z, w))
PLAIN = {"compiled": False}
ESTIMATORS = {
    "exact": (lep.Exact(), 1e-11),
    "adjoint": (lep.Adjoint(), 1e-11),
    "holomorphic": (lep.Holomorphic(), 1e-9),
    "centered": (lep.Centered(1e-4), 2e-7),
    "one-sided": (lep.OneSided(1e-6), 2e-4),
}
GRID = lep.Grid(14, step=0.06, start=0.2)
TARGET = 0.5*np.sin(0.7*GRID.t)


class Constrained:
    """L = sum of M v^2/2 - V(q, t) with g(q) = 0: shake and rattle in plain complex numpy."""

    def __init__(self, masses, potential, constraints, coordinates, symbols):
        arguments = [coordinates, t, symbols]
        self.masses = sp.lambdify([symbols], masses, "numpy")
        self.force = sp.lambdify(arguments, [-sp.diff(potential, q) for q in coordinates], "numpy")
        self.g = sp.lambdify(arguments, constraints, "numpy")
        self.V2 = sp.lambdify(arguments, sp.hessian(sp.sympify(potential), coordinates), "numpy")
        self.g2 = sp.lambdify(arguments, [sp.hessian(f, coordinates) for f in constraints], "numpy")
        self.G = sp.lambdify(arguments, [[sp.diff(f, q) for q in coordinates] for f in constraints], "numpy")

    def at(self, name, q, time, theta):
        return np.array(getattr(self, name)(q, time, theta), complex)

    def onto(self, q, p, h, theta):
        """y = q + h M^-1 (p + G^T mu) on the constraint, and the momentum that leads there."""
        mass, G = np.array(self.masses(theta), complex), self.at("G", q, 0, theta)
        mu = np.zeros(len(G), complex)
        for _ in range(25):
            there = q + h*(p + G.T @ mu)/mass
            K = h*self.at("G", there, 0, theta) @ (G.T/mass[:, None])
            mu = mu - np.linalg.solve(K, self.at("g", there, 0, theta))
        return q + h*(p + G.T @ mu)/mass, p + G.T @ mu

    def tangent(self, q, p, theta):
        mass, G = np.array(self.masses(theta), complex), self.at("G", q, 0, theta)
        return p - G.T @ np.linalg.solve(G @ (G.T/mass[:, None]), G @ (p/mass))

    def run(self, q, p, theta, grid):
        h, path = grid.step, [q]
        for j in range(grid.steps):
            q, p = self.onto(q, p + h/2*self.at("force", q, grid.t[j], theta), h, theta)
            p = self.tangent(q, p + h/2*self.at("force", q, grid.t[j + 1], theta), theta)
            path.append(q)
        return np.array(path)

    def between(self, q, theta, grid, stop=True):
        """The stationary path near q and its KKT matrix: ends on the constraint, the last one held there or natural."""
        h, mass, steps, d = grid.step, np.array(self.masses(theta), complex), grid.steps, len(q[0])
        m, q, last, still = len(self.g(q[0], 0, theta)), np.array(q, complex), steps - stop, np.zeros(d)
        for end in (0, -1) if stop else (0,):
            q[end] = self.onto(q[end], still, 1.0, theta)[0]
        mu, n = np.zeros((steps + 1, m), complex), last*(d + m)
        for _ in range(30):
            r, K, p = np.zeros(n, complex), np.zeros((n, n), complex), mass*np.diff(q, axis=0)/h
            for k in range(1, last + 1):
                a, c = (k - 1)*(d + m) + np.arange(d), (k - 1)*(d + m) + d + np.arange(m)
                weight, G = h if k < steps else h/2, self.at("G", q[k], 0, theta)
                r[a] = p[k - 1] - (p[k] if k < steps else 0) + G.T @ mu[k]
                r[a] += weight*self.at("force", q[k], grid.t[k], theta)
                r[c] = self.at("g", q[k], 0, theta)
                K[np.ix_(a, a)] = np.diag(mass)/h*(2 if k < steps else 1) - weight*self.at("V2", q[k], grid.t[k], theta)
                K[np.ix_(a, a)] += np.einsum("k,kij->ij", mu[k], self.at("g2", q[k], 0, theta))
                K[np.ix_(a, c)], K[np.ix_(c, a)] = G.T, G
                if k < last:
                    K[np.ix_(a, a + d + m)] = K[np.ix_(a + d + m, a)] = -np.diag(mass)/h
            move = np.linalg.solve(K, -r).reshape(last, d + m)
            q[1 : last + 1] += move[:, :d]
            mu[1 : last + 1] += move[:, d:]
        assert np.abs(move.real).max() < 1e-9
        return q, K

    def gradients(self, loss, q, grid, theta, targets=(), v=None, p=None):
        """J and its derivatives; data are moved onto the constraint, along the normals there where they are given."""
        def J(theta, q, other):
            start = self.onto(q + 0j, np.zeros(len(q), complex), 1.0, theta)[0]
            momentum = other if v is None else np.array(self.masses(theta), complex)*other
            return loss(self.run(start, self.tangent(start, momentum, theta), theta, grid), grid, theta, targets)

        theta, q, other = (np.array(a, float) for a in (theta, q, v if p is None else p))
        return {
            "loss": float(J(theta, q, other).real), "theta": complex_step(lambda a: J(a, q, other), theta),
            "q": complex_step(lambda a: J(theta, a, other), q), "other": complex_step(lambda a: J(theta, q, a), other),
        }  # fmt: skip


COORDINATES = [x, y, z, w]
CASES = {
    # a rod whose length is trained
    "rod": ([m, m], m*g*y, [x**2 + y**2 - l**2], [x, y], {m: 1.3, l: 1.1, g: 4.0}, [0.6, -0.4], [0.5, 0.3]),
    # two rods and a spring; the second constraint joins two points
    "two rods": (
        [m, m, M, M], g*(m*y + M*w) + k*(x - w)**4, [x**2 + y**2 - l**2, (x - z)**2 + (y - w)**2 - r**2], COORDINATES,
        {m: 1.1, M: 0.6, g: 3.0, k: 0.4, l: 1.0, r: 0.8}, [0.7, -0.6, 1.2, -1.1], [0.4, 0.3, -0.2, 0.6],
    ),
    # no quadric, not of unit gradient, and a potential that knows the time
    "bead on a wire": (
        [m, M], k*sp.cos(2*t)*x*y + y**2, [y - c*sp.sin(r*x) - x**3/5], [x, y],
        {m: 1.2, M: 0.7, k: 0.9, c: 0.6, r: 1.4}, [0.5, 0.3], [0.8, 0.1],
    ),
}  # fmt: skip


def problem(name):
    """A system, data on its constraint and tangent to it, a cost with two parameters of the system, the oracle."""
    masses, potential, constraints, coordinates, parameters, q, v = CASES[name]
    kinetic = sum(mass*s.diff(t)**2/2 for mass, s in zip(masses, coordinates))
    system = lep.System(kinetic - potential, coordinates, parameters=parameters, constraints=constraints)
    density = (coordinates[0] - aim)**2/2 + coordinates[-1]**3*m
    symbols, theta = list(parameters), list(parameters.values())
    oracle = Constrained(masses, potential, constraints, coordinates, symbols)
    q = oracle.onto(np.array(q, complex), np.zeros(len(q), complex), 1.0, theta)[0].real
    p = oracle.tangent(q + 0j, np.array(masses_of(oracle, theta)*v, complex), theta).real
    cost, loss = lep.Cost(density, targets=[aim]), Loss(density, coordinates, [aim], symbols)
    return system, cost, oracle, loss, symbols, theta, q, p/masses_of(oracle, theta), p


def masses_of(oracle, theta):
    return np.array(oracle.masses(theta), float)


@pytest.mark.parametrize("fixed", ["v", "p"])
@pytest.mark.parametrize("name", CASES)
def test_gradients_from_initial_data(name, fixed):
    system, cost, oracle, loss, symbols, theta, q, v, p = problem(name)
    other = {"v": v, "p": p}[fixed]
    expected = oracle.gradients(loss, q, GRID, theta, [TARGET], **{fixed: other})
    for estimator, tolerance in ESTIMATORS.values():
        start = lep.Initial(q, **{fixed: other})
        found = system.gradient(start, GRID, cost, targets={aim: TARGET}, estimator=estimator, **PLAIN)
        assert_agrees(found, expected, symbols, tolerance, fixed)


@pytest.mark.parametrize("options", [{"when": "end"}, {"weights": np.linspace(2, -1, 15)}], ids=["end", "weights"])
def test_weights_at_the_ends(options):
    """A nudge at a node has a normal part that a rod takes up: also at the first node and the last."""
    system, _, oracle, _, symbols, theta, q, v, _ = problem("two rods")
    density = x*z + w**2
    loss = Loss(density, COORDINATES, (), symbols, options.get("when") == "end", options.get("weights"))
    expected = oracle.gradients(loss, q, GRID, theta, v=v)
    for estimator, tolerance in ESTIMATORS.values():
        found = system.gradient(lep.Initial(q, v=v), GRID, lep.Cost(density, **options), estimator=estimator, **PLAIN)
        assert_agrees(found, expected, symbols, 10*tolerance)


def test_data_off_the_constraint_are_projected_when_asked():
    """Far from it, so that the curvature of the constraint counts in the derivative of the projection."""
    system, cost, oracle, loss, symbols, theta, q, v, _ = problem("two rods")
    q, v = q + [0.1, -0.05, 0.2, 0.1], v + [0.3, 0.1, -0.2, 0.4]
    expected = oracle.gradients(loss, q, GRID, theta, [TARGET], v=v)
    start = lep.Initial(q, v=v, project=True)
    for name in ("exact", "adjoint", "holomorphic"):
        estimator, tolerance = ESTIMATORS[name]
        found = system.gradient(start, GRID, cost, targets={aim: TARGET}, estimator=estimator, **PLAIN)
        assert_agrees(found, expected, symbols, tolerance)
    report = system.check(start, GRID, cost, targets={aim: TARGET}, **PLAIN)
    assert report.passed


@pytest.mark.slow
def test_machine_code_batches_and_a_parameter_of_each_sample():
    system, cost, oracle, loss, symbols, theta, q, v, _ = problem("rod")
    lengths = np.array([1.0, 1.1, 1.3])
    q, v = q/np.linalg.norm(q)*lengths[:, None], v*np.array([[1.0], [-0.5], [2.0]])
    values = [[1.3, length, 4.0] for length in lengths]
    expected = [oracle.gradients(loss, q[b], GRID, values[b], [TARGET], v=v[b]) for b in range(3)]
    for name in ("exact", "centered"):
        estimator, tolerance = ESTIMATORS[name]
        found = system.gradient(
            lep.Initial(q, v=v), GRID, cost, targets={aim: TARGET}, parameters={l: lengths}, estimator=estimator
        )  # fmt: skip
        assert_close(found.losses, [one["loss"] for one in expected], 1e-13)
        assert_close(3*found[l], [one["theta"][1] for one in expected], tolerance)
        assert_close(3*found[g], sum(one["theta"][2] for one in expected), tolerance)
        assert_close(3*found.initial.q, np.array([one["q"] for one in expected]), tolerance)


# ---------------------------------------------------------------------- two ends
@pytest.mark.parametrize("stop", [True, False], ids=["fixed", "natural"])
@pytest.mark.parametrize("name", CASES)
def test_gradients_between_two_ends(name, stop):
    system, cost, oracle, loss, symbols, theta, q, v, _ = problem(name)
    path = system.trajectory(lep.Initial(q, v=v if stop else 0*v), GRID, **PLAIN)
    way = path.q if stop else path.q[::-1]  # a natural end is one at rest
    ends = lep.Ends(way[0], way[-1] if stop else None, guess=way)
    found = system.trajectory(ends, GRID, **PLAIN)
    if stop:
        assert_close(found.q, path.q, 1e-9)  # the discrete path of RATTLE, and its momenta
        assert_close(found.p, path.p, 1e-8)
        assert_close(found.action, path.action, 1e-9)

    def J(theta, start, end):
        q = np.array(found.q, complex)
        q[0], q[-1] = start, end if stop else q[-1]
        return loss(oracle.between(q, theta, GRID, stop)[0], GRID, theta, [TARGET])

    theta, begin, end = np.array(theta), found.q[0], found.q[-1]
    expected = {
        "loss": J(theta, begin, end).real, "theta": complex_step(lambda a: J(a, begin, end), theta),
        "start": complex_step(lambda a: J(theta, a, end), begin),
        "stop": complex_step(lambda a: J(theta, begin, a), end) if stop else None,
    }  # fmt: skip
    for estimator, tolerance in ESTIMATORS.values():
        result = system.gradient(ends, GRID, cost, targets={aim: TARGET}, estimator=estimator, **PLAIN)
        assert_agrees(result, expected, symbols, 20*tolerance)
    _, K = oracle.between(found.q, theta, GRID, stop)
    free = (14 if not stop else 13)*system.multipliers
    assert found.morse_index == (np.linalg.eigvalsh(K.real) < 0).sum() - free


def test_the_morse_index_of_a_rod_is_that_of_its_angle():
    """Past one conjugate point, and two; the wider system's inertia alone would be larger by the constraints."""
    theta = dynamicsymbols("theta")
    angle = lep.System(m*l**2*theta.diff(t)**2/2 + m*g*l*sp.cos(theta), [theta], parameters={m: 1.3, l: 1.1, g: 4.0})
    system, *_ = problem("rod")
    for duration, index in ((1.0, 0), (2.4, 1), (4.2, 2)):
        grid = lep.Grid(60, duration=duration)
        path = angle.trajectory(lep.Initial([0.1], v=[0.5]), grid, **PLAIN)
        around = angle.trajectory(lep.Ends(path.q[0], path.q[-1], guess=path.q), grid, **PLAIN)
        q = 1.1*np.concatenate([np.sin(path.q), -np.cos(path.q)], 1)
        found = system.trajectory(lep.Ends(q[0], q[-1], guess=q), grid, **PLAIN)
        assert found.morse_index == around.morse_index == index


@pytest.mark.slow
def test_ends_by_machine_code_from_the_straight_line():
    """A batch; the line between the ends is moved onto the constraint for a guess."""
    system, cost, oracle, loss, symbols, theta, *_ = problem("rod")
    angles = np.array([0.4, 0.9])
    stop = 1.1*np.stack([np.sin(angles), -np.cos(angles)], 1)
    ends, grid = lep.Ends([1.1*np.sin(-0.3), -1.1*np.cos(-0.3)], stop), lep.Grid(14, step=0.03)
    one, two = (
        system.gradient(ends, grid, cost, targets={aim: 0.3}, compiled=compiled, save="all")
        for compiled in (True, False)
    )
    assert_close(one.losses, two.losses, 1e-12)
    for symbol in symbols:
        assert_close(one[symbol], two[symbol], 1e-9)
    assert one.ends.start.shape == (2,) and one.ends.stop.shape == (2, 2)
    assert_close(one.ends.stop, two.ends.stop, 1e-10)
    assert np.abs((one.path.q**2).sum(2) - 1.21).max() < 1e-13
    assert np.abs((one.path.q*one.path.v).sum(2)).max() < 1e-13
    assert one.path.morse_index.tolist() == [0, 0]


# ---------------------------------------------------------------------- networks
def rope(links, length=0.25):
    """Masses on a string from the origin: coordinates x_0, y_0, x_1, y_1, ..."""
    sites, d = np.arange(links), 2*links
    joints = np.stack([2*sites[:-1], 2*sites[:-1] + 1, 2*sites[1:], 2*sites[1:] + 1], 1)
    system = lep.System(
        [lep.Term(m*vx**2/2, on=[x], at=np.arange(d)), lep.Term(-m*g*y, on=[y], at=2*sites + 1)], size=d,
        parameters={m: 0.1, g: 9.81, l: np.full(links - 1, length), r: length},
        constraints=[
            lep.Term((x - z)**2 + (y - w)**2 - l**2, on=[x, y, z, w], at=joints),
            lep.Term(x**2 + y**2 - r**2, on=[x, y], at=[[0, 1]]),
        ],
    )  # fmt: skip
    along = length*(sites + 1)
    return system, np.stack([along, 0*along], 1).ravel()


def test_a_rope_of_terms_is_the_same_as_its_expressions():
    """A length of its own for each link: the gradient has that shape."""
    system, q = rope(3)
    v = np.array([0, 0.3, 0, 0.5, 0, -0.2])
    xs = dynamicsymbols("a0:6")
    lengths = sp.symbols("l0:3")
    tips = [(0, 0), *((xs[2*i], xs[2*i + 1]) for i in range(3))]
    spelt = lep.System(
        sum(m*s.diff(t)**2/2 for s in xs) - m*g*(xs[1] + xs[3] + xs[5]), list(xs),
        parameters={m: 0.1, g: 9.81} | dict.fromkeys(lengths, 0.25),
        constraints=[
            (tips[i][0] - tips[i + 1][0])**2 + (tips[i][1] - tips[i + 1][1])**2 - lengths[i]**2 for i in range(3)
        ],
    )  # fmt: skip
    grid = lep.Grid(12, step=0.01)
    one = system.gradient(lep.Initial(q, v=v), grid, lep.Cost(y**2*x, on=[x, y], at=[[4, 5]]), **PLAIN)
    two = spelt.gradient(lep.Initial(q, v=v), grid, lep.Cost(xs[5]**2*xs[4]), **PLAIN)
    assert one[l].shape == (2,)
    assert_close([one.loss, one[m], one[g], one[r], *one[l]], [two.loss, *(two[s] for s in (m, g, *lengths))], 1e-10)
    assert_close(one.initial.q, two.initial.q, 1e-10)


@pytest.mark.slow
def test_a_long_rope_keeps_its_links():
    """50 links for a while: constraints and hidden constraints at rounding, energy within bounds; gradients agree."""
    links = 50
    system, q = rope(links, 0.1)
    grid = lep.Grid(400, step=0.002)
    path = system.trajectory(lep.Initial(q, v=np.zeros(2*links)), grid)
    points = np.concatenate([np.zeros((401, 1, 2)), path.q.reshape(401, links, 2)], 1)
    speeds = np.concatenate([np.zeros((401, 1, 2)), path.v.reshape(401, links, 2)], 1)
    bonds = np.diff(points, axis=1)
    assert np.abs((bonds**2).sum(2) - 0.01).max() < 1e-14
    assert np.abs((bonds*np.diff(speeds, axis=1)).sum(2)).max() < 1e-12
    assert np.ptp(path.energy) < 1e-3*np.abs(0.1*9.81*points[-1, :, 1].sum())
    assert points[-1, -1, 1] < -1.0  # it has fallen
    cost = lep.Cost(x**2 + y, on=[x, y], at=[[98, 99]])
    short = lep.Grid(40, step=0.002)
    one, two = (
        system.gradient(lep.Initial(q, v=np.zeros(2*links)), short, cost, estimator=estimator)
        for estimator in (lep.Exact(), lep.Adjoint())
    )
    for key in (l, r, g):
        assert_close(one[key], two[key], 1e-9)


# ---------------------------------------------------------------------- against angles
def test_a_rod_swings_like_its_angle_to_second_order():
    system, *_ = problem("rod")
    theta = dynamicsymbols("theta")
    angle = lep.System(m*l**2*theta.diff(t)**2/2 + m*g*l*sp.cos(theta), [theta], parameters={m: 1.3, l: 1.1, g: 4.0})
    a, speed = 0.9, 0.7
    reference = angle.trajectory(lep.Initial([a], v=[speed]), lep.Grid(20000, duration=2.0), save="last", **PLAIN)
    end = 1.1*np.array([np.sin(reference.q[-1, 0]), -np.cos(reference.q[-1, 0])])
    start = lep.Initial(1.1*np.array([np.sin(a), -np.cos(a)]), v=1.1*speed*np.array([np.cos(a), np.sin(a)]))
    errors = []
    for steps in (50, 100, 200):
        path = system.trajectory(start, lep.Grid(steps, duration=2.0), **PLAIN)
        errors.append(np.abs(path.q[-1] - end).max())
        assert np.abs((path.q**2).sum(1) - 1.21).max() < 1e-14
        assert np.abs((path.q*path.v).sum(1)).max() < 1e-14
    assert 3.8 < errors[0]/errors[1] < 4.2 and 3.8 < errors[1]/errors[2] < 4.2


def test_two_rods_swing_like_a_double_pendulum():
    """Trajectory and the gradient of a length, whose rod keeps its direction as it grows (project along it)."""
    a, b = dynamicsymbols("a b")
    values = {m: 1.1, M: 0.6, l: 1.0, r: 0.8, g: 3.0}
    va, vb = a.diff(t), b.diff(t)
    double = lep.System(
        (m + M)*l**2*va**2/2 + M*r**2*vb**2/2 + M*l*r*va*vb*sp.cos(a - b) + (m + M)*g*l*sp.cos(a) + M*g*r*sp.cos(b),
        [a, b], parameters=values,
    )  # fmt: skip
    rods = lep.System(
        m*(vx**2 + vy**2)/2 + M*(vz**2 + vw**2)/2 - g*(m*y + M*w), COORDINATES, parameters=values,
        constraints=[x**2 + y**2 - l**2, (x - z)**2 + (y - w)**2 - r**2],
    )  # fmt: skip
    p, q = np.array([np.sin(0.6), -np.cos(0.6)]), 0.8*np.array([np.sin(-0.3), -np.cos(-0.3)])
    start, errors = lep.Initial([*p, *(p + q)], v=np.zeros(4)), []
    fine = double.trajectory(lep.Initial([0.6, -0.3], v=[0, 0]), lep.Grid(4000, duration=1.5), save="last", **PLAIN)
    (A, B), = fine.q
    end = np.array([np.sin(A), -np.cos(A), np.sin(A) + 0.8*np.sin(B), -np.cos(A) - 0.8*np.cos(B)])
    for steps in (30, 60, 120):
        errors.append(np.abs(rods.trajectory(start, lep.Grid(steps, duration=1.5), **PLAIN).q[-1] - end).max())
    assert 3.8 < errors[0]/errors[1] < 4.2 and 3.8 < errors[1]/errors[2] < 4.2
    grid = lep.Grid(800, duration=1.5)
    one = rods.gradient(start, grid, lep.Cost(z + w**2), **PLAIN)
    tip = l*sp.sin(a) + r*sp.sin(b) + (l*sp.cos(a) + r*sp.cos(b))**2
    two = double.gradient(lep.Initial([0.6, -0.3], v=[0, 0]), grid, lep.Cost(tip), **PLAIN)
    assert_close([one[s] for s in (m, M, g)], [two[s] for s in (m, M, g)], 1e-4)


@pytest.mark.slow
def test_energy_is_bounded_for_long():
    system, *_, q, v, _ = problem("two rods")
    path = system.trajectory(lep.Initial(q, v=v), lep.Grid(20000, step=0.02))
    change, kinetic = np.abs(path.energy - path.energy[0]), (path.p*path.v).sum(1)/2
    assert change.max() < 0.02*np.ptp(kinetic)
    assert change[-5000:].max() < 1.5*change[:15000].max()


def test_the_way_back_leads_to_the_start():
    """RATTLE is symmetric: with momenta turned round it returns, at a coarse step."""
    system, *_, q, v, p = problem("bead on a wire")
    grid = lep.Grid(40, step=0.15)
    still = {k: 0.0}
    there = system.trajectory(lep.Initial(q, p=p), grid, parameters=still, **PLAIN)
    back = system.trajectory(lep.Initial(there.q[-1], p=-there.p[-1]), grid, parameters=still, **PLAIN)
    assert_close(back.q[::-1], there.q, 1e-12)
    assert_close(-back.p[::-1], there.p, 1e-12)


def test_a_linear_constraint_removes_a_coordinate():
    """x + y = 2 c: the same oscillator as in one coordinate, to rounding, with any multiplier's method."""
    two = lep.System(
        m*(vx**2 + vy**2)/2 - k*(x - y)**2/2, [x, y], parameters={m: 1.2, k: 0.7, c: 0.5}, constraints=[x + y - 2*c]
    )  # fmt: skip
    one = lep.System(m*vz**2 - 2*k*(z - c)**2, [z], parameters={m: 1.2, k: 0.7, c: 0.5})
    grid = lep.Grid(30, step=0.2)
    first = two.gradient(lep.Initial([0.9, 0.1], v=[0.3, -0.3]), grid, lep.Cost(x**4), save="all", **PLAIN)
    second = one.gradient(lep.Initial([0.9], v=[0.3]), grid, lep.Cost(z**4), save="all", **PLAIN)
    assert_close(first.path.q[:, 0], second.path.q[:, 0], 1e-13)
    assert_close(first.path.action, second.path.action, 1e-12)
    assert_close([first.loss, first[m], first[k]], [second.loss, second[m], second[k]], 1e-11)
    assert_close(first.initial.q, 0.5*second.initial.q*[1, -1], 1e-11)
    assert_close(first[c], second[c] + second.initial.q[0], 1e-11)  # x_0 moves with c, by c for x_0 + y_0


def test_training_a_length():
    """fit with data that the trained rod moves along with itself."""
    system, *_, q, v, _ = problem("rod")
    cost = lep.Cost(((x - aim)**2)/2, targets=[aim])
    path = system.trajectory(lep.Initial(q, v=v, project=True), GRID, parameters={l: 0.9}, **PLAIN)
    start, targets = lep.Initial(q[None], v=v[None], project=True), {aim: path.q[None, :, 0]}
    history = system.fit(
        start, GRID, cost, targets=targets, epochs=120, optimiser=lep.Adam(2e-2), train=[l], progress=False, **PLAIN
    )
    assert history.loss[-1] < 1e-4*history.loss[0]
    assert abs(history.parameters[l] - 0.9) < 0.01


def test_views_show_multipliers_and_constraints():
    system, *_ = problem("rod")
    multiplier = sp.Function("lambda_0")(t)
    assert system.equations == [
        sp.Eq(m*x.diff(t, 2) - 2*multiplier*x, 0), sp.Eq(m*y.diff(t, 2) + g*m - 2*multiplier*y, 0),
        sp.Eq(x**2 + y**2 - l**2, 0),
    ]  # fmt: skip
    net, _ = rope(3)
    assert len(net.equations) == 6 + 3 and net.equations[-1].lhs.free_symbols == {t, r}
    assert "def constraint(" in system.source(compiled=False)


# ---------------------------------------------------------------------- refusals
ROD = m*(vx**2 + vy**2)/2 - g*y


def rod(*constraints, lagrangian=ROD, coordinates=(x, y), parameters=None, **options):
    values = {m: 1.0, g: 1.0, l: 1.0} if parameters is None else parameters
    return lep.System(lagrangian, list(coordinates), parameters=values, constraints=list(constraints), **options)


CIRCLE = x**2 + y**2 - l**2
HERE = lep.Initial([1.0, 0.0], v=[0.0, 0.0])
REFUSALS = {
    "velocity in it": (lambda: rod(x*vy - l), "constraint 0 must be a function of coordinates and par.*velocity"),
    "time in it": (lambda: rod(CIRCLE - t), "constraint 0 must be a function of coordinates.*time"),
    "input in it": (lambda: rod(CIRCLE - u, inputs=[u]), "constraint 0 must be a function of coordinates.*input"),
    "no coordinate": (lambda: rod(l - 1), "constraint 0 must be in the coordinates"),
    "not a list": (
        lambda: lep.System(ROD, [x, y], parameters={m: 1, g: 1}, constraints=CIRCLE), "constraints must be a list",
    ),
    "a term": (lambda: rod(lep.Term(CIRCLE, on=[x, y], at=[[0, 1]])), "constraint 0 must be an expression"),
    "undeclared": (lambda: rod(CIRCLE - k), "'k', which is not declared"),
    "too many": (lambda: rod(CIRCLE, x - y), "constraints must be fewer than the 2 coordinates; got 2"),
    "off": (
        lambda: rod(CIRCLE).trajectory(lep.Initial([1.1, 0.0], v=[0, 0]), GRID, **PLAIN),
        "q must be on the constraint; got sample 0 that misses it by 1.0e-01; project=True",
    ),
    "not tangent": (
        lambda: rod(CIRCLE).trajectory(lep.Initial([1.0, 0.0], v=[0.1, 1]), GRID, **PLAIN),
        "v must be tangent to the constraint.*1.0e-01; project=True",
    ),
    "momentum not tangent": (
        lambda: rod(CIRCLE).trajectory(lep.Initial([1.0, 0.0], p=[0.1, 1]), GRID, **PLAIN), "p must be tangent",
    ),
    "dependent": (
        lambda: rod(CIRCLE, 2*CIRCLE, lagrangian=ROD + vz**2/2 + l*0*z - z, coordinates=[x, y, z]).trajectory(
            lep.Initial([1.0, 0, 0], v=[0, 0, 0]), GRID, **PLAIN
        ),
        "constraints must be independent|depend on each other",
    ),
    "midpoint": (
        lambda: rod(CIRCLE).trajectory(HERE, GRID, method="midpoint", **PLAIN), "'rattle' for a system with",
    ),
    "rattle without": (
        lambda: lep.System(ROD, [x, y], parameters={m: 1, g: 1}).trajectory(HERE, GRID, method="rattle", **PLAIN),
        "method must be 'verlet'.*'rattle'",
    ),
    "magnetic": (
        lambda: rod(CIRCLE, lagrangian=ROD + x*vy).trajectory(HERE, GRID, **PLAIN), "constraints must come with a",
    ),
    "step too large": (
        lambda: rod(CIRCLE, lagrangian=ROD - 900*y**2).trajectory(HERE, GRID, **PLAIN), "step must be below 0.047",
    ),
    "ends off": (
        lambda: rod(CIRCLE).trajectory(lep.Ends([1.0, 0.0], [0.0, 1.2]), GRID, **PLAIN),
        "q_stop must be on the constraint; got sample 0 that misses it by",
    ),
    "a line through the pivot": (
        lambda: rod(CIRCLE).trajectory(lep.Ends([1.0, 0.0], [-1.0, 0.0]), GRID, **PLAIN), "give guess=",
    ),
    "check of ends": (
        lambda: rod(CIRCLE).check(lep.Ends([1.0, 0.0], [0.0, 1.0]), GRID, lep.Cost(x), **PLAIN),
        "lep.Initial in the check",
    ),
    "project": (lambda: lep.Initial([1.0], v=[0.0], project="yes"), "project must be True or False"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals(case):
    question, message = REFUSALS[case]
    with pytest.raises((ValueError, lep.ConvergenceError), match=message):
        question()


def test_a_step_that_cannot_reach_the_constraint_fails():
    """The rod is shorter than what the mass flies in one step: no multiplier brings it back."""
    with pytest.raises(lep.ConvergenceError, match=r"sample 0 at step \d+ .*(residual|infinite)"):
        rod(CIRCLE).trajectory(lep.Initial([1.0, 0.0], v=[0.0, 50.0]), GRID, **PLAIN)
    batch = lep.Initial([[1.0, 0.0]]*2, v=[[0.0, 50.0], [0.0, 0.5]])
    result = rod(CIRCLE).gradient(batch, GRID, lep.Cost(x**2), on_failure="return", **PLAIN)
    alone = rod(CIRCLE).gradient(lep.Initial([1.0, 0.0], v=[0.0, 0.5]), GRID, lep.Cost(x**2), **PLAIN)
    assert result.success.tolist() == [False, True] and np.isnan(result.losses[0])
    assert_close([result[g], result[l]], [alone[g], alone[l]], 1e-12)
