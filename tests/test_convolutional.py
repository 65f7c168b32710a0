"""The convolutional Hopfield network against loops over its pairs in plain numpy, and its demo in short mode."""

from __future__ import annotations

import json

import numpy as np
import pytest

import lagrangian_eqprop as lep
from lagrangian_eqprop.cli import main
from lagrangian_eqprop.demos import convolutional
from lagrangian_eqprop.systems.convolutional_hopfield import convolutional_hopfield
from lagrangian_eqprop.systems.layered import LayeredNetwork

SIDE, MAPS, KERNELS, STRIDES, OUT = 7, (2, 3), (3, 2), (2, 1), 2
EDGES = (7, 3, 2)  # of the image and of the maps
FIRST, SECOND, LAST = (slice(0, 18), slice(18, 30), slice(30, 32))  # places among the free units
RNG = np.random.default_rng(11)
IMAGES, CLASSES = RNG.uniform(size=(5, SIDE**2)), np.array([0, 1, 1, 0, 1])


def small():
    """A network with some units at either bound, and its values."""
    network = convolutional_hopfield(SIDE, MAPS, KERNELS, STRIDES, OUT, gains=(2.0, 0.7, 0.7), seed=3)
    draw = np.random.default_rng(2)
    return network, {s: v + 0.1*draw.normal(size=v.shape) for s, v in network.system.parameters.items()}


class ByHand:
    """The same energy with its pairs written out: E = q.q/2 - q.field - q.J.q/2 over the free units."""

    def __init__(self, w1, w2, w3, b1, b2, b3):
        self.w1, self.w2, self.w3, self.b1, self.b2, self.b3 = w1, w2, w3, b1, b2, b3
        self.low, self.high = np.r_[np.zeros(30), [-np.inf]*2], np.r_[np.ones(30), [np.inf]*2]
        self.below = np.zeros((49, 18))
        for kernel, pixel, unit in pairs(0):
            self.below[pixel, unit] += w1[kernel]
        self.J = np.zeros((32, 32))
        for kernel, unit, above in pairs(1):
            self.J[unit, 18 + above] += w2[kernel]
        self.J[SECOND, LAST] = w3
        self.J += self.J.T
        self.bias = np.r_[np.repeat(b1.ravel(), 9), np.repeat(b2.ravel(), 4), b3]

    def slopes(self, image, q, dq):
        """d_theta(E_q dq), kernel by kernel."""
        w1, w2 = np.zeros_like(self.w1), np.zeros_like(self.w2)
        for kernel, pixel, unit in pairs(0):
            w1[kernel] -= image[pixel]*dq[unit]
        for kernel, unit, above in pairs(1):
            w2[kernel] -= q[unit]*dq[18 + above] + dq[unit]*q[18 + above]
        w3 = -np.outer(q[SECOND], dq[LAST]) - np.outer(dq[SECOND], q[LAST])
        sums = (dq[FIRST].reshape(2, 9).sum(1), dq[SECOND].reshape(3, 4).sum(1))
        return w1, w2, w3, *(-total.reshape(-1, 1, 1, 1) for total in sums), -dq[LAST]

    def gradient(self, image, aim):
        """q*, J and its slopes by implicit differentiation on the units that no bound stops."""
        field, q = self.bias + np.r_[image @ self.below, np.zeros(14)], np.zeros(32)
        for _ in range(2000):
            q = np.clip(q + 0.4*(field + self.J @ q - q), self.low, self.high)
        force = field + self.J @ q - q
        free = ~(((q == self.low) & (force < 0)) | ((q == self.high) & (force > 0)))
        miss, delta = np.r_[np.zeros(30), q[LAST] - aim], np.zeros(32)
        delta[free] = -np.linalg.solve((np.eye(32) - self.J)[np.ix_(free, free)], miss[free])
        return q, miss @ miss/2, self.slopes(image, q, delta)

    def phase(self, image, aim, q, count, beta, solver):
        """A number of plain steps of 0.4 of all units at once, or of sweeps: odd layers, then even ones."""
        field, q = self.bias + np.r_[image @ self.below, np.zeros(14)], q.copy()
        for _ in range(count):
            if solver == "relaxation":
                nudge = np.r_[np.zeros(30), beta*(aim - q[LAST])]
                q = np.clip(q + 0.4*(field + self.J @ q - q + nudge), self.low, self.high)
                continue
            full = field + self.J @ q
            q[FIRST], q[LAST] = np.clip(full[FIRST], 0, 1), (full[LAST] + beta*aim)/(1 + beta)
            q[SECOND] = np.clip((field + self.J @ q)[SECOND], 0, 1)
        return q


def pairs(layer):
    """Kernel entry, unit below and unit above, one after another."""
    channels = (1, *MAPS)[layer]
    below, above = EDGES[layer], EDGES[layer + 1]
    for f in range(MAPS[layer]):
        for c, a, b, i, j in np.ndindex(channels, KERNELS[layer], KERNELS[layer], above, above):
            y, x = STRIDES[layer]*i + a, STRIDES[layer]*j + b
            yield (f, c, a, b), (c*below + y)*below + x, (f*above + i)*above + j


def ordered(network, values):
    """Values in the order of ByHand."""
    return [values[s] for s in (*network.weights, *network.biases)]


@pytest.mark.parametrize("solver", ["sweeps", "relaxation", "accelerated", "newton"])
def test_gradients_equal_implicit_differentiation(solver):
    network, values = small()
    hand = ByHand(*ordered(network, values))
    found = [hand.gradient(image, 0.3*np.eye(OUT)[k]) for image, k in zip(IMAGES, CLASSES, strict=True)]
    q, losses = np.array([part[0] for part in found]), np.array([part[1] for part in found])
    assert (q[:, :30] == 0).any() and (q[:, :30] == 1).any() and ((q > 0) & (q < 1)).any()
    slopes = [np.mean([part[2][k] for part in found], 0) for k in range(6)]
    data = {"inputs": network.inputs(IMAGES), "targets": network.targets(CLASSES), "cost": network.cost}
    step = 0.4 if solver == "relaxation" else None
    for dtype, rest, grade in (("float64", 1e-13, 1e-10), ("float32", 2e-6, 1e-4)):
        boundary = lep.Equilibrium(0.0, solver=solver, step=step, tolerance=rest)
        result = network.system.gradient(boundary, **data, parameters=values, dtype=dtype, save="all")
        np.testing.assert_allclose(result.path.q[:, -32:], q, atol=grade)
        np.testing.assert_allclose(result.losses, losses, rtol=grade)
        for slope, symbol in zip(slopes, (*network.weights, *network.biases), strict=True):
            np.testing.assert_allclose(result[symbol], slope, atol=grade*np.abs(slope).max(), err_msg=symbol.name)


@pytest.mark.parametrize("solver", ["sweeps", "relaxation"])
def test_an_epoch_equals_the_textbook(solver):
    network, values = small()
    step = 0.4 if solver == "relaxation" else None
    boundary = lep.Equilibrium(0.2, solver=solver, step=step, iterations=(7, 3), tolerance=None)
    theta = ordered(network, values)
    for low in (0, 3):
        hand, total = ByHand(*theta), [0.0]*6
        for image, k in zip(IMAGES[low : low + 3], CLASSES[low : low + 3], strict=True):
            aim = 0.3*np.eye(OUT)[k]
            free = hand.phase(image, aim, np.clip(np.full(32, 0.2), hand.low, hand.high), 7, 0.0, solver)
            up, down = (hand.phase(image, aim, free, 3, beta, solver) for beta in (0.3, -0.3))
            # E_theta is bilinear, so that its difference is what it is at the middle, along the way
            slopes = hand.slopes(image, (up + down)/2, up - down)
            total = [sum_ + slope/0.6 for sum_, slope in zip(total, slopes, strict=True)]
        theta = [value - 0.1*sum_/len(IMAGES[low : low + 3]) for value, sum_ in zip(theta, total, strict=True)]
    back = np.argsort(np.random.default_rng(0).permutation(5))  # fit draws an order: so it is that of the data
    for dtype, close in (("float64", 1e-13), ("float32", 1e-6)):
        history = network.system.fit(
            boundary, cost=network.cost, inputs=network.inputs(IMAGES[back]), targets=network.targets(CLASSES[back]),
            parameters=values, epochs=1, batch=3, dtype=dtype, estimator=lep.Centered(0.3), optimiser=lep.SGD(0.1),
            progress=False,
        )  # fmt: skip
        for symbol, value in zip((*network.weights, *network.biases), theta, strict=True):
            np.testing.assert_allclose(history[symbol], value, atol=close, err_msg=symbol.name)


def test_layers_that_do_not_fit():
    with pytest.raises(ValueError, match="maps, kernels, strides and gains must be one each a layer"):
        convolutional_hopfield(8, maps=(4,), kernels=(3, 3), strides=(1, 1))


# ---------------------------------------------------------------------- the demo
def test_the_demo_learns_and_goes_on(tmp_path, capsys, monkeypatch):
    """Stopped in its second epoch and called again, it ends where a training ends that was never stopped."""
    pytest.importorskip("sklearn")
    command = ["demo", "convolutional", "--short", "--output"]
    assert main([*command, str(tmp_path / "whole")]) == 0
    record = json.loads((tmp_path / "whole" / "convolutional.json").read_text())
    numbers = record["numbers"]
    assert numbers["test_error"] == numbers["test_errors"][-1] < 0.35  # by chance 0.9
    assert record["configuration"]["short"] and "8 x 8" in numbers["source"] and len(numbers["cpu_seconds"]) == 4
    assert (tmp_path / "whole" / "convolutional.png").stat().st_size > 10000
    assert "epoch  4 of 4: test error" in capsys.readouterr().out

    calls, original = [], LayeredNetwork.read

    def stopped(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*arguments, **options)

    monkeypatch.setattr(LayeredNetwork, "read", stopped)
    with pytest.raises(KeyboardInterrupt):
        convolutional.run(tmp_path / "parts", short=True)
    assert (tmp_path / "parts" / "checkpoint_short.npz").exists()
    monkeypatch.setattr(LayeredNetwork, "read", original)
    again = convolutional.run(tmp_path / "parts", short=True)
    np.testing.assert_allclose(again["test_errors"], numbers["test_errors"])
    one, two = (lep.load(tmp_path / name / "convolutional.npz") for name in ("whole", "parts"))
    for symbol, value in one.items():
        np.testing.assert_array_equal(value, two[symbol])
    assert not (tmp_path / "parts" / "checkpoint_short.npz").exists()
