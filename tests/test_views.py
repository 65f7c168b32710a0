"""The sympy views agree with the textbook and with the numbers."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

import lagrangian_eqprop as lep

t = sp.Symbol("t")
q, r = sp.Function("q")(t), sp.Function("r")(t)
m, k, c = sp.symbols("m k c")


def test_equations_of_a_pendulum():
    pendulum = lep.System(m*q.diff(t)**2/2 + k*sp.cos(q), coordinates=[q], parameters={m: 1.0, k: 2.0})
    (equation,) = pendulum.equations
    assert equation.lhs - (m*q.diff(t, 2) + k*sp.sin(q)) == 0 and equation.rhs == 0
    assert pendulum.momenta == [m*q.diff(t)]
    assert pendulum.mass_matrix == sp.Matrix([[m]])
    p = sp.Symbol("p_q", real=True)
    assert sp.expand(pendulum.hamiltonian - (p**2/(2*m) - k*sp.cos(q))) == 0
    assert "cos" in pendulum._repr_latex_()


def test_hamiltonian_is_the_energy_along_a_path():
    expression = m*(r.diff(t)**2 + r**2*q.diff(t)**2)/2 + c*r**2*q.diff(t) + k/r
    polar = lep.System(expression, coordinates=[r, q], parameters={m: 1.2, k: 0.9, c: 0.3})
    path = polar.trajectory(lep.Initial(q=[1.0, 0.2], v=[0.1, 0.9]), lep.Grid(20, step=0.02), compiled=False)
    pr, pq = sp.symbols("p_r p_q", real=True)
    numbers = {m: 1.2, k: 0.9, c: 0.3}
    for node in (0, 7, 20):
        values = {r: path.q[node, 0], q: path.q[node, 1], pr: path.p[node, 0], pq: path.p[node, 1], **numbers}
        assert float(polar.hamiltonian.xreplace(values)) == pytest.approx(path.energy[node], rel=1e-13)


def test_a_small_network_is_written_out():
    x, z = sp.Function("x")(t), sp.Function("z")(t)
    net = lep.System(
        [
            lep.Term(m*x.diff(t)**2/2, on=[x], at=[0, 1, 2]),
            lep.Term(-k*(x - z)**2/2, on=[x, z], at=lep.AllPairs([0, 1, 2])),
        ],
        size=3,
        parameters={m: 1.0, k: np.ones((3, 3))},
    )
    q0, q1, q2 = (sp.Function(f"q_{i}")(t) for i in range(3))
    k1, k2, k5 = sp.symbols("k_1 k_2 k_5")
    kinetic = m*(q0.diff(t)**2 + q1.diff(t)**2 + q2.diff(t)**2)/2
    springs = k1*(q0 - q1)**2/2 + k2*(q0 - q2)**2/2 + k5*(q1 - q2)**2/2
    assert sp.expand(net.lagrangian - kinetic + springs) == 0


def test_views_of_a_large_network_are_refused():
    x = sp.Function("x")(t)
    net = lep.System([lep.Term(x.diff(t)**2/2, on=[x], at=np.arange(100))], size=100)
    with pytest.raises(ValueError, match="size must be at most 64"):
        _ = net.lagrangian
