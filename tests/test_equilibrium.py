"""Equilibria: closed forms, implicit differentiation in plain numpy, bounds, indices, failures and training."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from statics import Implicit
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep

t = dynamicsymbols._t
q, x, z = dynamicsymbols("q x z")
a, b, c, g, k, u, y, V = sp.symbols("a b c g k u y V")
g1, g2 = sp.symbols("g1 g2")
REST = lep.Equilibrium()


# ---------------------------------------------------------------------- closed forms
def test_two_resistors():
    """A voltage V over g1 and g2 in series: the node between them is at g1 V/(g1 + g2)."""
    divider = lep.System(
        energy=g1*(V - x)**2/2 + g2*x**2/2, coordinates=[x], parameters={g1: 2.0, g2: 0.5}, inputs=[V]
    )  # fmt: skip
    rest = divider.equilibrium(REST, inputs={V: 3.0})
    assert rest.q == pytest.approx([2*3/2.5], rel=1e-14)
    assert rest.energy == pytest.approx(0.5*(2*0.5/2.5)*9, rel=1e-14)  # half of V^2 over the resistance of both
    assert (rest.index, rest.success, rest.solver) == (0, True, "newton")
    assert rest.q.shape == (1,)
    result = divider.gradient(REST, cost=lep.Cost((x - y)**2/2, [y]), inputs={V: 3.0}, targets={y: 1.0})
    assert result.loss == pytest.approx((2.4 - 1)**2/2, rel=1e-14)
    assert result[g1] == pytest.approx(1.4*3*0.5/2.5**2, rel=1e-13)
    assert result[g2] == pytest.approx(-1.4*3*2/2.5**2, rel=1e-13)


def test_three_nodes_on_springs():
    """A ring of three springs with one node held and forces on the others: K q = f."""
    edges = np.array([[0, 1], [1, 2], [2, 0]])
    ring = lep.System(
        energy=[lep.Term(k*(z - x)**2/2, [x, z], edges), lep.Term(-u*x, [x], [1, 2])], size=3,
        parameters={k: [1.0, 2.0, 3.0]}, inputs=[u], clamped={V: [0]},
    )  # fmt: skip
    force, wall = np.array([[0.3, -0.1], [1.0, 0.4]]), np.array([[0.2], [-0.5]])
    rest = ring.equilibrium(REST, inputs={u: force, V: wall})
    K = np.array([[1 + 2.0, -2], [-2, 2 + 3.0]])
    expected = np.linalg.solve(K, (force + wall*np.array([1.0, 3.0])).T).T
    np.testing.assert_allclose(rest.q, np.hstack([wall, expected]), rtol=1e-13)
    cost = lep.Cost((x - y)**2/2, on=[x], at=[2], targets=[y])
    result = ring.gradient(REST, cost=cost, inputs={u: force, V: wall}, targets={y: 0.1})
    multiplier = np.linalg.solve(K, np.stack([0*expected[:, 1], expected[:, 1] - 0.1]))
    stretch = rest.q[:, edges[:, 1]] - rest.q[:, edges[:, 0]]
    along = np.vstack([0*multiplier[:1], multiplier]).T
    slope = -(stretch*(along[:, edges[:, 1]] - along[:, edges[:, 0]])).mean(0)
    np.testing.assert_allclose(result[k], slope, rtol=1e-12)


# ---------------------------------------------------------------------- implicit differentiation
NONLINEAR = (
    k*x**2/2 + a*x**4/4 + b*sp.cosh(z - x/2) + c*sp.cos(x*z)/5 + sp.log(sp.exp(x) + sp.exp(z)) - u*z + q**2*k/2
    - c*q*sp.sin(x)
)  # fmt: skip
VALUES = {a: 0.4, b: 0.7, c: 0.9, k: 1.3, g: 0.6}
NET = lep.System(
    energy=NONLINEAR, coordinates=[x, z, q], parameters={s: v for s, v in VALUES.items() if s != g}, inputs=[u]
)  # fmt: skip
COST = lep.Cost(g*(x - y)**2/2 + x*q*z/3, targets=[y], parameters={g: VALUES[g]})
DRIVE, AIM = np.array([0.8, -0.4]), np.array([0.3, 0.1])


def implicit(energy=NONLINEAR, lower=None, upper=None, guess=(0, 0, 0)):
    plain = sp.symbols("q0:3")
    swap = dict(zip((x, z, q), plain, strict=True))
    found = []
    for drive, aim in zip(DRIVE, AIM, strict=True):
        swap |= {u: drive, y: aim}
        oracle = Implicit(energy.xreplace(swap), COST.expression.xreplace(swap), plain, list(VALUES), lower, upper)
        found.append(oracle.gradient(guess, list(VALUES.values())))
    points, losses, slopes, indices = zip(*found, strict=True)
    return np.array(points), np.array(losses), np.mean(slopes, 0), np.array(indices)


def flat(result):
    return np.array([result[s] for s in VALUES])


def asked(system=NET, rest=REST, **options):
    return system.gradient(rest, cost=COST, inputs={u: DRIVE}, targets={y: AIM}, **options)


@pytest.mark.parametrize("estimator", [lep.Exact(), lep.Adjoint()])
@pytest.mark.parametrize("solver", ["newton", "stationary", "relaxation", "accelerated"])
def test_exact_is_implicit_differentiation(solver, estimator):
    points, losses, slopes, indices = implicit()
    boundary = lep.Equilibrium(solver=solver, tolerance=1e-13)
    rest = NET.equilibrium(boundary, inputs={u: DRIVE})
    np.testing.assert_allclose(rest.q, points, atol=1e-12)
    assert rest.solver == solver and (rest.residual <= 1e-13).all()
    np.testing.assert_array_equal(rest.index, indices)
    result = asked(rest=boundary, estimator=estimator)
    np.testing.assert_allclose(result.losses, losses, rtol=1e-11)
    np.testing.assert_allclose(flat(result), slopes, rtol=1e-10)


@pytest.mark.parametrize(
    ("order", "make", "betas"),
    [
        (1, lep.OneSided, np.logspace(-5, -3, 6)), (2, lep.Centered, np.logspace(-2.5, -1.5, 6)),
        (4, lambda r: lep.Holomorphic(r, 4), np.logspace(-1.7, -1, 6)),
        (8, lambda r: lep.Holomorphic(r, 8), np.logspace(-1.0, -0.6, 6)),
    ],
)  # fmt: skip
def test_slopes_in_beta(order, make, betas):
    exact = implicit()[2]
    found = [np.linalg.norm(flat(asked(estimator=make(beta))) - exact) for beta in betas]
    slope = np.polyfit(np.log(betas), np.log(found), 1)[0]
    assert slope == pytest.approx(order, abs=0.06*order)


def test_holomorphic_chooses_its_radius():
    result = asked(estimator=lep.Holomorphic())
    np.testing.assert_allclose(flat(result), implicit()[2], rtol=1e-10)
    assert result.error < 1e-10


def test_a_finite_nudge_is_the_gradient_of_an_averaged_cost():
    """[E_theta(q_b) - E_theta(q_0)]/b is a gradient: the derivative of the mean cost along the nudge, at any b."""
    beta, (nodes, weights) = 0.3, np.polynomial.legendre.leggauss(12)

    def averaged(value):
        total = 0.0
        for node, weight in zip(nodes, weights, strict=True):
            rest = NET.equilibrium(
                REST, inputs={u: 0.8}, cost=COST, targets={y: 0.3}, nudge=beta*(node + 1)/2, parameters={a: value}
            )  # fmt: skip
            xs, zs, qs = rest.q
            total += weight/2*(VALUES[g]*(xs - 0.3)**2/2 + xs*qs*zs/3)
        return total

    step = 1e-3
    slope = (8*(averaged(0.4 + step) - averaged(0.4 - step)) - averaged(0.4 + 2*step) + averaged(0.4 - 2*step))/12/step
    estimate = NET.gradient(REST, cost=COST, inputs={u: 0.8}, targets={y: 0.3}, estimator=lep.OneSided(beta))[a]
    assert estimate == pytest.approx(slope, rel=1e-9)


def test_the_nudge_lowers_the_force_of_the_cost():
    """The convention: q_beta is stationary in E + beta c."""
    well = lep.System(energy=k*x**2/2, coordinates=[x], parameters={k: 2.0})
    cost = lep.Cost((x - y)**2/2, [y])
    rest = well.equilibrium(REST, cost=cost, targets={y: 1.0}, nudge=0.5)
    assert rest.q == pytest.approx([0.5/2.5], rel=1e-14)


# ---------------------------------------------------------------------- bounds
BOUNDS = {x: (None, 0.25), z: (-0.1, 0.6), q: (0.05, None)}


@pytest.mark.parametrize("solver", ["newton", "relaxation", "accelerated"])
def test_saturated_units_do_not_respond(solver):
    lower, upper = [-np.inf, -0.1, 0.05], [0.25, 0.6, np.inf]
    system = lep.System(
        energy=NONLINEAR, coordinates=[x, z, q], parameters=NET.parameters, inputs=[u], bounds=BOUNDS
    )  # fmt: skip
    points, losses, slopes, indices = implicit(lower=lower, upper=upper, guess=(0, 0, 0.1))
    stopped = (points == lower) | (points == upper)
    assert stopped.any() and not stopped.all()
    boundary = lep.Equilibrium(solver=solver, tolerance=1e-13)
    rest = system.equilibrium(boundary, inputs={u: DRIVE})
    np.testing.assert_allclose(rest.q, points, atol=1e-12)
    np.testing.assert_array_equal(rest.index, indices)
    result = asked(system, boundary)
    np.testing.assert_allclose(result.losses, losses, rtol=1e-11)
    np.testing.assert_allclose(flat(result), slopes, rtol=1e-10, atol=1e-13)
    for estimator, rtol in ((lep.Adjoint(), 1e-10), (lep.Centered(1e-4), 1e-6), (lep.Holomorphic(), 1e-8)):
        np.testing.assert_allclose(flat(asked(system, boundary, estimator=estimator)), slopes, rtol=rtol, atol=1e-8)


# ---------------------------------------------------------------------- indices
def test_indices_of_pendula():
    """Three coupled pendula: as many negative eigenvalues as stand upright."""
    pendula = lep.System(
        [lep.Term(x.diff(t)**2/2 + sp.cos(x), [x], np.arange(3)), lep.Term(-c*(x - z)**2/2, [x, z], [[0, 1], [1, 2]])],
        size=3, parameters={c: 0.0},
    )  # fmt: skip
    for standing in ([0, 0, 0], [1, 0, 0], [1, 0, 1], [1, 1, 1]):
        guess = np.pi*np.array(standing) + 0.05
        rest = pendula.equilibrium(lep.Equilibrium(guess, solver="stationary"))
        np.testing.assert_allclose(rest.q, np.pi*np.array(standing), atol=1e-12)
        assert rest.index == sum(standing)
    assert pendula.equilibrium(lep.Equilibrium(guess)).index == 0  # Newton goes on to a minimum


def test_a_gradient_at_a_saddle():
    """Minimality is not needed; a double well's top, moved by a force: x ~ -f/k."""
    well = lep.System(energy=-k*x**2/2 + x**4/4 + a*x, coordinates=[x], parameters={k: 2.0, a: 0.1})
    cost = lep.Cost(x**2/2)
    boundary = lep.Equilibrium([0.01], solver="stationary")
    top = well.equilibrium(boundary)
    assert top.index == 1
    (root,) = (r.real for r in np.roots([1, 0, -2, 0.1]) if abs(r) < 0.5)
    assert top.q == pytest.approx([root], rel=1e-13)
    exact = -root/(3*root**2 - 2)
    for estimator, rel in ((lep.Exact(), 1e-12), (lep.Centered(1e-4), 1e-6), (lep.Holomorphic(), 1e-10)):
        assert well.gradient(boundary, cost=cost, estimator=estimator)[a] == pytest.approx(exact, rel=rel)


# ---------------------------------------------------------------------- convergence
def test_unconverged_samples_are_marked():
    quartic = lep.System(energy=x**4/4 - u*x, coordinates=[x], inputs=[u])
    drives = np.array([0.0, 8.0, 0.001])
    short = lep.Equilibrium(0.0, solver="relaxation", step=0.05, iterations=200, tolerance=1e-6)
    with pytest.raises(lep.ConvergenceError, match="1 of 3 samples: sample 2 has the residual .* a smaller step"):
        quartic.equilibrium(short, inputs={u: drives})
    rest = quartic.equilibrium(short, inputs={u: drives}, on_failure="return")
    assert rest.success.tolist() == [True, True, False]
    np.testing.assert_allclose(rest.q[1], 2.0, rtol=1e-6)
    assert np.isnan(rest.q[2]) and rest.residual[2] > 1e-6 and np.isnan(rest.energy[2])
    cost = lep.Cost(c*(x - y)**2/2, [y], parameters={c: 1.5})
    result = quartic.gradient(short, cost=cost, inputs={u: drives[1:]}, targets={y: 0.5}, on_failure="return")
    assert result.success.tolist() == [True, False] and np.isnan(result.losses[1])
    alone = quartic.gradient(short, cost=cost, inputs={u: drives[1]}, targets={y: 0.5})
    assert result[c] == pytest.approx(float(alone[c]), rel=1e-8)  # alone it stops earlier
    assert result.loss == pytest.approx(alone.loss, rel=1e-8)


def test_exactly_so_many_steps():
    boundary = lep.Equilibrium([1.0], step=0.1, iterations=7, tolerance=None)
    rest = lep.System(energy=x**2/2, coordinates=[x]).equilibrium(boundary)
    assert rest.q == pytest.approx([0.9**7], rel=1e-14)
    assert rest.residual == pytest.approx(0.9**7, rel=1e-14)
    assert rest.success and rest.iterations == 7


def test_no_minimum_is_a_failure():
    slide = lep.System(energy=x, coordinates=[x])
    for solver in ("newton", "relaxation", "accelerated"):
        with pytest.raises(lep.ConvergenceError):
            slide.equilibrium(lep.Equilibrium(solver=solver, iterations=50))
    flat_bottom = lep.System(energy=(x - a*z)**2/2, coordinates=[x, z], parameters={a: 1.0})
    with pytest.raises(lep.ConvergenceError, match="singular"):
        flat_bottom.gradient(lep.Equilibrium([1.0, 0.0]), cost=lep.Cost(x**2/2))


def test_warm_start():
    first = NET.equilibrium(lep.Equilibrium([2.0, -1.0, 3.0]), inputs={u: 0.8})
    again = NET.equilibrium(lep.Equilibrium(first.q), inputs={u: 0.8001})
    assert again.iterations < first.iterations
    np.testing.assert_allclose(again.q, first.q, atol=1e-3)


def test_a_long_chain_is_sparse():
    """Nonlinear springs between walls: the equations are checked, and the response against a dense solve."""
    n = 600
    edges = np.stack([np.arange(n - 1), np.arange(1, n)], 1)
    chain = lep.System(
        energy=[lep.Term((x - z)**2/2 + a*(x - z)**4/4, [x, z], edges), lep.Term(k*x**2/2 - u*x, [x], np.arange(n))],
        size=n, parameters={a: np.full(n - 1, 0.3), k: 0.1}, inputs=[u],
    )  # fmt: skip
    push = np.random.default_rng(0).normal(size=n)
    rest = chain.equilibrium(REST, inputs={u: push})
    d = np.diff(rest.q)
    force = d + 0.3*d**3
    slope = 0.1*rest.q - push - np.append(force, 0) + np.append(0, force)
    assert np.abs(slope).max() < 1e-10 and rest.index == 0 and rest.solver == "newton"
    result = chain.gradient(REST, cost=lep.Cost(x**2/2, on=[x], at=[5]), inputs={u: push})
    H = 0.1*np.eye(n)
    for (i, j), bend in zip(edges, 1 + 0.9*d**2, strict=True):
        H[np.ix_([i, j], [i, j])] += bend*np.array([[1, -1], [-1, 1]])
    delta = np.linalg.solve(H, -np.eye(n)[5]*rest.q[5])
    np.testing.assert_allclose(result[a], d**3*np.diff(delta), rtol=1e-9, atol=1e-18)
    assert result[k] == pytest.approx(rest.q @ delta, rel=1e-10)


def test_a_parameter_of_each_samples_own():
    values = np.array([1.3, 2.0])
    together = asked(parameters={k: values})
    for n, value in enumerate(values):
        alone = NET.gradient(
            REST, cost=COST, inputs={u: DRIVE[n]}, targets={y: AIM[n]}, parameters={k: value}
        )  # fmt: skip
        assert together[k][n]*2 == pytest.approx(float(alone[k]), rel=1e-12)


def test_saved_states():
    result = asked(save="all", estimator=lep.OneSided(0.01))
    np.testing.assert_allclose(result.path.q, implicit()[0], atol=1e-12)
    nudged = NET.equilibrium(REST, inputs={u: DRIVE}, cost=COST, targets={y: AIM}, nudge=0.01)
    np.testing.assert_allclose(result.nudged.q, nudged.q, atol=1e-13)


# ---------------------------------------------------------------------- training
def test_fit_finds_a_conductance():
    divider = lep.System(
        energy=g1*(V - x)**2/2 + g2*x**2/2, coordinates=[x], parameters={g1: 2.0, g2: 0.5}, inputs=[V]
    )  # fmt: skip
    volts = np.linspace(0.5, 2, 12)
    history = divider.fit(
        REST, cost=lep.Cost((x - y)**2/2, [y]), inputs={V: volts}, targets={y: 0.3*volts}, epochs=60, batch=4,
        optimiser=lep.Adam(0.3), train=[g2], progress=False,
        validation={"inputs": {V: volts}, "targets": {y: 0.3*volts}},
    )  # fmt: skip
    assert history[g2] == pytest.approx(2*0.7/0.3, rel=1e-3)  # 0.3 = g1/(g1 + g2)
    assert history.validation[-1] < 1e-4*history.validation[0]
    guesses = lep.Equilibrium(volts[:, None])
    again = divider.fit(guesses, cost=lep.Cost((x - y)**2/2, [y]), inputs={V: volts}, targets={y: 0.3*volts}, epochs=2,
                        batch=5, progress=False)  # fmt: skip
    assert again.loss.shape == (2,) and again.loss[1] < again.loss[0]


def test_limits_and_rates_of_parameters():
    divider = lep.System(
        energy=g1*(V - x)**2/2 + g2*x**2/2, coordinates=[x], parameters={g1: 2.0, g2: 0.5}, inputs=[V]
    )  # fmt: skip
    options = {"cost": lep.Cost((x - y)**2/2, [y]), "inputs": {V: 1.0}, "targets": {y: 0.9}, "progress": False}
    result = divider.gradient(REST, cost=options["cost"], inputs={V: 1.0}, targets={y: 0.9})
    one = divider.fit(REST, **options, epochs=1, optimiser=lep.SGD({g1: 0.5, g2: lambda step: 0.25}))
    assert one[g1] == pytest.approx(2.0 - 0.5*float(result[g1]), rel=1e-14)
    assert one[g2] == pytest.approx(0.5 - 0.25*float(result[g2]), rel=1e-14)
    held = divider.fit(REST, **options, epochs=50, optimiser=lep.SGD(10.0), limits={g2: (0.3, None), "g1": (None, 2.1)})
    assert held[g2] == 0.3 and held[g1] == 2.1
    for limits, match in (({g1: 3}, "a pair"), ({g1: (2, 1)}, "the lower below"), ({"w": (0, 1)}, "limits must be")):
        with pytest.raises(ValueError, match=match):
            divider.fit(REST, **options, limits=limits)
    with pytest.raises(ValueError, match="rate must be given for g2"):
        divider.fit(REST, **options, optimiser=lep.Adam({g1: 0.1}))


# ---------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"energy": x**2, "coordinates": [x], "bounds": {z: (0, 1)}}, "bounds must be of coordinates among x"),
        ({"energy": x**2, "coordinates": [x], "bounds": {x: (1, 0)}}, "lower < upper"),
        ({"energy": x**2, "coordinates": [x], "bounds": {x: 1}}, r"a pair \(lower, upper\)"),
        ({"energy": x.diff(t)**2, "coordinates": [x]}, "not of velocities"),
        ({"lagrangian": -x**2, "energy": x**2, "coordinates": [x]}, "energy must be given, or a Lagrangian"),
        ({"coordinates": [x]}, "neither"),
        ({"energy": x**2, "coordinates": [x], "clamped": {u: x}}, "some of the coordinates"),
        ({"energy": [lep.Term(x**2, [x], [0, 1])], "size": 2, "clamped": {u: [2]}}, "indices from 0 to 1"),
        ({"energy": [lep.Term(x**2, [x], [0, 1])], "size": 2, "clamped": {u: [0, 0]}}, "clamped once"),
        ({"energy": [lep.Term(x**2, [x], [0, 1])], "size": 2, "bounds": ([0, 0, 0], 1)}, r"shape \(2,\)"),
        ({"energy": [x**2], "size": 1}, "given with one expression"),
    ],
)  # fmt: skip
def test_systems_that_are_refused(arguments, match):
    with pytest.raises(ValueError, match=match):
        lep.System(**arguments)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"solver": "magic"}, "solver must be one of"), ({"step": -1}, "step must be a positive number"),
        ({"tolerance": 0}, "tolerance must be a positive number"), ({"tolerance": None}, "iterations must be given"),
        ({"iterations": 0}, "a positive integer"), ({"guess": [[[1]]]}, "guess must be of shape"),
        ({"guess": np.nan}, "guess"), ({"solver": "sweeps", "step": 0.1}, "left out for sweeps"),
    ],
)  # fmt: skip
def test_equilibria_that_are_refused(arguments, match):
    with pytest.raises(ValueError, match=match):
        lep.Equilibrium(**arguments)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: NET.equilibrium(REST), "inputs.u. must be given"),
        (lambda: NET.equilibrium(REST, inputs={u: lambda t: t}), "nothing depends on the time"),
        (lambda: NET.equilibrium(REST, inputs={u: [[1.0]]}), r"a scalar or \(B,\)"),
        (lambda: NET.equilibrium(lep.Equilibrium([0.0]), inputs={u: 1.0}), "guess must be a number or of shape"),
        (lambda: NET.equilibrium(lep.Equilibrium(np.zeros((2, 3))), inputs={u: [1.0]*3}), "the batch axis"),
        (lambda: NET.equilibrium(lep.Equilibrium(solver="sweeps"), inputs={u: 1.0}), "which the energy of system"),
        (lambda: asked(rest=lep.Equilibrium(), grid=lep.Grid(2, step=1.0)), "grid must be left out"),
        (lambda: asked(method="verlet"), "method must be left out"),
        (lambda: NET.gradient(lep.Initial([0.0]*3, v=[0.0]*3), cost=COST), "grid must be a lep.Grid"),
        (lambda: NET.gradient(REST, inputs={u: 1.0}), "cost must be a lep.Cost"),
        (lambda: NET.gradient(REST, cost=lep.Cost(x**2, weights=[1, 2]), inputs={u: 1.0}), "weights of the cost"),
        (lambda: lep.System(-x**2*sp.cos(t), coordinates=[x]).equilibrium(REST), "independent of the time"),
        (lambda: lep.System(energy=sp.Abs(x)*x**2, coordinates=[x], parameters={}).gradient(
            REST, cost=lep.Cost(x), estimator=lep.Holomorphic()), "contains Abs"),
    ],
)  # fmt: skip
def test_calls_that_are_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_dynamics_refuse_what_has_a_meaning_at_rest_alone():
    walls = lep.System(x.diff(t)**2/2 - x**2/2, coordinates=[x], bounds={x: (0, 1)})
    with pytest.raises(ValueError, match="lep.Equilibrium for a system with bounds"):
        walls.trajectory(lep.Initial([0.5], v=[0.0]), lep.Grid(3, step=0.1))
