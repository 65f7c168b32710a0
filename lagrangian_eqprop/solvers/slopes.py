"""Second derivatives of the Lagrangian along a direction, on whole arrays: what a path owes to its ingredients.

For displacements dx of the first node and dy of the second node of every interval, the number

    D_1 L_d(x, y) dx + D_2 L_d(x, y) dy

is differentiated with respect to the nodes, the parameters and the inputs. Along the response of a path this is the
local quantity of the learning rule; along a displacement of one node it is the derivative of that node's momentum.
Like ``solvers.nodes``, nothing here is compiled.
"""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from ..compiler.derivatives import directional, gradient
from ..symbols.evaluate import evaluate
from ..symbols.graph import Node
from ..symbols.terms import LocalTerm
from .nodes import Nodes, add_at, chunk
from .problem import Problem


class Slopes:
    """Derivatives that are being added up.

    Attributes
    ----------
    q : ndarray, shape (B, N+1, d)
        With respect to the nodes.
    theta : ndarray
        With respect to parameters, laid out like theta; sums over samples where these share a parameter.
    inputs : list of ndarray, shape (B, labels, places)
        With respect to each input, at the labels where the method reads it; empty if they are not asked for.
    """

    def __init__(self, problem: Problem, samples: int, inputs: bool = False) -> None:
        steps, size = problem.grid.steps, problem.system.size
        labels = steps + (problem.method.labels == "nodes")
        self.problem = problem
        self.q = np.zeros((samples, steps + 1, size))
        self.theta = np.zeros_like(problem.theta)
        widths = [signal.array.shape[2] for signal in problem.inputs.signals] if inputs else []
        self.inputs = [np.zeros((samples, labels, width)) for width in widths]

    def add_parameter(self, term: LocalTerm, k: int, value: ndarray) -> None:
        """Values (samples, labels, places) of the derivative with respect to parameter k at the places of a term."""
        offset, stride, step = self.problem.theta_layout[k]
        places, samples = term.places.places(), len(self.q)
        full = np.broadcast_to(value, np.broadcast_shapes(value.shape, (samples, 1, len(places))))
        at = offset + stride*np.arange(samples)[:, None] + step*places
        np.add.at(self.theta, at, full.sum(1))

    def add_input(self, term: LocalTerm, k: int, labels: ndarray, value: ndarray) -> None:
        """The same for input k at some labels."""
        found, places = self.inputs[k], term.places.places()
        full = np.broadcast_to(value, (len(found), len(labels), len(places)))
        if found.shape[2] == 1:
            found[:, labels, 0] += full.sum(2)
        else:
            found[:, labels[0] : labels[-1] + 1, places] += full


def along_nodes(slopes: Slopes, labels: ndarray, q: ndarray, v: ndarray, dq: ndarray, dv: ndarray, weight: float,
                middles: bool = False) -> tuple[ndarray, ndarray]:  # fmt: skip
    """Derivatives by q and v of weight (L_q dq + L_v dv) at the nodes ``labels``, or at the middles after them.

    Those with respect to parameters and inputs are added to ``slopes``.
    """
    nodes = Nodes(slopes.problem, labels, middles)
    gq, gv = np.zeros(q.shape), np.zeros(q.shape)
    for term, roots in _terms(slopes.problem):
        size, leaves = term.size, nodes.leaves(term, q, v)
        for a in range(size):
            column = term.places.columns[a]
            leaves["dq", a], leaves["dv", a] = dq[..., column], dv[..., column]
        values = [weight*value for value in evaluate(term.graph, roots, leaves)]
        for a in range(size):
            add_at(gq, term.places, a, values[a])
            add_at(gv, term.places, a, values[size + a])
        kinds = [("p", k) for k in term.indices("p")] + [("u", k) for k in term.indices("u")]
        for (kind, k), value in zip(kinds, values[2*size :], strict=True):
            if kind == "p":
                slopes.add_parameter(term, k, value)
            elif slopes.inputs:
                slopes.add_input(term, k, labels, value)
    return gq, gv


def along_intervals(slopes: Slopes, q: ndarray, dx: ndarray, dy: ndarray) -> None:
    """Add the derivatives of the sum over intervals of D_1 L_d dx + D_2 L_d dy; dx and dy are (B, N, d)."""
    problem, h = slopes.problem, slopes.problem.grid.step
    length = chunk(problem, len(q))
    for low in range(0, problem.grid.steps, length):
        part = slice(low, min(low + length, problem.grid.steps))
        labels = np.arange(part.start, part.stop)
        x, y, here, there = q[:, part], q[:, part.start + 1 : part.stop + 1], dx[:, part], dy[:, part]
        v, dv = (y - x)/h, (there - here)/h
        left, right = slopes.q[:, part], slopes.q[:, part.start + 1 : part.stop + 1]
        if problem.method.name == "midpoint":
            gq, gv = along_nodes(slopes, labels, 0.5*(x + y), v, 0.5*(here + there), dv, h, True)
            left += 0.5*gq - gv/h
            right += 0.5*gq + gv/h
        else:
            for nodes, at, moved, side in ((labels, x, here, left), (labels + 1, y, there, right)):
                gq, gv = along_nodes(slopes, nodes, at, v, moved, dv, 0.5*h)
                side += gq
                left -= gv/h
                right += gv/h


def of_inputs(slopes: Slopes, q: ndarray, factor: float) -> None:
    """Add the derivatives of factor times the action of the paths q (B, N+1, d) with respect to the inputs."""
    problem, h = slopes.problem, slopes.problem.grid.step
    length = chunk(problem, len(q))
    for low in range(0, problem.grid.steps, length):
        labels = np.arange(low, min(low + length, problem.grid.steps))
        x, y = q[:, labels], q[:, labels + 1]
        v = (y - x)/h
        if problem.method.name == "midpoint":
            _add_inputs(slopes, labels, 0.5*(x + y), v, factor*h, True)
        else:
            _add_inputs(slopes, labels, x, v, 0.5*factor*h)
            _add_inputs(slopes, labels + 1, y, v, 0.5*factor*h)


def _add_inputs(slopes: Slopes, labels: ndarray, q: ndarray, v: ndarray, weight: float, middles: bool = False) -> None:
    nodes = Nodes(slopes.problem, labels, middles)
    for term in slopes.problem.system.terms:
        wanted = term.indices("u")
        if "_inputs" not in term.__dict__:
            symbols = [term.graph.symbol("u", k) for k in wanted]
            term.__dict__["_inputs"] = gradient(term.graph, term.root, symbols)
        values = evaluate(term.graph, term.__dict__["_inputs"], nodes.leaves(term, q, v))
        for k, value in zip(wanted, values, strict=True):
            slopes.add_input(term, k, labels, weight*value)


def _terms(problem: Problem) -> list[tuple[LocalTerm, list[Node]]]:
    """For each term the derivatives of L_q dq + L_v dv by q, v, its parameters and its inputs; once a system."""
    known: dict = problem.system.__dict__.setdefault("_nodes", {})
    if "along" not in known:
        known["along"] = []
        for term in problem.system.terms:
            graph, size = term.graph, range(term.size)
            q, v, dq, dv = ([graph.symbol(kind, a) for a in size] for kind in ("q", "v", "dq", "dv"))
            slope = directional(graph, gradient(graph, term.root, [*q, *v]), [*dq, *dv])
            others = [graph.symbol(kind, k) for kind in ("p", "u") for k in term.indices(kind)]
            known["along"].append((term, gradient(graph, slope, [*q, *v, *others])))
    return known["along"]
