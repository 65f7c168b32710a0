"""Chains whose sites stand in lanes, against a plain numpy Verlet."""

import numpy as np
import pytest
import sympy as sp
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep
from lagrangian_eqprop.compiler.machine import Registers
from lagrangian_eqprop.compiler.swept import run_of
from lagrangian_eqprop.methods import verlet_swept
from lagrangian_eqprop.solvers import swept
from lagrangian_eqprop.solvers.nodes import Nodes
from lagrangian_eqprop.solvers.problem import Problem

x, z = dynamicsymbols("x z")
m, k, c, b = sp.symbols("m k c b")
rng = np.random.default_rng(4)


def verlet(force, mass, q, p, steps, h):
    """Every node of the discrete map, in plain numpy."""
    nodes = [(q.copy(), p.copy())]
    for _ in range(steps):
        p = p + 0.5*h*force(q)
        q = q + h*p/mass
        p = p + 0.5*h*force(q)
        nodes.append((q.copy(), p.copy()))
    return np.array(nodes)


def chain(n, ring=False, walls=(), places=True):
    """A chain of n Duffing sites with quartic bonds, its force in numpy, and its masses."""
    table = np.stack([np.arange(n - 1), np.arange(1, n)], 1)
    table = np.vstack([table, [[n - 1, 0]]]) if ring else table
    stiff = rng.uniform(0.5, 1.5, n) if places else 0.8
    mass = rng.uniform(0.8, 1.2, n) if places else 1.3
    bonds = rng.uniform(0.5, 1.5, len(table)) if places else 0.7
    terms = [
        lep.Term(m*x.diff()**2/2 - k*x**2/2, on=[x], at=np.arange(n)),
        lep.Term(-c*(z - x)**2/2 - b*(z - x)**4/4, on=[x, z], at=table),
    ]
    if len(walls):
        terms.append(lep.Term(-2*b*sp.cos(x), on=[x], at=list(walls)))
    system = lep.System(terms, size=n, parameters={m: mass, k: stiff, c: bonds, b: 0.3})

    def force(q):
        d = q[table[:, 1]] - q[table[:, 0]]
        pull = bonds*d + 0.3*d**3
        total = -stiff*q
        np.add.at(total, table[:, 0], pull)
        np.add.at(total, table[:, 1], -pull)
        np.add.at(total, list(walls), 0.6*np.sin(q[list(walls)]))
        return total

    return system, force, mass*np.ones(n)


@pytest.mark.parametrize("n", [64, 65, 79, 81, 200])
@pytest.mark.parametrize(
    "options",
    [{}, {"ring": True}, {"walls": (0, -1)}, {"places": False}, {"ring": True, "walls": (3,), "places": False}],
)
def test_every_node_of_a_chain(n, options):
    options = {key: tuple(i % n for i in value) if key == "walls" else value for key, value in options.items()}
    system, force, mass = chain(n, **options)
    q, p = 0.5*rng.standard_normal(n), 0.5*rng.standard_normal(n)
    grid = lep.Grid(23, step=0.05)
    expected = verlet(force, mass, q, p, 23, 0.05)
    path = system.trajectory(lep.Initial(q=q, p=p), grid)
    assert np.abs(path.q - expected[:, 0]).max() < 1e-13
    assert np.abs(path.p - expected[:, 1]).max() < 1e-13
    last = system.trajectory(lep.Initial(q=q, p=p), grid, save="last")
    assert np.abs(last.q[0] - expected[-1, 0]).max() < 1e-13
    some = system.trajectory(lep.Initial(q=q, v=p/mass), grid, save=5)
    assert np.abs(some.q - expected[[0, 5, 10, 15, 20, 23], 0]).max() < 1e-13


def test_it_is_the_sweep_that_is_tested(monkeypatch):
    system, force, mass = chain(100, ring=True)
    run = run_of(system.terms[1], 100)
    assert (len(run.sites), run.dense, list(run.others)) == (100, True, [])
    called = []
    path = swept.Chain.path
    monkeypatch.setattr(swept.Chain, "path", lambda *given: (called.append(list(given[3])), path(*given))[1])
    q = 0.1*rng.standard_normal((2, 100))
    system.trajectory(lep.Initial(q=q, p=q), lep.Grid(7, step=0.05), save="last")
    assert called == [[7], [7]]
    assert verlet_swept.swept_steps.__kernel__


def check(system, force, mass, n, steps=23, h=0.05):
    """Every kept node against plain numpy; what the chain was run by."""
    q, p = 0.5*rng.standard_normal(n), 0.5*rng.standard_normal(n)
    grid, start = lep.Grid(steps, step=h), lep.Initial(q=q, p=p)
    expected = verlet(force, mass, q, p, steps, h)
    for save, nodes in (("all", slice(None)), ("last", slice(-1, None)), (4, [*range(0, steps, 4), steps])):
        path = system.trajectory(start, grid, save=save)
        assert np.abs(path.q - expected[nodes, 0]).max() < 1e-13
        assert np.abs(path.p - expected[nodes, 1]).max() < 1e-13
    return system.__dict__["_swept"]["chain"]


@pytest.mark.parametrize("n", [96, 333])
@pytest.mark.parametrize("options", [{"walls": (0, 50, -1)}, {"ring": True, "places": False}])
def test_several_steps_a_tile(monkeypatch, n, options):
    """Tiles of a few rows, five steps each: 23 steps are no multiple, and nodes are kept within the five."""
    monkeypatch.setattr(swept, "_NEAR", 2**8)
    monkeypatch.setattr(swept, "_HALO", 5)
    options = {key: tuple(i % n for i in value) if key == "walls" else value for key, value in options.items()}
    ran = check(*chain(n, **options), n)
    assert ran.halo == 5
    assert 2*ran.tile < ran.own


@pytest.mark.parametrize(("held", "n", "lanes"), [(2, 70, 4), (8, 70, 8), (8, 521, 16)])
def test_registers_of_other_machines(monkeypatch, held, n, lanes):
    monkeypatch.setattr(swept, "registers", lambda: Registers(16, 8*held))
    assert check(*chain(n, ring=True), n).width == lanes


def test_places_that_no_sweep_serves():
    """Bonds across the chain, sites listed twice, two kinds of masses, and values of a rare term's places."""
    n, light, heavy, far, push = 96, *sp.symbols("light heavy far push")
    table = np.stack([np.arange(n), (np.arange(n) + 1) % n], 1)
    across, pushed = np.array([[3, 50], [94, 1], [0, 95]]), np.array([5, 5, 0])
    values = np.array([1.9, 2.2]*24), np.array([0.4, 0.5, 0.6]), np.array([0.3, -0.2, 0.7])
    given = {light: 0.8, heavy: values[0], far: values[1], push: values[2]}
    system = lep.System(
        [
            lep.Term(light*x.diff()**2/2, on=[x], at=np.arange(0, n, 2)),
            lep.Term(heavy*x.diff()**2/2, on=[x], at=np.arange(1, n, 2)),
            lep.Term(-(z - x)**2/2 - 0.1*x**2*z**2, on=[x, z], at=table),
            lep.Term(-far*(1 - sp.cos(z - x)), on=[x, z], at=across),
            lep.Term(push*sp.sin(x), on=[x], at=pushed),
        ],
        size=n, parameters=given,
    )  # fmt: skip

    def force(q):
        total, (a, b), twist = np.zeros(n), table.T, given[far]*np.sin(q[across[:, 1]] - q[across[:, 0]])
        np.add.at(total, a, q[b] - q[a] - 0.2*q[a]*q[b]**2)
        np.add.at(total, b, q[a] - q[b] - 0.2*q[a]**2*q[b])
        np.add.at(total, across[:, 0], twist)
        np.add.at(total, across[:, 1], -twist)
        np.add.at(total, pushed, given[push]*np.cos(q[pushed]))
        return total

    mass = np.tile([0.8, 1.9, 0.8, 2.2], 24)
    ran = check(system, force, mass, n)
    assert ran.counts.sum() == 4  # two sites of three bonds' ends are next to each other, and one site stands twice


def test_bonds_that_are_infinite_between_sites_at_one_place():
    """Lanes hold more than 70 sites; those beyond the last stand on each other and must not be felt."""
    n = 70
    at = np.stack([np.arange(n - 1), np.arange(1, n)], 1)
    bonds = lep.Term(-1/(z - x)**2 - (z - x)**2, on=[x, z], at=at)
    system = lep.System([lep.Term(x.diff()**2/2, on=[x], at=np.arange(n)), bonds], size=n)
    q, p = np.arange(n) + 0.1*rng.uniform(-1, 1, n), 0.1*rng.standard_normal(n)

    def force(q):
        d = np.diff(q)
        return np.diff(2*d - 2/d**3, prepend=0.0, append=0.0)

    expected = verlet(force, np.ones(n), q, p, 40, 0.02)
    path = system.trajectory(lep.Initial(q=q, p=p), lep.Grid(40, step=0.02))
    assert np.abs(path.q - expected[:, 0]).max() < 1e-12


@pytest.mark.parametrize("options", [{"walls": (0, 80)}, {"ring": True, "places": False}])
def test_the_bound_on_the_stiffness_is_that_of_the_nodes(options, monkeypatch):
    """Row sums of |V''| over the masses, against numpy on the expressions."""
    n = 81
    system, _, mass = chain(n, **options)
    q = rng.standard_normal(n)
    problem = Problem(system, lep.Grid(5, step=0.05))
    rows = Nodes(problem, np.zeros(1, int)).stiffness(q[None, None])[0, 0]
    limits = []
    path = swept.Chain.path
    monkeypatch.setattr(swept.Chain, "path", lambda *given: (limits.append(given[0]), path(*given))[1])
    system.trajectory(lep.Initial(q=q, p=q), lep.Grid(5, step=0.05))
    ran, kept, room = limits[0], np.array([0]), np.empty((2, limits[0].length))
    bound = (rows/mass).max()
    assert ran.path(q, q, kept, *room, bound*(1 + 1e-12)) == 1
    assert ran.path(q, q, kept, *room, bound*(1 - 1e-12)) == -1


def test_a_small_batch_is_its_samples_and_new_parameters_count():
    system, force, mass = chain(70, places=False)
    q = 0.3*rng.standard_normal((3, 70))
    grid = lep.Grid(11, step=0.05)
    both = system.trajectory(lep.Initial(q=q, p=-q), grid)
    for i in range(3):
        single = system.trajectory(lep.Initial(q=q[i], p=-q[i]), grid)
        assert np.array_equal(single.q, both.q[i])
    softer = system.trajectory(lep.Initial(q=q[0], p=-q[0]), grid, parameters={b: 0.0})
    assert np.abs(softer.q - both.q[0]).max() > 1e-4
    again = system.trajectory(lep.Initial(q=q[0], p=-q[0]), grid)
    assert np.array_equal(again.q, both.q[0])


def test_a_step_that_is_too_large_is_refused_and_an_explosion_is_found():
    system, force, mass = chain(64, places=False)
    q = 0.1*rng.standard_normal(64)
    with pytest.raises(ValueError, match="step must be below"):
        system.trajectory(lep.Initial(q=q, p=q), lep.Grid(50, step=3.0))
    hot = lep.Initial(q=np.stack([q, 40*q]), p=np.stack([q, 40*q]))
    with pytest.raises(lep.ConvergenceError, match="sample 1 at step"):
        system.trajectory(hot, lep.Grid(50, step=0.9), stability="ignore")
    rest = system.trajectory(hot, lep.Grid(50, step=0.9), stability="ignore", on_failure="return", save="last")
    assert list(rest.success) == [True, False]
    assert np.isnan(rest.q[1]).all()
    assert np.isfinite(rest.q[0]).all()
