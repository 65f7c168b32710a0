"""What a variational integrator keeps, at coarse steps and on nonlinear systems, and its order.

Sources: Marsden and West (2001); Hairer, Lubich and Wanner (2006). The closed forms of the oscillator under Verlet:
cos f = 1 - h^2 w^2/2, the invariant p^2/2m + (m w^2/2)(1 - h^2 w^2/4) q^2; under midpoint tan(f/2) = h w/2.
"""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from oracles import assert_close
from scipy.integrate import solve_ivp
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep

t = dynamicsymbols._t
q, x, z = dynamicsymbols("q x z")
m, k, a, b = sp.symbols("m k a b")
vx, vz = x.diff(t), z.diff(t)
PLAIN = {"compiled": False}
BOTH = pytest.mark.parametrize("method", ["verlet", "midpoint"])
HENON = lep.System((vx**2 + vz**2)/2 - (x**2 + z**2)/2 - x**2*z + z**3/3, coordinates=[x, z])
PENDULA = lep.System(
    vx**2 + vz**2/2 + vx*vz*sp.cos(x - z) + 2*a*sp.cos(x) + a*sp.cos(z), coordinates=[x, z], parameters={a: 1.5}
)
SWUNG = lep.System(q.diff(t)**2/2 + (1 + sp.cos(2*t)/2)*sp.cos(q), coordinates=[q])
CASES = [(HENON, "verlet", 0.4), (HENON, "midpoint", 0.4), (PENDULA, "midpoint", 0.25), (SWUNG, "verlet", 0.6),
         (SWUNG, "midpoint", 0.6)]  # fmt: skip
CASES = pytest.mark.parametrize(("system", "method", "step"), CASES)


SPRING = lep.System(m*q.diff(t)**2/2 - k*q**2/2, coordinates=[q], parameters={m: 1.0, k: 1.0})


def start(system):
    return np.array([0.3, -0.2])[: system.size], np.array([0.2, 0.4])[: system.size]


@CASES
def test_the_map_is_symplectic(system, method, step):
    """J^T Omega J = Omega, by central differences through a batch of trajectories."""
    q0, p0 = start(system)
    d, e = system.size, 1e-4
    moves = np.concatenate([e*np.eye(2*d), -e*np.eye(2*d)])
    boundary = lep.Initial(q0 + moves[:, :d], p=p0 + moves[:, d:])
    path = system.trajectory(boundary, lep.Grid(15, step=step), method=method, **PLAIN)
    ends = np.concatenate([path.q[:, -1], path.p[:, -1]], 1)
    jacobian = ((ends[: 2*d] - ends[2*d :])/(2*e)).T
    omega = np.kron([[0, 1], [-1, 0]], np.eye(d))
    assert np.abs(jacobian - np.eye(2*d)).max() > 0.3
    assert np.abs(jacobian.T @ omega @ jacobian - omega).max() < 1e-5*np.abs(jacobian).max()**2


@CASES
def test_there_and_back(system, method, step):
    """With the momenta turned round, and time with them, a path returns to where it began."""
    q0, p0 = start(system)
    there = system.trajectory(lep.Initial(q0, p=p0), lep.Grid(15, step=step), method=method, **PLAIN)
    # cos(2 t) is even: the way back begins at minus the time of the last node
    grid = lep.Grid(15, step=step, start=-15*step)
    back = system.trajectory(lep.Initial(there.q[-1], p=-there.p[-1]), grid, method=method, **PLAIN)
    assert_close(back.q[::-1], there.q, 1e-11)
    assert_close(-back.p[::-1], there.p, 1e-11)


def right_hand_side(system):
    """The second-order equations by sympy, as a first-order system."""
    names = list(system.coordinates)
    plain, speeds = sp.symbols(f"q0:{len(names)}"), sp.symbols(f"v0:{len(names)}")
    L = system.lagrangian.subs({x.diff(t): v for x, v in zip(names, speeds)}).subs(dict(zip(names, plain)))
    L = L.subs({s: float(value) for s, value in system.parameters.items()})
    Lv = sp.Matrix([L.diff(v) for v in speeds])
    force = sp.Matrix([L.diff(x) for x in plain]) - Lv.jacobian(plain)*sp.Matrix(speeds) - Lv.diff(t)
    acceleration = sp.lambdify([t, plain, speeds], Lv.jacobian(speeds).LUsolve(force))
    d = len(names)
    return lambda time, s: np.concatenate([s[d:], np.ravel(acceleration(time, s[:d], s[d:]))])


@CASES
def test_order_two(system, method, step):
    position, speed = start(system)
    exact = solve_ivp(
        right_hand_side(system), (0, 2), np.concatenate([position, speed]), method="DOP853", rtol=1e-13, atol=1e-13
    ).y[: system.size, -1]
    steps = np.array([40, 80, 160, 320])
    errors = []
    for n in steps:
        path = system.trajectory(lep.Initial(position, v=speed), lep.Grid(int(n), duration=2.0), method=method, **PLAIN)
        errors.append(np.abs(path.q[-1] - exact).max())
    assert errors[-1] < 1e-3
    assert abs(np.polyfit(np.log(steps), np.log(errors), 1)[0] + 2) < 0.05


def test_verlet_oscillator_in_closed_form():
    h, w, mass = 0.3, 1.4, 1.3
    theta = {m: mass, k: mass*w**2}
    path = SPRING.trajectory(lep.Initial([0.8], v=[0.0]), lep.Grid(200, step=h), parameters=theta, **PLAIN)
    phase = np.arccos(1 - h**2*w**2/2)
    assert_close(path.q[:, 0], 0.8*np.cos(phase*np.arange(201)), 1e-12)
    invariant = path.p[:, 0]**2/(2*mass) + mass*w**2/2*(1 - h**2*w**2/4)*path.q[:, 0]**2
    assert_close(invariant, np.full(201, invariant[0]), 1e-12)


def test_extreme_of_the_energy_error_of_verlet():
    """min E/E_0 - 1 = -h^2 w^2/4, reached where the phase passes a quarter turn: f = pi/8 a step."""
    h = 2*np.sin(np.pi/16)
    path = SPRING.trajectory(lep.Initial([0.8], v=[0.0]), lep.Grid(32, step=h), **PLAIN)
    assert_close(np.min(path.energy)/path.energy[0] - 1, -(h**2)/4, 1e-12)
    assert_close(np.max(path.energy)/path.energy[0], 1.0, 1e-12)


def test_midpoint_oscillator_in_closed_form():
    path = SPRING.trajectory(lep.Initial([0.8], v=[0.0]), lep.Grid(50, step=0.7), method="midpoint", **PLAIN)
    assert_close(path.q[:, 0], 0.8*np.cos(2*np.arctan(0.35)*np.arange(51)), 1e-12)
    assert_close(path.energy, np.full(51, path.energy[0]), 1e-12)


@BOTH
def test_a_ring_keeps_its_momentum(method):
    links = np.stack([np.arange(6), (np.arange(6) + 1) % 6], 1)
    ring = lep.System(
        [lep.Term(m*vx**2/2, on=[x], at=np.arange(6)), lep.Term(-sp.exp(x - z) + (x - z), on=[x, z], at=links)],
        size=6, parameters={m: np.linspace(0.5, 1.5, 6)},
    )  # fmt: skip
    rng = np.random.default_rng(0)
    begin = lep.Initial(rng.normal(size=6), p=rng.normal(size=6))
    path = ring.trajectory(begin, lep.Grid(40, step=0.1), method=method, **PLAIN)
    assert_close(path.p.sum(1), np.full(41, path.p[0].sum()), 1e-12)


@BOTH
def test_a_central_force_keeps_the_angular_momentum(method):
    system = lep.System((vx**2 + vz**2)/2 + 1/sp.sqrt(x**2 + z**2), coordinates=[x, z])
    path = system.trajectory(lep.Initial([1.0, 0.0], v=[0.1, 0.9]), lep.Grid(60, step=0.15), method=method, **PLAIN)
    momentum = path.q[:, 0]*path.p[:, 1] - path.q[:, 1]*path.p[:, 0]
    assert_close(momentum, np.full(61, 0.9), 1e-12)


def test_a_magnetic_field_in_symmetric_gauge_keeps_the_canonical_angular_momentum():
    L = (vx**2 + vz**2)/2 + b*(x*vz - z*vx)/2 - (x**2 + z**2)**2/4
    system = lep.System(L, coordinates=[x, z], parameters={b: 1.3})
    path = system.trajectory(lep.Initial([1.0, 0.2], v=[0.1, 0.9]), lep.Grid(60, step=0.2), **PLAIN)
    momentum = path.q[:, 0]*path.p[:, 1] - path.q[:, 1]*path.p[:, 0]
    assert_close(momentum, np.full(61, momentum[0]), 1e-12)
    kinetic = path.q[:, 0]*path.v[:, 1] - path.q[:, 1]*path.v[:, 0]
    assert np.ptp(kinetic) > 0.01
