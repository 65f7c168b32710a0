"""Arrows between the parts run one way, and the numeric core knows nothing symbolic: read from import statements."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import lagrangian_eqprop

ROOT = Path(lagrangian_eqprop.__file__).parent
CORE = [
    "methods.common", "methods.verlet", "methods.verlet_action", "methods.verlet_adjoint", "methods.midpoint",
    "methods.midpoint_action", "methods.midpoint_adjoint", "methods.midpoint_forced", "methods.gauss_action",
    "methods.midpoint_forced_adjoint", "methods.verlet_weighted_adjoint", "methods.rattle", "methods.rattle_action",
    "methods.rattle_start", "methods.first_order",
    "methods.linear", "methods.stability", "methods.verlet_weighted", "methods.verlet_weighted_action", "eqprop.echo",
    "eqprop.adjoint", "eqprop.replay", "solvers.nudges", "solvers.elimination", "compiler.kernel", "compiler.contract",
]  # fmt: skip
FORBIDDEN = {
    "symbols": "compiler methods solvers eqprop learning analysis plotting cli demos systems",
    "compiler": "methods solvers eqprop learning analysis plotting cli demos systems",
    "methods": "solvers eqprop learning analysis plotting cli demos systems",
    "solvers": "eqprop learning analysis plotting cli demos systems",
    "eqprop": "learning analysis plotting cli demos systems",
    "learning": "cli demos systems",
}


def imports(path, everywhere=True):
    """Absolute names of what a file imports when it is imported; ``everywhere``: inside functions too."""
    package = ["lagrangian_eqprop", *path.relative_to(ROOT).parts[:-1]]
    pending, found = list(ast.parse(path.read_text(encoding="utf-8")).body), set()
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{base}.{alias.name}" for alias in node.names} | {base}
        elif everywhere or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            pending += ast.iter_child_nodes(node)
    return found


def reached(names, part):
    return sorted(name for name in names if name == part or name.startswith(part + "."))


@pytest.mark.parametrize("module", CORE)
def test_the_numeric_core_imports_nothing_symbolic(module):
    names = imports(ROOT / (module.replace(".", "/") + ".py"))
    assert names
    assert not reached(names, "sympy") + reached(names, "lagrangian_eqprop.symbols")


@pytest.mark.parametrize("part", FORBIDDEN)
def test_arrows_run_one_way(part):
    files = sorted((ROOT / part).glob("*.py"))
    assert files
    for path in files:
        names = imports(path, everywhere=False)
        for other in FORBIDDEN[part].split():
            assert not reached(names, f"lagrangian_eqprop.{other}"), (path.name, other)


def test_the_reader_of_imports_sees_them():
    """The tests above would pass for a reader that is blind."""
    names = imports(ROOT / "solvers" / "problem.py")
    assert reached(names, "sympy") and reached(names, "lagrangian_eqprop.symbols")
