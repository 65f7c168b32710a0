"""Costs sampled by the method itself: against Gauss collocation in complex numpy, and the loss of continuous time."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from oracles import Mechanics, assert_close, complex_step, run
from scipy.integrate import solve_ivp
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep
from lagrangian_eqprop.methods.compositions import ORDERS, substeps

t = dynamicsymbols._t
x, z = dynamicsymbols("x z")
m, k, u, y, r, w = sp.symbols("m k u y r w")
vx, vz = x.diff(t), z.diff(t)
PLAIN = {"compiled": False}
COUPLED = m*(vx**2 + vz**2/2 + sp.cos(x - z)*vx*vz) + k*(2*sp.cos(x) + sp.cos(z)) + u*z
SEPARABLE = m*(vx**2 + 2*vz**2)/2 - k*(x**2 + z**2 + x**2*z**2)/2 + u*z
PENDULA = lep.System(COUPLED, coordinates=[x, z], parameters={m: 1.1, k: 0.8}, inputs=[u])
SPRINGS = lep.System(SEPARABLE, coordinates=[x, z], parameters={m: 1.1, k: 0.8}, inputs=[u])
DENSITY = r*(x - y)**2/2 + k*sp.sin(z)*(1 + t/3)
START = lep.Initial(q=[0.3, -0.2], v=[0.2, 0.4])


def drive(times):
    return 0.3*np.cos(1.3*times)


def aim(times):
    return 0.2*np.sin(times)


def costs(quadrature):
    return lep.Cost(DENSITY, targets=[y], parameters={r: 0.7}, quadrature=quadrature)


def density():
    return sp.lambdify([[x, z], t, y, k, r], DENSITY, "numpy")


# ---------------------------------------------------------------------- Gauss
def collocation(mechanics, q, p, theta, grid, stages):
    """End state of Gauss collocation, its nodes, and (time, weight, position) of all stages; complex."""
    roots, weights = np.polynomial.legendre.leggauss(stages)
    nodes, b, h = (roots + 1)/2, weights/2, grid.step

    def basis(j, x):
        return np.prod([(x - node)/(nodes[j] - node) for node in np.delete(nodes, j)])

    # integrals from 0 to c by the same quadrature, exact for these degrees
    A = np.array([[c*sum(b[n]*basis(j, c*nodes[n]) for n in range(stages)) for j in range(stages)] for c in nodes])
    path, samples = [np.array(q, complex)], []
    for start in grid.t[:-1]:
        q, V, F = path[-1], np.zeros((stages, 2), complex), np.zeros((stages, 2), complex)
        for _ in range(60):
            Q, P = q + h*A @ V, p + h*A @ F
            for i in range(stages):
                at = mechanics.derivatives(Q[i], V[i], start + nodes[i]*h, theta, [drive(start + nodes[i]*h)])
                V[i] += np.linalg.solve(at[4], P[i] - at[1])
                F[i] = mechanics.derivatives(Q[i], V[i], start + nodes[i]*h, theta, [drive(start + nodes[i]*h)])[0]
        samples += [(start + nodes[i]*h, h*b[i], (q + h*A @ V)[i]) for i in range(stages)]
        path.append(q + h*b @ V)
        p = p + h*b @ F
    return np.array(path), samples


@pytest.mark.parametrize("stages", [2, 3, 8])
def test_gauss_gradient_is_the_complex_step(stages):
    """A cost at the stages beside one at the end and one at the nodes, the readout's parameter included."""
    grid, mechanics, c = lep.Grid(4, step=0.3, start=0.4), Mechanics(COUPLED, [x, z], [m, k], [u]), density()
    at_nodes = 0.1*np.arange(5.0)
    extra = [lep.Cost(x**2*z, when="end"), lep.Cost((z - w)**2, targets=[w])]
    trapezoid = np.array([0.15, 0.3, 0.3, 0.3, 0.15])

    def J(theta, q, v):
        p = np.array(mechanics.momentum(q, v, grid.start, theta[:2], [drive(grid.start)]))
        path, samples = collocation(mechanics, q, p, theta[:2], grid, stages)
        loss = sum(weight*c(at, time, aim(time), theta[1], theta[2]) for time, weight, at in samples)
        return loss + path[-1, 0]**2*path[-1, 1] + (trapezoid*(path[:, 1] - at_nodes)**2).sum()

    theta = np.array([1.1, 0.8, 0.7])
    found = PENDULA.gradient(
        START, grid, [costs("method"), *extra], targets={y: aim, w: at_nodes}, inputs={u: drive}, method="gauss",
        stages=stages,
    )  # fmt: skip
    assert_close(found.loss, J(theta, START.q, START.v).real, 1e-13)
    expected = complex_step(lambda x: J(x, START.q, START.v), theta)
    assert_close([found[m], found[k], found[r]], expected, 1e-11)
    assert_close(found.initial.q, complex_step(lambda x: J(theta, x, START.v), START.q), 1e-11)
    assert_close(found.initial.v, complex_step(lambda x: J(theta, START.q, x), START.v), 1e-11)


def continuous(expression, duration, **changes):
    """J of continuous time, by a method of order 8 with tolerances of 1e-13."""
    values = {"m": 1.1, "k": 0.8, "r": 0.7, "q": START.q, **changes}
    plain, speeds = sp.symbols("q0:2"), sp.symbols("v0:2")
    L = expression.subs({vx: speeds[0], vz: speeds[1]}).subs({x: plain[0], z: plain[1]})
    L = L.subs({m: values["m"], k: values["k"]})
    Lv = sp.Matrix([L.diff(v) for v in speeds])
    force = sp.Matrix([L.diff(c) for c in plain]) - Lv.jacobian(plain)*sp.Matrix(speeds)
    acceleration, c = sp.lambdify([plain, speeds, u], Lv.jacobian(speeds).LUsolve(force)), density()

    def slope(time, s):
        moved = np.ravel(acceleration(s[:2], s[2:4], drive(time)))
        return np.concatenate([s[2:4], moved, [c(s[:2], time, aim(time), values["k"], values["r"])]])

    begin = np.concatenate([values["q"], START.v, [0.0]])
    return solve_ivp(slope, (0, duration), begin, method="DOP853", rtol=1e-13, atol=1e-14).y[-1, -1]


def slope_of(errors, steps):
    return -np.polyfit(np.log(steps), np.log(np.abs(errors)), 1)[0]


@pytest.mark.parametrize(("stages", "steps"), [(2, (16, 24, 32)), (3, (20, 26, 32))])
def test_gauss_is_of_order_2s_in_continuous_time(stages, steps):
    """Loss and gradient; at the nodes both are of order 2, however many stages there are."""
    exact, e = continuous(COUPLED, 2.0), 1e-3
    by_mass = (8*(continuous(COUPLED, 2.0, m=1.1 + e) - continuous(COUPLED, 2.0, m=1.1 - e))
               - continuous(COUPLED, 2.0, m=1.1 + 2*e) + continuous(COUPLED, 2.0, m=1.1 - 2*e))/(12*e)  # fmt: skip
    for quadrature, order in (("method", 2*stages), ("nodes", 2)):
        errors, slopes = [], []
        for n in steps:
            found = PENDULA.gradient(
                START, lep.Grid(n, duration=2.0), costs(quadrature), targets={y: aim}, inputs={u: drive},
                method="gauss", stages=stages,
            )  # fmt: skip
            errors.append(found.loss - exact)
            slopes.append(found[m] - by_mass)
        assert abs(slope_of(errors, steps) - order) < 0.15, (quadrature, errors)
        assert abs(slope_of(slopes, steps) - order) < 0.4, (quadrature, slopes)


def test_gauss_samples_every_sample_with_its_own_targets():
    """A batch, constants in time and parameters of each sample; stretches of steps do not matter."""
    grid = lep.Grid(7, step=0.2)
    begin = lep.Initial(q=[[0.3, -0.2], [0.1, 0.5]], v=[[0.2, 0.4], [-0.3, 0.1]])
    options = {"inputs": {u: drive}, "method": "gauss", "stages": 3}
    masses = np.array([1.1, 0.9])
    for both, each in ((np.array([[0.2], [0.4]]), (0.2, 0.4)),
                       (lambda t: np.stack([np.sin(t), np.cos(t)]), (np.sin, np.cos))):  # fmt: skip
        found = PENDULA.gradient(begin, grid, costs("method"), targets={y: both}, parameters={m: masses}, **options)
        for b in range(2):
            one = PENDULA.gradient(
                lep.Initial(q=begin.q[b], v=begin.v[b]), grid, costs("method"), targets={y: each[b]},
                parameters={m: masses[b]}, **options,
            )  # fmt: skip
            assert_close(found.losses[b], one.loss, 1e-14)
            assert_close(found[m][b], one[m]/2, 1e-12)
            assert_close(found.initial.q[b], one.initial.q/2, 1e-12)


def test_stretches_of_steps_do_not_matter(monkeypatch):
    from lagrangian_eqprop.solvers import gauss

    grid = lep.Grid(600, step=0.01)
    options = {"targets": {y: aim}, "inputs": {u: drive}, "method": "gauss", "stages": 2}
    whole = PENDULA.gradient(START, grid, costs("method"), **options)
    monkeypatch.setattr(gauss, "_CHUNK", 1)
    parts = PENDULA.gradient(START, grid, costs("method"), **options)
    assert_close(parts.loss, whole.loss, 1e-13)
    for symbol in (m, k, r):
        assert_close(parts[symbol], whole[symbol], 1e-11)


# ---------------------------------------------------------------------- Verlet and its compositions
def test_verlet_samples_at_its_nodes():
    grid = lep.Grid(9, step=0.2)
    options = {"targets": {y: aim(grid.t)}, "inputs": {u: drive}, "method": "verlet", **PLAIN}
    own, nodes = (SPRINGS.gradient(START, grid, costs(quadrature), **options) for quadrature in ("method", "nodes"))
    assert own.loss == nodes.loss and own[m] == nodes[m]


@pytest.mark.parametrize(("order", "steps"), [(4, (16, 24, 32)), (6, (12, 16, 20)), (8, (8, 10, 12))])
def test_compositions_of_verlet_keep_their_order_in_continuous_time(order, steps):
    exact = continuous(SEPARABLE, 2.0)
    for quadrature, expected in (("method", order), ("nodes", 2)):
        errors = []
        for n in steps:
            found = SPRINGS.gradient(
                START, lep.Grid(n, duration=2.0), costs(quadrature), targets={y: aim}, inputs={u: drive}, order=order,
                **PLAIN,
            )  # fmt: skip
            errors.append(found.loss - exact)
        assert abs(slope_of(errors, steps) - expected) < 0.15, (quadrature, errors)


@pytest.mark.parametrize("order", ORDERS)
def test_gradient_of_a_composition_that_samples_inside(order):
    """Against complex steps through all sub-steps, for initial data; by every estimator, for both conditions."""
    grid, mechanics, c = lep.Grid(4, step=0.3, start=0.4), Mechanics(SEPARABLE, [x, z], [m, k], [u]), density()
    ahead = np.concatenate([[0.0], np.cumsum(substeps(order))[:-1]])
    times = np.append((np.arange(4)[:, None] + ahead).ravel(), 4)*grid.step + grid.start
    pieces = list(zip(times[:-1], np.tile(substeps(order), 4)*grid.step))
    inputs = [([drive(time)], [drive(time + h)]) for time, h in pieces]

    def J(theta):
        p = np.array(mechanics.momentum(START.q, START.v, grid.start, theta[:2], [drive(grid.start)]))
        q, _ = run(mechanics, "verlet", START.q, p, theta[:2], grid, inputs, pieces)
        each = [c(q[n], times[n], aim(times[n]), theta[1], theta[2]) for n in range(len(times))]
        return sum(h/2*(each[n] + each[n + 1]) for n, (_, h) in enumerate(pieces))

    theta = np.array([1.1, 0.8, 0.7])
    options = {"targets": {y: aim}, "inputs": {u: drive}, "order": order, **PLAIN}
    found = SPRINGS.gradient(START, grid, costs("method"), **options)
    assert_close(found.loss, J(theta).real, 1e-13)
    assert_close([found[m], found[k], found[r]], complex_step(J, theta), 1e-11)
    for boundary in (START, lep.Ends([0.3, -0.2], [0.1, 0.35])):
        exact = SPRINGS.gradient(boundary, grid, costs("method"), **options)
        for estimator, tolerance in ((lep.Adjoint(), 1e-11), (lep.Centered(1e-4), 1e-6)):
            other = SPRINGS.gradient(boundary, grid, costs("method"), estimator=estimator, **options)
            assert_close([other[s] for s in (m, k, r)], [exact[s] for s in (m, k, r)], tolerance)


# ---------------------------------------------------------------------- what is refused
def test_refusals():
    grid, targets = lep.Grid(5, step=0.2), {y: aim}
    with pytest.raises(ValueError, match="quadrature must be 'nodes' or 'method'; got 'stages'"):
        costs("stages")
    with pytest.raises(ValueError, match="quadrature must be 'nodes' .*; got 'method' and when='end'"):
        lep.Cost(x**2, when="end", quadrature="method")
    with pytest.raises(ValueError, match="quadrature must be 'nodes' .*; got 'method' and weights"):
        lep.Cost(x**2, weights=np.ones(6), quadrature="method")
    for system, options in ((PENDULA, {}), (PENDULA, {"order": 4}), (SPRINGS, {"method": "midpoint"})):
        with pytest.raises(ValueError, match="quadrature of the cost must be 'nodes' with method '.*midpoint'"):
            system.gradient(START, grid, costs("method"), targets=targets, inputs={u: drive}, **options)
    with pytest.raises(ValueError, match="quadrature of the cost must be 'nodes' with method 'gauss' between two ends"):
        SPRINGS.gradient(lep.Ends([0.3, -0.2], [0.1, 0.35]), grid, costs("method"), targets=targets, inputs={u: drive},
                         method="gauss")  # fmt: skip
    for options in ({"method": "gauss"}, {"method": "verlet", "order": 4}):
        with pytest.raises(ValueError, match=r"targets\[y\] must be a callable of the times or constant in time"):
            SPRINGS.gradient(START, grid, costs("method"), targets={y: aim(grid.t)}, inputs={u: drive}, **options)
