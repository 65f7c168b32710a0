"""The Gauss method against closed forms and against collocation written out in numpy."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sympy as sp
from numpy.polynomial import Polynomial
from scipy.special import ellipj, ellipk
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep
from lagrangian_eqprop.eqprop.exact_gauss import exact_gauss
from lagrangian_eqprop.solvers import gauss
from lagrangian_eqprop.solvers.problem import Problem
from lagrangian_eqprop.solvers.start import Start

t = dynamicsymbols._t
x, y, z = dynamicsymbols("x y z")
m, k, g, u, r, aim = sp.symbols("m k g u r aim")


def pendulum() -> lep.System:
    return lep.System(m*x.diff(t)**2/2 + k*sp.cos(x), coordinates=[x], parameters={m: 1.0, k: 1.0})


def links(count: int) -> lep.System:
    """Links of unit mass and length, each hanging on the one before."""
    q = (x, y, z)[:count]
    pairs = [(i, j) for i in range(count) for j in range(count)]
    kinetic = sum((count - max(i, j))*sp.cos(q[i] - q[j])*q[i].diff(t)*q[j].diff(t)/2 for i, j in pairs)
    potential = -sum((count - i)*g*sp.cos(q[i]) for i in range(count))
    return lep.System(kinetic - potential, coordinates=list(q), parameters={g: 9.81})


def collocation(
    velocity: Callable[..., Any], force: Callable[..., Any], q: Any, p: Any, times: Any, stages: int
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Gauss collocation of q' = velocity(q, p, t), p' = force(q, v, t), by plain fixed-point iteration."""
    nodes = (np.polynomial.legendre.leggauss(stages)[0] + 1)/2
    lagrange = [Polynomial.fromroots(np.delete(nodes, j))/np.prod(nodes[j] - np.delete(nodes, j))
                for j in range(stages)]  # fmt: skip
    A = np.array([[one.integ()(c) for one in lagrange] for c in nodes])
    b = np.array([one.integ()(1.0) for one in lagrange])
    path_q, path_p = [np.array(q, float)], [np.array(p, float)]
    for start, stop in zip(times[:-1], times[1:], strict=True):
        h, q, p = stop - start, path_q[-1], path_p[-1]
        V, F = np.zeros((stages, len(q))), np.zeros((stages, len(q)))
        for _ in range(100):
            Q, P = q + h*A @ V, p + h*A @ F
            V = np.array([velocity(Q[i], P[i], start + nodes[i]*h) for i in range(stages)])
            F = np.array([force(Q[i], V[i], start + nodes[i]*h) for i in range(stages)])
        path_q.append(q + h*b @ V)
        path_p.append(p + h*b @ F)
    return np.array(path_q), np.array(path_p)


def pendulum_exact(angle: float, times: np.ndarray) -> np.ndarray:
    """The angle of q'' = -sin q released at rest."""
    modulus = np.sin(angle/2)
    return 2*np.arcsin(modulus*ellipj(ellipk(modulus**2) - times, modulus**2)[0])


@pytest.mark.parametrize("stages", [2, 3, 4])
def test_order(stages):
    """The error falls with the step to twice the number of stages."""
    system, errors = pendulum(), []
    for steps in (16, 32):
        grid = lep.Grid(steps, duration=8.0)
        path = system.trajectory(lep.Initial(q=[2.0], v=[0.0]), grid, method="gauss", stages=stages)
        errors.append(np.abs(path.q[:, 0] - pendulum_exact(2.0, grid.t)).max())
    assert abs(np.log2(errors[0]/errors[1]) - 2*stages) < 0.6


@pytest.mark.parametrize("stages", [5, 6, 7, 8])
def test_many_stages_reach_rounding(stages):
    grid = lep.Grid(160, duration=16.0)
    path = pendulum().trajectory(lep.Initial(q=[2.0], v=[0.0]), grid, method="gauss", stages=stages)
    np.testing.assert_allclose(path.q[:, 0], pendulum_exact(2.0, grid.t), rtol=0, atol=5e-12)


@pytest.mark.parametrize("stages", range(2, 9))
def test_harmonic_oscillator_is_a_pade_approximant(stages):
    """A step of a linear system is the diagonal approximant of its exponential."""
    omega, h = 1.7, 0.4
    spring = lep.System(m*x.diff(t)**2/2 - k*x**2/2, coordinates=[x], parameters={m: 1.0, k: omega**2})
    begin = lep.Initial(q=[[1.0], [0.0]], p=[[0.0], [1.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lep.AccuracyWarning)  # coarse for two stages
        path = spring.trajectory(begin, lep.Grid(1, step=h), method="gauss", stages=stages)
    J = np.array([[0.0, 1.0], [-(omega**2), 0.0]])
    above, power, factor = np.zeros((2, 2)), np.eye(2), 1.0
    below = np.zeros((2, 2))
    for n in range(stages + 1):
        above, below = above + factor*power, below + factor*(-1)**n*power
        power, factor = power @ J*h, factor*(stages - n)/((2*stages - n)*(n + 1))
    step = np.stack([path.q[:, 1, 0], path.p[:, 1, 0]])
    np.testing.assert_allclose(step, np.linalg.solve(below, above), rtol=0, atol=5e-13)
    assert abs(np.linalg.det(step) - 1) < 5e-13


@pytest.mark.parametrize("stages", [2, 3, 5, 8])
def test_double_pendulum_against_numpy(stages):
    """A mass that depends on coordinates, and a force that depends on velocities."""
    def velocity(q, p, _):
        c = np.cos(q[0] - q[1])
        return np.linalg.solve([[2.0, c], [c, 1.0]], p)

    def force(q, v, _):
        spin = -np.sin(q[0] - q[1])*v[0]*v[1]
        return np.array([spin - 2*9.81*np.sin(q[0]), -spin - 9.81*np.sin(q[1])])

    grid = lep.Grid(20, step=0.05)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lep.AccuracyWarning)  # few stages
        path = links(2).trajectory(lep.Initial(q=[2.0, 1.0], v=[0.3, -0.2]), grid, method="gauss", stages=stages)
    q, p = collocation(velocity, force, path.q[0], path.p[0], grid.t, stages)
    np.testing.assert_allclose(path.q, q, rtol=0, atol=1e-11)
    np.testing.assert_allclose(path.p, p, rtol=0, atol=1e-10)


def test_lagrangian_not_quadratic_in_velocity_with_input_and_time():
    """-sqrt(1 - v^2): the mass depends on v; the input is a callable, and L names the time."""
    system = lep.System(
        -m*sp.sqrt(1 - x.diff(t)**2) - k*x**4/4*(1 + t/10) + u*x + x*x.diff(t)/5,
        coordinates=[x], parameters={m: 1.2, k: 0.8}, inputs=[u],
    )  # fmt: skip

    def velocity(q, p, _):
        return (p - q/5)/np.sqrt(1.2**2 + (p - q/5)**2)

    def force(q, v, now):
        return -0.8*q**3*(1 + now/10) + np.cos(3*now) + v/5

    grid = lep.Grid(30, step=0.1, start=0.7)
    drive = {u: lambda times: np.cos(3*times)}
    for stages in (3, 6):
        path = system.trajectory(
            lep.Initial(q=[0.5], v=[0.4]), grid, inputs=drive, method="gauss", stages=stages
        )  # fmt: skip
        q, p = collocation(velocity, force, path.q[0], path.p[0], grid.t, stages)
        np.testing.assert_allclose(path.q, q, rtol=0, atol=1e-12)
        np.testing.assert_allclose(path.p, p, rtol=0, atol=1e-12)


def test_input_arrays_are_linear_between_nodes():
    system = lep.System(m*x.diff(t)**2/2 + u*x, coordinates=[x], parameters={m: 2.0}, inputs=[u])
    grid = lep.Grid(12, step=0.2)
    values = np.sin(2*grid.t)

    def force(q, v, now):
        return np.interp(now, grid.t, values)*np.ones(1)

    begin = lep.Initial(q=[0.1], v=[0.2])
    path = system.trajectory(begin, grid, inputs={u: values}, method="gauss", stages=3)
    q, p = collocation(lambda q, p, _: p/2, force, [0.1], [0.4], grid.t, 3)
    np.testing.assert_allclose(path.q, q, rtol=0, atol=1e-13)
    np.testing.assert_allclose(path.p, p, rtol=0, atol=1e-13)
    long = lep.Grid(70000, step=0.001)  # in stretches
    many = system.trajectory(begin, long, inputs={u: lambda s: np.sin(2*s)}, method="gauss", stages=8)
    exact = 0.1 + 0.2*many.t + (2*many.t - np.sin(2*many.t))/8
    np.testing.assert_allclose(many.q[:, 0], exact, rtol=0, atol=1e-11)


def test_symplectic():
    """The Jacobian of a coarse step keeps dq ^ dp, a constant mass or not."""
    system, h = links(2), 1e-5
    centre = np.array([0.7, -0.4, 0.9, 0.3])
    around = np.concatenate([centre + h*np.eye(4), centre - h*np.eye(4)])
    begin = lep.Initial(q=around[:, :2], p=around[:, 2:])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lep.AccuracyWarning)  # coarse
        path = system.trajectory(begin, lep.Grid(3, step=0.15), method="gauss", stages=2, save="last")
    ends = np.concatenate([path.q[:, -1], path.p[:, -1]], 1)
    jacobian = ((ends[:4] - ends[4:])/(2*h)).T
    omega = np.block([[np.zeros((2, 2)), np.eye(2)], [-np.eye(2), np.zeros((2, 2))]])
    assert np.abs(jacobian - np.eye(4)).max() > 0.3
    np.testing.assert_allclose(jacobian.T @ omega @ jacobian, omega, rtol=0, atol=1e-8)


def test_time_reversible():
    system, grid = links(2), lep.Grid(20, step=0.08)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lep.AccuracyWarning)
        there = system.trajectory(lep.Initial(q=[1.0, 0.5], v=[0.3, -0.2]), grid, method="gauss", stages=3)
        back = system.trajectory(lep.Initial(q=there.q[-1], p=-there.p[-1]), grid, method="gauss", stages=3)
    np.testing.assert_allclose(back.q[::-1], there.q, rtol=0, atol=1e-11)
    np.testing.assert_allclose(-back.p[::-1], there.p, rtol=0, atol=1e-11)


def test_energy_of_the_double_pendulum():
    begin = lep.Initial(q=[2.0, 1.0], v=[0.3, -0.2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = links(2).trajectory(begin, lep.Grid(2500, step=0.04), method="gauss", stages=8)
    assert np.abs(path.energy - path.energy[0]).max()/(3*9.81) < 1e-9


def test_unresolved_path_is_reported():
    begin = lep.Initial(q=[2.0, 1.0, 3.0], v=[0.3, -0.2, 0.1])
    with pytest.warns(lep.AccuracyWarning, match="step 0.04 with 8 stages .*Legendre mode.*smaller step or more"):
        links(3).trajectory(begin, lep.Grid(500, step=0.04), method="gauss", stages=8, save="last")


def test_sweeps_that_do_not_converge():
    """A step far too large for the frequency: the change of a sweep grows, and the step is named."""
    spring = lep.System(x.diff(t)**2/2 - k*x**2/2, coordinates=[x], parameters={k: 1.0})
    begin, grid = lep.Initial(q=[1.0], v=[0.0]), lep.Grid(10, step=1.0)
    with pytest.raises(lep.ConvergenceError, match="at step 0 .*smaller step"):
        spring.trajectory(begin, grid, parameters={k: 400.0}, method="gauss", stages=4)
    path = spring.trajectory(
        begin, grid, parameters={k: [400.0, 0.01]}, method="gauss", stages=4, on_failure="return"
    )  # fmt: skip
    assert path.success.tolist() == [False, True]
    assert np.isnan(path.q[0]).all()
    np.testing.assert_allclose(path.q[1, :, 0], np.cos(0.1*grid.t), rtol=0, atol=1e-12)


def test_infinite_state_is_a_failure():
    falling = lep.System(x.diff(t)**2/2 + sp.exp(x), coordinates=[x])
    with pytest.raises(lep.ConvergenceError, match="smaller step"):
        falling.trajectory(lep.Initial(q=[0.0], v=[3.0]), lep.Grid(100, step=0.05), method="gauss")


def test_batch_is_a_loop_over_samples():
    system = lep.System(
        m*x.diff(t)**2/2 - k*(1 - sp.cos(x)) + u*x, coordinates=[x], parameters={m: 1.0, k: 1.0}, inputs=[u]
    )  # fmt: skip
    grid, rng = lep.Grid(40, step=0.1), np.random.default_rng(3)
    q, v, stiffness, drive = rng.normal(size=(3, 1)), rng.normal(size=(3, 1)), [1.0, 2.0, 0.5], rng.normal(size=(3, 41))
    options = {"method": "gauss", "stages": 3, "save": 7}
    together = system.trajectory(lep.Initial(q=q, v=v), grid, inputs={u: drive}, parameters={k: stiffness}, **options)
    for b in range(3):
        alone = system.trajectory(
            lep.Initial(q=q[b], v=v[b]), grid, inputs={u: drive[b]}, parameters={k: stiffness[b]}, **options
        )  # fmt: skip
        np.testing.assert_array_equal(together.t, alone.t)
        for name in ("q", "p", "v", "energy", "action"):
            np.testing.assert_allclose(getattr(together, name)[b], getattr(alone, name), rtol=1e-14, atol=1e-14)


def test_action_is_the_quadrature_along_the_path():
    """Of a free fall, whose path the polynomials hold exactly: the integral of L."""
    fall = lep.System(x.diff(t)**2/2 - 3*x, coordinates=[x])
    path = fall.trajectory(lep.Initial(q=[1.0], v=[2.0]), lep.Grid(5, step=0.3), method="gauss", stages=3, save="last")
    height, end = Polynomial([1.0, 2.0, -1.5]), 1.5
    assert path.action == pytest.approx((height.deriv()**2/2 - 3*height).integ()(end), abs=1e-13)


def test_a_network_of_terms():
    """Terms at places, against the same system written out."""
    n, a = 5, sp.Symbol("a")
    edges = np.stack([np.arange(n - 1), np.arange(1, n)], 1)
    weights = np.linspace(0.5, 1.5, n - 1)
    net = lep.System(
        [lep.Term(x.diff(t)**2/2 - a*x**4/4, on=[x], at=np.arange(n)), lep.Term(-k*(x - y)**2/2, on=[x, y], at=edges),
         lep.Term(u*x, on=[x], at=[1, 3])],
        size=n, parameters={a: 0.3, k: weights}, inputs=[u],
    )  # fmt: skip
    grid, q = lep.Grid(10, step=0.2), np.linspace(-1, 1, n)
    drive = np.random.default_rng(1).normal(size=(2, 11, 2))

    def force(q, now, sample):
        pull, pushed = weights*np.diff(q), np.zeros(n)
        pushed[[1, 3]] = [np.interp(now, grid.t, drive[sample, :, place]) for place in range(2)]
        return -0.3*q**3 + np.append(pull, 0) - np.append(0, pull) + pushed

    path = net.trajectory(lep.Initial(q=q, v=0*q), grid, inputs={u: drive}, method="gauss", stages=3)
    for b in range(2):
        expected, _ = collocation(
            lambda q, p, _: p, lambda q, v, now, b=b: force(q, now, b), q, 0*q, grid.t, 3
        )  # fmt: skip
        np.testing.assert_allclose(path.q[b], expected, rtol=0, atol=1e-12)


def test_rest_where_forces_cancel():
    """What sweeps change there is rounding, which does not shrink and is no failure."""
    held = lep.System(x.diff(t)**2/2 + 100*sp.cos(x) + 50*x, coordinates=[x])
    for angle in np.pi/6 + 1e-16*np.arange(-8, 8):
        path = held.trajectory(lep.Initial(q=[angle], v=[0.0]), lep.Grid(500, step=0.05), method="gauss", save="last")
        assert abs(path.q[0, 0] - np.pi/6) < 1e-12


@pytest.mark.parametrize("stages", [1, 9, 0, -2, 2.5, "4", True])
def test_bad_stages(stages):
    with pytest.raises(ValueError, match="stages must be an integer from 2 to 8; got"):
        pendulum().trajectory(lep.Initial(q=[1.0], v=[0.0]), lep.Grid(5, step=0.1), method="gauss", stages=stages)


def test_what_the_method_refuses():
    begin, grid = lep.Initial(q=[1.0], v=[0.0]), lep.Grid(5, step=0.1)
    cost = lep.Cost(x**2)
    with pytest.raises(ValueError, match="stages must be given with method='gauss' alone"):
        pendulum().trajectory(begin, grid, stages=4)
    with pytest.raises(ValueError, match="compiled must be True with method='gauss'"):
        pendulum().trajectory(begin, grid, method="gauss", compiled=False)
    with pytest.raises(ValueError, match="dtype must be 'float64' with method='gauss'"):
        pendulum().trajectory(begin, grid, method="gauss", dtype="float32")
    with pytest.raises(ValueError, match="boundary must be lep.Initial, lep.Ends or lep.Periodic"):
        pendulum().trajectory(None, grid, method="gauss")
    with pytest.raises(ValueError, match="method must be .* here; from initial data"):
        pendulum().trajectory(begin, grid, method="gauss", cost=cost, nudge=0.1)
    many = lep.System([lep.Term(x.diff(t)**2/2 - x**2/2, on=[x], at=np.arange(3000))], size=3000)
    with pytest.raises(ValueError, match="method must fit the size of the system"):
        many.trajectory(lep.Initial(q=np.ones(3000), v=np.ones(3000)), grid, method="gauss")


# ---------------------------------------------------------------------- the gradient
COSTS = (lep.Cost(r*(x - aim)**2/2 + sp.sin(y), targets=[aim], parameters={r: 1.3}), lep.Cost(x*y**2, when="end"))
DRIVEN = lep.System(
    -m*sp.sqrt(3 - x.diff(t)**2 - y.diff(t)**2) + x*y.diff(t)/5 - k*(x**4 + y**2 + x*y)/4*(1 + t/10) + u*(x - y),
    coordinates=[x, y], parameters={m: 1.2, k: 0.8}, inputs=[u],
)  # fmt: skip
PENDULA = lep.System(
    m*(x.diff(t)**2 + y.diff(t)**2/2 + sp.cos(x - y)*x.diff(t)*y.diff(t)) + k*(2*sp.cos(x) + sp.cos(y)),
    coordinates=[x, y], parameters={m: 0.9, k: 3.0},
)  # fmt: skip


def gradient_of(system, stages, steps=25, q=(1.2, 0.7), p=(0.3, -0.2), **parameters):
    """dJ by parameters, q_0 and p_0, and the losses, of samples with targets and inputs of their own."""
    grid = lep.Grid(steps, step=0.08)
    inputs = {u: np.stack([np.sin(3*grid.t), 0.4*np.cos(grid.t)])} if system is DRIVEN else {}
    aims = {aim: np.stack([0.3*np.cos(grid.t), 0.2*grid.t])}
    problem = Problem(system, grid, COSTS, targets=aims, inputs=inputs, parameters=parameters, method="gauss")
    return exact_gauss(problem, Start(problem, lep.Initial(q=q, p=p)), stages)


def slope(function):
    """The derivative at 0 by differences of order 8."""
    e, weights = 0.01, (4/5, -1/5, 4/105, -1/280)
    return sum(w*(function(n*e) - function(-n*e)) for n, w in enumerate(weights, 1))/e


@pytest.mark.parametrize("system", [PENDULA, DRIVEN])
@pytest.mark.parametrize("stages", [2, 3, 5, 8])
@pytest.mark.filterwarnings("ignore::lagrangian_eqprop.AccuracyWarning")
def test_gradient_against_differences(system, stages):
    parts, losses, failures = gradient_of(system, stages)
    assert failures.good.all() and losses.shape == (2,)
    values = {"m": float(system.parameters[m]), "k": float(system.parameters[k]), "r": 1.3}
    for found, (name, value) in zip(parts.g, values.items(), strict=True):
        moved = slope(lambda e, name=name, value=value: gradient_of(system, stages, **{name: value + e})[1].sum())
        assert found == pytest.approx(moved, abs=2e-10, rel=2e-10)
    for i in range(2):
        unit = np.eye(2)[i]
        by_q = slope(lambda e, unit=unit: gradient_of(system, stages, q=np.array([1.2, 0.7]) + e*unit)[1])
        by_p = slope(lambda e, unit=unit: gradient_of(system, stages, p=np.array([0.3, -0.2]) + e*unit)[1])
        np.testing.assert_allclose(parts.dq[:, i], by_q, rtol=2e-10, atol=2e-10)
        np.testing.assert_allclose(parts.dp[:, i], by_p, rtol=2e-10, atol=2e-10)


def test_gradient_with_parameters_of_each_sample():
    shared, _, _ = gradient_of(DRIVEN, 4)
    apart, losses, _ = gradient_of(DRIVEN, 4, k=[0.8, 0.8])
    assert apart.g.shape == (4,)
    assert apart.g[1:3].sum() == pytest.approx(shared.g[1], rel=1e-12)
    other, changed, _ = gradient_of(DRIVEN, 4, k=[0.8, 0.5])
    assert other.g[1] == pytest.approx(apart.g[1], rel=1e-12) and other.g[2] != pytest.approx(apart.g[2], rel=1e-3)
    assert changed[0] == pytest.approx(losses[0], rel=1e-13)


def test_gradient_in_stretches(monkeypatch):
    """Memory for a part of the steps gives the same."""
    whole, losses, _ = gradient_of(DRIVEN, 4, steps=600)
    monkeypatch.setattr(gauss, "_CHUNK", 1)
    parts, again, _ = gradient_of(DRIVEN, 4, steps=600)
    np.testing.assert_allclose(again, losses, rtol=1e-11)
    for name in ("g", "dq", "dp"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-9, atol=1e-9)
