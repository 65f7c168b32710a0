"""Learning how to learn: penalties of a regression against closed forms."""

from __future__ import annotations

import json

import numpy as np
import pytest
import sympy as sp
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep
from lagrangian_eqprop.demos import meta_learning
from lagrangian_eqprop.systems.ridge import regression, values

REST = lep.Equilibrium(tolerance=1e-12)


def data(tasks=None, features=4, samples=7, held_out=5):
    rng = np.random.default_rng(3)
    lead = () if tasks is None else (tasks,)
    x, X = rng.normal(size=(*lead, samples, features)), rng.normal(size=(*lead, held_out, features))
    w = rng.normal(size=(*lead, features, 1))
    y, Y = ((a @ w)[..., 0] + 0.3*rng.normal(size=a.shape[:-1]) for a in (x, X))
    return x, y, X, Y


def test_the_state_at_rest_is_the_regression():
    x, y, _, _ = data()
    system, _ = regression(4, 7, 5)
    r = np.array([0.0, -1.0, 0.5, 2.0])
    rest = system.equilibrium(REST, inputs=values(x, y), parameters={"r": r})
    np.testing.assert_allclose(rest.q, meta_learning.weights(r, x, y), rtol=1e-11)


def test_gradient_of_the_penalties():
    """Exact against the closed form, and the closed form against a complex step."""
    x, y, X, Y = data()
    system, cost = regression(4, 7, 5)
    r = np.array([0.0, -1.0, 0.5, 2.0])
    options = {"cost": cost, "inputs": values(x, y), "targets": values(X, Y, "XY"), "parameters": {"r": r}}
    result = system.gradient(REST, **options)
    exact = meta_learning.closed_form(r, x, y, X, Y)
    steps = []
    for unit in np.eye(4):
        w = meta_learning.weights(r + 1e-30j*unit, x, y)
        steps.append(((Y - X @ w)**2).sum().imag/2/1e-30)
    np.testing.assert_allclose(exact, steps, rtol=1e-12)
    np.testing.assert_allclose(result["r"], exact, rtol=1e-10)
    assert result.loss == pytest.approx(((Y - X @ meta_learning.weights(r, x, y))**2).sum()/2, rel=1e-12)
    betas, gaps = np.array([1e-3, 1e-2]), []
    for beta in betas:
        found = system.gradient(REST, estimator=lep.Centered(beta), **options)["r"]
        gaps.append(np.abs(found - exact).max())
    assert np.log10(gaps[1]/gaps[0]) == pytest.approx(2, abs=0.05)


def test_the_rule_is_local():
    """At a finite nudge each penalty reads its own weight alone, in both states."""
    x, y, X, Y = data()
    system, cost = regression(4, 7, 5)
    beta, r = 0.3, np.zeros(4)
    found = system.gradient(
        REST, cost=cost, inputs=values(x, y), targets=values(X, Y, "XY"), estimator=lep.OneSided(beta)
    )["r"]
    free = meta_learning.weights(r, x, y)
    both = np.vstack([x, np.sqrt(beta)*X]), np.concatenate([y, np.sqrt(beta)*Y])  # the nudged regression
    nudged = meta_learning.weights(r, *both)
    np.testing.assert_allclose(found, (nudged**2 - free**2)/2/beta, rtol=1e-10)


def test_many_tasks_share_their_penalties():
    """A batch of regressions: the mean of their gradients, and training lowers the mean of their costs."""
    x, y, X, Y = data(tasks=6)
    system, cost = regression(4, 7, 5)
    options = {"cost": cost, "inputs": values(x, y), "targets": values(X, Y, "XY")}
    result = system.gradient(REST, **options)
    exact = [meta_learning.closed_form(np.zeros(4), *task) for task in zip(x, y, X, Y, strict=True)]
    np.testing.assert_allclose(result["r"], np.mean(exact, 0), rtol=1e-9, atol=1e-12)
    history = system.fit(REST, **options, epochs=30, batch=None, optimiser=lep.Adam(0.1), progress=False)
    assert history.loss[-1] < history.loss[0] == pytest.approx(result.loss)


def test_weights_of_samples_are_hyper_parameters_too():
    """A corrupted sample is recognised by the held-out data: its weight falls."""
    w, (s, x, y, X, Y) = dynamicsymbols("w"), sp.symbols("s x y X Y")
    system = lep.System(
        energy=[lep.Term(sp.exp(s)*(y - x*w)**2/2, on=[w], at=np.zeros(6, int))], size=1,
        parameters={s: np.zeros(6)}, inputs=[x, y],
    )  # fmt: skip
    a = np.array([1.0, -0.7, 0.4, 1.3, -1.1, 0.8])
    b = 2*a
    b[3] += 3.0
    cost = lep.Cost((Y - X*w)**2/2, on=[w], at=np.zeros(3, int), targets=[X, Y])
    result = system.gradient(REST, cost=cost, inputs={x: a, y: b}, targets={X: [1.0, 2.0, -1.0], Y: [2.0, 4.0, -2.0]})
    weight = (a @ b)/(a @ a)
    exact = 6*(weight - 2)*(b - a*weight)*a/(a @ a)  # dJ/dw = 6 (w - 2) on the held-out samples
    np.testing.assert_allclose(result[s], exact, rtol=1e-10)
    assert result[s][3] > 0 and (np.delete(result[s], 3) < 0).all()


def test_demo(tmp_path, capsys):
    numbers = meta_learning.run(tmp_path, short=True, seeds=2)
    assert (tmp_path / "meta_learning.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads((tmp_path / "meta_learning.json").read_text())
    assert record["numbers"]["learned"] == pytest.approx(numbers["learned"])
    assert numbers["difference"] < 1e-5
    assert numbers["learned"] < numbers["start"] and numbers["learned"] < numbers["common"]
    for entry in numbers["runs"]:
        assert entry["held_out"][-1] < entry["held_out"][0]
        last = entry["penalties"][-1]
        assert last[: meta_learning.RELEVANT].mean() < last[meta_learning.RELEVANT :].mean()
    assert "closed-form gradient" in capsys.readouterr().out
