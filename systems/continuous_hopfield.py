"""Continuous Hopfield networks: units that couple through a smooth activation.

    E = sum_i x_i^2/2 - sum_l sum_ij w_ij rho(x_i) rho(z_j) - sum_j b_j rho(z_j),   rho(x) = 1/(1 + exp(2 - 4 x))

(x of layer l, z of layer l + 1; the first layer is clamped to the image, enters as it is instead of rho(x), and has
no x^2/2.) rho has the slope 1 at 1/2 and saturates like a hard sigmoid between 0 and 1, without its kinks. All is
dimensionless. Sources: Hopfield, Proc. Natl. Acad. Sci. 81 (1984) 3088; Scellier and Bengio, Front. Comput. Neurosci.
11 (2017) 24, for layers of it and their learning; the activation is that of Laborieux and Zenke, Adv. Neural Inf.
Process. Syst. 35 (2022).
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


def continuous_hopfield(sizes: Sequence[int] = (784, 500, 10), seed: int = 0) -> LayeredNetwork:
    """A layered network of Scellier and Bengio's energy with the squared error of its outputs.

    Parameters
    ----------
    sizes : sequence of int
        Units of every layer: inputs, hidden layers, outputs.
    seed : int
        Of the initial couplings, uniform within sqrt(6/(n_l + n_{l+1})) (Glorot and Bengio 2010); biases begin at 0.

    Examples
    --------
    >>> import numpy as np
    >>> from lagrangian_eqprop.systems.continuous_hopfield import continuous_hopfield
    >>> network = continuous_hopfield((4, 6, 3))
    >>> network.system.equilibrium(network.rest, inputs=network.inputs(np.ones((2, 4)))).q.shape
    (2, 13)
    """
    x, z = coordinates("x z")
    source, target = sp.symbols("image y")
    layers = places(sizes)
    weights, biases = numbered("w", len(sizes) - 1), numbered("b", len(sizes) - 1)
    rng = np.random.default_rng(seed)

    def rho(state: sp.Expr) -> sp.Expr:
        return 1/(1 + sp.exp(2 - 4*state))

    terms, values = [], {}
    for number, (near, far, w, b) in enumerate(zip(layers[:-1], layers[1:], weights, biases, strict=True)):
        reach = np.sqrt(6/(len(near) + len(far)))
        sent = rho(x) if number else x
        terms += [Term(x**2/2 - b*rho(x), [x], far), Term(-w*sent*rho(z), [x, z], AllPairs(near, far))]
        values[w], values[b] = rng.uniform(-reach, reach, (len(near), len(far))), np.zeros(len(far))
    return LayeredNetwork(
        system=System(
            energy=terms, size=sum(sizes), parameters=values, clamped={source: layers[0]}, name="continuous_hopfield"
        ),
        layers=layers, source=source, weights=weights, biases=biases, target=target, levels=(0.0, 1.0),
        cost=Cost((x - target)**2/2, on=[x], at=layers[-1], targets=[target]),
        rest=Equilibrium(0.0, step=0.5, iterations=(20, 8), tolerance=None),
        encode=lambda images: images, score=lambda outputs: outputs,
    )  # fmt: skip
