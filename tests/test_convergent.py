"""Networks in discrete time: equilibrium propagation against backpropagation, step by step, and both against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep
from lagrangian_eqprop.analysis import time_resolved

x, z = dynamicsymbols("x z")
w, v, b, u, y = sp.symbols("w v b u y")
INPUT, HIDDEN, OUTPUT = np.arange(3), np.arange(3, 8), np.arange(8, 10)
COST = lep.Cost((x - y)**2/2 + x**4/8, on=[x], at=OUTPUT, targets=[y])
rng = np.random.default_rng(5)
WEIGHTS = {w: 0.3*rng.normal(size=(3, 5)), v: 0.25*rng.normal(size=(5, 2)), b: 0.2*rng.normal(size=7)}
DRIVE, AIM = rng.normal(size=(4, 3)), 0.5*rng.normal(size=(4, 2))
DATA = {"inputs": {u: DRIVE}, "targets": {y: AIM}}


def primitive():
    return [
        lep.Term(w*sp.tanh(x)*sp.tanh(z), on=[x, z], at=lep.AllPairs(INPUT, HIDDEN)),
        lep.Term(v*sp.tanh(x)*sp.tanh(z), on=[x, z], at=lep.AllPairs(HIDDEN, OUTPUT)),
        lep.Term(b*sp.tanh(x), on=[x], at=np.arange(3, 10)),
    ]


def network(**options):
    return lep.Convergent(primitive(), size=10, parameters=WEIGHTS, clamped={u: INPUT}, **options)


def run(steps, drive, theta, step=1.0, low=-np.inf, high=np.inf):
    """The last state of one sample by plain numpy; theta(t) gives (w, v, b) of step t."""
    s = np.zeros(7, complex)
    for t in range(steps):
        w, v, b = theta(t)
        rho, slope = np.tanh(s), 1/np.cosh(s)**2
        field = b + np.concatenate([w.T @ np.tanh(drive) + v @ rho[5:], v.T @ rho[:5]])
        s = s + step*(slope*field - s)
        s = np.where(s.real < low, low, np.where(s.real > high, high, s))
    return s


def loss(s, aim):
    return ((s[5:] - aim)**2/2 + s[5:]**4/8).sum()


def oracle(steps, back, **options):
    """d loss/d theta in each of the last steps alone, by complex step; the mean over the batch."""
    base = [WEIGHTS[k].astype(complex) for k in (w, v, b)]
    found = [np.zeros((back, *value.shape)) for value in base]
    for k in range(back):
        for number, value in enumerate(base):
            for index in np.ndindex(value.shape):
                moved = value.copy()
                moved[index] += 1e-30j

                def theta(t, k=k, number=number, moved=moved):
                    return [moved if (t == steps - 1 - k and i == number) else p for i, p in enumerate(base)]

                total = sum(loss(run(steps, d, theta, **options), a) for d, a in zip(DRIVE, AIM, strict=True))
                found[number][(k, *index)] = total.imag/1e-30/len(DRIVE)
    return dict(zip((w, v, b), found, strict=True))


def rest(total, nudged, **options):
    return lep.Equilibrium(step=options.pop("step", 1.0), iterations=(total, nudged), **options)


@pytest.fixture(scope="module")
def overlay():
    return time_resolved(network(), rest(300, 25), COST, **DATA)


def test_updates_overlay_at_every_step(overlay):
    """The theorem of Ernoult et al.: 1e-6 of the largest gradient, at every step, for every parameter and the state."""
    assert overlay.error < 1e-6
    for symbol, exact in overlay.bptt.items():
        assert exact.shape == overlay.eqprop[symbol].shape == (25, *WEIGHTS[symbol].shape)
        gap = np.abs(overlay.eqprop[symbol] - exact).reshape(25, -1).max(1)
        assert (gap < 1e-6*np.abs(exact).max()).all()
        # not because there is nothing to see: early steps matter, and late ones die away
        size = np.abs(exact).reshape(25, -1).max(1)
        assert size.max() > 1e-3 and size[-1] < 0.1*size.max()
    # the error takes a step to reach the weights that are not next to the outputs
    assert (overlay.bptt[w][0] == 0).all() and (overlay.eqprop[w][0] == 0).all() and overlay.bptt[w][1].any()
    assert overlay.eqprop_state.shape == overlay.bptt_state.shape == (4, 25, 10)
    assert (overlay.bptt_state[..., INPUT] == 0).all() and overlay.residual.shape == (4,)


def test_backpropagation_is_that_of_numpy():
    """Far from rest, where it differs from equilibrium propagation."""
    result = time_resolved(network(), rest(5, 5, tolerance=None), COST, **DATA)
    exact = oracle(5, 5)
    for symbol in WEIGHTS:
        np.testing.assert_allclose(result.bptt[symbol], exact[symbol], rtol=1e-11, atol=1e-15)
    assert result.error > 1e-2 and (result.residual > 1e-3).all()


def test_a_free_phase_that_moves_is_refused_or_shown():
    with pytest.raises(lep.ConvergenceError, match="after 20 steps, above the tolerance"):
        time_resolved(network(), rest(20, 10), COST, **DATA)
    rough = time_resolved(network(), rest(10, 10, tolerance=None), COST, **DATA)
    finer = time_resolved(network(), rest(40, 10, tolerance=None), COST, **DATA)
    assert finer.error < 1e-3*rough.error


@pytest.mark.parametrize(("estimator", "slope"), [(lep.OneSided, 1), (lep.Centered, 2)])
def test_the_difference_falls_with_the_nudge(estimator, slope):
    betas = np.array([1e-2, 3e-3, 1e-3])
    gaps = [time_resolved(network(), rest(300, 12), COST, estimator=estimator(beta), **DATA).error for beta in betas]
    assert abs(np.polyfit(np.log(betas), np.log(gaps), 1)[0] - slope) < 0.05


def test_sums_over_steps_are_the_gradient(overlay):
    """Of K steps for equilibrium propagation, of many for the exact gradient."""
    beta = lep.Centered(1e-4)
    short = network().gradient(rest(300, 25, tolerance=None), cost=COST, estimator=beta, **DATA)
    long = time_resolved(network(), rest(400, 150), COST, **DATA)
    exact = network().gradient(lep.Equilibrium(), cost=COST, **DATA)
    for symbol in WEIGHTS:
        np.testing.assert_allclose(overlay.eqprop[symbol].sum(0), short[symbol], rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(long.bptt[symbol].sum(0), exact[symbol], rtol=1e-9, atol=1e-13)


def test_every_solver_finds_the_same_rest():
    net = network()
    states = [net.equilibrium(boundary, inputs={u: DRIVE}).q for boundary in
              (lep.Equilibrium(step=1.0), lep.Equilibrium(solver="newton"))]  # fmt: skip
    np.testing.assert_allclose(*states, rtol=0, atol=1e-9)
    plain = [run(300, d, lambda t: [WEIGHTS[k] for k in (w, v, b)]).real for d in DRIVE]
    np.testing.assert_allclose(states[0][:, 3:], plain, rtol=0, atol=1e-9)


def test_clipped_units_stand_still():
    """A hard sigmoid: masked in both, and backpropagation as numpy has it."""
    options = {"step": 0.5, "low": -0.05, "high": 0.12}
    net = network(bounds=(-0.05, 0.12))
    result = time_resolved(net, rest(200, 12, step=0.5), COST, **DATA)
    assert result.error < 1e-6
    saturated = result.bptt_state[..., HIDDEN[0]:] == 0
    assert 0.05 < saturated.mean() < 0.9
    exact = oracle(6, 6, **options)
    found = time_resolved(net, rest(6, 6, step=0.5, tolerance=None), COST, **DATA)
    for symbol in WEIGHTS:
        np.testing.assert_allclose(found.bptt[symbol], exact[symbol], rtol=1e-11, atol=1e-15)


def test_energies_relaxed_in_small_steps():
    """The continuous-time network of the same paper: Phi = s^2/2 - h E."""
    terms = [lep.Term(x**2/2, on=[x], at=np.arange(10)), *(lep.Term(-t.expression, t.on, t.at) for t in primitive())]
    system = lep.System(energy=terms, size=10, parameters=WEIGHTS, clamped={u: INPUT})
    assert time_resolved(system, rest(1500, 40, step=0.1), COST, **DATA).error < 1e-6


def test_convolutions():
    """A kernel shared by all positions, and a dense readout."""
    image, maps, out = np.arange(36).reshape(1, 6, 6), np.arange(36, 68).reshape(2, 4, 4), np.arange(68, 71)
    k, r = sp.symbols("k r")
    pattern = lep.Convolution(image, maps, 3)
    draw = np.random.default_rng(8)
    net = lep.Convergent(
        [lep.Term(k*x*sp.tanh(z), on=[x, z], at=pattern),
         lep.Term(r*sp.tanh(x)*sp.tanh(z), on=[x, z], at=lep.AllPairs(maps.ravel(), out))],
        size=71, clamped={u: image.ravel()},
        parameters={k: 0.1*draw.normal(size=(2, 1, 3, 3)), r: 0.1*draw.normal(size=(32, 3))},
    )  # fmt: skip
    cost = lep.Cost((x - y)**2/2, on=[x], at=out, targets=[y])
    result = time_resolved(net, rest(300, 15), cost, inputs={u: draw.random((2, 36))}, targets={y: [1.0, 0.0, 0.0]})
    assert result.bptt[k].shape == (15, 2, 1, 3, 3) and np.abs(result.bptt[k]).max() > 1e-3
    assert result.error < 1e-6


def test_one_expression():
    """A single unit, whose gradients are a geometric series: s = p s/2 + q at rest 2q/(2 - p)."""
    p, q = sp.symbols("p q")
    net = lep.Convergent(p*x**2/4 + q*x, [x], parameters={p: 0.8, q: 0.3})
    result = time_resolved(net, rest(200, 10), lep.Cost(x**2/2))
    s = 0.6/1.2
    np.testing.assert_allclose(result.bptt[q], s*0.4**np.arange(10), rtol=1e-12)
    np.testing.assert_allclose(result.bptt[p], s*s/2*0.4**np.arange(10), rtol=1e-12)
    assert result.eqprop_state.shape == (10, 1) and result.error < 1e-6
    assert result.error_of("p") <= result.error


def test_picture(overlay, tmp_path):
    figure = lep.plotting.plot_time_resolved(overlay, tmp_path/"overlay.png", title="overlay")
    assert (tmp_path/"overlay.png").stat().st_size > 10000
    left = figure.axes[2]  # the first parameter
    lines = [line.get_ydata() for line in left.get_lines()]
    exact, found = lines[0], lines[1]
    np.testing.assert_allclose(exact, found, atol=1e-6*np.abs(exact).max())
    assert np.abs(exact).max() == np.abs(overlay.bptt[w]).max()


def test_bad_input():
    net = network()
    with pytest.raises(ValueError, match="primitive must be a non-empty list of lep.Term"):
        lep.Convergent(x**2, size=3)
    with pytest.raises(ValueError, match="primitive must be a sympy expression"):
        lep.Convergent("x**2", [x])
    with pytest.raises(ValueError, match="size must be a positive integer"):
        lep.Convergent(primitive(), parameters=WEIGHTS)
    with pytest.raises(ValueError, match="not of velocities"):
        lep.Convergent(x.diff()*x, [x])
    for boundary, words in [
        (lep.Equilibrium(), "with a step"), (lep.Equilibrium(step=1.0), "iterations must be a pair"),
        (rest(5, 6), "K <= T"), (lep.Initial(q=[0.0], v=[0.0]), "boundary must be lep.Equilibrium"),
        (rest(9, 5, solver="accelerated"), "of plain relaxation"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=words):
            time_resolved(net, boundary, COST, **DATA)
    with pytest.raises(ValueError, match="estimator must be OneSided or Centered"):
        time_resolved(net, rest(9, 5), COST, estimator=lep.Exact(), **DATA)
    with pytest.raises(ValueError, match="cost must be"):
        time_resolved(net, rest(9, 5), [], **DATA)
    with pytest.raises(lep.ConvergenceError, match="free phase has the residual"):
        time_resolved(net, rest(300, 5, step=5.0, tolerance=None), lep.Cost(x**2, on=[x], at=OUTPUT),
                      inputs={u: DRIVE}, parameters={b: np.full(7, 1e200)})  # fmt: skip
