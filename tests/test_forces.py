"""Rayleigh functions and other forces: doubled variables against complex steps through an integrator of its own."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
import sympy as sp
from oracles import Forced, Loss, assert_agrees, assert_close, complex_step, drive, initial_gradients
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep
from lagrangian_eqprop.methods import linear
from lagrangian_eqprop.methods.sparsity import sparse_pattern
from lagrangian_eqprop.symbols.terms import places_of

t = dynamicsymbols._t
q, x, z = dynamicsymbols("q x z")
m, k, a, b, c, g1, g2, u, y = sp.symbols("m k a b c g1 g2 u y")
vq, vx, vz = q.diff(t), x.diff(t), z.diff(t)
PLAIN = {"compiled": False}
SWEEPS = [lep.Exact(), lep.Adjoint()]
GRID = lep.Grid(14, step=0.17, start=0.3)
TARGET, DRIVE = 0.5*np.sin(0.7*GRID.t), 0.5*np.cos(1.3*GRID.t)
DUFFING = m*vq**2/2 - k*q**2/2 - a*q**4/4
VAN_DER_POL = {m: 1.3, k: 0.8, a: 0.4, g1: -0.6, g2: 0.9}


PAIR = m*(vx**2 + vz**2)/2 + b*(x*vz - z*vx)/2 - k*(x**2 + 2*z**2)/2 - a*x**2*z
CASES = {
    "van der Pol and Duffing": (
        DUFFING, {"rayleigh": (g1 + g2*q**2)*vq**2/2}, [-(g1 + g2*q**2)*vq], [q], VAN_DER_POL, (),
    ),
    "driven, in time": (
        DUFFING + u*q, {"force": {q: -g1*sp.tanh(vq) + g2*u**2*sp.cos(2*t)}},
        [-g1*sp.tanh(vq) + g2*u**2*sp.cos(2*t)], [q], {m: 1.3, k: 0.8, a: 0.4, g1: 0.3, g2: 0.7}, (u,),
    ),
    "not reciprocal": (
        PAIR, {"rayleigh": c*(vx - vz)**2/2 + g1*vz**4/4, "force": {x: g2*z, z: -g2*x*vx}},
        [-c*(vx - vz) + g2*z, c*(vx - vz) - g1*vz**3 - g2*x*vx], [x, z],
        {m: 1.1, b: 0.9, k: 0.7, a: 0.3, c: 0.4, g1: 0.2, g2: 0.8}, (),
    ),
    "a mass that varies": (
        m*vx**2/2 + vz**2/2 + b*vx*vz*sp.cos(x) - k*sp.cosh(x - z), {"force": {z: -g1*vx}}, [0, -g1*vx], [x, z],
        {m: 1.4, b: 0.5, k: 0.8, g1: 0.6}, (),
    ),
}  # fmt: skip
START = {1: ([0.6], [0.4]), 2: ([0.6, -0.3], [0.4, 0.5])}


@pytest.mark.parametrize("fixed", ["v", "p"])
@pytest.mark.parametrize("name", CASES)
def test_gradients(name, fixed):
    lagrangian, given, forces, coordinates, values, inputs = CASES[name]
    system = lep.System(lagrangian, coordinates=coordinates, parameters=values, inputs=list(inputs), **given)
    position, other = START[len(coordinates)]
    drives = {s: DRIVE for s in inputs}
    expression = (coordinates[0] - y)**2/2 + coordinates[-1]**3/5
    mechanics = Forced(lagrangian, forces, coordinates, list(values), list(inputs))
    loss = Loss(expression, coordinates, [y])
    labels = np.stack([DRIVE]*len(inputs), 1) if inputs else None
    expected = initial_gradients(
        mechanics, "forced", lambda q, grid, theta, targets: loss(q, grid, (), targets), position, GRID,
        list(values.values()), u=drive(labels, "midpoint", GRID.steps), first=[DRIVE[0]]*len(inputs), targets=[TARGET],
        **{fixed: other},
    )  # fmt: skip
    for estimator in SWEEPS:
        result = system.gradient(
            lep.Initial(position, **{fixed: other}), GRID, lep.Cost(expression, targets=[y]), targets={y: TARGET},
            inputs=drives, estimator=estimator, **PLAIN,
        )  # fmt: skip
        assert_agrees(result, expected, list(values), 1e-11, fixed)


def test_equilibrium_propagation_on_the_doubled_action():
    """Galley's two copies, solved at a finite nudge as one stationary point: the contrast tends to Exact."""
    steps, h, p0, start = 6, 0.3, 0.5, 0.6
    weights = np.full(steps + 1, h)
    weights[[0, -1]] /= 2

    def copy(path, theta):
        Q, V = (path[1:] + path[:-1])/2, np.diff(path)/h
        return h*(theta[0]*V**2/2 - theta[1]*Q**2/2 - theta[2]*Q**4/4).sum()

    def action(mean, difference, theta, beta):
        Q, V = (mean[1:] + mean[:-1])/2, np.diff(mean)/h
        K = -h*((theta[3] + theta[4]*Q**2)*V*(difference[1:] + difference[:-1])/2).sum()
        both = copy(mean + difference/2, theta) - copy(mean - difference/2, theta)
        return both + K + p0*difference[0] - beta*(weights*mean**2/2).sum()

    theta = np.array(list(VAN_DER_POL.values()))

    def nudged(beta):
        def unpack(s):
            return np.concatenate([[start], s[:steps]]), np.concatenate([s[steps:], [0.0]])

        found = scipy.optimize.root(
            lambda s: complex_step(lambda w: action(*unpack(w), theta, beta), s), np.full(2*steps, 0.1), tol=1e-13
        )  # fmt: skip
        return -complex_step(lambda w: action(*unpack(found.x), w, 0.0), theta), unpack(found.x)

    beta = 1e-3
    contrast = (nudged(beta)[0] - nudged(-beta)[0])/(2*beta)
    system = lep.System(DUFFING, coordinates=[q], parameters=VAN_DER_POL, rayleigh=(g1 + g2*q**2)*vq**2/2)
    exact = system.gradient(lep.Initial([start], p=[p0]), lep.Grid(steps, step=h), lep.Cost(q**2/2), **PLAIN)
    assert_close([exact[s] for s in VAN_DER_POL], contrast, 1e-6)
    assert_close(exact.initial.p, [-(nudged(beta)[1][1] - nudged(-beta)[1][1])[0]/(2*beta)], 1e-6)


def test_order_against_scipy():
    """Second order in the path and in the gradient of a loss at the end."""
    system = lep.System(DUFFING, coordinates=[q], parameters=VAN_DER_POL, rayleigh=(g1 + g2*q**2)*vq**2/2)
    mass, stiff, cubic, one, two = VAN_DER_POL.values()

    def end(mass):
        def flow(_, s):
            return [s[1], -((one + two*s[0]**2)*s[1] + stiff*s[0] + cubic*s[0]**3)/mass]

        return scipy.integrate.solve_ivp(flow, (0, 6), [0.7, 0.1], "DOP853", rtol=1e-12, atol=1e-13).y[0, -1]

    slope = (end(mass + 1e-4) - end(mass - 1e-4))/2e-4
    errors = []
    for steps in (80, 160):
        grid = lep.Grid(steps, duration=6.0)
        found = system.gradient(lep.Initial([0.7], v=[0.1]), grid, lep.Cost(q, when="end"), **PLAIN)
        errors.append([found.loss - end(mass), found[m] - slope])
    orders = np.log2(np.abs(errors[0])/np.abs(errors[1]))
    np.testing.assert_allclose(orders, 2.0, atol=0.05)


LONG = pytest.mark.parametrize(("rate", "steps", "options"), [
    (1e-2, 2000, PLAIN), pytest.param(1e-4, 100_000, {}, marks=pytest.mark.slow),
])  # fmt: skip


def energy_error(rate, steps, options, **damped):
    """e^{gamma t} (E + gamma q v/2) of an oscillator of frequency 1, over its start, with steps of 0.1."""
    system = lep.System(vq**2/2 - k*q**2/2, coordinates=[q], parameters={k: 1.0}, **damped)
    path = system.trajectory(lep.Initial([1.0], v=[0.0]), lep.Grid(steps, step=0.1), save=7, **options)
    assert path.energy[-1] < 0.4*path.energy[0]
    grown = np.exp(rate*path.t)*(path.energy + 0.5*rate*path.q[:, 0]*path.v[:, 0])
    return path.t, grown/grown[0] - 1


@LONG
def test_energy_of_the_weighted_action_decays_exactly(rate, steps, options):
    """Relative errors of Verlet's energy are of order h^2 and do not grow, while the energy falls by e^{gamma T}."""
    _, error = energy_error(rate, steps, options, damping=rate)
    third = len(error)//3
    assert np.abs(error).max() < 2.6e-3
    assert np.abs(error[-third:]).max() < 1.01*np.abs(error[:third]).max()


@LONG
def test_energy_with_a_rayleigh_function_decays_at_the_rate_of_the_method(rate, steps, options):
    """Midpoint sees the velocity of a chord, cos(f/2) times smaller, tan(f/2) = h/2: the rate is gamma/(1 + h^2/4)."""
    t, error = energy_error(rate, steps, options, rayleigh=rate*vq**2/2)
    predicted = np.expm1(rate*t*(1 - 1/(1 + 0.1**2/4)))
    assert 2e-3 < predicted[-1] < 6e-3
    assert np.abs(error - predicted).max() < 0.1*rate


def test_forces_of_a_network():
    """Terms with places of their own against the same written out."""
    count, nodes = 4, np.arange(4)
    edges = np.stack([nodes[:-1], nodes[1:]], 1)
    rates = np.array([0.3, 0.1, 0.4, 0.2])
    net = lep.System(
        [lep.Term(m*vx**2/2 - k*x**2/2 - x**4/8, on=[x], at=nodes), lep.Term(-(x - z)**2/4, on=[x, z], at=edges)],
        size=count, parameters={m: 1.2, k: 0.7, g1: rates, c: np.array([0.5, 0.3, 0.2]), b: 0.6},
        rayleigh=[lep.Term(g1*vx**2/2, on=[x], at=nodes), lep.Term(c*(vx - vz)**2/2, on=[x, z], at=edges)],
        force=[lep.Term({x: b*z}, on=[x, z], at=edges)],
    )  # fmt: skip
    Q, G, C = dynamicsymbols("q0:4"), sp.symbols("G0:4"), sp.symbols("C0:3")
    V = [p.diff(t) for p in Q]
    total = sum(m*v**2/2 - k*p**2/2 - p**4/8 for p, v in zip(Q, V, strict=True))
    total -= sum((Q[i] - Q[i + 1])**2/4 for i in range(3))
    rayleigh = sum(g*v**2/2 for g, v in zip(G, V, strict=True)) + sum(C[i]*(V[i] - V[i + 1])**2/2 for i in range(3))
    values = {m: 1.2, k: 0.7, b: 0.6, **dict(zip(G, rates, strict=True)), **dict(zip(C, (0.5, 0.3, 0.2), strict=True))}
    one = lep.System(total, coordinates=Q, parameters=values, rayleigh=rayleigh,
                     force={Q[i]: b*Q[i + 1] for i in range(3)})  # fmt: skip
    start = lep.Initial([0.4, -0.2, 0.6, 0.1], v=[0.1, 0.3, -0.2, 0.4])
    costs = lep.Cost(x**2/2, on=[x], at=[2, 3]), lep.Cost(Q[2]**2/2 + Q[3]**2/2)
    found, expected = (s.gradient(start, GRID, cost, **PLAIN) for s, cost in zip((net, one), costs, strict=True))
    assert_close(found.loss, expected.loss, 1e-13)
    assert_close(found[g1], [expected[g] for g in G], 1e-12)
    assert_close(found[c], [expected[g] for g in C], 1e-12)
    for symbol in (m, k, b):
        assert_close(found[symbol], expected[symbol], 1e-12)
    names = [p.func.__name__ for p in Q]
    own = {sp.Symbol(f"g1_{i}"): G[i] for i in range(4)} | {sp.Symbol(f"c_{i}"): C[i] for i in range(3)}
    renamed = {sp.Function(f"q_{i}")(t): Q[i] for i in range(4)}
    moved = {old.diff(t): new.diff(t) for old, new in renamed.items()}
    assert len(names) == len(net.equations) == 4
    for mine, theirs in zip(net.equations, one.equations, strict=True):
        assert sp.expand(mine.rhs.xreplace({**own, **moved, **renamed}) - theirs.rhs) == 0 and theirs.rhs != 0


def test_transposed_factors():
    """A^T x = b by the factors of A, on a sparse pattern and dense with exchanges of rows."""
    random = np.random.default_rng(0)
    nodes = np.arange(70)
    ring = np.stack([nodes, np.roll(nodes, -1)], 1)
    pattern = sparse_pattern([places_of(ring, 2, 70, "ring")], 70)[0]
    n, entries = pattern[:2]
    ends, columns = pattern[2 : n + 3], pattern[n + 3 : n + 3 + entries]
    order = pattern[n + 3 + entries :]
    values, b = random.normal(size=entries), random.normal(size=n)
    A = np.zeros((n, n))
    for row in range(n):
        for entry in range(ends[row], ends[row + 1]):
            values[entry] += 9.0*(columns[entry] == row)
            A[order[row], order[columns[entry]]] = values[entry]
    factors, x = values.copy(), b.copy()
    linear.factorise_sparse(pattern, factors)
    linear.solve_sparse_transposed(pattern, factors, x)
    np.testing.assert_allclose(A.T @ x, b, atol=1e-13)
    A, x = random.normal(size=(6, 6)), b[:6].copy()
    factors, exchanges = A.ravel().copy(), np.zeros(6, int)
    linear.factorise_dense(factors, exchanges, 6)
    linear.solve_dense_transposed(factors, exchanges, x)
    np.testing.assert_allclose(A.T @ x, b[:6], atol=1e-12)


def test_a_network_with_a_sparse_newton_matrix():
    """Seventy coordinates in a ring, against a difference of losses."""
    nodes = np.arange(70)
    ring = np.stack([nodes, np.roll(nodes, -1)], 1)
    net = lep.System(
        [lep.Term(m*vx**2/2 - k*sp.cosh(x), on=[x], at=nodes)], size=70, parameters={m: 1.2, k: 0.7, c: 0.9, b: 0.6},
        rayleigh=[lep.Term(c*(vx - vz)**2*(1 + x**2)/2, on=[x, z], at=ring)],
        force=[lep.Term({x: b*sp.sin(z) - vz}, on=[x, z], at=ring)],
    )  # fmt: skip
    start, grid = lep.Initial(0.5*np.sin(nodes), v=0.3*np.cos(3*nodes)), lep.Grid(3, step=0.3)
    cost = lep.Cost(x**4, on=[x], at=[5, 11])
    results = [net.gradient(start, grid, cost, estimator=estimator, **PLAIN) for estimator in SWEEPS]
    for symbol, value in net.parameters.items():
        assert_close(results[0][symbol], results[1][symbol], 1e-12)
        losses = [net.gradient(start, grid, cost, parameters={symbol: value + s}, **PLAIN).loss for s in (1e-5, -1e-5)]
        assert_close(results[0][symbol], (losses[0] - losses[1])/2e-5, 1e-7)


def test_batches_and_scale():
    """Samples are apart; and the scale of L and R together is nothing that a path at given q and v could see."""
    system = lep.System(DUFFING, coordinates=[q], parameters=VAN_DER_POL, rayleigh=(g1 + g2*q**2)*vq**2/2)
    start, rates = lep.Initial([[0.6], [0.2], [-0.5]], v=[0.4]), np.array([-0.6, 0.0, 0.8])
    together = system.gradient(start, GRID, lep.Cost(q**2), parameters={g1: rates}, **PLAIN)
    for n in range(3):
        one = lep.Initial(start.q[n], v=[0.4])
        alone = system.gradient(one, GRID, lep.Cost(q**2), parameters={g1: rates[n]}, **PLAIN)
        assert_close(3*together[g1][n], alone[g1], 1e-13)
        assert_close(3*together.initial.q[n], alone.initial.q, 1e-13)
    alone = system.gradient(lep.Initial([0.6], v=[0.4]), GRID, lep.Cost(q**2), **PLAIN)
    parts = [value*alone[s] for s, value in VAN_DER_POL.items()]
    assert abs(sum(parts)) < 1e-13*max(map(abs, parts))


@pytest.mark.slow
def test_compiled_code_does_the_same():
    lagrangian, given, _, coordinates, values, _ = CASES["not reciprocal"]
    system = lep.System(lagrangian, coordinates=coordinates, parameters=values, **given)
    start, cost = lep.Initial(*START[2]), lep.Cost(x**2 - z)
    one, other = (system.gradient(start, GRID, cost, compiled=flag) for flag in (True, False))
    assert_close([one[s] for s in values], [other[s] for s in values], 1e-12)
    assert_close(one.initial.q, other.initial.q, 1e-12)


# ---------------------------------------------------------------------- what cannot be done, and why
@pytest.fixture(name="damped")
def damped_system():
    return lep.System(DUFFING, coordinates=[q], parameters={m: 1.3, k: 0.8, a: 0.4, g1: 0.2}, rayleigh=g1*vq**2/2)


@pytest.mark.parametrize("estimator", [lep.OneSided(), lep.Centered(), lep.Holomorphic()])
def test_no_echo(damped, estimator):
    message = r"'system' has forces that no Lagrangian gives \(rayleigh\), which makes an exact echo impossible"
    with pytest.raises(ValueError, match=f"Exact or Adjoint here, not {type(estimator).__name__}: {message}"):
        damped.gradient(lep.Initial([0.6], v=[0.4]), GRID, lep.Cost(q**2), estimator=estimator, **PLAIN)


def test_no_stationary_action(damped):
    start, cost = lep.Initial([0.6], v=[0.4]), lep.Cost(q**2)
    with pytest.raises(ValueError, match=r"boundary must be lep.Initial.*got Ends.*no action is stationary"):
        damped.gradient(lep.Ends([0.0], [1.0]), GRID, cost, **PLAIN)
    with pytest.raises(ValueError, match=r"boundary must be lep.Initial.*got Ends.*no action is stationary"):
        damped.trajectory(lep.Ends([0.0], [1.0]), GRID, **PLAIN)
    with pytest.raises(ValueError, match=r"nudge must be 0; got 0.1.*no echo exact"):
        damped.trajectory(start, GRID, cost=cost, nudge=0.1, **PLAIN)
    with pytest.raises(ValueError, match=r"rayleigh is a force that no potential gives; use method='midpoint'"):
        damped.trajectory(start, GRID, method="verlet", **PLAIN)
    text = r"method must be 'midpoint' of order 2 for a system with rayleigh or force; got method='gauss'"
    with pytest.raises(ValueError, match=text):
        damped.trajectory(start, GRID, method="gauss")


def test_check_compares_what_there_is(damped):
    found = damped.check(lep.Initial([0.6], v=[0.4]), GRID, lep.Cost(q**2), **PLAIN)
    assert found.passed and set(found.errors) == {"Exact", "Adjoint", "finite differences"}
    assert found.notes == ("Holomorphic and Centered left out: with forces that no Lagrangian gives no echo is exact",)
    with pytest.raises(ValueError, match="no action is stationary"):
        damped.check(lep.Ends([0.0], [1.0]), GRID, lep.Cost(q**2), **PLAIN)


def test_forces_with_kinks_away_from_them():
    """Drag in proportion to the square of the speed, written with Abs; as a Rayleigh function it is the same."""
    values = {m: 1.3, k: 0.8, a: 0.4, g1: 0.2}
    system = lep.System(DUFFING, coordinates=[q], parameters=values, force={q: -g1*vq*sp.Abs(vq)})
    start, cost = lep.Initial([0.6], v=[0.4]), lep.Cost(q**2)
    assert system.check(start, GRID, cost, **PLAIN).passed
    other = lep.System(DUFFING, coordinates=[q], parameters=values, rayleigh=g1*sp.Abs(vq)**3/3)
    assert_close(other.gradient(start, GRID, cost, **PLAIN)[g1], system.gradient(start, GRID, cost, **PLAIN)[g1], 1e-13)
    assert other.equations[0].rhs.subs(vq, -2) == system.equations[0].rhs.subs(vq, -2) == 4*g1


TERMS = [lep.Term(m*vx**2/2, on=[x], at=[0, 1])]


@pytest.mark.parametrize(("given", "message"), [
    ({"rayleigh": g1*q**2}, "rayleigh must be a function of velocities"),
    ({"rayleigh": {q: vq}}, "rayleigh must be a sympy expression"),
    ({"rayleigh": [lep.Term(vx**2, on=[x], at=[0])]}, "rayleigh must be a sympy expression for a system of one"),
    ({"force": -g1*vq}, "force must be a mapping of coordinates to expressions"),
    ({"force": {x: -g1*vq}}, "keys of force must be among the coordinates"),
    ({"force": {q: -g1*vx}}, "force must be in the coordinates"),
    ({"force": {q: -b*vq}}, "force uses 'b', which is not declared"),
    ({"force": {q: "-g1*v"}}, "force must be sympy expressions"),
    ({"force": {q: vq.diff(t)}}, "force may contain coordinates and their first time derivatives"),
    ({"force": {q: -g1*vq}, "damping": 0.1}, "damping must be given alone"),
])  # fmt: skip
def test_bad_forces(given, message):
    with pytest.raises(ValueError, match=message):
        lep.System(m*vq**2/2 - g1*q**2, coordinates=[q], parameters={m: 1.3, g1: 0.2}, **given)


@pytest.mark.parametrize(("given", "message"), [
    ({"rayleigh": m*vx**2/2}, "rayleigh must be a non-empty list of Terms for a network"),
    ({"rayleigh": [lep.Term({x: vx}, on=[x], at=[0])]}, "the expression of term 0 of rayleigh must be a sympy"),
    ({"force": [lep.Term(-vx, on=[x], at=[0])]}, "the expression of term 0 of force must be a mapping"),
    ({"force": [lep.Term({x: -m*vx}, on=[x], at=[2])]}, "at of term 0 of force must be indices from 0 to 1"),
])  # fmt: skip
def test_bad_forces_of_a_network(given, message):
    with pytest.raises(ValueError, match=message):
        lep.System(TERMS, size=2, parameters={m: 1.0}, **given)
