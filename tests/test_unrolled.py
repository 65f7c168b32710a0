"""Unrolled systems in lanes against a numpy loop over complex numbers: batches, axes, failures, threads, precision."""

from __future__ import annotations

import functools
import itertools
import re
import warnings

import numpy as np
import pytest
import sympy as sp
from oracles import TINY, assert_close
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep
from lagrangian_eqprop.compiler import machine
from lagrangian_eqprop.eqprop import exact
from lagrangian_eqprop.solvers import forward, unrolled

t = dynamicsymbols._t
q, x, z = dynamicsymbols("q x z")
m, k, a, b, c, w, g, u, y, s = sp.symbols("m k a b c w g u y s")
METHODS = ["verlet", "midpoint"]
methods = pytest.mark.parametrize("method", METHODS)
GRID = lep.Grid(12, step=0.11, start=0.3)


class Pendulum:
    """m in the mass, in the potential and in a cost; k of the system in a cost; g in a cost alone."""

    size, symbols, shapes = 1, (m, k, g), ((), (), ())
    values = (1.3, 0.8, 1.7)
    system = lep.System(
        m*q.diff(t)**2/2 + m*k*sp.cos(q) + u*q + s*t*q, coordinates=[q], parameters={m: 1.3, k: 0.8}, inputs=[u, s]
    )
    weights = np.where(np.arange(13) % 3 == 0, 0.0, np.linspace(-0.5, 1.0, 13))
    costs = [
        lep.Cost(g*(q - y)**2/2 + k*sp.sin(q)/3, targets=[y], parameters={g: 1.7}), lep.Cost(m*sp.exp(q), when="end"),
        lep.Cost(sp.cos(q)*t, weights=weights),
    ]  # fmt: skip

    @staticmethod
    def force(position, theta, inputs, time):
        m, k, _ = theta
        return -(m*k)[:, None]*np.sin(position) + inputs[0] + time*inputs[1]

    @classmethod
    def loss(cls, path, theta, targets, grid):
        m, k, g = (value[:, None] for value in theta)
        x, h = path[..., 0], np.full(grid.steps + 1, grid.step)
        h[[0, -1]] /= 2
        first = (g*(x - targets[..., 0])**2/2 + k*np.sin(x)/3)@h
        return first + m[:, 0]*np.exp(x[:, -1]) + (np.cos(x)*grid.t)@cls.weights


class Network:
    """Scalars shared by all places, pairs, and every kind of function in a potential."""

    size, symbols, shapes = 4, (m, k, a, b, c, w), ((), (4,), (), (), (3,), (2, 2))
    values = (1.2, np.array([0.5, 0.9, 0.7, 1.1]), 0.6, 0.4, np.array([0.3, 0.8, 0.5]), np.array([[2, -3], [5, 1]])/10)
    system = lep.System(
        [lep.Term(m*x.diff(t)**2/2 - k*x**2/2 - a*sp.Abs(x)**3 + u*x, on=[x], at=np.arange(4)),
         lep.Term(-b*sp.Max(x - sp.Rational(1, 5), 0)**2 - a*sp.sqrt(1 + x**2), on=[x], at=np.arange(4)),
         lep.Term(-sp.Piecewise((x**2, x < 0), (x**4, True))/3 - b*(1 + x**2)**sp.Rational(1, 3), on=[x], at=[1, 3]),
         lep.Term(-c*sp.log(sp.exp(x - z) + sp.exp(z - x)), on=[x, z], at=[[0, 1], [1, 2], [3, 2]]),
         lep.Term(w*sp.tanh(x)*z*sp.exp(-z**2), on=[x, z], at=lep.AllPairs([0, 1], [2, 3]))],
        size=4, inputs=[u], parameters=dict(zip((m, k, a, b, c, w), values)),
    )  # fmt: skip
    costs = [lep.Cost((x - y)**2/2*a, on=[x], at=[3, 1], targets=[y])]

    @staticmethod
    def force(q, theta, inputs, time):
        m, k, a, b, c, w = theta
        a, b = a[:, None], b[:, None]
        F = -k*q - 3*a*q*np.where(q.real < 0, -q, q) + inputs[0] - a*q/np.sqrt(1 + q**2)
        F = F - 2*b*np.where(q.real > 0.2, q - 0.2, 0)
        odd = q[:, [1, 3]]
        one = np.where(odd.real < 0, 2*odd, 4*odd**3)/3 + 2*b/3*odd*(1 + odd**2)**(-2/3)
        F = F - one@np.array([[0, 1, 0, 0], [0, 0, 0, 1.0]])
        i, j = [0, 1, 3], [1, 2, 2]
        pull = c*np.tanh(q[:, i] - q[:, j])
        for n in range(3):
            F[:, i[n]] -= pull[:, n]
            F[:, j[n]] += pull[:, n]
        X, Z = q[:, :2], q[:, 2:]
        F[:, :2] += ((Z*np.exp(-Z**2))[:, None]*w).sum(2)/np.cosh(X)**2
        F[:, 2:] += (np.tanh(X)[:, :, None]*w).sum(1)*(1 - 2*Z**2)*np.exp(-Z**2)
        return F

    @staticmethod
    def loss(path, theta, targets, grid):
        h = np.full(grid.steps + 1, grid.step)
        h[[0, -1]] /= 2
        return theta[2]/2*(((path[..., [3, 1]] - targets)**2).sum(2)@h)


# ------------------------------------------------------------------ the oracle: a loop over steps in numpy
def free_path(model, method, theta, position, velocity, inputs, grid):
    """Nodes (B, N+1, d) of positions and momenta; inputs (number, B, labels, d)."""
    h, mass = grid.step, theta[0][:, None]
    x, p = position + 0j, mass*velocity
    xs, ps = [x], [p]
    for n in range(grid.steps):
        time = grid.start + n*h
        if method == "verlet":
            p = p + h/2*model.force(x, theta, inputs[:, :, n], time)
            x = x + h*p/mass
            p = p + h/2*model.force(x, theta, inputs[:, :, n + 1], time + h)
        else:
            V = p/mass
            for _ in range(14):  # contracts by h^2 V''/4m, about 1/100
                F = model.force(x + h/2*V, theta, inputs[:, :, n], time + h/2)
                V = (p + h/2*F)/mass
            x, p = x + h*V, p + h*F
        xs.append(x)
        ps.append(p)
    return np.stack(xs, 1), np.stack(ps, 1)


def expand(value, *shape):
    return np.broadcast_to(np.asarray(value, complex), shape) + 0


class Oracle:
    """Losses and their derivatives of every sample; ``theta`` values may have a leading batch axis."""

    def __init__(self, model, method, theta, position, velocity, inputs, targets, grid):
        B = len(position)
        self.model, self.method, self.inputs, self.targets, self.grid = model, method, inputs, targets, grid
        theta = [expand(v, B, *shape) for v, shape in zip(theta, model.shapes)]
        self.data = [*theta, expand(position, B, model.size), expand(velocity, B, model.size)]
        self.losses = self.J(self.data).real
        self.slopes = [self._slope(part) for part in range(len(self.data))]

    def J(self, data):
        path = free_path(self.model, self.method, data[:-2], *data[-2:], self.inputs, self.grid)[0]
        return self.model.loss(path, data[:-2], self.targets, self.grid)

    def _slope(self, part):
        found = np.zeros(self.data[part].shape)
        for index in np.ndindex(found.shape[1:]):
            moved = [value.copy() for value in self.data]
            moved[part][(slice(None), *index)] += 1j*TINY
            found[(slice(None), *index)] = self.J(moved).imag/TINY
        return found


def signals(model, B, grid, method, seed=0):
    """Inputs and targets of every sample in time, as the library takes them and as the oracle does."""
    rng, N = np.random.default_rng(seed), grid.steps + 1
    if model is Pendulum:
        nodes = 0.4*rng.normal(size=(2, B, N, 1))
        given = dict(zip((u, s), nodes[..., 0]))
    else:
        nodes = 0.4*rng.normal(size=(1, B, N, 4))
        given = {u: nodes[0]}
    y_all = 0.5*rng.normal(size=(B, N, 1 if model is Pendulum else 2))
    read = nodes if method == "verlet" else (nodes[:, :, 1:] + nodes[:, :, :-1])/2
    return given, {y: y_all[..., 0] if model is Pendulum else y_all}, read, y_all


def start_of(model, B, seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(B, model.size)), rng.normal(size=(B, model.size))


def theta_of(model, B, batched, seed=2):
    """Values, with a batch axis where the number of the parameter is in ``batched``."""
    rng = np.random.default_rng(seed)
    return [v*(1 + 0.2*rng.uniform(size=(B, *shape))) if n in batched else np.asarray(v, float)
            for n, (v, shape) in enumerate(zip(model.values, model.shapes))]  # fmt: skip


def check_gradient(model, method, B, batched=(), tolerance=2e-12, grid=GRID, **options):
    """Losses, parameters and initial data of a batch against the oracle."""
    inputs, targets, read, y_all = signals(model, B, grid, method)
    theta, (position, velocity) = theta_of(model, B, batched), start_of(model, B)
    oracle = Oracle(model, method, theta, position, velocity, read, y_all, grid)
    result = model.system.gradient(
        lep.Initial(position, v=velocity), grid, model.costs, inputs=inputs, targets=targets, method=method,
        parameters=dict(zip(model.symbols, theta)), **options,
    )  # fmt: skip
    check_result(model, result, oracle, batched, B, tolerance)
    return result


def check_result(model, result, oracle, batched, B, tolerance):
    assert_close(result.losses, oracle.losses, tolerance)
    assert_close(result.loss, oracle.losses.mean(), tolerance)
    for n, symbol in enumerate(model.symbols):
        slope = oracle.slopes[n]
        assert_close(result[symbol], slope/B if n in batched else slope.mean(0), tolerance)
    assert_close(result.initial.q, oracle.slopes[-2]/B, tolerance)
    assert_close(result.initial.v, oracle.slopes[-1]/B, tolerance)


# ------------------------------------------------------------------ batches
@pytest.mark.parametrize("B", [1, 2, 3, 5, 8, 13, 64, 65, 70])
def test_batches_whose_last_block_overlaps(B):
    check_gradient(Pendulum, "verlet", B)
    if B in (3, 13, 70):
        check_gradient(Pendulum, "verlet", B, (0, 2))


@pytest.mark.parametrize(("B", "batched"), [(3, ()), (5, (0, 1, 2)), (13, (1,)), (65, ())])
def test_batches_at_middles(B, batched):
    check_gradient(Pendulum, "midpoint", B, batched, 1e-11)


@methods
@pytest.mark.parametrize(("B", "batched"), [(5, ()), (11, (0, 1, 5))])
def test_a_network(B, batched, method):
    check_gradient(Network, method, B, batched, 1e-11)


def check_ends(model, method, B, batched, tolerance=1e-12, **options):
    """Positions and momenta at the nodes kept, with values of each sample's own."""
    inputs, _, read, _ = signals(model, B, GRID, method)
    theta, (position, velocity) = theta_of(model, B, batched), start_of(model, B)
    full = [expand(v, B, *shape) for v, shape in zip(theta, model.shapes)]
    expected = free_path(model, method, full, position, velocity, read, GRID)
    values = {symbol: value for symbol, value in zip(model.symbols, theta) if symbol in model.system.parameters}
    options |= {"inputs": inputs, "parameters": values, "method": method}
    for save, nodes in (("all", np.arange(13)), ("last", [12]), (5, [0, 5, 10, 12])):
        path = model.system.trajectory(lep.Initial(position, v=velocity), GRID, save=save, **options)
        assert_close(path.t, GRID.t[nodes], 1e-15)
        assert_close(path.q, expected[0].real[:, nodes], tolerance)
        assert_close(path.p, expected[1].real[:, nodes], tolerance)
        assert_close(path.v, (expected[1]/full[0][:, None, None]).real[:, nodes], tolerance)


@methods
def test_ends_of_a_batch(method):
    check_ends(Network, method, 13, (0, 1, 5))


def test_costs_at_other_places_and_of_other_shapes_are_other_costs():
    """One system, costs that differ in nothing but their places or in how many values a parameter has."""
    row = lep.System([lep.Term(x.diff(t)**2/2 - k*x**4/4, on=[x], at=np.arange(3))], size=3, parameters={k: 1.1})
    start = lep.Initial([0.3, -0.5, 0.7], v=[0.1, 0.0, -0.2])
    path, h = row.trajectory(start, GRID).q, np.where(np.isin(np.arange(13), [0, 12]), 0.5, 1.0)*GRID.step
    for at, value in (([0], 2.0), ([2], 2.0), ([2, 0], 2.0), ([2, 0], np.array([2.0, 3.0]))):
        result = row.gradient(start, GRID, lep.Cost(g*x**2, on=[x], at=at, parameters={g: value}))
        squares = h@path[:, at]**2
        assert_close(result.loss, (value*squares).sum(), 1e-12)
        assert_close(result[g], squares if np.ndim(value) else squares.sum(), 1e-12)


@pytest.mark.parametrize("B", [None, 3])
def test_a_mass_matrix_with_nothing_on_its_diagonal(B):
    """A damped oscillator and its mirror (Bateman): the first pivot of Newton's matrix is zero."""
    expression = m*x.diff(t)*z.diff(t) - k*x*z + c*(x*z.diff(t) - z*x.diff(t))
    system = lep.System(expression, coordinates=[x, z], parameters={m: 1.2, k: 0.9, c: 0.3})
    start = lep.Initial([0.5, 0.3] if B is None else [[0.5, 0.3], [0.1, 0.2], [0.7, -0.4]], v=[0.1, 0.2])
    cost, grid = lep.Cost(x**2 + z), lep.Grid(50, step=1e-3)
    one, two = (system.gradient(start, grid, cost, compiled=flag) for flag in (True, False))
    for symbol in system.parameters:
        assert_close(one[symbol], two[symbol], 1e-9)


# ------------------------------------------------------------------ axes
N, TIMES = GRID.steps + 1, GRID.t
WAVE = np.sin(1.3*np.arange(5*N*4)).reshape(5, N, 4)
FORMS = {
    "number": 0.4, "(time,)": WAVE[0, :, 0], "(1,)": WAVE[0, :1, 0], "(time, place)": WAVE[0],
    "(1, place)": WAVE[0, :1], "(time, 1)": WAVE[0, :, :1], "(batch, time, place)": WAVE,
    "(batch, 1, place)": WAVE[:, :1], "(batch, time, 1)": WAVE[..., :1], "(batch, 1, 1)": WAVE[:, :1, :1],
    "callable": np.sin, "callable (batch, time, place)": lambda t: np.arange(5)[:, None, None]*np.cos(t)[:, None],
}  # fmt: skip


def spread(value, labels, places):
    """What an axis form means, (5, labels, places)."""
    value = np.asarray(value(labels) if callable(value) else value, float)
    if value.ndim == 1:
        value = value[:, None]
    return np.broadcast_to(value, (5, len(labels), places))


@methods
@pytest.mark.parametrize("form", FORMS)
def test_axes_of_inputs_and_targets(form, method):
    value = FORMS[form]
    aim = value if callable(value) or np.ndim(value) < 2 else value[..., :2]
    nodes = spread(value, TIMES, 4)
    read = nodes if method == "verlet" else (nodes[:, 1:] + nodes[:, :-1])/2
    if method == "midpoint" and callable(value):
        read = spread(value, TIMES[:-1] + GRID.step/2, 4)
    position, velocity = start_of(Network, 5)
    oracle = Oracle(Network, method, Network.values, position, velocity, read[None], spread(aim, TIMES, 2), GRID)
    options = {"inputs": {u: value}, "targets": {y: aim}, "method": method}
    result = Network.system.gradient(lep.Initial(position, v=velocity), GRID, Network.costs, **options)
    check_result(Network, result, oracle, (), 5, 1e-11)


@methods
def test_axes_in_any_order_in_memory(method):
    """Arrays whose time, places or samples lie side by side are the same numbers."""
    position, velocity = start_of(Network, 5)
    start = lep.Initial(position, v=velocity)
    results = []
    for order in ((0, 1, 2), (1, 0, 2), (2, 1, 0), (1, 2, 0)):
        inputs, aims = (np.ascontiguousarray(a.transpose(order)).transpose(np.argsort(order))
                        for a in (WAVE, WAVE[..., 1:3]))  # fmt: skip
        results.append(Network.system.gradient(start, GRID, Network.costs, inputs={u: inputs}, targets={y: aims},
                                               method=method))  # fmt: skip
    for result in results[1:]:
        assert (result.losses == results[0].losses).all()
        assert all((result[symbol] == results[0][symbol]).all() for symbol in Network.symbols)


def test_targets_at_the_end_have_no_time_axis():
    cost = lep.Cost((x - y)**2, on=[x], at=[2, 0], targets=[y], when="end")
    position, velocity = start_of(Network, 5)
    start = lep.Initial(position, v=velocity)
    last = Network.system.trajectory(start, GRID, inputs={u: 0.1}).q[:, -1]
    for aim in (WAVE[:, 0, :2], lambda t: 0.3*t):
        value = aim(TIMES[-1]) if callable(aim) else aim
        result = Network.system.gradient(start, GRID, cost, inputs={u: 0.1}, targets={y: aim})
        assert_close(result.losses, ((last[:, [2, 0]] - value)**2).sum(1), 1e-12)


# ------------------------------------------------------------------ the way back
def in_stretches(monkeypatch, length):
    def stretches(problem, samples):
        return [(n, min(length, problem.grid.steps - n)) for n in range(0, problem.grid.steps, length)]

    monkeypatch.setattr(forward, "stretches", stretches)
    monkeypatch.setattr(exact, "stretches", stretches)


@methods
def test_stored_and_integrated_paths_give_one_gradient(method):
    position, velocity = start_of(Pendulum, 13)
    for retrace in ("store", "integrate"):
        check_gradient(Pendulum, method, 13, (), 1e-11, retrace=retrace)
    one, two = (
        Pendulum.system.gradient(
            lep.Initial(position, v=velocity), lep.Grid(400, step=0.05), Pendulum.costs[:2], inputs={u: np.cos, s: 0.1},
            targets={y: np.sin}, method=method, retrace=retrace,
        ) for retrace in ("store", "integrate")
    )  # fmt: skip
    for symbol in Pendulum.symbols:
        assert_close(one[symbol], two[symbol], 1e-11)


@methods
@pytest.mark.parametrize("retrace", ["store", "integrate", None])
@pytest.mark.parametrize("length", [1, 4, 5, 12])
def test_a_run_in_stretches(monkeypatch, method, length, retrace):
    """Half kicks, weights and signals at the seams."""
    in_stretches(monkeypatch, length)
    check_gradient(Pendulum, method, 5, (), 1e-11, retrace=retrace)
    if retrace is None:
        check_ends(Pendulum, method, 13, (0, 1))


# ------------------------------------------------------------------ nodes
@methods
def test_nodal_momenta_in_closed_form(monkeypatch, method):
    """The discrete map of an oscillator is a rotation by phi; a nodal momentum is m (q_{k+1} - q_{k-1})/2h."""
    spring = lep.System(m*q.diff(t)**2/2 - k*q**2/2, coordinates=[q], parameters={m: 1.7, k: 2.3})
    grid, omega = lep.Grid(31, step=0.4), np.sqrt(2.3/1.7)
    n, h = np.arange(32), 0.4
    if method == "verlet":
        phi = np.arccos(1 - (h*omega)**2/2)
        scale = 1.7*np.sin(phi)/h
    else:
        phi, scale = 2*np.arctan(h*omega/2), 1.7*omega
    p0 = 1.7*0.3
    x = 0.8*np.cos(n*phi) + p0/scale*np.sin(n*phi)
    p = p0*np.cos(n*phi) - 0.8*scale*np.sin(n*phi)
    V, squares = (x[1:] - x[:-1])/h, (x[1:]**2 + x[:-1]**2)/2 if method == "verlet" else (x[1:] + x[:-1])**2/4
    action = h*(1.7*V**2/2 - 2.3*squares/2).sum()
    for length in (31, 10):
        in_stretches(monkeypatch, length)
        for save, kept in (("all", n), ("last", [31]), (10, [0, 10, 20, 30, 31]), (31, [0, 31])):
            path = spring.trajectory(lep.Initial([0.8], v=[0.3]), grid, save=save, method=method)
            assert_close(path.q[:, 0], x[kept], 1e-13)
            assert_close(path.p[:, 0], p[kept], 1e-13)
            assert_close(path.v[:, 0], p[kept]/1.7, 1e-13)
            assert_close(path.energy, p[kept]**2/3.4 + 2.3*x[kept]**2/2, 1e-13)
            assert_close(path.action, action, 1e-12)


# ------------------------------------------------------------------ widths
@pytest.mark.parametrize("kind", [(32, 64), (16, 32), (16, 16)], ids=str)
def test_a_width_is_a_power_of_two_that_the_batch_fills(monkeypatch, kind):
    monkeypatch.setattr(unrolled, "registers", lambda: machine.Registers(*kind))
    for size, samples, echo, item, curved in itertools.product(
        (1, 2, 5, 16, 64), (1, 2, 3, 7, 100), (False, True), (4, 8), (False, True)
    ):
        width = unrolled.lanes(size, samples, echo, item, curved)
        assert 1 <= width <= samples and width & (width - 1) == 0
        assert samples < 100 or kind[1] <= width*item <= 8*kind[1]


DUFFING = lep.System(m*q.diff(t)**2/2 - k*q**2/2 - q**4/4, coordinates=[q], parameters={m: 1.3, k: 1.7})


@pytest.mark.parametrize("width", [1, 4, 64])
def test_any_width_gives_one_gradient(monkeypatch, width):
    """States in registers and in memory, values that take a part of a register and many."""
    monkeypatch.setattr(unrolled, "lanes", lambda size, samples, *others: min(width, samples))
    check_gradient(Pendulum, "verlet", 70)
    start = lep.Initial(np.linspace(-1, 1, 70)[:, None], v=np.linspace(0.3, -0.2, 70)[:, None])
    plain = DUFFING.gradient(start, GRID, SQUARE, compiled=False)
    for retrace in ("store", "integrate"):
        result = DUFFING.gradient(start, GRID, SQUARE, retrace=retrace)
        assert_close(result.losses, plain.losses, 1e-12)
        assert_close(result[k], plain[k], 1e-12)
        assert_close(result.initial.v, plain.initial.v, 1e-12)


def test_what_the_machine_says():
    assert machine.near_cache() >= 2**16
    assert [machine._count(text) for text in ("0", "0-3", "0-3,8", "1,3")] == [1, 4, 5, 2]


# ------------------------------------------------------------------ threads and precision
@methods
def test_threads_change_no_bit(method):
    position, velocity = start_of(Pendulum, 70)
    inputs, targets, _, _ = signals(Pendulum, 70, GRID, method)
    start, parameters = lep.Initial(position, v=velocity), {m: theta_of(Pendulum, 70, (0,))[0]}
    options = {"inputs": inputs, "parameters": parameters, "method": method}
    paths = [Pendulum.system.trajectory(start, GRID, threads=n, **options) for n in (1, 2, 3)]
    results = [
        Pendulum.system.gradient(start, GRID, Pendulum.costs, targets=targets, threads=n, **options) for n in (1, 2, 3)
    ]
    for path, result in zip(paths[1:], results[1:]):
        assert (path.q == paths[0].q).all() and (path.p == paths[0].p).all()
        assert (result.losses == results[0].losses).all() and (result.initial.q == results[0].initial.q).all()
        for symbol in Pendulum.symbols:
            assert (result[symbol] == results[0][symbol]).all()


@pytest.mark.parametrize(("B", "model"), [(1, Pendulum), (13, Pendulum), (5, Network)], ids=str)
@methods
def test_single_precision(B, model, method):
    for retrace in ("store", "integrate"):
        result = check_gradient(model, method, B, (), 1e-4, dtype="float32", retrace=retrace)
    assert result[m].dtype == np.float64
    check_ends(model, method, B, (), 1e-4, dtype="float32")


BAD = {"retrace": ["stored", True], "dtype": ["float16", int, None], "threads": [0, -1, 1.5, "2"]}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_bad_choices_are_named(name, value):
    start, options = lep.Initial([0.1], v=[0.0]), {"inputs": {u: 0.0, s: 0.0}, name: value}
    with pytest.raises(ValueError, match=name):
        Pendulum.system.gradient(start, GRID, Pendulum.costs, targets={y: 0.0}, **options)
    if name != "retrace":
        with pytest.raises(ValueError, match=name):
            Pendulum.system.trajectory(start, GRID, **options)


# ------------------------------------------------------------------ failures
HILL = lep.System(m*q.diff(t)**2/2 + k*q**4/4, coordinates=[q], parameters={m: 1.0, k: 1.0})
SQUARE = lep.Cost(q**2)


def hill_path(position, grid):
    """Verlet by hand; the first node that is not finite."""
    x, p = position, 0.0
    with np.errstate(all="ignore"):
        for n in range(grid.steps + 1):
            if not np.isfinite(np.float64(x) + p):
                return n
            p = p + grid.step/2*x**3
            x = x + grid.step*p
            p = p + grid.step/2*x**3
    return -1


def check_others(result, others, bad):
    good = np.delete(np.arange(len(result.losses)), bad)
    assert list(np.flatnonzero(~result.success)) == list(bad) and others.success.all()
    assert np.isnan(result.losses[bad]).all() and np.isnan(result.initial.q[bad]).all()
    assert_close(result.losses[good], others.losses, 1e-13)
    assert_close(result.loss, others.loss, 1e-13)
    assert_close(result.initial.q[good], others.initial.q, 1e-12)
    for symbol in result.parameters:
        assert_close(result[symbol], others[symbol], 1e-12)


@methods
@pytest.mark.parametrize("retrace", ["store", "integrate"])
@pytest.mark.parametrize(("B", "bad"), [(5, [2]), (13, [12]), (13, [5, 7])])
def test_a_sample_that_diverges_spoils_no_other(monkeypatch, B, bad, retrace, method):
    grid, position = lep.Grid(40, step=0.1), np.linspace(0.1, 0.3, B)
    position[bad] = [3.0, 2.5][: len(bad)]  # the first fails in step 5 of midpoint, the second in step 25
    options = {"method": method, "on_failure": "return", "retrace": retrace}
    others = lep.Initial(np.delete(position, bad)[:, None], v=np.zeros((B - len(bad), 1)))
    others = HILL.gradient(others, grid, SQUARE, **options)
    for length in (40, 7):
        in_stretches(monkeypatch, length)
        start = lep.Initial(position[:, None], v=np.zeros((B, 1)))
        result = HILL.gradient(start, grid, SQUARE, **options)
        check_others(result, others, bad)
        path = HILL.trajectory(start, grid, method=method, on_failure="return")
        assert list(np.flatnonzero(~path.success)) == bad and np.isnan(path.q[bad]).all()
        assert np.isfinite(np.delete(path.q, bad, 0)).all()
        step = hill_path(position[bad[0]], grid) if method == "verlet" else 5
        for message in (result.message, path.message):
            assert f"{len(bad)} of {B} samples failed; sample {bad[0]} at step {step} " in message
            assert method == "verlet" or "Newton left a residual" in message
        with pytest.raises(lep.ConvergenceError, match=re.escape(result.message)):
            HILL.gradient(start, grid, SQUARE, method=method)


@methods
def test_a_cost_is_not_looked_at_where_its_weight_is_zero(method):
    """log q along a path that falls below zero after the nodes that count."""
    fall = lep.System(m*q.diff(t)**2/2 - m*k*q, coordinates=[q], parameters={m: 2.0, k: 1.5})
    grid, position = lep.Grid(20, step=0.1), np.linspace(0.8, 1.2, 5)[:, None]
    weights = np.zeros(21)
    weights[[3, 5]] = 0.7, -0.2
    costs = [lep.Cost(sp.log(q), weights=weights), lep.Cost(q, when="end")]
    result = fall.gradient(lep.Initial(position, v=np.zeros((5, 1))), grid, costs, method=method)
    at = position - 1.5*(drop := grid.t**2/2)  # exact for a constant force
    assert (at[:, -1] < 0).all()
    assert_close(result.losses, 0.7*np.log(at[:, 3]) - 0.2*np.log(at[:, 5]) + at[:, -1], 1e-12)
    assert_close(result[k], (-0.7*drop[3]/at[:, 3] + 0.2*drop[5]/at[:, 5] - drop[-1]).mean(), 1e-12)
    assert abs(result[m]) < 1e-13


# ------------------------------------------------------------------ stability
SPRING = lep.System(m*q.diff(t)**2/2 - k*q**2/2, coordinates=[q], parameters={m: 1.0, k: 1.0})


def test_a_stiff_sample_is_found():
    """h^2 k/m is 5 (refused), 3.5 (warned), 2.9 (nothing said) for one sample of thirteen."""
    grid, start = lep.Grid(5, step=0.1), lep.Initial(np.full((13, 1), 1e-3), v=np.zeros((13, 1)))
    for call in (functools.partial(SPRING.gradient, cost=SQUARE), SPRING.trajectory):
        call = functools.partial(call, start, grid)
        stiffness = np.where(np.arange(13) == 12, 500.0, 1.0)
        with pytest.raises(ValueError, match="step must be below 0.0894"):
            call(parameters={k: stiffness})
        call(parameters={k: stiffness}, stability="ignore")
        stiffness[12] = 350.0
        with pytest.warns(lep.AccuracyWarning, match="close to the limit"):
            call(parameters={k: stiffness})
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            call(parameters={k: np.where(stiffness > 1, 290.0, 1.0)})
    path = SPRING.trajectory(start, grid, parameters={k: 500.0}, stability="ignore").q[0, :, 0]
    assert_close(path[2:], (2 - 5)*path[1:-1] - path[:-2], 1e-12)
