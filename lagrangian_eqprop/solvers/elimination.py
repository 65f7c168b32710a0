"""Direct solution of symmetric indefinite block-tridiagonal systems, with the inertia.

The Hessian H of a discrete action couples node k to its neighbours only: diagonal blocks (n, d, d), upper
blocks (n - 1, d, d) with H[k, k+1] = upper[k] and H[k+1, k] = upper[k]^T. Eliminating node after node,

    S_{k+1} = D_{k+1} - U_k^T S_k^{-1} U_k,

divides by a leading principal submatrix. That one is singular wherever an interior node is conjugate to
the start (an oscillator half a period on, say) although H itself is regular: an action is a saddle, and
nothing keeps its leading minors from zero. Scaling does not help; pivots must cross the block boundary.

The multifrontal idea does that along the chain. A dense symmetric *front* holds the variables not yet
eliminated up to node k, then those of node k + 1. The former are *fully summed* (nothing more will be added
to their rows), so any of them may be a pivot: alone if |P^-1| g <= 1/u, where g is the largest entry of its
column outside the pivot; else with its largest fully summed neighbour, as a 2x2 block P, if
|P^-1| (g_1, g_2)^T <= 1/u componentwise (u = 0.1). So no multiplier exceeds 1/u. What passes neither test waits
in the next front, whose node k + 1 brings the partner. At the last node everything is fully summed, and
then a passing pivot exists unless the rest is zero: the argument of Bunch and Parlett for the largest entry.

Delays are bounded: if the waiting t x t block were exactly zero, its t rows would live on the d columns of the
next node, so t <= d or H is singular. Unequal scales may let more wait, hence room for 2d (a front of 4d); beyond
that the best pivot at hand is taken, test or no test, and iterative refinement is left to mend it.

By Sylvester's law, H = L D L^T has as many negative eigenvalues as D, its pivots: the Morse index comes for free.
Complex matrices are symmetric, not Hermitian (nothing is conjugated), so that analytic continuation stays analytic.

Sources: I. S. Duff, J. K. Reid, The multifrontal solution of indefinite sparse symmetric linear equations,
ACM TOMS 9 (1983) 302-325; I. S. Duff, MA57, ACM TOMS 30 (2004) 118-144 (the 2x2 test); J. R. Bunch, L. Kaufman, Some
stable methods for calculating inertia and solving symmetric linear systems, Math. Comp. 31 (1977) 163-179.
"""

from __future__ import annotations

import numpy as np

from ..compiler.kernel import entry, kernel


def elimination_bytes(nodes: int, size: int, itemsize: int) -> int:
    """Memory of ``new_elimination(nodes, size, like)`` in bytes; ``itemsize`` is that of one number (8 or 16)."""
    capacity, total = min(4, nodes) * size, nodes * size
    numbers = capacity * capacity + total * capacity + 2 * total + total + capacity
    integers = total + nodes * capacity + 2 * nodes
    return itemsize * numbers + 8 * (integers + capacity)


@entry
def new_elimination(nodes: int, size: int, like: np.ndarray) -> tuple:
    """Room for one elimination of ``nodes`` blocks of order ``size``; only ``like.dtype`` matters."""
    capacity, total = min(4, nodes) * size, nodes * size
    front = np.empty((capacity, capacity), like.dtype)
    columns = np.empty(total * capacity, like.dtype)  # per node: rows of the front times pivots, packed
    inverses = np.empty((total, 2), like.dtype)  # 1x1: (P^-1, -); 2x2: (P^-1_11, P^-1_12), (P^-1_22, -)
    orders = np.empty(total, np.int64)  # 1 or 2 at the first variable of each pivot
    places = np.empty((nodes, capacity), np.int64)  # the variables of each front, pivots first
    stages = np.empty((nodes, 2), np.int64)  # per node: variables eliminated, width of the front
    scale = np.empty(capacity)  # per row of the front: the largest term its entries were made of
    flat = np.empty(total, like.dtype)
    local = np.empty(capacity, like.dtype)
    for k in range(nodes):
        stages[k, 0], stages[k, 1] = 0, 0
    return front, columns, inverses, orders, places, stages, scale, flat, local


@kernel
def entry_size(value: complex) -> float:
    """|Re| + |Im|: a modulus without a square root."""
    return abs(value.real) + abs(value.imag)


@kernel
def choose_pivot(front: np.ndarray, first: int, summed: int, width: int, enough: float) -> tuple[int, int, float]:
    """A pivot among rows first..summed-1: (row, partner, quality), partner == row for a 1x1 pivot.

    quality = 1 / (1 + largest multiplier), 0 if there is no pivot at all. The first that reaches ``enough``
    is taken, otherwise the best one is returned and the caller decides.
    """
    row, partner, best = first, first, 0.0
    for j in range(first, summed):
        mate, near, far = j, 0.0, 0.0
        for i in range(first, width):
            entry = entry_size(front[j, i])
            if i != j and entry > far:
                far = entry
            if i != j and i < summed and entry > near:
                mate, near = i, entry
        pivot = entry_size(front[j, j])
        if pivot > 0.0 and pivot / (pivot + far) > best:
            row, partner, best = j, j, pivot / (pivot + far)
        if best < enough and mate != j:
            # P^-1 = [[b/c, -1], [-1, a/c]] / (ab/c - c): no products of two entries, so no underflow
            c = front[j, mate]
            a, b = front[j, j] / c, front[mate, mate] / c
            reduced = entry_size(a * front[mate, mate] - c)
            one, two = 0.0, 0.0
            for i in range(first, width):
                if i != j and i != mate:
                    one = max(one, entry_size(front[j, i]))
                    two = max(two, entry_size(front[mate, i]))
            growth = max(entry_size(b) * one + two, one + entry_size(a) * two)
            if reduced > 0.0 and reduced / (reduced + growth) > best:
                row, partner, best = j, mate, reduced / (reduced + growth)
        if best >= enough:
            break
    return row, partner, best


@kernel
def swap_in_front(front: np.ndarray, place: np.ndarray, scale: np.ndarray, a: int, b: int, width: int) -> None:
    """Exchange variables a and b of the front, together with their multipliers (left of the active part)."""
    if a != b:
        place[a], place[b] = place[b], place[a]
        scale[a], scale[b] = scale[b], scale[a]
        for j in range(width):
            front[a, j], front[b, j] = front[b, j], front[a, j]
        for i in range(width):
            front[i, a], front[i, b] = front[i, b], front[i, a]


@entry
def eliminate(diagonal: np.ndarray, upper: np.ndarray, factor: tuple) -> tuple[int, float]:
    """Factorise H = L D L^T into ``factor``; return (number of negative pivots, smallest pivot).

    The smallest pivot is relative, min over pivots of 1 / (|P^-1| s) with s the largest terms its rows were made
    of: 0 means singular (or not finite), below about 1e-14 singular to rounding. Complex pivots are counted by
    the sign of their real part, which means something near the real axis only. Null pivots are left out.
    """
    front, columns, inverses, orders, places, stages, scale, _flat, _local = factor
    nodes, size = diagonal.shape[0], diagonal.shape[1]
    enough = 1.0 / 11.0  # multipliers up to 1 / u = 10
    negative, smallest = 0, np.inf
    delayed, done, stored = 0, 0, 0
    for i in range(size):
        places[0, i] = i
        scale[i] = 0.0
        for j in range(size):
            front[i, j] = 0.0
    for k in range(nodes):
        # assemble: the front holds the delayed variables and node k; the blocks of its row come in
        summed = delayed + size
        width = summed + size if k + 1 < nodes else summed
        place = places[k]
        for i in range(summed, width):
            place[i] = (k + 1) * size + i - summed
            scale[i] = 0.0
            for j in range(width):
                front[i, j] = 0.0
                front[j, i] = 0.0
        for i in range(size):
            here = delayed + i
            for j in range(size):
                front[here, delayed + j] += diagonal[k, i, j]
                scale[here] = max(scale[here], entry_size(diagonal[k, i, j]))
            for j in range(width - summed):
                entry = upper[k, i, j]
                front[here, summed + j] = entry
                front[summed + j, here] = entry
                scale[here] = max(scale[here], entry_size(entry))
                scale[summed + j] = max(scale[summed + j], entry_size(entry))
        # eliminate; the multipliers replace the pivot's columns, below it
        room = 2 * size if k + 1 < nodes else 0
        first = 0
        while first < summed:
            row, partner, quality = choose_pivot(front, first, summed, width, enough)
            if quality < enough and summed - first <= room:
                break
            if quality == 0.0:
                for i in range(first, width):
                    front[i, first] = 0.0
                inverses[done, 0] = 0.0
                orders[done] = 1
                smallest = 0.0
                first, done = first + 1, done + 1
                continue
            order = 1 if partner == row else 2
            swap_in_front(front, place, scale, first, row, width)
            if order == 1:
                pivot = front[first, first]
                inverse = 1.0 / pivot
                inverses[done, 0] = inverse
                risk = entry_size(inverse) * scale[first]
                negative += 1 if pivot.real < 0.0 else 0
                for i in range(first + 1, width):
                    entry = front[first, i]
                    multiplier = entry * inverse
                    front[i, first] = multiplier
                    if entry != 0.0:
                        scale[i] = max(scale[i], entry_size(multiplier * entry))
                        for j in range(first + 1, width):
                            front[i, j] -= multiplier * front[first, j]
            else:
                second = first + 1
                swap_in_front(front, place, scale, second, row if partner == first else partner, width)
                c = front[first, second]
                a, b = front[first, first] / c, front[second, second] / c
                reduced = a * front[second, second] - c  # det / c
                p, q, r = b / reduced, -1.0 / reduced, a / reduced
                inverses[done, 0], inverses[done, 1], inverses[done + 1, 0] = p, q, r
                risk = max(
                    entry_size(p) * scale[first] + entry_size(q) * scale[second],
                    entry_size(q) * scale[first] + entry_size(r) * scale[second],
                )
                if (reduced / c).real < 0.0:  # det / c^2: one of each sign
                    negative += 1
                elif (front[first, first] + front[second, second]).real < 0.0:
                    negative += 2
                front[second, first] = 0.0
                for i in range(second + 1, width):
                    one, two = front[first, i], front[second, i]
                    left, right = p * one + q * two, q * one + r * two
                    front[i, first], front[i, second] = left, right
                    if one != 0.0 or two != 0.0:
                        scale[i] = max(scale[i], entry_size(left * one) + entry_size(right * two))
                        for j in range(second + 1, width):
                            front[i, j] -= left * front[first, j] + right * front[second, j]
            orders[done] = order
            smallest = min(smallest, 1.0 / risk)
            first, done = first + order, done + order
        # keep the multipliers, move what remains to the head of the next front
        stages[k, 0], stages[k, 1] = first, width
        for i in range(width):
            for j in range(first):
                columns[stored + i * first + j] = front[i, j]
        stored += width * first
        for i in range(width - first):
            scale[i] = scale[first + i]
            places[k + 1, i] = place[first + i]
            for j in range(width - first):
                front[i, j] = front[first + i, first + j]
        delayed = summed - first
    return negative, smallest


@entry
def substitute(factor: tuple, right: np.ndarray) -> None:
    """Solve H x = right in place with the factor of :func:`eliminate`; ``right`` has shape (n, d)."""
    _front, columns, inverses, orders, places, stages, _scale, flat, local = factor
    nodes, size = right.shape
    for k in range(nodes):
        for i in range(size):
            flat[k * size + i] = right[k, i]
    stored, done = 0, 0
    for k in range(nodes):  # L D y = right
        count, width, place = stages[k, 0], stages[k, 1], places[k]
        for i in range(width):
            value = flat[place[i]]
            for j in range(min(i, count)):
                value -= columns[stored + i * count + j] * local[j]
            local[i] = value
            if i >= count:
                flat[place[i]] = value
        i = 0
        while i < count:
            if orders[done + i] == 1:
                flat[place[i]] = inverses[done + i, 0] * local[i]
                i += 1
            else:
                p, q, r = inverses[done + i, 0], inverses[done + i, 1], inverses[done + i + 1, 0]
                flat[place[i]] = p * local[i] + q * local[i + 1]
                flat[place[i + 1]] = q * local[i] + r * local[i + 1]
                i += 2
        stored, done = stored + count * width, done + count
    for k in range(nodes - 1, -1, -1):  # L^T x = y
        count, width, place = stages[k, 0], stages[k, 1], places[k]
        stored -= count * width
        for i in range(count):
            local[i] = flat[place[i]]
        for i in range(width - 1, -1, -1):
            value = local[i] if i < count else flat[place[i]]
            for j in range(min(i, count)):
                local[j] -= columns[stored + i * count + j] * value
        for i in range(count):
            flat[place[i]] = local[i]
    for k in range(nodes):
        for i in range(size):
            right[k, i] = flat[k * size + i]


@entry
def residual_of(diagonal: np.ndarray, upper: np.ndarray, x: np.ndarray, right: np.ndarray, out: np.ndarray) -> None:
    """out = right - H x, for iterative refinement; ``out`` may be ``right`` but not ``x``."""
    nodes, size = x.shape
    for k in range(nodes):
        for i in range(size):
            value = right[k, i]
            for j in range(size):
                value -= diagonal[k, i, j] * x[k, j]
                if k + 1 < nodes:
                    value -= upper[k, i, j] * x[k + 1, j]
                if k > 0:
                    value -= upper[k - 1, j, i] * x[k - 1, j]
            out[k, i] = value
