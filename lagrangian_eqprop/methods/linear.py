"""Small linear algebra in compiled code: Newton's matrix, dense or on a fixed sparse pattern.

Dense matrices are factorised by Gaussian elimination with row exchanges. A sparse one is factorised in
place on a pattern that already holds its fill (see ``sparsity``), in the order given there and without
exchanges: the symmetric part of Newton's matrix is the mass matrix up to O(h^2), so for a positive mass its
pivots stay away from zero (Golub and Van Loan 1979). A pivot that vanishes all the same gives inf, which
Newton reports.
"""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from ..compiler.contract import Environment
from ..compiler.kernel import kernel


@kernel
def factorise_matrix(env: Environment, A: ndarray, exchanges: ndarray, d: int) -> None:
    """LU in place, A flat: dense row by row, or on the sparse pattern."""
    if env.table[2] > 0:
        factorise_sparse(env.table[env.table[2] :], A)
    else:
        factorise_dense(A, exchanges, d)


@kernel
def solve_matrix(env: Environment, A: ndarray, exchanges: ndarray, x: ndarray) -> None:
    """Solve in place with the factors of :func:`factorise_matrix`."""
    if env.table[2] > 0:
        solve_sparse(env.table[env.table[2] :], A, x)
    else:
        solve_dense(A, exchanges, x)


@kernel
def solve_transposed(env: Environment, A: ndarray, exchanges: ndarray, x: ndarray) -> None:
    """Solve with the transposed matrix in place, by the factors of :func:`factorise_matrix`."""
    if env.table[2] > 0:
        solve_sparse_transposed(env.table[env.table[2] :], A, x)
    else:
        solve_dense_transposed(A, exchanges, x)


@kernel
def factorise_dense(A: ndarray, exchanges: ndarray, d: int) -> None:
    """Gaussian elimination with partial pivoting."""
    for k in range(d):
        best = k
        for i in range(k + 1, d):
            if abs(A[i*d + k]) > abs(A[best*d + k]):
                best = i
        exchanges[k] = best
        if best != k:
            for j in range(d):
                A[k*d + j], A[best*d + j] = A[best*d + j], A[k*d + j]
        for i in range(k + 1, d):
            A[i*d + k] /= A[k*d + k]
            for j in range(k + 1, d):
                A[i*d + j] -= A[i*d + k]*A[k*d + j]


@kernel
def solve_dense(A: ndarray, exchanges: ndarray, x: ndarray) -> None:
    """Forward and back substitution."""
    d = x.shape[0]
    for k in range(d):
        x[k], x[exchanges[k]] = x[exchanges[k]], x[k]
    for i in range(d):
        for j in range(i):
            x[i] -= A[i*d + j]*x[j]
    for i in range(d - 1, -1, -1):
        for j in range(i + 1, d):
            x[i] -= A[i*d + j]*x[j]
        x[i] /= A[i*d + i]


@kernel
def solve_dense_transposed(A: ndarray, exchanges: ndarray, x: ndarray) -> None:
    """A^T = U^T L^T P: forward and back substitution, then the exchanges undone."""
    d = x.shape[0]
    for i in range(d):
        for j in range(i):
            x[i] -= A[j*d + i]*x[j]
        x[i] /= A[i*d + i]
    for i in range(d - 1, -1, -1):
        for j in range(i + 1, d):
            x[i] -= A[j*d + i]*x[j]
    for k in range(d - 1, -1, -1):
        x[k], x[exchanges[k]] = x[exchanges[k]], x[k]


@kernel
def factorise_sparse(pattern: ndarray, A: ndarray) -> None:
    """Row by row: each row is reduced by the rows above that it refers to; the pattern holds all fill."""
    n, entries = pattern[0], pattern[1]
    ends = pattern[2 : n + 3]
    columns = pattern[n + 3 : n + 3 + entries]
    where = np.empty(n, np.int64)
    diagonal = np.empty(n, np.int64)
    for i in range(n):
        for k in range(ends[i], ends[i + 1]):
            where[columns[k]] = k
        for k in range(ends[i], ends[i + 1]):
            row = columns[k]
            if row >= i:
                diagonal[i] = k
                break
            A[k] /= A[diagonal[row]]
            for m in range(diagonal[row] + 1, ends[row + 1]):
                A[where[columns[m]]] -= A[k]*A[m]
        for k in range(ends[i], ends[i + 1]):
            where[columns[k]] = -1


@kernel
def solve_sparse(pattern: ndarray, A: ndarray, x: ndarray) -> None:
    """Forward and back substitution in the order of elimination."""
    n, entries = pattern[0], pattern[1]
    ends = pattern[2 : n + 3]
    columns = pattern[n + 3 : n + 3 + entries]
    order = pattern[n + 3 + entries :]
    y = np.empty_like(x)
    for i in range(n):
        y[i] = x[order[i]]
    for i in range(n):
        for k in range(ends[i], ends[i + 1]):
            if columns[k] >= i:
                break
            y[i] -= A[k]*y[columns[k]]
    for i in range(n - 1, -1, -1):
        k = ends[i + 1] - 1
        while columns[k] > i:
            y[i] -= A[k]*y[columns[k]]
            k -= 1
        y[i] /= A[k]
    for i in range(n):
        x[order[i]] = y[i]


@kernel
def solve_sparse_transposed(pattern: ndarray, A: ndarray, x: ndarray) -> None:
    """The same with A^T = U^T L^T, row by row of the factors."""
    n, entries = pattern[0], pattern[1]
    ends = pattern[2 : n + 3]
    columns = pattern[n + 3 : n + 3 + entries]
    order = pattern[n + 3 + entries :]
    y = np.empty_like(x)
    for i in range(n):
        y[i] = x[order[i]]
    for i in range(n):
        for k in range(ends[i], ends[i + 1]):
            if columns[k] == i:
                y[i] /= A[k]
            elif columns[k] > i:
                y[columns[k]] -= A[k]*y[i]
    for i in range(n - 1, -1, -1):
        for k in range(ends[i], ends[i + 1]):
            if columns[k] < i:
                y[columns[k]] -= A[k]*y[i]
    for i in range(n):
        x[order[i]] = y[i]
