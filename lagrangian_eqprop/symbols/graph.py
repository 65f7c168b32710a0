"""Expressions as a hash-consed graph: equal subexpressions are one node, so nothing is derived twice.

A node is a tuple, its name the position in ``Graph.nodes``; a node's arguments have smaller positions.

    ("number", x)                         x an int, a Fraction or a float
    ("symbol", kind, index)               one of the library's own names: coordinate 0, parameter 2, ...
    ("sum", x, ((node, coefficient), ...))      x + sum of coefficient*node
    ("product", ((node, exponent), ...))        exponents are numbers
    ("power", base, exponent)             the exponent is a node
    (function, argument, ...)             a name of ``FUNCTIONS``

Sums collect like terms and products collect like factors; nothing else is rewritten.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction

Number = int | Fraction | float
Node = int

# Functions of one real or complex variable, by the name they have in generated text.
ANALYTIC = frozenset(
    "sin cos tan exp log sinh cosh tanh arcsin arccos arctan arcsinh arccosh arctanh".split()
)
# Functions that are not analytic, and what users call them; complex arithmetic would give them a plausible wrong
# meaning. "larger" only shifts an exponent (see logsumexp) and is not among them.
NONANALYTIC = {
    "magnitude": "Abs", "sign": "sign", "floor": "floor", "ceil": "ceiling", "heaviside": "Heaviside",
    "maximum": "Max", "minimum": "Min", "select": "Piecewise", "arctan2": "atan2",
}  # fmt: skip
CONDITIONS = frozenset("less less_equal equal both either negation".split())
FUNCTIONS = ANALYTIC | NONANALYTIC.keys() | CONDITIONS | {"larger"}


def plain(x: Number) -> Number:
    """The simplest type that holds the number exactly."""
    if isinstance(x, Fraction) and x.denominator == 1:
        return x.numerator
    if isinstance(x, float) and x.is_integer() and abs(x) < 2**53:
        return int(x)
    return x


class Graph:
    """A growing table of nodes; every method returns the position of the node it means."""

    def __init__(self) -> None:
        self.nodes: list[tuple] = []
        self._positions: dict[tuple, Node] = {}
        self.zero = self.number(0)
        self.one = self.number(1)

    def _intern(self, node: tuple) -> Node:
        position = self._positions.get(node)
        if position is None:
            position = len(self.nodes)
            self.nodes.append(node)
            self._positions[node] = position
        return position

    def number(self, x: Number) -> Node:
        return self._intern(("number", plain(x)))

    def symbol(self, kind: str, index: int = 0) -> Node:
        return self._intern(("symbol", kind, index))

    def value(self, node: Node) -> Number | None:
        """The number a node is, or None."""
        head = self.nodes[node]
        return head[1] if head[0] == "number" else None

    def sum(self, terms: Iterable[tuple[Node, Number]], constant: Number = 0) -> Node:
        """constant + sum of coefficient*node."""
        collected: dict[Node, Number] = {}
        for node, coefficient in terms:
            head = self.nodes[node]
            if head[0] == "number":
                constant += coefficient * head[1]
            elif head[0] == "sum":
                constant += coefficient * head[1]
                for inner, factor in head[2]:
                    collected[inner] = collected.get(inner, 0) + coefficient * factor
            else:
                collected[node] = collected.get(node, 0) + coefficient
        kept = tuple(sorted((node, plain(c)) for node, c in collected.items() if c != 0))
        if not kept:
            return self.number(constant)
        if constant == 0 and len(kept) == 1 and kept[0][1] == 1:
            return kept[0][0]
        return self._intern(("sum", plain(constant), kept))

    def product(self, factors: Iterable[tuple[Node, Number]]) -> Node:
        """Product of node**exponent."""
        coefficient: Number = 1
        collected: dict[Node, Number] = {}
        pending = list(factors)
        while pending:
            node, exponent = pending.pop()
            head = self.nodes[node]
            if exponent == 0:
                continue
            if head[0] == "number":
                coefficient *= _number_power(head[1], exponent)
            elif head[0] == "product" and isinstance(exponent, int):
                pending += [(base, plain(inner * exponent)) for base, inner in head[1]]
            elif head[0] == "sum" and head[1] == 0 and len(head[2]) == 1 and isinstance(exponent, int):
                ((base, factor),) = head[2]
                coefficient *= _number_power(factor, exponent)
                pending.append((base, exponent))
            else:
                collected[node] = plain(collected.get(node, 0) + exponent)
        kept = tuple(sorted((node, e) for node, e in collected.items() if e != 0))
        if coefficient == 0 or not kept:
            return self.number(coefficient)
        inner = kept[0][0] if len(kept) == 1 and kept[0][1] == 1 else self._intern(("product", kept))
        return inner if coefficient == 1 else self.sum([(inner, coefficient)])

    def times(self, *nodes: Node) -> Node:
        return self.product([(node, 1) for node in nodes])

    def power(self, base: Node, exponent: Node) -> Node:
        number = self.value(exponent)
        if number is not None:
            return self.product([(base, number)])
        return self._intern(("power", base, exponent))

    def call(self, function: str, *arguments: Node) -> Node:
        numbers = [self.value(argument) for argument in arguments]
        if function in ANALYTIC and numbers[0] is not None:
            try:
                return self.number(getattr(math, function.replace("arc", "a"))(numbers[0]))
            except (ValueError, OverflowError) as error:
                raise ValueError(f"expression must be real and finite; it contains {function}({numbers[0]})") from error
        if function == "select" and arguments[1] == arguments[2]:
            return arguments[1]
        return self._intern((function, *arguments))

    def logsumexp(self, arguments: Sequence[Node]) -> Node:
        """log(sum of exp(a)), with the largest argument (by real part) taken out so that nothing overflows.

        The shift cancels exactly, so the value is analytic although the choice of the shift is not.
        """
        shift = arguments[0]
        for argument in arguments[1:]:
            shift = self.call("larger", shift, argument)
        total = self.sum([(self.call("exp", self.sum([(a, 1), (shift, -1)])), 1) for a in arguments])
        return self._intern(("logsumexp", self.sum([(shift, 1), (self.call("log", total), 1)]), *arguments))

    def arguments(self, node: Node) -> tuple[Node, ...]:
        """The nodes that a node is made of."""
        head = self.nodes[node]
        if head[0] in ("number", "symbol"):
            return ()
        if head[0] == "sum":
            return tuple(inner for inner, _ in head[2])
        if head[0] == "product":
            return tuple(inner for inner, _ in head[1])
        return head[1:]

    def reachable(self, roots: Iterable[Node]) -> list[Node]:
        """Every node below the roots, arguments before what uses them."""
        seen: set[Node] = set()
        pending = list(roots)
        while pending:
            node = pending.pop()
            if node not in seen:
                seen.add(node)
                pending += self.arguments(node)
        return sorted(seen)

    def symbols(self, roots: Iterable[Node]) -> set[tuple[str, int]]:
        """The symbols below the roots, as (kind, index)."""
        heads = (self.nodes[node] for node in self.reachable(roots))
        return {(head[1], head[2]) for head in heads if head[0] == "symbol"}

    def functions(self, roots: Iterable[Node]) -> set[str]:
        """The names of the functions below the roots."""
        return {self.nodes[node][0] for node in self.reachable(roots)} & FUNCTIONS

    def substitute(self, roots: Sequence[Node], values: dict[Node, Node]) -> list[Node]:
        """The roots with some nodes replaced."""
        new: dict[Node, Node] = dict(values)
        for node in self.reachable(roots):
            if node in new:
                continue
            head = self.nodes[node]
            new[node] = node if head[0] == "symbol" else self.rebuilt(head, new)
        return [new[root] for root in roots]

    def rebuilt(self, head: tuple, new: dict[Node, Node]) -> Node:
        """A node like ``head``, of this or another graph, with its arguments replaced."""
        if head[0] == "number":
            return self.number(head[1])
        if head[0] == "sum":
            return self.sum([(new[inner], c) for inner, c in head[2]], head[1])
        if head[0] == "product":
            return self.product([(new[inner], e) for inner, e in head[1]])
        if head[0] == "power":
            return self.power(new[head[1]], new[head[2]])
        if head[0] == "logsumexp":
            return self.logsumexp([new[inner] for inner in head[2:]])
        return self.call(head[0], *(new[inner] for inner in head[1:]))

    def digest(self, roots: Sequence[Node]) -> str:
        """A text that is the same for the same expressions, whatever else the graph holds."""
        order = self.reachable(roots)
        names = {node: str(position) for position, node in enumerate(order)}
        lines = []
        for node in order:
            head = self.nodes[node]
            if head[0] == "sum":
                lines.append(f"sum {head[1]!r} " + " ".join(f"{names[a]}*{c!r}" for a, c in head[2]))
            elif head[0] == "product":
                lines.append("product " + " ".join(f"{names[a]}^{e!r}" for a, e in head[1]))
            elif head[0] in ("number", "symbol"):
                lines.append(" ".join(map(repr, head)))
            else:
                lines.append(head[0] + " " + " ".join(names[a] for a in head[1:]))
        return "\n".join(lines) + "\n" + " ".join(names[root] for root in roots)


def _number_power(base: Number, exponent: Number) -> Number:
    if isinstance(exponent, int):
        if isinstance(base, int) and exponent < 0:
            return plain(Fraction(base) ** exponent)
        return plain(base**exponent)
    result = float(base) ** float(exponent)
    if isinstance(result, complex) or not math.isfinite(result):
        raise ValueError(f"expression must be real; it contains {base}**({exponent})")
    return plain(result)
