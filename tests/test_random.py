"""Random Lagrangians: every estimator equals complex steps through the oracle's integrator, whatever the expression."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import Loss, Mechanics, assert_agrees, ends_gradients, initial_gradients
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep

t = dynamicsymbols._t
COORDINATES = dynamicsymbols("r s w")
THETA = sp.symbols("theta0:5")
VALUES = [0.7, -0.4, 1.1, 0.3, 0.9]
PLAIN = {"compiled": False}
ESTIMATORS = [
    (lep.Exact(), 1e-9), (lep.Adjoint(), 1e-9), (lep.Holomorphic(), 1e-7), (lep.Centered(1e-4), 1e-5),
    (lep.OneSided(1e-6), 1e-3),
]  # fmt: skip
MANY = settings(max_examples=12)


@st.composite
def smooth(draw, variables):
    """A bounded, smooth function of some variables: a product of trigonometric, hyperbolic and rational pieces."""
    pieces = [
        sp.sin, sp.cos, sp.tanh, sp.atan, sp.asinh, lambda e: sp.exp(-(e**2)), lambda e: 1/(1 + e**2),
        lambda e: sp.sqrt(2 + e**2), lambda e: (3 + e**2)**sp.Rational(-3, 2), lambda e: sp.log(2 + sp.cos(e)),
        lambda e: sp.log(sp.cosh(e)), lambda e: e/2, lambda e: e**2/4, lambda e: (e**2 + 1)**sp.Rational(2, 3),
        lambda e: sp.log(1 + sp.exp(e)),
    ]  # fmt: skip
    variable = st.sampled_from(variables)
    factors = draw(st.lists(st.tuples(st.sampled_from(pieces), variable, variable), min_size=1, max_size=2))
    scale = sp.Rational(draw(st.integers(-4, 4).filter(bool)), 5)
    return scale*sp.prod([piece(a if a == b else a + b/2) for piece, a, b in factors])


@st.composite
def lagrangians(draw, separable):
    """Coordinates, the Lagrangian, and the parameters that occur in it."""
    q = COORDINATES[: draw(st.integers(1, 3))]
    v = [x.diff(t) for x in q]
    names = [sp.Symbol(f"a{i}") for i in range(3)]
    kinetic = sum((THETA[0]**2 + 1 + sp.Rational(i, 3))*w**2/2 for i, w in enumerate(v))
    potential = sum(THETA[i]*draw(smooth([*q, *names[:1]])) for i in (1, 2)) + sum(x**2 for x in q)/2
    if draw(st.booleans()):
        potential += draw(smooth([*q, t]))*THETA[3]
    if not separable:
        first = draw(smooth(q))
        kinetic += sum(v)**2*first**2/4 + THETA[4]*v[0]*draw(smooth([*q, t]))  # a positive mass, and a vector potential
    expression = (kinetic - potential).subs({names[0]: THETA[3]})
    used = [s for s in THETA if s in expression.free_symbols]
    if not all(x in expression.atoms(sp.Function) for x in q):
        expression -= sum(x**2 for x in q)/7
    return q, expression, used


def costs_of(q, symbols):
    """A path cost and an end cost, with a parameter of the system in one of them."""
    path, end = sp.cos(q[0])*symbols[-1] + q[-1]**2/2, sp.sin(sum(q))
    first, second = Loss(path, q, (), symbols), Loss(end, q, (), symbols, end=True)
    kept = [lep.Cost(path), lep.Cost(end, when="end")]
    return kept, lambda x, grid, theta, _=(): first(x, grid, theta) + second(x, grid, theta)


def check_gradients(drawn, method, ends):
    q, expression, symbols = drawn
    theta = [VALUES[THETA.index(s)] for s in symbols]
    system = lep.System(expression, coordinates=q, parameters=dict(zip(symbols, theta)))
    mechanics = Mechanics(expression, q, symbols)
    costs, loss = costs_of(q, symbols)
    start, other = [0.6, -0.4, 0.3][: len(q)], [0.5, 0.2, -0.7][: len(q)]
    if ends:
        grid = lep.Grid(6, step=0.04, start=0.2)
        boundary = lep.Ends(start, np.add(start, 0.1)) if ends == "fixed" else lep.Ends(start, None)
        path = system.trajectory(boundary, grid, method=method, **PLAIN).q
        expected = ends_gradients(mechanics, method, loss, path, grid, theta, free=(False, ends == "natural"))
    else:
        grid, boundary = lep.Grid(8, step=0.1, start=0.2), lep.Initial(start, v=other)
        expected = initial_gradients(mechanics, method, loss, start, grid, theta, v=other)
    for estimator, tolerance in ESTIMATORS:
        result = system.gradient(boundary, grid, costs, estimator=estimator, method=method, **PLAIN)
        assert_agrees(result, expected, symbols, tolerance)


@pytest.mark.parametrize("ends", [None, "fixed", "natural"])
@given(drawn=lagrangians(separable=True))
@MANY
def test_separable_under_verlet(ends, drawn):
    check_gradients(drawn, "verlet", ends)


@pytest.mark.parametrize("ends", [None, "fixed", "natural"])
@given(drawn=lagrangians(separable=False))
@MANY
def test_any_under_midpoint(ends, drawn):
    check_gradients(drawn, "midpoint", ends)
