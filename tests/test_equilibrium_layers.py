"""Layers: dense and convolutional couplings over a batch, against loops over pairs, scipy and plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from scipy.signal import correlate
from statics import Implicit
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep
from lagrangian_eqprop.compiler.statics import plan_of
from lagrangian_eqprop.eqprop import equilibrium as module
from lagrangian_eqprop.solvers import layered
from lagrangian_eqprop.solvers.statics import Statics

x, z = dynamicsymbols("x z")
b, w, v, y, p, h = sp.symbols("b w v y p h")
PIXELS, HIDDEN, OUT = np.arange(6), np.arange(6, 15), np.arange(15, 18)
RNG = np.random.default_rng(4)
X, Y = RNG.uniform(size=(5, 6)), np.eye(3)[[0, 1, 2, 1, 0]]
W, U = RNG.normal(size=(6, 9)), 0.4*RNG.normal(size=(9, 3))
BIAS = 0.2*RNG.normal(size=12)
COST = lep.Cost((x - y)**2/2, on=[x], at=OUT, targets=[y])
HOPFIELD = lep.System(
    energy=[
        lep.Term(x**2/2 - b*x, [x], np.r_[HIDDEN, OUT]), lep.Term(-w*x*z, [x, z], lep.AllPairs(PIXELS, HIDDEN)),
        lep.Term(-v*x*z, [x, z], lep.AllPairs(HIDDEN, OUT)),
    ],
    size=18, parameters={b: BIAS, w: W, v: U}, bounds=(0, 1), clamped={p: PIXELS},
)  # fmt: skip
EVERY = ["newton", "relaxation", "accelerated", "sweeps"]


def hopfield_by_hand():
    """q*, losses and the gradients of bias, w and v by implicit differentiation, sample by sample."""
    found = []
    for image, aim in zip(X, Y, strict=True):
        J = np.zeros((12, 12))
        J[:9, 9:], J[9:, :9] = U, U.T
        field = BIAS + np.r_[image @ W, np.zeros(3)]
        q = np.full(12, 0.5)
        for _ in range(5000):
            q = np.clip(q + 0.3*(field + J @ q - q), 0, 1)
        force = field + J @ q - q
        F = ~(((q == 0) & (force < 0)) | ((q == 1) & (force > 0)))
        slope = np.r_[np.zeros(9), q[9:] - aim]
        delta = np.zeros(12)
        delta[F] = -np.linalg.solve((np.eye(12) - J)[np.ix_(F, F)], slope[F])
        outer = np.outer(q[:9], delta[9:]) + np.outer(delta[:9], q[9:])
        found.append((q, slope @ slope/2, -delta, -np.outer(image, delta[:9]), -outer))
    return [np.array(part) for part in zip(*found, strict=True)]


@pytest.mark.parametrize("solver", EVERY)
def test_a_deep_hopfield_network(solver):
    q, losses, *slopes = hopfield_by_hand()
    saturated = (q == 0) | (q == 1)
    assert saturated.any() and not saturated.all()
    boundary = lep.Equilibrium(0.5, solver=solver, tolerance=1e-13)
    rest = HOPFIELD.equilibrium(boundary, inputs={p: X})
    np.testing.assert_allclose(rest.q, np.hstack([X, q]), atol=1e-12)
    energy = (q**2/2).sum(1) - q @ BIAS - ((X @ W)*q[:, :9]).sum(1) - ((q[:, :9] @ U)*q[:, 9:]).sum(1)
    np.testing.assert_allclose(rest.energy, energy, rtol=1e-12)
    for estimator, tight in (
        (lep.Exact(), 1e-11), (lep.Adjoint(), 1e-11), (lep.Centered(1e-3), 1e-5), (lep.OneSided(1e-5), 1e-4),
        (lep.Holomorphic(), 1e-9),
    ):  # fmt: skip
        result = HOPFIELD.gradient(boundary, cost=COST, inputs={p: X}, targets={y: Y}, estimator=estimator)
        np.testing.assert_allclose(result.losses, losses, rtol=1e-11)
        for symbol, slope in zip((b, w, v), slopes, strict=True):
            np.testing.assert_allclose(result[symbol], slope.mean(0), atol=tight, err_msg=f"{symbol} {estimator}")


def test_the_choice_is_named():
    assert HOPFIELD.equilibrium(lep.Equilibrium(0.5), inputs={p: X}).solver == "newton"  # 12 units
    assert HOPFIELD.equilibrium(lep.Equilibrium(0.5, step=0.4), inputs={p: X}).solver == "relaxation"
    n = 40
    pairs = lep.Term(-w*x*z, [x, z], lep.AllPairs(np.arange(20), np.arange(20, 40)))
    wide = {"size": n, "parameters": {w: 0.05*RNG.normal(size=(20, 20))}}
    assert lep.System(energy=[pairs, lep.Term(x**2/2 - x, [x], np.arange(n))], **wide).equilibrium(
        lep.Equilibrium()).solver == "sweeps"  # fmt: skip
    assert lep.System(energy=[pairs, lep.Term(sp.cosh(x), [x], np.arange(n))], **wide).equilibrium(
        lep.Equilibrium()).solver == "newton"  # fmt: skip


def test_single_precision():
    boundary = lep.Equilibrium(0.5, step=0.4)
    rest = HOPFIELD.equilibrium(boundary, inputs={p: X}, dtype="float32")
    q, _, *slopes = hopfield_by_hand()
    assert rest.q.dtype == np.float64 and rest.residual.max() < 1e-4
    np.testing.assert_allclose(rest.q[:, 6:], q, atol=1e-3)
    for estimator in (lep.Exact(), lep.Centered(0.005)):
        tight = lep.Equilibrium(0.5, step=0.4, tolerance=1e-6)
        result = HOPFIELD.gradient(
            tight, cost=COST, inputs={p: X}, targets={y: Y}, estimator=estimator, dtype="float32"
        )  # fmt: skip
        for symbol, slope in zip((b, w, v), slopes, strict=True):
            np.testing.assert_allclose(result[symbol], slope.mean(0), atol=1e-3)
            assert result[symbol].dtype == np.float64


# ---------------------------------------------------------------------- training as it is written in papers
def plain_steps(q, field, aim, weights, step, number, beta):
    """q <- clip(q - step*slope) of all units at once."""
    bias, second = weights
    for _ in range(number):
        hidden, out = q[:, :9], q[:, 9:]
        force = np.hstack([field + out @ second.T, hidden @ second + beta*(aim - out)]) + bias - q
        q = np.clip(q + step*force, 0, 1)
    return q


def by_hand(free, nudged, step, beta, rate, batch):
    """One epoch of equilibrium propagation: plain steps of all units at once, then plain descent."""
    bias, first, second = BIAS.copy(), W.copy(), U.copy()
    for low in range(0, len(X), batch):
        image, aim = X[low : low + batch], Y[low : low + batch]
        field, q = image @ first, np.full((len(image), 12), 0.5)

        one = plain_steps(q, field, aim, (bias, second), step, free, 0.0)
        two = plain_steps(one, field, aim, (bias, second), step, nudged, beta)
        scale = rate/(beta*len(image))
        grown = two[:, :9].T @ two[:, 9:] - one[:, :9].T @ one[:, 9:]
        bias = bias + scale*(two - one).sum(0)
        first, second = first + scale*image.T @ (two - one)[:, :9], second + scale*grown
    return bias, first, second


def test_an_epoch_equals_the_textbook():
    boundary = lep.Equilibrium(0.5, step=0.5, iterations=(12, 5), tolerance=None)
    order = np.random.default_rng(0).permutation(len(X))
    back = np.argsort(order)  # fit draws an order; handed over sorted backwards it is that of the data
    history = HOPFIELD.fit(
        boundary, cost=COST, inputs={p: X[back]}, targets={y: Y[back]}, epochs=1, batch=2,
        estimator=lep.OneSided(0.5), optimiser=lep.SGD(0.1), progress=False,
    )  # fmt: skip
    for symbol, value in zip((b, w, v), by_hand(12, 5, 0.5, 0.5, 0.1, 2), strict=True):
        np.testing.assert_allclose(history[symbol], value, rtol=1e-12, atol=1e-14)
    single = HOPFIELD.fit(
        boundary, cost=COST, inputs={p: X[back]}, targets={y: Y[back]}, epochs=1, batch=2, dtype="float32",
        estimator=lep.OneSided(0.5), optimiser=lep.SGD(0.1), progress=False,
    )  # fmt: skip
    np.testing.assert_allclose(single[w], history[w], atol=1e-6)


# ---------------------------------------------------------------------- compiled passes
k, u = sp.symbols("k u")
WIDE, ALSO, FEW = np.arange(4, 24), np.arange(24, 45), np.arange(45, 49)


def wide_network(name, rng):
    """Networks of wide groups and a few outputs, with everything that a pass can meet."""
    matrices = {w: 0.2*rng.normal(size=(4, 20)), v: 0.3*rng.normal(size=(20, 4)), h: 0.3*rng.normal(size=(4, 21))}
    pixels, bounds = lep.AllPairs(np.arange(4), WIDE), (0, 1)
    if name == "hopfield":  # two hidden groups, one coupled from either side; a stiffness and a drive at every place
        terms = [
            lep.Term(k*x**2/2 - b*x - u*sp.sin(x), [x], np.arange(4, 49)), lep.Term(-w*x*z, [x, z], pixels),
            lep.Term(-v*x*z, [x, z], lep.AllPairs(WIDE, FEW)), lep.Term(-h*x*z, [x, z], lep.AllPairs(FEW, ALSO)),
        ]
    elif name == "resistive":  # conductances: squares with sums of a matrix
        matrices = {symbol: value**2 for symbol, value in matrices.items()}
        bounds = (np.where(np.arange(49) % 2 == 0, 0, -np.inf), None)
        terms = [
            lep.Term(k*x**2/2 - b*x - u*x/2, [x], np.arange(4, 49)), lep.Term(w*(x - z)**2/2, [x, z], pixels),
            lep.Term(v*(x - z)**2/2, [x, z], lep.AllPairs(WIDE, FEW)),
            lep.Term(h*(x - z)**2/2, [x, z], lep.AllPairs(FEW, ALSO)),
        ]
    else:  # phases: cosines, a field of each sample's own, no bounds
        bounds = None
        terms = [
            lep.Term(-b*sp.cos(x - u) + k*x**2/20, [x], np.arange(4, 49)), lep.Term(-w*sp.cos(x - z), [x, z], pixels),
            lep.Term(-v*sp.cos(x - z), [x, z], lep.AllPairs(WIDE, FEW)),
            lep.Term(-h*sp.cos(x - z), [x, z], lep.AllPairs(FEW, ALSO)),
        ]
    values = {b: rng.normal(size=45), k: rng.uniform(0.5, 1, 45), **matrices}
    return lep.System(energy=terms, size=49, parameters=values, inputs=[u], clamped={p: np.arange(4)}, bounds=bounds)


@pytest.mark.parametrize("samples", [3, 21])
@pytest.mark.parametrize("name", ["hopfield", "resistive", "xy"])
def test_compiled_passes_equal_numpy(name, samples, monkeypatch):
    rng = np.random.default_rng(6)
    net = wide_network(name, rng)
    given = {p: rng.uniform(size=(samples, 4)), u: rng.normal(size=(samples, 45))}
    cost = lep.Cost((x - y)**2/2 + x**4/20, on=[x], at=FEW[::-1], targets=[y])
    aim = rng.normal(size=(samples, 4))
    passes = []
    original = layered.State.relax
    monkeypatch.setattr(layered, "_WORK", 0)
    monkeypatch.setattr(layered.State, "relax", lambda *a: passes.append(1) or original(*a))
    for dtype, tight in (("float64", 1e-12), ("float32", 2e-4)):
        boundary = lep.Equilibrium(0.3, step=0.1, iterations=(40, 7), tolerance=None)
        options = {"cost": cost, "inputs": given, "targets": {y: aim}, "dtype": dtype, "estimator": lep.Centered(0.5)}
        fast, slow = (net.gradient(boundary, compiled=c, save="all", **options) for c in (True, False))
        np.testing.assert_allclose(fast.path.q, slow.path.q, atol=tight)
        np.testing.assert_allclose(fast.nudged.q, slow.nudged.q, atol=tight)
        for symbol in (b, k, v, w, h):
            np.testing.assert_allclose(fast[symbol], slow[symbol], atol=10*tight, err_msg=symbol.name)
    assert len(passes) == 6
    settled = net.equilibrium(lep.Equilibrium(0.3, step=0.1, tolerance=1e-11), inputs=given)
    newton = net.equilibrium(lep.Equilibrium(settled.q, solver="stationary"), inputs=given)
    np.testing.assert_allclose(settled.q, newton.q, atol=1e-8)
    assert len(passes) > 6 and settled.solver == "relaxation"


# ---------------------------------------------------------------------- pairs of every kind
ROWS, COLUMNS = np.array([4, 0, 2]), np.array([1, 5, 3, 6])
GROUP = np.array([0, 2, 3, 5, 6])


def written_out(expression, at):
    """The same coupling as a table of single pairs, each with a parameter of its own."""
    group = at.group
    pairs = [(i, j) for m, i in enumerate(at.rows) for n, j in enumerate(at.columns) if not group or m < n]
    values = [(m, n) for m in range(at.shape[0]) for n in range(at.shape[1]) if not group or m < n]
    return lep.Term(expression, [x, z], np.array(pairs)), tuple(np.array(values).T)


@pytest.mark.parametrize("at", [lep.AllPairs(ROWS, COLUMNS), lep.AllPairs(GROUP)])
@pytest.mark.parametrize("held", [None, [4, 0, 2], [0, 3], [1, 2, 4]])
@pytest.mark.parametrize(
    "expression",
    [-w*x*z, w*(x - z)**2/2, -w*sp.cos(x - z), -w*sp.tanh(x)*z**2/4, w**2*x*z/2 + w*z, sp.exp(-w*(x - z)**2/4)],
)  # fmt: skip
def test_dense_couplings_equal_their_pairs(expression, at, held):
    rng = np.random.default_rng(7)
    value = 0.3*rng.uniform(0.2, 1, at.shape)
    sites = lep.Term(x**2 + x**4/4 - b*x, [x], np.arange(7))
    table, places = written_out(expression, at)
    more = {} if held is None else {"clamped": {p: held}}
    inputs = {} if held is None else {p: rng.normal(size=(3, len(held)))}
    bias = rng.normal(size=7)
    dense = lep.System(
        energy=[sites, lep.Term(expression, [x, z], at)], size=7, parameters={b: bias, w: value}, **more
    )  # fmt: skip
    single = lep.System(energy=[sites, table], size=7, parameters={b: bias, w: value[places]}, **more)
    cost = lep.Cost(x**2*(1 + x), on=[x], at=[5, 6])
    for solver in ("newton", "accelerated"):
        boundary = lep.Equilibrium(solver=solver, tolerance=1e-12)
        one, two = (system.equilibrium(boundary, inputs=inputs) for system in (dense, single))
        np.testing.assert_allclose(one.q, two.q, atol=1e-11)
        np.testing.assert_allclose(one.energy, two.energy, rtol=1e-12, atol=1e-13)
        np.testing.assert_array_equal(one.index, two.index)
    for estimator in (lep.Exact(), lep.Adjoint(), lep.Centered(0.01)):
        one, two = (
            s.gradient(lep.Equilibrium(), cost=cost, inputs=inputs, estimator=estimator) for s in (dense, single)
        )
        np.testing.assert_allclose(one[w][places], two[w], rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(one[b], two[b], rtol=1e-10, atol=1e-12)
        assert one[w].shape == at.shape and np.count_nonzero(one[w]) <= len(places[0])


def test_a_matrix_of_each_samples_own():
    values = np.stack([U, 0.5*U])
    boundary = lep.Equilibrium(0.5, solver="newton")
    together = HOPFIELD.gradient(boundary, cost=COST, inputs={p: X[:2]}, targets={y: Y[:2]}, parameters={v: values})
    for n in range(2):
        alone = HOPFIELD.gradient(
            boundary, cost=COST, inputs={p: X[n]}, targets={y: Y[n]}, parameters={v: values[n]}
        )  # fmt: skip
        np.testing.assert_allclose(together[v][n]*2, alone[v], rtol=1e-12, atol=1e-15)
    assert together[v].shape == (2, 9, 3)


def test_what_an_input_holds_is_multiplied_once():
    statics = Statics(HOPFIELD, inputs={p: X})
    energies = statics.energies(5)
    image, hidden = energies.products
    assert image.moving() == [] and len(hidden.moving()) == 2
    np.testing.assert_allclose(energies.constant, -np.hstack([X @ W, np.zeros((5, 3))]) - BIAS, rtol=1e-14)


def test_a_resistive_network_with_diodes():
    """Clamped voltages of both signs, conductances, diodes that keep units of either kind on one side of zero."""
    rng = np.random.default_rng(2)
    gains, second = rng.uniform(0, 1, (8, 10)), rng.uniform(0, 1, (10, 3))
    kind = np.where(np.arange(10) < 5, 1, -1)
    lower = np.r_[np.full(8, -np.inf), np.where(kind > 0, 0, -np.inf), np.full(3, -np.inf)]
    upper = np.r_[np.full(8, np.inf), np.where(kind > 0, np.inf, 0), np.full(3, np.inf)]
    places = np.arange(8), np.arange(8, 18), np.arange(18, 21)
    net = lep.System(
        energy=[lep.Term(w*(x - z)**2/2, [x, z], lep.AllPairs(*places[:2])),
                lep.Term(v*(x - z)**2/2, [x, z], lep.AllPairs(*places[1:]))],
        size=21, parameters={w: gains, v: second}, clamped={p: places[0]}, bounds=(lower, upper),
    )  # fmt: skip
    volts = rng.normal(size=(4, 8))
    cost = lep.Cost((x - y)**2/2, on=[x], at=places[2], targets=[y])
    hidden, out = np.zeros((4, 10)), np.zeros((4, 3))
    for _ in range(4):  # v = clamp(sum g v_j/sum g), layer by layer
        hidden = (volts @ gains + out @ second.T)/(gains.sum(0) + second.sum(1))
        hidden = np.where(kind > 0, np.maximum(hidden, 0), np.minimum(hidden, 0))
        out = hidden @ second/second.sum(0)
    boundary = lep.Equilibrium(solver="sweeps", iterations=(4, 4), tolerance=None)
    rest = net.equilibrium(boundary, inputs={p: volts})
    np.testing.assert_allclose(rest.q[:, 8:], np.hstack([hidden, out]), rtol=1e-12, atol=1e-14)
    aim = rng.normal(size=(4, 3))
    settled = net.equilibrium(lep.Equilibrium(solver="sweeps", tolerance=1e-13), inputs={p: volts})
    assert ((settled.q[:, 8:18] == 0).any()) and settled.success.all()
    nudged = net.equilibrium(
        lep.Equilibrium(solver="sweeps", tolerance=1e-13), inputs={p: volts}, cost=cost, targets={y: aim}, nudge=0.5
    )  # fmt: skip
    u_hidden = nudged.q[:, 8:18]
    np.testing.assert_allclose(nudged.q[:, 18:], (u_hidden @ second + 0.5*aim)/(second.sum(0) + 0.5), rtol=1e-11)
    exact = net.gradient(
        lep.Equilibrium(solver="sweeps", tolerance=1e-13), cost=cost, inputs={p: volts}, targets={y: aim}
    )  # fmt: skip
    newton = net.gradient(lep.Equilibrium(solver="newton"), cost=cost, inputs={p: volts}, targets={y: aim})
    for symbol in (w, v):
        np.testing.assert_allclose(exact[symbol], newton[symbol], rtol=1e-9, atol=1e-12)


def test_alternate_layers_are_swept_together():
    sizes = [3, 4, 5, 6, 2]
    starts = np.cumsum([0, *sizes])
    groups = [np.arange(i, j) for i, j in zip(starts[:-1], starts[1:], strict=True)]
    symbols = sp.symbols("w0:4")
    terms = [lep.Term(-s*x*z, [x, z], lep.AllPairs(*groups[k : k + 2])) for k, s in enumerate(symbols)]
    rng = np.random.default_rng(0)
    values = {s: 0.2*rng.normal(size=(sizes[k], sizes[k + 1])) for k, s in enumerate(symbols)}
    deep = lep.System(
        energy=[lep.Term(x**2/2, [x], np.arange(3, 20)), *terms], size=20, parameters=values, clamped={p: groups[0]}
    )  # fmt: skip
    from lagrangian_eqprop.solvers.equilibrium_sweeps import _layers

    layers = _layers(Statics(deep, inputs={p: np.ones(3)}).energies(1))
    assert len(layers) == 2  # hidden 1 and 3, hidden 2 and the output
    one, two = (
        deep.equilibrium(lep.Equilibrium(solver=s, tolerance=1e-13), inputs={p: np.ones(3)}).q
        for s in ("sweeps", "newton")
    )
    np.testing.assert_allclose(one, two, atol=1e-12)


# ---------------------------------------------------------------------- phases of oscillators
def test_an_xy_network():
    """-sum J cos(f_i - f_j) - sum h cos(f_i - u): against a loop over pairs and implicit differentiation."""
    rng = np.random.default_rng(3)
    n = 5
    J, field = 0.1*np.triu(rng.normal(size=(n, n)), 1), rng.uniform(0.5, 1, n)
    u = sp.Symbol("u")
    net = lep.System(
        energy=[lep.Term(-w*sp.cos(x - z), [x, z], lep.AllPairs(np.arange(n))),
                lep.Term(-h*sp.cos(x - u), [x], np.arange(n))],
        size=n, parameters={w: J, h: field}, inputs=[u],
    )  # fmt: skip
    angles, aim = rng.uniform(-1, 1, n), 0.4
    q, weights, fields = sp.symbols("q0:5"), sp.symbols("w0:10"), sp.symbols("h0:5")
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    energy = -sum(c*sp.cos(q[i] - q[j]) for c, (i, j) in zip(weights, pairs, strict=True))
    energy -= sum(c*sp.cos(f - a) for c, f, a in zip(fields, q, angles, strict=True))
    theta = [*J[np.triu_indices(n, 1)], *field]
    oracle = Implicit(energy, -sp.cos(q[4] - aim), q, [*weights, *fields])
    point, loss, slope, index = oracle.gradient(angles, theta)
    cost = lep.Cost(-sp.cos(x - y), on=[x], at=[4], targets=[y])
    for solver in ("newton", "accelerated", "relaxation"):
        boundary = lep.Equilibrium(angles, solver=solver, tolerance=1e-13)
        rest = net.equilibrium(boundary, inputs={u: angles})
        np.testing.assert_allclose(rest.q, point, atol=1e-12)
        assert rest.index == index
        for estimator in (lep.Exact(), lep.Adjoint(), lep.Holomorphic()):
            result = net.gradient(boundary, cost=cost, inputs={u: angles}, targets={y: aim}, estimator=estimator)
            assert result.loss == pytest.approx(loss, rel=1e-12)
            np.testing.assert_allclose(result[w][np.triu_indices(n, 1)], slope[:10], rtol=1e-8, atol=1e-12)
            np.testing.assert_allclose(result[h], slope[10:], rtol=1e-8, atol=1e-12)


# ---------------------------------------------------------------------- convolution
@pytest.mark.parametrize(
    ("spatial", "kernel", "stride", "padding"), [((6, 5), (3, 2), 1, 0), ((7, 7), (3, 3), 2, 1), ((9,), 4, 1, 2)]
)
def test_convolution(spatial, kernel, stride, padding):
    rng = np.random.default_rng(1)
    extent = (kernel,)*len(spatial) if isinstance(kernel, int) else kernel
    positions = tuple((n + 2*padding - k)//stride + 1 for n, k in zip(spatial, extent, strict=True))
    image = rng.permutation(2*int(np.prod(spatial))).reshape(2, *spatial)
    maps = image.size + np.arange(3*int(np.prod(positions))).reshape(3, *positions)
    weights, size = 0.3*rng.normal(size=(3, 2, *extent)), image.size + maps.size
    at = lep.Convolution(image, maps, kernel, stride=stride, padding=padding)
    sites = lep.Term(x**2/2 + x**4/10, [x], maps.ravel())
    pictures = rng.normal(size=(4, image.size))
    net = lep.System(
        energy=[lep.Term(-w*x*z, [x, z], at), sites], size=size, parameters={w: weights}, clamped={p: image.ravel()}
    )  # fmt: skip
    rest = net.equilibrium(lep.Equilibrium(solver="accelerated", tolerance=1e-12), inputs={p: pictures})
    q = rest.q[:, maps]
    padded = np.pad(rest.q[:, image], [(0, 0), (0, 0), *[(padding, padding)]*len(spatial)])
    every = (slice(None, None, stride),)*len(spatial)
    expected = np.array([
        [sum(correlate(padded[s, c], weights[f, c], "valid") for c in range(2))[every] for f in range(3)]
        for s in range(4)
    ])  # fmt: skip
    np.testing.assert_allclose(q + 0.4*q**3, expected, atol=1e-11)
    # the image free as well, and the kernel's gradient: as a table of pairs, whose gradients are summed by entry
    pairs, entry = at.pairs()
    ground = lep.Term(x**2*2, [x], np.arange(size))
    push = lep.Term(-b*x, [x], np.arange(size))
    drive = rng.normal(size=size)
    free = lep.System(
        energy=[lep.Term(-w*x*z, [x, z], at), ground, push], size=size, parameters={w: weights, b: drive}
    )  # fmt: skip
    table = lep.System(
        energy=[lep.Term(-w*x*z, [x, z], pairs), ground, push], size=size,
        parameters={w: weights.ravel()[entry], b: drive},
    )  # fmt: skip
    cost = lep.Cost(x**2/2 - x, on=[x], at=np.arange(0, size, 3))
    for solver in ("newton", "sweeps"):
        boundary = lep.Equilibrium(solver=solver, tolerance=1e-12)
        one, two = (system.equilibrium(boundary).q for system in (free, table))
        np.testing.assert_allclose(one, two, atol=1e-11)
        one, two = (system.gradient(boundary, cost=cost) for system in (free, table))
        summed = np.bincount(entry, two[w], weights.size).reshape(weights.shape)
        np.testing.assert_allclose(one[w], summed, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(one[b], two[b], rtol=1e-9, atol=1e-12)
    assert len(plan_of(free).products) == 1


def test_convolutions_that_are_refused():
    with pytest.raises(ValueError, match=r"of spatial shape \(3, 3\)"):
        lep.Convolution(np.arange(25).reshape(1, 5, 5), np.arange(25, 41).reshape(1, 4, 4), 3)
    with pytest.raises(ValueError, match="disjoint from image"):
        lep.Convolution(np.arange(25).reshape(1, 5, 5), np.arange(24, 33).reshape(1, 3, 3), 3)
    with pytest.raises(ValueError, match="distinct integers"):
        lep.Convolution(np.zeros((1, 5), int), np.arange(25, 28)[None], 3)


def test_a_kernel_of_each_samples_own():
    rng = np.random.default_rng(5)
    image, maps = np.arange(12).reshape(1, 12), np.arange(12, 22).reshape(1, 10)
    net = lep.System(
        energy=[lep.Term(-w*x*z, [x, z], lep.Convolution(image, maps, 3)), lep.Term(x**2 + x**4, [x], np.arange(22)),
                lep.Term(-b*x, [x], np.arange(22))],
        size=22, parameters={w: np.ones((1, 1, 3)), b: rng.normal(size=22)},
    )  # fmt: skip
    kernels, cost = 0.3*rng.normal(size=(2, 1, 1, 3)), lep.Cost(x**2, on=[x], at=[3, 15])
    for estimator in (lep.Exact(), lep.Centered(0.01)):
        together = net.gradient(lep.Equilibrium(), cost=cost, parameters={w: kernels}, estimator=estimator)
        for n in range(2):
            alone = net.gradient(lep.Equilibrium(), cost=cost, parameters={w: kernels[n]}, estimator=estimator)
            np.testing.assert_allclose(together[w][n]*2, alone[w], rtol=1e-9)
            assert together.losses[n] == pytest.approx(alone.loss, rel=1e-12)


# ---------------------------------------------------------------------- failures
@pytest.mark.parametrize("estimator", [lep.Exact(), lep.Centered(0.01)])
def test_failures_stay_with_their_sample(estimator):
    """A sample whose energy has no minimum: the others have the gradient that they have alone."""
    soft = lep.System(
        energy=[lep.Term(u*x**2/2 - b*x, [x], HIDDEN), lep.Term(x**2/2, [x], OUT),
                lep.Term(-w*x*z, [x, z], lep.AllPairs(PIXELS, HIDDEN)),
                lep.Term(-v*x*z, [x, z], lep.AllPairs(HIDDEN, OUT))],
        size=18, parameters={b: BIAS[:9], w: W, v: 0.5*U}, inputs=[u], clamped={p: PIXELS},
    )  # fmt: skip
    stiff = np.full((5, 9), 2.0)
    stiff[1] = -1.0
    good = [0, 2, 3, 4]
    for solver in ("relaxation", "sweeps", "newton"):
        step = 0.1 if solver == "relaxation" else None
        boundary = lep.Equilibrium(0.5, solver=solver, step=step, iterations=2000, tolerance=1e-11)
        options = {"cost": COST, "estimator": estimator}
        with pytest.raises(lep.ConvergenceError, match="1 of 5 samples: sample 1"):
            soft.gradient(boundary, inputs={p: X, u: stiff}, targets={y: Y}, **options)
        found = soft.gradient(boundary, inputs={p: X, u: stiff}, targets={y: Y}, on_failure="return", **options)
        alone = soft.gradient(boundary, inputs={p: X[good], u: stiff[good]}, targets={y: Y[good]}, **options)
        assert found.success.tolist() == [True, False, True, True, True]
        assert np.isnan(found.losses[1]) and found.loss == pytest.approx(alone.loss, rel=1e-9)
        for symbol in (b, w, v):
            np.testing.assert_allclose(found[symbol], alone[symbol], atol=1e-8)


# ---------------------------------------------------------------------- large Hessians
def test_responses_without_a_matrix(monkeypatch):
    exact = HOPFIELD.gradient(lep.Equilibrium(0.5, tolerance=1e-13), cost=COST, inputs={p: X}, targets={y: Y})
    monkeypatch.setattr(module, "_ITERATED", 1)
    again = HOPFIELD.gradient(lep.Equilibrium(0.5, tolerance=1e-13), cost=COST, inputs={p: X}, targets={y: Y})
    for symbol in (b, w, v):
        np.testing.assert_allclose(again[symbol], exact[symbol], atol=1e-11)


def test_a_softmax_readout():
    """A cost of several coordinates at once: no sweeps, but every other solver."""
    outputs = dynamicsymbols("o0:3")
    scores = sp.log(sum(sp.exp(3*o) for o in outputs)) - 3*sum(
        o*s for o, s in zip(outputs, sp.symbols("s0:3"), strict=True))  # fmt: skip
    cost = lep.Cost(scores, on=list(outputs), at=OUT[None], targets=list(sp.symbols("s0:3")))
    targets = {f"s{k}": Y[:, k : k + 1] for k in range(3)}
    results = [
        HOPFIELD.gradient(lep.Equilibrium(0.5, solver=s, tolerance=1e-12), cost=cost, inputs={p: X}, targets=targets)
        for s in ("newton", "relaxation")
    ]
    q = hopfield_by_hand()[0][:, 9:]
    expected = np.log(np.exp(3*q).sum(1)) - 3*(q*Y).sum(1)
    np.testing.assert_allclose(results[0].losses, expected, rtol=1e-10)
    for symbol in (b, w, v):
        np.testing.assert_allclose(results[0][symbol], results[1][symbol], atol=1e-10)
    with pytest.raises(ValueError, match="sweeps"):
        HOPFIELD.gradient(lep.Equilibrium(solver="sweeps"), cost=cost, inputs={p: X}, targets=targets)


# ---------------------------------------------------------------------- training keeps its solvers
@pytest.mark.parametrize("solver", EVERY)
def test_a_training_is_its_gradients_one_by_one(solver):
    """What is kept from mini-batch to mini-batch leaves no trace, also in a last one of another size."""
    guess = RNG.uniform(size=(5, 18))
    rest = lep.Equilibrium(guess, solver=solver, tolerance=1e-9)
    data = {"targets": {y: Y}, "inputs": {p: X}}
    history = HOPFIELD.fit(
        rest, cost=COST, **data, batch=2, epochs=2, optimiser=lep.SGD(0.1), train=[w, v], seed=3, progress=False
    )  # fmt: skip
    values, draw, losses = {b: BIAS, w: W, v: U}, np.random.default_rng(3), []
    for _ in range(2):
        order = draw.permutation(5)
        for rows in (order[:2], order[2:4], order[4:]):
            part = lep.Equilibrium(guess[rows], solver=solver, tolerance=1e-9)
            given = {"targets": {y: Y[rows]}, "inputs": {p: X[rows]}, "parameters": values}
            result = HOPFIELD.gradient(part, cost=COST, **given)
            losses.append(result.losses.sum())
            values = {**values, **{s: values[s] - 0.1*result[s] for s in (w, v)}}
    np.testing.assert_allclose(history.loss, np.reshape(losses, (2, 3)).sum(1)/5, rtol=1e-9)
    for s in (b, w, v):
        np.testing.assert_allclose(history[s], values[s], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("at", [np.r_[HIDDEN, OUT], np.r_[OUT, HIDDEN[::-1]]])
def test_compiled_training_is_that_of_numpy(at):
    """Many samples, so that relaxation is compiled; biases in any order of their places."""
    rng = np.random.default_rng(6)
    system = lep.System(
        energy=[
            lep.Term(x**2/2 - b*x, [x], at), lep.Term(-w*x*z, [x, z], lep.AllPairs(PIXELS, HIDDEN)),
            lep.Term(-v*x*z, [x, z], lep.AllPairs(HIDDEN, OUT)),
        ],
        size=18, parameters={b: BIAS, w: W, v: U}, bounds=(0, 1), clamped={p: PIXELS},
    )  # fmt: skip
    rest = lep.Equilibrium(0.5, step=0.3, iterations=(40, 40), tolerance=None)
    data = {"targets": {y: np.eye(3)[rng.integers(3, size=700)]}, "inputs": {p: rng.uniform(size=(700, 6))}}
    one, other = (
        system.fit(
            rest, cost=COST, **data, batch=300, epochs=2, optimiser=lep.SGD(0.2), estimator=lep.OneSided(0.4),
            progress=False, compiled=compiled,
        )
        for compiled in (True, False)
    )  # fmt: skip
    np.testing.assert_allclose(one.loss, other.loss, rtol=1e-12)
    for s in (b, w, v):
        np.testing.assert_allclose(one[s], other[s], rtol=1e-10, atol=1e-13)
