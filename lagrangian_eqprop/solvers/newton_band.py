"""Band elimination without exchanges: the fast way through a block-tridiagonal Hessian.

Node after node, row after row, H = L D L^T is formed where H stood. Row g = k d + i of node k has 2 d entries, one
after the other: its row of the diagonal block, of which only the upper triangle is read, and its row of the coupling to
the next node. H and the vectors have room for one node more than the path, so that the last row is like the others.

Nothing is exchanged, so a leading minor near zero (an interior node conjugate to the start, say) costs digits. Every
pivot is therefore weighed against the terms it was made of; where the smallest of these ratios is s, the factors belong
to a matrix that differs from H by about 1e-16/s of its size (Higham 2002, section 9.3). Who asks decides how small is
too small, and turns to ``elimination`` then, which exchanges. As many pivots are negative as eigenvalues (Sylvester).
Complex matrices are symmetric, not Hermitian; their pivots are counted by the sign of the real part.
"""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from ..compiler.kernel import entry


@entry
def modulus(value: complex) -> float:
    """|Re| + |Im|: a modulus without a square root."""
    return abs(value.real) + abs(value.imag)


@entry
def factorise_band(
    H: ndarray, shape: tuple, span: tuple, x: ndarray, reach: ndarray, made: ndarray
) -> tuple[int, float]:  # fmt: skip
    """L D L^T of the free nodes in place, pivots inverted; how many are negative, and the smallest relative one.

    ``span`` is (nodes, d, first free node, first node that is free no more). ``x``, flat over all nodes, becomes the
    solution of L x' = x. Where d is small, ``shape`` has d entries: then d is known when this is compiled, and loops
    are unrolled. ``reach`` (d,) and ``made`` (as long as x) are scratch: where a row's entries end, since the coupling
    of many methods is diagonal; and the sum of moduli of the terms that a pivot is made of.
    """
    small = len(shape) > 0
    d = len(shape) if small else span[1]
    negative, smallest = 0, np.inf
    for g in range(span[2]*d, span[2]*d + d):
        made[g] = modulus(H[g*2*d + g - span[2]*d])
    for k in range(span[2], span[3]):
        for j in range(2*d):
            g = k*d + j
            row = g*2*d - (d if j >= d else 0)  # H[row + c] is column c, counted from this node's first
            end = 2*d
            above = d if j >= d else j
            if j < d:
                terms = made[g]
                for column in range(d, 2*d):
                    terms += modulus(H[row + column])
                while not small and end > d and H[row + end - 1] == 0.0:
                    end -= 1
            else:
                terms = modulus(H[row + j])
            i = 0
            while i + 4 <= above:  # four rows at a time: one load and store of row j serves them all
                n = k*d + i
                a, last = n*2*d, 2*d
                if not small:
                    last = max(reach[i], reach[i + 1], reach[i + 2], reach[i + 3])
                if last > j:
                    one, two = H[a + j]*H[a + i], H[a + 2*d + j]*H[a + 2*d + i + 1]
                    three, four = H[a + 4*d + j]*H[a + 4*d + i + 2], H[a + 6*d + j]*H[a + 6*d + i + 3]
                    terms += modulus(one*H[a + j]) + modulus(two*H[a + 2*d + j])
                    terms += modulus(three*H[a + 4*d + j]) + modulus(four*H[a + 6*d + j])
                    x[g] -= one*x[n] + two*x[n + 1] + three*x[n + 2] + four*x[n + 3]
                    # unsigned: an index that may be negative keeps a loop from being vectorised
                    here, A, B = np.uint64(row), np.uint64(a), np.uint64(a + 2*d)
                    C, D = np.uint64(a + 4*d), np.uint64(a + 6*d)
                    for column in range(j, last):
                        c = np.uint64(column)
                        H[here + c] -= one*H[A + c] + two*H[B + c] + three*H[C + c] + four*H[D + c]
                    end = last if last > end else end
                i += 4
            while i < above:
                n = k*d + i
                a, last = n*2*d, 2*d
                if not small:
                    last = reach[i]
                if last > j:
                    one = H[a + j]*H[a + i]
                    terms += modulus(one*H[a + j])
                    x[g] -= one*x[n]
                    here, A = np.uint64(row), np.uint64(a)
                    for column in range(j, last):
                        c = np.uint64(column)
                        H[here + c] -= one*H[A + c]
                    end = last if last > end else end
                i += 1
            made[g] = terms
            if j < d:
                reach[j] = end
                pivot = H[row + j]
                H[row + j] = 1.0/pivot
                negative += 1 if pivot.real < 0.0 else 0
                relative = modulus(pivot)/terms
                if not relative >= smallest:
                    smallest = relative
    return negative, smallest


@entry
def forward_band(H: ndarray, shape: tuple, span: tuple, x: ndarray) -> None:
    """What :func:`factorise_band` does to x, once more."""
    d = len(shape) if len(shape) > 0 else span[1]
    for k in range(span[2], span[3]):
        for i in range(d):
            g = k*d + i
            y = x[g]*H[g*2*d + i]
            row, here = np.uint64(g*2*d), np.uint64(k*d)
            for column in range(i + 1, 2*d):
                c = np.uint64(column)
                x[here + c] -= H[row + c]*y


@entry
def backward_band(H: ndarray, shape: tuple, span: tuple, x: ndarray) -> None:
    """D L^T x' = x in place; x' is zero at nodes that are not free."""
    d = len(shape) if len(shape) > 0 else span[1]
    for g in range(span[2]*d):
        x[g] = 0.0
    for g in range(span[3]*d, x.shape[0]):
        x[g] = 0.0
    for k in range(span[3] - 1, span[2] - 1, -1):
        for i in range(d - 1, -1, -1):
            g = k*d + i
            y = x[g]
            row, here = np.uint64(g*2*d), np.uint64(k*d)
            for column in range(i + 1, 2*d):
                c = np.uint64(column)
                y -= H[row + c]*x[here + c]
            x[g] = y*H[g*2*d + i]


@entry
def subtract_band(H: ndarray, span: tuple, x: ndarray, r: ndarray) -> None:
    """r -= H x over all nodes, H not factorised."""
    nodes, d = span[0], span[1]
    for g in range(nodes*d):
        i = g % d
        row, here = np.uint64(g*2*d), np.uint64(g - i)
        value, total = x[g], H[g*2*d + i]*x[g]
        for column in range(i + 1, 2*d):
            c = np.uint64(column)
            total += H[row + c]*x[here + c]
            r[here + c] -= H[row + c]*value
        r[g] -= total


@entry
def measure(x: ndarray, span: tuple) -> tuple[float, float]:
    """The largest modulus among the free nodes, and the sum of squares, which is not finite where one is not."""
    most, total = 0.0, 0.0
    for g in range(span[2]*span[1], span[3]*span[1]):
        size = modulus(x[g])
        total += size*size
        if size > most:
            most = size
    return most, total


@entry
def alternates(x: ndarray, span: tuple, pace: ndarray) -> bool:
    """Whether a path jumps from node to node, an artefact of the grid: velocities change by twice their size.

    ``pace`` is one over the steps, in any unit, and begins anew at its end.
    """
    d, s, first, second = span[1], pace.shape[0], 0.0, 0.0
    for g in range(d, span[0]*d):
        k = g//d
        velocity = (x[g] - x[g - d])*pace[(k - 1) % s]
        change = modulus(velocity)
        first += change*change
        if k >= 2:
            change = modulus(velocity - (x[g - d] - x[g - 2*d])*pace[(k - 2) % s])
            second += change*change
    return span[0] > 4 and second > 3.2*first
