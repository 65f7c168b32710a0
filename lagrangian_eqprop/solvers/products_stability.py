"""Is a step of Störmer-Verlet stable at the start of a dense system? By Gershgorin's bound, else the power method.

The rows of V'' have three kinds of entries: on the diagonal, of table terms between their coordinates, and of products
delta(x) C slope(z), of which only sums of sizes are taken, by one product with the sizes of C.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ndarray

from ..compiler.derivatives import gradient
from ..compiler.lowering import Local
from ..symbols.evaluate import evaluate
from ..symbols.graph import Graph, Node
from .start import Start, check_stability

if TYPE_CHECKING:
    from .products import Run

_ROUNDS = 60


class Stiffness:
    """-V'' of some samples at the first node, divided by masses."""

    def __init__(self, run: Run, start: Start) -> None:
        self.run, self.q = run, start.q[run.who].astype(run.dtype)
        self.masses = (run.masses[: len(self.q)] if run.own_masses else run.masses).astype(run.dtype)
        self.diagonal = np.zeros_like(self.q)
        self.pairs: list[tuple[ndarray, ndarray, ndarray]] = []  # coordinates a, b, entry (samples, places)
        self.products: list[tuple[ndarray, ndarray, ndarray, ndarray, ndarray]] = []
        inputs = [signal.sampled(np.zeros(1, int), "nodes")[:, 0] for signal in run.problem.inputs.signals]
        for term in run.plan.emission.terms:
            local = Local(term).at_rest()
            force = local.slopes()[0]
            leaves = self._leaves(term, inputs)
            for a, part in enumerate(force):
                for b, entry in enumerate(gradient(term.graph, part, local.q)):
                    if entry != term.graph.zero:
                        self._add(term.places.table[:, a], term.places.table[:, b], term.graph, entry, leaves)
        graph = run.problem.system.graph
        for product, matrix in zip((*run.plan.products, *run.plan.lone), run.matrices, strict=True):
            piece, target = product.part, product.target
            places = run.problem.system.terms[product.term].places
            left, right = places.table[: places.shape[0]], places.table[places.shape[0] :]
            others = left if piece.side == "columns" else right
            alone = piece.feature == graph.one
            if piece.curvature != graph.zero:
                pull: Any = matrix.sum(1) if alone else self._at(graph, piece.feature, others) @ matrix.T
                self.diagonal[:, _columns(target)] += self._at(graph, piece.curvature, target)*pull
            if not alone:
                slope, delta = self._at(graph, piece.slope, others), self._at(graph, piece.delta, target)
                self.products.append((target, others, matrix, slope, delta))

    def _at(self, graph: Graph, node: Node, coordinates: ndarray) -> ndarray:
        """A function of one coordinate, (samples or 1, coordinates)."""
        leaves = {("q", 0): self.q[:, _columns(coordinates)]} if graph.symbols([node]) else {}
        (value,) = evaluate(graph, [node], leaves)
        return np.broadcast_to(value, (len(self.q) if leaves else 1, len(coordinates))).astype(self.q.dtype)

    def _leaves(self, term: Any, inputs: list[ndarray]) -> dict[tuple[str, int], Any]:
        problem, who = self.run.problem, self.run.who
        leaves: dict[tuple[str, int], Any] = {("t", 0): problem.grid.start}
        for a in range(term.size):
            leaves["q", a] = self.q[:, _columns(term.places.table[:, a])]
        values = list(problem.values.values())
        for k in term.indices("p"):
            batched = problem.theta_layout[k, 1] > 0
            value = values[k].reshape(len(values[k]), -1)[who] if batched else values[k].reshape(1, -1)
            leaves["p", k] = value.astype(self.q.dtype)
        for k in term.indices("u"):
            value = inputs[k][who] if len(inputs[k]) > 1 else inputs[k]
            leaves["u", k] = value.astype(self.q.dtype)
        return leaves

    def _add(self, a: ndarray, b: ndarray, graph: Graph, entry: Node, leaves: dict) -> None:
        (value,) = evaluate(graph, [entry], leaves)
        if np.array_equal(a, b):
            _add_columns(self.diagonal, a, value)
        else:
            self.pairs.append((a, b, np.broadcast_to(value, (len(self.q), len(a)))))

    def bounds(self) -> ndarray:
        """No eigenvalue of M^-1 V'' of a sample is larger (Gershgorin's, by rows)."""
        total = -self.diagonal
        for a, _, value in self.pairs:
            _add_columns(total, a, np.abs(value))
        for target, _, matrix, slope, delta in self.products:
            total[:, _columns(target)] += np.abs(delta)*(np.abs(slope) @ np.abs(matrix).T)
        total /= np.abs(self.masses)
        return total.max(1)

    def times(self, x: ndarray) -> ndarray:
        """M^-1 V'' x."""
        y = self.diagonal*x
        for a, b, value in self.pairs:
            _add_columns(y, a, value*x[:, b])
        for target, others, matrix, slope, delta in self.products:
            y[:, _columns(target)] += delta*((slope*x[:, _columns(others)]) @ matrix.T)
        return -y/self.masses

    def largest(self) -> ndarray:
        """The largest eigenvalue of every sample by the power method, shifted where a negative one dominates."""
        shift = np.zeros((len(self.q), 1), self.q.dtype)
        value = shift[:, 0]
        for _ in range(2):
            row = 1 + 0.5*np.sin(1 + 12.9898*np.arange(self.q.shape[1])**2)
            x = np.broadcast_to(row.astype(self.q.dtype), self.q.shape)
            before = value
            for _ in range(_ROUNDS):
                y = self.times(x) + shift*x
                value = (self.masses*x*y).sum(1)/(self.masses*x*x).sum(1)
                x = y/np.maximum(np.abs(y).max(1, keepdims=True), 1e-300)
                if not (np.abs(value - before) > 1e-3*np.abs(value)).any():
                    break
                before = value
            if not (value < 0).any() or shift.any():
                break
            shift = np.where(value < 0, -1.1*value, 0.0)[:, None]
        return value - shift[:, 0]


def _columns(coordinates: ndarray) -> Any:
    """Coordinates as an index: neighbours as a slice, which copies nothing."""
    first, count = int(coordinates[0]), len(coordinates)
    return slice(first, first + count) if (np.diff(coordinates) == 1).all() else coordinates


def _add_columns(total: ndarray, coordinates: ndarray, value: ndarray) -> None:
    """total[:, coordinates] += value, also where a coordinate stands more than once."""
    columns = _columns(coordinates)
    if isinstance(columns, slice) or len(np.unique(columns)) == len(columns):
        total[:, columns] += value
    else:
        np.add.at(total.T, columns, np.broadcast_to(value, (len(total), len(columns))).T)


def check_start(run: Run, start: Start, stability: str) -> None:
    """Refuse a step that is too large at the start of a run, as :func:`check_stability` does."""
    if stability == "ignore":
        return
    with np.errstate(all="ignore"):
        stiffness = Stiffness(run, start)
        values = stiffness.bounds()
        if not (run.problem.grid.step**2*values < 3).all():
            values = stiffness.largest()
    check_stability(run.problem, start, values, stability)
