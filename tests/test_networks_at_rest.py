"""Layered energies of the zoo against plain numpy, and the demo that trains them all."""

from __future__ import annotations

import json

import numpy as np
import pytest
import sympy as sp
from statics import Implicit

import lagrangian_eqprop as lep
from lagrangian_eqprop.cli import main
from lagrangian_eqprop.demos import digits_at_rest
from lagrangian_eqprop.systems.continuous_hopfield import continuous_hopfield
from lagrangian_eqprop.systems.elastic_network import elastic_network
from lagrangian_eqprop.systems.ising_network import ising_network
from lagrangian_eqprop.systems.memory_network import memory_network
from lagrangian_eqprop.systems.predictive_network import predictive_network
from lagrangian_eqprop.systems.resistive_network import resistive_network

RNG = np.random.default_rng(8)
IMAGES, CLASSES = RNG.uniform(0.1, 0.9, (2, 3)), np.array([1, 0])
HIDDEN = 4  # between 3 inputs and 2 outputs


def total(weights, left, right, pair):
    """Sum of w_ij pair(x_i, z_j)."""
    return sum(weights[i, j]*pair(x, z) for i, x in enumerate(left) for j, z in enumerate(right))


def hopfield_energy(u, q, p):
    rho = [1/(1 + sp.exp(2 - 4*x)) for x in q]
    squares = sum(x**2 for x in q)/2 - sum(b*r for b, r in zip([*p["b1"], *p["b2"]], rho, strict=True))
    return squares - total(p["w1"], u, rho[:HIDDEN], sp.Mul) - total(p["w2"], rho[:HIDDEN], rho[HIDDEN:], sp.Mul)


def ising_energy(u, q, p):
    fields = sum(b*sp.cos(x) for b, x in zip([*p["b1"], *p["b2"]], q, strict=True))
    second = sum(p["S"]*sp.cos(2*x)/2 for x in q)

    def cosine(x, z):
        return sp.cos(x - z)

    return -total(p["w1"], u, q[:HIDDEN], cosine) - total(p["w2"], q[:HIDDEN], q[HIDDEN:], cosine) - fields - second


def predictive_energy(u, q, p):
    """The sum of squared errors, without units for them."""
    hidden = [sum(p["w1"][i, j]*x for i, x in enumerate(u)) + p["b1"][j] for j in range(HIDDEN)]
    outputs = [sum(p["w2"][i, j]*sp.tanh(x) for i, x in enumerate(q[:HIDDEN])) + p["b2"][j] for j in range(2)]
    return sum((x - guess)**2/2 for x, guess in zip(q, [*hidden, *outputs], strict=True))


def memory_energy(u, q, p):
    """The log-sum-exp itself, without units for overlaps and shares."""
    fields = [sum(p["w"][i, m]*x for i, x in enumerate(u)) + sum(p["v"][m, j]*z for j, z in enumerate(q))
              for m in range(HIDDEN)]  # fmt: skip
    return sum(z**2 for z in q)/2 - sp.log(sum(sp.exp(p["k"]*f) for f in fields))/p["k"]


def squares(q, y):
    return sum((x - a)**2/2 for x, a in zip(q[-2:], y, strict=True))


def angles(q, y):
    return sum(1 - sp.cos(x - a) for x, a in zip(q[-2:], y, strict=True))


NETWORKS = {
    "continuous_hopfield": (continuous_hopfield, hopfield_energy, squares, slice(3, 9)),
    "ising": (ising_network, ising_energy, angles, slice(3, 9)),
    "predictive": (predictive_network, predictive_energy, squares, slice(3, 9)),
    "memory": (memory_network, memory_energy, squares, slice(7, 9)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_exact_equals_implicit_differentiation(name):
    """Of the energy as it is in the papers: saddles with units for errors and shares give the same gradients."""
    build, energy, cost, free = NETWORKS[name]
    network = build((3, HIDDEN, 2), seed=3)
    system, (target,) = network.system, network.targets(CLASSES).values()
    tight = lep.Equilibrium(float(network.rest.guess), solver=network.rest.solver or "newton", tolerance=1e-13)
    rest = system.equilibrium(tight, inputs=network.inputs(IMAGES))
    result = system.gradient(
        tight, cost=network.cost, inputs=network.inputs(IMAGES), targets=network.targets(CLASSES), estimator=lep.Exact()
    )  # fmt: skip
    symbols = {s.name: np.array([sp.Symbol(f"{s.name}__{i}") for i in range(v.size)]).reshape(v.shape)
               for s, v in system.parameters.items()}  # fmt: skip
    theta = [x for array in symbols.values() for x in np.ravel(array)]
    start = np.concatenate([v.ravel() for v in system.parameters.values()])
    symbols = {key: array if array.ndim else array.item() for key, array in symbols.items()}
    counts = {"q": free.stop - free.start, "u": 3, "y": 2}
    q, u, y = (sp.symbols(f"{letter}:{count}") for letter, count in counts.items())
    oracle = Implicit(energy(u, q, symbols), cost(q, y), q, [*theta, *u, *y])
    slopes = []
    for b, image in enumerate(network.encode(IMAGES)):
        state, loss, slope, _ = oracle.gradient(rest.q[b, free], np.concatenate([start, image, target[b]]))
        np.testing.assert_allclose(state, rest.q[b, free], atol=1e-11)
        assert result.losses[b] == pytest.approx(loss, rel=1e-10)
        slopes.append(slope[: len(start)])
    found = np.concatenate([result[s].ravel() for s in system.parameters])
    wanted = np.mean(slopes, 0)
    assert np.abs(wanted).max() > 1e-3
    np.testing.assert_allclose(found, wanted, atol=1e-10*np.abs(wanted).max())


def test_elastic_network():
    """Unstretched without an image; with one all forces on a free node cancel; gradients by differences."""
    network = elastic_network((4, 3, 2), seed=1)
    system, blank = network.system, np.zeros((1, 16))
    assert system.equilibrium(network.rest, inputs=network.inputs(blank)).energy == pytest.approx(0.0, abs=1e-20)
    images = RNG.uniform(size=(2, 16))
    lifted = network.encode(images).reshape(2, 4, 2)[:, :, 1] - network.rest.guess[1:8:2]
    coarse = images.reshape(2, 2, 2, 2, 2).mean((2, 4)).reshape(2, 4)
    np.testing.assert_allclose(lifted, 3.0*coarse)
    tight = lep.Equilibrium(network.rest.guess, solver="newton", tolerance=1e-12)
    options = {"inputs": network.inputs(images)}
    rest = system.equilibrium(tight, **options)
    k, l = (system.parameters[system.parameter(name)] for name in "kl")
    r = rest.q.reshape(2, 9, 2)
    forces, number = np.zeros_like(r), 0
    for near, far in ((range(4), range(4, 7)), (range(4, 7), range(7, 9))):
        for i in near:
            for j in far:
                apart = r[:, i] - r[:, j]
                length = np.linalg.norm(apart, axis=1, keepdims=True)
                pull = k[number]*(length - l[number])*apart/length
                forces[:, i] -= pull
                forces[:, j] += pull
                number += 1
    assert number == len(k) and np.abs(forces[:, 4:]).max() < 1e-11 and np.abs(forces[:, :4]).max() > 1e-3
    options |= {"cost": network.cost, "targets": network.targets(np.array([0, 1]))}
    result = system.gradient(tight, **options)
    for name, entry in (("k", 2), ("l", 13)):
        ends = []
        for sign in (1, -1):
            moved = system.parameters[system.parameter(name)].copy()
            moved[entry] += sign*1e-5
            ends.append(system.gradient(tight, parameters={name: moved}, **options).loss)
        assert result[name][entry] == pytest.approx((ends[0] - ends[1])/2e-5, rel=1e-6)


def test_without_diodes_resistors_are_linear():
    network = resistive_network((3, 6, 3), seed=2, diodes=False)
    tight = lep.Equilibrium(0.0, solver="sweeps", tolerance=1e-13)

    def outputs(images):
        return network.system.equilibrium(tight, inputs=network.inputs(images)).q[:, network.layers[-1]]

    one, other = IMAGES[:1], IMAGES[1:]
    np.testing.assert_allclose(outputs(0.3*one + 0.5*other), 0.3*outputs(one) + 0.5*outputs(other), atol=1e-9)


@pytest.mark.parametrize(
    ("build", "sizes"), [(memory_network, (4, 3)), (elastic_network, (5, 3, 2)), (elastic_network, (4, 2))]
)  # fmt: skip
def test_bad_sizes(build, sizes):
    with pytest.raises(ValueError, match=f"sizes must be of three.*got \\({sizes[0]}, "):
        build(sizes)


# ---------------------------------------------------------------------- the demo
@pytest.mark.slow
def test_every_network_learns(tmp_path, capsys):
    pytest.importorskip("sklearn")  # an extra
    assert main(["demo", "digits_at_rest", "--short", "--output", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "digits_at_rest.json").read_text())
    assert list(record["numbers"]) == list(digits_at_rest.MODELS) == list(record["configuration"]["models"])
    for name, found in record["numbers"].items():
        (one,) = found["runs"]
        assert one["loss"][-1] < one["loss"][0], name
        assert found["error"] == one["errors"][-1], name
    errors = {name: found["error"] for name, found in record["numbers"].items()}
    assert min(errors.values()) < 0.45 and sorted(errors.values())[3] < 0.7, errors  # by chance 0.9
    assert (tmp_path / "digits_at_rest.png").stat().st_size > 10000
    assert capsys.readouterr().out.count("misread after 2 epochs") == len(digits_at_rest.MODELS)


@pytest.mark.parametrize("options", [{"model": "hopfeld"}, {"seeds": 0}])
def test_bad_choices(options, tmp_path):
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
        digits_at_rest.run(tmp_path, short=True, **options)
