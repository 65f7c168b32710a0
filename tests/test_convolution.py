"""The convolution action of linear damped systems: exact at every nudge, and refused where it would not hold."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from oracles import Forced, Loss, assert_close, drive, initial_gradients
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep

t = dynamicsymbols._t
q, x, z = dynamicsymbols("q x z")
m, k, c, g1, g2, u, y = sp.symbols("m k c g1 g2 u y")
vq, vx, vz = q.diff(t), x.diff(t), z.diff(t)
PLAIN = {"compiled": False}
GRID = lep.Grid(40, step=0.13, start=0.3)
DRIVE, TARGET = np.cos(1.3*GRID.t), 0.5*np.sin(0.7*GRID.t)

# Damping of one coordinate and between two, nowhere in proportion to mass.
LAGRANGIAN = m*vx**2/2 + vz**2/2 + 3*vx*vz/10 - k*(x**2 + 2*z**2)/2 - c*(x - z)**2/2 + u*(x - k*z)
RAYLEIGH = g1*vx**2/2 + g2*(vx - vz)**2/2 + g1*g2*vx*vz/5
VALUES = {m: 1.3, k: 0.8, c: 0.5, g1: 0.3, g2: 0.4}
REST = lep.Initial([0.0, 0.0], v=[0.0, 0.0])


def pair():
    return lep.System(LAGRANGIAN, coordinates=[x, z], parameters=VALUES, inputs=[u], rayleigh=RAYLEIGH)


@pytest.fixture(name="expected", scope="module", params=["path", "end"])
def expected_gradients(request):
    """The cost and what complex steps through an integrator of its own give; costs need not be quadratic."""
    expression = (z - y)**2/2 + x*z**3 if request.param == "path" else sp.exp(z) - x
    targets = [y] if request.param == "path" else []
    loss = Loss(expression, [x, z], targets, end=request.param == "end")
    mechanics = Forced(LAGRANGIAN, [-RAYLEIGH.diff(v) for v in (vx, vz)], [x, z], list(VALUES), [u])
    found = initial_gradients(
        mechanics, "forced", lambda q, grid, theta, aims: loss(q, grid, (), aims), [0.0, 0.0], GRID,
        list(VALUES.values()), v=[0.0, 0.0], u=drive(DRIVE[:, None], "midpoint", GRID.steps), first=[DRIVE[0]],
        targets=[TARGET][: len(targets)],
    )  # fmt: skip
    return lep.Cost(expression, targets=targets, when=request.param), {y: TARGET} if targets else {}, found


@pytest.mark.parametrize("beta", 10.0**np.arange(-6, 4))
def test_exact_at_every_nudge(expected, beta):
    cost, targets, found = expected
    options = {"targets": targets, "inputs": {u: DRIVE}, **PLAIN}
    result = pair().gradient(REST, GRID, cost, estimator=lep.ConvolutionAction(beta), **options)
    assert_close([result[s] for s in VALUES], found["theta"], max(1e-10, 1e-15/beta))  # rounding of paths over beta
    assert_close(result.initial.q, found["q"], max(1e-10, 1e-14/beta))  # small beside what it is the difference of
    assert_close(result.initial.v, found["other"], max(1e-10, 1e-14/beta))
    assert_close(result.loss, found["loss"], 1e-13)


def test_without_damping_it_is_the_echo(expected):
    """Rates of zero: the convolution and the linear response of the echo are one gradient."""
    cost, targets, _ = expected
    still = {g1: 0.0, g2: 0.0}
    plain = lep.System(LAGRANGIAN, coordinates=[x, z], parameters={s: VALUES[s] for s in (m, k, c)}, inputs=[u])
    options = {"targets": targets, "inputs": {u: DRIVE}, **PLAIN}
    one = pair().gradient(REST, GRID, cost, estimator=lep.ConvolutionAction(), parameters=still, **options)
    other = plain.gradient(REST, GRID, cost, **options)
    for symbol in (m, k, c):
        assert_close(one[symbol], other[symbol], 1e-11)


def test_network_and_batch():
    """A chain with a damper on each bond and on one end, samples with drives of their own, against the adjoint."""
    count = 5
    nodes = np.arange(count)
    edges = np.stack([nodes[:-1], nodes[1:]], 1)
    values = {m: 1.2, k: np.linspace(0.5, 0.9, count), c: np.ones(4), g1: np.full(4, 0.3), g2: 0.8}
    net = lep.System(
        [lep.Term(m*vx**2/2 - k*x**2/2, on=[x], at=nodes), lep.Term(-c*(x - z)**2/2, on=[x, z], at=edges),
         lep.Term(u*x, on=[x], at=[0])],
        size=count, parameters=values, inputs=[u],
        rayleigh=[lep.Term(g1*(vx - vz)**2/2, on=[x, z], at=edges), lep.Term(g2*vx**2/2, on=[x], at=[4])],
    )  # fmt: skip
    start = lep.Initial(np.zeros(count), p=np.zeros(count))
    cost = lep.Cost((x - y)**2/2, on=[x], at=[3], targets=[y])
    short, long = lep.Grid(20, step=0.1), lep.Grid(1100, step=0.1)  # one block of steps, and two
    for grid, push in ((short, np.stack([DRIVE, DRIVE**2, TARGET])[:, :21, None]), (long, np.cos)):
        options = {"targets": {y: 0.2}, "inputs": {u: push}, **PLAIN}
        found, expected = (net.gradient(start, grid, cost, estimator=estimator, **options)
                           for estimator in (lep.ConvolutionAction(), lep.Adjoint()))  # fmt: skip
        for symbol in net.parameters:
            assert_close(found[symbol], expected[symbol], 1e-11)
        assert_close(found.initial.q, expected.initial.q, 1e-11)
        assert_close(found.initial.p, expected.initial.p, 1e-11)
        assert_close(found.losses, expected.losses, 1e-14)


@pytest.mark.slow
def test_compiled_code_does_the_same(expected):
    cost, targets, _ = expected
    options = {"estimator": lep.ConvolutionAction(), "targets": targets, "inputs": {u: DRIVE}}
    one, other = (pair().gradient(REST, GRID, cost, compiled=flag, **options) for flag in (True, False))
    assert_close([one[s] for s in VALUES], [other[s] for s in VALUES], 1e-12)


# ---------------------------------------------------------------------- where it does not hold
def refused(message, start=None, cost=q**2, **given):
    lagrangian = given.pop("lagrangian", m*vq**2/2 - k*q**2/2)
    system = lep.System(lagrangian, coordinates=[q], parameters={m: 1.0, k: 2.0, g1: 0.3}, **given)
    start = lep.Initial([0.0], v=[0.0]) if start is None else start
    options = {"estimator": lep.ConvolutionAction(), "inputs": dict.fromkeys(system.inputs, 1.0), **PLAIN}
    with pytest.raises(ValueError, match=message):
        system.gradient(start, GRID, lep.Cost(cost), **options)


LINEAR = g1*vq**2/2


@pytest.mark.parametrize(("message", "given"), [
    ("the Lagrangian of system, which is not quadratic in q", {"lagrangian": m*vq**2/2 - k*q**4, "rayleigh": LINEAR}),
    ("the Lagrangian of system, which is not quadratic in q",
     {"lagrangian": m*vq**2*(1 + q**2)/2 - k*q**2, "rayleigh": LINEAR}),
    ("the Lagrangian of system, which has a coefficient of q that depends on time",
     {"lagrangian": m*vq**2/2 - k*sp.cos(t)*q**2, "rayleigh": LINEAR}),
    ("the Lagrangian of system, which has a coefficient of q that depends on inputs",
     {"lagrangian": m*vq**2/2 - k*u*q**2, "rayleigh": LINEAR, "inputs": [u]}),
    ("rayleigh, which is not quadratic in q", {"rayleigh": g1*vq**4}),
    ("rayleigh, which is not quadratic in q", {"rayleigh": g1*vq**2*q**2}),
    ("rayleigh, which pushes q by positions", {"rayleigh": g1*vq*q}),
    ("force, which need not be symmetric", {"force": {q: -g1*vq}}),
    ("damping makes the action depend on time", {"damping": g1}),
    ("q of Initial must be 0 for ConvolutionAction", {"start": lep.Initial([0.1], v=[0.0]), "rayleigh": LINEAR}),
    ("v of Initial must be 0 for ConvolutionAction", {"start": lep.Initial([0.0], v=[0.1]), "rayleigh": LINEAR}),
    ("p of Initial must be 0 for ConvolutionAction", {"start": lep.Initial([0.0], p=[0.1]), "rayleigh": LINEAR}),
    ("got Ends.*no action is stationary", {"start": lep.Ends([0.0], [0.0]), "rayleigh": LINEAR}),
])  # fmt: skip
def test_refusals(message, given):
    refused(message, **given)


def test_refuses_what_is_not_reciprocal():
    gyroscope = m*(vx**2 + vz**2)/2 + c*(x*vz - z*vx)/2 - k*(x**2 + z**2)/2
    system = lep.System(gyroscope, coordinates=[x, z], parameters={m: 1.0, k: 2.0, c: 0.4, g1: 0.3}, rayleigh=g1*vx**2)
    with pytest.raises(ValueError, match="couples x and the velocity of z without symmetry"):
        system.gradient(REST, GRID, lep.Cost(z**2), estimator=lep.ConvolutionAction(), **PLAIN)
    plain = lep.System(m*vq**2/2 - k*q**2/2, coordinates=[q], parameters={m: 1.0, k: 2.0})
    with pytest.raises(ValueError, match="where nothing is damped the others are exact"):
        plain.gradient(lep.Initial([0.0], v=[0.0]), GRID, lep.Cost(q), estimator=lep.ConvolutionAction(), **PLAIN)


@pytest.mark.parametrize("beta", [0, np.nan, True, "1"])
def test_bad_nudges(beta):
    with pytest.raises(ValueError, match="beta must be a finite real number other than 0"):
        lep.ConvolutionAction(beta)
