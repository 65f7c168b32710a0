"""Two-point problems: closed forms of the discrete harmonic oscillator, the Morse index, conjugate ends.

With fixed ends the Hessian of the discrete action has the eigenvalues (2m/h)(1 - cos(j pi/N)) - h k, j = 1..N-1, of
which floor(N f/pi) are negative; f is the phase a step turns by (Milnor 1963; Marsden and West 2001).
"""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from oracles import Loss, Mechanics, assert_close, between, ends_gradients
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep

t = dynamicsymbols._t
q, x, z = dynamicsymbols("q x z")
m, k, a, u, y = sp.symbols("m k a u y")
PLAIN = {"compiled": False}
SPRING = lep.System(m*q.diff(t)**2/2 - k*q**2/2, coordinates=[q], parameters={m: 1.0, k: 1.0})
BOTH = pytest.mark.parametrize("method", ["verlet", "midpoint"])


def step_of(phase, method):
    """h w for a phase a step."""
    return 2*np.sin(phase/2) if method == "verlet" else 2*np.tan(phase/2)


@BOTH
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(("phase", "steps"), [(np.pi/2, 5), (np.pi/4, 10), (np.pi/2, 7), (np.pi/3, 10), (0.3, 25)])
def test_oscillator_between_two_ends(phase, steps, method, compiled):
    """Among them those where elimination node by node divides by zero."""
    grid = lep.Grid(steps, step=step_of(phase, method))
    path = SPRING.trajectory(lep.Ends([0.7], [-0.4]), grid, method=method, compiled=compiled)
    n = np.arange(steps + 1)
    exact = (0.7*np.sin(phase*(steps - n)) - 0.4*np.sin(phase*n))/np.sin(phase*steps)
    assert_close(path.q[:, 0], exact, 1e-12)
    assert path.morse_index == int(steps*phase/np.pi)
    assert path.success and path.residual < 1e-12


@BOTH
@pytest.mark.parametrize("phase", [0.1, 0.25, 0.5, 0.8, 1.3])
def test_morse_index_counts_negative_eigenvalues(phase, method):
    steps, h = 11, step_of(phase, method)
    path = SPRING.trajectory(lep.Ends([0.7], [-0.4]), lep.Grid(steps, step=h), method=method, **PLAIN)
    mechanics = Mechanics(m*q.diff(t)**2/2 - k*q**2/2, [q], [m, k])
    H = between(mechanics, method, path.q, [1.0, 1.0], lep.Grid(steps, step=h))[1].real
    j = np.arange(1, steps)*np.pi/steps
    if method == "verlet":
        assert_close(np.linalg.eigvalsh(H), 2/h*(1 - np.cos(j)) - h, 1e-12)
    assert path.morse_index == int(steps*phase/np.pi) == np.sum(np.linalg.eigvalsh(H) < 0)


def test_gradient_of_the_middle_of_an_oscillator():
    """q_mid = (a + b)/(2 cos(N f/2)) and dJ/dk of (q_mid - y)^2/2 in closed form."""
    steps, phase, mass, start, stop, aim = 12, 0.35, 1.3, 0.7, -0.2, 0.4
    h = 0.2
    stiffness = mass*(2*np.sin(phase/2)/h)**2
    weights = np.zeros(steps + 1)
    weights[steps//2] = 1
    cost = lep.Cost((q - y)**2/2, targets=[y], weights=weights)
    options = {"targets": {y: aim}, "parameters": {m: mass, k: stiffness}, "save": "all", **PLAIN}
    middle = (start + stop)/(2*np.cos(steps*phase/2))
    slope = (start + stop)*np.sin(steps*phase/2)*steps/2/(2*np.cos(steps*phase/2)**2)*h**2/(2*mass*np.sin(phase))
    for estimator, tolerance in ((lep.Exact(), 1e-11), (lep.Adjoint(), 1e-11), (lep.Centered(1e-4), 1e-6)):
        result = SPRING.gradient(
            lep.Ends([start], [stop]), lep.Grid(steps, step=h), cost, estimator=estimator, **options
        )
        assert_close(result.path.q[steps//2, 0], middle, 1e-12)
        assert_close(result[k], (middle - aim)*slope, tolerance)
        assert_close(result.ends.start, [(middle - aim)/(2*np.cos(steps*phase/2))], tolerance)


@BOTH
@pytest.mark.parametrize("steps", [3, 4, 6, 9])
def test_a_conjugate_end_is_named(steps, method):
    grid = lep.Grid(steps, step=step_of(np.pi/steps, method))
    with pytest.raises(lep.ConvergenceError, match="Hessian of the action is singular.*conjugate"):
        SPRING.trajectory(lep.Ends([0.0], [0.5]), grid, method=method, **PLAIN)


@BOTH
def test_natural_ends_have_no_momentum(method):
    """A driven oscillator, one or both ends natural, against dense Newton."""
    L, theta = m*q.diff(t)**2/2 - k*sp.cosh(q) + sp.sin(3*t)*q, [1.1, 0.8]
    system, mechanics = lep.System(L, coordinates=[q], parameters={m: 1.1, k: 0.8}), Mechanics(L, [q], [m, k])
    grid = lep.Grid(14, step=0.07)
    for ends, free in ((lep.Ends([0.3], None), (False, True)), (lep.Ends(None, [0.3]), (True, False)),
                       (lep.Ends(None, None), (True, True))):  # fmt: skip
        path = system.trajectory(ends, grid, method=method, **PLAIN)
        expected, H = between(mechanics, method, path.q, theta, grid, free)
        assert_close(path.q, expected.real, 1e-12)
        assert path.morse_index == np.sum(np.linalg.eigvalsh(H.real) < 0)
        assert all(abs(path.p[end, 0]) < 1e-13 for end, natural in zip((0, -1), free) if natural)


@BOTH
def test_one_step_to_a_natural_end(method):
    L = m*q.diff(t)**2/2 - k*q**2/2 - q**4/4
    system, grid = lep.System(L, coordinates=[q], parameters={m: 1.0, k: 0.5}), lep.Grid(1, step=0.3)
    mechanics, loss = Mechanics(L, [q], [m, k]), Loss(q**2, [q], (), [m, k])
    ends = lep.Ends([0.7], None)
    path = system.trajectory(ends, grid, method=method, **PLAIN)
    expected = ends_gradients(mechanics, method, loss, path.q, grid, [1.0, 0.5], free=(False, True))
    for estimator in (lep.Exact(), lep.Adjoint()):
        result = system.gradient(ends, grid, lep.Cost(q**2), method=method, estimator=estimator, **PLAIN)
        assert_close([result[m], result[k]], expected["theta"], 1e-11)
        assert_close(result.ends.start, expected["start"], 1e-11)


@BOTH
def test_ends_of_an_initial_value_path_lead_back_to_it(method):
    """Chaotic enough to need the guess, with a Morse index above zero."""
    L = (x.diff(t)**2 + z.diff(t)**2)/2 - (x**2 + z**2)/2 - x**2*z + z**3/3
    system, grid = lep.System(L, coordinates=[x, z]), lep.Grid(25, step=0.2)
    path = system.trajectory(lep.Initial([0.1, 0.2], v=[0.3, -0.1]), grid, method=method, **PLAIN)
    ends = lep.Ends(path.q[0], path.q[-1], guess=path.q + 1e-3*np.sin(np.arange(26))[:, None])
    found = system.trajectory(ends, grid, method=method, **PLAIN)
    assert_close(found.q, path.q, 1e-10)
    assert_close(found.p, path.p, 1e-10)
    assert found.morse_index >= 1


def test_inputs_between_two_ends():
    L = m*q.diff(t)**2/2 - q**4/4 + u*q
    system = lep.System(L, coordinates=[q], parameters={m: 1.0}, inputs=[u])
    grid = lep.Grid(10, step=0.1)
    values = np.random.default_rng(0).normal(size=11)
    mechanics, loss = Mechanics(L, [q], [m], [u]), Loss(q**3, [q], (), [m])
    for method, driven in (("verlet", list(zip(values[:-1, None], values[1:, None]))),
                           ("midpoint", (values[1:, None] + values[:-1, None])/2)):  # fmt: skip
        options = {"inputs": {u: values}, "method": method, **PLAIN}
        path = system.trajectory(lep.Ends([0.1], [0.4]), grid, **options)
        expected = ends_gradients(mechanics, method, loss, path.q, grid, [1.0], u=driven)
        result = system.gradient(lep.Ends([0.1], [0.4]), grid, lep.Cost(q**3), **options)
        assert_close(result[m], expected["theta"][0], 1e-11)
        assert_close(result.ends.stop, expected["stop"], 1e-11)


def test_double_pendulum_where_plain_newton_fails():
    """From (0.3, -0.2) to (1.0, 0.5) in one second."""
    speed = [x.diff(t), z.diff(t)]
    L = speed[0]**2 + speed[1]**2/2 + speed[0]*speed[1]*sp.cos(x - z) + 9.81*(2*sp.cos(x) + sp.cos(z))
    system, grid = lep.System(L, coordinates=[x, z]), lep.Grid(40, duration=1.0)
    path = system.trajectory(lep.Ends([0.3, -0.2], [1.0, 0.5]), grid, **PLAIN)
    again = system.trajectory(lep.Initial(path.q[0], p=path.p[0]), grid, **PLAIN)
    assert_close(again.q, path.q, 1e-8)


def test_blocks_that_do_not_fit_in_memory_are_refused_at_once():
    n = 3000
    system = lep.System([lep.Term(x.diff(t)**2/2, on=[x], at=np.arange(n))], size=n)
    with pytest.raises(MemoryError, match="steps times size squared"):
        system.trajectory(lep.Ends(np.zeros(n), np.ones(n)), lep.Grid(10**6, step=0.1), **PLAIN)


def test_a_path_that_does_not_exist_is_not_found():
    """Bratu's problem q'' = -c exp(q): too strong a force lets nothing stay (c T^2 > 3.52 from 0 to 0)."""
    system = lep.System(q.diff(t)**2/2 - 4*sp.exp(q), coordinates=[q])
    with pytest.raises(lep.ConvergenceError, match="no stationary path found.*residual.*guess"):
        system.trajectory(lep.Ends([0.0], [0.0]), lep.Grid(20, duration=1.5), **PLAIN)


def test_a_path_at_rest_in_an_equilibrium_is_one():
    x, a = sp.Function("x")(sp.Symbol("t")), sp.Symbol("a")
    well = lep.System(x.diff()**2/2 - (x**2 - a)**2, coordinates=[x], parameters={a: 2.0})
    path = well.trajectory(lep.Ends([2**0.5], [2**0.5]), lep.Grid(50, step=0.05), compiled=False)
    assert path.success
    assert np.abs(path.q - 2**0.5).max() < 1e-12


def test_beyond_a_conjugate_time_the_guess_is_bent():
    """The branch of the straight line has ended in a fold; the path that is left makes a detour."""
    q, (k, a) = dynamicsymbols("q"), sp.symbols("k a")
    system = lep.System(q.diff()**2/2 - k*q**2/2 - a*q**4/4, coordinates=[q], parameters={k: 1.0, a: 0.3})
    grid = lep.Grid(40, duration=3.2)
    path = system.trajectory(lep.Ends([0.7], [0.2]), grid)
    assert path.residual < 1e-12
    again = system.trajectory(lep.Initial(q=path.q[0], p=path.p[0]), grid)
    np.testing.assert_allclose(again.q, path.q, atol=1e-10)
