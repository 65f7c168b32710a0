"""A layered, densely coupled network of anharmonic oscillators that classifies by its final positions.

    L = sum over nodes of (m x_i'^2/2 - k x_i^2/2 - a x_i^4/4) + sum over pairs of w_ij x_i x_j

Source: the oscillator networks of López-Pastor and Marquardt, Phys. Rev. X 13 (2023) 031020. Method: Verlet. 6 input
nodes are coupled to all of 12 hidden nodes, the hidden nodes to one another and to 3 outputs. Own period near 6; 30
time units are five of them. The cost is the cross-entropy of a softmax over the outputs at the end, for the first of
three classes. The couplings are small and fixed numbers, without a random generator. Invariant: the energy.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from ..boundary import Initial
from ..grid import Grid
from ..symbols.cost import Cost
from ..symbols.terms import AllPairs, Term
from ..system import System
from .case import TIME, Case, coordinates, energy, site_labels

INPUTS, HIDDEN, OUTPUTS = 6, 12, 3
NODES = INPUTS + HIDDEN + OUTPUTS


def couplings(rows: int, columns: int, size: float) -> np.ndarray:
    """Numbers between -size and size without a pattern that matters."""
    i, j = np.indices((rows, columns))
    return size*np.sin(1.0 + 2.3*i + 3.1*j + 0.7*i*j)


def case() -> Case:
    """The inputs are displaced at the start, everything else is at rest.

    Between two fixed ends the cost, which looks at the last node alone, depends on that end only.
    """
    x, z = coordinates("x z")
    o = coordinates("o1 o2 o3")
    m, k, a, w_in, w_hidden, w_out = sp.symbols("m k a w_in w_hidden w_out")
    y = sp.symbols("y1 y2 y3")
    nodes = np.arange(NODES)
    inputs, hidden, outputs = nodes[:INPUTS], nodes[INPUTS:-OUTPUTS], nodes[-OUTPUTS:]
    start = np.zeros(NODES)
    start[inputs] = 1.0, -0.5, 0.7, 0.2, -0.9, 0.4
    score = sp.log(sum(sp.exp(u) for u in o)) - sum(p*u for p, u in zip(y, o))
    return Case(
        name="oscillators_dense",
        title="Dense network of oscillators with a softmax",
        formula="L = sum (m x_i'^2/2 - k x_i^2/2 - a x_i^4/4) + sum over pairs w_ij x_i x_j",
        system=System(
            [
                Term(m*x.diff(TIME)**2/2 - k*x**2/2 - a*x**4/4, on=[x], at=nodes),
                Term(w_in*x*z, on=[x, z], at=AllPairs(inputs, hidden)),
                Term(w_hidden*x*z, on=[x, z], at=AllPairs(hidden)),
                Term(w_out*x*z, on=[x, z], at=AllPairs(hidden, outputs)),
            ],
            size=NODES,
            parameters={
                m: np.ones(NODES),
                k: np.full(NODES, 1.2),
                a: np.full(NODES, 0.5),
                w_in: couplings(INPUTS, HIDDEN, 0.15),
                w_hidden: couplings(HIDDEN, HIDDEN, 0.08),
                w_out: couplings(HIDDEN, OUTPUTS, 0.2),
            },
            name="oscillators_dense",
        ),
        start=Initial(q=start, v=np.zeros(NODES)),
        grid=Grid(1000, step=0.03),
        cost=Cost(score, on=o, at=[outputs], targets=y, when="end"),
        targets=dict(zip(y, (1.0, 0.0, 0.0))),
        labels=site_labels(NODES),
        invariants={"energy": energy},
    )
