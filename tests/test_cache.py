"""The cache: hits in a fresh process, misses when anything changes, safe folders, two processes at once."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import sympy as sp

import lagrangian_eqprop as lep
from lagrangian_eqprop.compiler import cache

SCRIPT = """
import json, sys
import sympy as sp
import lagrangian_eqprop as lep
import lagrangian_eqprop.compiler.derivatives as derivatives, lagrangian_eqprop.compiler.lowering as lowering
import lagrangian_eqprop.compiler.analysis as analysis

calls = []
for module in (lowering, analysis):
    plain = module.gradient
    module.gradient = lambda *a, plain=plain: calls.append(1) or plain(*a)
t = sp.Symbol("t")
q, k = sp.Function("q")(t), sp.Symbol("k")
system = lep.System(q.diff(t)**2/2 - k*q**2/2 - EXTRA, coordinates=[q], parameters={k: 1.0})
path = system.trajectory(lep.Initial(q=[1.0], v=[0.0]), lep.Grid(10, step=0.1))
report = system.compile()
print(json.dumps({"hit": report.cached, "derived": len(calls), "q": path.q[-1, 0], "path": report.path}))
"""


def fresh(folder, extra: str = "0") -> dict:
    environment = {**os.environ, cache.VARIABLE: str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.replace("EXTRA", extra)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_fresh_process_hits_and_differentiates_nothing(tmp_path):
    first, second = fresh(tmp_path), fresh(tmp_path)
    assert not first["hit"] and first["derived"] > 0
    assert second["hit"] and second["derived"] == 0
    assert first["q"] == second["q"]
    other = fresh(tmp_path, "q**4/4")
    assert not other["hit"] and other["path"] != first["path"] and other["q"] != first["q"]


def test_two_processes_at_once(tmp_path):
    environment = {**os.environ, cache.VARIABLE: str(tmp_path)}
    text = SCRIPT.replace("EXTRA", "q**3/3")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen([sys.executable, "-c", text], env=environment, **pipes) for _ in range(2)]
    answers = [process.communicate() for process in both]
    assert all(process.returncode == 0 for process in both), answers
    values = {json.loads(out.splitlines()[-1])["q"] for out, _ in answers}
    assert len(values) == 1
    assert not list(tmp_path.glob("*.tmp"))


def test_the_name_covers_the_input_and_the_library(monkeypatch):
    assert cache.name_of("a", "b") == cache.name_of("a", "b")
    assert cache.name_of("a", "b") != cache.name_of("ab", "")
    before = cache.name_of("a")
    monkeypatch.setattr(cache, "fingerprint", lambda: "another library")
    assert cache.name_of("a") != before


def test_the_folder_is_made_for_its_owner_alone(tmp_path, monkeypatch):
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "new"))
    assert cache.folder().stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_folder_that_others_can_write_is_refused(tmp_path, monkeypatch, mode):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(mode)
    monkeypatch.setenv(cache.VARIABLE, str(shared))
    with pytest.raises(lep.CacheError, match=rf"writable by you alone; its mode is {mode:04o}"):
        cache.folder()


def test_a_folder_that_cannot_be_made_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "file" / "below"))
    with pytest.raises(lep.CacheError, match="cache folder .*below.* set LAGRANGIAN_EQPROP_CACHE"):
        cache.folder()


def test_users_names_never_become_code():
    t = sp.Symbol("t")
    q = sp.Function("q")(t)
    evil = sp.Symbol("x; import os\nos.abort()")
    keyword, own = sp.Symbol("lambda"), sp.Symbol("q0")
    expression = q.diff(t)**2/2 - evil*q**2/2 - keyword*q**4/4 - own*q
    parameters = {evil: 1.0, keyword: 0.1, own: 0.2}
    system = lep.System(expression, coordinates=[q], parameters=parameters, name="a\nimport os")
    source = system.source()
    for line in source.splitlines():
        if "import os" in line or "lambda" in line:
            assert line.lstrip().startswith("#")
    path = system.trajectory(lep.Initial(q=[1.0], v=[0.0]), lep.Grid(5, step=0.1), compiled=False)
    assert np.isfinite(path.q).all()


def test_the_module_is_the_same_for_every_size_and_value():
    t = sp.Symbol("t")
    x, k = sp.Function("x")(t), sp.Symbol("k")

    def source(n: int) -> str:
        term = lep.Term(x.diff(t)**2/2 - k*x**2/2, on=[x], at=np.arange(n))
        return lep.System([term], size=n, parameters={k: np.full(n, float(n))}).source()

    assert source(3) == source(30_000)
    assert not re.search(r"30000", source(30_000))


def test_clearing_removes_only_generated_files(tmp_path, monkeypatch):
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    (tmp_path / "mine.txt").write_text("keep")
    (tmp_path / "lep_0.py").write_text("")
    assert cache.clear() == 1
    assert (tmp_path / "mine.txt").exists()
