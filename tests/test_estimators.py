"""Estimators at finite nudges: slopes in beta, no trace of the step, and gradients that must vanish.

The discrete gradient is exact, so the error of an estimator depends on beta alone: slopes 1, 2 and N (Scellier and
Bengio 2017; Laborieux et al. 2021; Laborieux and Zenke 2022), whatever the step.
"""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from oracles import assert_close
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep

t = dynamicsymbols._t
q, x, z = dynamicsymbols("q x z")
m, k, a, b, g, y, s = sp.symbols("m k a b g y s")
vx, vz = x.diff(t), z.diff(t)
PLAIN = {"compiled": False}
DUFFING = lep.System(m*q.diff(t)**2/2 - k*q**2/2 - a*q**4/4, coordinates=[q], parameters={m: 1.3, k: 0.8, a: 0.4})
COST = lep.Cost((q - y)**2/2 + q**3/5, targets=[y])
BOUNDARIES = {"initial": lep.Initial([0.7], v=[0.4]), "ends": lep.Ends([0.7], [0.5]), "natural": lep.Ends([0.7], None)}
BOTH = pytest.mark.parametrize("method", ["verlet", "midpoint"])
EVERYWHERE = pytest.mark.parametrize("boundary", BOUNDARIES)


def flat(result):
    """All derivatives as one vector."""
    data = (result.initial.q, result.initial.v) if result.initial else (result.ends.start, result.ends.stop)
    parts = [np.ravel(value) for value in result.parameters.values()] + [v for v in data if v is not None]
    return np.concatenate(parts)


def errors(boundary, method, estimators, steps=12):
    grid, options = lep.Grid(steps, duration=0.6), {"targets": {y: 0.2}, "method": method, **PLAIN}
    exact = flat(DUFFING.gradient(BOUNDARIES[boundary], grid, COST, **options))
    found = [flat(DUFFING.gradient(BOUNDARIES[boundary], grid, COST, estimator=e, **options)) for e in estimators]
    return np.array([np.linalg.norm(f - exact)/np.linalg.norm(exact) for f in found])


KINDS = {
    "one-sided": (1, lep.OneSided, np.logspace(-6, -3, 7)),
    "centered": (2, lep.Centered, np.logspace(-3, -1.5, 7)),
    "2 points": (2, lambda r: lep.Holomorphic(r, 2), np.logspace(-3, -1.5, 7)),
    "4 points": (4, lambda r: lep.Holomorphic(r, 4), np.logspace(-2, -0.3, 12)),
    "6 points": (6, lambda r: lep.Holomorphic(r, 6), np.logspace(-1.5, 0, 14)),
    "8 points": (8, lambda r: lep.Holomorphic(r, 8), np.logspace(-1.5, 0.3, 18)),
}


@BOTH
@EVERYWHERE
@pytest.mark.parametrize("kind", KINDS)
def test_slopes_in_beta(kind, boundary, method):
    order, make, betas = KINDS[kind]
    if order > 4 and boundary == "natural":
        betas = betas/3  # a pole of the nudged action is near
    found = errors(boundary, method, [make(beta) for beta in betas])
    floor = 1e-14 if order > 2 else 1e-16/betas.min()
    chosen = (found > 100*floor) & (found < 1e-3)
    assert chosen.sum() >= 3, found
    slope = np.polyfit(np.log(betas[chosen]), np.log(found[chosen]), 1)[0]
    assert abs(slope - order) < 0.05, (slope, found)


@BOTH
@EVERYWHERE
def test_no_dependence_on_the_step(boundary, method):
    """Against the discrete gradient: with the step halved twice the error of a small nudge does not change."""
    sizes = [errors(boundary, method, [lep.Centered(0.02)], n)[0] for n in (6, 12, 24)]
    assert max(sizes) < 1e-3
    assert max(sizes)/min(sizes) < 1.3, sizes


@BOTH
@EVERYWHERE
def test_holomorphic_finds_a_radius_and_its_own_error(boundary, method):
    options = {"targets": {y: 0.2}, "method": method, **PLAIN}
    grid = lep.Grid(12, step=0.05)
    exact = flat(DUFFING.gradient(BOUNDARIES[boundary], grid, COST, **options))
    result = DUFFING.gradient(BOUNDARIES[boundary], grid, COST, estimator=lep.Holomorphic(), **options)
    error = np.linalg.norm(flat(result) - exact)/np.linalg.norm(exact)
    assert error < 1e-11
    assert 0 < result.error < 1e-8
    assert error < 100*result.error


@BOTH
def test_a_linear_system_is_exact_at_any_beta_of_the_circle(method):
    """A linear cost nudges with a constant force: the contrast is a polynomial of degree 2, centered is exact."""
    spring = lep.System(m*q.diff(t)**2/2 - k*q**2/2, coordinates=[q], parameters={m: 1.3, k: 0.8})
    grid, cost = lep.Grid(20, step=0.1), lep.Cost(q*sp.cos(t))
    exact = spring.gradient(BOUNDARIES["initial"], grid, cost, method=method, **PLAIN)
    for beta in (1e-3, 1.0, 30.0):
        found = spring.gradient(BOUNDARIES["initial"], grid, cost, estimator=lep.Centered(beta), method=method, **PLAIN)
        assert_close(flat(found), flat(exact), 1e-11)


SCALED = [
    (m*q.diff(t)**2/2 - k*q**2/2 - a*q**4/4 + b*q*sp.sin(t), "verlet"),
    (m*q.diff(t)**2/2 - k*q**2/2 - a*q**4/4 + b*q*sp.sin(t), "midpoint"),
    (m*q.diff(t)**2*(1 + q**2)/2 + k*q.diff(t)*sp.sin(t*q) - a*q**4/4 + b*sp.cos(q), "midpoint"),
]


@pytest.mark.parametrize(("expression", "method"), SCALED)
def test_the_scale_of_a_lagrangian_has_no_gradient_at_fixed_velocity(expression, method):
    """m dJ/dm + k dJ/dk + ... = 0; at fixed momentum it is not."""
    values = {m: 1.3, k: 0.8, a: 0.4, b: 0.6}
    system = lep.System(expression, coordinates=[q], parameters=values)
    grid, cost = lep.Grid(20, step=0.1), lep.Cost((q - sp.sin(t))**2)
    for estimator in (lep.Exact(), lep.Adjoint()):
        options = {"method": method, "estimator": estimator, **PLAIN}
        at_v = system.gradient(lep.Initial([0.7], v=[0.4]), grid, cost, **options)
        parts = [values[symbol]*at_v[symbol] for symbol in values]
        assert abs(sum(parts)) <= 1e-12*np.abs(parts).max()
        at_p = system.gradient(lep.Initial([0.7], p=[0.52]), grid, cost, **options)
        assert abs(sum(values[symbol]*at_p[symbol] for symbol in values)) > 1e-3*np.abs(parts).max()
        ends = system.gradient(lep.Ends([0.7], [0.6]), lep.Grid(8, step=0.1), cost, **options)
        parts = [values[symbol]*ends[symbol] for symbol in values]
        assert abs(sum(parts)) <= 1e-11*np.abs(parts).max()


def test_a_gauge_has_no_gradient():
    """F = g (x z + t x) is quadratic in (q, t): the midpoint rule takes its total derivative exactly."""
    L = m*(vx**2 + vz**2)/2 - k*(x**2 + z**4)/2 - sp.cos(x*z)
    gauge = g*(vx*z + x*vz + t*vx + x)
    free = lep.System(L, coordinates=[x, z], parameters={m: 1.2, k: 0.7})
    gauged = lep.System(L + gauge, coordinates=[x, z], parameters={m: 1.2, k: 0.7, g: 0.9})
    grid, cost = lep.Grid(15, step=0.15), lep.Cost(x**2 + sp.sin(z))
    begin = lep.Initial([0.5, -0.3], v=[0.2, 0.6])
    for boundary in (begin, lep.Ends([0.5, -0.3], [0.4, 0.1])):
        plain = free.gradient(boundary, grid, cost, method="midpoint", **PLAIN)
        for estimator in (lep.Exact(), lep.Adjoint()):
            found = gauged.gradient(boundary, grid, cost, estimator=estimator, **PLAIN)
            assert_close(found.loss, plain.loss, 1e-12)
            size = np.abs([plain[m], plain[k]]).max()
            assert abs(found[g]) <= 1e-11*size
            assert_close([found[m], found[k]], [plain[m], plain[k]], 1e-11)
    shifted = gauged.trajectory(begin, grid, **PLAIN)
    assert_close(shifted.p[0], np.array([1.2*0.2 + 0.9*-0.3, 1.2*0.6 + 0.9*0.5]), 1e-12)


@pytest.mark.parametrize("estimator", [lep.Exact(), lep.Adjoint(), lep.Holomorphic()], ids=repr)
def test_gradients_scale_with_the_cost(estimator):
    grid, results = lep.Grid(12, step=0.1), []
    for factor in (1, 1000):
        cost = lep.Cost(s*q**2, parameters={s: factor})
        results.append(DUFFING.gradient(BOUNDARIES["initial"], grid, cost, estimator=estimator, **PLAIN))
    assert_close(1000*results[0].loss, results[1].loss, 1e-12)
    assert_close(1000*results[0][k], results[1][k], 1e-8 if estimator == lep.Holomorphic() else 1e-12)
    assert_close(results[0][s], results[1][s], 1e-12)


@pytest.mark.parametrize("function", [sp.Abs(q), sp.sign(q), sp.Max(q, 0), sp.Min(q, 0), sp.Heaviside(q), sp.floor(q),
                                      sp.Piecewise((q, q > 0), (2*q, True))])  # fmt: skip
def test_holomorphic_refuses_what_is_not_analytic_by_name(function):
    """By the name the user wrote."""
    name = type(function).__name__
    system = lep.System(q.diff(t)**2/2 - function, coordinates=[q])
    plain = lep.System(q.diff(t)**2/2 - q**2, coordinates=[q])
    for chosen, cost in ((system, lep.Cost(q)), (plain, lep.Cost(function))):
        options = {"estimator": lep.Holomorphic(), "method": "midpoint", **PLAIN}
        with pytest.raises(ValueError, match=f"(?i)Holomorphic.*{name}"):
            chosen.gradient(BOUNDARIES["initial"], lep.Grid(5, step=0.1), cost, **options)


def test_softmax_is_analytic():
    """The maximum that keeps it from overflowing does not count."""
    soft = lep.Cost(sp.log(sp.exp(300*x) + sp.exp(300*z)) - 300*z, when="end")
    system = lep.System((vx**2 + vz**2)/2 - (x**2 + z**2)/2, coordinates=[x, z])
    begin = lep.Initial([3.0, 2.9999], v=[0.2, 0.1])
    grid = lep.Grid(10, step=0.1)
    one, two = (system.gradient(begin, grid, soft, estimator=e, **PLAIN) for e in (lep.Exact(), lep.Holomorphic()))
    assert np.isfinite(one.loss) and one.loss > 1
    assert_close(two.initial.q, one.initial.q, 1e-8)


def test_nudged_ends_that_leave_their_branch_are_refused():
    """c = -q^2: at beta = -(curvature) the Hessian of the nudged action changes its index."""
    spring = lep.System(q.diff(t)**2/2 - k*q**2/2, coordinates=[q], parameters={k: 1.0})
    with pytest.raises(lep.ConvergenceError, match="branch.*smaller"):
        spring.gradient(
            lep.Ends([0.3], [0.5]), lep.Grid(10, step=0.1), lep.Cost(q**2), estimator=lep.Centered(20.0), **PLAIN
        )
