"""Deep Hopfield networks.

    E = sum_i x_i^2/2 - sum_l [sum_ij w_ij x_i z_j + sum_j b_j z_j],   0 <= x <= 1

(x of layer l, z of layer l + 1; the first layer is clamped to the image and has no x^2/2.) The bounds are the hard
sigmoid: at rest z_j = clip(b_j + sum_i w_ij x_i + what the next layer sends back, 0, 1). All is dimensionless. Source:
Scellier and Bengio, Front. Comput. Neurosci. 11 (2017) 24.
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


def deep_hopfield(sizes: Sequence[int] = (784, 500, 10), seed: int = 0, gain: float = 1.0) -> LayeredNetwork:
    """A deep Hopfield network with the squared error of its outputs.

    Parameters
    ----------
    sizes : sequence of int
        Units of every layer: inputs, hidden layers, outputs.
    seed : int
        Of the initial couplings, uniform within gain sqrt(6/(n_l + n_{l+1})), gain 1 being that of Glorot and Bengio
        2010; biases begin at 0.
    gain : float
        Below 1 the layers pull less on each other at the beginning.

    Examples
    --------
    >>> import numpy as np
    >>> from lagrangian_eqprop.systems.deep_hopfield import deep_hopfield
    >>> network = deep_hopfield((4, 6, 3))
    >>> network.system.equilibrium(network.rest, inputs=network.inputs(np.ones((2, 4)))).q.shape
    (2, 13)
    """
    x, z = coordinates("x z")
    source, target = sp.symbols("image y")
    layers = places(sizes)
    weights, biases = numbered("w", len(sizes) - 1), numbered("b", len(sizes) - 1)
    rng = np.random.default_rng(seed)
    terms, values = [], {}
    for near, far, w, b in zip(layers[:-1], layers[1:], weights, biases, strict=True):
        reach = gain*np.sqrt(6/(len(near) + len(far)))
        terms += [Term(x**2/2 - b*x, [x], far), Term(-w*x*z, [x, z], AllPairs(near, far))]
        values[w], values[b] = rng.uniform(-reach, reach, (len(near), len(far))), np.zeros(len(far))
    return LayeredNetwork(
        system=System(
            energy=terms, size=sum(sizes), parameters=values, bounds=(0, 1), clamped={source: layers[0]},
            name="deep_hopfield",
        ),
        layers=layers, source=source, weights=weights, biases=biases, target=target, levels=(0.0, 1.0),
        cost=Cost((x - target)**2/2, on=[x], at=layers[-1], targets=[target]),
        rest=Equilibrium(0.0, step=0.5, iterations=(20, 8), tolerance=None),
        encode=lambda images: images, score=lambda outputs: outputs,
    )  # fmt: skip
