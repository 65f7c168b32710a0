"""What systems with constraints and Lagrangians linear in the velocities cannot do yet is refused, not guessed."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from oracles import assert_close
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep

x, y = dynamicsymbols("x y")
m, g, u, c = sp.symbols("m g u c")
GRID = lep.Grid(8, step=0.1)
COST = lep.Cost(x**2 + x*y, on=[x, y], at=[[0, 1]])
LAGRANGIANS = {"rod": m*(x.diff()**2 + y.diff()**2)/2 - g*y, "pair": m*y*x.diff() - m*y**2/2 - g*x**2/2}
BEGIN = {"rod": lep.Initial([0.6, -0.8], v=[0.4, 0.3]), "pair": lep.Initial([0.6, -0.8])}
CLOSED = lep.Periodic(np.ones((9, 2)))
NAMES = "a system (with constraints|whose Lagrangian is linear in the velocities)"


def made(name, more=0, **options):
    constraints = [x**2 + y**2 - 1] if name == "rod" else []
    return lep.System(
        LAGRANGIANS[name] + more, [x, y], parameters={m: 1.0, g: 1.3}, constraints=constraints, **options
    )


def gradient(name, boundary=None, cost=COST, **options):
    boundary = BEGIN[name] if boundary is None else boundary
    return made(name).gradient(boundary, GRID, cost, compiled=False, **options)


def trajectory(name, boundary=None, system=None, **options):
    system = made(name) if system is None else system
    return system.trajectory(BEGIN[name] if boundary is None else boundary, GRID, compiled=False, **options)


def driven(name):
    system, inputs = made(name, more=u*x, inputs=[u]), {u: 0.3}
    system.gradient(BEGIN[name], GRID, COST, inputs=inputs, input_gradients=True, compiled=False)


END = lep.Cost(x**2, when="end")
QUESTIONS = {
    "order": (lambda name: trajectory(name, order=4), "order must be 2"),
    "gauss": (lambda name: trajectory(name, method="gauss", stages=2), "method must be"),
    "gauss gradient": (lambda name: gradient(name, method="gauss", stages=2), "method must be"),
    "damping": (lambda name: trajectory(name, system=made(name, damping=0.1)), "damping must be left out"),
    "rayleigh": (
        lambda name: trajectory(name, system=made(name, rayleigh=x.diff()**2)), "rayleigh and force must be left out",
    ),
    "force": (
        lambda name: trajectory(name, system=made(name, force={x: -x.diff()})), "rayleigh and force must be left out",
    ),
    "closed path": (lambda name: trajectory(name, CLOSED), "boundary must be lep.Initial.*Periodic"),
    "closed path, gradient": (lambda name: gradient(name, CLOSED), "boundary must be lep.Initial.*Periodic"),
    "closed path, check": (
        lambda name: made(name).check(CLOSED, GRID, COST, compiled=False), "boundary must be lep.Initial.*Periodic",
    ),
    "potentials": (lambda name: trajectory(name, lep.Ends([0.6, -0.8], None, stop=END)), "lep.Ends|lep.Initial"),
    "potentials, gradient": (
        lambda name: gradient(name, lep.Ends([0.6, -0.8], None, stop=END)), "lep.Ends|lep.Initial",
    ),
    "inputs": (driven, "input_gradients must be False"),
    "velocities": (lambda name: gradient(name, cost=lep.Cost(x.diff()**2)), "the cost must be a lep.Cost of coord"),
    "integrals": (
        lambda name: gradient(name, cost=lep.IntegralCost(c**2, {c: lep.Cost(x**2)})), "the cost must be a lep.Cost of",
    ),
    "echo": (lambda name: gradient(name, estimator=lep.Echo(1e-3)), "estimator must be one of"),
    "naive": (lambda name: gradient(name, estimator=lep.NaiveForward(1e-3)), "estimator must be one of"),
    "convolution": (lambda name: gradient(name, estimator=lep.ConvolutionAction(1e-3)), "estimator must be one of"),
    "bits": (lambda name: gradient(name, retrace="bits"), "retrace must be 'store', 'integrate' or None"),
    "bits there and back": (
        lambda name: lep.analysis.retrace(made(name), BEGIN[name], GRID, how="bits", compiled=False),
        "retrace must be 'store', 'integrate' or None",
    ),
    "quadrature": (lambda name: gradient(name, cost=lep.Cost(x**2, quadrature="method")), "quadrature of the cost"),
    "equilibrium": (lambda name: made(name).equilibrium(lep.Equilibrium([0.6, -0.8])), "must be lep.Initial"),
    "equilibrium, gradient": (
        lambda name: made(name).gradient(lep.Equilibrium([0.6, -0.8]), cost=COST), "must be lep.Initial",
    ),
    "temperature": (
        lambda name: made(name).sample(lep.Thermal(1.0, steps=10)), "must be lep.Initial",
    ),
    "exponents": (
        lambda name: lep.analysis.lyapunov(made(name), BEGIN[name], GRID, compiled=False), "lyapunov must be left out",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAGRANGIANS)
@pytest.mark.parametrize("case", QUESTIONS)
def test_refusals(case, name):
    question, message = QUESTIONS[case]
    with pytest.raises(ValueError, match=message) as found:
        question(name)
    if "gauss" not in case and case not in ("order", "quadrature", "bits", "bits there and back"):
        assert found.match(NAMES)


def test_an_energy_with_constraints_has_no_equilibria_here():
    system = lep.System(energy=x**2 + y**2, coordinates=[x, y], constraints=[x + y - 1])
    with pytest.raises(ValueError, match=NAMES):
        system.equilibrium(lep.Equilibrium([0.5, 0.5]))


@pytest.mark.parametrize("name", LAGRANGIANS)
@pytest.mark.parametrize("boundary", ["initial", "ends"])
def test_a_linearised_nudge_leads_to_the_same_limit(name, boundary):
    ends = lep.Ends([0.6, -0.8], [0.8, -0.6])
    if boundary == "ends" and name == "pair":
        pytest.skip("q alone is the state")
    where = BEGIN[name] if boundary == "initial" else ends
    exact, beta = gradient(name, where), 1e-4
    found = gradient(name, where, estimator=lep.Centered(beta, nudge="linearised"))
    assert_close([found[m], found[g]], [exact[m], exact[g]], 1e-6)


def test_forces_alone_are_no_lagrangian_linear_in_the_velocities():
    system = lep.System(-x**2/2, [x], rayleigh=x.diff()**2)
    with pytest.raises(ValueError, match="kinetic energy|regular"):
        system.trajectory(lep.Initial([1.0], v=[0.0]), GRID, compiled=False)
