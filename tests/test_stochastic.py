"""Thermal equilibrium: averages and gradients against integrals of exp(-E/kT) by quadrature."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from scipy.special import roots_legendre
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep

H = 1e-20  # of complex steps through the quadrature
x, z = dynamicsymbols("x z")
a, b, s, w, y, u, g = sp.symbols("a b s w y u g")


def single(**options):
    """A double well, tilted by an input."""
    return lep.System(energy=a*x**2/2 + b*x**4/4 - u*x, coordinates=[x], parameters={a: -0.8, b: 1.1}, inputs=[u],
                      **options)  # fmt: skip


def free_energy(energy, beta, kT, low=-5.0, high=5.0, axes=1, nodes=120):
    """-kT log of the integral of exp(-energy(q, beta)/kT), for complex energies too."""
    points, weights = roots_legendre(nodes)
    points, weights = (high + low)/2 + (high - low)/2*points, (high - low)/2*weights
    grid = np.meshgrid(*[points]*axes, indexing="ij")
    volume = np.prod(np.meshgrid(*[weights]*axes, indexing="ij"), 0)
    return -kT*np.log((volume*np.exp(-energy(*grid, beta)/kT)).sum())


def objective(estimator):
    """What an estimator differentiates exactly, of a function Fr(beta)."""
    if isinstance(estimator, lep.OneSided):
        return lambda Fr: (Fr(estimator.beta) - Fr(0.0))/estimator.beta
    if isinstance(estimator, lep.Centered):
        return lambda Fr: (Fr(estimator.beta) - Fr(-estimator.beta))/(2*estimator.beta)
    # <c> = dFr/dbeta by an eighth-order difference of step 0.05
    c = {1: 4/5, 2: -1/5, 3: 4/105, 4: -1/280}
    return lambda Fr: sum(k*(Fr(0.05*n) - Fr(-0.05*n)) for n, k in c.items())/0.05


def assert_within_noise(found, error, exact, clear=10.0):
    """Three standard errors; and these so small that a wrong sign or factor could not pass."""
    found, error, exact = map(np.asarray, (found, error, exact))
    assert found.shape == error.shape
    assert (abs(exact) > clear*error).all()
    assert (abs(found - exact) < 3*error).all(), (found - exact)/error


ESTIMATORS = [lep.OneSided(0.8), lep.Centered(0.5), lep.Exact()]


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_one_dimension(estimator):
    kT, aim, tilt = 0.7, 0.6, 0.3
    cost = lep.Cost((x - y)**2/2, targets=[y])
    thermal = lep.Thermal(kT, chains=128, steps=1500, spread=0.5)
    result = single().gradient(thermal, cost=cost, targets={y: aim}, inputs={u: tilt}, estimator=estimator)

    def value(k, c):
        return objective(estimator)(lambda beta: free_energy(
            lambda q, beta: k*q**2/2 + c*q**4/4 - tilt*q + beta*(q - aim)**2/2, beta, kT))  # fmt: skip

    exact = value(-0.8 + 1j*H, 1.1).imag/H, value(-0.8, 1.1 + 1j*H).imag/H
    for k, number in zip((a, b), exact, strict=True):
        assert_within_noise(result[k], result.error_of(k), number)
    loss = objective(lep.Exact())(lambda beta: free_energy(
        lambda q, beta: -0.4*q**2 + 0.275*q**4 - tilt*q + beta*(q - aim)**2/2, beta, kT))  # fmt: skip
    assert_within_noise(result.loss, result.loss_error, loss)
    assert 0.4 < result.acceptance < 0.7 and result.mixing < 1.01


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_two_dimensions_and_a_trained_cost(estimator):
    """Two coupled wells; parameters of places, of a dense coupling, and of the cost itself."""
    kT, stiff, couple, scale, aim = 0.5, np.array([0.6, 1.3]), -0.7, 1.2, -0.8
    system = lep.System(
        energy=[lep.Term(a*x**2/2 + x**4/4, on=[x], at=[0, 1]), lep.Term(-x/4, on=[x], at=[0]),
                lep.Term(w*x*z, on=[x, z], at=lep.AllPairs([0], [1]))],
        size=2, parameters={a: stiff, w: [[couple]]},
    )  # fmt: skip
    cost = lep.Cost((s*x - y)**2/2, on=[x], at=[1], targets=[y], parameters={s: scale})
    thermal = lep.Thermal(kT, chains=128, steps=1200, seed=1)
    result = system.gradient(thermal, cost=cost, targets={y: aim}, estimator=estimator)

    def value(p, q, c, r):
        def energy(x, z, beta):
            return (p*x**2 + q*z**2)/2 + (x**4 + z**4)/4 - x/4 + c*x*z + beta*(r*z - aim)**2/2

        return objective(estimator)(lambda beta: free_energy(energy, beta, kT, -4, 4, axes=2, nodes=80))

    point = np.array([*stiff, couple, scale], complex)
    exact = [value(*(point + 1j*H*unit)).imag/H for unit in np.eye(4)]
    found = [*result[a], result[w][0, 0], result[s]]
    errors = [*result.error_of(a), result.error_of("w")[0, 0], result.error_of(s)]
    assert result[w].shape == (1, 1) and result.error_of(a).shape == (2,)
    assert_within_noise(found, errors, exact, clear=6.0)


def test_walls_are_exact():
    """A linear energy between walls, whose mean is known in closed form."""
    kT = 0.5
    system = lep.System(energy=g*x, coordinates=[x], parameters={g: 0.9}, bounds={x: (0.0, 1.0)})
    draws = system.sample(lep.Thermal(kT, 0.5, chains=100, steps=2000))
    assert draws.q.shape == (100, 2000, 1) and draws.energy.shape == (100, 2000)
    assert draws.q.min() >= 0 and draws.q.max() <= 1
    means = draws.q.mean((1, 2))
    r = 0.9/kT
    assert_within_noise(means.mean(), means.std(ddof=1)/10, 1/r - 1/np.expm1(r))
    np.testing.assert_allclose(draws.energy, 0.9*draws.q[..., 0], rtol=1e-14)


@pytest.mark.parametrize("step", [0.05, 0.8, 1.6])
def test_no_error_of_the_step(step):
    """Without the test of acceptance the variance at k = 1 would be 1/(1 - h/2): 1.03, 1.67, 5."""
    system = lep.System(energy=a*x**2/2, coordinates=[x], parameters={a: 1.0})
    draws = system.sample(lep.Thermal(1.0, chains=200, steps=2000, step=step, spread=1.0))
    variances = (draws.q**2).mean((1, 2))
    assert_within_noise(variances.mean(), variances.std(ddof=1)/np.sqrt(200), 1.0)
    assert draws.step == step


def test_chains_return_from_far_out():
    """In a steep potential the full drift would overshoot, be refused, and leave the chain where it is."""
    draws = single().sample(lep.Thermal(0.7, 8.0, chains=50, steps=500, step=0.5, burn=300), inputs={u: 0.0})
    assert abs(draws.q).max() < 4


def test_standard_errors_are_true():
    """Two hundred independent estimates of one gradient, each with its own error: the ratios have unit variance."""
    copies, kT, aim = 200, 0.7, 0.6
    cost = lep.Cost((x - y)**2/2, targets=[y])
    thermal = lep.Thermal(kT, chains=24, steps=300, spread=0.5)
    for estimator in (lep.OneSided(0.8), lep.Exact()):
        result = single().gradient(
            thermal, cost=cost, targets={y: aim}, inputs={u: np.full(copies, 0.3)}, estimator=estimator,
            parameters={a: np.full(copies, -0.8)},
        )  # fmt: skip
        assert result[a].shape == (copies,) and result[b].shape == () and result.losses.shape == (copies,)

        def value(k, estimator=estimator):
            return objective(estimator)(lambda beta: free_energy(
                lambda q, beta: k*q**2/2 + 0.275*q**4 - 0.3*q + beta*(q - aim)**2/2, beta, kT))  # fmt: skip

        ratio = (result[a] - value(-0.8 + 1j*H).imag/H/copies)/result.error_of(a)
        assert 0.85 < ratio.std() < 1.25, ratio.std()
        assert abs(ratio.mean()) < 3/np.sqrt(copies)
        # an own parameter a sample, summed, is the shared one's gradient
        shared = single().gradient(
            thermal, cost=cost, targets={y: aim}, inputs={u: np.full(copies, 0.3)}, estimator=estimator
        )
        np.testing.assert_allclose(shared[a], result[a].sum(), rtol=1e-10)
        assert abs(shared.error_of(a)/np.linalg.norm(result.error_of(a)) - 1) < 0.5


def test_batches_and_clamped_coordinates():
    """Coordinates held by an input shift the others: a Gaussian whose mean is known."""
    system = lep.System(
        energy=[lep.Term(a*x**2/2, on=[x], at=[0, 1, 2]), lep.Term(w*x*z, on=[x, z], at=lep.AllPairs([0], [1, 2]))],
        size=3, parameters={a: np.array([1.0, 2.0, 0.5]), w: np.array([[0.7, -0.4]])}, clamped={u: [0]},
    )  # fmt: skip
    drive = np.array([[1.0], [-2.0], [0.5]])
    draws = system.sample(lep.Thermal(0.3, chains=100, steps=1500), inputs={u: drive})
    assert draws.q.shape == (3, 100, 1500, 3) and draws.acceptance.shape == draws.mixing.shape == (3,)
    assert (draws.q[..., 0] == drive[:, :, None]).all()
    means = draws.q.mean(2)
    exact = -drive*np.array([0.7/2.0, -0.4/0.5])
    assert_within_noise(means.mean(1)[:, 1:], means.std(1, ddof=1)[:, 1:]/10, exact)


def test_a_nudge_is_an_energy():
    """Sampling with a nudge is sampling of E + beta c."""
    system = lep.System(energy=a*x**2/2, coordinates=[x], parameters={a: 1.0})
    draws = system.sample(lep.Thermal(0.4, chains=100, steps=1000), cost=lep.Cost((x - y)**2/2, targets=[y]),
                          targets={y: 1.0}, nudge=3.0)  # fmt: skip
    means = draws.q.mean((1, 2))
    assert_within_noise(means.mean(), means.std(ddof=1)/10, 0.75)


def test_seeds():
    cost = lep.Cost(x**2)
    first, again, other = (
        single().gradient(lep.Thermal(0.5, chains=8, steps=100, seed=seed), cost=cost, inputs={u: 0.1})
        for seed in (3, 3, 4)
    )
    assert first[a] == again[a] != other[a]
    assert first.loss_error > 0


def test_every_nth_state():
    kept = single().sample(lep.Thermal(0.5, chains=4, steps=100, every=7), inputs={u: 0.0})
    whole = single().sample(lep.Thermal(0.5, chains=4, steps=100), inputs={u: 0.0})
    np.testing.assert_array_equal(kept.q, whole.q[:, 6::7])


def test_chains_that_never_meet_are_reported():
    deep = lep.System(energy=a*(x**2 - 1)**2, coordinates=[x], parameters={a: 40.0})
    with pytest.warns(lep.AccuracyWarning, match="chains disagree"):
        deep.sample(lep.Thermal(1.0, chains=32, steps=300, spread=1.0))
    with pytest.warns(lep.AccuracyWarning, match="chains disagree"):
        deep.gradient(lep.Thermal(1.0, chains=32, steps=300, spread=1.0), cost=lep.Cost(x))


def test_bad_input():
    system, cost = single(), lep.Cost(x**2)
    for options, words in [
        ({"temperature": 0.0}, "temperature"), ({"temperature": 1.0, "chains": 1}, "chains"),
        ({"temperature": 1.0, "steps": 5.5}, "steps"), ({"temperature": 1.0, "burn": -1}, "burn"),
        ({"temperature": 1.0, "burn": 10}, "burn must be at least 100"), ({"temperature": 1.0, "step": -1.0}, "step"),
        ({"temperature": 1.0, "spread": np.inf}, "spread"), ({"temperature": 1.0, "steps": 5, "every": 6}, "every"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=words):
            lep.Thermal(**options)
    thermal = lep.Thermal(1.0, chains=4, steps=10)
    with pytest.raises(ValueError, match="estimator must be OneSided, Centered or Exact"):
        system.gradient(thermal, cost=cost, inputs={u: 0.0}, estimator=lep.Holomorphic())
    with pytest.raises(ValueError, match="grid must be left out"):
        system.gradient(thermal, lep.Grid(10, step=0.1), cost, inputs={u: 0.0})
    with pytest.raises(ValueError, match="save must be left out"):
        system.gradient(thermal, cost=cost, inputs={u: 0.0}, save="all")
    with pytest.raises(ValueError, match="boundary must be lep.Thermal"):
        system.sample(lep.Equilibrium(), inputs={u: 0.0})
    with pytest.raises(ValueError, match="boundary must be lep.Initial, lep.Ends, lep.Periodic or lep.Equilibrium"):
        system.fit(thermal, cost=cost, inputs={u: 0.0})
    with pytest.raises(lep.ConvergenceError, match="not finite where its chains begin"):
        lep.System(energy=x**2 + a/x, coordinates=[x], parameters={a: 1.0}).sample(thermal)
