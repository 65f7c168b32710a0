"""Networks of phase oscillators: the XY model, whose gradient flow is that of Kuramoto.

    E = -sum_l sum_ij w_ij cos(x_i - z_j) - sum_j [b_j cos(z_j) + c_j sin(z_j)]

The last part is a local field -h cos(z - psi) with b = h cos(psi), c = h sin(psi). A pixel p is held at the phase
pi (p - 1/2). The outputs are to rest at pi/2 for the right class and at 0 for the others, with the cost
sum 1 - cos(z - y), whose nudge is one more field. As cos(x - z) = cos x cos z + sin x sin z, a layer between still
neighbours rests at the angle of its field, which is a matrix product away. Phases are in radians, the rest is
dimensionless. Source: Wang, Wanjura and Marquardt, arXiv:2402.08579 (2024).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import sympy as sp

from ..boundary import Equilibrium
from ..symbols.cost import Cost
from ..symbols.terms import AllPairs, Term
from ..system import System
from .case import coordinates
from .layered import LayeredNetwork, numbered, places


def phase_network(sizes: Sequence[int] = (784, 500, 10), seed: int = 0, field: float = 1.0) -> LayeredNetwork:
    """A layered network of phases.

    Parameters
    ----------
    sizes : sequence of int
        Phases of every layer: inputs, hidden layers, outputs.
    seed : int
        Of the initial couplings, normal with the variance 1/n_l, n_l the phases of the layer before.
    field : float
        The local fields b at the beginning; c begins at 0.

    Examples
    --------
    >>> import numpy as np
    >>> from lagrangian_eqprop.systems.phase_network import phase_network
    >>> network = phase_network((4, 6, 3))
    >>> rest = network.system.equilibrium(network.rest, inputs=network.inputs(np.eye(4)))
    >>> rest.q.shape, rest.solver
    ((4, 13), 'sweeps')
    """
    x, z = coordinates("x z")
    source, target = sp.symbols("phase y")
    layers = places(sizes)
    weights = numbered("w", len(sizes) - 1)
    fields = list(zip(numbered("b", len(sizes) - 1), numbered("c", len(sizes) - 1), strict=True))
    rng = np.random.default_rng(seed)
    terms, values = [], {}
    for near, far, w, (b, c) in zip(layers[:-1], layers[1:], weights, fields, strict=True):
        terms.append(Term(-w*sp.cos(x - z), [x, z], AllPairs(near, far)))
        terms.append(Term(-b*sp.cos(x) - c*sp.sin(x), [x], far))
        values[w] = rng.normal(size=(len(near), len(far)))/np.sqrt(len(near))
        values[b], values[c] = np.full(len(far), float(field)), np.zeros(len(far))
    return LayeredNetwork(
        system=System(
            energy=terms, size=sum(sizes), parameters=values, clamped={source: layers[0]}, name="phase_network"
        ),
        layers=layers, source=source, weights=weights, biases=[s for pair in fields for s in pair], target=target,
        levels=(0.0, np.pi/2), cost=Cost(1 - sp.cos(x - target), on=[x], at=layers[-1], targets=[target]),
        rest=Equilibrium(0.0, solver="sweeps", iterations=(6, 4), tolerance=None),
        encode=lambda images: np.pi*(images - np.float32(0.5)), score=np.sin,
    )  # fmt: skip
