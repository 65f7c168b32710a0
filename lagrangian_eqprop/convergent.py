"""Convergent recurrent networks in discrete time, given by a primitive function (Ernoult et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sympy as sp

from .errors import invalid
from .symbols.terms import Term, time_of
from .system import System


class Convergent(System):
    """A network s_{t+1} = dPhi/ds(s_t) that is run until it rests.

    It is the system of the energy E = |s|^2/2 - Phi: one step of the network is one step of relaxation,

        s - 1 E_s(s) = Phi_s(s),   nudged: Phi_s(s) - beta c_s(s),

    so that ``lep.Equilibrium(step=1.0, iterations=(T, K), tolerance=None)`` runs T free steps and K nudged ones, and
    every other solver finds the same states of rest. With bounds each step ends with a clip, as of a hard sigmoid.
    :func:`lagrangian_eqprop.analysis.time_resolved` compares its learning with backpropagation step by step.

    Parameters
    ----------
    primitive : sympy expression, or sequence of Term
        Phi, in coordinates, parameters and inputs; dimensionless like the state.
    coordinates, size, parameters, inputs, bounds, clamped, name
        As for :class:`System`.

    Attributes
    ----------
    primitive
        As it was given.

    Examples
    --------
    >>> import numpy as np, sympy as sp
    >>> from sympy.physics.mechanics import dynamicsymbols
    >>> import lagrangian_eqprop as lep
    >>> x, z = dynamicsymbols("x z")
    >>> w, b = sp.symbols("w b")
    >>> net = lep.Convergent(
    ...     [lep.Term(w*sp.tanh(x)*sp.tanh(z), on=[x, z], at=lep.AllPairs([0, 1], [2, 3, 4])),
    ...      lep.Term(b*sp.tanh(x), on=[x], at=np.arange(5))],
    ...     size=5, parameters={w: np.full((2, 3), 0.4), b: np.full(5, 0.1)})
    >>> net.equilibrium(lep.Equilibrium(step=1.0)).q.shape
    (5,)
    """

    def __init__(
        self, primitive: Any, coordinates: Sequence[Any] | None = None, *, size: int | None = None,
        parameters: Mapping[Any, Any] | None = None, inputs: Sequence[Any] = (), bounds: Any = None,
        clamped: Mapping[Any, Any] | None = None, name: str = "network",
    ) -> None:  # fmt: skip
        self.primitive = primitive
        energy: Any
        if coordinates is not None:
            try:
                energy = sum(x**2 for x in coordinates)/2 - sp.sympify(primitive, strict=True)
            except (sp.SympifyError, TypeError) as error:
                raise invalid("primitive", "a sympy expression in the coordinates", repr(primitive)) from error
        else:
            terms = list(primitive) if isinstance(primitive, (list, tuple)) else []
            if not terms or not all(isinstance(term, Term) for term in terms):
                raise invalid("primitive", "a non-empty list of lep.Term, or given with coordinates", repr(primitive))
            if not isinstance(size, (int, np.integer)) or isinstance(size, bool) or size < 1:
                raise invalid("size", "a positive integer", repr(size))
            on = terms[0].on
            s = sp.Function("s")(time_of(on[0] if isinstance(on, (list, tuple)) else on, "coordinates of primitive"))
            energy = [Term(s**2/2, on=[s], at=np.arange(size)), *(Term(-t.expression, t.on, t.at) for t in terms)]
        super().__init__(
            energy=energy, coordinates=coordinates, size=size, parameters=parameters, inputs=inputs, bounds=bounds,
            clamped=clamped, name=name,
        )  # fmt: skip
