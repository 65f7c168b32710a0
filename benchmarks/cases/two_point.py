"""Two-point problems: where the path begins and where it ends after a time of 1 is given, and the path is wanted.

double pendulum in angles (m = l = 1, g = 9.81): from (0.3, -0.2), alone and in a batch;
chain: 32 unit masses between two walls, V = sum over bonds of 10 d^2 + 125 d^4, from rest in place.

Each end is where an initial velocity leads, integrated by scipy's DOP853 at a relative tolerance of 1e-13; so the true
path is known without solving a two-point problem. Every solver begins with the straight line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..harness import PROJECT, Case, Peer, Run, distance, numbers

G, SPRING, QUARTIC, MASSES, TIME = 9.81, 20.0, 500.0, 32, 1.0


def problem(size: str) -> SimpleNamespace:
    """Begins and ends, of shape (batch, coordinates), and the true paths (batch, intervals + 1, coordinates)."""
    from scipy.integrate import solve_ivp

    kind = size.split()[0]
    batch, intervals = numbers(size)
    t = np.linspace(0.0, TIME, intervals + 1)
    if kind == "chain":
        places = np.pi*np.arange(1, MASSES + 1)/(MASSES + 1)
        begin, velocities = np.zeros((1, MASSES)), (2.0*np.sin(places) + 0.8*np.sin(3*places))[None]
    else:
        noise = np.random.default_rng(7).standard_normal((batch, 2))*(batch > 1)
        begin, velocities = np.tile([0.3, -0.2], (batch, 1)), np.array([3.0, -1.0]) + 0.3*noise
    rate, _ = equations(kind)
    paths = [
        solve_ivp(rate, (0.0, TIME), np.concatenate(state), "DOP853", t_eval=t, rtol=1e-13, atol=1e-13).y
        for state in zip(begin, velocities, strict=True)
    ]
    truth = np.array([path[:begin.shape[1]].T for path in paths])
    return SimpleNamespace(kind=kind, batch=batch, intervals=intervals, t=t, begin=begin, end=truth[:, -1], truth=truth)


def equations(kind: str) -> tuple[Callable, Callable]:
    """The rate of (q, q') and its Jacobian, on arrays of shape (2 d, m)."""
    return chain_equations() if kind == "chain" else pendulum_equations()


def chain_equations() -> tuple[Callable, Callable]:
    """Written out."""

    def stretch(y: np.ndarray) -> np.ndarray:
        return np.diff(y[:MASSES], axis=0, prepend=0.0, append=0.0)

    def rate(_: Any, y: np.ndarray) -> np.ndarray:
        flat = y.reshape(2*MASSES, -1)
        d = stretch(flat)
        return np.concatenate([flat[MASSES:], np.diff(SPRING*d + QUARTIC*d**3, axis=0)]).reshape(y.shape)

    def jacobian(_: Any, y: np.ndarray) -> np.ndarray:
        k = SPRING + 3*QUARTIC*stretch(y)**2
        found = np.zeros((2*MASSES, 2*MASSES, y.shape[1]))
        i = np.arange(MASSES)
        found[i, MASSES + i] = 1.0
        found[MASSES + i, i] = -k[1:] - k[:-1]
        found[MASSES + i[1:], i[:-1]] = found[MASSES + i[:-1], i[1:]] = k[1:-1]
        return found

    return rate, jacobian


def pendulum_equations() -> tuple[Callable, Callable]:
    """The rate written out, its derivatives by sympy."""
    import sympy as sp

    a, b, v, w = symbols = sp.symbols("a b v w")
    c, s = sp.cos(a - b), sp.sin(a - b)
    f, g = -w**2*s - 2*G*sp.sin(a), v**2*s - G*sp.sin(b)
    rates = [v, w, (f - c*g)/(2 - c**2), (2*g - c*f)/(2 - c**2)]
    values = sp.lambdify(symbols, rates, "numpy", cse=True)
    slopes = sp.lambdify(symbols, [[r.diff(x) for x in symbols] for r in rates], "numpy", cse=True)

    def jacobian(_: Any, y: np.ndarray) -> np.ndarray:
        zero = np.zeros(y.shape[1])
        return np.array([[entry + zero for entry in row] for row in slopes(*y)])

    return lambda _, y: np.array(values(*y)), jacobian


def project(work: Any, intervals: int | None = None, **options: Any) -> dict[str, Run]:
    """The library."""
    import sympy as sp
    from sympy.physics.mechanics import dynamicsymbols

    import lagrangian_eqprop as lep

    if work.kind == "chain":
        x, z = dynamicsymbols("x z")
        bond = lambda d: -SPRING*d**2/2 - QUARTIC*d**4/4  # noqa: E731
        left = np.arange(MASSES - 1)
        system = lep.System(
            [
                lep.Term(x.diff()**2/2, on=[x], at=np.arange(MASSES)),
                lep.Term(bond(z - x), on=[x, z], at=np.stack([left, left + 1], 1)),
                lep.Term(bond(x), on=[x], at=[0]),
                lep.Term(bond(x), on=[x], at=[MASSES - 1]),
            ],
            size=MASSES,
        )
    else:
        a, b = dynamicsymbols("a b")
        v, w = a.diff(), b.diff()
        system = lep.System(v**2 + w**2/2 + v*w*sp.cos(a - b) + 2*G*sp.cos(a) + G*sp.cos(b), coordinates=[a, b])
    alone = work.kind != "pendula"
    ends = lep.Ends(work.begin[0], work.end[0]) if alone else lep.Ends(work.begin, work.end)
    grid = lep.Grid(intervals or work.intervals, duration=TIME)

    def run() -> dict[str, Any]:
        path = system.trajectory(ends, grid, **options)
        return {"t": path.t, "q": path.q[None] if alone else path.q}

    return {"": run}


def finer(work: Any) -> dict[str, Run]:
    """Ten times as many intervals."""
    return project(work, intervals=10*work.intervals)


def by_gauss(work: Any) -> dict[str, Run]:
    """Eight Gauss elements of eight stages."""
    return project(work, intervals=8, method="gauss", stages=8)


def in_scipy(tolerance: float, nodes: int | None = None, slopes: bool = False) -> Callable[[Any], dict[str, Run]]:
    """``solve_bvp``, one problem after another, from some nodes or those of the library's grid."""

    def build(work: Any) -> dict[str, Run]:
        from scipy.integrate import solve_bvp

        rate, jacobian = equations(work.kind)
        n, mesh = work.begin.shape[1], work.t if nodes is None else np.linspace(0.0, TIME, nodes)
        left, right = np.zeros((2, 2*n, 2*n))
        left[:n, :n] = right[n:, :n] = np.eye(n)
        extra = {"fun_jac": jacobian, "bc_jac": lambda *_: (left, right)} if slopes else {}

        def one(begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, int]:
            way = (end - begin)[:, None]
            line = np.concatenate([begin[:, None] + way*mesh/TIME, np.tile(way/TIME, len(mesh))])
            done = solve_bvp(
                rate, lambda a, b: np.concatenate([a[:n] - begin, b[:n] - end]), mesh, line,
                tol=tolerance, max_nodes=20000, **extra,
            )  # fmt: skip
            if done.status:
                raise ValueError(done.message)
            return done.sol(work.t)[:n].T, done.x.size

        def run() -> dict[str, Any]:
            found = [one(begin, end) for begin, end in zip(work.begin, work.end, strict=True)]
            most = max(size for _, size in found)
            return {"t": work.t, "q": np.array([path for path, _ in found]), "note": f"up to {most} nodes"}

        return {"": run}

    return build


def reference(work: Any) -> dict[str, np.ndarray]:
    """The paths the ends were taken from."""
    return {"t": work.t, "q": work.truth}


def errors(work: Any, label: str, result: Mapping[str, Any], truth: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Distance from the true path at the nodes that both have."""
    mine, theirs = len(result["t"]) - 1, work.intervals
    coarse, fine = max(mine//theirs, 1), max(theirs//mine, 1)
    return {"error": distance(result["q"][:, ::coarse], truth["q"][:, ::fine])}


CASE = Case(
    name="two_point",
    title="Two-point problems",
    statement=(
        "A path between two given ends in a given time, from the straight line as a first guess: the double "
        "pendulum alone and 64 of them (midpoint rule), a chain of 32 masses with quartic bonds "
        "(Störmer-Verlet); the pendula also by eight Gauss elements of order 16, whatever the intervals. Sizes: "
        "paths x intervals. The error is that to the continuous path. solve_bvp is "
        "of order 4 and adds nodes of its own: to those of the grid until its tolerance is 1e-6, or to 11 "
        "until it is 1e-3; the slowest of these, without a Jacobian, does not try the chain."
    ),
    sizes=("pendulum 1 x 200", "pendula 64 x 200", "chain 1 x 200"),
    quick=("pendulum 1 x 40",),
    problem=problem,
    reference=reference,
    errors=errors,
    peers={
        PROJECT: Peer(project),
        f"{PROJECT}, 10 times the intervals": Peer(finer),
        f"{PROJECT}, Gauss elements": Peer(by_gauss, sizes=("pendulum", "pendula")),
        "scipy": Peer(in_scipy(1e-6), ("scipy",), sizes=("pendulum", "pendula")),
        "scipy, Jacobian": Peer(in_scipy(1e-6, slopes=True), ("scipy",)),
        "scipy, from 11 nodes": Peer(in_scipy(1e-3, 11), ("scipy",)),
        "scipy, from 11 nodes, Jacobian": Peer(in_scipy(1e-3, 11, True), ("scipy",)),
    },
)
