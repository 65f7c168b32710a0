"""The echo needs no memory that grows with the number of steps: peaks of fresh processes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SCRIPT = """
import json, resource, sys
import numpy as np, sympy as sp
import lagrangian_eqprop as lep

steps, names = int(sys.argv[1]), sys.argv[2].split(",")
t = sp.Symbol("t")
x, z = sp.Function("x")(t), sp.Function("z")(t)
m, k, a, c, u, y = sp.symbols("m k a c u y")
n, i = 16, np.arange(16)
ring = lep.System(
    [lep.Term(m*x.diff(t)**2/2 - k*x**2/2 - a*x**4/4 + u*x, on=[x], at=i),
     lep.Term(-c*(x - z)**2/2, on=[x, z], at=np.stack([i, (i + 1) % n], 1))],
    size=n, inputs=[u], parameters={m: 1.0, k: np.linspace(0.8, 1.0, n), a: np.full(n, 0.02), c: np.full(n, 0.3)},
)
cost = lep.Cost((x - y)**2/2, on=[x], at=i, targets=[y])
q = 0.1*np.random.default_rng(0).standard_normal((8, n))
found = {}
for name in names:
    result = ring.gradient(
        lep.Initial(q=q, v=0*q), lep.Grid(steps, step=0.05), cost, targets={y: 0.1},
        inputs={u: lambda t: 0.02*np.cos(0.7*t)},
        estimator=lep.Centered(1e-5) if name == "Centered" else getattr(lep, name)(),
    )
    found[name] = np.concatenate([np.ravel(result[s]) for s in (m, k, a, c)] + [result.initial.q.ravel()]).tolist()
print(json.dumps({"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, "gradients": found}))
"""


def run(steps: int, names: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(steps), names], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_peak_memory_does_not_depend_on_the_number_of_steps():
    run(100, "Exact,Centered")  # compiles, which takes memory of its own
    few, many = run(1_000, "Exact,Centered")["peak"], run(1_000_000, "Exact,Centered")["peak"]
    assert abs(many - few) < 20_000  # kB; the stored path would take 2 GB


@pytest.mark.slow
def test_many_steps_agree_with_the_adjoint():
    found = run(20_000, "Exact,Centered,Adjoint")["gradients"]
    largest = max(map(abs, found["Adjoint"]))
    for name, tolerance in (("Exact", 1e-9), ("Centered", 1e-4)):
        difference = max(abs(a - b) for a, b in zip(found[name], found["Adjoint"], strict=True))
        assert difference <= tolerance*largest, name
