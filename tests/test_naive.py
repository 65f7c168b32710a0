"""The causal rule is biased, and its boundary term is what it lacks: against the oracle, which knows neither."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from oracles import Loss, Mechanics, assert_close, drive_of, initial_gradients
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep

t = dynamicsymbols._t
q, x, z = dynamicsymbols("q x z")
m, k, a, u, y = sp.symbols("m k a u y")
PLAIN = {"compiled": False}
BOTH = pytest.mark.parametrize("method", ["verlet", "midpoint"])
L = m*q.diff(t)**2/2 - k*q**2/2 - a*q**4/4 + u*q
VALUES = {m: 1.3, k: 0.8, a: 0.4}
SYSTEM = lep.System(L, coordinates=[q], parameters=VALUES, inputs=[u])
GRID = lep.Grid(25, step=0.15)
DRIVE = {u: lambda s: 0.3*np.cos(1.3*s)}


def expected(method, expression, end=False, **start):
    first = [DRIVE[u](0.0)]
    return initial_gradients(
        Mechanics(L, [q], VALUES, [u]), method, Loss(expression, [q], (), list(VALUES), end), [0.7], GRID,
        list(VALUES.values()), u=drive_of([DRIVE[u]], method, GRID), first=first, **start,
    )  # fmt: skip


@BOTH
@pytest.mark.parametrize("start", ["v", "p"])
def test_the_estimate_is_biased_and_right_with_its_residual(start, method):
    """Whether v or p is held: how the momentum depends on the mass is in the residual too. The sum errs by beta^2."""
    boundary, cost = lep.Initial(q=[0.7], **{start: [0.4]}), lep.Cost(q**2 + k*q**3)
    given = {"inputs": DRIVE, "method": method, **PLAIN}
    exact = expected(method, q**2 + k*q**3, **{start: [0.4]})
    errors = []
    for beta in (1e-2, 1e-3):
        result = SYSTEM.gradient(boundary, GRID, cost, estimator=lep.NaiveForward(beta), **given)
        estimate, residual = (np.array([part[s] for s in VALUES]) for part in (result, result.residual))
        assert_close(result.loss, exact["loss"], 1e-12)
        assert np.abs(estimate - exact["theta"]).max() > 0.1*np.abs(exact["theta"]).max()
        errors.append(np.abs(estimate + residual - exact["theta"]).max())
    assert abs(np.log10(errors[0]/errors[1]) - 2) < 0.05 and errors[1] < 1e-3*np.abs(exact["theta"]).max()
    assert result.initial is None


@BOTH
def test_a_terminal_cost_gives_zero(method):
    """The nudge comes after everything that the action sees; the residual is the whole gradient."""
    boundary, cost = lep.Initial(q=[0.7], v=[0.4]), lep.Cost((q - 0.2)**2, when="end")
    given = {"inputs": DRIVE, "method": method, **PLAIN}
    result = SYSTEM.gradient(boundary, GRID, cost, estimator=lep.NaiveForward(0.3), **given)
    exact = expected(method, (q - 0.2)**2, end=True, v=[0.4])
    assert max(abs(result[s]) for s in VALUES) < 1e-15
    assert_close([result.residual[s] for s in VALUES], exact["theta"], 1e-10)  # linear in the nudge, at any beta


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_batches_networks_and_compiled_code(compiled):
    """Arrays of parameters, a parameter of each sample, and a failed sample that leaves no mark."""
    c = sp.Symbol("c")
    net = lep.System(
        [lep.Term(x.diff(t)**2/2 - k*x**2/2 - x**4/4, on=[x], at=np.arange(3)),
         lep.Term(-c*(x - z)**2/2, on=[x, z], at=[[0, 1], [1, 2]])],
        size=3, parameters={k: np.array([0.5, 0.8, 1.1]), c: 0.3},
    )  # fmt: skip
    q0 = np.array([[0.3, -0.2, 0.5], [0.1, 0.4, -0.6]])
    cost, grid = lep.Cost((x - y)**2, on=[x], at=[0, 2], targets=[y]), lep.Grid(12, step=0.2)
    given = {"targets": {y: 0.1}, "parameters": {c: [0.3, 0.5]}}
    exact = net.gradient(lep.Initial(q0, v=0*q0), grid, cost, **given, **PLAIN)
    result = net.gradient(
        lep.Initial(q0, v=0*q0), grid, cost, estimator=lep.NaiveForward(1e-4), compiled=compiled, **given
    )  # fmt: skip
    for s in (k, c):
        assert_close(result[s] + result.residual[s], exact[s], 1e-6)
    bad = np.concatenate([q0, [[1e200, 0.0, 0.0]]])
    given["parameters"] = {c: [0.3, 0.5, 0.1]}
    left = net.gradient(lep.Initial(bad, v=0*bad), grid, cost, estimator=lep.NaiveForward(1e-4), on_failure="return",
                        stability="ignore", **given, **PLAIN)  # fmt: skip
    assert list(left.success) == [True, True, False]
    assert_close(left[k] + left.residual[k], exact[k], 1e-6)
    assert_close(left.residual[c], [*result.residual[c], 0.0], 1e-9)


def test_a_gauge_term_shows_that_the_rule_is_ill_defined():
    """L + a d/dt(q^4): no path changes, so dJ/da = 0; the estimate alone is not."""
    gauged = lep.System(q.diff(t)**2/2 - k*q**2/2 + a*4*q**3*q.diff(t), coordinates=[q], parameters={k: 0.8, a: 0.3})
    result = gauged.gradient(lep.Initial([0.7], v=[0.4]), lep.Grid(200, step=0.01), lep.Cost(q**2), method="midpoint",
                             estimator=lep.NaiveForward(1e-4), **PLAIN)  # fmt: skip
    assert abs(result[a]) > 1e-2
    assert abs(result[a] + result.residual[a]) < 1e-3*abs(result[a])  # the midpoint rule keeps the gauge to O(h^2)


def test_where_it_is_refused():
    cost = lep.Cost(q**2)
    with pytest.raises(ValueError, match="beta must be a finite real number other than 0"):
        lep.NaiveForward(0)
    for boundary in (lep.Ends([0.0], [1.0]), lep.Periodic(np.zeros((26, 1)))):
        with pytest.raises(ValueError, match="boundary must be lep.Initial with NaiveForward"):
            SYSTEM.gradient(boundary, GRID, cost, inputs=DRIVE, estimator=lep.NaiveForward(), **PLAIN)
    result = SYSTEM.gradient(lep.Initial([0.7], v=[0.4]), GRID, cost, inputs=DRIVE, **PLAIN)
    with pytest.raises(ValueError, match="estimator must be lep.NaiveForward for a residual"):
        _ = result.residual
