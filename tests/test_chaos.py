"""Chaos: Lyapunov exponents, how errors grow with them, and warnings before the echo breaks down.

The standard map is a kicked rotor: L = v^2/2 + K cos q by Verlet with h = 1, that is L_d(x, y) = (y - x)^2/2 +
K/2 (cos x + cos y). At K = 5 its exponent in the chaotic sea is near ln(K/2) = 0.92 (Chirikov, Physics Reports 52,
1979, 263), 0.98 where plain numpy iterates it: regular islands are no part of the sea.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import sympy as sp
from oracles import assert_close
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep
from lagrangian_eqprop.analysis import lyapunov, retrace

t = dynamicsymbols._t
q, x = dynamicsymbols("q x")
k, w = sp.symbols("k w")
KICKS = 5.0
ROTOR = lep.System(q.diff(t)**2/2 + k*sp.cos(q), coordinates=[q], parameters={k: KICKS})
COST = lep.Cost(sp.cos(q/2))
ROUGH = {"stability": "ignore", "compiled": False}
STARTS = np.random.default_rng(0).uniform(-3, 3, (6, 2))
EPS = 2.0**-52


def rotor(start):
    return lep.Initial(start[:1], p=start[1:])


def kicks(steps):
    return lep.Grid(steps, step=1.0)


def mapped(angle, speed, steps, a=1.0, b=0.3):
    """The exponent of the standard map in plain numpy, angles modulo a turn."""
    total = 0.0
    speed, b = speed - KICKS/2*np.sin(angle), b - KICKS/2*np.cos(angle)*a
    for _ in range(steps):
        angle, a = (angle + speed + np.pi) % (2*np.pi) - np.pi, a + b
        speed, b = speed - KICKS*np.sin(angle), b - KICKS*np.cos(angle)*a
        length = np.hypot(a, b)
        total, a, b = total + np.log(length), a/length, b/length
    return total/steps


def flat(result):
    return np.array([float(result[k]), result.initial.q[0], result.initial.p[0]])


# ---------------------------------------------------------------------- exponents
def test_the_standard_map():
    found = lyapunov(ROTOR, lep.Initial([2.5], p=[0.7]), kicks(3000), exponents=2, **ROUGH)
    largest = found.exponents[0]
    assert abs(largest - mapped(2.5, 0.7, 3000)) < 0.06  # different orbits of one sea, after some 37 kicks
    assert abs(largest - np.log(KICKS/2)) < 0.12
    assert abs(found.exponents.sum()) < 1e-3*largest  # area is preserved
    assert found.breakdown == pytest.approx(np.log(1/EPS)/largest)
    assert 33 < found.breakdown < 40
    assert found.log_growth == pytest.approx(3000*largest)
    single = lyapunov(ROTOR, lep.Initial([2.5], p=[0.7]), kicks(3000), dtype="float32", **ROUGH)
    assert single.breakdown == pytest.approx(np.log(2.0**23)/largest)


def test_short_times_to_the_last_digit():
    """As long as rounding has not grown, both orbits are one."""
    for start in STARTS:
        for steps in (1, 4, 12):
            many = lyapunov(ROTOR, rotor(start), kicks(steps), exponents=2, **ROUGH).log_growth
            a, b = np.random.default_rng(0).standard_normal(2)
            length = np.hypot(a, b)
            lengths, angle, speed = [], *start
            a, b = a/length, b/length
            for _ in range(steps):
                b, speed = b - KICKS/2*np.cos(angle)*a, speed - KICKS/2*np.sin(angle)
                a, angle = a + b, angle + speed
                b, speed = b - KICKS/2*np.cos(angle)*a, speed - KICKS/2*np.sin(angle)
            lengths = np.log(np.hypot(a, b))
            assert_close(many, lengths, 1e-9)


@pytest.mark.parametrize("method", ["verlet", "midpoint"])
def test_the_exponent_of_a_saddle(method):
    """L = v^2/2 + w^2 q^2/2: cosh(mu h) = 1 + (h w)^2/2 by Verlet, tanh(mu h/2) = h w/2 by midpoint.

    Beside it an oscillator, whose deviations do not grow.
    """
    both = q.diff(t)**2/2 + w**2*q**2/2 + x.diff(t)**2/2 - x**2/2
    saddle = lep.System(both, coordinates=[q, x], parameters={w: 1.3})
    h = 0.2
    mu = {"verlet": np.arccosh(1 + (h*1.3)**2/2)/h, "midpoint": 2*np.arctanh(h*0.65)/h}[method]
    begin = lep.Initial([[0.0, 0.5], [0.0, -1.0]], v=[0.0, 0.2])
    found = lyapunov(saddle, begin, lep.Grid(2000, step=h), exponents=4, method=method, compiled=False)
    assert found.exponents.shape == (2, 4)
    assert np.abs(found.exponents - [mu, 0, 0, -mu]).max() < 0.02
    assert_close(found.breakdown, np.log(1/EPS)/found.exponents[:, 0], 1e-12)
    start = lep.Initial([0.0, 0.5], v=[0.0, 0.2])
    alone = lyapunov(saddle, start, lep.Grid(2000, step=h), method=method, compiled=False)
    assert_close(alone.exponents[0], found.exponents[0, 0], 1e-12)


def test_a_regular_path_has_time():
    spring = lep.System(q.diff(t)**2/2 - q**2/2, coordinates=[q])
    found = lyapunov(spring, lep.Initial([1.0], v=[0.0]), lep.Grid(2000, step=0.2), compiled=False)
    assert abs(found.exponents[0]) < 0.01
    assert found.breakdown > 3000


def test_compiled_code_and_inputs():
    system = lep.System(q.diff(t)**2/2 - q**4/4 + q**2/2 + w*q, coordinates=[q], inputs=[w])
    drive = {w: lambda times: 0.4*np.cos(1.1*times)}
    begin, grid = lep.Initial([0.5], v=[0.1]), lep.Grid(100, step=0.05)
    one, two = (lyapunov(system, begin, grid, exponents=2, inputs=drive, compiled=c).exponents for c in (False, True))
    assert_close(two, one, 1e-9)


def test_bad_input_is_refused():
    begin = lep.Initial([0.5], v=[0.1])
    for number in (0, 3, 1.0, True):
        with pytest.raises(ValueError, match="exponents must be an integer from 1 to 2, twice the number"):
            lyapunov(ROTOR, begin, kicks(3), exponents=number, **ROUGH)
    with pytest.raises(ValueError, match="boundary must be lep.Initial"):
        lyapunov(ROTOR, lep.Ends([0.1], [0.2]), kicks(3), **ROUGH)
    with pytest.raises(ValueError, match="dtype must be"):
        lyapunov(ROTOR, begin, kicks(3), dtype="float16", **ROUGH)
    with pytest.raises(lep.ConvergenceError, match="became infinite"):
        lyapunov(lep.System(q.diff(t)**2/2 + q**4, coordinates=[q]), begin, lep.Grid(200, step=0.2), **ROUGH)


# ---------------------------------------------------------------------- the law of errors
def mean(values):
    return float(np.exp(np.mean(np.log(values))))


def test_errors_follow_the_growth():
    """Centered at its best nudge misses by (eps G)^(2/3), the way back by eps G; nothing is left at the breakdown."""
    law: dict[str, list[float]] = {"growth": [], "centered": [], "missing": []}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lep.AccuracyWarning)
        for steps in (5, 9, 13, 17, 21, 40):
            grid, growths, errors, missing = kicks(steps), [], [], []
            for start in STARTS:
                begin = rotor(start)
                growth = np.exp(lyapunov(ROTOR, begin, grid, **ROUGH).log_growth)
                exact = flat(ROTOR.gradient(begin, grid, COST, estimator=lep.Adjoint(), **ROUGH))
                found = [
                    flat(ROTOR.gradient(begin, grid, COST, estimator=lep.Centered(beta), **ROUGH))
                    for beta in (EPS/growth**2)**(1/3)*np.logspace(-2, 3, 6)
                ]
                errors.append(min(np.abs(one - exact).max() for one in found)/np.abs(exact).max())
                growths.append(growth)
                missing.append(retrace(ROTOR, begin, grid, **ROUGH).missing + 1e-17)
            for name, values in (("growth", growths), ("centered", errors), ("missing", missing)):
                law[name].append(mean(values))
    growth, centered, missing = (np.array(values) for values in law.values())
    assert centered[-1] > 0.3  # beyond the breakdown time of 37 kicks
    growth, centered, missing = growth[:-1], centered[:-1], missing[:-1]
    assert growth[-1] > 1e8
    slopes = [np.polyfit(np.log(growth), np.log(values), 1)[0] for values in (centered, missing)]
    assert abs(slopes[0] - 2/3) < 0.15 and abs(slopes[1] - 1) < 0.2, slopes
    assert (centered < 20*(EPS*growth)**(2/3)).all() and (centered > 0.05*(EPS*growth)**(2/3)).all()
    assert (missing < 10*EPS*growth).all()


# ---------------------------------------------------------------------- warnings
@pytest.mark.parametrize("estimator", [lep.Centered(1e-9), lep.Centered(), lep.OneSided()], ids=repr)
def test_a_warning_comes_before_the_breakdown(estimator):
    """For every start at 32 kicks of 37; none at 5, where nine digits are left."""
    for start in STARTS:
        with pytest.warns(lep.AccuracyWarning, match="multiplies small deviations by about .*lyapunov"):
            ROTOR.gradient(rotor(start), kicks(32), COST, estimator=estimator, **ROUGH)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ROTOR.gradient(rotor(start), kicks(5), COST, estimator=estimator, **ROUGH)


def test_a_long_regular_run_or_a_large_nudge_is_no_reason_to_warn():
    system = lep.System(q.diff(t)**2/2 - q**2/2 - q**4/4, coordinates=[q])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for steps, beta in ((2000, 1e-4), (100, 1.0), (2000, 1e-9)):
            found = system.gradient(lep.Initial([0.7], v=[0.2]), lep.Grid(steps, step=0.05), lep.Cost(q**2),
                                    estimator=lep.Centered(beta), compiled=False)  # fmt: skip
            assert np.isfinite(found.initial.q).all()


def test_check_tells_the_breakdown_time():
    pendulum = lep.System(q.diff(t)**2/2 + w**2*q**2/2, coordinates=[q], parameters={w: 1.0})
    with pytest.warns(lep.AccuracyWarning, match=r"multiplies .* breaks down after t = 3[67]"):
        pendulum.check(lep.Initial([0.1], v=[0.0]), lep.Grid(200, duration=20.0), lep.Cost(q**2), compiled=False)
