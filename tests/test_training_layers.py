"""Training of layered energies by compiled mini-batches, against the same training in numpy and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sympy as sp
from numba import njit
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep
from lagrangian_eqprop.compiler.blas import multiply
from lagrangian_eqprop.compiler.machine import Registers, registers
from lagrangian_eqprop.eqprop import steady
from lagrangian_eqprop.solvers import layered
from lagrangian_eqprop.solvers.failures import all_finite

x, z = dynamicsymbols("x z")
b, c, w, v, h, y, p, u = sp.symbols("b c w v h y p u")
PIXELS, WIDE, FEW, LAST = np.arange(4), np.arange(4, 25), np.arange(25, 30), np.arange(30, 34)
PLAIN = lep.Equilibrium(0.3, step=0.2, iterations=(30, 9), tolerance=None)


@pytest.fixture
def counted(monkeypatch):
    """Compiled mini-batches also where they are small, and how many there were."""
    calls, original = [], steady.Steady.gradient

    def gradient(self, values, samples):
        calls.append(len(samples))
        return original(self, values, samples)

    monkeypatch.setattr(layered, "_WORK", 0)
    monkeypatch.setattr(steady.Steady, "gradient", gradient)
    return calls


def hopfield(rng, at=None):
    """A wide group with clamped pixels, coupled to two small ones from either side."""
    values = {
        b: rng.normal(size=30), w: rng.normal(size=(4, 21))/2, v: rng.normal(size=(21, 5))/4,
        h: rng.normal(size=(4, 21))/4,
    }  # fmt: skip
    return lep.System(
        energy=[
            lep.Term(x**2/2 - b*x, [x], np.arange(4, 34) if at is None else at),
            lep.Term(-w*x*z, [x, z], lep.AllPairs(PIXELS, WIDE)),
            lep.Term(-v*x*z, [x, z], lep.AllPairs(WIDE, FEW)), lep.Term(-h*x*z, [x, z], lep.AllPairs(LAST, WIDE)),
        ],
        size=34, parameters=values, bounds=(0, 1), clamped={p: PIXELS},
    )  # fmt: skip


def data(rng, samples=23):
    return {"targets": {y: rng.uniform(size=(samples, 5))}, "inputs": {p: rng.uniform(size=(samples, 4))}}


COST = lep.Cost((x - y)**2/2, on=[x], at=FEW[::-1], targets=[y])


def trained(system, given, cost=COST, boundary=PLAIN, estimator=None, **options):
    """Trained parameters and losses, with mini-batches of two sizes."""
    options = {"batch": 13, "epochs": 2, "optimiser": lep.SGD(0.3), "progress": False, **options}
    return system.fit(boundary, cost=cost, **given, estimator=estimator or lep.OneSided(0.5), **options)


def same(one, other, tight):
    np.testing.assert_allclose(one.loss, other.loss, rtol=tight)
    for symbol, value in other.parameters.items():
        np.testing.assert_allclose(one[symbol], value, rtol=tight, atol=tight, err_msg=symbol.name)


# ---------------------------------------------------------------------- by hand
def plain_descent(system, given, seed, batch, epochs, rate, beta, step, free, nudged):
    """The textbook in plain numpy: clipped steps of all units, the contrast of outer products, descent."""
    bias, first, second, third = (system.parameters[symbol].copy() for symbol in (b, w, v, h))
    images, aims = given["inputs"][p], given["targets"][y]
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        order = rng.permutation(len(images))
        for low in range(0, len(images), batch):
            rows = order[low : low + batch]
            image, aim, q = images[rows], aims[rows][:, ::-1], np.full((len(rows), 30), 0.3)
            ends = []
            for beta_now, steps in ((0.0, free), (beta, nudged)):
                for _ in range(steps):
                    wide, few, last = q[:, :21], q[:, 21:26], q[:, 26:]
                    force = np.hstack([
                        image @ first + few @ second.T + last @ third, wide @ second + beta_now*(aim - few),
                        wide @ third.T,
                    ]) + bias - q  # fmt: skip
                    q = np.clip(q + step*force, 0, 1)
                ends.append(q)
            (one, two), scale = ends, rate/(beta*len(rows))
            wide, few, last = slice(0, 21), slice(21, 26), slice(26, 30)
            bias = bias + scale*(two - one).sum(0)
            first = first + scale*image.T @ (two - one)[:, wide]
            second = second + scale*(two[:, wide].T @ two[:, few] - one[:, wide].T @ one[:, few])
            third = third + scale*(two[:, last].T @ two[:, wide] - one[:, last].T @ one[:, wide])
    return {b: bias, w: first, v: second, h: third}


def test_a_compiled_training_equals_the_textbook(counted):
    rng = np.random.default_rng(1)
    system, given = hopfield(rng), data(rng)
    history = trained(system, given, seed=3)
    assert counted == [13, 10]*2
    expected = plain_descent(system, given, 3, 13, 2, 0.3, 0.5, 0.2, 30, 9)
    for symbol, value in expected.items():
        np.testing.assert_allclose(history[symbol], value, rtol=1e-11, atol=1e-13, err_msg=symbol.name)


def test_every_machine_has_the_same_results(counted, monkeypatch):
    """Widths and numbers of passes are those of the machine; sums only change their order."""
    rng = np.random.default_rng(1)
    system, given = hopfield(rng), data(rng)
    another = Registers(32, 64) if registers().number == 16 else Registers(16, 32)
    monkeypatch.setattr(layered, "registers", lambda: another)
    one, other = (trained(system, given, dtype="float32", compiled=compiled) for compiled in (True, False))
    assert counted == [13, 10]*2
    same(one, other, 1e-5)


def test_what_this_machine_is():
    assert registers().size in (16, 32, 64) and registers().number in (16, 32)


# ---------------------------------------------------------------------- everything that terms can be
def general(name, rng):
    """Energies whose terms are not all matrices between coordinates, and their costs."""
    pixels, wide, last = lep.AllPairs(PIXELS, WIDE), lep.AllPairs(WIDE, FEW), lep.AllPairs(LAST, WIDE)
    values = {b: rng.normal(size=30), c: np.array(0.7), w: rng.normal(size=(4, 21))/2, v: rng.normal(size=(21, 5))/4}
    places = np.arange(4, 34)
    if name == "one of each kind":  # a scalar, a shared list, an input of places, parameters of the cost, a square
        terms = [
            lep.Term(c*x**2/2 - u*x, [x], places), lep.Term(-b*x, [x], places[::-1]),
            lep.Term(-w*x*z, [x, z], pixels), lep.Term(-v*x*z, [x, z], wide),
            lep.Term(-h**2*sp.tanh(x)*z, [x, z], last),
        ]
        values[h] = rng.normal(size=(4, 21))/4
        cost = lep.Cost(sp.exp(sp.Symbol("k"))*(x - y)**2/2, on=[x], at=FEW, targets=[y],
                        parameters={sp.Symbol("k"): 0.2})  # fmt: skip
        return terms, values, cost, (0, 1)
    terms = [
        lep.Term(x**2/2 - b*x - u*x/2, [x], places), lep.Term(w*(x - z)**2/2, [x, z], pixels),
        lep.Term(v*(x - z)**2/2, [x, z], wide),
    ]
    values = {s: np.abs(value) for s, value in values.items() if s is not c}
    return terms, values, COST, (np.where(np.arange(34) % 2 == 0, 0, -np.inf), None)


@pytest.mark.parametrize("name", ["one of each kind", "resistive"])
def test_all_terms_are_trained(name, counted):
    rng = np.random.default_rng(2)
    terms, values, cost, bounds = general(name, rng)
    system = lep.System(
        energy=terms, size=34, parameters=values, bounds=bounds, clamped={p: PIXELS}, inputs=[u]
    )  # fmt: skip
    given = data(rng)
    given["inputs"][u] = rng.normal(size=30) if name == "resistive" else rng.normal(size=(23, 30))/3
    options = {"estimator": lep.Centered(0.2), "optimiser": lep.SGD(0.1, momentum=0.5)}
    one, other = (trained(system, given, cost, compiled=compiled, **options) for compiled in (True, False))
    assert counted == [13, 10]*2
    same(one, other, 1e-10)
    assert all(np.any(one[symbol] != value) for symbol, value in values.items())


def test_a_guess_for_every_sample_and_places_in_any_order(counted):
    rng = np.random.default_rng(4)
    system, given = hopfield(rng, rng.permutation(np.arange(4, 34))), data(rng)
    boundary = lep.Equilibrium(rng.uniform(size=(23, 34)), step=0.2, iterations=(7, 3), tolerance=None)
    one, other = (trained(system, given, boundary=boundary, compiled=compiled) for compiled in (True, False))
    assert counted == [13, 10]*2
    same(one, other, 1e-11)


# ---------------------------------------------------------------------- what is kept, and what fails
def test_what_is_kept_leaves_no_trace(counted):
    """A second training with other data and values is that of a new system."""
    fresh, old = hopfield(np.random.default_rng(5)), hopfield(np.random.default_rng(5))
    rng = np.random.default_rng(6)
    first, second = data(rng), data(rng)
    trained(old, first)
    again, anew = (trained(system, second, train=[w, b]) for system in (old, fresh))
    for symbol in (b, w, v, h):
        np.testing.assert_array_equal(again[symbol], anew[symbol])
    np.testing.assert_array_equal(again[v], old.parameters[v])
    assert counted == [13, 10]*6


def test_a_training_goes_on_bit_for_bit(counted, tmp_path):
    rng = np.random.default_rng(8)
    system, again, given = hopfield(np.random.default_rng(5)), hopfield(np.random.default_rng(5)), data(rng)
    options = {"optimiser": lep.SGD(0.3, momentum=0.5)}
    whole = trained(system, given, epochs=2, **options)
    trained(again, given, epochs=1, checkpoint=tmp_path/"kept", **options)
    resumed = trained(again, given, epochs=2, checkpoint=tmp_path/"kept", **options)
    np.testing.assert_array_equal(resumed.loss, whole.loss)
    for symbol in (b, w, v, h):
        np.testing.assert_array_equal(resumed[symbol], whole[symbol])
    assert counted == [13, 10]*4


def test_trainings_with_a_tolerance_are_not_cut_short(counted):
    rng = np.random.default_rng(5)
    settled = lep.Equilibrium(0.3, step=0.2, tolerance=1e-9)
    trained(hopfield(rng), data(rng), boundary=settled, epochs=1)
    trained(hopfield(rng), data(rng), estimator=lep.Exact(), boundary=lep.Equilibrium(0.3), epochs=1)
    assert not counted


@pytest.mark.parametrize("compiled", [True, False])
def test_samples_that_are_no_number(compiled, counted):
    """exp(u x) - exp(2 u x) overflows in one sample: it is named, or left out; bounds do not hide it."""
    rng = np.random.default_rng(7)
    system = lep.System(
        energy=[
            lep.Term(x**2/2 - b*x + sp.exp(u*x) - sp.exp(2*u*x), [x], np.r_[WIDE, FEW]),
            lep.Term(-w*x*z, [x, z], lep.AllPairs(PIXELS, WIDE)), lep.Term(-v*x*z, [x, z], lep.AllPairs(WIDE, FEW)),
        ],
        size=30, parameters={b: rng.normal(size=26), w: rng.normal(size=(4, 21)), v: rng.normal(size=(21, 5))/4},
        bounds=(0, 1), clamped={p: PIXELS}, inputs=[u],
    )  # fmt: skip
    given = data(rng)
    given["inputs"][u] = np.where(np.arange(23) == 4, 1e4, 0.1)[:, None]
    boundary = lep.Equilibrium(0.3, step=0.2, iterations=(6, 2), tolerance=None)
    with np.errstate(all="ignore"):
        with pytest.raises(lep.ConvergenceError, match="1 of 23 samples"):
            trained(system, given, boundary=boundary, compiled=compiled, batch=None)
        left = trained(system, given, boundary=boundary, compiled=compiled, batch=None, on_failure="return")
    good = np.arange(23) != 4
    alone = {kind: {s: value[good] for s, value in values.items()} for kind, values in given.items()}
    expected = trained(system, alone, boundary=boundary, compiled=False, batch=None)
    for symbol in (b, w, v):
        np.testing.assert_allclose(left[symbol], expected[symbol], rtol=1e-10, atol=1e-12)


# ---------------------------------------------------------------------- parts
@njit
def _multiply(to, left, left_across, right, right_across, alpha, beta):
    multiply(to, left, left_across, right, right_across, alpha, beta)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_of_matrices_whose_rows_stand_apart(dtype):
    rng = np.random.default_rng(0)
    for across in ((0, 0), (0, 1), (1, 0), (1, 1)):
        left, right, to = (rng.normal(size=(9, 17)).astype(dtype) for _ in range(3))
        first = left[:5, 3:7] if across[0] == 0 else left[:4, 3:8]
        second = right[2:6, :6] if across[1] == 0 else right[:6, 1:5]
        expected = to.copy()
        expected[:5, 2:8] *= 0.5
        expected[:5, 2:8] -= 2*(first.T if across[0] else first) @ (second.T if across[1] else second)
        _multiply(to[:5, 2:8], first, across[0], second, across[1], -2.0, 0.5)
        np.testing.assert_allclose(to, expected, rtol=1e-5 if dtype == "float32" else 1e-13)
    one = np.ones((1, 3), dtype)[:, ::1]
    single = np.lib.stride_tricks.as_strided(one, one.shape, (1, one.itemsize))  # a row whose stride says nothing
    to = np.zeros((1, 1), dtype)
    _multiply(to, single, 0, one, 1, 1.0, 0.0)
    assert to[0, 0] == 3


def test_what_is_finite():
    large = np.full(5, 1e200)
    assert all_finite(large) and math.isinf(np.vdot(large, large))
    assert all_finite(np.zeros(0)) and all_finite(np.float32(2.0)) and all_finite(np.ones((2, 3)))
    assert not all_finite(np.array([1.0, np.nan])) and not all_finite(np.array([[np.inf], [-np.inf]]))
