"""Losses of velocities, momenta and integrals: gradients against complex step through an independent integrator."""

import numpy as np
import oracles
import pytest
import sympy as sp
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep

q, r = dynamicsymbols("q r")
m, k, a, c, u, y, P, E = sp.symbols("m k a c u y P E")
GRID = lep.Grid(24, step=0.08, start=0.3)
LATE = np.where(np.arange(25) > 12, 0.08, 0.0)
THETA = {m: 1.3, k: 0.8, a: 0.4}
DRIVE = [lambda t: 0.3*np.cos(1.3*t)]
DUFFING = m*q.diff()**2/2 - k*q**2/2 - a*q**4/4 + u*q
MAGNETIC = m*(1 + 0.3*q**2)*q.diff()**2/2 + m*r.diff()**2/2 + a*q*r.diff() - k*(q**2 + r**2)/2 + u*q*r.diff()

COSTS = {
    "velocity": lep.Cost((q.diff() - y)**2/2 + k*q, targets=[y]),
    "momentum": lep.Cost((m*q.diff() - y)**2*sp.cos(q), targets=[y]),
    "last velocity": lep.Cost(sp.exp(q.diff()) - y*q, targets=[y], when="end"),
    "window": lep.Cost(q.diff()**2*q + y*q.diff(), targets=[y], weights=LATE),
}
SYSTEMS = {"duffing": (DUFFING, [q]), "magnetic": (MAGNETIC, [q, r])}


def system_of(name):
    expression, coordinates = SYSTEMS[name]
    return lep.System(expression, coordinates=coordinates, parameters=THETA, inputs=[u])


class Loss:
    """J of c(q, v; theta, y) at the nodes of a path, v from p = L_v(q, v) by Newton."""

    def __init__(self, mechanics, cost, coordinates):
        size = len(coordinates)
        self.mechanics, self.size, self.cost = mechanics, size, cost
        v = [sp.Dummy() for _ in coordinates]
        moving = {x.diff(): w for x, w in zip(coordinates, v, strict=True)}
        self.c = sp.lambdify([coordinates, v, [m, k, a], y], cost.expression.xreplace(moving), "numpy")
        self.weights = oracles.Loss(sp.Integer(1)*coordinates[0], coordinates, [], [], cost.when == "end", cost.weights)

    def velocity(self, x, p, t, theta):
        v = np.zeros(self.size, complex)
        for _ in range(20):
            value = np.array(self.mechanics.momentum(x, v, t, theta, [f(t) for f in DRIVE]), complex)
            M = self.mechanics.derivatives(x, v, t, theta, [f(t) for f in DRIVE])[4]
            v = v + np.linalg.solve(M, p - value)
        return v

    def __call__(self, x, p, grid, theta, target):
        w = self.weights.weights(grid)
        t = grid.start + grid.step*np.arange(grid.steps + 1)
        return sum(w[j]*self.c(x[j], self.velocity(x[j], p[j], t[j], theta), theta, target)
                   for j in range(grid.steps + 1) if w[j])  # fmt: skip


def momenta(mechanics, method, x, grid, theta, inputs):
    """The nodal momenta of a path."""
    rule, p = oracles.RULES[method], np.zeros(x.shape, complex)
    for j in range(grid.steps):
        D1, D2, *_ = rule(mechanics, x[j], x[j + 1], grid.start + j*grid.step, grid.step, theta, inputs[j])
        p[j], p[j + 1] = -D1, D2
    return p


@pytest.mark.parametrize("given", ["v", "p"])
@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize(("name", "method"), [("duffing", "verlet"), ("duffing", "midpoint"), ("magnetic", "midpoint")])
def test_initial(name, method, cost, given):
    system, (expression, coordinates) = system_of(name), SYSTEMS[name]
    mechanics = oracles.Mechanics(expression, coordinates, [m, k, a], [u])
    loss, inputs = Loss(mechanics, COSTS[cost], coordinates), oracles.drive_of(DRIVE, method, GRID)
    x, other = np.array([0.7, -0.2])[: len(coordinates)], np.array([0.1, 0.4])[: len(coordinates)]

    def J(theta, x, other):
        p = other
        if given == "v":
            p = np.array(mechanics.momentum(x, other, GRID.start, theta, [f(GRID.start) for f in DRIVE]))
        return loss(*oracles.run(mechanics, method, x, p, theta, GRID, inputs), GRID, theta, 0.3)

    theta = np.array(list(THETA.values()))
    result = system.gradient(
        lep.Initial(q=x, **{given: other}), GRID, COSTS[cost], targets={y: 0.3}, inputs={u: DRIVE[0]}, method=method,
        compiled=False,
    )
    oracles.assert_close(result.loss, np.real(J(theta, x, other)), 1e-11)
    oracles.assert_close([result[s] for s in (m, k, a)], oracles.complex_step(lambda z: J(z, x, other), theta))
    oracles.assert_close(result.initial.q, oracles.complex_step(lambda z: J(theta, z, other), x))
    oracles.assert_close(getattr(result.initial, given), oracles.complex_step(lambda z: J(theta, x, z), other))


@pytest.mark.parametrize("free", [(False, False), (False, True)])
@pytest.mark.parametrize("cost", ["velocity", "last velocity"])
def test_ends(cost, free):
    system, method = system_of("duffing"), "midpoint"
    mechanics = oracles.Mechanics(DUFFING, [q], [m, k, a], [u])
    loss, inputs = Loss(mechanics, COSTS[cost], [q]), oracles.drive_of(DRIVE, method, GRID)
    ends = lep.Ends([0.7], None if free[1] else [-0.4])
    options = {"inputs": {u: DRIVE[0]}, "method": method, "compiled": False}
    path = system.trajectory(ends, GRID, **options)

    def J(theta, start, stop):
        x = np.array(path.q, complex)
        x[0] = start
        if not free[1]:
            x[-1] = stop
        x = oracles.between(mechanics, method, x, theta, GRID, free, inputs)[0]
        return loss(x, momenta(mechanics, method, x, GRID, theta, inputs), GRID, theta, 0.3)

    theta, start, stop = np.array(list(THETA.values())), path.q[0], path.q[-1]
    for estimator in (lep.Exact(), lep.Adjoint()):
        result = system.gradient(ends, GRID, COSTS[cost], targets={y: 0.3}, estimator=estimator, **options)
        oracles.assert_close([result[s] for s in (m, k, a)], oracles.complex_step(lambda z: J(z, start, stop), theta))
        oracles.assert_close(result.ends.start, oracles.complex_step(lambda z: J(theta, z, stop), start))
        if not free[1]:
            oracles.assert_close(result.ends.stop, oracles.complex_step(lambda z: J(theta, start, z), stop))


def test_integrals():
    """J = (P - y)^2 + sin(E) of two integrals, in a batch with parameters of each sample."""
    system = system_of("duffing")
    power, swing = lep.Cost(q**2, weights=LATE), lep.Cost(q.diff()**2 + k*q)
    cost = lep.IntegralCost((P - y)**2 + sp.sin(E), integrals={P: power, E: swing}, targets=[y])
    start = lep.Initial(q=[[0.7], [0.2], [-0.5]], v=[[0.1], [0.9], [0.3]])
    stiffness, aim = np.array([0.8, 1.1, 0.5]), np.array([0.1, 0.4, -0.2])
    options = {"inputs": {u: 0.2}, "compiled": False}

    def J(row, stiffness, mass):
        values = {k: stiffness, m: mass}
        x = lep.Initial(q=start.q[row], v=start.v[row])
        path = system.trajectory(x, GRID, parameters=values, **options)
        w = np.full(25, 0.08)
        w[[0, -1]] /= 2
        first = (LATE*path.q[:, 0]**2).sum()
        return (first - aim[row])**2 + np.sin((w*(path.v[:, 0]**2 + stiffness*path.q[:, 0])).sum())

    result = system.gradient(start, GRID, cost, targets={"y": aim}, parameters={k: stiffness}, **options)
    values = [J(row, stiffness[row], 1.3) for row in range(3)]
    np.testing.assert_allclose(result.losses, values, rtol=1e-12)
    e = 1e-5
    each = [(J(row, stiffness[row] + e, 1.3) - J(row, stiffness[row] - e, 1.3))/(2*e)/3 for row in range(3)]
    np.testing.assert_allclose(result[k], each, rtol=1e-7)
    mass = [(J(row, stiffness[row], 1.3 + e) - J(row, stiffness[row], 1.3 - e))/(2*e)/3 for row in range(3)]
    np.testing.assert_allclose(result[m], sum(mass), rtol=1e-7)


@pytest.mark.parametrize(("estimator", "slope"), [(lep.OneSided, 1), (lep.Centered, 2)])
def test_finite_nudges(estimator, slope):
    """The nudge is linear in beta, its bias of the order that theory says."""
    system = system_of("duffing")
    start, cost = lep.Initial(q=[0.7], v=[0.1]), COSTS["velocity"]
    options = {"targets": {y: 0.3}, "inputs": {u: DRIVE[0]}, "compiled": False}
    exact = system.gradient(start, GRID, cost, **options)
    betas = np.geomspace(1e-3, 1e-2, 4)
    found = [system.gradient(start, GRID, cost, estimator=estimator(b), **options) for b in betas]
    errors = [abs(float(result[k] - exact[k])) for result in found]
    assert np.polyfit(np.log(betas), np.log(errors), 1)[0] == pytest.approx(slope, abs=0.05)


def test_network():
    """A sum over places, of velocities of neighbours; compiled."""
    n, x, z, w = 5, *dynamicsymbols("x z"), sp.Symbol("w")
    edges = np.stack([np.arange(n - 1), np.arange(1, n)], 1)
    net = lep.System(
        [lep.Term(m*x.diff()**2/2 - k*x**2/2, on=[x], at=np.arange(n)), lep.Term(-w*(x - z)**4, on=[x, z], at=edges)],
        size=n, parameters={m: np.linspace(1, 2, n), k: 0.8, w: np.linspace(0.1, 0.4, n - 1)},
    )  # fmt: skip
    cost = lep.Cost(c*(x.diff() - z.diff() - y)**2, on=[x, z], at=edges[[0, 3]], targets=[y], parameters={c: 0.7})
    rng = np.random.default_rng(0)
    start = lep.Initial(q=rng.standard_normal((2, n)), p=rng.standard_normal((2, n)))
    aim = rng.standard_normal((2, 1, 2))
    result = net.gradient(start, GRID, cost, targets={y: aim})

    def J(**moved):
        path = net.trajectory(start, GRID, parameters={s: v for s, v in moved.items() if s != "c"})
        weight = np.full(25, 0.08)
        weight[[0, -1]] /= 2
        gap = path.v[:, :, [0, 3]] - path.v[:, :, [1, 4]] - aim
        return (weight*moved.get("c", 0.7)*(gap**2).sum(2)).sum(1).mean()

    assert result.loss == pytest.approx(J(), rel=1e-12)
    e = 1e-5
    for name, value in (("m", np.linspace(1, 2, n)), ("w", np.linspace(0.1, 0.4, n - 1)), ("k", 0.8), ("c", 0.7)):
        found = np.zeros(np.shape(value))
        for index in np.ndindex(found.shape):
            step = np.zeros(found.shape)
            step[index] = e
            found[index] = (J(**{name: value + step}) - J(**{name: value - step}))/(2*e)
        np.testing.assert_allclose(result[name], found, rtol=1e-6, atol=1e-8)


def test_bad_input():
    system, start = system_of("duffing"), lep.Initial(q=[0.7], v=[0.1])
    with pytest.raises(ValueError, match="velocities are for gradient alone"):
        system.trajectory(start, GRID, cost=COSTS["velocity"], targets={y: 0.3}, inputs={u: 0.0}, nudge=0.1)
    with pytest.raises(ValueError, match=r"integrals\[P\] must be a lep.Cost"):
        lep.IntegralCost(P, integrals={P: q})
    with pytest.raises(ValueError, match="neither an integral nor a target"):
        lep.IntegralCost(P*k, integrals={P: lep.Cost(q)})
    with pytest.raises(ValueError, match="must be used by its expression; 'E'"):
        lep.IntegralCost(P, integrals={P: lep.Cost(q), E: lep.Cost(q)})
    cost = lep.IntegralCost((P - y)**2, integrals={P: lep.Cost(q)}, targets=[y])
    with pytest.raises(ValueError, match=r"targets\[y\] must be given"):
        system.gradient(start, GRID, cost, inputs={u: 0.0})
    with pytest.raises(ValueError, match=r"targets\[y\] must be a number or"):
        system.gradient(start, GRID, cost, targets={y: np.zeros(3)}, inputs={u: 0.0})
    with pytest.raises(ValueError, match="'verlet' or 'midpoint' for costs of velocities"):
        system.gradient(start, GRID, COSTS["velocity"], targets={y: 0.3}, inputs={u: 0.0}, method="gauss")
