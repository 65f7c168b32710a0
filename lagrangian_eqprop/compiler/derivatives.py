"""Stage 1, derivatives: reverse mode on the expression graph.

One sweep from an expression down to its symbols gives the derivative with respect to all of them, at a
cost proportional to the expression. A second derivative contracted with a direction is the sweep applied
to the directional derivative, which gives the Hessian-vector product and the mixed derivatives with
respect to all parameters together (the local quantity that the learning rule reads).
"""

from __future__ import annotations

from collections.abc import Sequence

from ..symbols.graph import Graph, Node

_SMOOTH = {
    "sin": lambda g, x, f: g.call("cos", x),
    "cos": lambda g, x, f: g.sum([(g.call("sin", x), -1)]),
    "tan": lambda g, x, f: g.sum([(g.product([(f, 2)]), 1)], 1),
    "exp": lambda g, x, f: f,
    "log": lambda g, x, f: g.product([(x, -1)]),
    "sinh": lambda g, x, f: g.call("cosh", x),
    "cosh": lambda g, x, f: g.call("sinh", x),
    "tanh": lambda g, x, f: g.sum([(g.product([(f, 2)]), -1)], 1),
    "arcsin": lambda g, x, f: _root(g, x, -1, 1, -1),
    "arccos": lambda g, x, f: g.sum([(_root(g, x, -1, 1, -1), -1)]),
    "arctan": lambda g, x, f: g.product([(g.sum([(g.product([(x, 2)]), 1)], 1), -1)]),
    "arcsinh": lambda g, x, f: _root(g, x, 1, 1, -1),
    "arccosh": lambda g, x, f: _root(g, x, 1, -1, -1),
    "arctanh": lambda g, x, f: g.product([(g.sum([(g.product([(x, 2)]), -1)], 1), -1)]),
    "magnitude": lambda g, x, f: g.call("sign", x),
}
_FLAT = frozenset("sign floor ceil heaviside larger less less_equal equal both either negation".split())


def _root(graph: Graph, x: Node, square: int, constant: int, sign: int) -> Node:
    """(constant + square*x**2)**(sign/2)."""
    return graph.product([(graph.sum([(graph.product([(x, 2)]), square)], constant), sign / 2)])


def gradient(graph: Graph, root: Node, symbols: Sequence[Node]) -> list[Node]:
    """The derivatives of one expression with respect to several symbols.

    Parameters
    ----------
    graph : Graph
        Where the expression lives; the derivatives are added to it.
    root : Node
        The expression.
    symbols : sequence of Node
        Symbol nodes.

    Returns
    -------
    list of Node
        One derivative a symbol. Where a function jumps or has a kink, the derivative beside it is taken.
    """
    order = graph.reachable([root])
    wanted = set(symbols)
    active: set[Node] = set()
    for node in order:
        if node in wanted or any(inner in active for inner in graph.arguments(node)):
            active.add(node)
    shares: dict[Node, list[Node]] = {root: [graph.one]}
    result: dict[Node, Node] = {}
    for node in reversed(order):
        if node not in active or node not in shares:
            continue
        weight = graph.sum([(share, 1) for share in shares.pop(node)])
        if node in wanted:
            result[node] = weight
        for inner, share in _parts(graph, node, weight, symbols):
            if inner in active:
                shares.setdefault(inner, []).append(share)
    return [result.get(symbol, graph.zero) for symbol in symbols]


def _parts(graph: Graph, node: Node, weight: Node, symbols: Sequence[Node]) -> list[tuple[Node, Node]]:
    """What each argument of a node receives of the node's weight."""
    head = graph.nodes[node]
    kind = head[0]
    if kind in ("number", "symbol") or kind in _FLAT:
        return []
    if kind == "sum":
        return [(inner, graph.sum([(weight, coefficient)])) for inner, coefficient in head[2]]
    if kind == "product":
        parts = []
        for position, (inner, exponent) in enumerate(head[1]):
            others = head[1][:position] + head[1][position + 1 :]
            rest = graph.product([(weight, 1), *others, (inner, exponent - 1)])
            parts.append((inner, graph.sum([(rest, exponent)])))
        return parts
    if kind == "power":
        base, exponent = head[1:]
        lower = graph.sum([(exponent, 1)], -1)
        return [
            (base, graph.times(weight, exponent, graph.power(base, lower))),
            (exponent, graph.times(weight, node, graph.call("log", base))),
        ]
    if kind in _SMOOTH:
        return [(head[1], graph.times(weight, _SMOOTH[kind](graph, head[1], node)))]
    if kind == "logsumexp":  # its value is head[1]; the weights of the softmax never overflow
        softmax = [(a, graph.call("exp", graph.sum([(a, 1), (node, -1)]))) for a in head[2:]]
        return [(a, graph.times(weight, share)) for a, share in softmax]
    if kind in ("maximum", "minimum"):
        x, y = head[1:]
        first = graph.call("heaviside", graph.sum([(x, 1), (y, -1)] if kind == "maximum" else [(y, 1), (x, -1)]))
        return [(x, graph.times(weight, first)), (y, graph.times(weight, graph.sum([(first, -1)], 1)))]
    if kind == "arctan2":
        y, x = head[1:]
        radius = graph.sum([(graph.product([(x, 2)]), 1), (graph.product([(y, 2)]), 1)])
        return [
            (y, graph.product([(weight, 1), (x, 1), (radius, -1)])),
            (x, graph.sum([(graph.product([(weight, 1), (y, 1), (radius, -1)]), -1)])),
        ]
    # A branch that was not taken may have an infinite derivative: choose after differentiating, not before.
    condition, yes, no = head[1:]
    pairs = zip(symbols, gradient(graph, yes, symbols), gradient(graph, no, symbols), strict=True)
    return [(s, graph.times(weight, graph.call("select", condition, a, b))) for s, a, b in pairs]


def directional(graph: Graph, partials: Sequence[Node], direction: Sequence[Node]) -> Node:
    """Sum of partial derivative times direction."""
    return graph.sum([(graph.times(part, along), 1) for part, along in zip(partials, direction, strict=True)])
