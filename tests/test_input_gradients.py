"""Gradients with respect to inputs: against complex step, in the shapes of what was given, and chained into layers."""

import numpy as np
import oracles
import pytest
import sympy as sp
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep

q, x, z = dynamicsymbols("q x z")
m, k, a, u, y = sp.symbols("m k a u y")
GRID = lep.Grid(20, step=0.1)
L = m*q.diff()**2/2 - k*q**2/2 - a*q**4/4 + u*q + u**2*sp.sin(q)/5
DRIVE = 0.4*np.cos(np.arange(21)*0.13)
COST = lep.Cost((q - y)**2/2, targets=[y])


def system():
    return lep.System(L, coordinates=[q], parameters={m: 1.3, k: 0.8, a: 0.4}, inputs=[u])


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("method", ["verlet", "midpoint"])
def test_initial(method, compiled):
    mechanics = oracles.Mechanics(L, [q], [m, k, a], [u])
    loss, theta = oracles.Loss((q - y)**2/2, [q], [y], [m, k, a]), [1.3, 0.8, 0.4]

    def J(drive):
        inputs = oracles.drive(drive[:, None], method, GRID.steps)
        return loss(oracles.run(mechanics, method, [0.7], [0.13], theta, GRID, inputs)[0], GRID, theta, [0.3])

    result = system().gradient(
        lep.Initial(q=[0.7], v=[0.1]), GRID, COST, targets={y: 0.3}, inputs={u: DRIVE}, method=method,
        compiled=compiled, input_gradients=True,
    )
    oracles.assert_close(result.inputs[u], oracles.complex_step(J, DRIVE), 1e-11)
    oracles.assert_close(result.inputs["u"], result.inputs[u])


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("method", ["verlet", "midpoint"])
def test_ends(method, free):
    mechanics = oracles.Mechanics(L, [q], [m, k, a], [u])
    loss, theta = oracles.Loss((q - y)**2/2, [q], [y], [m, k, a]), [1.3, 0.8, 0.4]
    ends = lep.Ends([0.7], None if free else [-0.2])
    options = {"inputs": {u: DRIVE}, "method": method, "compiled": False}
    path = system().trajectory(ends, GRID, **options)

    def J(drive):
        inputs = oracles.drive(drive[:, None], method, GRID.steps)
        found = oracles.between(mechanics, method, path.q, theta, GRID, (False, free), inputs)[0]
        return loss(found, GRID, theta, [0.3])

    result = system().gradient(ends, GRID, COST, targets={y: 0.3}, input_gradients=True, **options)
    oracles.assert_close(result.inputs[u], oracles.complex_step(J, DRIVE))


@pytest.mark.parametrize(("estimator", "slope"), [(lep.OneSided, 1), (lep.Centered, 2)])
@pytest.mark.parametrize("boundary", [lep.Initial(q=[0.7], v=[0.1]), lep.Ends([0.7], [-0.2])])
def test_finite_nudges(boundary, estimator, slope):
    options = {"targets": {y: 0.3}, "inputs": {u: DRIVE}, "compiled": False, "input_gradients": True}
    exact = system().gradient(boundary, GRID, COST, **options).inputs[u]
    betas = np.geomspace(1e-3, 1e-2, 4)
    found = [system().gradient(boundary, GRID, COST, estimator=estimator(b), **options).inputs[u] for b in betas]
    errors = [np.abs(value - exact).max() for value in found]
    assert np.polyfit(np.log(betas), np.log(errors), 1)[0] == pytest.approx(slope, abs=0.05)


@pytest.mark.parametrize("method", ["verlet", "midpoint"])
def test_shapes(method):
    """Whatever axes an input has, its gradient has them too; a sum over what it is shared by."""
    n, edges = 3, np.array([[0, 1], [1, 2]])
    net = lep.System(
        [lep.Term(m*x.diff()**2/2 - k*x**2/2 + u*x, on=[x], at=np.arange(n)),
         lep.Term(-(x - z)**4, on=[x, z], at=edges)],
        size=n, parameters={m: 1.0, k: 0.8}, inputs=[u],
    )  # fmt: skip
    rng = np.random.default_rng(0)
    start = lep.Initial(q=rng.standard_normal((2, n)), p=rng.standard_normal((2, n)))
    cost = lep.Cost((x - y)**2, on=[x], at=[2], targets=[y])
    options = {"targets": {y: 0.1}, "method": method}
    full = rng.standard_normal((2, 21, n))
    whole = net.gradient(start, GRID, cost, inputs={u: full}, input_gradients=True, **options).inputs[u]
    assert whole.shape == full.shape
    e = 1e-5
    for index in ((0, 0, 1), (1, 7, 2), (0, 20, 2)):
        step = np.zeros_like(full)
        step[index] = e
        both = [net.gradient(start, GRID, cost, inputs={u: full + s*step}, **options).loss for s in (1, -1)]
        assert whole[index] == pytest.approx((both[0] - both[1])/(2*e), rel=1e-6, abs=1e-9)
    for shape, axes in (((21,), (1, 21, 1)), ((21, n), (1, 21, n)), ((2, 1, n), (2, 1, n)), ((), (1, 1, 1))):
        value = rng.standard_normal(shape)
        found = net.gradient(start, GRID, cost, inputs={u: value}, input_gradients=True, **options).inputs[u]
        assert found.shape == shape
        spread = np.broadcast_to(value.reshape(axes), full.shape)
        whole = net.gradient(start, GRID, cost, inputs={u: spread}, input_gradients=True, **options).inputs[u]
        summed = whole.sum(tuple(i for i in range(3) if axes[i] != full.shape[i]))
        np.testing.assert_allclose(found.ravel(), np.ravel(summed), rtol=1e-10, atol=1e-13)
    called = net.gradient(start, GRID, cost, inputs={u: np.cos}, input_gradients=True, **options).inputs[u]
    assert called.shape == (20 + (method == "verlet"),)


def test_layers():
    """Two systems in a row: the gradient of the first one's parameters through the input of the second."""
    first, second = system(), lep.System(q.diff()**2/2 - k*q**2/2 - q**4/4 + u*q, coordinates=[q],
                                         parameters={k: 1.1}, inputs=[u])  # fmt: skip
    start, rest = lep.Initial(q=[0.7], v=[0.1]), lep.Initial(q=[0.0], v=[0.0])

    def loss(stiffness):
        drive = first.trajectory(start, GRID, inputs={u: 0.1}, parameters={k: stiffness}).q[:, 0]
        return second.gradient(rest, GRID, COST, targets={y: 0.3}, inputs={u: drive}, input_gradients=True)

    drive = first.trajectory(start, GRID, inputs={u: 0.1}).q[:, 0]
    above = second.gradient(rest, GRID, COST, targets={y: 0.3}, inputs={u: drive}, input_gradients=True)
    push = lep.Cost(y*q, targets=[y], weights=np.ones(21))
    below = first.gradient(start, GRID, push, targets={y: above.inputs[u]}, inputs={u: 0.1})
    e = 1e-5
    assert below[k] == pytest.approx((loss(0.8 + e).loss - loss(0.8 - e).loss)/(2*e), rel=1e-7)


def test_refusals():
    start = lep.Initial(q=[0.7], v=[0.1])
    for options, message in (
        ({"estimator": lep.Adjoint()}, "estimator must be Exact, Centered or OneSided for the gradients of inputs"),
        ({"method": "gauss"}, "method must be 'verlet' or 'midpoint' for the gradients of inputs"),
    ):
        with pytest.raises(ValueError, match=message):
            system().gradient(start, GRID, COST, targets={y: 0.3}, inputs={u: 0.1}, input_gradients=True, **options)
