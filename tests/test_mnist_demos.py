"""The MNIST demo in short mode: its three networks, where digits come from, and equilibria against plain numpy."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import lagrangian_eqprop as lep
from lagrangian_eqprop.cli import main
from lagrangian_eqprop.demos import _mnist_data, mnist
from lagrangian_eqprop.systems.deep_hopfield import deep_hopfield
from lagrangian_eqprop.systems.phase_network import phase_network
from lagrangian_eqprop.systems.resistive_network import resistive_network

RNG = np.random.default_rng(5)


@pytest.mark.parametrize("model", list(mnist.MODELS))
def test_a_network_learns(model, tmp_path, capsys):
    pytest.importorskip("sklearn")
    options = ["--short", "--model", model, "--hidden", "60", "--output", str(tmp_path)]
    assert main(["demo", "mnist", *options]) == 0
    name = f"mnist_{model}_60"
    record = json.loads((tmp_path / f"{name}.json").read_text())
    numbers = record["numbers"]
    assert numbers["test_error"] == numbers["runs"][0]["test_errors"][-1] < 0.35  # by chance 0.9
    assert record["configuration"]["model"] == model and "8 x 8" in numbers["source"]
    assert "8 x 8 digits" in capsys.readouterr().out
    assert (tmp_path / f"{name}.png").stat().st_size > 10000
    values = lep.load(tmp_path / f"{name}.npz")
    assert not list(tmp_path.glob("*.checkpoint"))
    if model == "resistive":
        assert all((value >= 0).all() for value in values.values())


def written(path, **changes):
    images = RNG.integers(0, 256, (60, 6, 6)).astype(np.uint8)
    arrays = {"x_train": images[:50], "x_test": images[50:], "y_train": np.arange(50) % 10, "y_test": np.arange(10)}
    np.savez(path, **{key: value for key, value in {**arrays, **changes}.items() if value is not None})
    return images


def test_digits_of_a_file(tmp_path):
    images = written(tmp_path / "some.npz")
    digits = _mnist_data.load(tmp_path / "some.npz")
    np.testing.assert_allclose(digits.train, images[:50].reshape(50, 36)/255, rtol=1e-6)
    assert digits.train.dtype == np.float32 and digits.test.shape == (10, 36) and digits.source == "some.npz"
    assert digits.first(7).train_digits.tolist() == list(range(7)) and len(digits.first(7).test) == 10


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"y_test": None}, "has no y_test"), ({"y_train": np.arange(3)}, "a digit for every image"),
     ({"y_train": np.full(50, 12)}, "digits from 0 to 9"), ({"x_test": np.zeros((10, 5))}, "a digit for every image")],
)  # fmt: skip
def test_files_that_do_not_fit(tmp_path, changes, says):
    written(tmp_path / "some.npz", **changes)
    with pytest.raises(ValueError, match=says):
        _mnist_data.load(tmp_path / "some.npz")


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "text.npz").write_text("no archive")
    for name, says in (("text.npz", "is none"), ("nothing.npz", "does not exist")):
        with pytest.raises(ValueError, match=says):
            _mnist_data.load(tmp_path / name)


def test_without_a_connection_the_small_digits_are_taken(monkeypatch, capsys):
    datasets = pytest.importorskip("sklearn.datasets")

    def refuse(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr(datasets, "fetch_openml", refuse)
    digits = _mnist_data.load()
    assert digits.train.shape[1] == 64 and "8 x 8" in digits.source
    told = capsys.readouterr().out
    assert "no route" in told and "instead of MNIST" in told


def test_what_openml_sends_is_split(monkeypatch):
    datasets = pytest.importorskip("sklearn.datasets")
    images = np.zeros((70000, 4))
    images[60000:] = 255
    monkeypatch.setattr(datasets, "fetch_openml", lambda *_, **__: (images, np.array(["3"]*60000 + ["7"]*10000)))
    digits = _mnist_data.load()
    assert len(digits.train) == 60000 and digits.test.min() == 1 and digits.train.max() == 0
    assert set(digits.train_digits) == {3} and set(digits.test_digits) == {7}


@pytest.mark.parametrize("options", [{"model": "ising"}, {"seeds": 0}, {"hidden": 0}, {"hidden": 2.5}])
def test_bad_choices(options, tmp_path):
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
        mnist.run(tmp_path, short=True, **options)


def test_options_that_a_demo_does_not_take(tmp_path, capsys):
    assert main(["demo", "two_point", "--model", "xy", "--output", str(tmp_path)]) != 0
    assert "--model must be left out" in capsys.readouterr().err


@pytest.mark.parametrize("build", [deep_hopfield, resistive_network, phase_network])
def test_layers_and_targets(build):
    network = build((6, 5, 4, 3), seed=2)
    images = RNG.uniform(size=(4, 6))
    tight = lep.Equilibrium(0.0, solver="sweeps", tolerance=1e-12)
    rest = network.system.equilibrium(tight, inputs=network.inputs(images))
    assert rest.success.all() and [len(part) for part in network.layers][1:] == [5, 4, 3]
    np.testing.assert_allclose(rest.q[:, network.layers[0]], network.encode(images), rtol=1e-12)
    low, high = network.levels
    (target,) = network.targets(np.array([2, 0])).values()
    np.testing.assert_array_equal(target, [[low, low, high], [high, low, low]])
    expected = network.score(network.system.equilibrium(
        network.rest, inputs=network.inputs(images)).q[:, network.layers[-1]]).argmax(1)  # fmt: skip
    np.testing.assert_array_equal(network.read(images, chunk=3), expected)
    again = build((6, 5, 4, 3), seed=2).system.parameters
    for one, two in zip(network.system.parameters.values(), again.values(), strict=True):
        np.testing.assert_array_equal(one, two)
    with pytest.raises(ValueError, match="sizes must be"):
        build((6,))


def test_a_training_that_was_ended_goes_on(tmp_path, monkeypatch, capsys):
    written(tmp_path / "some.npz")
    options = {"short": True, "model": "resistive", "hidden": 30, "seeds": 2, "data": tmp_path / "some.npz"}
    whole = mnist.run(tmp_path / "whole", **options)
    capsys.readouterr()
    judge, calls = mnist.LayeredNetwork.read, 0

    def read(*arguments, **keywords):
        nonlocal calls
        calls += 1
        if calls == 6:  # seed 1, after its second epoch
            raise KeyboardInterrupt
        return judge(*arguments, **keywords)

    monkeypatch.setattr(mnist.LayeredNetwork, "read", read)
    with pytest.raises(KeyboardInterrupt):
        mnist.run(tmp_path / "halves", **options)
    assert "goes on from" in capsys.readouterr().out
    assert len(list((tmp_path / "halves").glob("*.checkpoint"))) == 2
    halves = mnist.run(tmp_path / "halves", **options)
    for one, other in zip(whole["runs"], halves["runs"], strict=True):
        np.testing.assert_array_equal(one["test_errors"], other["test_errors"])
        np.testing.assert_array_equal(one["loss"], other["loss"])
    assert "seed 1, epoch  4 of 4" in capsys.readouterr().out
    ended = [lep.load(tmp_path / name / "mnist_resistive_30.npz") for name in ("whole", "halves")]
    for one, other in zip(*(values.values() for values in ended), strict=True):
        np.testing.assert_array_equal(one, other)


def test_settings_of_a_width():
    assert mnist.chosen("resistive", None).hidden == 100 and mnist.chosen("resistive", 900).gain == 480
    assert mnist.chosen("resistive", 200) == replace(mnist.MODELS["resistive"][0], hidden=200)
    network = mnist.network_of(mnist.chosen("hopfield", 30), 16, 0)
    assert [len(layer) for layer in network.layers] == [16, 30, 10] and network.rest.iterations == (6, 4)
    first = network.system.parameters[network.weights[0]]
    assert np.abs(first).max() == pytest.approx(0.5*np.sqrt(6/46), rel=0.02)


def test_rates_fall(tmp_path, monkeypatch):
    digits = _mnist_data.Digits(np.ones((10, 4), "f4"), np.ones((2, 4), "f4"), np.arange(10), np.arange(2), "none")
    seen = []
    monkeypatch.setattr(lep, "SGD", lambda rate, momentum: seen.append(rate) or lep.Adam(rate))
    setting = replace(mnist.MODELS["hopfield"][0], hidden=3, batch=5)
    mnist.train(setting, digits, 0, 4, tmp_path / "file")
    first = {str(symbol): rate for symbol, rate in seen[0].items()}
    assert sorted(first) == ["b1", "b2", "w1", "w2"]
    assert first["w1"](0) == first["b1"](0) == 0.16 and first["w2"](0) == first["b2"](0) == 0.08
    assert first["w1"](4) == pytest.approx(0.08) and first["w1"](8) == pytest.approx(0, abs=1e-15)
