"""Layers of an oscillator Ising machine: coupled phases under a second harmonic.

    E = -sum_l sum_ij w_ij cos(x_i - z_j) - sum_j [b_j cos(z_j) + S cos(2 z_j)/2]

S > 0 drives every phase towards 0 or pi, where machines that solve Ising problems want it and where the slope of
every coupling vanishes; S < 0 drives it towards pi/2, and in a field h along 0 it rests at cos z = h/(2 |S|) until
that is 1: the phase answers like a hard sigmoid. Learning begins there, and S is trained with the couplings. A pixel
p is held at the phase pi (1 - p). The outputs are to rest at pi/4 for the right class and at 3 pi/4 for the others,
away from 0 and pi, where no nudge could turn them. Phases are in radians, the rest is dimensionless. Sources: Wang
and Roychowdhury, Unconventional Computation and Natural Computation (2019) 232, for the machine; Gower,
arXiv:2510.12934 (2025), for its training by equilibrium propagation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import sympy as sp

from ..boundary import Equilibrium
from ..symbols.cost import Cost
from ..symbols.terms import AllPairs, Term
from ..system import System
from .case import coordinates
from .layered import LayeredNetwork, numbered, places


def ising_network(sizes: Sequence[int] = (784, 120, 10), seed: int = 0, harmonic: float = -0.5) -> LayeredNetwork:
    """A layered oscillator Ising machine.

    Parameters
    ----------
    sizes : sequence of int
        Phases of every layer: inputs, hidden layers, outputs.
    seed : int
        Of the initial couplings, normal with the variance 1/n_l, n_l the phases of the layer before; fields begin at 0.
    harmonic : float
        S at the beginning, one number for all phases.

    Examples
    --------
    >>> import numpy as np
    >>> from lagrangian_eqprop.systems.ising_network import ising_network
    >>> network = ising_network((4, 6, 3))
    >>> network.system.equilibrium(network.rest, inputs=network.inputs(np.eye(4))).q.shape
    (4, 13)
    """
    x, z = coordinates("x z")
    source, target, S = sp.symbols("phase y S")
    layers = places(sizes)
    weights, biases = numbered("w", len(sizes) - 1), numbered("b", len(sizes) - 1)
    rng = np.random.default_rng(seed)
    terms: list[Term] = []
    values: dict[sp.Symbol, Any] = {S: float(harmonic)}
    for near, far, w, b in zip(layers[:-1], layers[1:], weights, biases, strict=True):
        terms.append(Term(-w*sp.cos(x - z), [x, z], AllPairs(near, far)))
        terms.append(Term(-b*sp.cos(x) - S*sp.cos(2*x)/2, [x], far))
        values[w], values[b] = rng.normal(size=(len(near), len(far)))/np.sqrt(len(near)), np.zeros(len(far))
    return LayeredNetwork(
        system=System(
            energy=terms, size=sum(sizes), parameters=values, clamped={source: layers[0]}, name="ising_network"
        ),
        layers=layers, source=source, weights=weights, biases=[*biases, S], target=target,
        levels=(0.75*np.pi, 0.25*np.pi), cost=Cost(1 - sp.cos(x - target), on=[x], at=layers[-1], targets=[target]),
        rest=Equilibrium(np.pi/2, step=0.25, iterations=(30, 12), tolerance=None),
        encode=lambda images: np.float32(np.pi)*(1 - images), score=np.cos,
    )  # fmt: skip
