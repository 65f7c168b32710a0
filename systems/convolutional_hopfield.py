"""Convolutional deep Hopfield networks.

    E = sum_i x_i^2/2 - sum_l sum_i z_f(i) [b_f + sum_ca w_fca x_c(s i + a)] - sum_j o_j [b_j + sum_i w_ij x_i]

The maps z of a layer see those of the layer before, x, through kernels w that move over them with the stride s; the
outputs o see all units of the last maps. The first layer is clamped to the image and has no x^2/2. Units of the maps
are within 0 and 1, the hard sigmoid: at rest each is clip(field, 0, 1), with a field that comes from below through the
kernel and from above through its transpose. Outputs have no bounds. All is dimensionless. Source: Scellier and Bengio,
Front. Comput. Neurosci. 11 (2017) 24; with convolutions Ernoult, Grollier, Querlioz, Bengio and Scellier, NeurIPS 2019,
arXiv:1905.13633, there with pooling, here with strides.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import sympy as sp

from ..boundary import Equilibrium
from ..errors import invalid
from ..symbols.convolution import Convolution
from ..symbols.cost import Cost
from ..symbols.terms import AllPairs, Term
from ..system import System
from .case import coordinates
from .layered import LayeredNetwork, numbered


def convolutional_hopfield(
    side: int = 28, maps: Sequence[int] = (16, 32), kernels: Sequence[int] = (5, 5), strides: Sequence[int] = (2, 2),
    outputs: int = 10, gains: Sequence[float] = (1.5, 0.3, 0.3), seed: int = 0,
) -> LayeredNetwork:  # fmt: skip
    """A convolutional Hopfield network for square images with the squared error of its outputs.

    A bias is one number a map: the coupling of the map, by a kernel of one pixel, to a plane of ones that is clamped
    beside the image.

    The energy is convex, and settles in a few sweeps, as long as the couplings between free layers are weak. Hence
    their small gains, and a target of 0.3 for the right output: a target of 1 makes them grow in training until phases
    of few sweeps no longer come to rest, and the estimates go wrong.

    Parameters
    ----------
    side : int
        Pixels along an edge of the image.
    maps, kernels, strides : sequence of int
        Of every convolutional layer: the number of its maps, the extent of its kernels and their stride.
    outputs : int
        Units of the last layer, each coupled to all units of the last maps.
    gains : sequence of float
        Of every layer and the outputs: couplings begin uniform within gain*sqrt(3/n), n what a unit sees.
    seed : int
        Of the initial couplings; biases begin at 0.

    Examples
    --------
    >>> import numpy as np
    >>> from lagrangian_eqprop.systems.convolutional_hopfield import convolutional_hopfield
    >>> network = convolutional_hopfield(8, maps=(4, 6), kernels=(3, 3), strides=(1, 2), outputs=3)
    >>> [len(layer) for layer in network.layers]  # 64 pixels and 36 ones, 4 x 6 x 6, 6 x 2 x 2, 3
    [100, 144, 24, 3]
    >>> network.system.equilibrium(network.rest, inputs=network.inputs(np.ones((2, 64)))).q.shape
    (2, 271)
    """
    count = len(maps)
    if not count or len(kernels) != count or len(strides) != count or len(gains) != count + 1:
        came = f"{count}, {len(kernels)}, {len(strides)} and {len(gains)}"
        raise invalid("maps, kernels, strides and gains", "one each a layer, and one more gain", came)
    x, z = coordinates("x z")
    source, target = sp.symbols("image y")
    weights, biases = numbered("w", count + 1), numbered("b", count + 1)
    rng = np.random.default_rng(seed)
    terms, values = [], {}

    def drawn(gain: float, seen: int, shape: tuple[int, ...]) -> np.ndarray:
        reach = gain*np.sqrt(3/seen)
        return rng.uniform(-reach, reach, shape)

    image: np.ndarray = np.arange(side**2).reshape(1, side, side)
    edge = (side - kernels[0])//strides[0] + 1
    ones = image.size + np.arange(edge**2).reshape(1, edge, edge)
    layers, size = [image], image.size + ones.size
    for number, kernel, stride, gain, w, b in zip(maps, kernels, strides, gains[:-1], weights, biases, strict=False):
        below = layers[-1]
        edge = (below.shape[-1] - kernel)//stride + 1
        above = size + np.arange(number*edge**2).reshape(number, edge, edge)
        at = Convolution(below, above, kernel, stride=stride)
        terms += [
            Term(x**2/2, [x], above.ravel()), Term(-w*x*z, [x, z], at),
            Term(-b*x*z, [x, z], Convolution(ones[:, :edge, :edge], above, 1)),
        ]  # fmt: skip
        values[w], values[b] = drawn(gain, len(below)*kernel**2, at.shape), np.zeros((number, 1, 1, 1))
        layers, size = [*layers, above], size + above.size
    seen, last, w, b = layers[-1].ravel(), size + np.arange(outputs), weights[-1], biases[-1]
    terms += [Term(x**2/2 - b*x, [x], last), Term(-w*x*z, [x, z], AllPairs(seen, last))]
    values[w], values[b] = drawn(gains[-1], len(seen), (len(seen), outputs)), np.zeros(outputs)
    lower, upper = np.zeros(size + outputs), np.ones(size + outputs)
    lower[last], upper[last] = -np.inf, np.inf
    held = np.r_[image.ravel(), ones.ravel()]
    return LayeredNetwork(
        system=System(
            energy=terms, size=size + outputs, parameters=values, bounds=(lower, upper), clamped={source: held},
            name="convolutional_hopfield",
        ),
        layers=[held, *(layer.ravel() for layer in layers[1:]), last], source=source, weights=weights, biases=biases,
        target=target, levels=(0.0, 0.3), cost=Cost((x - target)**2/2, on=[x], at=last, targets=[target]),
        rest=Equilibrium(0.0, solver="sweeps", iterations=(8, 6), tolerance=None),
        encode=lambda images: np.concatenate([images, np.ones((*np.shape(images)[:-1], ones.size), images.dtype)], -1),
        score=lambda outputs: outputs,
    )  # fmt: skip
