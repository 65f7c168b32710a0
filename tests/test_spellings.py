"""One system in several spellings: all must have the same paths and gradients, and those of the oracle."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from oracles import Loss, Mechanics, assert_close, initial_gradients
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep

t = dynamicsymbols._t
x, z = dynamicsymbols("x z")
N = 5
Q = dynamicsymbols(f"q0:{N}")
m, k, a, c, w, y = sp.symbols("m k a c w y")
EDGES = np.array([[0, 1], [1, 2], [2, 3], [3, 4], [4, 0]])
MASSES, STIFF = np.array([1.0, 1.2, 0.8, 1.1, 0.9]), np.array([0.5, 0.7, 0.6, 0.4, 0.9])
COUPLED = np.array([0.3, 0.4, 0.2, 0.5, 0.1])
GRID = lep.Grid(8, step=0.1)
START = lep.Initial(np.array([0.4, -0.2, 0.6, 0.1, -0.5]), v=np.array([0.1, 0.3, -0.2, 0.4, 0.0]))
ENDS = lep.Ends(START.q, START.q[::-1])
PLAIN = {"compiled": False}
BOTH = pytest.mark.parametrize("method", ["verlet", "midpoint"])


def tokens(name):
    return sp.symbols(f"{name}0:{N}")


def site(at, mass=m, stiffness=k):
    return lep.Term(mass*x.diff(t)**2/2 - stiffness*x**2/2 - x**4/8, on=[x], at=at)


def edge(at, strength=c):
    return lep.Term(-strength*(1 - sp.cos(x - z)), on=[x, z], at=at)


def written_out(order=range(N), scale=1):
    """One expression with a symbol for every number, in coordinates q_i = scale * Q[order[i]]."""
    ms, ks, cs = tokens("m"), tokens("k"), tokens("c")
    q = [scale*Q[i] for i in order]
    total = sum(ms[i]*q[i].diff(t)**2/2 - ks[i]*q[i]**2/2 - q[i]**4/8 for i in range(N))
    total -= sum(cs[e]*(1 - sp.cos(q[i] - q[j])) for e, (i, j) in enumerate(EDGES))
    values = dict(zip([*ms, *ks, *cs], [*MASSES, *STIFF, *COUPLED]))
    cost = sum(i*x**2 for i, x in enumerate(q)) - q[2]*q[3]
    return total, values, cost


def gathered(result):
    """Gradients of a written-out system as arrays m, k, c."""
    return [np.array([result[s] for s in tokens(name)]) for name in "mkc"]


NETWORK = {m: MASSES, k: STIFF, c: COUPLED}
COSTS = [
    lep.Cost(sp.Symbol("i")*x**2, on=[x], at=np.arange(N), parameters={sp.Symbol("i"): np.arange(N)}),
    lep.Cost(-x*z, on=[x, z], at=[[2, 3]]),
]


def reference(boundary, method):
    expression, values, cost = written_out()
    system = lep.System(expression, coordinates=Q, parameters=values)
    return system.gradient(boundary, GRID, lep.Cost(cost), method=method, save="all", **PLAIN)


def assert_same(found, expected):
    assert_close(found.loss, expected.loss, 1e-13)
    assert_close(found.path.q, expected.path.q, 1e-12)
    assert_close(found.path.energy, expected.path.energy, 1e-12)
    assert_close(found.path.action, expected.path.action, 1e-12)


@BOTH
def test_the_written_out_system_against_the_oracle(method):
    expression, values, cost = written_out()
    mechanics, loss = Mechanics(expression, Q, values), Loss(cost, Q, (), values)
    expected = initial_gradients(mechanics, method, loss, START.q, GRID, list(values.values()), v=START.v)
    found = reference(START, method)
    assert_close([found[s] for s in values], expected["theta"], 1e-11)
    assert_close(found.initial.q, expected["q"], 1e-11)


@BOTH
@pytest.mark.parametrize("boundary", [START, ENDS], ids=["initial", "ends"])
@pytest.mark.parametrize("estimator", [lep.Exact(), lep.Adjoint(), lep.Centered(1e-4)], ids=repr)
def test_terms_with_one_value_a_place(boundary, method, estimator):
    system = lep.System([site(np.arange(N)), edge(EDGES)], size=N, parameters=NETWORK)
    found = system.gradient(boundary, GRID, COSTS, method=method, save="all", estimator=estimator, **PLAIN)
    expected = reference(boundary, method)
    assert_same(found, expected)
    for symbol, values in zip((m, k, c), gathered(expected)):
        assert_close(found[symbol], values, 1e-11 if not isinstance(estimator, lep.Centered) else 1e-6)


@BOTH
def test_a_term_cut_into_pieces(method):
    """Two terms with the halves of one table, places in another order."""
    k2, m2 = sp.symbols("k2 m2")
    first = {m: MASSES[[4, 0, 2]], k: STIFF[[4, 0, 2]]}
    rest = {m2: MASSES[[3, 1]], k2: STIFF[[3, 1]], c: COUPLED[::-1]}
    terms = [site([4, 0, 2]), edge(EDGES[::-1]), site([3, 1], m2, k2)]
    system = lep.System(terms, size=N, parameters={**first, **rest})
    found, expected = system.gradient(START, GRID, COSTS, method=method, save="all", **PLAIN), reference(START, method)
    assert_same(found, expected)
    masses, stiff, coupled = gathered(expected)
    assert_close(found[m], masses[[4, 0, 2]], 1e-11)
    assert_close(found[k2], stiff[[3, 1]], 1e-11)
    assert_close(found[c], coupled[::-1], 1e-11)


@BOTH
def test_gradients_of_shared_parameters_are_sums_over_places(method):
    terms = [site(np.arange(N)), edge(EDGES)]
    shared = lep.System(terms, size=N, parameters={m: 1.1, k: 0.6, c: 0.3})
    local = lep.System(terms, size=N, parameters={m: np.full(N, 1.1), k: np.full(N, 0.6), c: np.full(N, 0.3)})
    one, two = (system.gradient(START, GRID, COSTS, method=method, **PLAIN) for system in (shared, local))
    for symbol in (m, k, c):
        assert_close(one[symbol], two[symbol].sum(), 1e-12)


@BOTH
def test_one_parameter_in_several_terms_and_a_cost(method):
    """Its gradient is the sum of what each has of its own."""
    k2, k3 = sp.symbols("k2 k3")
    terms = [site(np.arange(N)), lep.Term(-k*sp.sin(x*z), on=[x, z], at=EDGES)]
    apart = [site(np.arange(N)), lep.Term(-k2*sp.sin(x*z), on=[x, z], at=EDGES)]
    one = lep.System(terms, size=N, parameters={m: 1.0, k: 0.5})
    two = lep.System(apart, size=N, parameters={m: 1.0, k: 0.5, k2: 0.5})
    cost, other = lep.Cost(k*x**2, on=[x], at=[0, 3]), lep.Cost(k3*x**2, on=[x], at=[0, 3], parameters={k3: 0.5})
    found = one.gradient(START, GRID, cost, method=method, **PLAIN)
    expected = two.gradient(START, GRID, other, method=method, **PLAIN)
    assert_close(found[k], expected[k] + expected[k2] + expected[k3], 1e-12)


@BOTH
@pytest.mark.parametrize("boundary", [START, ENDS], ids=["initial", "ends"])
@pytest.mark.parametrize("estimator", [lep.Exact(), lep.Adjoint()], ids=repr)
def test_all_pairs_are_a_table(boundary, method, estimator):
    rows, columns = [3, 0], [4, 1, 2]
    values = np.random.default_rng(0).normal(size=(2, 3))
    table = np.array([[i, j] for i in rows for j in columns])
    results = []
    for at, value in ((lep.AllPairs(rows, columns), values), (table, values.ravel())):
        term = lep.Term(w*x*sp.sin(z), on=[x, z], at=at)
        system = lep.System([site(np.arange(N)), term], size=N, parameters={m: MASSES, k: STIFF, w: value})
        options = {"method": method, "estimator": estimator, "save": "all", **PLAIN}
        results.append(system.gradient(boundary, GRID, COSTS, **options))
    assert_same(*results)
    assert results[0][w].shape == (2, 3)
    assert_close(results[0][w].ravel(), results[1][w], 1e-12)
    assert_close(results[0][k], results[1][k], 1e-12)


@BOTH
@pytest.mark.parametrize("estimator", [lep.Exact(), lep.Adjoint()], ids=repr)
def test_all_pairs_of_a_group_use_the_upper_triangle(method, estimator):
    group = [4, 1, 2, 0]
    values = np.random.default_rng(1).normal(size=(4, 4))
    upper = np.triu_indices(4, 1)
    table = np.array([[group[i], group[j]] for i, j in zip(*upper)])
    results = []
    for at, value in ((lep.AllPairs(group), values), (table, values[upper])):
        terms = [site(np.arange(N)), lep.Term(w*x**2*sp.sin(z), on=[x, z], at=at)]
        system = lep.System(terms, size=N, parameters={m: 1.0, k: STIFF, w: value})
        results.append(system.gradient(START, GRID, COSTS, method=method, estimator=estimator, save="all", **PLAIN))
    assert_same(*results)
    assert_close(results[0][w][upper], results[1][w], 1e-12)
    assert not np.tril(results[0][w]).any()


def test_all_pairs_in_machine_code():
    values, inside = np.random.default_rng(2).normal(size=(2, 3)), np.random.default_rng(3).normal(size=(3, 3))
    pairs = lep.Term(w*x*sp.sin(z), on=[x, z], at=lep.AllPairs([3, 0], [4, 1, 2]))
    group = lep.Term(a*sp.cos(x - 2*z), on=[x, z], at=lep.AllPairs([4, 1, 2]))
    parameters = {m: MASSES, k: STIFF, w: values, a: inside}
    system = lep.System([site(np.arange(N)), pairs, group], size=N, parameters=parameters)
    one, two = (system.gradient(START, GRID, COSTS, compiled=flag, save="all") for flag in (True, False))
    assert_same(one, two)
    for symbol in parameters:
        assert_close(one[symbol], two[symbol], 1e-12)


@BOTH
@pytest.mark.parametrize("boundary", ["initial", "ends"])
def test_permuted_and_scaled_coordinates(boundary, method):
    """q_i = 2 Q_{order[i]}: the same motion, so J and gradients agree, those of initial data by the chain rule."""
    order = np.array([3, 0, 4, 2, 1])
    back = np.argsort(order)
    expression, values, cost = written_out(order, sp.Integer(2))
    system = lep.System(expression, coordinates=Q, parameters=values)
    if boundary == "initial":
        start, expected = lep.Initial(START.q[back]/2, v=START.v[back]/2), reference(START, method)
    else:
        start, expected = lep.Ends(ENDS.q_start[back]/2, ENDS.q_stop[back]/2), reference(ENDS, method)
    found = system.gradient(start, GRID, lep.Cost(cost), method=method, **PLAIN)
    assert_close(found.loss, expected.loss, 1e-13)
    for one, two in zip(gathered(found), gathered(expected)):
        assert_close(one, two, 1e-11)
    if boundary == "initial":
        assert_close(found.initial.q, 2*expected.initial.q[back], 1e-11)
        assert_close(found.initial.p, expected.initial.p[back]/2, 1e-11)
    else:
        assert_close(found.ends.stop, 2*expected.ends.stop[back], 1e-11)


def test_a_sparse_network_equals_a_dense_one():
    """Beyond 64 coordinates Newton's matrix moves to a sparse pattern, unless pairs of all with all fill it."""
    n = 70
    rng = np.random.default_rng(4)
    links = np.stack([np.arange(n), (np.arange(n) + 1) % n], 1)
    parameters = {m: 1 + rng.random(n), k: rng.random(n), c: rng.random(n)}
    terms = [site(np.arange(n)), edge(links), lep.Term(a*x.diff(t)*z.diff(t), on=[x, z], at=[[0, 35], [3, 60]])]
    everything = lep.Term(w*x*z, on=[x, z], at=lep.AllPairs(np.arange(n)))
    start, grid = lep.Initial(rng.normal(size=n), v=rng.normal(size=n)), lep.Grid(2, step=0.2)
    cost = lep.Cost(x**3, on=[x], at=np.arange(n))
    sparse = lep.System(terms, size=n, parameters={**parameters, a: 0.1})
    dense = lep.System([*terms, everything], size=n, parameters={**parameters, a: 0.1, w: np.zeros((n, n))})
    for estimator in (lep.Exact(), lep.Adjoint()):
        options = {"method": "midpoint", "estimator": estimator, **PLAIN}
        one, two = (system.gradient(start, grid, cost, **options) for system in (sparse, dense))
        assert_close(one.loss, two.loss, 1e-13)
        for symbol in (*parameters, a):
            assert_close(one[symbol], two[symbol], 1e-11)


def test_symbols_and_names_mean_the_same():
    system = lep.System([site(np.arange(N)), edge(EDGES)], size=N, parameters=NETWORK)
    one = system.gradient(START, GRID, COSTS, parameters={k: 2*STIFF}, **PLAIN)
    two = system.gradient(START, GRID, COSTS, parameters={"k": 2*STIFF}, **PLAIN)
    assert np.array_equal(one["c"], two[c]) and one.loss == two.loss
