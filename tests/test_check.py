"""The whole zoo at its defaults: every estimator against a complex step through the forward map."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest

import lagrangian_eqprop as lep
from lagrangian_eqprop.errors import AccuracyWarning

NAMES = lep.systems.names()


# The others run the same text in plain Python; `lagrangian-eqprop check all --ends` does the rest, in minutes.
COMPILED = {"duffing", "double_pendulum_chaotic", "oscillators_dense"}
BETWEEN = {"duffing", "double_pendulum_chaotic"}
SHORT = {"rope", "nls_lattice", "point_vortices"}  # these take minutes in plain Python: twenty steps are enough


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_zoo(name):
    case = lep.systems.get(name)
    options = {"targets": case.targets, "inputs": case.inputs, "compiled": name in COMPILED}
    assert case.grid.steps >= 500
    grid = lep.Grid(20, step=case.grid.step, start=case.grid.start) if name in SHORT else case.grid
    wanted = {"Exact", "Adjoint"} | (set() if case.system.forced else {"Holomorphic"})
    for boundary in (case.start, case.ends) if name in BETWEEN else (case.start,):
        report = case.system.check(boundary, grid, case.cost, **options)
        tolerance = 1e-9 if boundary is case.ends else max(1e-11, 2e-12*report.growth)
        assert report.passed, str(report)
        assert report.tolerance == tolerance
        assert wanted <= set(report.errors)
        assert max(report.errors[name] for name in wanted) <= tolerance
        assert np.abs(np.concatenate([values.ravel() for values in report.reference.values()])).max() > 1e-6


def test_check_sees_a_wrong_gradient(monkeypatch):
    """A check that cannot fail is none: a gradient that is off by one part in a million is found."""
    from lagrangian_eqprop.analysis import check as module

    case = lep.systems.get("harmonic")
    grid = lep.Grid(40, step=0.05)
    right = module.gradient

    def wrong(*arguments, **options):
        result = right(*arguments, **options)
        return replace(result, parameters={s: value*(1 + 1e-6) for s, value in result.parameters.items()})

    options = {"targets": {s: 0.3 for s in case.targets}, "inputs": case.inputs, "compiled": False}
    assert case.system.check(case.start, grid, case.cost, **options).passed
    monkeypatch.setattr(module, "gradient", wrong)
    report = case.system.check(case.start, grid, case.cost, **options)
    assert not report.passed
    assert "FAILED" in str(report)


def test_growth_is_the_norm_of_the_map_and_warns_beyond_a_million():
    import sympy as sp

    t = sp.Symbol("t")
    q = sp.Function("q")(t)
    k = sp.Symbol("k")
    hill = lep.System(q.diff(t)**2/2 + k*q**2/2, coordinates=[q], parameters={k: 1.0})
    cost = lep.Cost(q**2/2)
    grid, start = lep.Grid(400, step=0.02), lep.Initial(q=[1e-3], v=[-1e-3])
    report = hill.check(start, grid, cost, compiled=False)
    rate = np.arccosh(1 + grid.step**2/2)  # of Verlet on an inverted oscillator
    # q_N = q_0 cosh(N rate) at p_0 = 0
    assert report.growth == pytest.approx(np.cosh(400*rate), rel=1e-9)
    with pytest.warns(AccuracyWarning, match="multiplies small deviations"):
        hill.check(start, lep.Grid(800, step=0.02), cost, compiled=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hill.gradient(start, grid, cost, compiled=False)
