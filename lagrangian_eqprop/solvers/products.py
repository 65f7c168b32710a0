"""Running a system of matrix products: numpy multiplies, compiled passes over the sites do the rest.

State is (coordinate, sample). A step is one product for each part of the force (see ``compiler.products``), called
with ``out=`` so that nothing is allocated, and one pass in which every site collects its force, is kicked, drifts and
writes the factors that the next products read. A large batch is passed in chunks that stay near the core.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

from ..compiler.contract_products import clear_row, move, site_features, site_force
from ..compiler.kernel import entry
from ..compiler.lanes import empty_rows
from ..compiler.products import Part, products_of
from ..compiler.products_text import Emission, build_products
from ..compiler.unrolled import Flags
from ..symbols.evaluate import evaluate
from . import unrolled
from .failures import Failures
from .nodes import Nodes
from .problem import Problem
from .products_stability import check_start
from .start import Start

_CHUNK = 2**18  # values of a state that are passed at once, but never fewer than _COLUMNS samples
_COLUMNS = 256
_SIGNALS = 2**22  # values of inputs and targets kept at once
Observer = Callable[[int, ndarray, ndarray], None]


@entry
def forward_pass(
    q: ndarray, y: ndarray, p: ndarray, F: ndarray, products: ndarray, rho: ndarray, features: ndarray,
    inverse: ndarray, own: bool, starts: ndarray, pieces: ndarray, from_: ndarray, fields: ndarray, weight: float,
    step: float, full: bool, c: ndarray, L: ndarray, s: ndarray, S: ndarray, t: float, j: int, where: ndarray,
    tables: ndarray, blocks: int,
) -> None:  # fmt: skip
    """Kick by the force at q, drift to y, and the factors there; with ``full``, F holds a part of the force already."""
    for i in range(starts.shape[0] - 1):
        f = i*blocks if full else 0
        if not full:
            for k in range(blocks):
                clear_row(F, k)
        site_force(i, f, q, F, products, rho, starts, pieces, c, L, s, S, t, j, where, tables, blocks)
        for k in range(blocks):
            move(q, y, p, F, inverse, weight, step, i*blocks + k, f + k, i*blocks + k if own else i)
        site_features(i, y, features, from_, fields, 0, 1, blocks)


@entry
def fill_features(
    q: ndarray, features: ndarray, from_: ndarray, fields: ndarray, slot: int, slots: int, blocks: int
) -> None:  # fmt: skip
    """The factors of all sites."""
    for i in range(from_.shape[0] - 1):
        site_features(i, q, features, from_, fields, slot, slots, blocks)


class Product(NamedTuple):
    """One part of the force on some coordinates: where its result, factor and slopes stand, and its matrix."""

    term: int
    part: Part
    target: ndarray  # coordinates
    row: int  # of the first coordinate in the products, or in the sums where there is no factor
    feature: int  # rows in the features
    tangent: int  # of the factor, in the tangents
    own: int  # of delta, in the tangents
    others: int  # how many coordinates have the factor


class Plan:
    """Where everything stands for one system with its costs: found once, for all values and batches."""

    def __init__(self, problem: Problem, emission: Emission, found: dict[int, tuple[Part, ...]]) -> None:
        system = problem.system
        self.emission = emission
        one, size = system.graph.one, system.size
        features: dict[tuple[int, bytes], int] = {}
        tangents: dict[tuple[int, bytes], int] = {}
        rows = {"feature": 0, "tangent": 0, "product": 0, "lone": 0}
        lists: dict[str, list[tuple[int, int, int]]] = {"pieces": [], "feature": [], "tangent": []}

        def field(name: str, known: dict, members: Sequence[int], node: int, at: ndarray) -> int:
            key = node, at.tobytes()
            if key not in known:
                known[key] = rows[name]
                lists[name] += [(int(i), members.index(node), rows[name] + r) for r, i in enumerate(at)]
                rows[name] += len(at)
            return known[key]

        self.products: list[Product] = []
        self.lone: list[Product] = []
        for number, members in found.items():
            places = system.terms[number].places
            left, right = places.table[: places.shape[0]], places.table[places.shape[0] :]
            for part in members:
                target, others = (right, left) if part.side == "columns" else (left, right)
                name = "lone" if part.feature == one else "product"
                at, rows[name] = rows[name], rows[name] + len(target)
                group = "lone" if part.feature == one else "pull"
                kind = emission.kind(group, (part.delta, part.curvature))
                lists["pieces"] += [(int(i), kind, at + r) for r, i in enumerate(target)]
                if part.feature == one:
                    self.lone.append(Product(number, part, target, at, 0, 0, 0, len(others)))
                    continue
                feature = field("feature", features, emission.features, part.feature, others)
                tangent = field("tangent", tangents, emission.tangents, part.slope, others)
                own = field("tangent", tangents, emission.tangents, part.delta, target)
                self.products.append(Product(number, part, target, at, feature, tangent, own, len(others)))
        for n in emission.sites:
            table = emission.terms[n].places.table[:, 0]
            lists["pieces"] += [(int(i), emission.kind("site", n), place) for place, i in enumerate(table)]
        self.rows = rows
        self.pieces, self.features, self.tangents = (
            _by_coordinate(lists[name], size) for name in ("pieces", "feature", "tangent")
        )
        self.bent = any(product.part.curvature != system.graph.zero for product in self.products)
        tables = [term.places.table.ravel() for term in (*emission.terms, *emission.costs)]
        self.tables = np.concatenate(tables).astype(np.int64) if tables else np.zeros(0, np.int64)
        self.table_starts = np.concatenate([[0], np.cumsum([len(table) for table in tables])])


def _by_coordinate(entries: list[tuple[int, int, int]], size: int) -> tuple[ndarray, ndarray]:
    """Where the entries of each coordinate begin, and (kind, place) side by side."""
    table = np.array(entries, np.int64).reshape(-1, 3)
    table = table[np.argsort(table[:, 0], kind="stable")]
    starts = np.searchsorted(table[:, 0], np.arange(size + 1)).astype(np.int64)
    return starts, np.ascontiguousarray(table[:, 1:]).ravel()


def applies(problem: Problem) -> bool:
    """Whether the pair terms are matrix products: many pairs, sums of products, no coefficient of a sample's own."""
    if not problem.compiled or problem.method.name != "verlet" or unrolled.applies(problem):
        return False
    found = products_of(problem.system)
    if not found or any(term.places.kind != "table" for term in problem.bound.terms):
        return False
    pairs = {k for number in found for k in problem.system.terms[number].indices("p")}
    return not any(problem.theta_layout[k, 1] for k in pairs)


class Run:
    """Some samples of a problem on their way: arrays, matrices and the compiled passes.

    Parameters
    ----------
    problem : Problem
    start : Start
        Its initial data.
    who : ndarray of int
        The samples that are run.
    dtype : float64 or float32
    kernels : sequence of functions
        Passes beside those of this module.
    """

    def __init__(
        self, problem: Problem, start: Start, who: ndarray, dtype: Any = float, kernels: Sequence[Callable] = ()
    ) -> None:  # fmt: skip
        self.problem, self.who, self.dtype = problem, who, np.dtype(dtype)
        self.size, self.samples = problem.system.size, len(who)
        widest = 64//self.dtype.itemsize
        self.width = 1 if self.samples == 1 else min(widest, 1 << (self.samples - 1).bit_length())
        self.blocks = -(-self.samples//self.width)
        self.columns = self.blocks*self.width
        self.lanes = np.concatenate([who, np.repeat(who[:1], self.columns - self.samples)])
        self.module, self.plan = self._built(kernels)
        self.mask = self.rows(self.blocks)
        self.mask[:] = (np.arange(self.columns) < self.samples).reshape(self.blocks, self.width)
        self._read_parameters()
        self._read_masses(start)
        self._read_matrices()
        self.label, self.labels = -1, 1
        self.weights = problem.weights(0, problem.grid.steps + 1).T.copy()
        self.q, self.p = self.from_samples(start.q), self.from_samples(start.p)
        edges = bool(self.plan.emission.edges)
        self.full = edges
        self.force = self.rows(self.blocks*(self.size if edges else 1))
        self.pulls = self.wide(self.plan.rows["product"])
        self.rho = self._sums_of_matrices()

    # ------------------------------------------------------------------ setting up
    def _built(self, kernels: Sequence[Callable]) -> tuple[Any, Plan]:
        problem = self.problem
        flags = Flags(
            inputs=tuple(signal.array.shape[0] > 1 for signal in problem.inputs.signals),
            targets=tuple(signal.array.shape[0] > 1 for signal in problem.targets.signals),
        )
        batched = tuple(bool(stride) for stride in problem.theta_layout[:, 1])
        key = (id(problem.bound), flags.inputs, flags.targets, batched, self.width, tuple(kernels))
        known: dict = problem.system.__dict__.setdefault("_product_modules", {})
        if key not in known or known[key][0] is not problem.bound:
            found = products_of(problem.system)
            assert found is not None
            build, emission = build_products(
                problem.system, problem.bound.terms, problem.bound.digest, found, flags, batched, self.width,
                (*_KERNELS, *kernels),
            )  # fmt: skip
            known[key] = problem.bound, build.module, Plan(problem, emission, found)
        return known[key][1:]

    def rows(self, count: int) -> ndarray:
        return empty_rows(count, self.width, self.dtype)

    def wide(self, count: int) -> ndarray:
        """(rows of all blocks, width), seen by numpy as (count, columns) through :meth:`flat`."""
        return self.rows(count*self.blocks)

    def flat(self, rows: ndarray) -> ndarray:
        return rows.reshape(-1, self.columns)

    def from_samples(self, values: ndarray) -> ndarray:
        """(samples, n) as rows of lanes."""
        out = self.wide(values.shape[1])
        self.flat(out)[:] = values[self.lanes].T
        return out

    def to_samples(self, rows: ndarray) -> ndarray:
        """Rows of lanes as (samples, n)."""
        return self.flat(rows)[:, : self.samples].T

    def _read_parameters(self) -> None:
        """The values that table terms and costs read, and where; the rows of the sums over time for each parameter."""
        problem, emission = self.problem, self.plan.emission
        where = np.zeros(max(emission.length, 1), np.int64)
        shared: list[ndarray] = [np.zeros(1)]
        own: list[ndarray] = [np.zeros((1, self.columns))]
        at: dict[int, int] = {}
        sums, self.places_of_sums = 0, dict[int, int]()
        values = list(problem.values.values())
        lengths = [1, 1]
        for n, reading in enumerate(emission.readings):
            where[reading.start : reading.start + 2] = self.plan.table_starts[n], len(reading.term.places.table)
            for m, k in enumerate(reading.parameters):
                _, batched, stride = problem.theta_layout[k]
                if k not in at:
                    value = values[k].reshape(len(values[k]), -1)[self.lanes].T if batched else values[k].ravel()
                    at[k], self.places_of_sums[k] = lengths[bool(batched)], sums
                    lengths[bool(batched)] += len(value)
                    if batched:  # rows of blocks begin at a multiple of their number
                        sums = -(-sums//self.blocks)*self.blocks
                        self.places_of_sums[k] = sums
                    sums += len(value)*(self.blocks if batched else 1)
                    (own if batched else shared).append(value)
                symbol = reading.start + 2 + 3*m  # a reading names its parameters first
                where[symbol : symbol + 3] = at[k], 0, stride
                place = self.places_of_sums[k]//self.blocks if batched else self.places_of_sums[k]
                where[reading.sums + 2*m : reading.sums + 2*m + 2] = place, stride
        self.where, self.sum_rows = where, sums
        self.c = np.concatenate(shared).astype(self.dtype)
        self.L = self.rows(lengths[1]*self.blocks)
        self.flat(self.L)[:] = np.concatenate(own)

    def _read_masses(self, start: Start) -> None:
        problem = self.problem
        moving = {k for term in problem.system.terms if term.indices("v") for k in term.indices("p")}
        self.own_masses = any(problem.theta_layout[k, 1] for k in moving)
        some = start.q if self.own_masses else start.q[:1]
        with np.errstate(all="ignore"):
            m = Nodes(problem, np.zeros(1, int)).mass_diagonal(some[:, None], some[:, None])[:, 0]
        self.masses = m[self.lanes] if self.own_masses else m
        if self.own_masses:
            self.inverse = self.wide(self.size)
            self.flat(self.inverse)[:] = 1/self.masses.T
        else:
            self.inverse = (1/m[0]).astype(self.dtype)

    def coefficients(self, number: int) -> dict[tuple[str, int], ndarray]:
        """The values of the parameters of a pair term, scalars or matrices."""
        values = list(self.problem.values.values())
        found: dict[tuple[str, int], ndarray] = {}
        for k in self.problem.system.terms[number].indices("p"):
            shape = list(self.problem.bound.parameters.values())[k].shape
            found["p", k] = values[k].reshape(shape)
        return found

    def _read_matrices(self) -> None:
        """The matrix of each product and lone part, as it multiplies factors: (target, others)."""
        known: dict[tuple[int, int, str], ndarray] = {}
        self.matrices: list[ndarray] = []
        for product in (*self.plan.products, *self.plan.lone):
            term, c = self.problem.system.terms[product.term], product.part.c
            key = product.term, c
            if (*key, "") not in known:
                (value,) = evaluate(term.graph, [c], self.coefficients(product.term))
                matrix = np.array(np.broadcast_to(value, term.places.shape), self.dtype, order="C")
                if term.places.kind == "group":
                    matrix[np.tri(len(matrix), dtype=bool)] = 0
                known[(*key, "")] = matrix
            side = product.part.side
            if side == "both" and (*key, side) not in known:
                known[(*key, side)] = known[(*key, "")] + known[(*key, "")].T
            matrix = known[(*key, side if side == "both" else "")]
            self.matrices.append(matrix.T if side == "columns" else matrix)

    def _sums_of_matrices(self) -> ndarray:
        parts = [m.sum(1) for m in self.matrices[len(self.plan.products) :]]
        return np.concatenate(parts) if parts else np.zeros(1, self.dtype)

    # ------------------------------------------------------------------ what a node reads
    def values(self, j: int) -> tuple[Any, ...]:
        """The arguments of a pass that name everything besides the state, at node j."""
        problem = self.problem
        if self.label < 0 or not self.label <= j < self.label + self.labels:
            signals = (*problem.inputs.signals, *problem.targets.signals)
            wide = sum(signal.array.shape[2]*(len(self.lanes) if len(signal.array) > 1 else 1) for signal in signals)
            self.labels = int(max(1, _SIGNALS//max(wide, 1)))
            self.label = j//self.labels*self.labels
            self._read_signals(self.label, min(self.labels, problem.grid.steps + 1 - self.label))
        t = problem.grid.start + j*problem.grid.step
        local = j - self.label
        return self.c, self.L, self.s, self.S, t, local, self.where, self.plan.tables, self.blocks

    def _read_signals(self, first: int, count: int) -> None:
        problem, reading = self.problem, self.plan.emission.readings
        shared, own, lengths = [np.zeros(1)], [np.zeros((1, self.columns))], [1, 1]
        layout: dict[tuple[str, int], tuple[int, int, int]] = {}
        for kind, signals in (("u", problem.inputs.signals), ("y", problem.targets.signals)):
            for k, signal in enumerate(signals):
                array = signal.labelled(first, count, "nodes")
                batch, labels, places = array.shape
                strides = places if labels > 1 else 0, 1 if places > 1 else 0
                layout[kind, k] = lengths[batch > 1], *strides
                if batch > 1:
                    own.append(array[self.lanes].transpose(1, 2, 0).reshape(-1, self.columns))
                else:
                    shared.append(array.ravel())
                lengths[batch > 1] += labels*places
        for one in reading:
            for n, symbol in enumerate(one.symbols):
                if symbol[0] != "p":
                    at = one.start + 2 + 3*n
                    self.where[at : at + 3] = layout[symbol]
        self.s = np.concatenate(shared).astype(self.dtype)
        self.S = self.rows(lengths[1]*self.blocks)
        self.flat(self.S)[:] = np.concatenate(own)

    # ------------------------------------------------------------------ steps
    def multiply(self, factors: ndarray, slot: int, out: ndarray, response: bool = False) -> None:
        """All products with the factors, or with their slopes, of a slot: (rows, slots, columns) -> (rows, columns)."""
        for product, matrix in zip(self.plan.products, self.matrices, strict=False):
            at = product.tangent if response else product.feature
            rows = out[product.row : product.row + len(product.target)]
            with np.errstate(all="ignore"):  # a sample that fails is looked for at the end
                np.matmul(matrix, factors[at : at + product.others, slot], out=rows)

    def judge(self, q: ndarray, j: int) -> None:
        """Look at the positions of a node on the way; a run without a cost does not."""

    def edge_forces(self, q: ndarray, j: int) -> None:
        """The forces of terms of several coordinates, where there are some."""
        if self.full:
            self.force[:] = 0.0
            self.module.edge_forces(q, self.force, *self.values(j))

    def forward(
        self, kept: Collection[int] = (), keep: Observer | None = None, path: list[ndarray] | None = None
    ) -> None:  # fmt: skip
        """Over the whole grid; ``keep`` sees (node, q, p) of the nodes ``kept``, ``path`` takes all positions."""
        module, plan, steps, h = self.module, self.plan, self.problem.grid.steps, self.problem.grid.step
        features, pulls = self.wide(plan.rows["feature"]), self.flat(self.pulls)
        factors = self.flat(features)[:, None]
        q, p = self.q, self.p
        module.fill_features(q, features, *plan.features, 0, 1, self.blocks)
        for j in range(steps + 1):
            if path is not None:
                path.append(q)
            self.judge(q, j)
            self.multiply(factors, 0, pulls)
            self.edge_forces(q, j)
            wanted, inside = j in kept, 0 < j < steps
            before = p.copy() if wanted and j < steps else p
            node = q.copy() if wanted and path is None else q
            y = self.wide(self.size) if path is not None and j < steps else q
            module.forward_pass(
                q, y, p, self.force, self.pulls, self.rho, features, self.inverse, self.own_masses, *plan.pieces,
                *plan.features, 0.5*h if not inside else h, h if j < steps else 0.0, self.full, *self.values(j),
            )  # fmt: skip
            if wanted and keep is not None:
                keep(j, node, 0.5*(before + p) if inside else before)
            q = y
        self.q = q


_KERNELS = (forward_pass, fill_features)


def chunks(problem: Problem, who: ndarray) -> list[ndarray]:
    """The samples in groups that are passed together."""
    length = max(_COLUMNS, _CHUNK//problem.system.size)
    return [who[k : k + length] for k in range(0, len(who), length)]


# ---------------------------------------------------------------------- free paths
def forward(
    problem: Problem, start: Start, kept: ndarray, stability: str, progress: Any = None, dtype: Any = float,
    threads: int | None = None,
) -> tuple[ndarray, ndarray, Failures]:  # fmt: skip
    """Positions and momenta at the nodes ``kept``, (samples, kept, d), and what failed."""
    samples = len(start.q)
    q = np.empty((samples, len(kept), problem.system.size), dtype)
    p = np.empty_like(q)
    failures = start.failed or Failures(samples)
    slots = {int(node): slot for slot, node in enumerate(kept)}
    parts = chunks(problem, np.flatnonzero(failures.good))
    runs = (Run(problem, start, who, dtype) for who in parts)
    for who, run in zip(parts, runs, strict=True):
        check_start(run, start, stability)

        def keep(j: int, nodes_q: ndarray, nodes_p: ndarray, run: Run = run, who: ndarray = who) -> None:
            q[who, slots[j]], p[who, slots[j]] = run.to_samples(nodes_q), run.to_samples(nodes_p)

        run.forward(slots, keep)
        settle(run, start, failures)
        if progress is not None:
            progress.update(problem.grid.steps*len(who)/samples)
    q[~failures.good], p[~failures.good] = np.nan, np.nan
    return q, p, failures


def settle(run: Run, start: Start, failures: Failures) -> ndarray:
    """Which samples of a finished run stayed finite; the step at which the others failed is looked for."""
    fine = np.isfinite(run.to_samples(run.q)).all(1) & np.isfinite(run.to_samples(run.p)).all(1)
    lost = run.who[~fine]
    if lost.size:
        step = np.full(len(failures.step), -1)

        def look(j: int, nodes_q: ndarray, nodes_p: ndarray) -> None:
            broken = ~(np.isfinite(again.to_samples(nodes_q)).all(1) & np.isfinite(again.to_samples(nodes_p)).all(1))
            new = again.who[broken]
            step[new[step[new] < 0]] = j

        again = Run(run.problem, start, lost, run.dtype)
        again.forward(range(run.problem.grid.steps + 1), look)
        failures.settle(step, np.full(len(step), np.inf), 0)
    return fine


def all_nodes(problem: Problem, start: Start, observe: Callable[[int, ndarray, ndarray], None]) -> None:
    """Every node of the free path, shown to an observer in blocks as (first, q, p)."""
    samples, size = start.q.shape
    blocks = problem.blocks(start.q.size)
    run = Run(problem, start, np.arange(samples))
    number = 0
    nodes = np.empty((2, samples, blocks[0][1] + 1, size))

    def keep(j: int, nodes_q: ndarray, nodes_p: ndarray) -> None:
        nonlocal number
        first, count = blocks[number]
        nodes[0][:, j - first], nodes[1][:, j - first] = run.to_samples(nodes_q), run.to_samples(nodes_p)
        if j == first + count:
            observe(first, nodes[0][:, : count + 1], nodes[1][:, : count + 1])
            nodes[:, :, 0] = nodes[:, :, count]
            number += 1

    run.forward(range(problem.grid.steps + 1), keep)
