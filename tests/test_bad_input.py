"""Every refusal names the argument, what it must be and what came; nothing plausible comes out of a bad question."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from oracles import assert_close
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep

t = dynamicsymbols._t
q, x, z = dynamicsymbols("q x z")
m, k, u, w, y = sp.symbols("m k u w y")
POSITIVE = sp.Symbol("k", positive=True)
v, vx, vz = q.diff(t), x.diff(t), z.diff(t)
PLAIN = {"compiled": False}
GRID, START = lep.Grid(20, step=0.1), lep.Initial([0.7], v=[0.1])
SPRING = m*v**2/2 - k*q**2/2
PENDULA = vx**2 + vz**2/2 + vx*vz*sp.cos(x - z) + 2*sp.cos(x) + sp.cos(z)


def single(expression=SPRING, coordinates=(q,), parameters=None, **options):
    values = {m: 1.0, k: 1.0} if parameters is None else parameters
    return lep.System(expression, coordinates=list(coordinates), parameters=values, **options)


def network(*terms, size=3, **parameters):
    site = lep.Term(vx**2/2, on=[x], at=np.arange(size))
    return lep.System([site, *terms], size=size, **parameters)


def driven(value, **options):
    system = single(SPRING + u*q, inputs=[u])
    return system.trajectory(START, GRID, inputs={u: value}, **PLAIN, **options)


def judged(cost=None, targets=None, **options):
    cost = lep.Cost((q - y)**2, targets=[y]) if cost is None else cost
    return single().gradient(START, GRID, cost, targets=targets, **PLAIN, **options)


REFUSALS = {
    # systems
    "undeclared symbol": (lambda: single(parameters={m: 1.0}), "'k', which is not declared"),
    "near miss": (
        lambda: single(m*v**2/2 - sp.Symbol("kk")*q**2/2 - k*q, parameters={m: 1.0, k: 1.0}), "'kk'.*did you mean 'k'",
    ),
    "unused parameter": (lambda: single(m*v**2/2), "parameters must be used by the Lagrangian; 'k' is not"),
    "unused input": (lambda: single(inputs=[u]), "inputs must be used by the Lagrangian; 'u' is not"),
    "unused coordinate": (lambda: single(coordinates=[q, x]), r"every coordinate.*no x\(t\)"),
    "undeclared coordinate": (lambda: single(SPRING + x), r"undeclared function x\(t\)"),
    "other assumptions": (
        lambda: single(parameters={m: 1.0, POSITIVE: 1.0}), "'k'.*not declared.*other assumptions.*complex",
    ),
    "two symbols of one name": (
        lambda: single(SPRING - POSITIVE*q, parameters={m: 1, k: 1, POSITIVE: 1}),
        "parameters.*'k'.*other assumptions",
    ),
    "input and parameter of one name": (lambda: single(inputs=[k]), "inputs.*'k' is declared in parameters too"),
    "string as parameter": (
        lambda: single(parameters={"m": 1.0}), "parameters must be sympy Symbols; got 'm' of type str",
    ),
    "nan parameter": (lambda: single(parameters={m: np.nan, k: 1.0}), r"parameters\[m\] must be finite"),
    "array parameter": (lambda: single(parameters={m: [1.0], k: 1.0}), r"parameters\[m\] must be a scalar.*\(1,\)"),
    "second derivative": (lambda: single(SPRING + q*v.diff(t)), "first time derivatives"),
    "unknown function": (lambda: single(SPRING + sp.gamma(q)), "functions.*contains gamma"),
    "imaginary": (lambda: single(SPRING + sp.I*q), "real and finite.*I"),
    "infinite": (lambda: single(SPRING + sp.oo*q), "real and finite.*oo"),
    "string": (lambda: single("q"), "the Lagrangian of system must be a sympy expression; got 'q'"),
    "coordinate twice": (lambda: single(coordinates=[q, q]), "coordinates.*distinct"),
    "the time as a parameter": (lambda: single(SPRING + t*q, parameters={m: 1.0, k: 1.0, t: 2.0}), "parameters.*t"),
    # networks
    "index too large": (lambda: network(lep.Term(x*z, on=[x, z], at=[[0, 3]])), "at of term 1 .*from 0 to 2; got 3"),
    "negative index": (lambda: network(lep.Term(x*z, on=[x, z], at=[[0, -1]])), "at of term 1 .*got -1"),
    "float indices": (lambda: network(lep.Term(x**2, on=[x], at=[0.0, 1.0])), "at of term 1 .*integers.*float64"),
    "no places": (lambda: network(lep.Term(x**2, on=[x], at=np.zeros(0, int))), "at of term 1 .*P > 0"),
    "table too narrow": (lambda: network(lep.Term(x*z, on=[x, z], at=[0, 1])), r"at of term 1 .*\(P, 2\)"),
    "one value a place": (
        lambda: network(lep.Term(-k*x**2, on=[x], at=[0, 1]), parameters={k: np.ones(3)}),
        r"parameters\[k\].*\(2,\).*\(3,\)",
    ),
    "a matrix for pairs": (
        lambda: network(lep.Term(w*x*z, on=[x, z], at=lep.AllPairs([0], [1, 2])), parameters={w: np.ones((2, 1))}),
        r"parameters\[w\].*\(1, 2\).*\(2, 1\)",
    ),
    "pairs that overlap": (
        lambda: lep.AllPairs([0, 1], [1, 2]), "columns of AllPairs must be disjoint from rows; got 1",
    ),
    "pairs that repeat": (lambda: lep.AllPairs([0, 0], [1, 2]), "rows of AllPairs.*distinct"),
    "size missing": (lambda: lep.System([lep.Term(vx**2, on=[x], at=[0])]), "size must be a positive integer"),
    # boundaries, grids, costs, estimators
    "velocity and momentum": (
        lambda: lep.Initial([1.0], v=[1.0], p=[1.0]), "v must be given, or p, but not both; got both",
    ),
    "neither": (
        lambda: single().trajectory(lep.Initial([1.0]), GRID, **PLAIN), "v must be given, or p.*neither",
    ),
    "scalar position": (lambda: lep.Initial(1.0, v=1.0), r"q must be of shape \(d,\) or \(B, d\)"),
    "nan position": (lambda: lep.Initial([np.nan], v=[1.0]), "q must be finite"),
    "complex velocity": (lambda: lep.Initial([1.0], v=[1j]), "v must be an array of real numbers"),
    "wrong width": (
        lambda: single().trajectory(lep.Initial([1.0, 2.0], v=[0.0, 0.0]), GRID, **PLAIN),
        r"q must be of shape \(\.\.\., 1\).*\(2,\)",
    ),
    "two batches": (
        lambda: single().trajectory(lep.Initial(np.ones((2, 1)), v=np.ones((3, 1))), GRID, **PLAIN),
        "batch axis.*q: 2, v: 3",
    ),
    "guess": (
        lambda: single().trajectory(lep.Ends([0.0], [1.0], guess=np.zeros((3, 1))), GRID, **PLAIN),
        r"guess.*\(21, 1\).*\(3, 1\)",
    ),
    "nothing between the ends": (
        lambda: single().trajectory(lep.Ends([0.0], [1.0]), lep.Grid(1, step=0.1), **PLAIN), "steps must be at least 2",
    ),
    "boundary": (
        lambda: single().trajectory([1.0], GRID, **PLAIN),
        "boundary must be lep.Initial, lep.Ends or lep.Periodic; got list",
    ),
    "grid": (lambda: single().trajectory(START, 20, **PLAIN), "grid must be a lep.Grid; got int"),
    "no steps": (lambda: lep.Grid(0, step=0.1), "steps must be a positive integer; got 0"),
    "half a step": (lambda: lep.Grid(1.5, step=0.1), "steps must be a positive integer; got 1.5"),
    "step and duration": (lambda: lep.Grid(3, step=0.1, duration=1.0), "step must be given, or duration.*both"),
    "negative step": (lambda: lep.Grid(3, step=-0.1), "step must be a positive finite number; got -0.1"),
    "infinite duration": (lambda: lep.Grid(3, duration=np.inf), "duration must be a positive finite number"),
    "start": (lambda: lep.Grid(3, step=0.1, start=np.nan), "start must be a finite number"),
    "start as text": (lambda: lep.Grid(3, step=0.1, start="now"), "start must be a finite number"),
    "complex step": (lambda: lep.Grid(3, step=0.1 + 0j), "step must be a positive finite number"),
    "when": (lambda: lep.Cost(q, when="finish"), "when must be 'path' or 'end'; got 'finish'"),
    "on without at": (lambda: lep.Cost(x, on=[x]), "at must be given together with on"),
    "weights": (lambda: judged(lep.Cost(q, weights=np.ones(4))), r"weights of the cost.*\(21,\).*\(4,\)"),
    "undeclared target": (lambda: judged(lep.Cost((q - y)**2)), "the cost uses 'y', which is not declared"),
    "unused target": (lambda: judged(lep.Cost(q**2, targets=[y]), {y: 1.0}), "targets of the cost.*'y' is not"),
    "no target": (lambda: judged(), r"targets\[y\] must be given"),
    "unknown target": (lambda: judged(targets={"yy": 1.0}), "targets must be one of y; got 'yy'; did you mean 'y'"),
    "target shape": (lambda: judged(targets={y: np.ones(20)}), r"targets\[y\].*length 21.*time.*\(20,\)"),
    "no cost": (lambda: single().gradient(START, GRID, None, **PLAIN), "cost must be a lep.Cost.*None"),
    "cost of another type": (lambda: single().gradient(START, GRID, 3, **PLAIN), "cost must be a lep.Cost"),
    "nudge without a cost": (lambda: single().trajectory(START, GRID, nudge=0.1, **PLAIN), "cost must be given"),
    "complex nudge": (
        lambda: single().trajectory(START, GRID, nudge=1j, cost=lep.Cost(q), **PLAIN), "nudge must be a finite real",
    ),
    "no nudge": (lambda: lep.Centered(0.0), "beta must be a finite real number other than 0"),
    "odd points": (lambda: lep.Holomorphic(points=3), "points must be an even integer.*got 3"),
    "estimator": (lambda: judged(targets={y: 1.0}, estimator="exact"), "estimator must be an instance of .*'exact'"),
    # calls
    "unknown parameter": (lambda: single().trajectory(START, GRID, parameters={"mm": 2}, **PLAIN), "did you mean 'm'"),
    "parameter shape": (
        lambda: single().trajectory(START, GRID, parameters={k: np.ones((2, 2))}, **PLAIN),
        r"parameters\[k\].*\(2, 2\)",
    ),
    "infinite parameter": (
        lambda: single().trajectory(START, GRID, parameters={k: np.inf}, **PLAIN), r"parameters\[k\].*finite",
    ),
    "no input": (
        lambda: single(SPRING + u*q, inputs=[u]).trajectory(START, GRID, **PLAIN), r"inputs\[u\] must be given",
    ),
    "input shape": (lambda: driven(np.ones(20)), r"inputs\[u\].*length 21.*\(20,\)"),
    "too many axes": (lambda: driven(np.ones((2, 21, 1))), r"inputs\[u\].*\(batch, time\).*\(2, 21, 1\)"),
    "nan input": (lambda: driven(np.nan), r"inputs\[u\] must be finite"),
    "nan from a callable": (lambda: driven(lambda s: np.where(s > 1, np.nan, 1.0)), r"inputs\[u\] must be finite"),
    "text as input": (lambda: driven("a"), r"inputs\[u\] must be a number.*'a'"),
    "method": (lambda: driven(1.0, method="verlett"), "method must be one of .*'verlett'; did you mean 'verlet'"),
    "verlet for a double pendulum": (
        lambda: single(PENDULA, [x, z], {}).trajectory(lep.Initial([1, 1], v=[0, 0]), GRID, method="verlet", **PLAIN),
        "'verlet' needs a constant diagonal mass.*couples the velocity of x and the velocity of z.*midpoint",
    ),
    "save": (lambda: driven(1.0, save=0), "save must be 'all', 'last' or a positive integer; got 0"),
    "on_failure": (lambda: driven(1.0, on_failure="ignore"), "on_failure must be 'raise' or 'return'"),
    "stability": (lambda: driven(1.0, stability="no"), "stability must be 'check' or 'ignore'"),
    "unknown gradient": (lambda: judged(targets={y: 1.0})["kk"], "'kk'; did you mean 'k'"),
    "massless": (
        lambda: single(vx**2/2 - z**2*x, [x, z], {}).trajectory(lep.Initial([1, 1], v=[0, 0]), GRID, **PLAIN),
        "mass matrix L_vv must be invertible.*z",
    ),
    "singular mass": (
        lambda: single((vx + vz)**2/2 - z**2*x, [x, z], {}).trajectory(lep.Initial([1, 1], v=[0, 0]), GRID, **PLAIN),
        "mass matrix L_vv must be invertible",
    ),
    "step too large": (
        lambda: single().trajectory(START, lep.Grid(5, step=2.001), **PLAIN), "step must be below 2 for Verlet.*2.001",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals(case):
    question, message = REFUSALS[case]
    with pytest.raises(ValueError, match=message):
        question()


def test_a_step_near_the_limit_warns():
    with pytest.warns(lep.AccuracyWarning, match="step must be below 2 for Verlet"):
        path = single().trajectory(START, lep.Grid(5, step=1.8), **PLAIN)
    assert path.success


def test_the_limit_is_that_of_the_stiffest_mode():
    """A chain of ten: h^2 lambda reaches 4 a little above the one at which it runs."""
    links = np.stack([np.arange(9), np.arange(1, 10)], 1)
    chain = network(lep.Term(-(x - z)**2/2, on=[x, z], at=links), size=10)
    worst = 2 + 2*np.cos(np.pi/10)
    begin = lep.Initial(np.zeros(10), v=np.ones(10))
    with pytest.raises(ValueError, match="Verlet"):
        chain.trajectory(begin, lep.Grid(3, step=1.01*2/np.sqrt(worst)), **PLAIN)
    with pytest.warns(lep.AccuracyWarning):
        chain.trajectory(begin, lep.Grid(3, step=0.97*2/np.sqrt(worst)), **PLAIN)


def test_instability_may_be_studied():
    """cosh: beyond the limit an oscillator grows by -exp(a) a step, cosh a = h^2/2 - 1."""
    path = single().trajectory(lep.Initial([1.0], v=[0.0]), lep.Grid(8, step=2.2), stability="ignore", **PLAIN)
    assert_close(path.q[:, 0], (-1.0)**np.arange(9)*np.cosh(np.arccosh(2.2**2/2 - 1)*np.arange(9)), 1e-9)


def test_newton_that_diverges_names_step_and_residual():
    system = single(v**2/2 + sp.exp(5*q), parameters={})
    with pytest.raises(lep.ConvergenceError, match=r"sample 0 at step \d+ \(t = .*residual of .*smaller step"):
        system.trajectory(lep.Initial([1.0], v=[3.0]), lep.Grid(20, step=1.0), method="midpoint", **PLAIN)


def test_infinity_names_its_step():
    system = single(v**2/2 + q**4, parameters={})
    with pytest.raises(lep.ConvergenceError, match=r"sample 0 at step \d+ .*infinite"):
        system.trajectory(lep.Initial([10.0], v=[0.0]), lep.Grid(50, step=0.5), **PLAIN)


@pytest.mark.parametrize("name", ["lambda", "x; import os", "p0", "q1", "np", "sin", "env", "theta", "h", "é", "a\n#"])
def test_any_name_may_be_a_parameter(name):
    symbol = sp.Symbol(name)
    systems = (single(m*v**2/2 - s*sp.sin(q)**2/2, parameters={m: 1.0, s: 0.5}) for s in (symbol, k))
    odd, plain = (system.gradient(START, GRID, lep.Cost(q**2), **PLAIN) for system in systems)
    assert odd[name] == odd[symbol] == plain[k]


def test_a_singular_mass_of_any_sample_is_found():
    mass, v = sp.symbols("mass v")
    x = sp.Function("x")(sp.Symbol("t"))
    system = lep.System(mass*x.diff()**2/2 + v*x*x.diff(), coordinates=[x], parameters={mass: 1.0, v: 0.1})
    values = {mass: [1.0, 0.0]}
    with pytest.raises(ValueError, match="regular.* sample 1 "):
        system.trajectory(lep.Initial([1.0], [1.0]), lep.Grid(4, step=0.1), parameters=values, compiled=False)
    n = 100
    masses = np.ones(n)
    masses[37] = 0.0
    terms = [lep.Term(mass*x.diff()**2/2 + v*x*x.diff(), on=[x], at=np.arange(n))]
    net = lep.System(terms, size=n, parameters={mass: masses, v: 0.1})
    with pytest.raises(ValueError, match="regular.*coordinate 37 has no kinetic energy"):
        net.trajectory(lep.Initial(np.ones(n), np.ones(n)), lep.Grid(4, step=0.1), compiled=False)


def test_a_quantity_given_twice_is_refused():
    x, k = sp.Function("x")(sp.Symbol("t")), sp.Symbol("k")
    system = lep.System(x.diff()**2/2 - k*x**2/2, coordinates=[x], parameters={k: 1.0})
    twice = {"k": 2.0, k: 3.0}
    for given, message in ((twice, r"parameters\[k\] must be given once"), ([k], "parameters must be a mapping")):
        with pytest.raises(ValueError, match=message):
            system.trajectory(lep.Initial([1.0], [0.0]), lep.Grid(4, step=0.1), parameters=given, compiled=False)
