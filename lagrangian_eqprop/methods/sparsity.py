"""The pattern of Newton's matrix of a network, with the fill of its elimination, found once.

Coordinates are renumbered by reverse Cuthill-McKee, which keeps neighbours close; the fill follows from
the elimination tree (George and Liu 1981, chapter 5).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..symbols.terms import Places

DENSE_UP_TO = 64
_FULL = 0.25  # above this share of entries, dense elimination is the faster one


def sparse_pattern(terms: Sequence[Places], size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pattern, slots of the terms' local entries, and each term's offset in the slots.

    Parameters
    ----------
    terms : sequence of Places
        The places of the system's terms.
    size : int
        Number of coordinates.

    Returns
    -------
    pattern, slots, offsets : ndarray of int
        All empty where a dense matrix serves better. ``pattern`` is n, entries, row ends (n + 1), columns
        (entries) and the order (n), flat; columns are numbered in that order.
    """
    nothing = np.zeros(0, np.int64)
    pairs = sum(term.count*term.size**2 for term in terms)
    if size <= DENSE_UP_TO or pairs > _FULL*size**2:
        return nothing, nothing, np.zeros(len(terms), np.int64)
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import reverse_cuthill_mckee

    rows, columns = [np.arange(size)], [np.arange(size)]
    for term in terms:
        table = term.rows_of_coordinates()
        for a in range(term.size):
            for b in range(term.size):
                rows.append(table[:, a])
                columns.append(table[:, b])
    row, column = np.concatenate(rows), np.concatenate(columns)
    graph = coo_array((np.ones(len(row), np.int8), (row, column)), shape=(size, size)).tocsr()
    order = reverse_cuthill_mckee(graph, symmetric_mode=True).astype(np.int64)
    position = np.empty(size, np.int64)
    position[order] = np.arange(size)
    lower = _filled(position[row], position[column], size)
    if sum(map(len, lower)) > _FULL*size**2:
        return nothing, nothing, np.zeros(len(terms), np.int64)

    i = np.concatenate([np.full(len(below), column) for column, below in enumerate(lower)])
    j = np.concatenate([np.fromiter(below, np.int64, len(below)) for below in lower])
    keys = np.unique(np.concatenate([i*size + j, j*size + i, np.arange(size)*(size + 1)]))
    ends = np.searchsorted(keys, np.arange(size + 1)*size)
    pattern = np.concatenate([[size, len(keys)], ends, keys % size, order]).astype(np.int64)

    slots, offsets, offset = [], [], 0
    for term in terms:
        table, places = position[term.rows_of_coordinates()], term.places()
        entry = np.zeros((term.count, term.size, term.size), np.int64)
        entry[places] = np.searchsorted(keys, table[:, :, None]*size + table[:, None, :])
        slots.append(entry.ravel())
        offsets.append(offset)
        offset += entry.size
    return pattern, np.concatenate(slots), np.array(offsets, np.int64)


def _filled(row: np.ndarray, column: np.ndarray, size: int) -> list[set[int]]:
    """For each column of the factor, the rows below its diagonal: its own and those of its children."""
    lower: list[set[int]] = [set() for _ in range(size)]
    for i, j in zip(row.tolist(), column.tolist(), strict=True):
        if i > j:
            lower[j].add(i)
    for below in lower:
        if below:
            parent = min(below)
            lower[parent] |= below - {parent}
    return lower
