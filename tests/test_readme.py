"""The README's code runs as it stands, and its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def test_code_blocks_run_in_order(capsys):
    names: dict[str, object] = {}
    for block in blocks():
        exec(compile(block, "README.md", "exec"), names)
    printed = capsys.readouterr().out
    assert len(blocks()) == 3
    assert printed.startswith("(201, 1)")
    assert printed.splitlines()[1] == "(4, 4)"
    assert printed.splitlines()[2] == "(5, 17) newton 0 (6, 8)"
    result = names["result"]
    start, grid, cost = names["start"], names["grid"], names["cost"]
    lep, y, k, path = names["lep"], names["y"], names["k"], names["path"]
    adjoint = names["duffing"].gradient(
        start, grid, cost, targets={y: 0.5*names["np"].sin(0.7*path.t)}, inputs=names["drive"], estimator=lep.Adjoint()
    )  # fmt: skip
    assert abs(result[k] - adjoint[k]) <= 1e-12*abs(adjoint[k])


def test_every_command_is_one_of_the_makefile_or_the_command_line():
    text = README.read_text(encoding="utf-8")
    makefile = (README.parent / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    commands = set(re.findall(r"^lagrangian-eqprop (\w+)", text, re.MULTILINE))
    assert commands == {"systems", "simulate", "check", "demo", "cache"}


def test_files_that_it_names_exist():
    for name in re.findall(r"\]\(([\w./]+)\)", README.read_text(encoding="utf-8")):
        assert (README.parent / name).exists(), name
