"""Exact sweeps over layers of phases, against fields written in complex numbers, Newton and finite nudges."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep
from lagrangian_eqprop.systems.phase_network import phase_network

RNG = np.random.default_rng(3)
NETWORK = phase_network((5, 7, 3), seed=1)
IMAGES, CLASSES = RNG.uniform(size=(6, 5)), np.array([0, 1, 2, 0, 1, 2])


def by_hand(number, beta=0.0, start=0.0):
    """Every layer turns to the angle of its field sum_j w_j exp(i phase_j) + b + i c, ``number`` times."""
    values = {symbol.name: value for symbol, value in NETWORK.system.parameters.items()}
    image = np.exp(1j*np.pi*(IMAGES - 0.5))
    aim = np.exp(0.5j*np.pi*(CLASSES[:, None] == np.arange(3)))
    out = np.exp(1j*np.broadcast_to(start, (6, 3)))
    for _ in range(number):
        hidden = image @ values["w1"] + out @ values["w2"].T + values["b1"] + 1j*values["c1"]
        hidden /= abs(hidden)
        out = hidden @ values["w2"] + values["b2"] + 1j*values["c2"] + beta*aim
        out /= abs(out)
    return np.hstack([image, hidden, out])


@pytest.mark.parametrize("number", [1, 4])
def test_each_layer_turns_to_the_angle_of_its_field(number):
    boundary = lep.Equilibrium(0.0, solver="sweeps", iterations=number, tolerance=None)
    rest = NETWORK.system.equilibrium(boundary, inputs=NETWORK.inputs(IMAGES))
    np.testing.assert_allclose(np.exp(1j*rest.q), by_hand(number), atol=1e-13)


def test_a_nudge_is_one_more_field():
    boundary = lep.Equilibrium(0.0, solver="sweeps", tolerance=1e-13)
    given = {"inputs": NETWORK.inputs(IMAGES), "cost": NETWORK.cost, "targets": NETWORK.targets(CLASSES)}
    rest = NETWORK.system.equilibrium(boundary, nudge=0.7, **given)
    free = np.angle(by_hand(400))[:, NETWORK.layers[2]]  # where the nudged phase begins
    np.testing.assert_allclose(np.exp(1j*rest.q), by_hand(400, 0.7, free), atol=1e-11)
    assert rest.residual.max() <= 1e-13 and (rest.index == 0).all()


def test_the_library_chooses_them_and_they_find_a_minimum_from_a_maximum():
    places = NETWORK.layers
    wide = phase_network((5, 14, 3), seed=1)
    assert wide.system.equilibrium(lep.Equilibrium(), inputs=wide.inputs(IMAGES)).solver == "sweeps"
    still = NETWORK.system.equilibrium(NETWORK.rest, inputs=NETWORK.inputs(IMAGES)).q
    opposite = lep.Equilibrium(still + np.pi, solver="sweeps", tolerance=1e-12)
    rest = NETWORK.system.equilibrium(opposite, inputs=NETWORK.inputs(IMAGES))
    newton = NETWORK.system.equilibrium(lep.Equilibrium(rest.q, solver="stationary"), inputs=NETWORK.inputs(IMAGES))
    np.testing.assert_allclose(rest.q[:, places[1]], newton.q[:, places[1]], atol=1e-10)
    assert (rest.index == 0).all()


def test_estimators_agree():
    boundary = lep.Equilibrium(0.0, solver="sweeps", tolerance=1e-13)
    given = {"inputs": NETWORK.inputs(IMAGES), "cost": NETWORK.cost, "targets": NETWORK.targets(CLASSES)}
    exact = NETWORK.system.gradient(boundary, **given)
    for estimator, tight in ((lep.Centered(1e-3), 1e-5), (lep.Holomorphic(), 1e-10), (lep.Adjoint(), 1e-11)):
        other = NETWORK.system.gradient(boundary, estimator=estimator, **given)
        for symbol in NETWORK.system.parameters:
            np.testing.assert_allclose(other[symbol], exact[symbol], atol=tight, err_msg=f"{symbol} {estimator}")
    step = 1e-6
    for symbol, place in (("w1", (2, 3)), ("w2", (1, 0)), ("c1", (4,))):
        losses = []
        for sign in (1, -1):
            value = next(v for s, v in NETWORK.system.parameters.items() if s.name == symbol).copy()
            value[place] += sign*step
            losses.append(NETWORK.system.gradient(boundary, parameters={symbol: value}, **given).loss)
        slope = next(v for s, v in exact.parameters.items() if s.name == symbol)[place]
        assert (losses[0] - losses[1])/(2*step) == pytest.approx(slope, abs=1e-8)


def test_what_is_no_sinusoid_or_has_walls_is_refused():
    x, z = dynamicsymbols("x z")
    w = sp.symbols("w")
    pairs = lep.Term(-w*sp.cos(x - z), [x, z], lep.AllPairs(np.arange(2), np.arange(2, 4)))
    site = lep.Term(-sp.cos(x), [x], np.arange(4))
    more = {"size": 4, "parameters": {w: np.ones((2, 2))}}
    sweeps = lep.Equilibrium(solver="sweeps")
    assert lep.System(energy=[pairs, site], **more).equilibrium(sweeps).success
    for energy, bounds in (([pairs, lep.Term(-sp.cos(2*x), [x], np.arange(4))], None), ([pairs, site], (-1, 1))):
        with pytest.raises(ValueError, match="without bounds, sinusoidal"):
            lep.System(energy=energy, bounds=bounds, **more).equilibrium(sweeps)
