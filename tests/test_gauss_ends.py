"""Gauss elements between two ends: order, closed forms, Morse index, gradients, and what leads back to them.

Oracles: the Gauss-Legendre discrete Lagrangian in complex numpy, its interior points found by Newton in the basis of
Lagrange (the library has modes), under the dense Newton and the complex steps of ``oracles``; Pade approximants of the
harmonic oscillator; scipy's DOP853; and the library's own Gauss method from initial data, which shares no code with it.
"""

from __future__ import annotations

import numpy as np
import oracles
import pytest
import sympy as sp
from oracles import Loss, Mechanics, assert_agrees, assert_close, between, ends_gradients
from scipy.integrate import solve_ivp
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep

t = dynamicsymbols._t
x, z = dynamicsymbols("x z")
m, k, a, u, y, g = sp.symbols("m k a u y g")
PLAIN = {"compiled": False}


def points(stages):
    """Gauss nodes and weights on (0, 1); values and slopes there of the Lagrange polynomials of s + 1 knots; the knots.

    The knots are those of Chebyshev and both ends, the interior ones first.
    """
    nodes, w = np.polynomial.legendre.leggauss(stages)
    knots = -np.cos(np.pi*np.arange(stages + 1)/stages)[[*range(1, stages), 0, stages]]
    inverse = np.linalg.inv(np.polynomial.chebyshev.chebvander(knots, stages))
    slopes = [np.polynomial.chebyshev.chebval(nodes, np.polynomial.chebyshev.chebder(column)) for column in inverse.T]
    values = np.polynomial.chebyshev.chebvander(nodes, stages) @ inverse
    return (nodes + 1)/2, w/2, values, 2*np.stack(slopes, 1), (knots + 1)/2


def gauss_rule(stages):
    """A rule of ``oracles``: D_1, D_2, D_11, D_12, D_22 of the discrete Lagrangian of this many stages."""
    c, w, values, slopes, knots = points(stages)

    def rule(mechanics, before, after, time, h, theta, inputs):
        d = mechanics.size
        Y = (before + (after - before)*knots[:, None]).astype(complex)
        inner = (stages - 1)*d
        extra = 2
        for _ in range(60):
            G, H = np.zeros(Y.size, complex), np.zeros((Y.size, Y.size), complex)
            for i in range(stages):
                D = np.concatenate([np.kron(values[i], np.eye(d)), np.kron(slopes[i]/h, np.eye(d))])
                Q, V = np.split(D @ Y.ravel(), 2)
                here = inputs[i] if mechanics.inputs else ()
                Lq, Lv, qq, qv, vv = mechanics.derivatives(Q, V, time + c[i]*h, theta, here)
                G += h*w[i]*np.concatenate([Lq, Lv]) @ D
                H += h*w[i]*D.T @ np.block([[qq, qv], [qv.T, vv]]) @ D
            move = np.linalg.solve(H[:inner, :inner], -G[:inner])
            Y[: stages - 1] += move.reshape(-1, d)
            if np.abs(move.real).max() <= 1e-12*(1 + np.abs(Y.real).max()):
                extra -= 1
                if extra < 0:
                    break
        else:
            raise ArithmeticError("the oracle's interval did not converge")
        S = H[inner:, inner:] - H[inner:, :inner] @ np.linalg.solve(H[:inner, :inner], H[:inner, inner:])
        return G[inner : inner + d], G[inner + d :], S[:d, :d], S[:d, d:], S[d:, d:]

    return rule


def stage_inputs(values, stages):
    """Inputs at nodes (N+1, inputs), linear between them, at the stages of every step."""
    c = points(stages)[0][:, None]
    return [before + c*(after - before) for before, after in zip(values[:-1], values[1:], strict=True)]


for _stages in range(2, 9):
    oracles.RULES[f"gauss {_stages}"] = gauss_rule(_stages)

DUFFING = m*x.diff(t)**2/2 - k*x**2/2 - a*x**4/4
PENDULA = m*(x.diff(t)**2 + z.diff(t)**2/2 + x.diff(t)*z.diff(t)*sp.cos(x - z)) + k*(2*sp.cos(x) + sp.cos(z))
ODD = (
    -m*sp.sqrt(3 - x.diff(t)**2 - z.diff(t)**2) + x*z.diff(t)/5 - k*(x**4 + z**2 + x*z)/4*(1 + t/10) + u*(x - z)
)  # fmt: skip


def system_of(L, coordinates, **parameters):
    values = {sp.Symbol(name): value for name, value in parameters.items()}
    return lep.System(L, coordinates=coordinates, parameters=values), Mechanics(L, coordinates, list(values))


# ---------------------------------------------------------------------- the path
@pytest.mark.parametrize("stages", [2, 3, 4, 6, 8])
@pytest.mark.filterwarnings("ignore::lagrangian_eqprop.AccuracyWarning")
def test_path_hessian_and_momenta_against_dense_newton(stages):
    system, mechanics = system_of(PENDULA, [x, z], m=0.9, k=7.0)
    grid, theta = lep.Grid(4, duration=1.2), [0.9, 7.0]
    path = system.trajectory(lep.Ends([0.3, -0.2], [0.4, 0.9]), grid, method="gauss", stages=stages, **PLAIN)
    rule = f"gauss {stages}"
    expected, H = between(mechanics, rule, path.q, theta, grid)
    assert_close(path.q, expected.real, 1e-12)
    assert path.morse_index == np.sum(np.linalg.eigvalsh(H.real) < 0)
    ends = [oracles.RULES[rule](mechanics, path.q[n], path.q[n + 1], 0.0, grid.step, theta, ())[:2] for n in range(4)]
    assert_close(path.p[:-1], np.array([-D1 for D1, _ in ends]).real, 1e-11)
    assert_close(path.p[1:], np.array([D2 for _, D2 in ends]).real, 1e-11)


@pytest.mark.parametrize("stages", [2, 3, 4])
@pytest.mark.filterwarnings("ignore::lagrangian_eqprop.AccuracyWarning")
def test_order(stages):
    """Twice the stages, on a nonlinear problem."""
    system, _ = system_of(DUFFING, [x], m=1.1, k=0.8, a=2.0)

    def rate(_, state):
        return [state[1], -(0.8*state[0] + 2.0*state[0]**3)/1.1]

    errors = []
    for steps in (4, 8) if stages > 2 else (8, 16):
        grid = lep.Grid(steps, duration=2.0)
        truth = solve_ivp(rate, (0, 2.0), [0.6, 1.3], "DOP853", t_eval=grid.t, rtol=1e-13, atol=1e-14).y
        ends = lep.Ends([0.6], truth[:1, -1], guess=truth[:1].T)
        path = system.trajectory(ends, grid, method="gauss", stages=stages, **PLAIN)
        errors.append(np.abs(path.q[:, 0] - truth[0]).max())
    assert abs(np.log2(errors[0]/errors[1]) - 2*stages) < 0.4
    assert errors[0] < 1e-2


def pade_phase(stages, angle):
    """The phase of a Gauss step of the harmonic oscillator: twice the argument of Pade's numerator at i w h."""
    n = np.arange(stages + 1)
    factorial = np.vectorize(lambda j: float(sp.factorial(int(j))))
    terms = factorial(2*stages - n)*factorial(stages)/(factorial(2*stages)*factorial(n)*factorial(stages - n))
    return 2*np.unwrap([0.0, np.angle(np.sum(terms*(1j*angle)**n))])[1]


@pytest.mark.parametrize("stages", [2, 3, 5, 8])
@pytest.mark.parametrize("turns", [0.3, 1.4, 2.3])
@pytest.mark.filterwarnings("ignore::lagrangian_eqprop.AccuracyWarning")
def test_harmonic_oscillator_in_closed_form(stages, turns):
    """q_n = [A sin (N - n) f + B sin n f]/sin N f, p at the nodes, and floor(N f/pi) negative eigenvalues."""
    system, _ = system_of(m*x.diff(t)**2/2 - k*x**2/2, [x], m=1.3, k=2.0)
    steps, w = 6, np.sqrt(2.0/1.3)
    grid = lep.Grid(steps, duration=turns*np.pi/w)
    path = system.trajectory(lep.Ends([0.7], [-0.4]), grid, method="gauss", stages=stages, **PLAIN)
    f, n = pade_phase(stages, w*grid.step), np.arange(steps + 1)
    assert_close(path.q[:, 0], (0.7*np.sin((steps - n)*f) - 0.4*np.sin(n*f))/np.sin(steps*f), 1e-12)
    momenta = 1.3*w*(-0.7*np.cos((steps - n)*f) - 0.4*np.cos(n*f))/np.sin(steps*f)
    assert_close(path.p[:, 0], momenta, 1e-12)
    assert path.morse_index == int(steps*f/np.pi) == int(turns)
    assert_close(path.action, (path.q[-1]*path.p[-1] - path.q[0]*path.p[0])[0]/2, 1e-12)
    assert_close(path.energy, np.full(steps + 1, path.energy[0]), 1e-12)


@pytest.mark.parametrize("stages", [2, 5])
def test_initial_data_of_a_path_lead_to_its_other_end(stages):
    """The Gauss method step by step, from q_0 and p_0."""
    system, _ = system_of(PENDULA, [x, z], m=0.9, k=7.0)
    grid = lep.Grid(12, duration=1.2)
    path = system.trajectory(lep.Ends([0.3, -0.2], [0.4, 0.9]), grid, method="gauss", stages=stages, **PLAIN)
    again = system.trajectory(lep.Initial(path.q[0], p=path.p[0]), grid, method="gauss", stages=stages)
    for name in ("q", "p", "v", "energy", "action"):
        assert_close(getattr(path, name), getattr(again, name), 1e-11)


def test_a_path_by_its_energy_and_velocity():
    system, mechanics = system_of(PENDULA, [x, z], m=0.9, k=7.0)
    path = system.trajectory(lep.Ends([0.3, -0.2], None), lep.Grid(3, duration=0.6), method="gauss", **PLAIN)
    for q, v, p, energy in zip(path.q, path.v, path.p, path.energy, strict=True):
        # of the size of all momenta: at the natural end they vanish
        assert np.abs(np.array(mechanics.momentum(q, v, 0.0, [0.9, 7.0], ())) - p).max() < 1e-12*np.abs(path.p).max()
        assert_close(p @ v - mechanics.value(q, v, 0.0, [0.9, 7.0], ()), energy, 1e-12)
    assert np.abs(path.p[-1]).max() < 1e-13 and path.success and path.residual < 1e-12


# ---------------------------------------------------------------------- gradients
ESTIMATORS = [
    (lep.Exact(), 1e-11), (lep.Adjoint(), 1e-11), (lep.Centered(1e-4), 1e-6), (lep.OneSided(1e-6), 1e-4),
    (lep.Holomorphic(points=8), 1e-10),
]  # fmt: skip
NAMES = [type(estimator).__name__ for estimator, _ in ESTIMATORS]


@pytest.mark.parametrize(("estimator", "tolerance"), ESTIMATORS, ids=NAMES)
@pytest.mark.filterwarnings("ignore::lagrangian_eqprop.AccuracyWarning")
def test_gradient_between_two_ends(estimator, tolerance):
    system, mechanics = system_of(PENDULA, [x, z], m=0.9, k=7.0)
    grid = lep.Grid(3, duration=0.9)
    loss, ends = Loss((x - y)**2*sp.sin(z), [x, z], [y], [m, k]), lep.Ends([0.3, -0.2], [0.4, 0.9])
    aim = np.cos(grid.t)
    options = {"method": "gauss", "stages": 3, "targets": {y: aim}, **PLAIN}
    result = system.gradient(
        ends, grid, lep.Cost((x - y)**2*sp.sin(z), targets=[y]), estimator=estimator, save="all", **options
    )
    expected = ends_gradients(mechanics, "gauss 3", loss, result.path.q, grid, [0.9, 7.0], targets=[aim])
    assert_agrees(result, expected, [m, k], tolerance)


@pytest.mark.parametrize("free", [(False, True), (True, False), (True, True)])
def test_gradient_with_natural_ends_and_a_terminal_cost(free):
    L = m*x.diff(t)**2/2 - k*sp.cosh(x) + sp.sin(3*t)*x
    system, mechanics = system_of(L, [x], m=1.1, k=0.8)
    grid = lep.Grid(4, duration=1.4)
    ends = lep.Ends(None if free[0] else [0.3], None if free[1] else [0.5])
    loss = Loss((x - 0.2)**4, [x], (), [m, k], end=True)
    cost = lep.Cost((x - sp.Rational(1, 5))**4, when="end")
    for estimator, tolerance in ((lep.Exact(), 1e-11), (lep.Adjoint(), 1e-11), (lep.Centered(1e-3), 1e-5)):
        result = system.gradient(
            ends, grid, cost, method="gauss", stages=4, estimator=estimator, save="all", **PLAIN
        )  # fmt: skip
        expected = ends_gradients(mechanics, "gauss 4", loss, result.path.q, grid, [1.1, 0.8], free=free)
        if not free[1]:  # the cost stands at the fixed end
            assert_close(result.ends.stop, [4*(0.5 - 0.2)**3], tolerance)
            continue
        assert_agrees(result, expected, [m, k], tolerance)
        assert all(abs(result.path.p[end, 0]) < 1e-12 for end, natural in zip((0, -1), free, strict=True) if natural)


def test_odd_velocities_inputs_and_explicit_time():
    system = lep.System(ODD, coordinates=[x, z], parameters={m: 1.2, k: 0.8}, inputs=[u])
    mechanics = Mechanics(ODD, [x, z], [m, k], [u])
    grid = lep.Grid(4, duration=0.8, start=0.4)
    values = np.random.default_rng(1).normal(size=5)
    loss, ends = Loss(x**2*z, [x, z], (), [m, k]), lep.Ends([0.1, 0.2], [0.4, -0.3])
    options = {"method": "gauss", "stages": 3, "inputs": {u: values}, **PLAIN}
    cost = lep.Cost(x**2*z)
    result = system.gradient(ends, grid, cost, save="all", **options)
    driven = stage_inputs(values[:, None], 3)
    expected = ends_gradients(mechanics, "gauss 3", loss, result.path.q, grid, [1.2, 0.8], u=driven)
    assert_agrees(result, expected, [m, k], 1e-11)
    smooth = {**options, "inputs": {u: lambda time: np.sin(5*time)}}
    c = points(3)[0]
    driven = [np.sin(5*(begin + c*grid.step))[:, None] for begin in grid.t[:-1]]
    path = system.trajectory(ends, grid, **smooth)
    assert_close(path.q, between(mechanics, "gauss 3", path.q, [1.2, 0.8], grid, u=driven)[0].real, 1e-12)


def test_nudged_path():
    system, mechanics = system_of(PENDULA, [x, z], m=0.9, k=7.0)
    grid, beta = lep.Grid(4, duration=0.9), 0.3
    options = {"method": "gauss", "stages": 4, "cost": lep.Cost((x - 1)**2*z), "nudge": beta, **PLAIN}
    path = system.trajectory(lep.Ends([0.3, -0.2], None), grid, **options)
    w = np.full(5, grid.step)
    w[[0, -1]] /= 2

    def force(q):
        slope = beta*w[:, None]*np.stack([2*(q[:, 0] - 1)*q[:, 1], (q[:, 0] - 1)**2], 1)
        curvature = np.zeros((10, 10), complex)
        for n in range(5):
            cross = 2*(q[n, 0] - 1)
            curvature[2*n : 2*n + 2, 2*n : 2*n + 2] = beta*w[n]*np.array([[2*q[n, 1], cross], [cross, 0]])
        return slope, curvature

    expected, H = between(mechanics, "gauss 4", path.q, [0.9, 7.0], grid, (False, True), force=force)
    assert_close(path.q, expected.real, 1e-12)
    assert path.morse_index == np.sum(np.linalg.eigvalsh(H.real) < 0)


@pytest.mark.filterwarnings("ignore::lagrangian_eqprop.AccuracyWarning")
def test_loss_of_a_batch_is_that_of_its_samples():
    system, _ = system_of(PENDULA, [x, z], m=0.9, k=7.0)
    grid, stops = lep.Grid(2, duration=0.6), np.array([[0.4, 0.9], [0.5, 0.1]])
    options = {"method": "gauss", "stages": 3, "parameters": {k: np.array([7.0, 6.0])}, **PLAIN}
    cost = lep.Cost(x*z)
    both = system.gradient(lep.Ends([0.3, -0.2], stops), grid, cost, **options)
    assert both.losses.shape == (2,) and both.ends.stop.shape == (2, 2)
    for b in range(2):
        one = {**options, "parameters": {k: [7.0, 6.0][b]}}
        alone = system.gradient(lep.Ends([0.3, -0.2], stops[b]), grid, cost, **one)
        assert_close(both.losses[b], alone.losses, 1e-13)
        assert_close(2*both[k][b], alone[k], 1e-11)
        assert_close(2*both.ends.stop[b], alone.ends.stop, 1e-11)


# ---------------------------------------------------------------------- machine code
def test_compiled_gradients_of_a_batch_with_inputs():
    """Intervals fill the lanes of one value and part of the next; samples have ends, targets and parameters."""
    system = lep.System(ODD, coordinates=[x, z], parameters={m: 1.2, k: 0.8}, inputs=[u])
    mechanics = Mechanics(ODD, [x, z], [m, k], [u])
    grid = lep.Grid(10, duration=1.0, start=0.4)
    drives, aims = np.random.default_rng(1).normal(size=(2, 2, 11))
    starts, stops, values = np.array([[0.1, 0.2], [0.3, 0.0]]), np.array([[0.4, -0.3], [0.2, 0.5]]), [0.8, 1.5]
    loss, cost = Loss((x - y)**2*z*m, [x, z], [y], [m, k]), lep.Cost((x - y)**2*z*m, targets=[y])
    options = {"method": "gauss", "stages": 3, "inputs": {u: drives}, "targets": {y: aims},
               "parameters": {k: np.array(values)}}  # fmt: skip
    ends = lep.Ends(starts, stops)
    result = system.gradient(ends, grid, cost, save="all", **options)
    for b in range(2):
        driven, theta = stage_inputs(drives[b][:, None], 3), [1.2, values[b]]
        expected = ends_gradients(
            mechanics, "gauss 3", loss, result.path.q[b], grid, theta, u=driven, targets=[aims[b]]
        )  # fmt: skip
        q, H = between(mechanics, "gauss 3", result.path.q[b], theta, grid, u=driven)
        assert_close(result.path.q[b], q.real, 1e-12)
        assert result.path.morse_index[b] == np.sum(np.linalg.eigvalsh(H.real) < 0)
        assert_close(result.losses[b], expected["loss"], 1e-12)
        assert_close(2*result[k][b], expected["theta"][1], 1e-11)
        assert_close(2*result.ends.start[b], expected["start"], 1e-11)
        assert_close(2*result.ends.stop[b], expected["stop"], 1e-11)
    plain = system.trajectory(
        ends, grid, **{key: options[key] for key in ("method", "stages", "inputs", "parameters")}, **PLAIN
    )  # fmt: skip
    for name in ("q", "p", "v", "energy", "action"):
        assert_close(getattr(result.path, name), getattr(plain, name), 1e-12)


@pytest.fixture(scope="module")
def pendula():
    return system_of(PENDULA, [x, z], m=1.0, k=9.81)[0]


def truth_of(velocity, nodes):
    """The double pendulum from (0.3, -0.2) for a second, by DOP853."""

    def rate(_, state):
        one, two, v, w = state
        c, s = np.cos(one - two), np.sin(one - two)
        f, h = -w*w*s - 2*9.81*np.sin(one), v*v*s - 9.81*np.sin(two)
        return [v, w, (f - c*h)/(2 - c*c), (2*h - c*f)/(2 - c*c)]

    begin = np.array([0.3, -0.2, *velocity])
    return solve_ivp(rate, (0, 1), begin, "DOP853", np.linspace(0, 1, nodes), rtol=1e-13, atol=1e-13).y[:2].T


def test_eight_elements_of_eight_stages_reach_the_continuous_path(pendula):
    """From the straight line to 1e-10; alone, in a batch and step by step from p_0 it is the same path."""
    grid, truth = lep.Grid(8, duration=1.0), truth_of((3.0, -1.0), 9)
    options = {"method": "gauss", "stages": 8}
    path = pendula.trajectory(lep.Ends(truth[0], truth[-1]), grid, **options)
    assert np.abs(path.q - truth).max() < 1e-10
    again = pendula.trajectory(lep.Initial(path.q[0], p=path.p[0]), grid, **options)
    assert_close(again.q, path.q, 1e-11)
    others = np.stack([truth_of((3.0 + 0.2*n, -1.0), 9) for n in range(3)])
    many = pendula.trajectory(lep.Ends(others[:, 0], others[:, -1]), grid, **options)
    assert np.abs(many.q - others).max() < 1e-9 and (many.morse_index == 1).all()
    assert_close(many.q[0], path.q, 1e-13)


def test_ends_for_which_plain_newton_fails(pendula):
    """From (0.3, -0.2) to (1.0, 0.5) in a second."""
    grid, options = lep.Grid(8, duration=1.0), {"method": "gauss", "stages": 5}
    path = pendula.trajectory(lep.Ends([0.3, -0.2], [1.0, 0.5]), grid, **options, **PLAIN)
    again = pendula.trajectory(lep.Initial(path.q[0], p=path.p[0]), grid, **options)
    assert path.success and path.residual < 1e-10
    assert_close(again.q, path.q, 1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.filterwarnings("ignore::lagrangian_eqprop.AccuracyWarning")
def test_a_mass_without_a_sign(compiled):
    """L = m x' z' - k x z: every pivot on the diagonal vanishes, and the modes are eliminated with exchanges."""
    system, mechanics = system_of(m*x.diff(t)*z.diff(t) - k*x*z, [x, z], m=1.0, k=1.0)
    grid, ends, loss = lep.Grid(5, duration=1.0), lep.Ends([0.3, 0.2], [0.1, 0.5]), Loss(x**2*z, [x, z], (), [m, k])
    for estimator, tolerance in ((lep.Exact(), 1e-11), (lep.Centered(1e-3), 1e-6), (lep.Holomorphic(), 1e-11)):
        result = system.gradient(
            ends, grid, lep.Cost(x**2*z), method="gauss", stages=3, estimator=estimator, save="all", compiled=compiled
        )  # fmt: skip
        expected = ends_gradients(mechanics, "gauss 3", loss, result.path.q, grid, [1.0, 1.0])
        assert_agrees(result, expected, [m, k], tolerance)


@pytest.mark.slow
def test_compiled_estimators_agree():
    system, mechanics = system_of(PENDULA, [x, z], m=0.9, k=7.0)
    grid, ends = lep.Grid(9, duration=0.9), lep.Ends([0.3, -0.2], None)
    loss, cost = Loss((x - 1)**2*z, [x, z], (), [m, k]), lep.Cost((x - 1)**2*z)
    for estimator, tolerance in ESTIMATORS:
        result = system.gradient(ends, grid, cost, method="gauss", stages=5, estimator=estimator, save="all")
        expected = ends_gradients(mechanics, "gauss 5", loss, result.path.q, grid, [0.9, 7.0], free=(False, True))
        assert_agrees(result, expected, [m, k], tolerance)


# ---------------------------------------------------------------------- guards
@pytest.mark.filterwarnings("ignore::lagrangian_eqprop.AccuracyWarning")
def test_conjugate_ends_and_failures_are_errors():
    system, _ = system_of(m*x.diff(t)**2/2 - k*x**2/2, [x], m=1.0, k=1.0)
    angle = 0.3
    for _ in range(6):  # the angle whose phase over four steps is pi
        angle += np.pi/4 - pade_phase(3, angle)
    with pytest.raises(lep.ConvergenceError, match="Hessian of the action is singular.*conjugate"):
        system.trajectory(lep.Ends([0.0], [0.5]), lep.Grid(4, step=angle), method="gauss", stages=3, **PLAIN)
    steep, _ = system_of(m*x.diff(t)**2/2 - k*sp.exp(30*x**2), [x], m=1.0, k=1.0)
    bad = lep.Ends([[0.0], [0.1]], [[3.0], [0.2]])
    options = {"method": "gauss", "stages": 2, **PLAIN}
    with pytest.raises(lep.ConvergenceError, match="1 of 2 samples failed; the first: no stationary path"):
        steep.trajectory(bad, lep.Grid(2, duration=0.1), **options)
    path = steep.trajectory(bad, lep.Grid(2, duration=0.1), on_failure="return", **options)
    assert path.success.tolist() == [False, True] and np.isnan(path.q[0]).all() and np.isnan(path.action[0])
    assert np.isfinite(path.action[1])


def test_a_path_that_is_not_resolved_is_reported():
    system, _ = system_of(m*x.diff(t)**2/2 - k*x**2/2, [x], m=1.0, k=100.0)
    with pytest.warns(lep.AccuracyWarning, match="step 0.5 with 3 stages does not resolve the path"):
        system.trajectory(lep.Ends([0.3], [0.4]), lep.Grid(2, duration=1.0), method="gauss", stages=3, **PLAIN)


def test_bad_stages_between_ends():
    system, _ = system_of(DUFFING, [x], m=1.0, k=1.0, a=1.0)
    with pytest.raises(ValueError, match="stages must be an integer from 2 to 8; got 9"):
        system.trajectory(lep.Ends([0.3], [0.4]), lep.Grid(2, duration=1.0), method="gauss", stages=9)
    with pytest.raises(ValueError, match="stages must be given with method='gauss' alone"):
        system.gradient(lep.Ends([0.3], [0.4]), lep.Grid(2, duration=1.0), lep.Cost(x), stages=3)


def test_check_compares_with_the_forward_map():
    system, _ = system_of(DUFFING, [x], m=0.9, k=1.0, a=2.0)
    found = system.check(lep.Ends([0.3], [0.4]), lep.Grid(2, duration=0.6), lep.Cost(x**2), method="gauss", **PLAIN)
    assert found.passed, str(found)
