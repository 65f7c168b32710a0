"""Dense couplings as matrix products: the same numbers as loops over pairs, as numpy, and as a complex step."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep
from lagrangian_eqprop.compiler.products import parts, products_of, split
from lagrangian_eqprop.eqprop import products as echo
from lagrangian_eqprop.eqprop.gradient import problem_of
from lagrangian_eqprop.solvers import products

t = dynamicsymbols._t
x, z = dynamicsymbols("x z")
m, k, a, w, b, u, r, y = sp.symbols("m k a w b u r y")
ROWS, COLUMNS, SAMPLES = 20, 14, 3
NODES = ROWS + COLUMNS
RANDOM = np.random.default_rng(3)
GRID = lep.Grid(7, step=0.1)
START = lep.Initial(q=0.4*RANDOM.normal(size=(SAMPLES, NODES)), v=0.3*RANDOM.normal(size=(SAMPLES, NODES)))
PAIRS = lep.AllPairs(np.arange(ROWS), np.arange(ROWS, NODES))
GROUP = lep.AllPairs(RANDOM.permutation(NODES)[:24])
SITE = lep.Term(m*x.diff(t)**2/2 - k*x**2/2 - a*x**4/4, on=[x], at=np.arange(NODES))
SITES = {m: 1 + 0.3*RANDOM.random(NODES), k: 0.7 + 0.3*RANDOM.random(NODES), a: np.array(0.3)}
ALONG = lep.Cost(r*(x - y)**2/2, on=[x], at=np.arange(5, 9), targets=[y], parameters={r: 1.5})
AT_END = lep.Cost(x*z**2, on=[x, z], at=[[0, 1], [30, 4]], when="end")
TARGETS = {y: 0.2*RANDOM.normal(size=(SAMPLES, GRID.steps + 1, 4))}
FORMS = {
    "bilinear": w*x*z,
    "springs": -w*(x - z)**2/2,
    "cosine": w*sp.cos(x - z),
    "sine": w*sp.sin(x - 2*z + 0.3),
    "quartic": -w*(x - z)**4/4,
    "mixed": w**2*x*sp.sin(z) + w*z**2,
    "exponential": w*sp.exp(-x - z),
}


def network(expression, at, value=None, extra=(), parameters=None, inputs=()):
    value = 0.06*np.random.default_rng(5).normal(size=at.shape) if value is None else value
    terms = [SITE, lep.Term(expression, on=[x, z], at=at), *extra]
    return lep.System(terms, size=NODES, parameters={**SITES, w: value, **(parameters or {})}, inputs=inputs)


def multiplied(system, grid=GRID, **options):
    return products.applies(problem_of(system, grid, None, options))


def numbers(system, start=START, grid=GRID, cost=(ALONG, AT_END), targets=TARGETS, compiled=True, **options):
    """Everything that a path and a gradient hold, by name."""
    given = {name: options[name] for name in ("inputs", "parameters", "dtype") if name in options}
    path = system.trajectory(start, grid, compiled=compiled, save=3, **given)
    result = system.gradient(start, grid, list(cost), targets=targets, compiled=compiled, **options)
    found = {"q": path.q, "p": path.p, "losses": result.losses, "q0": result.initial.q, "p0": result.initial.p}
    return {**found, **{symbol.name: value for symbol, value in result.parameters.items()}}


def assert_same(found, wanted, tolerance=1e-12):
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=tolerance*np.abs(value).max(), err_msg=name)


@pytest.mark.parametrize(
    ("form", "at"),
    [
        ("bilinear", PAIRS), ("cosine", PAIRS), ("quartic", PAIRS), ("mixed", PAIRS),
        ("bilinear", GROUP), ("springs", GROUP), ("sine", GROUP), ("mixed", GROUP), ("exponential", GROUP),
    ],
)  # fmt: skip
def test_products_equal_loops_over_pairs(form, at):
    system = network(FORMS[form], at)
    assert multiplied(system)
    slow = numbers(system, compiled=False)
    assert_same(numbers(system), slow)
    assert_same(numbers(system, retrace="integrate"), slow)


@pytest.mark.parametrize("form", ["springs", "cosine"])
def test_float32(form):
    system = network(FORMS[form], GROUP)
    assert_same(numbers(system, dtype="float32"), numbers(system, compiled=False), 1e-4)


def test_scalar_coupling_shared_with_sites():
    """One number for all pairs, which a term of one coordinate uses too."""
    system = network(w*sp.cos(x - z), GROUP, np.array(0.03), [lep.Term(-w*x**2, on=[x], at=[2, 2, 7])])
    assert multiplied(system)
    assert_same(numbers(system), numbers(system, compiled=False))


def test_edges_inputs_and_values_of_each_sample():
    """Terms on edges, inputs by sample, time and place, and parameters of sites that differ from sample to sample."""
    edges = np.stack([np.arange(NODES - 1), np.arange(1, NODES)], 1)
    extra = [lep.Term(-b*(x - z)**2/2, on=[x, z], at=edges), lep.Term(u*x*sp.sin(t), on=[x], at=[0, 3])]
    system = network(w*x*z, GROUP, None, extra, {b: np.full(NODES - 1, 0.2)}, [u])
    force = {u: RANDOM.normal(size=(SAMPLES, GRID.steps + 1, 2))}
    stiff, heavy = 0.7 + 0.2*RANDOM.random((SAMPLES, NODES)), 1 + RANDOM.random((SAMPLES, NODES))
    own = {k: stiff, m: heavy, a: RANDOM.random(SAMPLES)}
    for parameters in ({}, own):
        options = {"inputs": force, "parameters": parameters}
        assert multiplied(system, **options)
        assert_same(numbers(system, **options), numbers(system, compiled=False, **options))


def test_couplings_of_each_sample_keep_their_loops():
    system = network(w*x*z, PAIRS)
    own = {"parameters": {w: 0.05*RANDOM.normal(size=(SAMPLES, ROWS, COLUMNS))}}
    assert not multiplied(system, **own)
    assert_same(numbers(system, **own), numbers(system, compiled=False, **own))
    one = {"parameters": {w: 0.05*RANDOM.normal(size=(1, ROWS, COLUMNS))}}
    assert multiplied(system, **one)
    assert_same(numbers(system, **one), numbers(system, compiled=False, **one))


@pytest.mark.parametrize("samples", [None, 2, 13])
def test_batches_of_any_size(samples):
    system = network(-w*(x - z)**2/2, PAIRS)
    shape = (NODES,) if samples is None else (samples, NODES)
    start = lep.Initial(q=0.3*RANDOM.normal(size=shape), p=0.3*RANDOM.normal(size=shape))
    options = {"start": start, "targets": {y: 0.1}}
    assert_same(numbers(system, **options), numbers(system, compiled=False, **options))


def test_chunks_and_groups_of_nodes_do_not_matter(monkeypatch):
    system = network(w*sp.sin(x - z), GROUP)
    start = lep.Initial(q=0.3*RANDOM.normal(size=(21, NODES)), p=0.3*RANDOM.normal(size=(21, NODES)))
    options = {"start": start, "targets": {y: 0.1}}
    whole = numbers(system, **options)
    monkeypatch.setattr(products, "_COLUMNS", 8)
    monkeypatch.setattr(products, "_CHUNK", 1)
    monkeypatch.setattr(products, "_SIGNALS", 1)
    monkeypatch.setattr(echo, "_TOGETHER", 3)
    assert_same(numbers(system, **options), whole)


@pytest.mark.parametrize("group", [False, True])
def test_numpy_and_a_complex_step(group):
    """The end of a path, and the derivative of a loss along a direction in all couplings, by numpy alone."""
    system = network(w*x*z, GROUP if group else PAIRS)
    weights, h = system.parameters[w], GRID.step
    direction = RANDOM.normal(size=weights.shape)
    rows, columns = (GROUP.rows, GROUP.rows) if group else (PAIRS.rows, PAIRS.columns)

    def force(q, W):
        W = np.triu(W, 1) if group else W
        F = -SITES[k]*q - SITES[a]*q**3
        F[:, rows] += q[:, columns] @ W.T
        F[:, columns] += q[:, rows] @ W
        return F

    def loss(W):
        q, p = START.q.astype(W.dtype), (SITES[m]*START.v).astype(W.dtype)
        for _ in range(GRID.steps):
            p = p + h/2*force(q, W)
            q = q + h*p/SITES[m]
            p = p + h/2*force(q, W)
        return q, p, (q[:, 0]*q[:, 1]**2 + q[:, 30]*q[:, 4]**2).mean()

    q, p, value = loss(weights)
    path = system.trajectory(START, GRID, save="last")
    result = system.gradient(START, GRID, AT_END)
    assert_same({"q": path.q[:, -1], "p": path.p[:, -1]}, {"q": q, "p": p})
    assert result.loss == pytest.approx(value, rel=1e-12)
    slope = loss(weights + 1e-30j*direction)[2].imag/1e-30
    assert (result[w]*direction).sum() == pytest.approx(slope, rel=1e-11)
    if group:
        assert (np.tril(result[w]) == 0).all()


@pytest.mark.parametrize("retrace", ["store", "integrate"])
def test_failures_stay_with_their_sample(retrace):
    system = network(w*x*z, PAIRS, None, (), {a: np.array(-0.1)})
    q = START.q.copy()
    q[1] *= 100
    start, good = lep.Initial(q=q, v=START.v), [0, 2]
    options = {"stability": "ignore", "on_failure": "return"}
    path = system.trajectory(start, lep.Grid(30, step=0.1), **options)
    assert path.success.tolist() == [True, False, True]
    assert np.isnan(path.q[1]).all() and np.isfinite(path.q[good]).all()
    result = system.gradient(start, lep.Grid(30, step=0.1), AT_END, retrace=retrace, **options)
    alone = system.gradient(lep.Initial(q=q[good], v=START.v[good]), lep.Grid(30, step=0.1), AT_END, retrace=retrace)
    assert result.success.tolist() == [True, False, True]
    assert_same({"w": result[w], "m": result[m]}, {"w": alone[w], "m": alone[m]})
    with pytest.raises(lep.ConvergenceError, match="1 of 3 samples failed; sample 1 at step"):
        system.gradient(start, lep.Grid(30, step=0.1), AT_END, stability="ignore")


def test_a_step_that_is_too_large():
    system = network(-w*(x - z)**2/2, PAIRS, np.full((ROWS, COLUMNS), 2.0))
    with pytest.raises(ValueError, match=r"step must be below 0\.2.* for Verlet"):
        system.trajectory(START, lep.Grid(5, step=0.4))
    with pytest.raises(ValueError, match=r"step must be below 0\.2.* for Verlet"):
        system.gradient(START, lep.Grid(5, step=0.4), AT_END)
    assert system.trajectory(START, lep.Grid(5, step=0.1)).success.all()


def test_values_that_are_asked_for_later():
    system = network(w*sp.cos(x - z), PAIRS)
    fast, slow = (system.trajectory(START, GRID, save=3, compiled=compiled) for compiled in (True, False))
    for name in ("v", "energy", "action"):
        np.testing.assert_allclose(getattr(fast, name), getattr(slow, name), rtol=1e-11, err_msg=name)


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        (w*x*z, {"rows": 1, "columns": 1}), (-w*(x - z)**2/2, {"rows": 2, "columns": 2}),
        (w*sp.cos(x - z), {"rows": 2, "columns": 2}), (w*(x + x**3)*(z + z**3), {"rows": 1, "columns": 1}),
    ],
)  # fmt: skip
def test_how_many_parts(expression, wanted):
    term = network(expression, PAIRS).terms[1]
    sides = [part.side for part in parts(term, split(term))]
    assert {side: sides.count(side) for side in set(sides)} == wanted


def test_a_group_needs_one_symmetric_product():
    term = network(w*x*z, GROUP).terms[1]
    assert [part.side for part in parts(term, split(term))] == ["both"]


@pytest.mark.parametrize("expression", [w*sp.atan2(x, z), w/(1 + (x - z)**2), sp.exp(-w*(x - z)**2), w*sp.tanh(x - z)])
def test_what_is_no_sum_of_products(expression):
    system = network(expression, PAIRS)
    assert split(system.terms[1]) is None and products_of(system) is None
    assert not multiplied(system)


def test_few_pairs_keep_their_loops():
    assert products_of(network(w*x*z, lep.AllPairs(np.arange(5), np.arange(5, 9)))) is None


def test_report_says_which_lowering():
    lowering = network(w*sp.cos(x - z), PAIRS).compile().lowering
    assert list(lowering.values()) == ["a loop over 34 rows of an index table", "matrix products (4 products a step)"]
    small = lep.System([lep.Term(x.diff(t)**2/2 - w*x**2, on=[x], at=[0, 1])], size=2, parameters={w: 1.0})
    assert list(small.compile().lowering.values()) == ["written out"]
