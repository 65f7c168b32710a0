"""A Hopfield network of the modern kind, whose memories compete in a log-sum-exp.

    E = |s|^2/2 - log(sum over memories m of exp(k sum over i of xi_mi s_i))/k - sum of u_i s_i

Source: Ramsauer et al., Int. Conf. Learn. Represent. 2021 (arXiv:2008.02217). A state at rest is a softmax average of
the memories plus the cue u. Three memories of four units and the sharpness k are trained; ``xi0`` is the first
memory, one value a unit.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from ..boundary import Equilibrium
from ..symbols.cost import Cost
from ..symbols.terms import Term
from ..system import System
from .case import StaticCase, coordinates
from .oscillators_dense import couplings

UNITS, MEMORIES = 4, 3


def case() -> StaticCase:
    """Two cues, each to be completed to a pattern."""
    s = coordinates("s0 s1 s2 s3")
    k, u, y = sp.symbols("k u y")
    xi = [sp.symbols(f"xi{m}_0:{UNITS}") for m in range(MEMORIES)]
    fields = [k*sum(x*q for x, q in zip(memory, s)) for memory in xi]
    values = couplings(MEMORIES, UNITS, 1.0)
    return StaticCase(
        name="modern_hopfield",
        title="Modern Hopfield network",
        formula="E = |s|^2/2 - log(sum over m exp(k xi_m s))/k - u s",
        system=System(
            energy=[
                Term(sum(q**2 for q in s)/2 - sp.log(sum(map(sp.exp, fields)))/k, on=s, at=[np.arange(UNITS)]),
                Term(-u*s[0], on=[s[0]], at=np.arange(UNITS)),
            ],
            size=UNITS,
            parameters={k: 0.8, **{x: values[m, i] for m, memory in enumerate(xi) for i, x in enumerate(memory)}},
            inputs=[u],
            name="modern_hopfield",
        ),
        start=Equilibrium(tolerance=1e-12),
        cost=Cost((s[0] - y)**2/2, on=[s[0]], at=np.arange(UNITS), targets=[y]),
        targets={y: np.sign(values[:2])},
        inputs={u: np.array([[0.3, -0.1, 0.2, 0.0], [-0.2, 0.4, 0.0, 0.1]])},
        labels=tuple(f"$s_{{{unit}}}$ (dimensionless)" for unit in range(UNITS)),
    )
