"""Stage 3, emission: the functions of a system as the text of one readable, self-contained module.

Straight-line functions hold the derived expressions. They take and return single values and know no
arrays, so they are the same for every value type. Loop functions load, call and add. Names in the
text are the library's own (q0, v0, p0, ...); the user's appear only in quoted comments.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ..symbols.graph import Graph, Node, Number
from ..symbols.terms import LocalTerm
from .contract import CLOCK, HEADER, LABELS
from .kernel import text_of
from .lowering import LoopFunction, Result

_WIDTH = 100
_ARRAYS = ("q", "v", "dq", "dv", "a")
_NUMBERED = (*_ARRAYS, "p", "u", "y")
_PRELUDE = '''
@jit
def magnitude(x):
    return x if x.real >= 0 else -x


@jit
def sign(x):
    return 0.0 if x.real == 0 else (1.0 if x.real > 0 else -1.0)


@jit
def heaviside(x):
    return 0.5 if x.real == 0 else (1.0 if x.real > 0 else 0.0)


@jit
def floor(x):
    return np.floor(x.real)


@jit
def ceil(x):
    return np.ceil(x.real)


@jit
def larger(x, y):
    return x if x.real >= y.real else y


@jit
def maximum(x, y):
    return x if x.real >= y.real else y


@jit
def minimum(x, y):
    return x if x.real <= y.real else y


@jit
def select(c, x, y):
    return x if c else y


@jit
def less(x, y):
    return x.real < y.real


@jit
def less_equal(x, y):
    return x.real <= y.real


@jit
def equal(x, y):
    return x == y


@jit
def both(x, y):
    return x and y


@jit
def either(x, y):
    return x or y


@jit
def negation(x):
    return not x


@jit
def spot(env, k, row, column, size):
    """Where entry (row, column) of a matrix is kept; k is its number in the table of a sparse one."""
    return env.table[k] if env.table[1] > 0 else row*size + column
'''
_COMPILED = '''from numba import njit

OPTIONS = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz", "reassoc"}}


def jit(function):
    return njit(**OPTIONS)(function)


def entry_jit(function):
    return njit(cache=True, **OPTIONS)(function)
'''
_PLAIN = '''

def jit(function):
    return function


entry_jit = jit
'''
_HEADER = '''import numpy as np
from numpy import (
    arccos, arccosh, arcsin, arcsinh, arctan, arctan2, arctanh, cos, cosh, exp, log, sin, sinh, sqrt, tan, tanh
)
'''


def module_text(
    functions: Sequence[LoopFunction], kernels: Sequence[Callable], title: str, compiled: bool,
    parameters: int = 0, inputs: int = 0, targets: int = 0, terms: int = 0,
) -> str:  # fmt: skip
    """The whole module: what it is, the derived functions, and the kernels that call them."""
    layout = _Layout(parameters, inputs, targets, terms)
    decorator = _COMPILED if compiled else _PLAIN
    parts = [f'"""{title}"""\n\nfrom __future__ import annotations\n\n{_HEADER}{decorator}{_PRELUDE}']
    for function in functions:
        parts.append(_loop_function(function, layout))
    parts += [text_of(kernel) for kernel in kernels]
    return "\n\n".join(parts)


def _quoted(text: object, limit: int = 160) -> str:
    """A user's words as a quoted comment on one line."""
    plain = ascii(str(text))
    return plain if len(plain) <= limit else plain[:limit] + "..."


@dataclass(frozen=True)
class _Layout:
    """Where the layouts stand in the table: a module knows how many there are, not how large anything is."""

    parameters: int
    inputs: int
    targets: int
    terms: int

    def of(self, kind: str, index: int) -> int:
        inputs = HEADER + 3*self.parameters
        targets = inputs + 4*self.inputs
        terms = targets + 4*self.targets
        costs = terms + 4*self.terms
        start = {"p": HEADER, "u": inputs, "y": targets, "term": terms, "cost": costs}[kind]
        return start + (3 if kind == "p" else 4)*index


def _loop_function(function: LoopFunction, layout: _Layout) -> str:
    """The straight-line functions of every term and the loop that calls them."""
    straight, body = [], []
    for number, (term, results) in enumerate(function.results):
        if not results:
            continue
        name = f"{function.name}_{number}"
        symbols = sorted(term.graph.symbols([result.node for result in results]), key=_order)
        straight.append(_straight_line(term.graph, name, [_name(*s) for s in symbols], [r.node for r in results]))
        body += _loop(function, number, term, results, name, symbols, layout)
    lines = [f"@jit\ndef {function.name}({', '.join(function.arguments)}):"]
    if function.returns:
        lines += ["    total = 0.0*q[0]", *body, "    return total"]
    else:
        lines += body or ["    pass"]
    return "\n\n\n".join([*straight, "\n".join(lines)])


def _order(symbol: tuple[str, int]) -> tuple[int, str, int]:
    kind, index = symbol
    return (_NUMBERED.index(kind) if kind in _NUMBERED else 9, kind, index)


def _name(kind: str, index: int) -> str:
    return f"{kind}{index}" if kind in _NUMBERED else kind


def _loop(
    function: LoopFunction, number: int, term: LocalTerm, results: Sequence[Result], name: str,
    symbols: Sequence[tuple[str, int]], layout: _Layout,
) -> list[str]:  # fmt: skip
    """The loop over the places of one term."""
    kind, size = term.places.kind, term.size
    row = layout.of("cost" if function.weighted else "term", number)
    lines = [f"    # term {number}: {_quoted(term.expression)} on {_quoted(', '.join(map(str, term.on)))}"]
    if function.weighted:
        lines.append(f"    w = env.signals[{CLOCK} + {number}*env.table[{LABELS}] + j]")
    lines += [f"    at = env.table[{row}]", f"    places = env.table[{row + 1}]"]
    if any(len(result.rows) == 2 for result in results):
        lines += [f"    entries = env.table[{row + 3}]", "    size = q.shape[0]"]
    thetas = {result.parameter for result in results if result.parameter is not None}
    for symbol in [*symbols, *(("p", k) for k in sorted(thetas) if ("p", k) not in symbols)]:
        lines += _offsets(*symbol, layout)

    used = {a for result in results for a in result.rows} | {i for s, i in symbols if s in _ARRAYS}
    if kind == "table":
        loop = ["for i in range(places):"]
        loop += [f"    i{a} = env.table[at + {f'{size}*i + {a}' if size > 1 else 'i'}]" for a in sorted(used)]
        indent = "    "
    else:
        first, second = ("row + 1", "") if kind == "group" else ("0", " + places")
        lines.append(f"    columns = env.table[{row + 2}]")
        loop = ["for row in range(places):", "    i0 = env.table[at + row]"]
        loop += [f"    for column in range({first}, columns):", "        i = row*columns + column"]
        loop += [f"        i1 = env.table[at{second} + column]"] if 1 in used else []
        indent = "        "
    names = [f"{'x' if result.rows or result.parameter is not None else 'e'}{k}" for k, result in enumerate(results)]
    values = ", ".join(_load(*symbol) for symbol in symbols)
    loop.append(f"{indent}{', '.join(names)}{',' if len(names) == 1 else ''} = {name}({values})")
    loop += [f"{indent}{_store(function, result, value, size)}" for result, value in zip(results, names, strict=True)]
    if function.weighted:
        return [*lines, "    if w != 0.0:", *("        " + line for line in loop)]
    return [*lines, *("    " + line for line in loop)]


def _offsets(kind: str, index: int, layout: _Layout) -> list[str]:
    """Where the values of a parameter, input or target begin for this sample and label, and their stride."""
    if kind not in ("p", "u", "y"):
        return []
    row = layout.of(kind, index)
    label = "" if kind == "p" else f" + j*env.table[{row + 2}]"
    return [
        f"    {kind}{index}_at = env.table[{row}] + b*env.table[{row + 1}]{label}",
        f"    {kind}{index}_by = env.table[{row + (2 if kind == 'p' else 3)}]",
    ]


def _load(kind: str, index: int) -> str:
    if kind in _ARRAYS:
        return f"{kind}[i{index}]"
    buffer = {"p": "theta", "u": "signals", "y": "signals"}.get(kind)
    return f"env.{buffer}[{kind}{index}_at + i*{kind}{index}_by]" if buffer else kind


def _store(function: LoopFunction, result: Result, value: str, size: int) -> str:
    if function.weighted:
        value = f"w*weight*{value}" if function.scaled else f"w*{value}"
    elif function.scaled and result.parameter is not None:
        value = f"weight*{value}"
    if result.parameter is not None:
        return f"g[p{result.parameter}_at + i*p{result.parameter}_by] += {value}"
    if len(result.rows) == 2:
        a, b = result.rows
        return f"{result.array}[spot(env, entries + i*{size * size} + {a * size + b}, i{a}, i{b}, size)] += {value}"
    if result.rows:
        return f"{result.array}[i{result.rows[0]}] += {value}"
    return f"total += {value}"


def _straight_line(graph: Graph, name: str, arguments: Sequence[str], nodes: Sequence[Node]) -> str:
    lines, values = _Writer(graph, nodes).write()
    returned = ", ".join(values) + ("," if len(values) == 1 else "")
    body = "".join(f"    {line}\n" for line in lines)
    return f"@jit\ndef {name}({', '.join(arguments)}):\n{body}    return {returned}"


class _Writer:
    """Writes nodes as assignments: a node used once stands inside what uses it, others get a name."""

    def __init__(self, graph: Graph, roots: Sequence[Node]) -> None:
        self.graph, self.roots = graph, roots
        self.lines: list[str] = []
        self.text: dict[Node, str] = {}
        self.powers: dict[tuple[Node, int], str] = {}
        self.count = 0
        self.uses: Counter[Node] = Counter(roots)

    def write(self) -> tuple[list[str], list[str]]:
        order = self.graph.reachable(self.roots)
        for node in order:
            self.uses.update(self.graph.arguments(node))
        for node in order:
            self.text[node] = self._render(node)
        return self.lines, [self.text[root] for root in self.roots]

    def _assign(self, text: str) -> str:
        name = f"a{self.count}_"
        self.count += 1
        self.lines.append(f"{name} = {text}")
        return name

    def _render(self, node: Node) -> str:
        head = self.graph.nodes[node]
        if head[0] == "number":
            return _literal(head[1])
        if head[0] == "symbol":
            return _name(head[1], head[2])
        if head[0] == "sum":
            text = self._sum(head[1], head[2])
        elif head[0] == "product":
            text = self._product(head[1])
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
            factor = "" if abs(coefficient) == 1 else f"{_literal(abs(coefficient))}*"
            pieces.append(("-" if coefficient < 0 else "+", factor + self._bare(node)))
        if constant != 0:
            pieces.append(("-" if constant < 0 else "+", _literal(abs(constant))))
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

    def _power(self, node: Node, exponent: Number) -> str:
        """A positive power by multiplications and a square root, else by ``**``."""
        base = self._atom(node)
        twice = exponent * 2
        if twice != int(twice) or exponent > 64:
            return f"{base}**{_literal(exponent)}"
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


def _literal(x: Any) -> str:
    """A number as text that reads back as the nearest float."""
    value = float(x) if isinstance(x, Fraction) else x
    text = repr(float(value))
    return f"({text})" if text.startswith("-") else text
