"""Values of expressions on numpy arrays: the graph walked once, every operation on whole arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .graph import Graph, Node

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "magnitude": np.abs, "heaviside": lambda x: np.heaviside(x, 0.5), "larger": np.maximum, "less": np.less,
    "less_equal": np.less_equal, "equal": np.equal, "both": np.logical_and, "either": np.logical_or,
    "negation": np.logical_not, "select": np.where,
}  # fmt: skip


def evaluate(graph: Graph, roots: Sequence[Node], leaves: Mapping[tuple[str, int], ArrayLike]) -> list[np.ndarray]:
    """The values of expressions whose symbols, by kind and index, stand for real arrays that broadcast.

    Returns
    -------
    list of ndarray
        One array a root, of whatever shape its own symbols broadcast to.
    """
    values: dict[Node, Any] = {}
    orders: dict[tuple[Node, ...], list[Node]] = graph.__dict__.setdefault("_orders", {})
    key = tuple(roots)
    if key not in orders:  # the same expressions are asked for in every call
        orders[key] = graph.reachable(roots)
    with np.errstate(all="ignore"):
        for node in orders[key]:
            head = graph.nodes[node]
            kind = head[0]
            if kind == "number":
                values[node] = float(head[1])
            elif kind == "symbol":
                values[node] = np.asarray(leaves[head[1], head[2]])
            elif kind == "sum":
                total: Any = float(head[1])
                for inner, coefficient in head[2]:
                    total = total + (values[inner] if coefficient == 1 else float(coefficient)*values[inner])
                values[node] = total
            elif kind == "product":
                values[node] = _product([(values[inner], exponent) for inner, exponent in head[1]])
            elif kind == "power":
                values[node] = np.power(values[head[1]], values[head[2]])
            elif kind == "logsumexp":
                values[node] = values[head[1]]
            else:
                function = _FUNCTIONS.get(kind) or getattr(np, kind)
                values[node] = function(*(values[inner] for inner in head[1:]))
    return [np.asarray(values[root]) for root in roots]


def _product(factors: Sequence[tuple[Any, Any]]) -> Any:
    result: Any = 1.0
    for value, exponent in factors:
        if exponent == 1:
            power = value
        elif isinstance(exponent, int) and 2 <= exponent <= 4:  # numpy's power is slow
            power = value*value if exponent == 2 else value*value*value if exponent == 3 else (value*value)**2
        else:
            power = np.power(value, float(exponent))
        result = result*power
    return result
