"""Coupled learning, a local rule beside equilibrium propagation (Stern, Hexner, Rocks and Liu 2021).

Outputs are not nudged by a force but clamped a little nearer to their targets, o -> o + eta (y - o), and

    rule = [E_theta(clamped) - E_theta(free)]/eta

is followed downhill. It is not the gradient of the cost |y - o|^2/2: with f = y - o equilibrium propagation pulls
at the outputs with the force f, coupled learning with the force K f that displaces them by f, K being the stiffness
that the outputs feel. With one output the two are parallel, with more they are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import sympy as sp

from ..boundary import Equilibrium
from ..eqprop.equilibrium import equilibrium
from ..eqprop.result import Gradient
from ..errors import invalid
from ..solvers.energy_terms import Slopes
from ..solvers.statics import Statics
from ..symbols.definition import Definition
from ..symbols.terms import Term


def coupled_learning(
    system: Definition, boundary: Equilibrium, outputs: Any, aims: Any, *, amount: float = 1e-3, inputs: Any = None,
    parameters: Any = None,
) -> Gradient:  # fmt: skip
    """The direction of coupled learning, in place of a gradient.

    Parameters
    ----------
    system : System
        A network of terms.
    boundary : Equilibrium
    outputs : array_like of int, shape (P,)
        The coordinates that have targets.
    aims : array_like, shape (P,) or (B, P)
        Their targets.
    amount : float
        eta, in (0, 1]: which part of the way to the targets the outputs are clamped. What the solver leaves over enters
        divided by it.
    inputs, parameters : mapping
        As for ``gradient``.

    Returns
    -------
    Gradient
        ``loss`` is the mean of the sum of (o - y)^2/2; ``result[k]`` is the rule, to be followed downhill.

    Raises
    ------
    ConvergenceError
        If either state of rest is not found.
    ValueError
        If an argument does not fit; the message names it.
    """
    if not isinstance(amount, (int, float)) or not 0 < amount <= 1:
        raise invalid("amount", "a number in (0, 1]", repr(amount))
    if system.single:
        raise invalid("system", "a network of terms", "a system of one expression")
    given: Mapping[Any, Any] = {} if inputs is None else inputs
    free = equilibrium(system, boundary, inputs=given, parameters=parameters)
    aim, places = np.asarray(aims, float), np.asarray(outputs)
    symbol = sp.Dummy("held outputs")
    held = _held(system, symbol, places)
    if aim.ndim not in (1, 2) or aim.shape[-1] != len(places):
        raise invalid("aims", f"of shape ({len(places)},) or (B, {len(places)})", f"shape {aim.shape}")
    q, aim = np.atleast_2d(free.q), np.atleast_2d(aim)
    if len(aim) not in (1, len(q)) and len(q) != 1:
        raise invalid("aims", f"of the batch {len(q)}", f"{len(aim)} samples")
    gap = aim - q[:, places]
    position = q[:, places] + amount*gap
    near = boundary.of(np.broadcast_to(q, (len(gap), system.size)))
    clamped = equilibrium(held, near, inputs={**given, symbol: position}, parameters=parameters).q
    statics = Statics(system, inputs=given, parameters=parameters)
    energies = statics.energies(len(gap))
    move, slopes = energies.split.free, Slopes()
    energies.contrast(clamped[:, move], np.broadcast_to(q, clamped.shape)[:, move], 1/amount, slopes)
    losses = (gap**2).sum(1)/2
    batched = free.q.ndim == 2 or np.ndim(aims) == 2
    return Gradient(
        loss=float(losses.mean()), losses=losses if batched else losses[0],
        parameters=statics.shaped(energies.gathered(slopes), len(gap)),
        success=np.ones(len(gap), bool) if batched else True,
        message=f"coupled learning, clamped by {amount:g} of the way",
    )  # fmt: skip


def _held(system: Definition, symbol: sp.Symbol, places: np.ndarray) -> Definition:
    """The same network with its outputs clamped."""
    driven = [u for u in system.inputs if u not in system.clamped]
    return Definition(
        energy=[Term(-term.expression, term.on, term.at) for term in system.source_terms], size=system.size,
        parameters=system.parameters, inputs=driven, bounds=(system.lower, system.upper),
        clamped={**system.clamped, symbol: places}, name=f"{system.name} with its outputs clamped",
    )  # fmt: skip
