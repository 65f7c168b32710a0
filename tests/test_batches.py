"""Batches: one call equals a loop over samples, axes mean what their number says, failures stay with their sample."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from oracles import assert_close
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep

t = dynamicsymbols._t
q, x, z = dynamicsymbols("q x z")
m, k, a, c, u, y, g = sp.symbols("m k a c u y g")
PLAIN = {"compiled": False}
GRID = lep.Grid(10, step=0.05)
ESTIMATORS = [lep.Exact(), lep.Adjoint(), lep.Centered(1e-3), lep.OneSided(1e-3), lep.Holomorphic(1e-2)]
DUFFING = lep.System(
    m*q.diff(t)**2/2 - k*q**2/2 - a*q**4/4 + u*q, coordinates=[q], parameters={m: 1.3, k: 0.8, a: 0.4}, inputs=[u]
)
COST = lep.Cost(g*(q - y)**2/2, targets=[y], parameters={g: 1.5})
START = np.array([[0.7], [0.2], [-0.5]])
INPUT = 0.3*np.random.default_rng(0).normal(size=(3, 11))
TARGET = 0.3*np.random.default_rng(1).normal(size=(3, 11))
CHAIN = lep.System(
    [lep.Term(m*x.diff(t)**2/2 - k*x**2/2 + u*x, on=[x], at=np.arange(3)),
     lep.Term(-c*(x - z)**4/4, on=[x, z], at=[[0, 1], [1, 2]])],
    size=3, parameters={m: 1.0, k: np.array([0.5, 0.6, 0.7]), c: np.array([0.3, 0.4])}, inputs=[u],
)  # fmt: skip
AT_TWO = lep.Cost((x - y)**2, on=[x], at=[0, 2], targets=[y])


def boundaries(row=slice(None)):
    q = START[row]
    initial = {"v": lep.Initial(q, v=0.5*q), "p": lep.Initial(q, p=0.5*q)}
    return {**initial, "ends": lep.Ends(q, q + 0.1), "free": lep.Ends(q, None)}


def of(result):
    """The derivatives with respect to boundary data."""
    if result.initial is not None:
        return [result.initial.q, result.initial.v, result.initial.p]
    return [part for part in (result.ends.start, result.ends.stop) if part is not None]


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("kind", ["v", "p", "ends", "free"])
def test_a_batch_is_the_mean_of_its_samples(kind, estimator):
    """Each sample is nudged with beta, so that this holds at finite beta too."""
    options = {"estimator": estimator, **PLAIN}
    batch = DUFFING.gradient(boundaries()[kind], GRID, COST, targets={y: TARGET}, inputs={u: INPUT}, **options)
    single = [
        DUFFING.gradient(boundaries(b)[kind], GRID, COST, targets={y: TARGET[b]}, inputs={u: INPUT[b]}, **options)
        for b in range(3)
    ]
    assert_close(batch.losses, [one.losses for one in single], 1e-13)
    assert_close(batch.loss, np.mean([one.loss for one in single]), 1e-13)
    for symbol in (m, k, a, g):
        assert_close(batch[symbol], np.mean([one[symbol] for one in single], 0), 1e-10)
    for part, *parts in zip(of(batch), *map(of, single)):
        assert_close(part, np.array(parts)/3, 1e-10)


@pytest.mark.parametrize("kind", ["v", "ends"])
def test_a_batch_of_one_keeps_its_axis(kind):
    boundary = boundaries(slice(1))[kind]
    path = DUFFING.trajectory(boundary, GRID, inputs={u: 0.0}, **PLAIN)
    result = DUFFING.gradient(boundary, GRID, COST, targets={y: 0.0}, inputs={u: 0.0}, **PLAIN)
    assert path.q.shape == path.p.shape == path.v.shape == (1, 11, 1)
    assert path.energy.shape == (1, 11) and path.action.shape == (1,) and path.success.shape == (1,)
    assert result.losses.shape == (1,) and of(result)[0].shape == (1, 1) and result[k].shape == ()


@pytest.mark.parametrize("kind", ["v", "ends"])
def test_without_a_batch_there_is_no_axis(kind):
    boundary = boundaries(0)[kind]
    path = DUFFING.trajectory(boundary, GRID, inputs={u: 0.0}, **PLAIN)
    result = DUFFING.gradient(boundary, GRID, COST, targets={y: 0.0}, inputs={u: 0.0}, **PLAIN)
    assert path.q.shape == path.p.shape == path.v.shape == (11, 1)
    assert path.energy.shape == (11,) and np.shape(path.action) == () and path.success is True
    assert np.shape(result.losses) == () and of(result)[0].shape == (1,) and isinstance(result.loss, float)


@pytest.mark.parametrize("kind", ["v", "p", "ends", "free"])
def test_parameters_of_a_batch_get_gradients_of_their_own(kind):
    values = np.array([0.8, 0.5, 1.1])
    options = {"targets": {y: 0.1}, "inputs": {u: 0.2}, **PLAIN}
    batch = DUFFING.gradient(boundaries()[kind], GRID, COST, parameters={k: values}, **options)
    single = [DUFFING.gradient(boundaries(b)[kind], GRID, COST, parameters={k: values[b]}, **options) for b in range(3)]
    assert_close(batch[k], np.array([one[k] for one in single])/3, 1e-12)
    assert_close(batch[m], np.mean([one[m] for one in single]), 1e-12)


def test_array_parameters_of_a_batch():
    values = np.array([[0.3, 0.4], [0.5, 0.1]])
    start = lep.Initial(np.array([0.4, -0.2, 0.6]), v=np.zeros(3))
    options = {"targets": {y: 0.1}, "inputs": {u: 0.2}, **PLAIN}
    batch = CHAIN.gradient(start, GRID, AT_TWO, parameters={c: values}, **options)
    single = [CHAIN.gradient(start, GRID, AT_TWO, parameters={c: row}, **options) for row in values]
    assert batch[c].shape == (2, 2) and batch[k].shape == (3,) and batch.initial.q.shape == (3,)
    assert_close(batch[c], np.array([one[c] for one in single])/2, 1e-12)
    assert_close(batch.initial.q, np.mean([one.initial.q for one in single], 0), 1e-12)


@pytest.mark.parametrize("kind", ["v", "ends"])
def test_a_parameter_batch_of_one_serves_all_samples(kind):
    options = {"targets": {y: 0.1}, "inputs": {u: 0.2}, **PLAIN}
    one = DUFFING.gradient(boundaries()[kind], GRID, COST, parameters={k: np.array([0.9])}, **options)
    plain = DUFFING.gradient(boundaries()[kind], GRID, COST, parameters={k: 0.9}, **options)
    assert_close(one.losses, plain.losses, 1e-13)
    assert_close(one[k], plain[k][None], 1e-12)
    assert_close(one[a], plain[a], 1e-12)


@pytest.mark.parametrize("name", ["q", "v", "u", "y"])
def test_one_of_a_batch_serves_all_samples(name):
    """A batch axis of length 1 broadcasts, and the gradient of what was shared is the sum over samples."""
    full = {"q": START, "v": -START, "u": INPUT, "y": TARGET}
    shared = {**full, name: full[name][:1]}
    repeated = {**full, name: np.repeat(full[name][:1], 3, 0)}
    one, two = (
        DUFFING.gradient(
            lep.Initial(part["q"], v=part["v"]), GRID, COST, targets={y: part["y"]}, inputs={u: part["u"]}, **PLAIN
        )
        for part in (shared, repeated)
    )
    assert_close(one.losses, two.losses, 1e-14)
    assert_close(one[m], two[m], 1e-13)
    for axis in "qv":
        expected = getattr(two.initial, axis)
        assert_close(getattr(one.initial, axis), expected.sum(0, keepdims=True) if name == axis else expected, 1e-12)


def test_the_number_of_axes_decides_never_a_length():
    """N + 1 = P = B = 3: an array (3,) is time, (3, 3) time and place, (3, 3, 3) all."""
    grid, start = lep.Grid(2, step=0.1), lep.Initial(np.array([0.4, -0.2, 0.6]), v=np.zeros(3))
    everywhere = lep.Cost(y*x, on=[x], at=np.arange(3), targets=[y])
    values = np.random.default_rng(2).normal(size=(3, 3, 3))
    weights = 0.1*np.array([0.5, 1, 0.5])

    def loss(target, boundary=start):
        return CHAIN.gradient(boundary, grid, everywhere, targets={y: target}, inputs={u: 0.0}, **PLAIN).losses

    nodes = CHAIN.trajectory(start, grid, inputs={u: 0.0}, **PLAIN).q
    assert_close(loss(values[0, 0]), np.einsum("k,kp,k->", weights, nodes, values[0, 0]), 1e-13)
    assert_close(loss(values[0]), np.einsum("k,kp,kp->", weights, nodes, values[0]), 1e-13)
    assert_close(loss(values), np.einsum("k,kp,bkp->b", weights, nodes, values), 1e-13)
    assert_close(loss(values[:, :1]), np.einsum("k,kp,bp->b", weights, nodes, values[:, 0]), 1e-13)
    assert_close(loss(values[:1, :, :1]), np.einsum("k,kp,bk->b", weights, nodes, values[:1, :, 0]), 1e-13)
    assert_close(loss(values[:1]), loss(values[0])[None], 1e-13)


def test_axes_of_inputs():
    grid, start = lep.Grid(2, step=0.1), lep.Initial(np.array([0.4, -0.2, 0.6]), v=np.zeros(3))
    values = np.random.default_rng(3).normal(size=(3, 3, 3))

    def end(given):
        return CHAIN.trajectory(start, grid, inputs={u: given}, **PLAIN).q

    assert_close(end(values[0, 0]), end(np.tile(values[0, 0][:, None], 3)), 1e-14)
    assert_close(end(values)[1], end(values[1]), 1e-14)
    assert_close(end(values[:, :, :1])[2], end(values[2, :, 0]), 1e-14)
    assert_close(end(lambda time: np.interp(time, grid.t, values[0, 0])), end(values[0, 0]), 1e-14)
    assert_close(end(lambda time: np.stack([time, 0*time, -time], 1)), end(np.outer(grid.t, [1, 0, -1])), 1e-14)


def test_axes_of_a_terminal_target():
    grid, start = lep.Grid(2, step=0.1), lep.Initial(np.array([0.4, -0.2, 0.6]), v=np.zeros(3))
    cost = lep.Cost(y*x, on=[x], at=[0, 2], targets=[y], when="end")
    last = CHAIN.trajectory(start, grid, inputs={u: 0.0}, **PLAIN).q[-1, [0, 2]]
    for target in (0.7, np.array([1.0, 2.0]), np.array([[1.0, 2.0], [3.0, -1.0], [0.5, 0.0]])):
        losses = CHAIN.gradient(start, grid, cost, targets={y: target}, inputs={u: 0.0}, **PLAIN).losses
        assert_close(losses, np.sum(last*target, -1), 1e-13)
    single = lep.Cost(y*q, targets=[y], when="end")
    boundary, values = boundaries(0)["v"], np.array([1.0, 2.0, 3.0])
    path = DUFFING.trajectory(boundary, grid, inputs={u: 0.0}, **PLAIN)
    result = DUFFING.gradient(boundary, grid, single, targets={y: values}, inputs={u: 0.0}, **PLAIN)
    assert_close(result.losses, path.q[-1, 0]*values, 1e-13)


def exploding(steps=30, when=5):
    """Inputs of two samples; the second is thrown to where q^3 overflows."""
    values = np.zeros((2, steps + 1))
    values[1, when:] = 1e200
    return values


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_failed_samples_leave_no_trace(estimator):
    grid, start = lep.Grid(30, step=0.1), lep.Initial([[0.7], [0.2]], v=[0.1])
    options = {"targets": {y: 0.1}, "estimator": estimator, "on_failure": "return", **PLAIN}
    both = DUFFING.gradient(start, grid, COST, inputs={u: exploding()}, **options)
    good = DUFFING.gradient(lep.Initial([[0.7]], v=[0.1]), grid, COST, inputs={u: 0.0}, **options)
    assert both.success.tolist() == [True, False]
    assert np.isnan(both.losses[1]) and np.isnan(both.initial.q[1]).all() and "1 of 2 samples" in both.message
    assert_close(both.loss, good.loss, 1e-14)
    assert_close(both.losses[:1], good.losses, 1e-14)
    for symbol in (m, k, a, g):
        assert_close(both[symbol], good[symbol], 1e-12)
    assert_close(both.initial.q[:1], good.initial.q, 1e-12)


def test_a_sample_that_fails_late_leaves_no_trace():
    """Later than the first block of 1024 steps, when its part of the loss's own derivative has been added up."""
    grid, start = lep.Grid(1100, step=0.01), lep.Initial([[0.7], [0.2]], v=[0.1])
    options = {"targets": {y: 0.1}, "on_failure": "return", **PLAIN}
    both = DUFFING.gradient(start, grid, COST, inputs={u: exploding(1100, 1060)}, **options)
    good = DUFFING.gradient(lep.Initial([[0.7]], v=[0.1]), grid, COST, inputs={u: 0.0}, **options)
    assert both.success.tolist() == [True, False]
    for symbol in (m, k, a, g):
        assert_close(both[symbol], good[symbol], 1e-12)


def test_failed_samples_of_a_trajectory_are_nan():
    start, grid = lep.Initial([[0.7], [0.2]], v=[0.1]), lep.Grid(30, step=0.1)
    path = DUFFING.trajectory(start, grid, inputs={u: exploding()}, on_failure="return", **PLAIN)
    assert path.success.tolist() == [True, False] and path.status.tolist() == [0, 1]
    assert np.isfinite(path.q[0]).all() and np.isnan(path.q[1]).all() and np.isnan(path.p[1]).all()
    assert np.isfinite(path.energy[0]).all() and np.isnan(path.energy[1]).all()


def test_failures_raise_by_default_and_where_none_succeeded():
    start, grid = lep.Initial([[0.7], [0.2]], v=[0.1]), lep.Grid(30, step=0.1)
    with pytest.raises(lep.ConvergenceError, match="sample 1 at step"):
        DUFFING.trajectory(start, grid, inputs={u: exploding()}, **PLAIN)
    with pytest.raises(lep.ConvergenceError, match="2 of 2 samples"):
        DUFFING.gradient(
            start, grid, COST, targets={y: 0.1}, inputs={u: exploding()[1]}, on_failure="return", **PLAIN
        )


def test_samples_without_a_path_between_their_ends_leave_no_trace():
    """An end that is conjugate to the start: stiffness 2 (1 - cos(pi/4))/h^2 over four steps."""
    grid, h = lep.Grid(4, step=0.5), 0.5
    linear = lep.System(m*q.diff(t)**2/2 - k*q**2/2, coordinates=[q], parameters={m: 1.0, k: 1.0})
    conjugate = 2*(1 - np.cos(np.pi/4))/h**2
    ends, cost = lep.Ends([[0.1], [0.1]], [0.4]), lep.Cost(g*q**2, parameters={g: 1.0})
    both = linear.gradient(ends, grid, cost, parameters={k: [0.7, conjugate]}, on_failure="return", **PLAIN)
    good = linear.gradient(lep.Ends([0.1], [0.4]), grid, cost, parameters={k: 0.7}, **PLAIN)
    assert both.success.tolist() == [True, False] and np.isnan(both.losses[1]) and "singular" in both.message
    assert_close([both.loss, both[m], both[g], both[k][0]], [good.loss, good[m], good[g], good[k]], 1e-12)
