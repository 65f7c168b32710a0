"""Everything without a coordinate leaves the time loop.

Expressions of parameters and of the step alone become entries of a coefficient table, which compiled code
fills once a call; in the loop an entry is one operand of a multiplication. Sums are multiplied out where a
factor from the table would otherwise cost an operation of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from ..symbols.graph import Graph, Node, Number

Factors = list[tuple[Node, Number]]
STATIC = frozenset(["p", "h", "stride"])  # kinds of symbols that do not change while time passes


class Hoisting:
    """Rewrites expressions of one graph; ``coefficients`` are the nodes that the table holds.

    The symbol ("c", k) stands for entry k.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.coefficients: list[Node] = []
        self._entries: dict[Node, Node] = {}
        self._static: dict[Node, bool] = {}

    def rewrite(self, roots: Sequence[Node]) -> list[Node]:
        """The same expressions with coefficients in place of everything static."""
        order = self.graph.reachable(roots)
        self._mark(order)
        uses: Counter[Node] = Counter(roots)
        for node in order:
            uses.update(self.graph.arguments(node))
        new: dict[Node, Node] = {}
        for node in order:
            new[node] = self._entry(node) if self._static[node] else self._rewritten(node, new, uses)
        return [new[root] for root in roots]

    def split(self, roots: Sequence[Node]) -> list[tuple[Node, Node]]:
        """Each root as (static factor, rest), so that a sum over time need be scaled only once."""
        self._mark(self.graph.reachable(roots))
        return [self._split(root) for root in roots]

    def entry(self, node: Node) -> Node:
        """The symbol of a static node."""
        self._mark(self.graph.reachable([node]))
        return self._entry(node)

    def _mark(self, order: Iterable[Node]) -> None:
        for node in order:
            if node not in self._static:
                head = self.graph.nodes[node]
                if head[0] == "symbol":
                    self._static[node] = head[1] in STATIC
                else:
                    self._static[node] = all(self._static[inner] for inner in self.graph.arguments(node))

    def _entry(self, node: Node) -> Node:
        """A number as it is, anything else as a symbol of the table; a sign stays outside."""
        graph = self.graph
        if graph.value(node) is not None:
            return node
        head = graph.nodes[node]
        if head[0] == "sum" and head[1] == 0 and len(head[2]) == 1 and head[2][0][1] < 0:
            return graph.sum([(self._entry(graph.sum([(node, -1)])), -1)])
        if node not in self._entries:
            self._entries[node] = graph.symbol("c", len(self.coefficients))
            self.coefficients.append(node)
        return self._entries[node]

    def _rewritten(self, node: Node, new: dict[Node, Node], uses: Counter[Node]) -> Node:
        graph, head = self.graph, self.graph.nodes[node]
        if head[0] == "symbol":
            return node
        if head[0] == "sum":
            terms: list[Factors] = []
            still: list[tuple[Node, Number]] = []
            for factor, rest in self._products(head[2], graph.one, uses):
                if rest:
                    terms.append([(self._entry(factor), 1), *((new[x], e) for x, e in rest)])
                else:
                    still.append((factor, 1))
            constant = graph.sum(still, head[1])
            return graph.sum([(factored(graph, terms), 1), (self._entry(constant), 1)])
        if head[0] == "product":
            factor, rest = self._factor(head[1])
            return graph.times(self._entry(factor), graph.product([(new[x], e) for x, e in rest]))
        if head[0] == "power":
            return graph.power(new[head[1]], new[head[2]])
        if head[0] == "logsumexp":
            return graph.logsumexp([new[inner] for inner in head[2:]])
        return graph.call(head[0], *(new[inner] for inner in head[1:]))

    def _factor(self, factors: Sequence[tuple[Node, Number]]) -> tuple[Node, Factors]:
        """The static factors of a product as one node, and the others."""
        static = [(node, e) for node, e in factors if self._static[node]]
        return self.graph.product(static), [(node, e) for node, e in factors if not self._static[node]]

    def _products(
        self, terms: Iterable[tuple[Node, Number]], scale: Node, uses: Counter[Node]
    ) -> list[tuple[Node, Factors]]:
        """Terms of a sum as (static factor, others); a static factor times a sum used only here is multiplied out."""
        graph, found = self.graph, list[tuple[Node, Factors]]()
        for node, coefficient in terms:
            factor = graph.sum([(scale, coefficient)])
            if self._static[node]:
                found.append((graph.times(factor, node), []))
                continue
            head = graph.nodes[node]
            if head[0] != "product":
                found.append((factor, [(node, 1)]))
                continue
            static, rest = self._factor(head[1])
            factor = graph.times(factor, static)
            inner = graph.nodes[rest[0][0]]
            if len(rest) == 1 and rest[0][1] == 1 and inner[0] == "sum" and uses[rest[0][0]] == 1:
                if inner[1] != 0:
                    found.append((graph.sum([(factor, inner[1])]), []))
                found += self._products(inner[2], factor, uses)
            else:
                found.append((factor, [(node, 1)] if static == graph.one else rest))
        return found

    def _split(self, node: Node) -> tuple[Node, Node]:
        graph, head = self.graph, self.graph.nodes[node]
        if self._static[node]:
            return node, graph.one
        if head[0] == "product":
            factor, rest = self._factor(head[1])
            pulled, last = graph.one, graph.one
            if len(rest) == 1 and rest[0][1] == 1 and graph.nodes[rest[0][0]][0] == "sum":
                pulled, last = self._split(rest[0][0])
            else:
                last = graph.product(rest)
            return graph.times(factor, pulled), last
        if head[0] == "sum" and head[1] == 0:
            parts = [(self._split(inner), coefficient) for inner, coefficient in head[2]]
            first = parts[0][0][0]
            if all(factor == first for (factor, _), _ in parts):
                return first, graph.sum([(rest, coefficient) for (_, rest), coefficient in parts])
        return graph.one, node


def factored(graph: Graph, terms: Sequence[Factors]) -> Node:
    """A sum of products with what several of them share taken out, as Horner's rule does for a polynomial."""
    shared: Counter[Node] = Counter()
    for term in terms:
        if sum(1 for node, _ in term if graph.value(node) is None) > 1:  # one factor alone costs nothing to add
            shared.update(node for node, e in term if e >= 1 and graph.value(node) is None)
    if not shared:
        return graph.sum([(graph.product(term), 1) for term in terms])
    best, count = max(shared.items(), key=lambda item: (item[1], -item[0]))
    if count < 2:
        return graph.sum([(graph.product(term), 1) for term in terms])
    inside, outside = list[Factors](), list[Factors]()
    for term in terms:
        powers = dict(term)
        alone = sum(1 for node, _ in term if graph.value(node) is None) < 2
        if alone or powers.get(best, 0) < 1:
            outside.append(term)
        else:
            inside.append([(node, e - 1 if node == best else e) for node, e in term])
    product = graph.times(best, factored(graph, inside))
    return graph.sum([(product, 1), (factored(graph, outside) if outside else graph.zero, 1)])
