"""Springs in the plane that read an image: inputs are displaced, outputs answer by moving sideways.

    E = sum over springs of k_e (|r_i - r_j| - l_e)^2/2

Input nodes stand on a square lattice; a pixel p lifts its node by ``lift`` p. Free nodes at random places among them
hang on springs to every input and to every output; outputs stand in a column to the right, and that of the right
class is to move by ``answer`` along x. A spring that is longer than its rest length pushes back a sideways motion, a
shorter one furthers it, so that rest lengths l choose the signs of what stiffnesses k choose the size of. Without an
image nothing is stretched at the beginning. Coordinates are x_0, y_0, x_1, y_1, ..., in units of the lattice;
energies in units of a stiffness of 1 over the length of 1. Source: Stern, Hexner, Rocks and Liu, Phys. Rev. X 11
(2021) 021045, for elastic networks that learn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import sympy as sp

from ..boundary import Equilibrium
from ..errors import invalid
from ..symbols.cost import Cost
from ..symbols.terms import Term
from ..system import System
from .case import coordinates
from .layered import LayeredNetwork, places


def elastic_network(
    sizes: Sequence[int] = (16, 12, 10), seed: int = 0, lift: float = 3.0, answer: float = 0.2
) -> LayeredNetwork:  # fmt: skip
    """An elastic network of one layer of free nodes with the squared error of its outputs' places.

    Parameters
    ----------
    sizes : sequence of int
        Input nodes, a square number n*n; free nodes; outputs. Images of more pixels are averaged over blocks of them.
    seed : int
        Of the places of the free nodes, uniform over the lattice, and of the stiffnesses, uniform from 0.02 to 0.2.
    lift : float
        Displacement of an input whose pixel is 1.
    answer : float
        Displacement wanted of the right output.

    Examples
    --------
    >>> import numpy as np
    >>> from lagrangian_eqprop.systems.elastic_network import elastic_network
    >>> network = elastic_network((4, 3, 2))
    >>> network.system.equilibrium(network.rest, inputs=network.inputs(np.eye(16)[:3])).q.shape
    (3, 18)
    """
    if len(sizes) != 3 or round(sizes[0]**0.5)**2 != sizes[0]:
        raise invalid("sizes", "of three, the first a square number", repr(tuple(sizes)))
    a, b, c, d = coordinates("a b c d")
    source, target, k, l = sp.symbols("image y k l")
    inputs, free, outputs = places(sizes)
    side = round(sizes[0]**0.5)
    rng = np.random.default_rng(seed)
    lattice = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2)
    column = np.stack([np.full(sizes[2], side + 1), np.linspace(0, side - 1, sizes[2])], 1)
    nodes = np.concatenate([lattice, rng.uniform(0, side - 1, (sizes[1], 2)), column])
    pairs = [(i, j) for near, far in ((inputs, free), (free, outputs)) for i in near for j in far]
    ends = np.array(pairs)
    springs = np.stack([2*ends[:, 0], 2*ends[:, 0] + 1, 2*ends[:, 1], 2*ends[:, 1] + 1], 1)
    lengths = np.linalg.norm(nodes[ends[:, 0]] - nodes[ends[:, 1]], axis=1)
    shape = nodes.ravel()
    held = np.arange(2*len(inputs))

    def encode(images: np.ndarray) -> np.ndarray:
        block = round((images.shape[-1]//sizes[0])**0.5)
        coarse = images.reshape(*images.shape[:-1], side, block, side, block).mean((-3, -1))
        lifted = np.broadcast_to(shape[held], (*images.shape[:-1], len(held))).copy()
        lifted[..., 1::2] += lift*coarse.reshape(*images.shape[:-1], -1)
        return lifted

    return LayeredNetwork(
        system=System(
            energy=[Term(k*(sp.sqrt((a - c)**2 + (b - d)**2) - l)**2/2, on=[a, b, c, d], at=springs)],
            size=len(shape), clamped={source: held}, name="elastic_network",
            parameters={k: rng.uniform(0.02, 0.2, len(ends)), l: lengths},
        ),
        layers=[held, np.arange(2*free[0], 2*outputs[0]), 2*outputs], source=source, weights=[k], biases=[l],
        target=target, levels=(side + 1.0, side + 1.0 + answer),
        cost=Cost((a - target)**2/2, on=[a], at=2*outputs, targets=[target]),
        rest=Equilibrium(shape, solver="newton", tolerance=1e-8),
        encode=encode, score=lambda states: states,
    )  # fmt: skip
