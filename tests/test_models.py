"""The zoo's energies against implicit differentiation in plain numpy, and against what is known of each."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import sympy as sp
from statics import Implicit

import lagrangian_eqprop as lep
from lagrangian_eqprop.analysis import coupled_learning
from lagrangian_eqprop.systems import elastic, flow, oscillator_ising

NAMES = lep.systems.equilibria()


# ---------------------------------------------------------------------- the formulas once more, as plain sums
def pairs(J, rows, columns, q):
    """Sum of J cos over two groups."""
    return sum(J[i, j]*sp.cos(q[a] - q[b]) for i, a in enumerate(rows) for j, b in enumerate(columns))


def phases_energy(q, p, u):
    every = sum(p["J"][i, j]*sp.cos(q[i] - q[j]) for j in range(5) for i in range(j))
    return -every - sum(h*sp.cos(x - psi) for h, psi, x in zip(p["h"], p["psi"], q[2:], strict=True))


def ising_energy(q, p, u):
    first = pairs(p["J"], range(4), range(4, 9), q)
    second = pairs(p["K"], range(4, 9), range(9, 11), q)
    return -first - second - sum(h*sp.cos(x) + p["S"]*sp.cos(2*x)/2 for h, x in zip(p["h"], q[4:], strict=True))


def elastic_energy(q, p, u):
    def length(i, j):
        return sp.sqrt((q[2*i] - q[2*j])**2 + (q[2*i + 1] - q[2*j + 1])**2)

    return sum(k*(length(i, j) - l)**2/2 for k, l, (i, j) in zip(p["k"], p["l"], elastic.EDGES, strict=True))


def flow_energy(q, p, u):
    return sum(g*(q[i] - q[j])**2/2 for g, (i, j) in zip(p["g"], flow.EDGES, strict=True))


def predictive_energy(q, p, u):
    first = [sum(p[f"w{j}"][i]*q[j] for j in range(3)) + p["b"][i] for i in range(4)]
    second = [sum(p[f"v{j}"][i]*q[3 + j] for j in range(4)) + p["c"][i] for i in range(2)]
    return sum((s - sp.tanh(f))**2/2 for s, f in zip(q[3:], [*first, *second], strict=True))


def hopfield_energy(q, p, u):
    fields = [sum(p[f"xi{m}_{i}"]*q[i] for i in range(4)) for m in range(3)]
    shared = sp.log(sum(sp.exp(p["k"]*f) for f in fields))/p["k"]
    return sum(x**2 for x in q)/2 - shared - sum(a*x for a, x in zip(u["u"], q, strict=True))


def ridge_energy(q, p, u):
    misfit = sum((u["y"][n] - sum(u[f"x{i}"][n]*q[i] for i in range(3)))**2/2 for n in range(6))
    return misfit + sum(sp.exp(r)*w**2/2 for r, w in zip(p["r"], q, strict=True))


def squares(places):
    return lambda q, y: sum((q[i] - a)**2/2 for i, a in zip(places, y["y"], strict=True))


def angles(places):
    return lambda q, y: sum(1 - sp.cos(q[i] - a) for i, a in zip(places, y["y"], strict=True))


def phases_cost(q, y):
    return -sp.log((sp.Rational(101, 100) + sp.cos(q[4] - y["y"][0]))/sp.Rational(201, 100))


def held_out(q, y):
    return sum((y["Y"][n] - sum(y[f"X{i}"][n]*q[i] for i in range(3)))**2/2 for n in range(4))


PLAIN = {
    "phases": (phases_energy, phases_cost), "oscillator_ising": (ising_energy, angles([9, 10])),
    "elastic": (elastic_energy, squares([16, 17])), "flow": (flow_energy, squares([4, 7])),
    "predictive_coding": (predictive_energy, squares([7, 8])), "modern_hopfield": (hopfield_energy, squares(range(4))),
    "ridge": (ridge_energy, held_out),
}  # fmt: skip


def of_sample(values, b, samples):
    return {str(k): (v[b] if v.ndim == 2 and len(v) == samples else v) for k, v in values.items()}


@functools.cache
def solved(name):
    """The case, its equilibria, and the library's exact gradient."""
    case = lep.systems.get(name)
    options = {"inputs": case.inputs, "targets": case.targets}
    rest = case.system.equilibrium(case.start, inputs=case.inputs)
    return case, rest, case.system.gradient(case.start, cost=case.cost, **options)


def gradient_with(case, estimator):
    return case.system.gradient(
        case.start, cost=case.cost, inputs=case.inputs, targets=case.targets, estimator=estimator
    )


def implicit(case, rest):
    """States, losses and the mean gradient of all parameters by the oracle, each sample by itself."""
    points = np.atleast_2d(rest.q)
    symbols = {s.name: np.array([sp.Symbol(f"{s.name}__{i}") for i in range(v.size)]).reshape(v.shape)
               for s, v in case.system.parameters.items()}  # fmt: skip
    symbols = {name: array if array.ndim else array.item() for name, array in symbols.items()}
    theta = [x for array in symbols.values() for x in np.ravel(array)]
    start = np.concatenate([v.ravel() for v in case.system.parameters.values()])
    energy_of, cost_of = PLAIN[case.name]
    found = []
    for b, point in enumerate(points):
        inputs, targets = (of_sample(v, b, len(points)) for v in (case.inputs, case.targets))
        q = [sp.Symbol(f"q{i}") for i in range(case.system.size)]
        for symbol, places in case.system.clamped.items():
            for i, value in zip(places, inputs[symbol.name], strict=True):
                q[i] = sp.Float(value)
        free = [i for i, x in enumerate(q) if x.is_Symbol]
        oracle = Implicit(energy_of(q, symbols, inputs), cost_of(q, targets), [q[i] for i in free], theta)
        state, loss, slope, _ = oracle.gradient(point[free], start)
        found.append((np.abs(state - point[free]).max(), loss, slope))
    apart, losses, slopes = zip(*found, strict=True)
    return max(apart), np.array(losses), np.mean(slopes, 0)


@pytest.mark.parametrize("name", NAMES)
def test_exact_equals_implicit_differentiation(name):
    case, rest, result = solved(name)
    apart, losses, slope = implicit(case, rest)
    assert apart < 1e-10
    np.testing.assert_allclose(np.atleast_1d(result.losses), losses, rtol=1e-10)
    found = np.concatenate([result[s].ravel() for s in case.system.parameters])
    assert np.abs(slope).max() > 1e-3
    assert np.abs(found - slope).max() < 1e-10*np.abs(slope).max()


@pytest.mark.parametrize("name", NAMES)
def test_slopes_in_the_nudge(name):
    case, _, exact = solved(name)
    symbols = list(case.system.parameters)
    whole = np.concatenate([exact[s].ravel() for s in symbols])
    betas = np.array([1e-3, 3e-3, 1e-2])
    for estimator, slope in ((lep.OneSided, 1), (lep.Centered, 2)):
        gaps = []
        for beta in betas:
            found = gradient_with(case, estimator(beta))
            gaps.append(np.linalg.norm(np.concatenate([found[s].ravel() for s in symbols]) - whole))
        assert abs(np.polyfit(np.log(betas), np.log(gaps), 1)[0] - slope) < 0.05


@pytest.mark.parametrize("name", NAMES)
def test_case_is_complete(name):
    case, rest, _ = solved(name)
    assert case.name == name and case.title and case.formula.startswith("E = ")
    assert len(case.labels) == case.system.size == rest.q.shape[-1]
    assert {str(s) for s in case.targets} == {s.name for s in case.cost.targets}
    assert {str(s) for s in case.inputs} == {s.name for s in case.system.inputs}
    assert np.all(rest.index == 0) and np.all(rest.success)
    assert name in repr(case)


# ---------------------------------------------------------------------- what is known of each
def test_predictive_coding_is_backpropagation():
    """Without a nudge all predictions come true; the limit of the rule is the gradient of the feedforward network."""
    case, rest, result = solved("predictive_coding")
    x, y = (np.array(next(iter(v.values()))) for v in (case.inputs, case.targets))
    value = {s.name: v for s, v in case.system.parameters.items()}
    W, V = (np.stack([value[f"{n}{j}"] for j in range(k)]) for n, k in (("w", 3), ("v", 4)))
    hidden = np.tanh(x @ W + value["b"])
    out = np.tanh(hidden @ V + value["c"])
    np.testing.assert_allclose(rest.q[:, 3:], np.hstack([hidden, out]), atol=1e-11)
    np.testing.assert_allclose(rest.energy, 0.0, atol=1e-20)
    delta = (out - y)*(1 - out**2)
    lower = delta @ V.T*(1 - hidden**2)
    for j in range(4):
        np.testing.assert_allclose(result[f"v{j}"], (delta*hidden[:, [j]]).mean(0), rtol=1e-9, atol=1e-12)
    for j in range(3):
        np.testing.assert_allclose(result[f"w{j}"], (lower*x[:, [j]]).mean(0), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(result["b"], lower.mean(0), rtol=1e-9)


def test_modern_hopfield_rests_at_a_softmax_average():
    case, rest, _ = solved("modern_hopfield")
    value = {s.name: v for s, v in case.system.parameters.items()}
    xi = np.array([[value[f"xi{m}_{i}"] for i in range(4)] for m in range(3)])
    weights = np.exp(value["k"]*rest.q @ xi.T)
    expected = weights @ xi/weights.sum(1, keepdims=True) + next(iter(case.inputs.values()))
    np.testing.assert_allclose(rest.q, expected, rtol=1e-10)


def test_a_turn_of_all_phases_changes_nothing():
    """Inputs, fields and targets turned together: the same losses and couplings' gradients."""
    case, rest, result = solved("phases")
    turn = 0.7
    psi = case.system.parameter("psi")
    options = {"inputs": {k: v + turn for k, v in case.inputs.items()},
               "targets": {k: v + turn for k, v in case.targets.items()},
               "parameters": {psi: case.system.parameters[psi] + turn}}  # fmt: skip
    turned = case.system.gradient(lep.Equilibrium(rest.q + turn, tolerance=1e-12), cost=case.cost, **options)
    np.testing.assert_allclose(turned.losses, result.losses, rtol=1e-11)
    np.testing.assert_allclose(turned["J"], result["J"], atol=1e-11)
    assert (result["J"][0, 1] == 0) and (np.tril(result["J"]) == 0).all()  # both inputs are held


def test_a_second_harmonic_makes_spins():
    """The stronger it is, the nearer to 0 or pi."""
    case = lep.systems.get("oscillator_ising")
    off = []
    for S in (0.25, 2.0, 20.0):
        rest = case.system.equilibrium(case.start, inputs=case.inputs, parameters={"S": S})
        off.append(np.abs(np.sin(rest.q[:, oscillator_ising.HIDDEN])).max())
    assert off[0] > off[1] > off[2] and off[2] < 0.1


# ---------------------------------------------------------------------- coupled learning
def pipes(outputs, amount):
    """Coupled learning of the flow network in plain numpy, and the stiffness that the outputs feel."""
    case = lep.systems.get("flow")
    g, edges = case.system.parameters[case.system.parameter("g")], flow.EDGES
    D = np.zeros((len(edges), 8))
    D[range(len(edges)), edges[:, 0]], D[range(len(edges)), edges[:, 1]] = 1, -1
    L = D.T @ (g[:, None]*D)
    drive, y = (next(iter(v.values())) for v in (case.inputs, case.targets))
    free = np.arange(2, 8)
    inner = np.linalg.inv(L[2:, 2:])
    p = np.zeros((3, 8))
    p[:, :2] = drive
    p[:, 2:] = -drive @ L[:2, 2:] @ inner
    at = np.searchsorted(free, outputs)
    K = np.linalg.inv(inner[np.ix_(at, at)])
    moved = np.zeros((3, 8))
    moved[:, 2:] = (y[:, :len(outputs)] - p[:, outputs]) @ K @ inner[at]
    drop, change = p @ D.T, moved @ D.T
    return case, (drop*change + amount*change**2/2).mean(0), K, y[:, : len(outputs)]


@pytest.mark.parametrize("amount", [1e-3, 0.5])
@pytest.mark.parametrize("outputs", [flow.OUTPUTS, flow.OUTPUTS[:1]])
def test_coupled_learning_of_pipes(outputs, amount):
    case, exact, _, y = pipes(outputs, amount)
    found = coupled_learning(case.system, case.start, outputs, y, amount=amount, inputs=case.inputs)
    np.testing.assert_allclose(found["g"], exact, rtol=1e-7, atol=1e-9)
    assert found.losses.shape == (3,) and found.loss == pytest.approx(found.losses.mean())


def test_coupled_learning_and_the_gradient():
    """Parallel for one output of one sample, the stiffness apart; for two outputs only in the same half space."""
    for outputs in (flow.OUTPUTS, flow.OUTPUTS[:1]):
        case, _, K, y = pipes(outputs, 0.0)
        inputs = {"u": case.inputs[case.system.inputs[0]][:1]}
        rule = coupled_learning(case.system, case.start, outputs, y[:1], amount=1e-6, inputs=inputs)["g"]
        x, aim = case.cost.on[0], case.cost.targets[0]
        cost = lep.Cost((x - aim)**2/2, on=[x], at=outputs, targets=[aim])
        gradient = case.system.gradient(case.start, cost=cost, inputs=inputs, targets={aim: y[:1]})["g"]
        cosine = rule @ gradient/np.linalg.norm(rule)/np.linalg.norm(gradient)
        if len(outputs) == 1:
            np.testing.assert_allclose(rule, K[0, 0]*gradient, rtol=1e-4)
        else:
            assert 0 < cosine < 0.999


def test_coupled_learning_trains_springs():
    """Steps down the rule lower the cost of the elastic network."""
    case = lep.systems.get("elastic")
    values = {s: v.copy() for s, v in case.system.parameters.items()}
    aims = next(iter(case.targets.values()))
    losses = []
    for _ in range(20):
        found = coupled_learning(case.system, case.start, elastic.OUTPUT, aims, amount=0.1, inputs=case.inputs,
                                 parameters=values)  # fmt: skip
        losses.append(found.loss)
        values = {s: v - 0.3*found[s] for s, v in values.items()}
    assert losses[0] == pytest.approx(solved("elastic")[2].loss, rel=1e-9)
    assert losses[-1] < 0.3*losses[0]


def test_bad_input():
    case = lep.systems.get("flow")
    for arguments, words in [
        (([4, 7], [[0.0]*3]), "aims must be of shape"), (([4, 9], [0.0, 0.0]), "indices from 0 to 7"),
        (([0, 4], [0.0, 0.0]), "clamped once"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=words):
            coupled_learning(case.system, case.start, *arguments, inputs=case.inputs)
    with pytest.raises(ValueError, match="amount must be a number in"):
        coupled_learning(case.system, case.start, [4], [0.0], amount=0.0, inputs=case.inputs)
    with pytest.raises(ValueError, match="did you mean 'flow'"):
        lep.systems.get("flw")
