"""The echo as a device runs it: only the forward map, and with the faults of a device.

Without faults it must be the echo that is run backwards; the oracle beside it is a device written in plain numpy.
"""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from oracles import Loss, Mechanics, assert_agrees, assert_close, drive_of, initial_gradients
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep
from lagrangian_eqprop.eqprop import device, reversal
from lagrangian_eqprop.solvers import problem as problems

t = dynamicsymbols._t
q, x, z = dynamicsymbols("q x z")
m, k, a, c, B, u, y = sp.symbols("m k a c B u y")
PLAIN = {"compiled": False}
vx, vz = x.diff(t), z.diff(t)
DRIVEN = lep.System(m*q.diff(t)**2/2 - k*q**2/2*(1 + sp.cos(2*t)/3) - a*q**4/4 + u*q, coordinates=[q],
                    parameters={m: 1.3, k: 0.8, a: 0.4}, inputs=[u])  # fmt: skip
MAGNETIC = m*(vx**2 + vz**2)/2 - k*(x**2 + z**4)/2 + B*(1 + x**2)*(x*vz - z*vx)/2
FIELD = lep.System(MAGNETIC, coordinates=[x, z], parameters={m: 1.1, k: 0.7, B: 0.9})
ROPE = lep.System(
    [lep.Term(m*x.diff(t)**2/2 - k*x**2/2 - x**4/9 + u*x, on=[x], at=np.arange(3)),
     lep.Term(-c*(x - z)**2/2, on=[x, z], at=[[0, 1], [1, 2]])],
    size=3, parameters={m: 1.2, k: np.array([0.5, 0.7, 0.9]), c: np.array([1.0, 0.6])}, inputs=[u],
)  # fmt: skip
COST = lep.Cost((q - y)**2/2 + q**3/5*sp.cos(t), targets=[y])
START, GRID = lep.Initial([0.7], v=[0.3]), lep.Grid(30, step=0.1, start=0.4)
PUSH = {u: lambda times: 0.4*np.cos(1.3*times)}
OPTIONS = {"targets": {y: 0.2}, "inputs": PUSH, **PLAIN}


def flat(result):
    parts = [np.ravel(value) for value in result.parameters.values()]
    return np.concatenate([*parts, result.initial.q.ravel(), result.initial.v.ravel(), result.initial.p.ravel()])


# ---------------------------------------------------------------------- without faults
@pytest.mark.parametrize("method", ["verlet", "midpoint"])
@pytest.mark.parametrize("centered", [True, False])
def test_it_is_the_echo_that_is_run_backwards(method, centered, monkeypatch):
    """Over several blocks, with an input and explicit time in L and in the cost."""
    monkeypatch.setattr(problems, "_BLOCK", 1)
    kind = lep.Centered if centered else lep.OneSided
    expected = DRIVEN.gradient(START, GRID, COST, estimator=kind(0.02), method=method, **OPTIONS)
    names = []
    run = problems.Problem.run
    monkeypatch.setattr(problems.Problem, "run", lambda self, name, *rest: (names.append(name), run(self, name, *rest)))
    found = DRIVEN.gradient(START, GRID, COST, estimator=lep.Echo(0.02, centered=centered), method=method, **OPTIONS)
    assert "replay" in names and not {"echo", "linear_echo", "adjoint"} & set(names)
    assert_close(flat(found), flat(expected), 1e-12)
    assert found.loss == expected.loss
    exact = flat(DRIVEN.gradient(START, GRID, COST, method=method, **OPTIONS))
    assert np.abs(flat(found) - exact).max() > 1e-6*np.abs(exact).max()  # the nudge is a finite one


def test_networks_batches_and_inputs_given_as_arrays():
    begin = lep.Initial([[0.3, -0.1, 0.2], [0.1, 0.4, -0.3]], p=[0.1, 0.2, -0.2])
    grid, rng = lep.Grid(20, step=0.1), np.random.default_rng(3)
    cost = lep.Cost((x - y)**2/2, on=[x], at=[0, 2], targets=[y])
    options = {
        "inputs": {u: rng.normal(size=(2, 21, 3))}, "targets": {y: rng.normal(size=(2, 21, 2))},
        "parameters": {c: np.array([[1.0, 0.6], [0.5, 1.4]])}, **PLAIN,
    }  # fmt: skip
    for method in ("verlet", "midpoint"):
        expected, found = (ROPE.gradient(begin, grid, cost, estimator=e, method=method, **options)
                           for e in (lep.Centered(0.05), lep.Echo(0.05)))  # fmt: skip
        assert found[c].shape == (2, 2)
        assert_close(flat(found), flat(expected), 1e-12)


def test_compiled_too():
    grid = lep.Grid(1500, step=0.01)
    expected, found = (DRIVEN.gradient(START, grid, COST, estimator=e, targets={y: 0.2}, inputs=PUSH)
                       for e in (lep.Centered(0.02), lep.Echo(0.02)))  # fmt: skip
    assert_close(flat(found), flat(expected), 1e-11)


def plain_device(beta, steps, h, start):
    """Free run, flip, echo of the driven oscillator in plain numpy: r, pi and d_theta S_d."""
    M, K, A = 1.3, 0.8, 0.4
    times = start + h*np.arange(steps + 1)
    pushes, rates = 0.4*np.cos(1.3*times), 1 + np.cos(2*times)/3
    weights = np.full(steps + 1, h)
    weights[[0, -1]] *= 0.5

    def forward(r, pi, push, rate):
        """One step, with what drives it at its beginning and at its end."""
        pi = pi + h/2*(push[0] - K*rate[0]*r - A*r**3)
        r = r + h*pi/M
        return r, pi + h/2*(push[1] - K*rate[1]*r - A*r**3)

    def slope(r, j):
        return weights[j]*(r - 0.2 + 3*r**2/5*np.cos(times[j]))

    r, pi = 0.7, 1.3*0.3
    for j in range(steps):
        r, pi = forward(r, pi, pushes[[j, j + 1]], rates[[j, j + 1]])
    pi, sums = -pi - beta*slope(r, steps), np.zeros(3)
    for j in range(steps, 0, -1):
        before = r
        r, pi = forward(r, pi, pushes[[j, j - 1]], rates[[j, j - 1]])
        sums += [h*((r - before)/h)**2/2, -h/4*(rates[j]*before**2 + rates[j - 1]*r**2), -h/8*(before**4 + r**4)]
        pi -= beta*slope(r, j - 1)
    return np.array([r, -pi]), sums


def test_a_device_in_plain_numpy_measures_the_same():
    beta = 0.03
    (above, up), (below, down) = (plain_device(sign*beta, GRID.steps, GRID.step, GRID.start) for sign in (1, -1))
    dq, dp = (above - below)/(2*beta)
    g = -(up - down)/(2*beta)
    g[0] -= 0.3*dq  # p_0 = m v_0
    found = DRIVEN.gradient(START, GRID, COST, estimator=lep.Echo(beta), method="verlet", **OPTIONS)
    assert_close([found[s] for s in (m, k, a)], g, 1e-12)
    assert_close([found.initial.q[0], found.initial.p[0]], [dp, -dq], 1e-12)


# ---------------------------------------------------------------------- what turns back, and what does not
def test_a_magnetic_term_is_refused_by_name_and_would_be_wrong(monkeypatch):
    begin, grid, cost = lep.Initial([0.6, -0.2], v=[0.1, 0.5]), lep.Grid(20, step=0.1), lep.Cost(x**2 + sp.sin(z))
    with pytest.raises(ValueError, match=r"reversal must be 'field'.*term 0 is odd in the velocity: .*magnetic.*B\*"):
        FIELD.gradient(begin, grid, cost, estimator=lep.Echo(1e-3), **PLAIN)
    right = flat(FIELD.gradient(begin, grid, cost, **PLAIN))
    found = FIELD.gradient(begin, grid, cost, estimator=lep.Echo(1e-4, reversal="field"), **PLAIN)
    assert_close(flat(found), right, 1e-7)
    monkeypatch.setattr(device, "check_reversible", lambda *_: None)
    wrong = FIELD.gradient(begin, grid, cost, estimator=lep.Echo(1e-4), **PLAIN)
    assert np.abs(flat(wrong) - right).max() > 1e-2*np.abs(right).max()


def test_the_reversed_field_is_exact():
    """Against complex steps through an oracle; the pivot of a Kapitza pendulum brings explicit time and an odd term."""
    shaken = m*q.diff(t)**2/2 + k*sp.cos(q) + a*sp.sin(3*t)*q.diff(t)*sp.sin(q) + u*q.diff(t)
    values, grid, push = {m: 1.1, k: 0.9, a: 0.5}, lep.Grid(20, step=0.1, start=0.3), lambda t: np.cos(2*t)
    system = lep.System(shaken, coordinates=[q], parameters=values, inputs=[u])
    found = system.gradient(START, grid, lep.Cost(sp.sin(q)**2), inputs={u: push},
                            estimator=lep.Echo(3e-5, reversal="field"), **PLAIN)  # fmt: skip
    expected = initial_gradients(
        Mechanics(shaken, [q], values, [u]), "midpoint", Loss(sp.sin(q)**2, [q], (), values), START.q, grid,
        list(values.values()), v=START.v, u=drive_of([push], "midpoint", grid), first=[push(0.3)],
    )  # fmt: skip
    assert_agrees(found, expected, list(values), 2e-8)
    said = lep.Echo(reversal="field").instructions(system)
    assert "the time in term 0 runs backwards" in said and "the input u is played backwards" in said
    assert any("changes its sign" in sentence and "sin(q)" in sentence for sentence in said)


EVEN = [
    vx**2 + vx*vz + vz**2 - x*z, (vx + vz)*(vx - vz) + 3*vz**2, -sp.sqrt(1 - vx**2 - vz**2) - x*z,
    vx**2*sp.cos(x)**2 + vx**2*sp.sin(x)**2 + vz**2 + sp.cosh(vx*z) - x, sp.exp(vx)/2 + sp.exp(-vx)/2 + vz**2 - x*z,
    vx**2 + vz**2 + sp.sin(x + vx)**2 + sp.sin(x - vx)**2 + z,
    vx**2 + vz**2 + z + x + vx*(1 - sp.sin(x)**2 - sp.cos(x)**2),
]  # fmt: skip
ODD = {vx**2 + vz**2 + k*x*vz: "x*z'", vx**2 + vz**2 - k*z + x*vx**3: "x*x'**3", k*vx**2 + sp.exp(vz) - x*z: "exp"}


@pytest.mark.parametrize("expression", EVEN, ids=str)
def test_even_lagrangians_are_recognised(expression):
    system = lep.System(expression, coordinates=[x, z])
    assert not reversal.odd(system.terms[0])
    assert lep.Echo().instructions(system) == ("the momenta change their signs",)


@pytest.mark.parametrize("expression", ODD, ids=str)
def test_odd_ones_are_told(expression):
    system = lep.System([lep.Term(vx**2 - x**2, on=[x], at=[0, 1]), lep.Term(expression, on=[x, z], at=[[0, 1]])],
                        size=2, parameters={k: 0.3} if k in expression.free_symbols else {})  # fmt: skip
    with pytest.raises(ValueError, match="term 1 is odd in the velocity") as caught:
        lep.Echo().instructions(system)
    assert ODD[expression] in str(caught.value)


def test_the_field_is_named_where_a_parameter_is_one():
    assert lep.Echo(reversal="field").instructions(FIELD)[1:] == ("B changes its sign",)
    assert lep.Echo(reversal="field").instructions(DRIVEN) == lep.Echo().instructions(DRIVEN)


def test_other_uses_are_refused():
    with pytest.raises(ValueError, match="estimator must be other than Echo where there is no free run"):
        DRIVEN.gradient(lep.Ends([0.1], [0.2]), GRID, COST, estimator=lep.Echo(), **OPTIONS)
    with pytest.raises(ValueError, match="estimator must be Exact"):
        DRIVEN.gradient(START, GRID, COST, estimator=lep.Echo(), method="gauss", **OPTIONS)
    bad = {
        "beta": 0, "reversal": "spin", "centered": 1, "measurement": -0.1, "state": np.nan, "turn": "small", "seed": 1.5
    }  # fmt: skip
    for name, value in bad.items():
        with pytest.raises(ValueError, match=f"{name} must be"):
            lep.Echo(**{name: value})
    with pytest.raises(ValueError, match="ranges must be given together with bits"):
        lep.Echo(bits=4)
    with pytest.raises(ValueError, match="bits must be an integer from 1 to 32; got 0"):
        lep.Echo(bits=0, ranges={k: (0, 1)})
    with pytest.raises(ValueError, match=r"ranges\[k\] must be \(lowest, highest\), finite and in this order"):
        lep.Echo(bits=4, ranges={k: (1, 1)})
    with pytest.raises(ValueError, match="ranges must be one of.*did you mean 'k'"):
        DRIVEN.gradient(START, GRID, COST, estimator=lep.Echo(bits=4, ranges={"kk": (0, 1)}), **OPTIONS)


# ---------------------------------------------------------------------- faults
def spread(estimator, count, read, system=DRIVEN, begin=START, grid=GRID, cost=COST, options=OPTIONS):
    """Mean and standard deviation of an entry over runs that go on with one Generator."""
    values = [read(system.gradient(begin, grid, cost, estimator=estimator, **options)) for _ in range(count)]
    return np.mean(values, 0), np.std(values, 0, ddof=1)


def near(found, expected, count):
    """A standard deviation of that many normal numbers, within four of its own deviations."""
    assert abs(found/expected - 1) < 4/np.sqrt(2*count), (found, expected)


def test_noise_has_the_size_that_is_asked_for():
    """A free particle carries the turn's noise unchanged: P_0 read is P_N, and the noise in the loop adds up."""
    particle, grid = lep.System(m*q.diff(t)**2/2, [q], parameters={m: 2.0}), lep.Grid(10, step=0.2)
    beta, count = 0.1, 250
    begin, cost = lep.Initial([0.5], v=[1.0]), lep.Cost(q)
    path = particle.trajectory(begin, grid)
    size = {"q": np.sqrt(np.mean(path.q**2)), "p": np.sqrt(np.mean(path.p**2))}
    free = particle.gradient(begin, grid, cost, **PLAIN)

    def run(read, **faults):
        estimator = lep.Echo(beta, seed=np.random.default_rng(1), **faults)
        return spread(estimator, count, read, particle, begin, grid, cost, PLAIN)

    for fault in ("turn", "state", "measurement"):
        mean, deviation = run(lambda result: result.initial.q[0], **{fault: 0.02})  # at fixed v: d_beta P_0
        near(deviation, 0.02*size["p"]/(np.sqrt(2)*beta), count)
        assert abs(mean - free.initial.q[0]) < 4*deviation/np.sqrt(count)
    _, deviation = run(lambda result: result.initial.p[0], measurement=0.02)
    near(deviation, 0.02*size["q"]/(np.sqrt(2)*beta), count)
    _, deviation = run(lambda result: result.initial.p[0], turn=0.02)  # the position moves with the momentum too
    near(deviation, 0.02*np.hypot(size["q"], size["p"]*grid.duration/2.0)/(np.sqrt(2)*beta), count)


@pytest.mark.parametrize("fault", ["measurement", "state", "turn"])
def test_noise_falls_with_the_nudge_and_has_no_mean(fault):
    exact, count, deviations = DRIVEN.gradient(START, GRID, COST, **OPTIONS)[k], 60, []
    for beta in (0.005, 0.01):
        estimator = lep.Echo(beta, seed=np.random.default_rng(5), **{fault: 1e-4})
        mean, deviation = spread(estimator, count, lambda result: float(result[k]))
        assert abs(mean - exact) < 4*deviation/np.sqrt(count) + 1e-3*abs(exact)
        deviations.append(deviation)
    assert deviations[0] > 1e-5*abs(exact)
    assert abs(deviations[0]/deviations[1] - 2) < 0.02  # the same draws, over half the nudge


def test_the_best_nudge_and_its_error_follow_the_noise():
    """sigma/beta against beta^2: the best error goes like sigma^(2/3), the best nudge like sigma^(1/3)."""
    exact, betas = DRIVEN.gradient(START, GRID, COST, **OPTIONS)[k], np.logspace(-2.6, 0.2, 15)
    best, where = [], []
    for sigma in (1e-3, 1e-5):
        errors = []
        for beta in betas:
            estimator = lep.Echo(beta, turn=sigma, seed=np.random.default_rng(2))
            found = [DRIVEN.gradient(START, GRID, COST, estimator=estimator, **OPTIONS)[k] for _ in range(8)]
            errors.append(np.sqrt(np.mean((np.array(found) - exact)**2)))
        best.append(min(errors))
        where.append(betas[int(np.argmin(errors))])
    assert 0.5 < np.log(best[0]/best[1])/np.log(100) < 0.8
    assert 0.15 < np.log(where[0]/where[1])/np.log(100) < 0.5


def test_seeds():
    def run(seed):
        estimator = lep.Echo(0.01, state=0.01, seed=seed)
        return [DRIVEN.gradient(START, GRID, COST, estimator=estimator, **OPTIONS)[k] for _ in range(2)]

    first, again = run(4)
    assert first == again == run(4)[0] != run(5)[0]
    one, two = run(np.random.default_rng(4))
    assert one == first != two
    assert run(None)[0] != run(None)[0]


def test_parameters_have_as_many_levels_as_their_bits():
    estimator = lep.Echo(0.01, bits=3, ranges={k: (0.0, 2.0), "a": (-1.0, 0.3)})
    found = DRIVEN.gradient(START, GRID, COST, estimator=estimator, **OPTIONS)
    level = 2/7*3  # of 0, 2/7, 4/7, ... the nearest to 0.8; a is at the end of its range
    rounded = {"k": level, "a": 0.3}
    expected = DRIVEN.gradient(START, GRID, COST, estimator=lep.Echo(0.01), parameters=rounded, **OPTIONS)
    assert_close(flat(found), flat(expected), 1e-14)
    assert found.loss == expected.loss
    many = lep.Echo(0.01, bits=32, ranges={k: (0.0, 2.0)})
    ideal = DRIVEN.gradient(START, GRID, COST, estimator=lep.Echo(0.01), **OPTIONS)
    assert_close(flat(DRIVEN.gradient(START, GRID, COST, estimator=many, **OPTIONS)), flat(ideal), 1e-8)


def test_training_draws_on_and_repeats():
    begin = lep.Initial([[0.7], [0.2], [-0.5], [0.1]], v=[0.3])
    options = {"epochs": 3, "batch": 2, "progress": False, "optimiser": lep.SGD(0.05), **OPTIONS}
    seeds = []

    class Watched(lep.Echo):
        def __post_init__(self):
            super().__post_init__()
            seeds.append(self.seed)

    noisy = Watched(0.05, state=0.05, bits=10, ranges={k: (0.0, 2.0)})
    histories = [DRIVEN.fit(begin, GRID, COST, estimator=noisy, **options) for _ in range(2)]
    assert np.array_equal(histories[0].loss, histories[1].loss)
    assert histories[0][k] == histories[1][k]
    assert isinstance(seeds[-1], np.random.Generator)
    ideal = DRIVEN.fit(begin, GRID, COST, estimator=lep.Centered(0.05), **options)
    same = DRIVEN.fit(begin, GRID, COST, estimator=lep.Echo(0.05), **options)
    assert_close([same[s] for s in (m, k, a)], [ideal[s] for s in (m, k, a)], 1e-11)
    assert histories[0][k] != ideal[k]
    assert abs(histories[0].loss[-1]/ideal.loss[-1] - 1) < 0.2
    frozen = [DRIVEN.gradient(START, GRID, COST, estimator=noisy, **OPTIONS)[k] for _ in range(2)]
    assert frozen[0] == frozen[1]


def test_check_takes_it():
    more = [lep.Echo(1e-4), lep.Echo(1e-2), lep.Centered(1e-2, nudge="linearised")]
    report = DRIVEN.check(START, lep.Grid(12, step=0.1), COST, estimators=more, **OPTIONS)
    assert report.passed
    assert report.errors["Echo"] < 1e-6 < report.errors["Echo 4"]
    assert "Centered 5" in report.errors and "Centered" in report.errors
