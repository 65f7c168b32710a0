"""The zoo: every case runs with its defaults, keeps its invariants, and moves as the textbook says."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import scipy.special

import lagrangian_eqprop as lep
from lagrangian_eqprop.methods import choose

NAMES = lep.systems.names()
QUICK = ("pendulum", "kepler", "ring")  # the others are compiled only in the full run
EACH = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in NAMES]


@functools.cache
def case_and_path(name):
    case = lep.systems.get(name)
    return case, case.system.trajectory(case.start, case.grid, inputs=case.inputs, save="all")


def departure(values):
    """The largest change since the start over the largest size."""
    return np.abs(values - values[..., :1]).max(-1)/np.abs(values).max(-1)


# ---------------------------------------------------------------------- what needs no compilation
@pytest.mark.parametrize("name", NAMES)
def test_case_is_complete(name):
    case = lep.systems.get(name)
    assert case.name == name and case.title and case.formula.startswith("L = ")
    assert case.grid.steps >= 500
    assert len(case.labels) == case.system.size == case.start.q.shape[-1]
    assert set(case.targets) == set(case.cost.targets) and case.targets
    assert set(case.inputs) == set(case.system.inputs)
    assert case.system.parameters
    assert set(case.exact) <= set(case.invariants)
    assert ("energy" in case.invariants) == (not case.inputs and case.system.damping is None and not case.system.forced)
    assert "ends" not in vars(case)  # nothing is computed before it is asked for


@pytest.mark.parametrize("name", NAMES)
def test_the_method_of_a_case_goes_by_a_name_that_users_may_give(name):
    system = lep.systems.get(name).system
    chosen = choose(system, None)
    assert choose(system, chosen.public) is chosen


def test_labels_can_be_drawn():
    from matplotlib.mathtext import MathTextParser

    parser = MathTextParser("path")
    for name in NAMES:
        for label in (*lep.systems.get(name).labels, lep.systems.get(name).time_label):
            assert parser.parse(label) is not None, label


def test_names_and_unknown_name():
    assert len(NAMES) == len(set(NAMES)) >= 12
    with pytest.raises(ValueError, match="did you mean 'kepler'"):
        lep.systems.get("keplr")


def test_cases_share_nothing_that_can_be_changed():
    one, two = lep.systems.get("harmonic"), lep.systems.get("harmonic")
    one.targets.clear()
    assert two.targets


def test_time_is_that_of_dynamicsymbols():
    from sympy.physics.mechanics import dynamicsymbols

    assert lep.systems.get("harmonic").system.coordinates[0] == dynamicsymbols("q")


# ---------------------------------------------------------------------- default trajectories
@pytest.mark.parametrize("name", EACH)
def test_default_trajectory(name):
    case, path = case_and_path(name)
    assert path.success and path.q.shape == (case.grid.steps + 1, case.system.size)
    assert np.isfinite(path.q).all() and np.isfinite(path.energy).all()
    wobble = path.p - path.p.mean(0)
    crossings = (np.sign(wobble[1:]) != np.sign(wobble[:-1])).sum(0)
    assert crossings.max() >= 6  # three periods


@pytest.mark.parametrize("name", EACH)
def test_invariants(name):
    case, path = case_and_path(name)
    for key, function in case.invariants.items():
        values = function(path)
        assert values.shape == path.t.shape
        if key in case.exact:
            assert departure(values) < 1e-11, key
            continue
        assert departure(values) < 5e-3, key
        # Bounded, not growing: the last third strays no further than the rest does.
        change = np.abs(values - values[0])
        third = len(change)//3
        assert change[-third:].max() < 2*change[:-third].max(), key


@pytest.mark.parametrize("name", ["pendulum", pytest.param("double_pendulum", marks=pytest.mark.slow),
                                  pytest.param("henon_heiles", marks=pytest.mark.slow)])  # fmt: skip
def test_energy_error_is_of_second_order(name):
    case, path = case_and_path(name)
    fine = case.system.trajectory(case.start, lep.Grid(2*case.grid.steps, duration=case.grid.duration))
    assert 3.7 < departure(path.energy)/departure(fine.energy) < 4.3


def test_invariants_of_a_batch():
    case, path = case_and_path("kepler")
    speeds = case.start.v*np.array([[0.9], [1.0], [1.1]])
    start = lep.Initial(q=np.repeat(case.start.q[None], 3, 0), v=speeds)
    batch = case.system.trajectory(start, case.grid)
    momentum = case.invariants["angular momentum"](batch)
    assert momentum.shape == (3, case.grid.steps + 1)
    assert departure(momentum).max() < 1e-11
    np.testing.assert_allclose(momentum[1], case.invariants["angular momentum"](path), rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["duffing", "double_pendulum"])
def test_ends_lead_back_to_the_default_trajectory(name):
    case, path = case_and_path(name)
    assert case.ends is case.ends
    again = case.system.trajectory(case.ends, case.grid, inputs=case.inputs)
    np.testing.assert_allclose(again.q, path.q, atol=1e-9)


# ---------------------------------------------------------------------- what the textbook says
def test_pendulum_has_the_period_of_the_elliptic_integral():
    case, _ = case_and_path("pendulum")
    l, g = (float(case.system.parameters[case.system.parameter(key)]) for key in "lg")
    period = 4*np.sqrt(l/g)*scipy.special.ellipk(np.sin(1.0)**2)  # amplitude 2 rad
    path = case.system.trajectory(case.start, lep.Grid(1000, duration=period), save="last")
    np.testing.assert_allclose(path.q[-1], [2.0], atol=1e-4)


def test_limit_cycle_of_van_der_pol():
    case = lep.systems.get("van_der_pol")
    path = case.system.trajectory(case.start, lep.Grid(4000, duration=40.0), compiled=False)
    q, t = path.q[2000:, 0], path.t[2000:]
    np.testing.assert_allclose(np.abs(q).max(), 2.00862, atol=1e-4)
    rises = np.flatnonzero((q[:-1] < 0) & (q[1:] >= 0))
    zeros = t[rises] - q[rises]*(t[1] - t[0])/(q[rises + 1] - q[rises])
    np.testing.assert_allclose(np.diff(zeros), 6.66329, atol=2e-4)


def test_kepler_ellipse():
    case, path = case_and_path("kepler")
    distance = np.hypot(path.q[:, 0], path.q[:, 1])
    np.testing.assert_allclose([distance.min(), distance.max()], [0.5, 1.5], rtol=1e-3)
    turn = case.system.trajectory(case.start, lep.Grid(4000, duration=2*np.pi), save="last")
    np.testing.assert_allclose(turn.q[-1], case.start.q, atol=1e-3)


def test_toda_ring_has_no_force_between_masses_that_move_together():
    case, _ = case_and_path("ring")
    path = case.system.trajectory(lep.Initial(q=np.zeros(12), v=np.full(12, 0.3)), case.grid)
    np.testing.assert_allclose(path.q, 0.3*path.t[:, None]*np.ones(12), atol=1e-11)


@pytest.mark.slow
def test_particle_gyrates_with_the_cyclotron_frequency():
    case, _ = case_and_path("magnetic")
    uniform = {"b": 0.0, "c": 0.0}
    grid = lep.Grid(2000, duration=2*np.pi/1.5)  # m = e = 1, B = 1.5
    path = case.system.trajectory(case.start, grid, parameters=uniform)
    np.testing.assert_allclose(path.q[-1], path.q[0], atol=1e-5)
    np.testing.assert_allclose(np.ptp(path.q, axis=0), 2*0.8/1.5, rtol=1e-5)  # twice the radius m v/(e B)


@pytest.mark.slow
def test_linear_chain_stays_in_its_lowest_mode():
    case, _ = case_and_path("fput")
    path = case.system.trajectory(case.start, case.grid, parameters={"a": 0.0, "b": 0.0})
    h = case.grid.step
    frequency = 2/h*np.arcsin(h*np.sin(np.pi/66))  # Verlet's own; 2 sin(pi/66) as h tends to 0
    np.testing.assert_allclose(path.q, np.cos(frequency*path.t)[:, None]*case.start.q, atol=1e-11)


@pytest.mark.slow
def test_stiff_elastic_pendulum_swings_like_a_rigid_one():
    case, _ = case_and_path("elastic_pendulum")
    start = lep.Initial(q=[1.0 + 9.81/4e4, 0.01], v=[0.0, 0.0])
    grid = lep.Grid(4000, duration=2*np.pi/np.sqrt(9.81))
    path = case.system.trajectory(start, grid, parameters={"k": 4e4})
    np.testing.assert_allclose(path.q[-1, 1], 0.01, rtol=1e-3)
    np.testing.assert_allclose(path.q[:, 0], 1.0, atol=1e-3)


@pytest.mark.slow
def test_double_pendulum_normal_modes():
    case, _ = case_and_path("double_pendulum")
    for sign in (1, -1):  # equal masses and rods: b = +-sqrt(2) a with frequency^2 = g/l (2 -+ sqrt(2))
        start = lep.Initial(q=[1e-4, sign*np.sqrt(2)*1e-4], v=[0.0, 0.0])
        period = 2*np.pi/np.sqrt(9.81*(2 - sign*np.sqrt(2)))
        path = case.system.trajectory(start, lep.Grid(1000, duration=period), save="last")
        np.testing.assert_allclose(path.q[-1], start.q, rtol=1e-4)
