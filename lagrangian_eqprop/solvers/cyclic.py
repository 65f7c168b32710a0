"""Direct solution of cyclic block-tridiagonal systems with a border, with the inertia.

The Hessian of a closed path couples node k to its neighbours on a circle of N nodes. Folded at node 0, the circle is a
chain of pairs,

    (0, -), (1, N-1), (2, N-2), ..., ending in (N/2, -) or ((N-1)/2, (N+1)/2),

in which neighbours stand in neighbouring pairs: block-tridiagonal with blocks twice as large. Where a pair has one
node only, a pivot of its own fills the place. Pair after pair is eliminated, S_{k+1} = D_{k+1} - U_k^T S_k^-1 U_k;
where one of the S_k is nearly singular, as a conjugate point on the way makes it, what follows grows, and
:mod:`.elimination` is used, which exchanges pivots across pairs.

A border holds what is global: the period as an unknown, the multipliers of phase conditions,

    [H    V] [x]   [r]
    [V^T  K] [y] = [s].

H itself has a kernel there (the time shift), so it is made regular by a stiffness e on a few coordinates, H + e e^T,
which a further unknown takes away again; the small Schur complement of the border is dense. By Haynsworth's
law the numbers of negative eigenvalues add.

Source: E. V. Haynsworth, Linear Algebra Appl. 1 (1968) 73-81 (inertia of Schur complements).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from .twopoint_search import elimination_module

GROWTH = 1e6  # of entries while pairs are eliminated; refinement mends what that costs


class Cyclic:
    """Factors of bordered cyclic matrices of N nodes with d coordinates."""

    def __init__(self, nodes: int, size: int) -> None:
        self.nodes, self.size = nodes, size
        k = np.arange(nodes)
        self.pair = np.minimum(k, nodes - k)
        self.slot = (k > nodes - k).astype(int)
        self.pairs = nodes//2 + 1

    def fold(self, diagonal: ndarray, upper: ndarray) -> tuple[ndarray, ndarray]:
        """Blocks (N, d, d) of a circle, upper[k] between nodes k and k + 1 mod N, as those of the chain of pairs."""
        d, pair, slot = self.size, self.pair, self.slot

        def add(blocks: ndarray, chosen: ndarray, first: ndarray, second: ndarray, values: ndarray) -> None:
            places: Any = pair[first[chosen]], slot[first[chosen]], slice(None), slot[second[chosen]]
            np.add.at(blocks, places, values[chosen])

        D = np.zeros((self.pairs, 2, d, 2, d), diagonal.dtype)
        U = np.zeros((max(self.pairs - 1, 0), 2, d, 2, d), diagonal.dtype)
        D[pair, slot, :, slot] = diagonal
        a = np.arange(self.nodes)
        b = (a + 1) % self.nodes
        same, forth, back = pair[a] == pair[b], pair[a] < pair[b], pair[a] > pair[b]
        flipped = upper.swapaxes(1, 2)
        add(D, same, a, b, upper)
        add(D, same, b, a, flipped)
        add(U, forth, a, b, upper)
        add(U, back, b, a, flipped)
        alone = [0, self.pairs - 1] if self.nodes % 2 == 0 else [0]
        for j in alone:
            D[j, 1, :, 1] = max(float(np.abs(diagonal).max()), 1e-300)*np.eye(d)
        return D.reshape(self.pairs, 2*d, 2*d), U.reshape(-1, 2*d, 2*d)

    def factorise(
        self, diagonal: ndarray, upper: ndarray, border: ndarray, corner: ndarray, stiff: ndarray
    ) -> tuple[int, float]:
        """Eliminate; the number of negative eigenvalues and about the smallest pivot over the largest entry.

        ``border`` is (N, d, m), ``corner`` (m, m); ``stiff`` (N, d) marks coordinates with ones that make H regular.
        """
        self.diagonal, self.upper, self.border, self.corner = diagonal, upper, border, corner
        held, self.extra = np.argwhere(stiff), int(np.count_nonzero(stiff))
        strength = max(float(np.abs(diagonal).max()), 1e-300)
        shifted = diagonal.copy()
        shifted[held[:, 0], held[:, 1], held[:, 1]] += strength
        self.blocks = self.fold(shifted, upper)
        negative, smallest = self._eliminate()
        m, extra = border.shape[2], self.extra
        self.wide = np.zeros((*diagonal.shape[:2], extra + m), diagonal.dtype)
        self.wide[held[:, 0], held[:, 1], np.arange(extra)] = 1.0
        self.wide[..., extra:] = border
        if extra + m and smallest > 0.0:
            self.answer = self._plain(self.wide)
            small = -np.einsum("kia,kib->ab", self.wide, self.answer)
            small[:extra, :extra] += np.eye(extra)/strength
            small[extra:, extra:] += corner
            self.small = small
            if not np.isfinite(small).all():
                return negative, 0.0
            if not np.iscomplexobj(small):
                scale = np.sqrt(np.maximum(np.abs(np.diag(small)), 1e-300))
                negative += int((np.linalg.eigvalsh(0.5*(small + small.T)/scale/scale[:, None]) < 0).sum())
        return negative, smallest

    def _eliminate(self) -> tuple[int, float]:
        """Eliminate the shifted H; negative eigenvalues, and about the smallest pivot over the largest entry."""
        D, U = self.blocks
        self.inverses: ndarray | None = np.empty_like(D)
        S = D.copy()
        with np.errstate(all="ignore"):
            try:
                for k in range(len(S)):
                    self.inverses[k] = np.linalg.inv(S[k])
                    if k < len(U):
                        S[k + 1] -= U[k].T @ self.inverses[k] @ U[k]
            except np.linalg.LinAlgError:
                S[:] = np.inf
            if np.abs(S).max() <= GROWTH*np.abs(D).max():
                smallest = 1.0/float(np.abs(self.inverses).max()*np.abs(D).max())
                return 0 if np.iscomplexobj(S) else int((np.linalg.eigvalsh(S) < 0).sum()), smallest
            self.inverses, self.module = None, elimination_module()
            self.factor = self.module.new_elimination(*D.shape[:2], D)
            return self.module.eliminate(D, U, self.factor)

    def _substitute(self, right: ndarray) -> ndarray:
        """Solve with the factors of the shifted H for columns (pairs, 2d, columns)."""
        U, x = self.blocks[1], right.copy()
        if self.inverses is None:
            for j in range(x.shape[2]):
                column = np.ascontiguousarray(x[..., j])
                self.module.substitute(self.factor, column)
                x[..., j] = column
            return x
        for k in range(len(U)):
            x[k + 1] -= U[k].T @ (self.inverses[k] @ x[k])
        for k in range(len(x) - 1, -1, -1):
            x[k] = self.inverses[k] @ (x[k] - U[k] @ x[k + 1] if k < len(U) else x[k])
        return x

    def _plain(self, right: ndarray) -> ndarray:
        """The shifted H alone, for columns (N, d, columns), with one step of refinement."""
        D, U = self.blocks
        r = np.zeros((self.pairs, 2, self.size, right.shape[2]), right.dtype)
        r[self.pair, self.slot] = right
        r = r.reshape(self.pairs, 2*self.size, -1)
        x = self._substitute(r)
        rest = r - D @ x
        rest[:-1] -= U @ x[1:]
        rest[1:] -= U.swapaxes(1, 2) @ x[:-1]
        x += self._substitute(rest)
        return x.reshape(self.pairs, 2, self.size, -1)[self.pair, self.slot]

    def times(self, x: ndarray, y: ndarray) -> tuple[ndarray, ndarray]:
        """The bordered matrix times (x, y)."""
        out = np.einsum("kij,kj->ki", self.diagonal, x)
        out += np.einsum("kij,kj->ki", self.upper, np.roll(x, -1, 0))
        out += np.roll(np.einsum("kji,kj->ki", self.upper, x), 1, 0)
        out += self.border @ y
        return out, np.einsum("kia,ki->a", self.border, x) + self.corner @ y

    def solve(self, right: ndarray, below: ndarray) -> tuple[ndarray, ndarray]:
        """x (N, d) and y (m,) for right-hand sides r and s, with one step of refinement."""
        dtype = self.diagonal.dtype
        right, below = right.astype(dtype), below.astype(dtype)
        x, y = self._once(right, below)
        if not len(y):
            return x, y
        r, s = self.times(x, y)
        dx, dy = self._once(right - r, below - s)
        return x + dx, y + dy

    def _once(self, right: ndarray, below: ndarray) -> tuple[ndarray, ndarray]:
        x = self._plain(right[..., None])[..., 0]
        if not self.wide.shape[2]:
            return x, below
        s = -np.einsum("kia,ki->a", self.wide, x)
        s[self.extra :] += below
        y = np.linalg.solve(self.small, s)
        return x - self.answer @ y, y[self.extra :]

    def smallest_singular_value(self) -> float:
        """An estimate over the largest entry of H, by two rounds of inverse iteration."""
        k = np.arange(self.nodes*self.size).reshape(self.nodes, self.size)
        x = np.cos(1.0 + 12.9898*k*k).astype(self.diagonal.dtype)
        size = 0.0
        for _ in range(2):
            x = x/np.linalg.norm(x)
            x, _ = self.solve(x, np.zeros(self.border.shape[2]))
            size = float(np.linalg.norm(x))
            if not 0.0 < size < np.inf:
                return 0.0
        return 1.0/(size*max(float(np.abs(self.diagonal).max()), 1e-300))
