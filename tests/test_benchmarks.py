"""The benchmarks work at tiny sizes: right answers, absent peers named, and nothing is claimed about time."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import harness, machine, report, runner
from benchmarks.__main__ import main
from benchmarks.cases import CASES, chain, dense, layers, pendula, tracking
from benchmarks.native import FAST, PLAIN

TINY = 1e-30


def test_a_quick_run_writes_tables_numbers_and_a_picture(tmp_path, capsys):
    peers = ["--peer", harness.PROJECT, "--peer", "numpy"]
    tiny = ["--quick", "--case", "pendula", "--repeats", "2", "--budget", "0.01", *peers]
    assert main([*tiny, "--out", str(tmp_path / "new")]) == 0
    told = json.loads((tmp_path / "new" / "results.json").read_text())
    assert {row["peer"] for row in told["rows"]} == {harness.PROJECT, "numpy"}
    for row in told["rows"]:
        assert row["errors"]["rounding"] < 1e-13
        assert row["errors"]["error"] < 1e-3  # of Verlet itself
        assert 1 <= row["count"] <= 2
    text = (tmp_path / "new" / "results.md").read_text()
    assert pendula.CASE.title in text
    assert (tmp_path / "new" / "ratios.png").read_bytes().startswith(b"\x89PNG")
    assert "ready after" in capsys.readouterr().out


def test_absent_peers_are_named_and_left_out(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(machine, "installed", lambda need: need == "matplotlib")
    peers = [word for peer in ("C", "jax", "diffrax", "heyoka", "scipy") for word in ("--peer", peer)]
    assert main(["--quick", "--case", "chain", "--out", str(tmp_path), *peers]) == 0
    told = json.loads((tmp_path / "results.json").read_text())
    assert told["rows"] == []
    absent = {entry["peer"]: entry["reason"] for entry in told["left_out"]}
    assert absent["diffrax"] == "jax, diffrax not installed"
    assert absent["C"] == "gcc not installed"
    text, seen = (tmp_path / "results.md").read_text(), capsys.readouterr().out
    for peer, reason in absent.items():
        assert f"{peer}: left out, {reason}" in text
        assert f"{peer}: left out: {reason}" in seen


def test_a_peer_that_fails_says_why(tmp_path):
    child = runner.Child(pendula.CASE, "3 x 2", "nobody", tmp_path / "none", runner.Options(), tmp_path / "scratch")
    try:
        assert child.answer() == {"state": "failed", "reason": "KeyError: 'nobody'"}
    finally:
        child.end()


def test_an_option_that_is_not_there_leaves_a_row_out():
    with pytest.raises(harness.Unavailable, match="no option nowhere yet"):
        harness.require(pendula.project, "nowhere")
    with pytest.raises(ValueError, match="quite another"):
        harness.first_words(lambda: raise_(ValueError("quite another")), "method")
    with pytest.raises(harness.Unavailable, match="method must be"):
        harness.first_words(lambda: raise_(ValueError("method must be one of these")), "method")


def raise_(error):
    raise error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--case", "pendulum"], "did you mean pendula"),
        (["--peer", "pytorch"], "--peer must begin one of"),
        (["--repeats", "0"], "--repeats must be positive; got 0"),
    ],
)
def test_wrong_words_are_refused(words, message, capsys):
    with pytest.raises(SystemExit):
        main(words)
    assert message in capsys.readouterr().err


def test_every_case_has_the_library_first_and_tiny_sizes():
    for name, case in CASES.items():
        assert name == case.name
        assert next(iter(case.peers)).startswith(harness.PROJECT)
        assert case.sizes
        assert case.quick
        for size in case.quick:
            assert case.problem(size) is not None


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
@pytest.mark.parametrize("flags", [PLAIN, FAST])
@pytest.mark.parametrize("module", [pendula, chain, tracking])
def test_c_agrees_with_numpy(module, flags):
    work = module.problem(module.CASE.quick[0])
    truth = module.reference(work)
    for label, run in module.in_c(flags)(work).items():
        errors = module.errors(work, label, run(), truth)
        assert errors.get("rounding", errors["error"]) < 1e-12


def test_an_epoch_at_equilibria_by_the_library_and_numpy_agrees():
    work = layers.problem(layers.CASE.quick[0])
    truth = layers.reference(work)
    for build in (layers.project, layers.in_numpy):
        assert layers.errors(work, "", build(work)[""](), truth)["error"] < 1e-5


def test_the_adjoint_of_tracking_is_the_complex_step():
    work = tracking.problem("2 x 7")
    loss, slopes = tracking.adjoint(work.theta, work.q, work.p, work.y)
    found = []
    for part in range(4):
        for place in range(len(work.theta[part])):
            theta = [value.astype(complex) for value in work.theta]
            theta[part][place] += 1j*TINY
            path = [state[0] for state in tracking.states(theta, work.q + 0j, work.p + 0j, work.steps)]
            miss = np.array([q[:, -1] for q in path[1:]]) - work.y
            found.append(np.imag((miss**2).sum())*tracking.STEP/2/TINY)
    np.testing.assert_allclose(slopes, found, rtol=0, atol=1e-14*np.abs(slopes).max())
    assert loss > 0


@pytest.mark.parametrize("kind", ["bilinear", "springs"])
def test_the_adjoint_of_dense_networks_is_the_complex_step(kind):
    work = dense.problem(f"{kind} float64 20 x 3 x 4")
    _, slopes = dense.Numpy(work, "float64").gradient()
    for i, j in ((0, 0), (3, 9), (9, 4)):
        moved = SimpleNamespace(**{**vars(work), "w": work.w.astype(complex)})
        moved.w[i, j] += 1j*TINY
        loss, _ = dense.Numpy(moved, "complex128").gradient()
        assert slopes[i, j] == pytest.approx(np.imag(loss)/TINY, rel=1e-12)


def row(peer, median, error):
    same = {"case": "c", "size": "s", "label": "", "work": "s"}
    return {**same, "peer": peer, "median": median, "errors": {"error": error}}


def test_losses_are_told():
    mine = row(harness.PROJECT, 1.0, 1e-4)
    beaten = [row("beaten", 2.0, 1e-4), row("as accurate as makes no odds", 1.5, 2e-5)]
    losses = [row("faster", 0.5, 1e-2), row("slower but exact", 3.0, 1e-9)]
    text = "\n".join(report.losses([mine, *beaten, *losses, row("yardstick", 0.1, 0.0)]))
    for entry in beaten:
        assert entry["peer"] not in text
    for entry in losses:
        assert entry["peer"] in text
    assert "yardstick" not in text
    assert report.losses([mine, *beaten]) == ["Nowhere in this run."]
