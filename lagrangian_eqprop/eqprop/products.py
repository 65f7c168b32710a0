"""Exact for a system of matrix products: the free path and its linear response.

The steps are those of ``methods.verlet_unrolled``, for all samples of a chunk at once. With the factors f, g and the
slopes delta of a product, the sums over samples and nodes that make the gradient in its matrix are

    g_C += -h sum (delta(x) dx) g(z)^T

for its direction and its transpose for the other one. A few nodes are kept side by side for it, so that one long
product and one addition to g_C serve them all. Stored states spare the products of the way back; where they would not
fit, the path is integrated again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from ..compiler.contract_products import (
    carry,
    clear_row,
    move,
    recoil,
    site_features,
    site_force,
    site_response,
    site_tangents,
)
from ..compiler.derivatives import gradient
from ..compiler.kernel import entry
from ..solvers.failures import Failures
from ..solvers.nodes import Nodes
from ..solvers.problem import Problem
from ..solvers.products import Run, check_start, chunks, settle
from ..solvers.start import Start
from ..symbols.evaluate import evaluate
from .exact import warn_of_growth
from .radius import Parts

_STORED = 2**27  # bytes of a path that is kept; products cost more than reading it back
_TOGETHER = 8  # nodes whose outer products are taken together
_TOGETHER_BYTES = 2**26


@entry
def echo_pass(
    q: ndarray, y: ndarray, p: ndarray, dq: ndarray, dp: ndarray, F: ndarray, D: ndarray, products: ndarray,
    responses: ndarray, rho: ndarray, sums: ndarray, g: ndarray, inertia: ndarray, features: ndarray,
    tangents: ndarray, inverse: ndarray, own: bool, heavy: bool, again: bool, starts: ndarray, pieces: ndarray,
    from_f: ndarray, of_f: ndarray, from_t: ndarray, of_t: ndarray, weight: float, step: float, full: bool, slot: int,
    slots: int, c: ndarray, L: ndarray, s: ndarray, S: ndarray, t: float, j: int, where: ndarray, tables: ndarray,
    blocks: int,
) -> None:  # fmt: skip
    """Respond and recoil at a node, and the factors of the node before; ``again`` integrates the path to y first."""
    for i in range(starts.shape[0] - 1):
        f = i*blocks if full else 0
        if not full:
            for k in range(blocks):
                clear_row(D, k)
        site_response(
            i, f, q, dq, D, products, responses, rho, sums, g, weight, starts, pieces, c, L, s, S, t, j, where, tables,
            blocks,
        )  # fmt: skip
        if again:
            if not full:
                for k in range(blocks):
                    clear_row(F, k)
            site_force(i, f, q, F, products, rho, starts, pieces, c, L, s, S, t, j, where, tables, blocks)
            for k in range(blocks):
                move(q, y, p, F, inverse, weight, -step, i*blocks + k, f + k, i*blocks + k if own else i)
        for k in range(blocks):
            r = i*blocks + k
            recoil(q, y, dq, dp, D, inverse, weight, step, r, f + k, r if own else i)
            if heavy:
                carry(q, y, dp, inertia, r, r if own else i)
        site_features(i, y, features, from_f, of_f, slot, slots, blocks)
        site_tangents(i, y, dq, tangents, from_t, of_t, slot, slots, blocks)


class Echo(Run):
    """A run with its way back."""

    def __init__(self, problem: Problem, start: Start, who: ndarray, dtype: Any) -> None:
        super().__init__(problem, start, who, dtype, (echo_pass,))
        plan, moving = self.plan, [term for term in problem.system.terms if term.indices("v")]
        self.heavy = any(term.indices("p") for term in moving)
        self.every, self.losses = len(start.q), np.zeros(self.samples)
        self.dq, self.dp = self.wide(self.size), self.wide(self.size)
        self.g = self.rows(max(self.sum_rows, 1))
        self.sums = self.rows(max(plan.rows["lone"], 1))
        self.inertia = self.wide(self.size) if self.own_masses else self.rows(self.size)
        for array in (self.dq, self.dp, self.g, self.sums, self.inertia):
            array[:] = 0.0
        self.outer: list[ndarray] = []

    def stores(self, retrace: str | None) -> bool:
        """Whether the path is kept."""
        if retrace is not None:
            return retrace == "store"
        return (self.problem.grid.steps + 1)*self.q.nbytes <= _STORED

    def judge(self, q: ndarray, j: int) -> None:
        """Add the loss of a node."""
        if self.weights[j].any():
            totals = self.rows(self.blocks)
            totals[:] = 0.0
            self.module.losses(q, totals, self.weights[j], *self.values(j))
            self.losses += totals.ravel()[: self.samples]

    def there_and_back(self, retrace: str | None) -> None:
        """The free path, its losses, and the response of its start."""
        stored = self.stores(retrace)
        path: list[ndarray] | None = [] if stored else None
        steps = self.problem.grid.steps
        self.forward(path=path)
        if path is None:
            spare = self.wide(self.size)
            self._back(lambda j: spare if (steps - j) % 2 == 0 else self.q, False)
        else:
            self._back(lambda j, path=path: path[j - 1], True)

    def _back(self, before: Any, stored: bool) -> None:
        """From the last node to the first; ``before(j)`` is the array of node j - 1."""
        module, plan, steps, h = self.module, self.plan, self.problem.grid.steps, self.problem.grid.step
        node = plan.rows["feature"]*self.columns*self.dtype.itemsize
        slots = int(np.clip(_TOGETHER_BYTES//max(node, 1), 1, _TOGETHER))
        features, tangents = self.wide(plan.rows["feature"]*slots), self.wide(plan.rows["tangent"]*slots)
        factors = features.reshape(-1, slots, self.columns)
        slopes = tangents.reshape(-1, slots, self.columns)
        responses = self.wide(plan.rows["product"])
        pulls, wide = self.flat(self.pulls), self.flat(responses)
        response = np.zeros_like(self.force)
        needed = not stored or plan.bent
        q, slot = self.q, 0
        module.fill_features(q, features, *plan.features, 0, slots, self.blocks)
        slopes[:, 0], wide[:] = 0.0, 0.0
        for j in range(steps, -1, -1):
            y = before(j) if j > 0 else q
            values = self.values(j)
            if self.weights[j].any():
                module.nudges(q, self.dp, self.g, self.mask, self.weights[j], *values)
            if needed:
                self.multiply(factors, slot, pulls)
            if j < steps:
                self.multiply(slopes, slot, wide, response=True)
            if j == 0:
                slopes[:, slot] *= 0.5  # the first node has half a step's weight
            slot += 1
            if slot == slots or j == 0:
                self._take_outer(factors[:, :slot], slopes[:, :slot])
                slot = 0
            weight = -0.5*h if j in (0, steps) else -h
            if self.full:
                response[:] = 0.0
                module.edge_responses(q, self.dq, response, self.g, weight, *values)
                if not stored:
                    self.edge_forces(q, j)
            module.echo_pass(
                q, y, self.p, self.dq, self.dp, self.force, response, self.pulls, responses, self.rho, self.sums,
                self.g, self.inertia, features, tangents, self.inverse, self.own_masses, self.heavy and j > 0,
                not stored and j > 0, *plan.pieces, *plan.features, *plan.tangents, weight, h if j > 0 else 0.0,
                self.full, slot, slots, *values,
            )  # fmt: skip
            q = y
        self.q = q

    def _take_outer(self, factors: ndarray, slopes: ndarray) -> None:
        """Add the outer products of some nodes, side by side along the samples."""
        for n, product in enumerate(self.plan.products):
            if not self._trained(product.term):
                continue
            own = slopes[product.own : product.own + len(product.target)]
            others = factors[product.feature : product.feature + product.others]
            with np.errstate(all="ignore"):  # once more without the samples that failed
                found = own.reshape(len(own), -1) @ others.reshape(len(others), -1).T
            if n < len(self.outer):
                self.outer[n] += found
            else:
                self.outer.append(found)

    def _trained(self, number: int) -> bool:
        return bool(self.problem.system.terms[number].indices("p"))

    # ------------------------------------------------------------------ the gradient
    def add_to(self, total: ndarray) -> None:
        """Add the sums over samples, or the entries of each sample, to an array laid out like theta."""
        problem = self.problem
        values = list(problem.values.values())
        for k, at in self.places_of_sums.items():
            offset, batched, _ = problem.theta_layout[k]
            if batched:
                own = self.flat(self.g[at : at + batched*self.blocks])[:, : self.samples]
                total[offset + self.who[:, None]*batched + np.arange(batched)] += own.T
            else:
                total[offset : offset + values[k].size] += self.g[at : at + values[k].size].sum(1, dtype=float)
        self._add_pairs(total)
        if self.heavy:
            self._add_masses(total)

    def _add_pairs(self, total: ndarray) -> None:
        """From the gradients in the matrices to those in the parameters that they are functions of."""
        problem, h = self.problem, self.problem.grid.step
        slopes: dict[tuple[int, int], ndarray] = {}
        sums = self.sums.sum(1)
        trained = [product for product in self.plan.products if self._trained(product.term)]
        pieces = [(product, -h*found) for product, found in zip(trained, self.outer, strict=True)]
        for product in self.plan.lone:
            own = sums[product.row : product.row + len(product.target)]
            pieces.append((product, np.broadcast_to(own[:, None], (len(own), product.others))))
        for product, found in pieces:
            side = product.part.side
            whole = found.T if side == "columns" else found + found.T if side == "both" else found
            key = product.term, product.part.c
            slopes[key] = slopes[key] + whole if key in slopes else whole
        for (number, c), whole in slopes.items():
            term = problem.system.terms[number]
            if term.places.kind == "group":
                whole = np.triu(whole, 1)
            indices = term.indices("p")
            leaves = self.coefficients(number)
            parts = gradient(term.graph, c, [term.graph.symbol("p", k) for k in indices])
            for k, value in zip(indices, evaluate(term.graph, parts, leaves), strict=True):
                offset, _, stride = problem.theta_layout[k]
                if stride:
                    total[offset : offset + whole.size] += (whole*value).ravel()
                else:
                    total[offset] += (whole*value).sum(dtype=float)

    def _add_masses(self, total: ndarray) -> None:
        """sum of -(q_k - q_{k-1}) dp d_theta(m)/m: L_v at a velocity of one is the mass."""
        if self.own_masses:
            along = np.zeros((self.every, 1, self.size))
            along[self.who, 0] = self.to_samples(self.inertia)/self.masses[: self.samples]
        else:
            along = (self.inertia.sum(1, dtype=float)/self.masses[0])[None, None]
        ones = np.ones_like(along)
        total -= Nodes(self.problem, np.zeros(1, int)).chain(ones, ones, along)[2]


def exact(
    problem: Problem, start: Start, stability: str, retrace: str | None, progress: Any = None, dtype: Any = float,
    threads: int | None = None,
) -> tuple[Parts, ndarray, Failures]:  # fmt: skip
    """The parts of the gradient (sums over good samples; explicit ones included), the losses, and what failed."""
    samples = len(start.q)
    losses, total = np.full(samples, np.nan), np.zeros_like(problem.theta)
    dq, dp = np.zeros_like(start.q), np.zeros_like(start.p)
    failures = start.failed or Failures(samples)
    for every in chunks(problem, np.flatnonzero(failures.good)):
        who, checked = every, False
        while who.size:
            run = Echo(problem, start, who, dtype)
            if not checked:
                check_start(run, start, stability)
                checked = True
            run.there_and_back(retrace)
            response = [run.to_samples(rows) for rows in (run.dq, run.dp)]
            fine = np.isfinite(run.losses) & np.isfinite(response[0]).all(1) & np.isfinite(response[1]).all(1)
            if fine.all():
                losses[who], dq[who], dp[who] = run.losses, *response
                run.add_to(total)
                if run.dtype == np.float64 and not run.stores(retrace):
                    warn_of_growth(run.to_samples(run.q), start.q[who], problem.grid.steps)
                break
            _settle(problem, start, who[~fine], run.dtype, failures)  # once more without what failed
            who = who[fine]
        if progress is not None:
            progress.update(2*problem.grid.steps*len(every)/samples)
    return Parts(total, dp, -dq), losses, failures


def _settle(problem: Problem, start: Start, lost: ndarray, dtype: Any, failures: Failures) -> None:
    """When some samples failed: on the way there, or at the end for a loss or a response that is infinite."""
    run = Run(problem, start, lost, dtype)
    run.forward()
    settle(run, start, failures)
    later = lost[failures.good[lost]]
    failures.step[later], failures.residual[later] = problem.grid.steps, np.inf
