"""Fixed-point Verlet: the way back returns every bit, and the gradient along it loses nothing to growth.

The oracle of the gradient is reverse accumulation in plain numpy along the very nodes of the path: it shares no code
with the library, and no rounding of a path enters it.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import sympy as sp
from oracles import Loss, Mechanics, assert_agrees, assert_close, drive_of, initial_gradients
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep
from lagrangian_eqprop.analysis import retrace
from lagrangian_eqprop.eqprop.gradient import problem_of
from lagrangian_eqprop.solvers import problem as problems
from lagrangian_eqprop.solvers.fixed import FixedRun
from lagrangian_eqprop.solvers.start import Start

t = dynamicsymbols._t
q, x, z = dynamicsymbols("q x z")
m, k, a, c, u, y = sp.symbols("m k a c u y")
PLAIN = {"compiled": False}
DRIVEN = lep.System(m*q.diff(t)**2/2 - k*q**2/2*(1 + sp.cos(2*t)/3) - a*q**4/4 + u*q, coordinates=[q],
                    parameters={m: 1.3, k: 0.8, a: 0.4}, inputs=[u])  # fmt: skip
ROPE = lep.System(
    [lep.Term(m*x.diff(t)**2/2 - k*x**2/2 - x**4/9, on=[x], at=np.arange(3)),
     lep.Term(-c*(x - z)**2/2, on=[x, z], at=[[0, 1], [1, 2]])],
    size=3, parameters={m: np.array([1.2, 0.1, 30.0]), k: 0.7, c: np.array([1.0, 0.6])},
)  # fmt: skip
ROTOR = lep.System(q.diff(t)**2/2 + k*sp.cos(q), coordinates=[q], parameters={k: 5.0})
COST = lep.Cost((q - y)**2/2 + a*q**3/5, targets=[y])
PUSH = {u: lambda times: 0.4*np.cos(1.3*times)}


def flat(result):
    parts = [np.ravel(value) for value in result.parameters.values()]
    return np.concatenate([*parts, result.initial.q.ravel(), result.initial.p.ravel()])


# ---------------------------------------------------------------------- bits
CASES = {
    "driven": (DRIVEN, lep.Initial([[0.7], [-0.2]], v=[0.3]), {"inputs": PUSH, "parameters": {k: [0.8, 1.1]}}),
    "network": (ROPE, lep.Initial([0.3, -0.1, 0.2], p=[0.1, 0.2, -0.2]), {}),
    "at rest": (ROPE, lep.Initial(np.zeros(3), p=np.zeros(3)), {}),
    "chaotic": (ROTOR, lep.Initial([2.5], p=[0.7]), {"stability": "ignore"}),
}


@pytest.mark.parametrize("name", CASES)
def test_every_bit_returns(name, monkeypatch):
    """In blocks of sixteen steps, the last one shorter; in floating point some do not."""
    monkeypatch.setattr(problems, "_BLOCK", 1)
    system, begin, options = CASES[name]
    grid = lep.Grid(501, step=1.0 if name == "chaotic" else 0.1, start=0.3)
    how = lep.FixedPoint(2.0**-40) if name == "chaotic" else "bits"  # the rotor winds far away from where it begins
    found = retrace(system, begin, grid, how=how, **options, **PLAIN)
    assert found.exact and found.missing == 0.0
    assert found.q.shape == begin.q.shape
    assert_close(found.q, begin.q, 1e-14)
    floats = retrace(system, begin, grid, **options, **PLAIN)
    assert floats.exact == (name == "at rest")
    if name == "chaotic":
        assert floats.missing > 1.0


def test_compiled_code_returns_every_bit_too():
    case = lep.systems.get("henon_heiles")
    assert retrace(case.system, case.start, lep.Grid(200_000, step=0.05), how="bits").exact


@pytest.mark.slow
def test_ten_million_steps_there_and_back():
    case = lep.systems.get("henon_heiles")
    grid = lep.Grid(10_000_000, step=0.05)
    assert retrace(case.system, case.start, grid, how="bits").exact
    assert retrace(case.system, case.start, grid).missing > 1e-10


def test_the_path_is_that_of_verlet_up_to_the_resolution():
    grid, begin = lep.Grid(60, step=0.1), lep.Initial([0.7], v=[0.3])
    expected = DRIVEN.trajectory(begin, grid, inputs=PUSH, **PLAIN)
    for digits in (50, 30, 12):
        problem = problem_of(DRIVEN, grid, None, {"inputs": PUSH, **PLAIN})
        run = FixedRun(problem, Start(problem, begin), lep.FixedPoint(2.0**-digits))
        ((_, _, _, nodes_q, nodes_p),) = run.blocks(1)
        error = np.abs(nodes_q[0] - expected.q).max()
        assert error < 60*2.0**-digits + 1e-14
        assert digits == 50 or error > 2.0**-digits/4
        assert np.array_equal(nodes_q/2.0**-digits, np.rint(nodes_q/2.0**-digits))
        assert np.abs(nodes_p[0] - expected.p).max() < 60*2.0**-digits + 1e-14


# ---------------------------------------------------------------------- gradients
def test_the_gradient_agrees_with_complex_steps():
    grid, begin, values = lep.Grid(40, step=0.1, start=0.4), lep.Initial([0.7], v=[0.3]), {m: 1.3, k: 0.8, a: 0.4}
    found = DRIVEN.gradient(begin, grid, COST, targets={y: 0.2}, inputs=PUSH, retrace="bits", **PLAIN)
    lagrangian = m*q.diff(t)**2/2 - k*q**2/2*(1 + sp.cos(2*t)/3) - a*q**4/4 + u*q
    expected = initial_gradients(
        Mechanics(lagrangian, [q], values, [u]), "verlet", Loss((q - y)**2/2 + a*q**3/5, [q], [y], values), begin.q,
        grid, list(values.values()), v=begin.v, u=drive_of([PUSH[u]], "verlet", grid), first=[PUSH[u](0.4)],
        targets=[0.2],
    )  # fmt: skip
    assert_agrees(found, expected, list(values), 1e-12)


def test_its_error_is_that_of_the_resolution():
    grid, begin, options = lep.Grid(40, step=0.1), lep.Initial([0.7], v=[0.3]), {"targets": {y: 0.2}, "inputs": PUSH}
    exact = flat(DRIVEN.gradient(begin, grid, COST, **options, **PLAIN))
    for digits in (45, 30, 15):
        fixed = lep.FixedPoint(2.0**-digits)
        found = flat(DRIVEN.gradient(begin, grid, COST, retrace=fixed, **options, **PLAIN))
        error = np.abs(found - exact).max()/np.abs(exact).max()
        assert 2.0**-digits/100 < error < 100*2.0**-digits


@pytest.mark.parametrize("compiled", [False, True])
def test_batches_and_networks(compiled):
    begin = lep.Initial([[0.3, -0.1, 0.2], [0.1, 0.4, -0.3]], v=[0.1, 0.2, -0.02])
    grid, cost = lep.Grid(50, step=0.05), lep.Cost((x - y)**2/2, on=[x], at=[0, 2], targets=[y])
    options = {"targets": {y: np.array([[[0.1, 0.2]], [[0.3, -0.1]]])}, "compiled": compiled}
    options["parameters"] = {c: [[1.0, 0.6], [0.5, 1.4]]}
    expected, found = (ROPE.gradient(begin, grid, cost, retrace=way, **options) for way in ("store", "bits"))
    assert found[m].shape == (3,) and found[c].shape == (2, 2)
    for symbol in (m, k, c):
        assert_close(found[symbol], expected[symbol], 1e-12)
    assert_close(flat(found), flat(expected), 1e-12)
    assert_close(found.losses, expected.losses, 1e-13)


def nodes(system, begin, grid, cost):
    """The nodes of the fixed-point path."""
    problem = problem_of(system, grid, cost, dict(PLAIN))
    run = FixedRun(problem, Start(problem, begin, "ignore"), lep.FixedPoint())
    return np.concatenate([part[0, (first > 0) :, 0] for first, _, _, part, _ in run.blocks(1)])


def along(path, h, stiffness, slopes, pull):
    """dJ/dtheta, dJ/dq_0 and dJ/dp_0 along nodes: the transposed steps of Verlet with m = 1, last to first."""
    w = np.full(len(path), h)
    w[[0, -1]] *= 0.5
    curved, thetas, pull = stiffness(path), slopes(path), w*pull(path)
    lq, lp, g = pull[-1], 0.0, 0.0
    for j in range(len(path) - 1, 0, -1):
        g, lq = g + h/2*lp*thetas[:, j], lq + h/2*lp*curved[j]
        half = lp + h*lq
        g, lq, lp = g + h/2*half*thetas[:, j - 1], lq + h/2*half*curved[j - 1] + pull[j - 1], half
    return np.array([*g, lq, lp])


def error(found, expected):
    return np.abs(found - expected).max()/np.abs(expected).max()


def test_chaos_does_not_hurt_it():
    """200 kicks of the standard map at K = 5: G is beyond 1e70, and floats are lost after 35."""
    begin, cost, options = lep.Initial([2.5], p=[0.7]), lep.Cost(sp.cos(q/2)), {"stability": "ignore", **PLAIN}
    for steps in (20, 40, 200):
        grid = lep.Grid(steps, step=1.0)
        path = nodes(ROTOR, begin, grid, cost)
        residual = path[2:] - 2*path[1:-1] + path[:-2] + 5*np.sin(path[1:-1])
        assert np.abs(residual).max() < 1e-15*max(10, np.abs(path).max())
        expected = along(path, 1.0, lambda q: -5*np.cos(q), lambda q: -np.sin(q)[None], lambda q: -np.sin(q/2)/2)
        found = flat(ROTOR.gradient(begin, grid, cost, retrace="bits", **options))
        assert error(found, expected) < 1e-12
        assert np.abs(expected).max() > np.exp(0.5*steps)
        if steps == 40:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", lep.AccuracyWarning)
                floats = ROTOR.gradient(begin, grid, cost, retrace="integrate", estimator=lep.Exact(), save="last",
                                        **options)  # fmt: skip
            moved = ROTOR.trajectory(begin, grid, **options).q[:, 0]
            own = along(moved, 1.0, lambda q: -5*np.cos(q), lambda q: -np.sin(q)[None], lambda q: -np.sin(q/2)/2)
            assert error(flat(floats), own) > 1e-2


@pytest.mark.slow
def test_a_long_regular_run():
    """The gradient along 100,000 steps of an oscillator: no worse than along stored states."""
    oscillator = lep.System(q.diff(t)**2/2 - k*q**2/2 - a*q**4/4, coordinates=[q], parameters={k: 0.8, a: 0.4})
    begin, grid, cost = lep.Initial([0.9], p=[0.2]), lep.Grid(100_000, step=0.05), lep.Cost(q**2/2)
    rules = (lambda q: -0.8 - 1.2*q**2, lambda q: np.array([-q, -q**3]), lambda q: q)
    problem = problem_of(oscillator, grid, cost, {})
    run = FixedRun(problem, Start(problem, begin), lep.FixedPoint())
    path = np.concatenate([part[0, (first > 0) :, 0] for first, _, _, part, _ in run.blocks(1)])
    found = error(flat(oscillator.gradient(begin, grid, cost, retrace="bits")), along(path, 0.05, *rules))
    moved = along(oscillator.trajectory(begin, grid).q[:, 0], 0.05, *rules)
    floats = error(flat(oscillator.gradient(begin, grid, cost, retrace="integrate")), moved)
    assert found < 1e-9
    assert found < 2*floats


# ---------------------------------------------------------------------- what it refuses
def test_overflow_is_found_and_says_what_to_do():
    begin, cost = lep.Initial([2.5], p=[0.7]), lep.Cost(sp.cos(q))
    options = {"stability": "ignore", **PLAIN}
    with pytest.raises(lep.ConvergenceError, match=r"at step \d+ .*left the range of 64 bits.*2\*\*-60.*coarser"):
        ROTOR.gradient(begin, lep.Grid(100, step=1.0), cost, retrace=lep.FixedPoint(2.0**-60), **options)
    with pytest.raises(lep.ConvergenceError, match="at step 0 .*left the range"):
        ROTOR.gradient(begin, lep.Grid(3, step=1.0), cost, retrace=lep.FixedPoint(2.0**-62), **options)
    with pytest.raises(lep.ConvergenceError, match="left the range"):
        retrace(ROTOR, begin, lep.Grid(100, step=1.0), how=lep.FixedPoint(2.0**-60), **options)
    hill = lep.System(q.diff(t)**2/2 + q**4/4, coordinates=[q])
    both = lep.Initial([[0.01], [1.5]], v=[0.0])
    found = hill.gradient(both, lep.Grid(40, step=0.1), cost, retrace="bits", on_failure="return", **PLAIN)
    alone = hill.gradient(lep.Initial([0.01], v=[0.0]), lep.Grid(40, step=0.1), cost, retrace="store", **PLAIN)
    assert list(found.success) == [True, False] and np.isnan(found.losses[1])
    assert_close(found.initial.q[0], alone.initial.q, 1e-11)
    with pytest.raises(lep.ConvergenceError, match="1 of 2 samples failed; sample 1"):
        hill.gradient(both, lep.Grid(40, step=0.1), cost, retrace="bits", **PLAIN)


def test_a_drive_that_is_not_a_function_of_time_is_found():
    rng = np.random.default_rng(0)
    with pytest.raises(lep.ConvergenceError, match="did not return the initial bits; inputs must be functions of the"):
        DRIVEN.gradient(lep.Initial([0.7], v=[0.3]), lep.Grid(10, step=0.1), COST, targets={y: 0.2}, retrace="bits",
                        inputs={u: lambda times: rng.normal(size=times.shape)}, **PLAIN)  # fmt: skip


def test_other_uses_are_refused():
    begin, grid, options = lep.Initial([0.7], v=[0.3]), lep.Grid(10, step=0.1), {"targets": {y: 0.2}, "inputs": PUSH}
    cases = {
        "explicit method": {"method": "midpoint"}, "Initial and Exact alone": {"estimator": lep.Centered()},
        "without save": {"save": "all"}, "in float64": {"dtype": "float32"},
    }  # fmt: skip
    for text, other in cases.items():
        with pytest.raises(ValueError, match=f"retrace must be .*{text}"):
            DRIVEN.gradient(begin, grid, COST, retrace="bits", **options, **other, **PLAIN)
    with pytest.raises(ValueError, match="retrace must be 'bits' for Initial and Exact alone"):
        DRIVEN.gradient(lep.Ends([0.7], [0.3]), grid, COST, retrace="bits", **options, **PLAIN)
    for value in (0.0, -0.25, 0.3, np.nan, "fine", True):
        with pytest.raises(ValueError, match="resolution must be a power of two"):
            lep.FixedPoint(value)
    with pytest.raises(ValueError, match="how must be"):
        retrace(DRIVEN, begin, grid, how="store", inputs=PUSH)
    with pytest.raises(ValueError, match="boundary must be lep.Initial"):
        retrace(DRIVEN, lep.Ends([0.7], [0.3]), grid, inputs=PUSH)
    with pytest.raises(ValueError, match="step must be below"):
        DRIVEN.gradient(begin, lep.Grid(10, step=4.0), COST, retrace="bits", **options, **PLAIN)
