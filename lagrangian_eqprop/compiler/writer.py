"""Expressions as text: nodes of a graph become assignments that a reader can follow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from ..symbols.graph import Graph, Node, Number

_WIDTH = 100


class Writer:
    """Writes nodes as assignments: a node used once stands inside what uses it, others get a name.

    ``names`` says what each symbol, by its kind and index, is called in the text.
    """

    def __init__(self, graph: Graph, roots: Sequence[Node], names: Mapping[tuple[str, int], str]) -> None:
        self.graph, self.roots, self.names = graph, roots, names
        self.lines: list[str] = []
        self.text: dict[Node, str] = {}
        self.powers: dict[tuple[Node, int], str] = {}
        self.products: list[tuple[Node, dict[Node, Number]]] = []  # the longest first
        self.count = 0
        self.uses: Counter[Node] = Counter(roots)

    def write(self) -> tuple[list[str], list[str]]:
        """The lines, and what to call the roots after them."""
        self.prepare()
        for node in self.graph.reachable(self.roots):
            self.rendered(node)
        return self.lines, [self.text[root] for root in self.roots]

    def prepare(self) -> None:
        """Count uses, and find the products that others contain."""
        for node in self.graph.reachable(self.roots):
            self.uses.update(self.graph.arguments(node))
            head = self.graph.nodes[node]
            if head[0] == "product" and all(_whole(e) for _, e in head[1]):
                self.products.append((node, dict(head[1])))
        self.products.sort(key=lambda item: -sum(item[1].values()))

    def rendered(self, node: Node) -> str:
        """A node after everything below it."""
        pending = [node]
        while pending:
            top = pending[-1]
            missing = [inner for inner in self.graph.arguments(top) if inner not in self.text]
            if top in self.text or not missing:
                pending.pop()
                if top not in self.text:
                    self.text[top] = self._render(top)
            else:
                pending += missing[::-1]
        return self.text[node]

    def named(self, node: Node) -> str:
        """The name of a node that is computed here and now, not where it is used."""
        text = self.rendered(node)
        return text if text.isidentifier() else self._assign(text)

    def leaf(self, kind: str, index: int) -> str:
        """What a symbol is called."""
        return self.names[kind, index]

    def _assign(self, text: str) -> str:
        name = f"a{self.count}_"
        self.count += 1
        self.lines.append(f"{name} = {text}")
        return name

    def _render(self, node: Node) -> str:
        head = self.graph.nodes[node]
        if head[0] == "number":
            return literal(head[1])
        if head[0] == "symbol":
            return self.leaf(head[1], head[2])
        if head[0] == "sum":
            text = self._sum(head[1], head[2])
        elif head[0] == "product":
            text = self._product(self._with_known(node, head[1]))
        elif head[0] == "power":
            text = f"{self._atom(head[1])}**{self._atom(head[2])}"
        elif head[0] == "logsumexp":
            return self.text[head[1]]
        else:
            text = f"{head[0]}({', '.join(self.text[inner] for inner in head[1:])})"
        if self.uses[node] > 1 or len(text) > _WIDTH:
            return self._assign(text)
        return text if text.endswith(")") and text.startswith(head[0] + "(") else f"({text})"

    def _atom(self, node: Node) -> str:
        return self.text[node]

    def _sum(self, constant: Number, terms: Sequence[tuple[Node, Number]]) -> str:
        pieces = []
        for node, coefficient in terms:
            factor = "" if abs(coefficient) == 1 else f"{literal(abs(coefficient))}*"
            pieces.append(("-" if coefficient < 0 else "+", factor + self._bare(node)))
        if constant != 0:
            pieces.append(("-" if constant < 0 else "+", literal(abs(constant))))
        pieces.sort(key=lambda piece: piece[0] == "-")  # start with a positive one where there is one
        text = ("-" if pieces[0][0] == "-" else "") + pieces[0][1]
        for sign, piece in pieces[1:]:
            if len(text) > _WIDTH:
                text = self._assign(text)
            text += f" {sign} {piece}"
        return text

    def _bare(self, node: Node) -> str:
        """A product inside a sum needs no parentheses."""
        text = self.text[node]
        if text.startswith("(") and self.graph.nodes[node][0] == "product":
            return text[1:-1]
        return text

    def _product(self, factors: Sequence[tuple[Node, Number]]) -> str:
        above = [self._power(node, exponent) for node, exponent in factors if exponent > 0]
        below = [self._power(node, -exponent) for node, exponent in factors if exponent < 0]
        text = "*".join(above) or "1.0"
        if below:
            text += f"/({'*'.join(below)})" if len(below) > 1 or "*" in below[0] else f"/{below[0]}"
        return text

    def _with_known(self, node: Node, factors: Sequence[tuple[Node, Number]]) -> Sequence[tuple[Node, Number]]:
        """The factors with the longest other product that divides them as one factor."""
        powers = dict(factors)
        degree = sum(abs(float(e)) for e in powers.values())
        for other, inner in self.products:
            if other == node or sum(inner.values()) >= degree or len(inner) == 1:
                continue
            if all(powers.get(x, 0) >= e for x, e in inner.items()):
                if other not in self.text:
                    self.uses[other] += 1
                    self.text[other] = self._render(other)
                text = self.text[other]
                if not text.isidentifier():
                    self.text[other] = self._assign(text)
                rest = [(x, e - inner.get(x, 0)) for x, e in factors]
                return [(other, 1), *((x, e) for x, e in rest if e)]
        return factors

    def _power(self, node: Node, exponent: Number) -> str:
        """A positive power by multiplications and a square root, else by ``**``."""
        base = self._atom(node)
        twice = exponent * 2
        if twice != int(twice) or exponent > 64:
            return f"{base}**{literal(exponent)}"
        if exponent == 1:
            return base
        if not base.isidentifier():
            base = self.text[node] = self._assign(base)
        if twice % 2:
            root = self._once(node, 1, lambda: f"sqrt({base})")
            return root if twice == 1 else f"{root}*{self._power(node, int(exponent))}"
        n = int(exponent)
        if n == 2:
            return self._once(node, 4, lambda: f"{base}*{base}")
        half = self._power(node, n // 2)
        return self._once(node, 2 * n, lambda: f"{half}*{half}" + (f"*{base}" if n % 2 else ""))

    def _once(self, node: Node, twice: int, text: Callable[[], str]) -> str:
        key = (node, twice)
        if key not in self.powers:
            self.powers[key] = self._assign(text())
        return self.powers[key]


def _whole(exponent: Number) -> bool:
    """Whether a power is a product of factors."""
    return isinstance(exponent, int) and exponent > 0


def literal(x: Any) -> str:
    """A number as text that reads back as the nearest float."""
    value = float(x) if isinstance(x, Fraction) else x
    text = repr(float(value))
    return f"({text})" if text.startswith("-") else text
