"""The table of exactness: every boundary condition, method, estimator and kind of mechanics, measured or refused.

A cell is the largest relative error of a gradient (parameters and boundary data) against a complex step through the
forward map, which uses no gradient code; Gauss steps and paths between constrained ends have no complex form here,
and are compared with differences of eighth order of their losses. A cell that does not exist holds the library's own
reason.
``python tests/table.py`` writes docs/exactness.md and docs/exactness.json; ``test_table.py`` measures a sample anew.
"""

from __future__ import annotations

import json
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import sympy as sp
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep
from lagrangian_eqprop.analysis.check import errors_of, forward_of, read, references
from lagrangian_eqprop.analysis.forward import Entry
from lagrangian_eqprop.eqprop.gradient import problem_of

FILE = Path(__file__).parent.parent/"docs"/"exactness.json"
STEPS, STEP = 10, 0.12
GRID = lep.Grid(STEPS, step=STEP, start=0.2)

x, y = dynamicsymbols("x y")
vx, vy = x.diff(), y.diff()
m, k, a, b, g, l, u, aim = sp.symbols("m k a b g l u aim")
TWO = m*(vx**2 + vy**2)/2 - k*(x**2 + sp.Rational(17, 10)*y**2)/2 - a*(x - y)**4/4 + k*x/4
VALUES = {m: 1.2, k: 0.9, a: 0.5}
WAVE = np.cos(0.7*np.arange(STEPS + 1))
LOOP = np.cos(2*np.pi*np.arange(STEPS + 1)/STEPS)


def system(lagrangian, coordinates=(x, y), inputs=(), parameters=VALUES, **options):
    options |= {"parameters": dict(parameters), "inputs": list(inputs)}
    return lep.System(lagrangian, coordinates=list(coordinates), **options)


# name: (system, inputs)
MECHANICS = {
    "conservative": lambda: (system(TWO), {}),
    "driven": lambda: (system(TWO + u*x, inputs=[u]), {u: WAVE}),
    "parametric drive": lambda: (system(TWO - u*x**2/4, inputs=[u]), {u: WAVE}),
    "explicit time": lambda: (system(TWO - sp.sin(dynamicsymbols._t)*x*y/5), {}),
    "mass of position": lambda: (system(TWO + m*x**2*vy**2/3), {}),
    "gyroscopic": lambda: (system(TWO + b*x*vy, parameters={**VALUES, b: 0.3}), {}),
    "damped with mass": lambda: (system(TWO, parameters={**VALUES, g: 0.2}, damping=g), {}),
    "Rayleigh": lambda: (system(TWO, parameters={**VALUES, g: 0.2}, rayleigh=g*(1 + x**2)*vx**2/2), {}),
    "linear, damped": lambda: (
        system(m*(vx**2 + vy**2)/2 - k*(x**2 + y**2)/2 + u*x + b*x*y, inputs=[u], rayleigh=g*(vx - vy)**2/2,
               parameters={m: 1.2, k: 0.9, b: 0.2, g: 0.3}), {u: WAVE}),
    "constrained": lambda: (
        system(m*(vx**2 + vy**2)/2 - k*y - a*x**2, parameters={**VALUES, l: 1.0},
               constraints=[x**2 + y**2 - l**2]), {}),
    "first order": lambda: (system(m*x*vy - k*(x**2 + y**2)/2 - a*x**4/4), {}),
}  # fmt: skip
METHODS: dict[str, dict[str, Any]] = {
    "Verlet": {"method": "verlet"}, "midpoint": {"method": "midpoint"},
    "Verlet, order 4": {"method": "verlet", "order": 4}, "midpoint, order 4": {"method": "midpoint", "order": 4},
    "Gauss, 2 stages": {"method": "gauss", "stages": 2}, "RATTLE": {"method": "rattle"},
}  # fmt: skip
POTENTIAL = lep.Cost(k*x**2/3 + y**2, when="end")


def boundaries(mechanics: str) -> dict[str, Any]:
    """Boundary conditions with data that suit the kind of mechanics."""
    q, v = np.array([0.3, -0.2]), np.array([0.4, 0.1])
    if mechanics == "constrained":
        q, v = np.array([0.6, -0.8]), np.array([0.4, 0.3])
    if mechanics == "linear, damped":
        q, v = np.zeros(2), np.zeros(2)
    start = {"Initial(q)": lep.Initial(q=q)} if mechanics == "first order" else {
        "Initial(q, v)": lep.Initial(q=q, v=v), "Initial(q, p)": lep.Initial(q=q, p=1.2*v)}
    stop = [-0.8, -0.6] if mechanics == "constrained" else [0.5, 0.1]
    circle = 0.3*np.stack([LOOP, np.roll(LOOP, 3)], 1)
    free = np.stack([0.25 + 0.5*LOOP, 0.0*LOOP], 1)
    return {
        **start,
        "Ends, fixed": lep.Ends(q, stop),
        "Ends, one natural": lep.Ends(q, None),
        "Ends, a potential": lep.Ends(q, None, stop=POTENTIAL),
        "Periodic, driven": lep.Periodic(circle),
        "Periodic, antiperiodic": lep.Periodic(circle, twist=-1.0),
        "Periodic, of an energy": lep.Periodic(free, energy=0.12),
    }


ESTIMATORS = {
    "Exact": lep.Exact(), "Adjoint": lep.Adjoint(), "Holomorphic": lep.Holomorphic(), "Centered": lep.Centered(1e-4),
    "linearised": lep.Centered(1e-4, nudge="linearised"), "OneSided": lep.OneSided(1e-6), "Echo": lep.Echo(1e-4),
    "ConvolutionAction": lep.ConvolutionAction(1.0), "NaiveForward + residual": lep.NaiveForward(1e-4),
}  # fmt: skip
# what a cell may be at most: rounding for the limits, bias and rounding for finite nudges
LIMITS = {"Exact": 1e-9, "Adjoint": 1e-9, "Holomorphic": 1e-8, "ConvolutionAction": 1e-9}
BIASED = 1e-3


def cells():
    """(mechanics, boundary, method) of every row."""
    return [(kind, name, method) for kind in MECHANICS for name in boundaries(kind) for method in METHODS]


def by_differences(loss):
    """A column of derivatives by differences of eighth order: f' = sum of c_j [f(x + j e) - f(x - j e)]/e."""
    c, e = (4/5, -1/5, 4/105, -1/280), 1e-2

    def column(entry):
        moved = [c[j - 1]*(loss(entry, j*e) - loss(entry, -j*e))/e for j in range(1, 5)]
        return sum(moved)

    return column


class Row:
    """One problem, its reference, and what each estimator gives."""

    def __init__(self, kind: str, name: str, method: str) -> None:
        self.system, self.inputs = MECHANICS[kind]()
        self.boundary, self.options = boundaries(kind)[name], dict(METHODS[method])
        self.gauss = self.options["method"] == "gauss"
        self.options["compiled"] = self.gauss and isinstance(self.boundary, lep.Initial)
        closed = isinstance(self.boundary, lep.Periodic)
        if closed:
            self.inputs = {symbol: LOOP for symbol in self.inputs}
        self.cost = lep.Cost((x - aim)**2/2 + x*y/3, targets=[aim])
        self.targets = {aim: 0.4 if closed else 0.4*WAVE}
        self.grid = lep.Grid(STEPS, duration=7.0) if closed else GRID
        self.given = {"targets": self.targets, "inputs": self.inputs}
        options = {key: value for key, value in self.options.items() if key != "stages"}
        self.problem = problem_of(self.system, self.grid, self.cost, {**self.given, **options}, self.boundary,
                                  self.options.get("stages"))  # fmt: skip
        if isinstance(self.boundary, lep.Ends) and not self.boundary.potentials:  # look for it once, and cheaply
            cheap = {"method": "midpoint", "compiled": False} if self.gauss else self.options
            found = self.system.trajectory(self.boundary, self.grid, inputs=self.inputs, **cheap)
            self.boundary = lep.Ends(self.boundary.q_start, self.boundary.q_stop, guess=found.q)
        self.system.trajectory(self.boundary, self.grid, inputs=self.inputs, **self.options)
        held = kind == "constrained" and isinstance(self.boundary, lep.Ends)  # by constraints, at ends that obey them
        self.forward = None if self.gauss or held else forward_of(self.problem, self.boundary)

    def gradient(self, estimator):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", lep.AccuracyWarning)
            return self.system.gradient(
                self.boundary, self.grid, self.cost, estimator=estimator, **self.given, **self.options
            )

    def reference(self):
        if self.forward is not None:
            return references(self.problem, self.forward, [])
        entries = {symbol.name: [Entry(symbol.name, int(row[0]))]
                   for symbol, row in zip(self.problem.values, self.problem.theta_layout, strict=True)
                   if symbol is not l}  # fmt: skip

        def loss(entry, change):
            symbol = next(s for s in self.problem.values if s.name == entry.quantity)
            values = {symbol: self.problem.values[symbol] + change}
            options = {**self.given, **self.options, "parameters": values}
            return self.system.gradient(self.boundary, self.grid, self.cost, **options).loss

        column = by_differences(loss)
        return entries, {name: np.array([column(entry) for entry in chosen]) for name, chosen in entries.items()}


def reason(error: Exception) -> str:
    """The library's own words, on one line."""
    text = " ".join(str(error).split()).split("; got ")[0].split(". The nudged path")[0]
    return text if len(text) < 200 else text[:197] + "..."


def measure(kind: str, name: str, method: str, wanted=tuple(ESTIMATORS)) -> dict[str, float | str]:
    """The cells of a row: an error, or why there is none."""
    try:
        row = Row(kind, name, method)
        entries, reference = row.reference()
    except (ValueError, lep.ConvergenceError) as error:
        return dict.fromkeys(wanted, reason(error))
    found: dict[str, float | str] = {}
    for estimator in wanted:
        try:
            result = row.gradient(ESTIMATORS[estimator])
        except (ValueError, lep.ConvergenceError) as error:
            found[estimator] = reason(error)
            continue
        column = partial(read, row.problem, result)
        chosen = entries
        if estimator.startswith("Naive"):
            chosen = {key: value for key, value in entries.items() if "." not in key}
            parameters = {s: value + result.residual[s] for s, value in result.parameters.items()}
            column = partial(lambda symbols, entry: float(symbols[entry.quantity]),
                             {s.name: value for s, value in parameters.items()})  # fmt: skip
        errors = errors_of(column, chosen, {key: reference[key] for key in chosen})
        found[estimator] = max(errors.values())
    return found


def document(table: dict[str, dict[str, float | str]]) -> str:
    """docs/exactness.md."""
    reasons: dict[str, int] = {}
    lines = [
        "# Exactness, cell by cell", "",
        "Written by `make table`: for every kind of mechanics, boundary condition, method and estimator the largest",
        "relative error of the gradient (parameters and boundary data) against a complex step through the forward map,",
        f"on a problem of two coordinates and {STEPS} steps. `Centered` and `Echo` nudge with beta = 1e-4,",
        "`OneSided` with 1e-6: what they show is bias and rounding. `NaiveForward` comes with the residual it lacks.",
        "Gauss elements and paths between constrained ends have no complex form; they are compared with differences",
        "of eighth order. A number in brackets is the reason why a combination does not exist, in the library's own",
        "words, at the end.", "",
    ]  # fmt: skip
    for kind in MECHANICS:
        lines += [f"## {kind[0].upper()}{kind[1:]}", "", "| boundary | method | " + " | ".join(ESTIMATORS) + " |",
                  "|---|---|" + "---|"*len(ESTIMATORS)]  # fmt: skip
        for _, name, method in (cell for cell in cells() if cell[0] == kind):
            shown = []
            for estimator in ESTIMATORS:
                value = table[f"{kind} | {name} | {method}"][estimator]
                if isinstance(value, str):
                    shown.append(f"[{reasons.setdefault(value, len(reasons) + 1)}]")
                else:
                    shown.append(f"{value:.0e}")
            lines.append(f"| {name} | {method} | " + " | ".join(shown) + " |")
        lines.append("")
    lines += ["## Why a combination does not exist", ""]
    lines += [f"{number}. {text}" for text, number in reasons.items()]
    return "\n".join(lines) + "\n"


def save(table: dict[str, dict[str, float | str]]) -> None:
    """Write both files; in the JSON file reasons stand once, cells hold an error or [the number of a reason]."""
    reasons: dict[str, int] = {}
    rows = {name: [[reasons.setdefault(value, len(reasons))] if isinstance(value, str) else float(f"{value:.3g}")
                   for value in row.values()] for name, row in table.items()}  # fmt: skip
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in rows.items())
    head = f'{{\n "reasons": {json.dumps(list(reasons), indent=1)},\n "cells": {{\n'
    FILE.write_text(f"{head}{lines}\n }}\n}}\n", encoding="utf-8")
    FILE.with_suffix(".md").write_text(document(load()), encoding="utf-8")


def load() -> dict[str, dict[str, float | str]]:
    """The committed table."""
    kept = json.loads(FILE.read_text(encoding="utf-8"))
    return {name: {estimator: kept["reasons"][value[0]] if isinstance(value, list) else value
                   for estimator, value in zip(ESTIMATORS, row, strict=True)}
            for name, row in kept["cells"].items()}  # fmt: skip


def main() -> None:
    """Measure every cell and write both files."""
    table = {}
    for cell in cells():
        print(*cell, sep=" | ", file=sys.stderr, flush=True)
        table[" | ".join(cell)] = measure(*cell)
    save(table)


if __name__ == "__main__":
    main()
