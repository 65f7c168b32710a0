"""Running a chain whose parts stand in lanes: free paths of a few samples, one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from ..compiler.build_swept import build_swept
from ..compiler.kernel import kernels_of
from ..compiler.lanes import register
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
    covered = np.unique(np.concatenate([run.sites for run in heavy]))
    apart = sum(len(run.others) + (0 if run.dense else len(run.sites)) for run in runs)
    return runs if len(covered) == system.size and 16*apart <= system.size else None


class Chain:
    """The buffers of a chain: rows of sites, with rows of neighbours before and after, and what stands beside them."""

    def __init__(self, problem: Problem, masses: ndarray) -> None:
        system, runs = problem.system, problem.system.__dict__["_runs"]
        self.step, self.size = problem.grid.step, system.size
        values = list(problem.values.values())
        self.width = 4
        while self.width < 2*register() and 4*self.width**2 <= self.size:
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
        ring = any(run.size == 2 and run.sites[-1:] == self.size - 1 for run in runs)
        self.seam = self.own*self.width - self.size if ring else 0
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
        inside = np.ones(sites.shape, bool) if ring else (sites >= 0) & (sites < self.size)
        sites %= self.size
        self.places = self._beside([
            *(self._placed(values, runs, *swept.arrays[k], sites, inside) for k in swept.rows),
            *([] if self.uniform else [self.step/masses[sites]]),
        ])  # fmt: skip
        live = [inside & np.isin(sites, runs[n].sites) for n in swept.marked]
        rare = [self._placed(values, runs, *swept.arrays[k], sites, inside) for k in swept.rare]
        self.marks = self._beside([*((-there.astype(np.int64)).view(float) for there in live), *rare])
        alike = np.ones(self.rows, bool)
        for n, there in zip(swept.marked, live, strict=True):
            alike &= there.all(1) if runs[n].dense else ~there.any(1)
        alike = np.concatenate([[False], alike[:-1]])  # a row that comes in finishes the one before
        ends = np.append(np.flatnonzero(np.diff(alike)) + 1, self.rows)
        until = ends[np.searchsorted(ends, np.arange(self.rows), side="right")]
        self.until = np.where(alike, until, -until)
        self._tabulate(system, runs, swept, values, sites)
        self.theta = np.array([value if value.ndim == 0 else 0.0 for value in values], float)
        self.mass = float(masses[0]) if self.uniform else 1.0
        self.scale = self.step/self.mass if self.uniform else 1.0
        self.c = np.empty(2*self.module.COEFFICIENTS)
        self.edge = np.empty((2, self.halo*self.width))

    def _placed(
        self, values: list[ndarray], runs: list[Run], number: int, index: int, sites: ndarray, inside: ndarray
    ) -> ndarray:  # fmt: skip
        """A value a place by the site of the place; one where there is none."""
        full, run = np.ones(self.size), runs[number]
        full[run.sites] = values[index].ravel()[run.numbers]
        return np.where(inside, full[sites], 1.0)

    @staticmethod
    def _beside(kinds: list[ndarray]) -> ndarray:
        """Several values a site: rows of the first, the second, ... after each other."""
        return np.stack(kinds, 1).ravel() if kinds else np.zeros(1)

    def _tabulate(self, system: Any, runs: list[Run], swept: Any, values: list[ndarray], sites: ndarray) -> None:
        """The places apart: where their coordinates stand, in the lanes that own them and in those that repeat them."""
        own = sites[self.halo : self.halo + self.own]
        nowhere = self.rows*self.width  # momenta end there
        entries, loose, self.counts = list[list[int]](), list[float](), np.zeros(len(runs), np.int64)
        for number, (term, run) in enumerate(zip(system.terms, runs, strict=True)):
            arrays = [index for n, index in swept.arrays if n == number]
            for place in run.others if number in swept.forced else ():
                copies = [
                    np.flatnonzero((own == site).ravel()) + self.halo*self.width for site in term.places.table[place]
                ]
                read = [int(copy[0]) for copy in copies]
                for k in range(max(map(len, copies))):
                    entries.append(read + [int(copy[k]) if k < len(copy) else nowhere for copy in copies])
                    loose += [float(values[index].ravel()[place]) for index in arrays]
                    self.counts[number] += 1
        self.table = np.array([number for entry in entries for number in entry] or [0], np.int64)
        self.loose = np.array(loose or [0.0])

    def padded(self, q: ndarray, p: ndarray) -> tuple[ndarray, ndarray]:
        """The rows of a state, aligned for vector loads; momenta as the kernel wants them."""
        length = self.rows*self.width
        raw = np.zeros(3*length + 1024)
        skip = (-raw.ctypes.data % 64)//8
        x = raw[skip : skip + 2*length]
        start = skip + 2*length
        start += (256 - (start - skip)) % 512  # half a page from where loads of q would wait for stores of p
        y = raw[start : start + length + 1]
        filled = np.zeros(self.own*self.width)
        for rows, state, scale in ((x, q, 1.0), (y, p, self.scale)):
            np.multiply(state, scale, out=filled[: self.size])
            filled[self.size : self.size + self.seam] = filled[: self.seam]
            self._own(rows)[:] = filled.reshape(self.width, self.own).T
        return x, y

    def _own(self, rows: ndarray) -> ndarray:
        """The rows without those of neighbours."""
        return rows[self.halo*self.width :][: self.own*self.width].reshape(self.own, self.width)

    def state(self, x: ndarray, y: ndarray) -> tuple[ndarray, ndarray]:
        """Positions and momenta by site."""
        q, p = (self._own(rows).T.reshape(-1)[: self.size] for rows in (x, y))
        return q, p/self.scale

    def advance(self, x: ndarray, y: ndarray, count: int) -> None:
        """``count`` steps of one sample, in place."""
        self.module.swept_forward(
            self.theta, self.step*self.scale, self.c, x, y, *self.edge, self.places, self.marks, self.until, self.table,
            self.loose, self.counts, self.rows, self.halo, self.seam, self.tile, count,
        )  # fmt: skip

    def stiffest(self, start: Start) -> ndarray | None:
        """A bound on the largest eigenvalue of M^-1 V'' of every sample; None where places stand apart."""
        if self.apart:
            return None
        found, largest = np.empty(len(start.q)), np.empty(self.width)
        for b, q in enumerate(start.q):
            x, _ = self.padded(q, q)
            self.module.swept_stiffness(
                self.theta, self.c, x, self.places, self.marks, self.rows, self.halo, self.seam, largest
            )
            found[b] = largest.max()
        return found/(abs(self.mass) if self.uniform else self.step)


def forward(
    problem: Problem, start: Start, kept: ndarray, stability: str, progress: Any = None
) -> tuple[ndarray, ndarray, Failures]:  # fmt: skip
    """Positions and momenta at the nodes ``kept``, (samples, kept, d), and what failed."""
    known: dict = problem.system.__dict__.setdefault("_swept", {})
    if known.get("theta") is not problem.theta or known["step"] != problem.grid.step:
        known.update(chain=Chain(problem, start.masses[0]), theta=problem.theta, step=problem.grid.step)
    chain: Chain = known["chain"]
    if stability != "ignore":
        check_stability(problem, start, chain.stiffest(start), stability)
    samples = len(start.q)
    q, p = np.full((samples, len(kept), chain.size), np.nan), np.full((samples, len(kept), chain.size), np.nan)
    failures = Failures(samples)
    for b in range(samples):
        (x, y), at = chain.padded(start.q[b], start.p[b]), 0
        for k, node in enumerate(kept):
            if node > at:
                chain.advance(x, y, int(node) - at)
                at = int(node)
            q[b, k], p[b, k] = chain.state(x, y) if at else (start.q[b], start.p[b])
            if not (np.isfinite(q[b, k]).all() and np.isfinite(p[b, k]).all()):
                _locate(chain, start, b, int(node), failures)
                q[b], p[b] = np.nan, np.nan
                break
    if progress is not None:
        progress.update(problem.grid.steps)
    return q, p, failures


def _locate(chain: Chain, start: Start, b: int, node: int, failures: Failures) -> None:
    """The step at which a sample that is infinite at a node became so."""
    x, y = chain.padded(start.q[b], start.p[b])
    for step in range(1, node + 1):
        chain.advance(x, y, 1)
        if not np.isfinite(chain.state(x, y)).all():
            failures.step[b], failures.residual[b] = step, np.inf
            return
