"""Running a chain whose parts stand in lanes: free paths of a few samples, one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from ..compiler.build_swept import build_swept
from ..compiler.kernel import kernels_of
from ..compiler.lanes import empty_rows
from ..compiler.machine import registers
from ..compiler.swept import Run, run_of
from ..methods import verlet_swept
from .failures import Failures
from .problem import Problem
from .start import Start, check_stability

_FEW = 8  # samples; a larger batch fills lanes by itself
_LONG = 32  # sites that are worth a sweep
_NEAR = 2**14  # bytes of rows in a tile: half of a small first-level cache
_HALO = 32  # steps a tile, where there are tiles


def applies(problem: Problem, samples: int) -> bool:
    """Whether the system is a long autonomous chain with shared or placed parameters, and the batch is small."""
    system = problem.system
    if not problem.compiled or problem.method.name != "verlet" or system.inputs or problem.has_own_parameters:
        return False
    if samples >= _FEW or system.size < _LONG:
        return False
    kept = system.__dict__
    if "_runs" not in kept:
        timeless = all(not term.indices("t") for term in system.terms)
        tables = all(term.places.kind == "table" for term in system.terms)
        kept["_runs"] = _runs(problem) if timeless and tables else None
    return kept["_runs"] is not None


def _runs(problem: Problem) -> list[Run] | None:
    """The runs of all terms, where every site has its mass from them and places apart are few."""
    system = problem.system
    runs = [run_of(term, system.size) for term in system.terms]
    heavy = [run for run, term in zip(runs, system.terms, strict=True) if term.indices("v")]
    if any(run.size > 1 or len(run.others) for run in heavy):
        return None
    covered = _among(np.concatenate([run.sites for run in heavy]), system.size)
    forced = [run for run, term in zip(runs, system.terms, strict=True) if term.indices("q")]
    apart = sum(len(run.others) + (0 if run.dense else len(run.sites)) for run in forced)
    return runs if covered.all() and 16*apart <= system.size else None


class Chain:
    """The buffers of a chain: rows of sites, with rows of neighbours before and after, and what stands beside them."""

    def __init__(self, problem: Problem, masses: ndarray) -> None:
        system, runs = problem.system, problem.system.__dict__["_runs"]
        self.step, self.size = problem.grid.step, system.size
        values = list(problem.values.values())
        # one register, or two that do not wait for each other; a ring needs more rows than lanes
        self.width = max(registers().size//8, 4) if self.size >= 64 else 4
        if self.width <= registers().size//8 and self.size >= 64*self.width:
            self.width *= 2
        heavy = [(run, term) for run, term in zip(runs, system.terms, strict=True) if term.indices("v")]
        self.uniform = all(
            len(run.sites) == self.size and not any(values[k].ndim for k in term.indices("p")) for run, term in heavy
        )
        known: dict = system.__dict__.setdefault("_swept", {})
        if "built" not in known:
            shapes, kernels = [value.shape for value in values], kernels_of(verlet_swept)
            known["built"] = build_swept(system, shapes, runs, self.uniform, kernels, self.width)
        built, swept = known["built"]
        self.module, self.own = built.module, -(-self.size//self.width)
        self.length = self.own*self.width
        self.ring = any(run.size == 2 and self.size - 1 in run.sites for run in runs)
        self.seam = self.own*self.width - self.size if self.ring else 0
        self.apart = sum(len(run.others) for run in runs)
        beside = 2 + len(swept.rows) + (not self.uniform)
        self.tile = max(_NEAR//(8*self.width*beside), 4)
        self.halo = 1
        if not self.apart and self.own > 2*self.tile:
            self.halo = min(_HALO, self.own - self.seam)
        self.rows = self.own + 2*self.halo
        if self.rows <= 2*self.tile:
            self.tile = self.rows
        sites = np.arange(self.rows)[:, None] - self.halo + self.own*np.arange(self.width)
        inside = np.ones(sites.shape, bool) if self.ring else (sites >= 0) & (sites < self.size)
        sites %= self.size

        def placed(k: int) -> ndarray:
            """Values of places by site; one where there is no place."""
            (number, index), full = swept.arrays[k], np.ones(self.size)
            full[runs[number].sites] = values[index].ravel()[runs[number].numbers]
            return np.where(inside, full[sites], 1.0)

        pace = [] if self.uniform else [self.step/masses[sites]]
        self.places = _beside([*map(placed, swept.rows), *pace])
        live = [inside & _among(runs[n].sites, self.size)[sites] for n in swept.marked]
        bits = [(-there.astype(np.int64)).view(float) for there in live]  # all of them, or none
        self.marks = _beside([*bits, *map(placed, swept.rare)])
        alike = np.ones(self.rows, bool)
        for n, there in zip(swept.marked, live, strict=True):
            alike &= there.all(1) if runs[n].dense else ~there.any(1)
        alike = np.concatenate([[False], alike[:-1]])  # a row that comes in finishes the one before
        ends = np.append(np.flatnonzero(np.diff(alike)) + 1, self.rows)
        until = ends[np.searchsorted(ends, np.arange(self.rows), side="right")]
        self.until = np.where(alike, until, -until)
        self._tabulate(system, runs, swept, values)
        self.theta = np.array([value if value.ndim == 0 else 0.0 for value in values], float)
        mass = float(masses[0])
        self.scale = self.step/mass if self.uniform else 1.0
        self.unit = abs(mass) if self.uniform else self.step  # of the stiffness that a pass finds

    def _tabulate(self, system: Any, runs: list[Run], swept: Any, values: list[ndarray]) -> None:
        """The places apart: where their coordinates stand, also where the last lane repeats those of the first."""
        nowhere, parts, loose = self.rows*self.width, [np.zeros(0, np.int64)], [np.zeros(0)]
        self.counts = np.zeros(len(runs), np.int64)
        for number in swept.forced:
            sites = system.terms[number].places.table[runs[number].others]
            own = self.width*(self.halo + sites % self.own) + sites//self.own
            again = self.width*(self.halo + self.own - self.seam + sites) + self.width - 1
            copies = np.where(sites < self.seam, again, nowhere)
            repeated = (sites < self.seam).any(1)
            entries = np.vstack([np.hstack([own, own]), np.hstack([own, copies])[repeated]])
            kinds = [values[k].ravel()[runs[number].others] for n, k in swept.arrays if n == number]
            beside = np.stack(kinds, 1) if kinds else np.zeros((len(sites), 0))
            parts.append(entries.ravel())
            loose.append(np.vstack([beside, beside[repeated]]).ravel())
            self.counts[number] = len(entries)
        self.table, self.loose = np.concatenate(parts), np.concatenate(loose)

    def path(self, q0: ndarray, p0: ndarray, kept: ndarray, q: ndarray, p: ndarray, limit: float) -> int:
        """The nodes ``kept`` of a sample, in place: how many are finite; -1 where the stiffness may pass the limit."""
        length = self.rows*self.width
        # momenta half a page from where loads of positions would wait for their stores
        start = 2*length + (256 - 2*length) % 512
        edge, ends = start + length + 8, self.halo*self.width
        room = empty_rows(edge//8 + ends//4 + self.module.COEFFICIENTS, 8).reshape(-1)
        run = self.module.swept_tiles if self.halo > 1 else self.module.swept_steps
        return run(
            self.theta, self.step*self.scale, self.scale, room[edge + 2*ends :], self.filled(q0), self.filled(p0),
            room[: 2*length], room[start : start + length + 1], room[edge : edge + ends],
            room[edge + ends : edge + 2*ends], self.places, self.marks, self.until, self.table, self.loose, self.counts,
            self.own, self.halo, self.seam, self.tile, limit*self.unit, kept, q.reshape(-1), p.reshape(-1),
        )  # fmt: skip

    def filled(self, state: ndarray) -> ndarray:
        """A state with as many sites as the lanes hold: the first again in a ring, else some at rest."""
        more = self.length - self.size
        if not more:
            return state
        return np.concatenate([state, state[: self.seam] if self.ring else np.zeros(more)])


def _beside(kinds: list[ndarray]) -> ndarray:
    """Several values a site: rows of the first, the second, ... after each other."""
    return np.stack(kinds, 1).ravel() if kinds else np.zeros(0)


def _among(sites: ndarray, size: int) -> ndarray:
    """Which of all sites are among some."""
    found = np.zeros(size, bool)
    found[sites] = True
    return found


def forward(
    problem: Problem, start: Start, kept: ndarray, stability: str, progress: Any = None
) -> tuple[ndarray, ndarray, Failures]:  # fmt: skip
    """Positions and momenta at the nodes ``kept``, (samples, kept, d), and what failed."""
    known: dict = problem.system.__dict__.setdefault("_swept", {})
    if known.get("theta") is not problem.theta or known["step"] != problem.grid.step:
        known.update(chain=Chain(problem, start.masses[0]), theta=problem.theta, step=problem.grid.step)
    chain: Chain = known["chain"]
    limit = 3/problem.grid.step**2 if stability != "ignore" else np.inf
    if chain.apart and limit < np.inf:
        check_stability(problem, start, None, stability)
        limit = np.inf
    samples = len(start.q)
    q, p = np.empty((samples, len(kept), chain.length)), np.empty((samples, len(kept), chain.length))
    failures = Failures(samples)
    for b in range(samples):
        good = chain.path(start.q[b], start.p[b], kept, q[b], p[b], limit)
        if good < 0:
            check_stability(problem, start, None, stability)
            limit = np.inf
            good = chain.path(start.q[b], start.p[b], kept, q[b], p[b], limit)
        if good < len(kept):
            failures.step[b], failures.residual[b] = _located(chain, start, b, int(kept[good])), np.inf
            q[b], p[b] = np.nan, np.nan
    if progress is not None:
        progress.update(problem.grid.steps)
    return np.ascontiguousarray(q[..., : chain.size]), np.ascontiguousarray(p[..., : chain.size]), failures


def _located(chain: Chain, start: Start, b: int, node: int) -> int:
    """The step at which a sample that is not finite at a node became so: it never becomes finite again."""
    finite, q, p = -1, np.empty(chain.length), np.empty(chain.length)
    while node - finite > 1:
        middle = (node + finite)//2
        good = chain.path(start.q[b], start.p[b], np.array([middle]), q, p, np.inf)
        finite, node = (middle, node) if good else (finite, middle)
    return node
