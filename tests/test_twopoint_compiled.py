"""Two-point problems in machine code: several intervals in lanes, band elimination, and what it leaves to the search.

Oracles: dense numpy on the oracle's discrete Lagrangian, complex steps, scipy's ``solve_bvp``, and plain Python, which
takes another way through the code (term by term instead of written out).
"""

from __future__ import annotations

from threading import Thread

import numpy as np
import pytest
import sympy as sp
from oracles import Loss, Mechanics, assert_agrees, assert_close, between, drive_of, ends_gradients
from scipy.integrate import solve_bvp
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep
from lagrangian_eqprop.compiler import cache
from lagrangian_eqprop.compiler.emission import module_text
from lagrangian_eqprop.compiler.kernel import kernels_of
from lagrangian_eqprop.solvers import newton_backend, newton_band
from lagrangian_eqprop.solvers.newton_paths import Room

t = dynamicsymbols._t
x, z = dynamicsymbols("x z")
m, k, a, u, y, g = sp.symbols("m k a u y g")


# ---------------------------------------------------------------------- the elimination
@pytest.fixture(params=["python", "compiled"])
def band(request):
    if request.param == "python":
        return newton_band
    name = cache.name_of("band elimination of the tests")
    return cache.fetch(name, lambda: module_text([], kernels_of(newton_band), "Band", True))[0]


def random_band(rng, nodes, d, kind=float, diagonal_coupling=False):
    """A symmetric block-tridiagonal matrix, dense and as the band keeps it, with room for one node more."""
    dense, H = np.zeros((nodes*d,)*2, kind), np.zeros(((nodes + 1)*d, 2*d), kind)
    for node in range(nodes):
        here, following = slice(node*d, (node + 1)*d), slice((node + 1)*d, (node + 2)*d)
        block = rng.normal(size=(d, d)) + (1j*rng.normal(size=(d, d)) if kind is complex else 0.0)
        dense[here, here] = (block + block.T)/2 + 0.7*np.eye(d)
        H[here, :d] = np.triu(dense[here, here]) + np.tril(np.full((d, d), np.nan), -1)  # never read
        if node + 1 < nodes:
            coupling = np.diag(rng.normal(size=d)) if diagonal_coupling else rng.normal(size=(d, d))
            dense[here, following], dense[following, here] = coupling, coupling.T
            H[here, d:] = coupling
    return dense, H.ravel()


@pytest.mark.parametrize("diagonal_coupling", [False, True])
@pytest.mark.parametrize("kind", [float, complex])
@pytest.mark.parametrize(("nodes", "d"), [(9, 1), (8, 2), (6, 3), (4, 5), (3, 9)])
def test_band_elimination(band, nodes, d, kind, diagonal_coupling):
    rng = np.random.default_rng(nodes)
    known = [(1,)*d] if d <= newton_backend.KNOWN else []
    for low, high in ((0, nodes), (1, nodes - 1), (0, nodes - 1)):
        dense, H = random_band(rng, nodes, d, kind, diagonal_coupling)
        free = slice(low*d, high*d)
        right = rng.normal(size=nodes*d).astype(kind)
        expected = np.zeros(nodes*d, kind)
        expected[free] = np.linalg.solve(dense[free, free], right[free])
        for shape in (*known, ()):
            span, factors = (nodes, d, low, high), H.copy()
            solution = np.concatenate([right, np.zeros(d, kind)])
            again, reach, made = solution.copy(), np.zeros(d, np.int64), np.zeros((nodes + 1)*d)
            negative, smallest = band.factorise_band(factors, shape, span, solution, reach, made)
            band.backward_band(factors, shape, span, solution)
            assert_close(solution[:-d], expected, 1e-13/smallest)
            band.forward_band(factors, shape, span, again)
            band.backward_band(factors, shape, span, again)
            assert_close(again[:-d], expected, 1e-13/smallest)
            if kind is float:
                assert negative == np.count_nonzero(np.linalg.eigvalsh(dense[free, free]) < 0)
            rest = np.concatenate([right, np.zeros(d, kind)])
            band.subtract_band(H, span, np.concatenate([right[::-1], np.zeros(d, kind)]), rest)
            assert_close(rest[:-d], right - dense @ right[::-1], 1e-13)


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_a_pivot_that_vanishes_is_told(band):
    """Exactly, and by cancellation: each is small beside the terms it was made of, whatever the unit."""
    for last, bound in ((0.5, 0.0), (0.5 + 1e-9, 1e-8), (0.5*(1 + 1e-15), 1e-14)):
        for unit in (1.0, 1e-150, 1e150):
            H = unit*np.array([2.0, 1.0, last, 0.0, 0.0, 0.0])
            _, smallest = band.factorise_band(
                H, (1,), (2, 1, 0, 2), np.zeros(3), np.zeros(1, np.int64), np.zeros(3)
            )  # fmt: skip
            assert smallest <= bound


# ---------------------------------------------------------------------- the double pendulum
def double_pendulum():
    v, w = x.diff(t), z.diff(t)
    L = v**2 + w**2/2 + v*w*sp.cos(x - z) + g*(2*sp.cos(x) + sp.cos(z))
    return lep.System(L, coordinates=[x, z], parameters={g: 9.81}), Mechanics(L, [x, z], [g])


PENDULUM, PENDULUM_ORACLE = double_pendulum()
STOP = np.array([-0.18192021, 0.9729067])
HARD = np.array([1.0, 0.5])  # from (0.3, -0.2) in a second: plain Newton does not find the way


def test_double_pendulum_against_solve_bvp():
    """Second order: the distance to the continuous path falls by four as the step is halved."""

    def rate(_, state):
        one, two, v, w = state
        c, s = np.cos(one - two), np.sin(one - two)
        f, h = -w*w*s - 2*9.81*np.sin(one), v*v*s - 9.81*np.sin(two)
        return np.stack([v, w, (f - c*h)/(2 - c*c), (2*h - c*f)/(2 - c*c)])

    start, times = np.array([0.3, -0.2]), np.linspace(0, 1, 201)
    line = start[:, None] + (STOP - start)[:, None]*times
    guess = np.concatenate([line, np.tile((STOP - start)[:, None], 201)])

    def missed(first, last):
        return np.concatenate([first[:2] - start, last[:2] - STOP])

    smooth = solve_bvp(rate, missed, times, guess, tol=1e-8, max_nodes=20000)
    assert smooth.status == 0
    distances = []
    for steps in (100, 200):
        path = PENDULUM.trajectory(lep.Ends(start, STOP), lep.Grid(steps, duration=1.0))
        distances.append(np.abs(path.q - smooth.sol(path.t)[:2].T).max())
        expected, H = between(PENDULUM_ORACLE, "midpoint", path.q, [9.81], lep.Grid(steps, duration=1.0))
        assert_close(path.q, expected.real, 1e-11)
        assert path.morse_index == np.count_nonzero(np.linalg.eigvalsh(H.real) < 0)
        assert path.residual < 1e-12
    assert distances[1] < 2e-4
    assert 3.8 < distances[0]/distances[1] < 4.2


@pytest.mark.parametrize("steps", [2, 3, 8, 9, 16, 23])
def test_lanes_that_the_intervals_do_not_fill(steps):
    grid, ends = lep.Grid(steps, duration=0.5), lep.Ends([0.3, -0.2], [0.5, 0.1])
    path, plain = (PENDULUM.trajectory(ends, grid, compiled=compiled) for compiled in (True, False))
    assert_close(path.q, plain.q, 1e-12)
    assert_close(path.p, plain.p, 1e-11)
    assert path.morse_index == plain.morse_index


def test_a_batch_with_samples_that_need_the_search():
    """Easy and hard ones side by side: each as if it were alone, and a path of the initial-value problem."""
    grid, stops = lep.Grid(40, duration=1.0), np.array([STOP, HARD, [0.2, 0.1], HARD])
    together = PENDULUM.trajectory(lep.Ends([0.3, -0.2], stops), grid)
    assert together.success.all()
    for b, stop in enumerate(stops):
        alone = PENDULUM.trajectory(lep.Ends([0.3, -0.2], stop), grid)
        assert_close(together.q[b], alone.q, 1e-12)
        assert together.morse_index[b] == alone.morse_index
        again = PENDULUM.trajectory(lep.Initial(alone.q[0], p=alone.p[0]), grid, compiled=False)
        assert_close(again.q, alone.q, 1e-8)


def test_threads_do_not_share_buffers():
    grid = lep.Grid(60, duration=1.0)
    stops = [STOP + 0.01*np.array([b, -b]) for b in range(12)]
    expected = [PENDULUM.trajectory(lep.Ends([0.3, -0.2], stop), grid).q for stop in stops]
    found = [None]*len(stops)

    def solve(first):
        for _ in range(20):
            for b in range(first, len(stops), 2):
                found[b] = PENDULUM.trajectory(lep.Ends([0.3, -0.2], stops[b]), grid).q

    threads = [Thread(target=solve, args=(first,)) for first in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(one, two) for one, two in zip(found, expected, strict=True))


# ---------------------------------------------------------------------- everything that an interval may read
def driven():
    """A magnetic term, the time, an input, a mass that depends on place; costs of every kind."""
    v, w = x.diff(t), z.diff(t)
    V = k*(x**2 + sp.exp(x)*(1 + sp.sin(t)/3)) + z**2/2 + z**4/4 - u*x - u**2*z
    L = m*(v**2 + w**2*(1 + x**2))/2 + a*(x*w - z*v) - V
    path, end = k*(x - y)**2/2 + sp.cos(t)*z**3/5, g*sp.exp(x)*z
    system = lep.System(L, coordinates=[x, z], parameters={m: 1.2, a: 0.4, k: 0.8}, inputs=[u])
    costs = [lep.Cost(path, targets=[y]), lep.Cost(end, parameters={g: 1.4}, when="end")]
    symbols = [m, a, k, g]
    losses = Loss(path, [x, z], [y], symbols), Loss(end, [x, z], (), symbols, end=True)

    def loss(q, grid, theta, targets):
        return losses[0](q, grid, theta, targets) + losses[1](q, grid, theta)

    return system, costs, symbols, Mechanics(L, [x, z], symbols, [u]), loss


def drive(times):
    return 0.3*np.cos(1.3*times)


@pytest.mark.slow
@pytest.mark.parametrize("free", [(False, False), (False, True), (True, True)], ids=str)
def test_gradients_of_a_driven_system(free):
    system, costs, symbols, mechanics, loss = driven()
    grid, theta, aims = lep.Grid(11, step=0.05, start=0.5), [1.2, 0.4, 0.8, 1.4], np.linspace(0.1, 0.7, 12)
    ends = lep.Ends(None if free[0] else [0.6, -0.3], None if free[1] else [0.7, 0.2])
    read = drive_of([drive], "midpoint", grid)
    path = system.trajectory(ends, grid, inputs={u: drive}, method="midpoint")
    expected, H = between(mechanics, "midpoint", path.q, theta, grid, free, read)
    assert_close(path.q, expected.real, 1e-11)
    assert path.morse_index == np.count_nonzero(np.linalg.eigvalsh(H.real) < 0)
    gradients = ends_gradients(
        mechanics, "midpoint", loss, path.q, grid, theta, free=free, u=read, targets=[aims]
    )  # fmt: skip
    options = {"inputs": {u: drive}, "targets": {y: aims}, "method": "midpoint"}
    estimators = [(lep.Exact(), 1e-11), (lep.Centered(1e-5), 1e-6), (lep.Holomorphic(), 1e-10), (lep.Adjoint(), 1e-11)]
    for estimator, tolerance in estimators:
        result = system.gradient(ends, grid, costs, estimator=estimator, **options)
        assert_agrees(result, gradients, symbols, tolerance)


def test_batches_of_everything():
    """Parameters, inputs, targets and ends of each sample its own: the sum of the samples alone, and nudged paths."""
    system, costs, symbols, _, _ = driven()
    rng, grid = np.random.default_rng(0), lep.Grid(13, step=0.07)
    starts, stops = rng.normal(size=(3, 2))/3, rng.normal(size=(3, 2))/3
    masses, inputs, aims = 1 + rng.random(3), rng.normal(size=(3, 14)), rng.normal(size=(3, 14))
    options = {"method": "midpoint", "save": "all"}
    for estimator in (lep.Exact(), lep.Centered(1e-3)):
        result = system.gradient(
            lep.Ends(starts, stops), grid, costs, inputs={u: inputs}, targets={y: aims}, parameters={m: masses},
            estimator=estimator, **options,
        )  # fmt: skip
        total = 0.0
        for b in range(3):
            alone = system.gradient(
                lep.Ends(starts[b], stops[b]), grid, costs, inputs={u: inputs[b]}, targets={y: aims[b]},
                parameters={m: masses[b]}, estimator=estimator, compiled=False, **options,
            )  # fmt: skip
            assert_close(result.path.q[b], alone.path.q, 1e-11)
            assert_close(result.losses[b], alone.loss, 1e-11)
            assert_close(3*result[m][b], alone[m], 1e-7)
            assert_close(3*result.ends.stop[b], alone.ends.stop, 1e-7)
            total = total + np.array([alone[symbol] for symbol in symbols[1:]])
            if alone.nudged is not None:
                assert_close(result.nudged.q[b], alone.nudged.q, 1e-11)
                assert_close(result.nudged.p[b], alone.nudged.p, 1e-10)
        assert_close([3*result[symbol] for symbol in symbols[1:]], total, 1e-7)


def test_a_cost_may_be_infinite_where_its_weight_is_zero():
    system = lep.System(x.diff(t)**2/2 - k*x**2/2, coordinates=[x], parameters={k: 0.9})
    weights = np.zeros(11)
    weights[4] = 1.0
    cost, grid = lep.Cost(sp.log(x), weights=weights), lep.Grid(10, step=0.1)
    one, two = (system.gradient(lep.Ends([0.0], [1.0]), grid, cost, compiled=c) for c in (True, False))
    assert np.isfinite(one[k])
    assert_close(one[k], two[k], 1e-11)
    assert_close(one.ends.stop, two.ends.stop, 1e-11)


# ---------------------------------------------------------------------- networks
def chain(n, time):
    """Quartic bonds, masses and stiffnesses of their own, an input at every place; and the same for the oracle."""
    edges = np.stack([np.arange(n - 1), np.arange(1, n)], 1)
    stiffness, masses = 1 + 0.3*np.sin(np.arange(n - 1)), 1 + 0.2*np.cos(np.arange(n))
    network = lep.System(
        [
            lep.Term(m*x.diff(t)**2/2 - x**2/2 + u*x, on=[x], at=np.arange(n)),
            lep.Term(-k*(x - z)**2/2 - (x - z)**4/4, on=[x, z], at=edges),
            lep.Term(a*x**2*z, on=[x, z], at=lep.AllPairs(np.arange(3))),
        ],
        size=n, parameters={m: masses, k: stiffness, a: 0.01*np.arange(9).reshape(3, 3)}, inputs=[u],
    )  # fmt: skip
    q = [sp.Function(f"q{i}")(t) for i in range(n)]
    L = sum(masses[i]*q[i].diff(t)**2/2 - q[i]**2/2 + (i + 1)*q[i]/10 for i in range(n))
    L -= sum(stiffness[i]*(q[i] - q[i + 1])**2/2 + (q[i] - q[i + 1])**4/4 for i in range(n - 1))
    L += sum(0.01*(3*i + j)*q[i]**2*q[j] for i in range(3) for j in range(i + 1, 3))
    return network, Mechanics(L, q), {u: np.arange(1, n + 1)[None]/10}, lep.Grid(20, duration=time)


def check_written_out(network, inputs, ends, grid, found):
    """What the compiled written-out system gives is what plain Python gives, term by term."""
    plain = network.trajectory(ends, grid, inputs=inputs, compiled=False)
    assert_close(found.q, plain.q, 1e-11)
    assert_close(found.p, plain.p, 1e-10)
    assert found.morse_index == plain.morse_index


@pytest.mark.parametrize("time", [1.0, 6.0])
def test_a_network_and_its_morse_index(time):
    """Longer than four coordinates: nothing is unrolled; a long time leaves many negative directions."""
    network, mechanics, inputs, grid = chain(6, time)
    ends = lep.Ends(0.2*np.ones(6), 0.1*np.arange(6))
    found = network.trajectory(ends, grid, inputs=inputs)
    expected, H = between(mechanics, "verlet", found.q, [], grid)
    assert_close(found.q, expected.real, 1e-10)
    assert found.morse_index == np.count_nonzero(np.linalg.eigvalsh(H.real) < 0)
    assert (found.morse_index > 5) == (time > 3)
    check_written_out(network, inputs, ends, grid, found)


def test_gradient_of_a_network():
    network, _, inputs, grid = chain(6, 1.0)
    cost = lep.Cost((x - y)**2/2, on=[x], at=[0, 4], targets=[y])
    options = {"inputs": inputs, "targets": {y: np.array([[0.1, 0.3]])}}
    ends = lep.Ends(0.2*np.ones(6), None)
    one, two = (network.gradient(ends, grid, cost, compiled=compiled, **options) for compiled in (True, False))
    for symbol in (m, k, a):
        assert one[symbol].shape == two[symbol].shape
        assert_close(one[symbol], two[symbol], 1e-11)
    assert_close(one.ends.start, two.ends.start, 1e-11)


@pytest.mark.slow
def test_a_system_too_large_to_be_written_out(monkeypatch):
    """Term by term in machine code."""
    network, _, inputs, grid = chain(5, 1.0)
    monkeypatch.setattr(newton_backend, "OPERATIONS", 0)
    ends = lep.Ends(0.2*np.ones(5), 0.1*np.arange(5))
    check_written_out(network, inputs, ends, grid, network.trajectory(ends, grid, inputs=inputs))


# ---------------------------------------------------------------------- failures and what is left to the search
SPRING = lep.System(m*x.diff(t)**2/2 - k*x**2/2, coordinates=[x], parameters={m: 1.0, k: 1.0})


@pytest.mark.parametrize("steps", [3, 4, 6, 9])
def test_a_conjugate_end_is_named(steps):
    grid = lep.Grid(steps, step=2*np.sin(np.pi/steps/2))
    with pytest.raises(lep.ConvergenceError, match="Hessian of the action is singular.*conjugate"):
        SPRING.trajectory(lep.Ends([0.0], [0.5]), grid)


def test_conjugate_nodes_on_the_way():
    """A quarter of a period a step: every second leading minor is exactly or nearly zero."""
    for phase, steps in ((np.pi/2, 7), (np.pi/2 + 1e-10, 7), (np.pi/4, 10), (np.pi/3, 11)):
        path = SPRING.trajectory(lep.Ends([0.7], [-0.4]), lep.Grid(steps, step=2*np.sin(phase/2)))
        n = np.arange(steps + 1)
        exact = (0.7*np.sin(phase*(steps - n)) - 0.4*np.sin(phase*n))/np.sin(phase*steps)
        assert_close(path.q[:, 0], exact, 1e-11)
        assert path.morse_index == int(steps*phase/np.pi)


@pytest.mark.slow
def test_samples_without_a_path_are_nan():
    """Bratu's problem q'' = -c exp(q) has no solution from 0 to 0 in a time T with c T^2 > 3.52."""
    system = lep.System(x.diff(t)**2/2 - k*sp.exp(x), coordinates=[x], parameters={k: 1.0})
    ends, grid, strengths = lep.Ends(np.zeros((3, 1)), [0.0]), lep.Grid(12, duration=1.5), np.array([1.0, 4.0, 0.5])
    options = {"parameters": {k: strengths}, "save": "all"}
    result = system.gradient(ends, grid, lep.Cost(x**2), on_failure="return", **options)
    assert result.success.tolist() == [True, False, True]
    assert "1 of 3 samples failed" in result.message
    assert np.isnan(result.path.q[1]).all() and np.isnan(result.losses[1]) and result[k][1] == 0.0
    for b in (0, 2):
        options = {"parameters": {k: strengths[b]}, "save": "all", "compiled": False}
        alone = system.gradient(lep.Ends([0.0], [0.0]), grid, lep.Cost(x**2), **options)
        assert_close(result.path.q[b], alone.path.q, 1e-12)
        assert_close(2*result[k][b], alone[k], 1e-11)
    with pytest.raises(lep.ConvergenceError, match="1 of 3 samples failed.*sample 1"):
        system.gradient(ends, grid, lep.Cost(x**2), parameters={k: strengths})


def test_scratch_need_not_be_clean():
    """Buffers are handed on from call to call; what an earlier call left there must not matter."""
    ends, grid = lep.Ends([0.3, -0.2], STOP), lep.Grid(30, duration=1.0)
    expected = PENDULUM.trajectory(ends, grid)
    _, room = newton_backend._kept.room
    assert isinstance(room, Room)
    for buffer in (room.trial, room.r, room.move, room.H, room.made, room.out):
        buffer[:] = np.nan
    again = PENDULUM.trajectory(ends, grid)
    assert np.array_equal(again.q, expected.q) and again.morse_index == expected.morse_index
