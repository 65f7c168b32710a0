"""Natural ends with a potential: closed forms, and dense Newton in complex numpy on the action with W added."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from oracles import Loss, Mechanics, assert_close, between, complex_step, drive_of
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep

t = dynamicsymbols._t
q, x, z = dynamicsymbols("q x z")
m, k, a, b, c, u = sp.symbols("m k a b c u")
PLAIN = {"compiled": False}
BOTH = pytest.mark.parametrize("method", ["verlet", "midpoint"])


@BOTH
def test_a_free_particle_on_a_spring(method):
    """m (q_N - q_0)/T = -c q_N, whatever the step."""
    mass, stiff, T, start, aim = 1.3, 0.7, 2.0, 0.9, 0.2
    system = lep.System(m*q.diff(t)**2/2, coordinates=[q], parameters={m: mass})
    ends = lep.Ends([start], None, stop=lep.Cost(c*q**2/2, when="end", parameters={c: stiff}))
    grid, cost = lep.Grid(6, duration=T), lep.Cost((q - aim)**2/2, when="end")
    path = system.trajectory(ends, grid, method=method, **PLAIN)
    last = mass*start/(mass + stiff*T)
    assert_close(path.q[-1, 0], last, 1e-13)
    assert_close(path.p[-1, 0], -stiff*last, 1e-13)
    assert path.morse_index == 0
    result = system.gradient(ends, grid, cost, method=method, **PLAIN)
    assert_close(result[c], -(last - aim)*mass*start*T/(mass + stiff*T)**2, 1e-12)
    assert_close(result[m], (last - aim)*start*stiff*T/(mass + stiff*T)**2, 1e-12)
    assert_close(result.ends.start, [(last - aim)*mass/(mass + stiff*T)], 1e-12)
    assert result.ends.stop is None
    stiffer = system.trajectory(ends, grid, parameters={c: -1.0}, method=method, **PLAIN)  # m/T + c < 0: a saddle
    assert stiffer.morse_index == 1


def setting(method):
    """Two coordinates, potentials that are neither even nor quadratic, the mass in one of them."""
    L = m*x.diff(t)**2/2 + z.diff(t)**2 - k*(x**2 + z**2)/2 - x**2*z*k + u*x
    if method == "midpoint":
        L += k*x*z*z.diff(t)
    W0, WN = b*(x - 0.3)**2*m + x*z*b/4, sp.exp(c*z)/2 + c*x**4 + x*sp.cos(t)
    symbols, theta = [m, k, b, c], np.array([1.2, 0.6, 0.5, 0.8])
    system = lep.System(L, coordinates=[x, z], parameters={m: 1.2, k: 0.6}, inputs=[u])
    start = lep.Cost(W0, when="end", parameters={b: 0.5})
    stop = lep.Cost(WN, when="end", parameters={c: 0.8})
    return L, W0, WN, symbols, theta, system, start, stop


@BOTH
@pytest.mark.parametrize("which", ["start", "stop", "both"])
def test_gradients_by_every_estimator(which, method):
    L, W0, WN, symbols, theta, system, start, stop = setting(method)
    grid, drive = lep.Grid(7, duration=1.1, start=0.2), {u: lambda s: 0.5*np.cos(2*s)}
    chosen = {"start": {"start": start}, "stop": {"stop": stop}, "both": {"start": start, "stop": stop}}[which]
    ends = lep.Ends(None if "start" in chosen else [0.2, -0.1], None if "stop" in chosen else [0.4, 0.3], **chosen)
    known = [m, k, *([b] if "start" in chosen else []), *([c] if "stop" in chosen else [])]
    picked = [symbols.index(s) for s in known]
    cost = [lep.Cost((x + z)**2/2 + k*x**3), lep.Cost(x*z, when="end")]
    options = {"inputs": drive, "method": method, **PLAIN}
    path = system.trajectory(ends, grid, **options)

    first = [[W.diff(s) for s in (x, z)] for W in (W0, WN)]
    slopes = [sp.lambdify([[x, z], symbols, t], [f, [[g.diff(s) for s in (x, z)] for g in f]]) for f in first]
    mechanics, losses = Mechanics(L, [x, z], symbols, [u]), [Loss((x + z)**2/2 + k*x**3, [x, z], (), symbols),
                                                             Loss(x*z, [x, z], (), symbols, end=True)]  # fmt: skip

    def pull(theta):
        def force(nodes):
            slope, curvature = np.zeros(nodes.shape, complex), np.zeros((nodes.size,)*2, complex)
            for name, node, place, of, when in (("start", 0, slice(0, 2), slopes[0], 0.2),
                                                ("stop", -1, slice(-2, None), slopes[1], 1.3)):  # fmt: skip
                if name in chosen:
                    first, second = of(nodes[node], theta, when)
                    slope[node] -= first
                    curvature[place, place] -= np.array(second)
            return slope, curvature
        return force

    def J(values, first=None, last=None):
        full = theta.astype(complex)
        full[picked] = values
        nodes = path.q.astype(complex)
        for node, given in ((0, first), (-1, last)):
            nodes[node] = nodes[node] if given is None else given
        free = ("start" in chosen, "stop" in chosen)
        nodes, H = between(mechanics, method, nodes, full, grid, free, drive_of([drive[u]], method, grid), pull(full))
        J.nodes, J.H = nodes, H
        return sum(loss(nodes, grid, full) for loss in losses)

    value = J(theta[picked]).real
    assert_close(path.q, J.nodes.real, 1e-12)
    assert path.morse_index == np.sum(np.linalg.eigvalsh(J.H.real) < 0)
    if "start" in chosen:
        assert_close(path.p[0], np.real(slopes[0](path.q[0], theta, 0.2)[0]), 1e-11)
    if "stop" in chosen:
        assert_close(path.p[-1], -np.real(slopes[1](path.q[-1], theta, 1.3)[0]), 1e-11)
    expected = complex_step(J, theta[picked])
    ends_of = {"start": complex_step(lambda s: J(theta[picked], first=s), path.q[0]) if "start" not in chosen else None,
               "stop": complex_step(lambda s: J(theta[picked], last=s), path.q[-1]) if "stop" not in chosen else None}
    for estimator, tolerance in ((lep.Exact(), 1e-11), (lep.Adjoint(), 1e-11), (lep.Holomorphic(), 1e-11),
                                 (lep.Centered(1e-4), 1e-6), (lep.OneSided(1e-6), 1e-4)):  # fmt: skip
        result = system.gradient(ends, grid, cost, estimator=estimator, **options)
        assert_close(result.loss, value, 1e-12)
        assert_close([result[s] for s in known], expected, tolerance)
        for name, derivative in ends_of.items():
            if derivative is None:
                assert getattr(result.ends, name) is None
            else:
                assert_close(getattr(result.ends, name), derivative, tolerance)


@BOTH
def test_slopes_in_the_nudge(method):
    *_, system, start, stop = setting(method)
    grid, cost, ends = lep.Grid(6, duration=1.0), lep.Cost(x**4 + z**3), lep.Ends(None, None, start=start, stop=stop)

    def numbers(estimator):
        result = system.gradient(ends, grid, cost, inputs={u: 0.4}, method=method, estimator=estimator, **PLAIN)
        return np.array([result[s] for s in (m, k, b, c)])

    exact = numbers(lep.Exact())
    for make, betas, slope in (
        (lep.OneSided, (1e-4, 1e-3), 1), (lep.Centered, (1e-3, 1e-2), 2),
        (lambda r: lep.Holomorphic(r, points=4), (0.003, 0.01), 4),
    ):  # fmt: skip
        errors = [np.abs(numbers(make(beta)) - exact).max() for beta in betas]
        assert abs(np.log(errors[1]/errors[0])/np.log(betas[1]/betas[0]) - slope) < 0.05, (slope, errors)


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_batches_networks_check_and_fit(compiled):
    """Parameters of a potential at places of a network, one a sample too; a nudged path; training of the potential."""
    net = lep.System(
        [lep.Term(x.diff(t)**2/2 - k*x**2/2, on=[x], at=np.arange(3)),
         lep.Term(-(x - z)**2*a/2, on=[x, z], at=[[0, 1], [1, 2]])],
        size=3, parameters={k: 0.5, a: 0.3},
    )  # fmt: skip
    stop = lep.Cost(c*x**2/2 + b*x, on=[x], at=[0, 2], when="end", parameters={c: np.array([0.5, 1.0]), b: 0.2})
    starts, grid = np.array([[0.5, -0.2, 0.3], [0.1, 0.4, -0.5]]), lep.Grid(8, duration=1.5)
    cost, options = lep.Cost(x**2, on=[x], at=[1, 2]), {"compiled": compiled}
    given = {"parameters": {b: [0.2, -0.3]}, **options}
    ends = lep.Ends(starts, None, stop=stop)
    both = net.gradient(ends, grid, cost, save="all", estimator=lep.Centered(1e-4), **given)
    exact = net.gradient(ends, grid, cost, **given)
    alone = [net.gradient(lep.Ends(starts[j], None, stop=stop), grid, cost, parameters={b: [0.2, -0.3][j]}, **options)
             for j in range(2)]  # fmt: skip
    assert exact[c].shape == (2,) and exact[b].shape == (2,)
    assert_close(exact[c], sum(r[c] for r in alone)/2, 1e-12)
    assert_close(exact[b], [r[b]/2 for r in alone], 1e-12)
    assert_close(exact.ends.start, np.stack([r.ends.start for r in alone])/2, 1e-12)
    assert_close([*both[c], *both[b]], [*exact[c], *exact[b]], 1e-5)
    for path in (both.path, both.nudged):
        pull = np.zeros((2, 3))
        pull[:, [0, 2]] = path.q[:, -1, [0, 2]]*[0.5, 1.0] + np.array([[0.2], [-0.3]])
        assert_close(path.p[:, -1], -pull, 1e-10)
    table = net.check(ends, grid, cost, **options)
    assert table.passed and {"k", "a", "c", "b", "ends.start"} == set(table.by_quantity)
    if compiled:
        return
    aims = net.trajectory(ends, grid, parameters={b: 0.4}, **options).q[:, -1, 2:]
    y = sp.Symbol("y")
    cost = lep.Cost((x - y)**2, on=[x], at=[2], when="end", targets=[y])
    history = net.fit(ends, grid, cost, targets={y: aims}, train=[b], epochs=30, batch=1, optimiser=lep.SGD(1.0),
                      progress=False, **options)  # fmt: skip
    assert abs(history[b] - 0.4) < 5e-3


def test_bad_input():
    spring, y = lep.Cost(q**2, when="end"), sp.Symbol("y")
    for make, message in (
        (lambda: lep.Ends([0.0], None, start=spring), "start must be None where q_start is given"),
        (lambda: lep.Ends(None, None, stop=q**2), 'stop must be a lep.Cost.*when="end"'),
        (lambda: lep.Ends(None, None, stop=lep.Cost(q**2)), 'stop must be a lep.Cost with when="end"'),
        (lambda: lep.Ends(None, None, stop=lep.Cost(q - y, [y], when="end")), "without weights and targets"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
    particle = lep.System(q.diff(t)**2/2, coordinates=[q])
    ends = lep.Ends([0.0], None, stop=lep.Cost(-q**2/4, when="end"))
    with pytest.raises(lep.ConvergenceError, match="singular"):  # m/T = -c: focused on the end
        particle.trajectory(ends, lep.Grid(4, duration=2.0), **PLAIN)
