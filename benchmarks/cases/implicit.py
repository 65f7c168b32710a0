"""Lagrangians that do not separate, given as text: the implicit midpoint rule, forward and gradient.

L_d(q, q') = h L((q + q')/2, (q' - q)/h), so that with v = (q' - q)/h and x = q + h v/2

    p = L_v(x, v) - h/2 L_q(x, v),    p' = L_v(x, v) + h/2 L_q(x, v).

The reference solves the first equation by Newton's method in numpy, and takes a complex step in every parameter for
the gradient. jax makes a fixed number of Newton steps and differentiates through the last or through all of them.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from ..harness import PROJECT, Case, Peer, Run, numbers
from ..texts import Text, complex_steps, errors, jax_runs, loss_of, project, work_of

NEWTON = 4  # enough for rounding at these steps, from the velocity of the step before

TEXTS = {
    "double_pendulum": Text(
        "(m1 + m2)*l1**2*da**2/2 + m2*l2**2*db**2/2 + m2*l1*l2*da*db*cos(a - b) "
        "+ (m1 + m2)*g*l1*cos(a) + m2*g*l2*cos(b)", "a b",
        {"m1": 1.0, "m2": 0.8, "l1": 1.0, "l2": 0.7, "g": 9.81}, 0.01, (-1.0, 1.0), (-0.5, 0.5),
    ),
    "elastic_pendulum": Text(
        "m*(dr**2 + r**2*da**2)/2 - k*(r - l)**2/2 + m*g*r*cos(a)", "r a",
        {"m": 1.0, "k": 40.0, "l": 1.0, "g": 9.81}, 0.01, (0.9, 1.3), (-0.5, 0.5),
    ),
    "varying_mass": Text(
        "m*(1 + c*x**2 + d*exp(-y**2))*(dx**2 + dy**2)/2 - k*(x**2 + y**2)/2 - e*x**2*y**2", "x y",
        {"m": 1.0, "c": 0.5, "d": 0.8, "k": 1.0, "e": 0.2}, 0.02, (-1.0, 1.0), (-1.0, 1.0),
    ),
}  # fmt: skip


def problem(size: str) -> SimpleNamespace:
    """A batch of random starts."""
    name, rest = size.split(maxsplit=1)
    batch, steps = numbers(rest)
    return work_of(TEXTS[name], batch, steps, 6)


class Equations:
    """One step for two coordinates, on whatever arrays the derivatives were made for."""

    def __init__(self, work: Any, modules: str) -> None:
        plain = work.plain
        Lq, Lv = plain.slopes(plain.q), plain.slopes(plain.v)
        self.h = work.step
        self.first = plain.function([Lq, Lv], modules)
        pairs = (Lq, plain.q), (Lq, plain.v), (Lv, plain.q), (Lv, plain.v)
        self.second = plain.function([[[f.diff(s) for s in group] for f in fs] for fs, group in pairs], modules)

    def middle(self, q: Any, v: Any) -> Any:
        """Where the Lagrangian is taken."""
        return [x + self.h/2*w for x, w in zip(q, v, strict=True)]

    def newton(self, q: Any, p: Any, v: Any, theta: Any) -> Any:
        """A better v."""
        h, x = self.h, self.middle(q, v)
        Lq, Lv = self.first(x, v, theta)
        qq, qv, vq, vv = self.second(x, v, theta)
        r = [p[i] + h/2*Lq[i] - Lv[i] for i in range(2)]
        J = [[h*h/4*qq[i][j] + h/2*(qv[i][j] - vq[i][j]) - vv[i][j] for j in range(2)] for i in range(2)]
        inverse = 1/(J[0][0]*J[1][1] - J[0][1]*J[1][0])
        return [v[0] - (J[1][1]*r[0] - J[0][1]*r[1])*inverse, v[1] - (J[0][0]*r[1] - J[1][0]*r[0])*inverse]

    def moved(self, q: Any, v: Any, theta: Any) -> Any:
        """The next position and momentum."""
        Lq, Lv = self.first(self.middle(q, v), v, theta)
        return [x + self.h*w for x, w in zip(q, v, strict=True)], [b + self.h/2*a for a, b in zip(Lq, Lv, strict=True)]


def in_jax(work: Any, every: bool = False) -> dict[str, Run]:
    """Newton steps within ``jax.lax.scan``, the derivatives by sympy, the 2 x 2 systems by Cramer's rule.

    The last Newton step alone has the right derivative, since it begins at the solution; with ``every``, all of them
    are differentiated.
    """
    import jax

    equations = Equations(work, "jax")

    def begin(q: Any, v: Any, theta: Any) -> Any:
        return q, equations.first(q, v, theta)[1], v

    def step(state: Any, theta: Any) -> Any:
        q, p, v = state
        known, v = ((q, p, theta), v) if every else jax.lax.stop_gradient(((q, p, theta), v))

        def newton(v: Any, _: Any) -> Any:
            return equations.newton(known[0], known[1], v, known[2]), None

        v, _ = jax.lax.scan(newton, v, length=NEWTON - 1)
        v = equations.newton(q, p, v if every else jax.lax.stop_gradient(v), theta)
        return *equations.moved(q, v, theta), v

    return jax_runs(work, begin, step, lambda state, theta: state[:2])


def every_step(work: Any) -> dict[str, Run]:
    """The gradient through every Newton step."""
    return {"gradient": in_jax(work, True)["gradient"]}


def reference(work: Any) -> dict[str, np.ndarray]:
    """The same map in numpy, with more Newton steps than are needed."""
    equations = Equations(work, "numpy")

    def walk(q: Any, v: Any, theta: Any) -> Any:
        p = equations.first(q, v, theta)[1]
        last = [q[-1]]
        for _ in range(work.steps):
            for _ in range(2*NEWTON):
                v = equations.newton(q, p, v, theta)
            q, p = equations.moved(q, v, theta)
            last.append(q[-1])
        return q, p, loss_of(last, work.step)

    return complex_steps(work, walk)


CASE = Case(
    name="implicit",
    title="Lagrangians that do not separate",
    statement=(
        "Given as text, by the implicit midpoint rule: the double pendulum in angles, the elastic pendulum, a "
        "particle whose mass depends on its place. Forward and gradient as for the Lagrangians on no list. "
        f"jax makes {NEWTON} Newton steps within lax.scan and differentiates through them. Sizes: samples x "
        "steps."
    ),
    sizes=tuple(f"{name} 512 x 500" for name in TEXTS),
    quick=("double_pendulum 5 x 20",),
    problem=problem,
    reference=reference,
    errors=errors,
    peers={
        PROJECT: Peer(lambda work: project(work, method="midpoint")),
        "jax": Peer(in_jax, ("jax",)),
        "jax, every Newton step": Peer(every_step, ("jax",)),
    },
)
