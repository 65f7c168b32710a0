"""The linearised nudge: the force beta w c_q of the free path, given to the nudged one.

A linear system answers it linearly, and S_theta is quadratic in the path, so that a centered contrast has no error but
rounding at any beta. In general only the coefficients of the error change, not its order.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import sympy as sp
from oracles import (
    Loss,
    Mechanics,
    assert_close,
    between,
    drive,
    ends_gradients,
    initial_gradients,
    midpoint,
    verlet,
)
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep

t = dynamicsymbols._t
q, x = dynamicsymbols("q x")
m, k, c, a, y = sp.symbols("m k c a y")
LINEAR = m*q.diff(t)**2/2 + x.diff(t)**2/2 - k*q**2/2 - c*(q - x)**2/2 + q*sp.cos(t)
VALUES = {m: 1.3, k: 0.8, c: 0.5}
CURVED = m*q.diff(t)**2/2 - k*q**2/2 - a*q**4/4
BENT = {m: 1.3, k: 0.8, a: 0.4}
AIM = 0.2
COST = (q - y)**2/2 + q*x/3
SLANTED = (q - y)**2/2 + q**3/5
GRID = lep.Grid(16, duration=2.4)
BOUNDARIES = {
    "initial": lep.Initial([0.7, -0.2], v=[0.1, 0.3]), "fixed": lep.Ends([0.7, 0.1], [0.5, -0.1]),
    "natural": lep.Ends([0.7, 0.1], None),
}  # fmt: skip
SINGLE = {"initial": lep.Initial([0.7], v=[0.4]), "fixed": lep.Ends([0.7], [0.5]), "natural": lep.Ends([0.7], None)}
BOTH = pytest.mark.parametrize("method", ["verlet", "midpoint"])
EVERYWHERE = pytest.mark.parametrize("boundary", BOUNDARIES)


def flat(result):
    data = (result.initial.q, result.initial.v) if result.initial else (result.ends.start, result.ends.stop)
    parts = [np.ravel(value) for value in result.parameters.values()] + [v for v in data if v is not None]
    return np.concatenate(parts)


def oracle(method, boundary, path):
    """The gradient of the linear system by complex steps through discrete Euler-Lagrange equations in plain numpy."""
    mechanics, theta = Mechanics(LINEAR, [q, x], VALUES), list(VALUES.values())
    loss, options = Loss(COST, [q, x], [y], VALUES), {"targets": [AIM]}
    if boundary == "initial":
        begin = BOUNDARIES["initial"]
        found = initial_gradients(mechanics, method, loss, begin.q, GRID, theta, v=begin.v, **options)
        return np.concatenate([found["theta"], found["q"], found["other"]])
    found = ends_gradients(mechanics, method, loss, path, GRID, theta, free=(False, boundary == "natural"), **options)
    return np.concatenate([found[name] for name in ("theta", "start", "stop") if found[name] is not None])


@BOTH
@EVERYWHERE
def test_a_linear_system_has_no_error_at_any_beta(boundary, method):
    system = lep.System(LINEAR, coordinates=[q, x], parameters=VALUES)
    cost, options = lep.Cost(COST, targets=[y]), {"method": method, "compiled": False}
    path = system.trajectory(BOUNDARIES[boundary], GRID, **options).q
    exact = oracle(method, boundary, path)
    for beta in np.logspace(-6, 3, 10):
        estimator = lep.Centered(beta, nudge="linearised")
        found = system.gradient(BOUNDARIES[boundary], GRID, cost, estimator=estimator, targets={y: AIM}, **options)
        error = np.abs(flat(found) - exact).max()/np.abs(exact).max()
        assert error <= max(1e-10, 1e-15/beta), (beta, error)
    # the nudge with the curvature of the cost in it is no longer linear in beta
    full = system.gradient(
        BOUNDARIES[boundary], GRID, cost, estimator=lep.Centered(0.1), targets={y: AIM}, **options
    )
    assert np.abs(flat(full) - exact).max() > 1e-6*np.abs(exact).max()


@BOTH
@EVERYWHERE
@pytest.mark.parametrize(("kind", "order"), [(lep.OneSided, 1), (lep.Centered, 2)])
def test_slopes_in_beta_are_those_of_the_full_nudge(kind, order, boundary, method):
    system = lep.System(CURVED, coordinates=[q], parameters=BENT)
    cost, grid = lep.Cost(SLANTED, targets=[y]), lep.Grid(12, duration=0.6)
    options = {"targets": {y: AIM}, "method": method, "compiled": False}
    exact = flat(system.gradient(SINGLE[boundary], grid, cost, **options))
    betas, errors = np.array([2e-3, 6e-3, 1.8e-2])*order**2, []
    for beta in betas:
        found = flat(system.gradient(SINGLE[boundary], grid, cost, estimator=kind(beta, nudge="linearised"), **options))
        errors.append(np.linalg.norm(found - exact)/np.linalg.norm(exact))
    slope = np.polyfit(np.log(betas), np.log(errors), 1)[0]
    assert abs(slope - order) < 0.05, (slope, errors)


@BOTH
@pytest.mark.parametrize("boundary", ["initial", "fixed"])
def test_the_nudged_path_feels_the_force_of_the_free_one(boundary, method):
    """Its discrete Euler-Lagrange equations, written in plain numpy, with beta w c_q(free path) on the right."""
    system = lep.System(CURVED, coordinates=[q], parameters=BENT)
    cost, grid, beta = lep.Cost(SLANTED, targets=[y]), lep.Grid(12, duration=0.9), 0.3
    found = system.gradient(
        SINGLE[boundary], grid, cost, targets={y: AIM}, estimator=lep.Centered(beta, nudge="linearised"), save="all",
        method=method, compiled=False,
    )  # fmt: skip
    w = np.full(13, grid.step)
    w[[0, -1]] *= 0.5
    free = found.path.q
    pull = w[:, None]*beta*(free - AIM + 3*free**2/5)
    mechanics = Mechanics(CURVED, [q], BENT)
    rule = {"verlet": verlet, "midpoint": midpoint}[method]
    u = drive(None, method, grid.steps)
    moved = found.nudged.q
    pairs = [rule(mechanics, moved[j], moved[j + 1], 0.0, grid.step, list(BENT.values()), u[j]) for j in range(12)]
    left = np.array([(pairs[j - 1][1] + pairs[j][0]).real - pull[j] for j in range(1, 12)])
    assert np.abs(left).max() < 1e-12
    assert np.abs(moved - free).max() > 1e-3
    if boundary == "initial":  # both paths share the last position and P_N = D_2 L_d - beta w_N c_q
        assert_close(moved[-1], free[-1], 1e-14)
        assert_close(pairs[-1][1].real - pull[-1], found.path.p[-1], 1e-12)
        assert_close(-pairs[0][0].real + pull[0], found.nudged.p[0], 1e-12)
        return
    expected, _ = between(mechanics, method, free, list(BENT.values()), grid, force=lambda _: (pull, 0.0))
    assert_close(moved, expected.real, 1e-10)
    assert_close(found.nudged.p[0], -pairs[0][0].real + pull[0], 1e-12)


def test_batches_and_fit_take_it():
    system = lep.System(CURVED, coordinates=[q], parameters=BENT)
    cost, grid = lep.Cost(SLANTED, targets=[y]), lep.Grid(10, duration=0.8)
    begin = lep.Initial([[0.7], [0.2], [-0.4]], v=[[0.1], [0.0], [0.3]])
    options = {"estimator": lep.Centered(0.05, nudge="linearised"), "compiled": False}
    together = system.gradient(begin, grid, cost, targets={y: AIM}, **options)
    alone = [system.gradient(lep.Initial(b, v=v), grid, cost, targets={y: AIM}, **options)
             for b, v in zip(begin.q, begin.v, strict=True)]  # fmt: skip
    assert_close(together[k], np.mean([result[k] for result in alone]), 1e-12)
    history = system.fit(begin, grid, cost, targets={y: AIM}, epochs=3, progress=False, **options)
    assert history.loss[-1] < history.loss[0]


def test_other_nudges_are_refused():
    for kind in (lep.OneSided, lep.Centered):
        with pytest.raises(ValueError, match="nudge must be 'full' or 'linearised'; got 'linear'"):
            kind(0.1, nudge="linear")


@pytest.mark.parametrize("estimator", [lep.Centered(1e-9), lep.OneSided(1e-9)], ids=repr)
def test_finite_nudges_warn_of_growth(estimator):
    """As Exact does where it integrates back: the standard map at K = 5, in its chaotic sea."""
    rotor = lep.System(q.diff(t)**2/2 + k*sp.cos(q), coordinates=[q], parameters={k: 5.0})
    begin, cost = lep.Initial([2.5], v=[0.7]), lep.Cost(sp.cos(q))
    options = {"estimator": estimator, "compiled": False, "stability": "ignore"}
    with pytest.warns(lep.AccuracyWarning, match="multiplies small deviations"):
        rotor.gradient(begin, lep.Grid(32, step=1.0), cost, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rotor.gradient(begin, lep.Grid(5, step=1.0), cost, **options)
