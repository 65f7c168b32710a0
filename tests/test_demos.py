"""Every demo in its short mode: it writes its picture and its numbers, and the numbers are what they should be."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

import lagrangian_eqprop as lep
from lagrangian_eqprop.demos import _output, digits, gradients, imperfect_device, two_point, xor


def files(folder, name):
    """The record beside the picture."""
    assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads((folder / f"{name}.json").read_text())
    assert record["demo"] == name
    assert record["configuration"]
    return record


@pytest.mark.slow
def test_digits(tmp_path, capsys):
    numbers = digits.run(tmp_path / "new", short=True, seeds=2)
    record = files(tmp_path / "new", "digits")
    assert numbers["accuracy"] > 0.5  # one in ten by chance
    assert record["numbers"]["accuracy"] == pytest.approx(numbers["accuracy"])
    first, second = numbers["runs"]
    assert first["loss"][-1] < first["loss"][0]
    assert not np.array_equal(first["loss"], second["loss"])
    assert numbers["mean_accuracy"] == pytest.approx((first["accuracy"] + second["accuracy"])/2)
    seen = capsys.readouterr().out
    assert "mean of 2 seeds" in seen
    assert "digits.png" in seen
    # the parameters that are kept give the accuracy that is told
    network = digits.Network(digits.Setting(**{k: v for k, v in record["configuration"].items() if k != "seeds"}), 0)
    _, held, _, answers = digits.load_images()
    kept = lep.load(tmp_path / "new" / "digits.npz")
    values = {symbol: kept[symbol.name] for symbol in network.system.parameters}
    assert (network.read(held, values) == answers).mean() == numbers["accuracy"]


def test_digits_held_out_are_a_fifth():
    train, held, train_digits, held_digits = digits.load_images()
    assert len(train) == len(train_digits) == 1437
    assert len(held) == len(held_digits) == 360
    assert train.min() == 0.0
    assert train.max() == 1.0
    counts = np.bincount(held_digits)
    assert counts.min() >= 34  # every digit is held out as often


def test_digits_without_scikit_learn(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ValueError, match=r"pip install 'lagrangian_eqprop\[demos\]'"):
        digits.run(tmp_path, short=True)
    with pytest.raises(ValueError, match="seeds must be a positive integer; got 0"):
        digits.run(tmp_path, short=True, seeds=0)


@pytest.mark.slow
def test_gradients(tmp_path):
    numbers = gradients.run(tmp_path, short=True)
    files(tmp_path, "gradients")
    for entry in numbers["nudge"].values():
        assert entry["slope"] == pytest.approx(entry["order"], abs=0.1)
    for entry in numbers["step"].values():
        assert entry["slope"] == pytest.approx(2, abs=0.1)
        assert entry["against_discrete"].max() < 1e-13


@pytest.mark.slow
def test_two_point(tmp_path, capsys):
    numbers = two_point.run(tmp_path, short=True)
    files(tmp_path, "two_point")
    assert numbers["guesses"] == 8
    assert sum(entry["guesses"] for entry in numbers["paths"]) + numbers["failed"] == 8
    assert len(numbers["paths"]) > 1
    lowest = numbers["paths"][0]
    assert lowest["index"] == 0  # what lies lowest among all is no saddle
    assert f"from {numbers['failed']} of them none was found" in capsys.readouterr().out


@pytest.mark.slow
def test_xor(tmp_path, capsys):
    numbers = xor.run(tmp_path, short=True, seeds=2)
    record = files(tmp_path, "xor")
    assert record["numbers"]["learned"] == numbers["learned"] >= 1
    for entry in numbers["runs"]:
        assert entry["loss"][-1] < 0.5*entry["loss"][0]
        assert entry["learned"] == (entry["off"] < xor.LEARNED)
        # the cost of the case is what is trained, and the output that is told is the last phase
        aim = -np.pi/2*xor.BITS.prod(1)
        off = np.abs(np.angle(np.exp(1j*(entry["after"][:, -1] - aim)))).max()
        assert off == pytest.approx(entry["off"])
    assert f"{numbers['learned']} of 2 networks" in capsys.readouterr().out


def test_records_hold_what_json_can(tmp_path):
    figure = _output.new_figure(2, 2, dpi=40)
    numbers = {"a": np.arange(2), "b": np.float64(np.nan), "c": (np.bool_(True), 1/3), 4: None}
    _output.write(tmp_path / "made", "name", figure, {"short": False}, numbers)
    record = files(tmp_path / "made", "name")
    assert record["numbers"] == {"a": [0, 1], "b": None, "c": [True, 0.333333333333], "4": None}


@pytest.mark.slow
def test_imperfect_device(tmp_path, capsys):
    numbers = imperfect_device.run(tmp_path, short=True)
    record = files(tmp_path, "imperfect_device")
    assert record["numbers"]["devices"]["ideal"]["last"] == pytest.approx(numbers["devices"]["ideal"]["last"])
    for name in ("ideal", "noise", "noise and 10 bits"):
        curves = numbers["devices"][name]["loss"]
        assert curves.shape == (2, 13)
        assert curves[:, -1].max() < 0.3*curves[:, 0].min()
    betas, errors = numbers["betas"], numbers["errors"]
    small = betas < 0.05
    for name, order in (("no fault", 2), ("5 % noise", -1)):
        slope = np.polyfit(np.log(betas[small]), np.log(errors[name][small]), 1)[0]
        assert slope == pytest.approx(order, abs=0.1)
    assert "median of 2 seeds" in capsys.readouterr().out
