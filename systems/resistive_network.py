"""Deep resistive networks: conductances between layers of nodes, diodes, and voltage sources at the inputs.

    E = sum_l sum_ij g_ij (x_i - z_j)^2/2,   g >= 0,   z >= 0 at excitatory hidden nodes, z <= 0 at inhibitory ones

E is half the power that the resistors take; Kirchhoff's current law is E_z = 0. An ideal diode to ground keeps a hidden
node on its side of zero. A conductance cannot be negative, so that every pixel drives two nodes, at +gain and -gain
times its value; a large gain makes up for what the voltages lose from layer to layer. Outputs are free. Voltages and
conductances are dimensionless. Sources: Kendall, Pantone, Manickavasagam, Bengio and Scellier 2020 (arXiv:2006.01981);
Scellier 2024 (arXiv:2402.11674), where a layer at rest between its neighbours is found exactly, layer after layer.
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


def resistive_network(
    sizes: Sequence[int] = (784, 100, 10), seed: int = 0, gain: float = 100.0, diodes: bool = True
) -> LayeredNetwork:
    """A deep resistive network with the squared error of its output voltages.

    Parameters
    ----------
    sizes : sequence of int
        Pixels, which have two nodes each; hidden nodes of every layer, every other one inhibitory; outputs.
    seed : int
        Of the initial conductances, uniform between 0 and 1/sqrt(n_l), n_l the nodes of the layer before.
    gain : float
        Volts of a pixel that is 1.
    diodes : bool
        Without them the network is linear, like pipes: voltages are pressures then, and the outputs their averages.

    Examples
    --------
    >>> import numpy as np
    >>> from lagrangian_eqprop.systems.resistive_network import resistive_network
    >>> network = resistive_network((4, 6, 3), gain=10.0)
    >>> rest = network.system.equilibrium(network.rest, inputs=network.inputs(np.eye(4)))
    >>> rest.q.shape, bool(rest.q[:, 8:14:2].min() >= 0), bool(rest.q[:, 9:14:2].max() <= 0)
    ((4, 17), True, True)
    """
    x, z = coordinates("x z")
    source, target = sp.symbols("volts y")
    layers = places([2*sizes[0], *sizes[1:]])
    weights = numbered("g", len(sizes) - 1)
    rng = np.random.default_rng(seed)
    terms, values = [], {}
    for near, far, g in zip(layers[:-1], layers[1:], weights, strict=True):
        terms.append(Term(g*(x - z)**2/2, [x, z], AllPairs(near, far)))
        values[g] = rng.uniform(0, 1/np.sqrt(len(near)), (len(near), len(far)))
    size = layers[-1][-1] + 1
    lower, upper = np.full(size, -np.inf), np.full(size, np.inf)
    for hidden in layers[1:-1] if diodes else []:
        lower[hidden[0::2]] = upper[hidden[1::2]] = 0
    return LayeredNetwork(
        system=System(
            energy=terms, size=size, parameters=values, bounds=(lower, upper), clamped={source: layers[0]},
            name="resistive_network",
        ),
        layers=layers, source=source, weights=weights, biases=[], target=target, levels=(0.0, 1.0),
        cost=Cost((x - target)**2/2, on=[x], at=layers[-1], targets=[target]),
        rest=Equilibrium(0.0, solver="sweeps", iterations=(4, 4), tolerance=None),
        encode=lambda images: np.concatenate([gain*images, -gain*images], -1), score=lambda outputs: outputs,
    )  # fmt: skip
