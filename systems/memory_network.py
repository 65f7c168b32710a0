"""A modern Hopfield network that answers a cue: memories compete in a log-sum-exp.

    E = sum_j z_j^2/2 - log(sum_m exp(k h_m))/k + sum_m p_m [h_m - sum_i w_mi x_i - sum_j v_mj z_j]

x is the clamped image, z the outputs, h_m the overlap of memory m with both, which the multipliers p_m see to. E is
stationary in h where p is the softmax of k h, and in z where z = sum_m p_m v_m, the average of what the memories
answer; h and p put in, E is |z|^2/2 - log(sum_m exp(k (w_m x + v_m z)))/k, the energy of Ramsauer et al. Every
coupling is one of pairs, and the point of rest is a saddle. All is dimensionless. Source: Ramsauer et al., Int. Conf.
Learn. Represent. 2021 (arXiv:2008.02217); Krotov and Hopfield, Int. Conf. Learn. Represent. 2021 (arXiv:2008.06996),
for units of the memories.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import sympy as sp

from ..boundary import Equilibrium
from ..errors import invalid
from ..symbols.cost import Cost
from ..symbols.terms import AllPairs, Term
from ..system import System
from .case import coordinates
from .layered import LayeredNetwork, places


def memory_network(sizes: Sequence[int] = (64, 16, 10), seed: int = 0, sharpness: float = 1.0) -> LayeredNetwork:
    """A modern Hopfield network with the squared error of its outputs.

    Parameters
    ----------
    sizes : sequence of int
        Inputs, memories, outputs. The term of the memories is one expression of all of them: keep to some dozens.
    seed : int
        Of the memories: normal with the variance 1/inputs, their answers with 1/memories.
    sharpness : float
        k at the beginning.

    Examples
    --------
    >>> import numpy as np
    >>> from lagrangian_eqprop.systems.memory_network import memory_network
    >>> network = memory_network((4, 5, 3))
    >>> rest = network.system.equilibrium(network.rest, inputs=network.inputs(np.eye(4)))
    >>> rest.q.shape, bool(np.allclose(rest.q[:, 12:].sum(1), 1))
    ((4, 17), True)
    """
    if len(sizes) != 3:
        raise invalid("sizes", "of three: inputs, memories, outputs", repr(tuple(sizes)))
    x, z, h, p = coordinates("x z h p")
    source, target, k, w, v = sp.symbols("image y k w v")
    image, overlaps, outputs = places(sizes)
    shares = overlaps + outputs[-1] + 1 - overlaps[0]
    memories = coordinates(" ".join(f"h{m}" for m in range(len(overlaps))))
    rng = np.random.default_rng(seed)
    return LayeredNetwork(
        system=System(
            energy=[
                Term(-sp.log(sum(sp.exp(k*field) for field in memories))/k, on=memories, at=[overlaps]),
                Term(p*h, on=[p, h], at=np.stack([shares, overlaps], 1)),
                Term(-w*x*p, on=[x, p], at=AllPairs(image, shares)),
                Term(-v*p*z, on=[p, z], at=AllPairs(shares, outputs)),
                Term(z**2/2, on=[z], at=outputs),
            ],
            size=shares[-1] + 1,
            parameters={
                k: float(sharpness), w: rng.normal(size=(sizes[0], sizes[1]))/np.sqrt(sizes[0]),
                v: rng.normal(size=sizes[1:])/np.sqrt(sizes[1]),
            },
            clamped={source: image},
            name="memory_network",
        ),
        layers=[image, overlaps, outputs], source=source, weights=[w, v], biases=[k], target=target, levels=(0.0, 1.0),
        cost=Cost((x - target)**2/2, on=[x], at=outputs, targets=[target]),
        rest=Equilibrium(0.0, solver="stationary"),
        encode=lambda images: images, score=lambda states: states,
    )  # fmt: skip
