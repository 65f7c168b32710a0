"""Quantities of single nodes on whole arrays: momenta, velocities, energies, and the action of a path.

They follow from L alone and are wanted once, not step by step, so that nothing is compiled for them. Arrays
are (samples, nodes, coordinates); terms are evaluated at all their places at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from ..compiler.derivatives import directional, gradient
from ..symbols.evaluate import evaluate
from ..symbols.graph import Node
from ..symbols.terms import LocalTerm, Places
from .problem import Problem
from .weight import rates

_SMALL = 2**22  # values at once


class Nodes:
    """A problem's Lagrangian and its derivatives by velocity at the nodes ``labels``, or at the middles after them."""

    def __init__(self, problem: Problem, labels: ndarray, middles: bool = False) -> None:
        self.problem, self.labels = problem, labels
        shift = 0.5 if middles else 0.0
        self.t = problem.grid.at(labels, shift)
        signals = problem.inputs.signals
        self.inputs = [signal.sampled(labels, "middles" if middles else "nodes") for signal in signals]

    def leaves(self, term: LocalTerm, q: ndarray, v: ndarray) -> dict[tuple[str, int], Any]:
        """What the symbols of a term, or of a cost, stand for."""
        leaves: dict[tuple[str, int], Any] = {("t", 0): self.t[:, None]}
        for a in range(term.size):
            column = term.places.columns[a]
            leaves["q", a], leaves["v", a] = q[..., column], v[..., column]
        for k in term.indices("p"):
            symbol = list(self.problem.values)[k]
            value, shape = self.problem.values[symbol], self.problem.bound.parameters[symbol].shape
            batched = value.ndim > len(shape)
            flat = value.reshape(len(value), -1) if batched else value.reshape(1, -1)
            leaves["p", k] = (flat[:, term.places.places()] if shape else flat)[:, None]
        for k in term.indices("u"):
            array = self.inputs[k]
            leaves["u", k] = array[..., term.places.places()] if array.shape[2] > 1 else array
        for k in term.indices("y"):
            array = self.problem.targets.signals[k].sampled(self.labels, "nodes")
            leaves["y", k] = array[..., term.places.places()] if array.shape[2] > 1 else array
        return leaves

    def _terms(self, name: str) -> list[tuple[LocalTerm, list[Node]]]:
        """Roots of each term: L itself, L_v, or the rows of L_vv; derived once a system."""
        known: dict = self.problem.system.__dict__.setdefault("_nodes", {})
        if name not in known:
            found = []
            for term in self.problem.system.terms:
                v = [term.graph.symbol("v", a) for a in range(term.size)]
                roots = [term.root] if name == "L" else gradient(term.graph, term.root, v)
                if name == "chain":
                    along = directional(term.graph, roots, [term.graph.symbol("dv", a) for a in range(term.size)])
                    q = [term.graph.symbol("q", a) for a in range(term.size)]
                    p = [term.graph.symbol("p", k) for k in term.indices("p")]
                    roots = gradient(term.graph, along, [*q, *v, *p])
                if name == "structure":
                    q = [term.graph.symbol("q", a) for a in range(term.size)]
                    roots = [entry for slope in roots for entry in gradient(term.graph, slope, q)]
                if name == "force":
                    q = [term.graph.symbol("q", a) for a in range(term.size)]
                    roots = gradient(term.graph, term.root, q)
                if name == "stiffness":
                    q = [term.graph.symbol("q", a) for a in range(term.size)]
                    slopes = gradient(term.graph, term.root, q)
                    roots = [entry for slope in slopes for entry in gradient(term.graph, slope, q)]
                if name == "mass":
                    roots = [entry for slope in roots for entry in gradient(term.graph, slope, v)]
                if any(root != term.graph.zero for root in roots):
                    found.append((term, roots))
            known[name] = found
        return known[name]

    def _kinds(self, name: str) -> list[set[str]]:
        """The kinds of symbols in the derivatives of each term."""
        known: dict = self.problem.system.__dict__.setdefault("_kinds", {})
        if name not in known:
            known[name] = [{kind for kind, _ in term.graph.symbols(roots)} for term, roots in self._terms(name)]
        return known[name]

    def lagrangian(self, q: ndarray, v: ndarray) -> ndarray:
        """L, (samples, nodes)."""
        total = np.zeros(q.shape[:2])
        for term, (root,) in self._terms("L"):
            (value,) = evaluate(term.graph, [root], self.leaves(term, q, v))
            total += np.broadcast_to(value, (*q.shape[:2], len(term.places.rows_of_coordinates()))).sum(-1)
        return total

    def momentum(self, q: ndarray, v: ndarray) -> ndarray:
        """L_v, of the shape of q."""
        p = np.zeros(q.shape)
        for term, roots in self._terms("Lv"):
            for a, value in enumerate(evaluate(term.graph, roots, self.leaves(term, q, v))):
                add_at(p, term.places, a, value)
        return p

    def mass_diagonal(self, q: ndarray, v: ndarray) -> ndarray:
        """The diagonal of L_vv, of the shape of q."""
        m = np.zeros(q.shape)
        for term, roots in self._terms("mass"):
            values = evaluate(term.graph, roots[:: term.size + 1], self.leaves(term, q, v))
            for a, value in enumerate(values):
                add_at(m, term.places, a, value)
        return m

    def mass(self, q: ndarray, v: ndarray) -> ndarray:
        """L_vv, (samples, nodes, d, d)."""
        return self._matrix("mass", q, v)

    def structure(self, q: ndarray) -> ndarray:
        """L_vq - L_qv, (samples, nodes, d, d)."""
        A = self._matrix("structure", q, np.zeros_like(q))
        return A - A.swapaxes(-1, -2)

    def force(self, q: ndarray) -> ndarray:
        """L_q at rest, of the shape of q."""
        F = np.zeros(q.shape)
        for term, roots in self._terms("force"):
            for a, value in enumerate(evaluate(term.graph, roots, self.leaves(term, q, np.zeros_like(q)))):
                add_at(F, term.places, a, value)
        return F

    def _matrix(self, name: str, q: ndarray, v: ndarray) -> ndarray:
        d = q.shape[-1]
        M = np.zeros((*q.shape[:2], d*d))
        for term, roots in self._terms(name):
            rows, size = term.places.rows_of_coordinates(), term.size
            for k, value in enumerate(evaluate(term.graph, roots, self.leaves(term, q, v))):
                at = rows[:, k//size]*d + rows[:, k % size]
                if len(at) == 1:
                    M[..., at[0]] += value[..., 0] if value.ndim else value
                else:
                    np.add.at(M.T, at, np.broadcast_to(value, (*M.shape[:-1], len(at))).T)
        return M.reshape(*q.shape, d)

    def stiffness(self, q: ndarray) -> ndarray:
        """Row sums of |V''| at rest, (samples, nodes, d): over the masses a bound on the squared frequencies."""
        total, rest = np.zeros(q.shape), np.zeros_like(q)
        for term, roots in self._terms("stiffness"):
            for k, value in enumerate(evaluate(term.graph, roots, self.leaves(term, q, rest))):
                add_at(total, term.places, k//term.size, np.abs(value))
        return total

    def chain(self, q: ndarray, v: ndarray, gp: ndarray) -> tuple[ndarray, ndarray, ndarray]:
        """The chain rule through p = L_v(q, v; theta): gp L_vq, gp L_vv, and gp L_v,theta laid out like theta."""
        gq, gv, g = np.zeros(q.shape), np.zeros(q.shape), np.zeros_like(self.problem.theta)
        for term, roots in self._terms("chain"):
            rows, places, size = term.places.rows_of_coordinates(), term.places.places(), term.size
            leaves = self.leaves(term, q, v)
            for a in range(size):
                leaves["dv", a] = gp[..., rows[:, a]]
            values = evaluate(term.graph, roots, leaves)
            for a in range(size):
                for total, value in ((gq, values[a]), (gv, values[size + a])):
                    if not _nothing(value):
                        add_at(total, term.places, a, value)
            for k, value in zip(term.indices("p"), values[2*size :], strict=True):
                if _nothing(value):
                    continue
                offset, stride, step = self.problem.theta_layout[k]
                full = np.broadcast_to(value, (len(q), 1, len(places)))[:, 0]
                if stride == step == 0:
                    g[offset] += full.sum()
                    continue
                at = offset + stride*np.arange(len(q))[:, None] + step*places
                np.add.at(g, at, full)
        return gq, gv, g

    def velocity(self, q: ndarray, p: ndarray, guess: ndarray) -> ndarray:
        """v with p = L_v(q, v), by Newton from a guess; nan where it does not converge.

        A Lagrangian quadratic in v needs one step.
        """
        q, p = np.asarray(q, float), np.asarray(p, float)  # single precision would not settle
        v = np.array(np.broadcast_to(guess, q.shape), float)
        quadratic = not any("v" in kinds for kinds in self._kinds("mass"))
        good = np.zeros(q.shape[:2], bool)
        with np.errstate(all="ignore"):
            for _ in range(50):
                r = p - self.momentum(q, v)
                M = self.mass(q, v)
                fine = np.isfinite(M).all((-1, -2)) & np.isfinite(r).all(-1)
                M[~fine] = np.eye(q.shape[-1])
                try:
                    change = np.linalg.solve(M, r[..., None])[..., 0]
                except np.linalg.LinAlgError:
                    change = np.einsum("...ij,...j", np.linalg.pinv(M), r)
                change[~fine] = np.nan
                v += np.where(good[..., None], 0.0, change)
                moved, speed = np.abs(change).max(-1), np.abs(v).max(-1)
                good |= fine if quadratic else moved <= 1e-9*speed + 1e-300
                if (good | ~fine).all():
                    break
        v[~good] = np.nan
        return v


def _nothing(value: Any) -> bool:
    """Whether a value is the number zero."""
    return np.ndim(value) == 0 and value == 0


def add_at(total: ndarray, places: Places, a: int, value: ndarray) -> None:
    """Add values at all places to what local coordinate a stands for, also where that is the same more than once."""
    column = places.columns[a]
    if isinstance(column, slice) or places.distinct[a]:
        total[..., column] += value
    else:
        np.add.at(total.T, column, np.broadcast_to(value, (*total.shape[:-1], len(column))).T)


def path_action(problem: Problem, q: ndarray, labels: ndarray) -> ndarray:
    """The sum of L_d over the intervals between neighbouring nodes, (samples,)."""
    h, x, y = problem.grid.sizes(labels[:-1]), q[:, :-1], q[:, 1:]
    v = (y - x)/h[:, None]
    if problem.method.labels == "middles":
        return (h*Nodes(problem, labels[:-1], middles=True).lagrangian(0.5*(x + y), v)).sum(1)
    begin, end = Nodes(problem, labels[:-1]).lagrangian(x, v), Nodes(problem, labels[1:]).lagrangian(y, v)
    shift = np.exp(0.5*h*rates(problem)[:, None])  # both weighted for the middle (``methods.verlet_weighted``)
    return (0.5*h*(begin*shift + end/shift)).sum(1)


def fits(problem: Problem, samples: int, limit: int = _SMALL) -> bool:
    """Whether arrays over the places of all terms and the entries of L_vv stay small for a single node.

    They must do where the loops over places know other states: multipliers too, or no momenta.
    """
    if problem.system.constraints or problem.method.first_order:
        return True
    places = sum(term.places.count*term.size for term in problem.system.terms)
    square = 0 if problem.method.explicit else problem.system.size**2
    return samples*(places + square) <= limit


def chunk(problem: Problem, samples: int) -> int:
    """How many nodes may be looked at in one call."""
    places = sum(term.places.count*term.size for term in problem.system.terms)
    square = 0 if problem.method.explicit else problem.system.size**2
    return max(1, _SMALL//max(1, samples*(places + square)))
