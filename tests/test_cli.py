"""The command line, in this process; once as a process of its own."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import lagrangian_eqprop as lep
from lagrangian_eqprop import cli
from lagrangian_eqprop.cli import main

MODEL = '''
import sympy as sp
from types import SimpleNamespace
import lagrangian_eqprop as lep
q, k = sp.Function("q")(sp.Symbol("t")), sp.Symbol("k")
system = lep.System(q.diff()**2/2 - k*q**2/2, [q], parameters={k: 1.0}, name="mine")
case = SimpleNamespace(system=system, start=lep.Initial(q=[1.0], v=[0.0]), grid=lep.Grid(600, step=0.02))
'''


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def model(here):
    (here / "model.py").write_text(MODEL)
    return "model.py"


def fails(capsys, *arguments):
    """The one line of an error."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    return captured.err


# ---------------------------------------------------------------------- systems, help, version
def test_systems_are_listed(capsys):
    assert main(["systems"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in [*lep.systems.names(), *lep.systems.equilibria()])
    assert "coordinates" in text.splitlines()[0]


def test_no_command_shows_help(capsys):
    assert main([]) == 0
    assert "examples:" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["systems", "simulate", "demo", "check", "cache"])
def test_help_of_every_command(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0 and "usage: lagrangian-eqprop" in capsys.readouterr().out


def test_version_in_a_process_of_its_own():
    command = [sys.executable, "-m", "lagrangian_eqprop", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, f"lagrangian-eqprop {lep.__version__}")


# ---------------------------------------------------------------------- simulate
def test_simulate_writes_figure_and_numbers(here, capsys, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    assert main(["simulate", "kepler", "--steps", "2500", "--save", "kepler"]) == 0
    text = capsys.readouterr().out
    assert "method verlet" in text and "angular momentum" in text and "exactly" in text
    assert (here / "lagrangian_eqprop_output" / "kepler.png").read_bytes().startswith(b"\x89PNG")
    with np.load(here / "kepler.npz") as saved:
        assert saved["q"].shape == (2501, 2) and saved["energy"].shape == (2501,)
        np.testing.assert_allclose(saved["t"][-1], 20.0)  # the time span stays


def test_settings_and_duration_reach_the_solver(model, here, capsys):
    options = ["--set", "k=4", "--duration", "3", "--save", "x.npz", "--output", "a/b.svg"]
    assert main(["simulate", f"{model}:case", *options]) == 0
    assert "energy: size 2," in capsys.readouterr().out
    with np.load("x.npz") as saved:
        assert len(saved["t"]) == 151  # the step stays
        np.testing.assert_allclose(saved["q"][:, 0], np.cos(2*saved["t"]), atol=1e-3)
    assert (here / "a" / "b.svg").exists()


@pytest.mark.slow
def test_simulate_knows_the_order(model, here, capsys):
    """At the step of 0.1 the error of order 6 is far below that of the method alone."""
    errors = []
    for order in ("2", "6"):
        options = ["--order", order, "--steps", "30", "--duration", "3", "--save", "x.npz"]
        assert main(["simulate", f"{model}:case", *options]) == 0
        with np.load("x.npz") as saved:
            errors.append(np.abs(saved["q"][:, 0] - np.cos(saved["t"])).max())
    assert "method verlet of order 6" in capsys.readouterr().out
    assert errors[0] > 1e-4 and errors[1] < 1e-8


def test_array_parameters_are_filled():
    system = lep.systems.get("fput").system
    values = cli._settings(system, ["k=1.5", "a = 0"])
    assert [(symbol.name, value.shape, float(value.max())) for symbol, value in values.items()] == [
        ("k", (31,), 1.5), ("a", (), 0.0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["simulate", "keplr"], "did you mean 'kepler'"),
        (["simulate", "phases"], "NAME must be a system that moves"),
        (["check", "phases"], "NAME must be a system that moves"),
        (["simulate", "__import__('os').system('touch harm')"], "name of a system"),
        (["simulate", "pendulum", "--set", "l=two"], "--set must be PARAMETER=NUMBER"),
        (["simulate", "pendulum", "--set", "l"], "--set must be PARAMETER=NUMBER"),
        (["simulate", "pendulum", "--set", "l=__import__('os').system('touch harm')"], "--set must be"),
        (["simulate", "pendulum", "--set", "length=2"], "parameters must be one of g, l, m"),
        (["simulate", "pendulum", "--steps", "0"], "steps must be a positive integer"),
        (["simulate", "pendulum", "--duration", "-1"], "--duration must be a positive"),
        (["simulate", "pendulum", "--method", "euler"], "method must be one of"),
        (["simulate", "double_pendulum", "--method", "verlet"], "use method='midpoint'"),
        (["simulate", "pendulum", "--order", "5"], "order must be 2, 4, 6 or 8"),
        (["simulate", "missing.py:case"], "an existing file"),
        (["simulate", "model.py"], "FILE.py:NAME"),
        (["simulate", "model.py:other"], "an object in model.py"),
        (["simulate", "model.py:system"], "without .system, .start, .grid"),
        (["simulate", "model.py:__import__('os').system('touch harm')"], "the name of an object"),
        (["check", "model.py:case"], "without .cost"),
        (["demo", "nothing"], "name of a demo"),
    ],
)
def test_errors_are_one_line(arguments, message, model, here, capsys):
    assert message in fails(capsys, *arguments)
    assert not (here / "harm").exists()


def test_file_that_cannot_be_imported(here, capsys):
    (here / "broken.py").write_text("import nothing_of_that_name")
    assert "ModuleNotFoundError" in fails(capsys, "simulate", "broken.py:case")


def test_file_may_import_its_neighbours(model, here):
    (here / "other.py").write_text("from model import case")
    before = list(sys.path)
    try:
        case, name = cli.load("other.py:case")
    finally:
        sys.modules.pop("model", None)
    assert name == "case" and case.system.name == "mine" and sys.path == before


def test_traceback_on_request(here):
    with pytest.raises(ValueError, match="did you mean"):
        main(["simulate", "keplr", "--traceback"])


@pytest.mark.parametrize("error", [lep.ConvergenceError("no path"), lep.CacheError("full"), ValueError("one\ntwo")])
def test_failures_become_one_line(error, model, capsys, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(lep.System, "trajectory", fail)
    assert fails(capsys, "simulate", "model.py:case") == f"error: {' '.join(str(error).split())}\n"


def test_interruption(model, capsys, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(lep.System, "trajectory", stop)
    assert main(["simulate", "model.py:case"]) == 130
    assert "interrupted" in capsys.readouterr().err


# ---------------------------------------------------------------------- check, demo, cache
@pytest.mark.parametrize("passed", [True, False])
@pytest.mark.parametrize("ends", [True, False])
def test_check_prints_the_report_and_returns_its_verdict(passed, ends, capsys, monkeypatch):
    class Report(SimpleNamespace):
        def __str__(self):
            return "the table"

    def check(system, boundary, grid, cost, *, targets, inputs):
        assert isinstance(boundary, lep.Ends if ends else lep.Initial) and set(targets) == set(cost.targets)
        return Report(passed=passed)

    monkeypatch.setattr(lep.System, "check", check)
    case = lep.systems.get("harmonic")
    path = SimpleNamespace(q=np.zeros((case.grid.steps + 1, 1)))
    monkeypatch.setattr(lep.System, "trajectory", lambda *_, **__: path)
    assert main(["check", "harmonic", *(["--ends"] if ends else [])]) == (0 if passed else 1)
    assert "the table" in capsys.readouterr().out


@pytest.fixture
def demos(tmp_path, monkeypatch):
    """A folder of demos that stands for the real one."""
    folder = tmp_path / "demos"
    folder.mkdir()
    (folder / "first.py").write_text(
        '"""A first demo.\n\nDetails that nobody asked for."""\n'
        "def run(output, short=False, seeds=3):\n    (output / 'seen').write_text(f'{short} {seeds}')\n    return {}\n"
    )
    (folder / "second.py").write_text('"""Without seeds."""\ndef run(output, short=False):\n    return {}\n')
    (folder / "needs.py").write_text('"""Imports too much."""\nimport not_installed\ndef run(output):\n    pass\n')
    (folder / "_help.py").write_text("def run():\n    pass\n")
    (folder / "data.py").write_text('"""No demo."""\n')
    monkeypatch.setattr(lep.demos, "__path__", [str(folder)])
    names = [f"lagrangian_eqprop.demos.{path.stem}" for path in folder.glob("*.py")]
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield
    for name in names:
        sys.modules.pop(name, None)


def test_demos_are_listed_without_importing_them(demos, capsys):
    assert main(["demo"]) == 0
    text = capsys.readouterr().out
    assert "first   A first demo." in text and "second  Without seeds." in text and "needs" in text
    assert "data" not in text and "_help" not in text


def test_demo_runs_with_its_options(demos, here, capsys):
    assert main(["demo", "first", "--output", "out", "--seeds", "5", "--short"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("A first demo.") and "Details" not in text
    assert (here / "out" / "seen").read_text() == "True 5"


def test_demo_refuses_what_it_does_not_take(demos, here, capsys):
    assert "no random seeds" in fails(capsys, "demo", "second", "--seeds", "2")
    assert "at least 1" in fails(capsys, "demo", "first", "--seeds", "0")
    assert "did you mean 'first'" in fails(capsys, "demo", "firts")


def test_cache_is_shown_and_cleared(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("LAGRANGIAN_EQPROP_CACHE", str(folder))
    (folder / "lep_0.py").write_text("x = 1\n")
    assert main(["cache"]) == 0
    text = capsys.readouterr().out
    assert str(folder) in text and "files: 1" in text
    assert main(["cache", "--clear"]) == 0
    assert not list(folder.iterdir()) and "1 files removed" in capsys.readouterr().out


def test_cache_folder_that_others_can_write_is_an_error(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    monkeypatch.setenv("LAGRANGIAN_EQPROP_CACHE", str(folder))
    assert "chmod 700" in fails(capsys, "cache")
