"""Predictive coding in layers, with a unit for every error.

    E = sum_l sum_j [e_j (z_j - b_j - sum_i w_ij f(x_i)) - e_j^2/2]

(x of layer l, z and e of layer l + 1; f is tanh, for the clamped first layer the identity.) E is stationary in e
where e_j is the error z_j - b_j - sum w f(x); put in, E is the sum of squared errors, the energy of predictive
coding. With the errors as coordinates every coupling is one of pairs. The point of rest is a saddle, which the rule
does not mind: it needs a stationary point. Without a nudge all errors vanish, and the state is that of the
feedforward network. All is dimensionless. Sources: Whittington and Bogacz, Neural Comput. 29 (2017) 1229; units for
errors as in Bogacz, J. Math. Psychol. 76 (2017) 198.
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


def predictive_network(sizes: Sequence[int] = (784, 100, 10), seed: int = 0) -> LayeredNetwork:
    """A layered network of predictive coding with the squared error of its outputs.

    Parameters
    ----------
    sizes : sequence of int
        Units of every layer: inputs, hidden layers, outputs. Every unit but the inputs has an error beside it.
    seed : int
        Of the initial couplings, normal with the variance 1/n_l, n_l the units of the layer before; biases begin at 0.

    Examples
    --------
    >>> import numpy as np
    >>> from lagrangian_eqprop.systems.predictive_network import predictive_network
    >>> network = predictive_network((4, 6, 3))
    >>> rest = network.system.equilibrium(network.rest, inputs=network.inputs(np.eye(4)))
    >>> rest.q.shape, bool(abs(rest.energy).max() < 1e-12)
    ((4, 22), True)
    """
    x, z, e = coordinates("x z e")
    source, target = sp.symbols("image y")
    layers = places(sizes)
    weights, biases = numbered("w", len(sizes) - 1), numbered("b", len(sizes) - 1)
    rng = np.random.default_rng(seed)
    size, first = sum(sizes), layers[1][0]
    terms, values = [], {}
    for number, (near, far, w, b) in enumerate(zip(layers[:-1], layers[1:], weights, biases, strict=True)):
        errors = far - first + size
        sent = sp.tanh(x) if number else x
        terms += [Term(e*(z - b) - e**2/2, [e, z], np.stack([errors, far], 1)),
                  Term(-w*sent*e, [x, e], AllPairs(near, errors))]  # fmt: skip
        values[w], values[b] = rng.normal(size=(len(near), len(far)))/np.sqrt(len(near)), np.zeros(len(far))
    return LayeredNetwork(
        system=System(
            energy=terms, size=2*size - first, parameters=values, clamped={source: layers[0]}, name="predictive_network"
        ),
        layers=layers, source=source, weights=weights, biases=biases, target=target, levels=(0.0, 1.0),
        cost=Cost((x - target)**2/2, on=[x], at=layers[-1], targets=[target]),
        rest=Equilibrium(0.0, solver="stationary"),
        encode=lambda images: images, score=lambda outputs: outputs,
    )  # fmt: skip
