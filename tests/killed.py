"""Trainings for test_checkpoint.py, to be killed: ``python killed.py initial run.npz``."""

from __future__ import annotations

import sys

import numpy as np
import sympy as sp
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep

x, z = dynamicsymbols("x z")
k, a, b, w, y = sp.symbols("k a b w y")
COMMON = {"batch": 3, "progress": False, "compiled": False, "seed": 5}


def initial(**options):
    rng = np.random.default_rng(11)
    system = lep.System(x.diff()**2/2 - k*x**2/2 - a*x**4/4, coordinates=[x], parameters={k: 1.0, a: 0.3})
    start = lep.Initial(q=rng.normal(size=(7, 1)), v=[0.1])
    targets = {y: rng.normal(size=7)}
    return system.fit(
        start, lep.Grid(6, step=0.1), lep.Cost((x - y)**2/2, targets=[y], when="end"), targets=targets, epochs=20,
        optimiser=lep.Adam(lambda step: 0.05*0.99**step), estimator=lep.Centered(1e-3),
        validation=lambda values: [values[k], values[a]], **COMMON, **options,
    )  # fmt: skip


def equilibrium(**options):
    rng = np.random.default_rng(12)
    hidden, out = np.arange(4), np.arange(4, 6)
    system = lep.System(
        energy=[lep.Term(x**2/2 - b*x, [x], np.arange(6)), lep.Term(-w*x*z, [x, z], lep.AllPairs(hidden, out))],
        size=6, bounds=(0, 1), parameters={b: rng.normal(size=6), w: rng.normal(size=(4, 2))},
    )  # fmt: skip
    rest = lep.Equilibrium(rng.uniform(size=(7, 6)), step=0.5, iterations=(9, 3), tolerance=None)
    return system.fit(
        rest, cost=lep.Cost((x - y)**2/2, on=[x], at=out, targets=[y]), targets={y: rng.uniform(size=(7, 2))},
        epochs=30, optimiser=lep.SGD(0.1, momentum=0.5), estimator=lep.OneSided(0.3), dtype="float32",
        limits={w: (-1, 1)}, **COMMON, **options,
    )  # fmt: skip


def train(kind, **options):
    return {"initial": initial, "equilibrium": equilibrium}[kind](**options)


if __name__ == "__main__":
    train(sys.argv[1], checkpoint=sys.argv[2], every=1)
