"""Emission of an unrolled system: its straight-line functions and the module around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count as numbers

import numpy as np

from ..symbols.graph import Node
from .contract import CLOCK, LABELS
from .kernel import text_of
from .machine import registers
from .unrolled import State, Straight, Unrolled
from .writer import Writer

_TEXT = {"m": "p", "dm": "dp", "p": "theta_"}  # what momenta and parameters are called in the text
_SINGLE = ("t", "h", "stride", "lost", "total", "excess", "weight")
HEADER = '''"""{title}"""

from __future__ import annotations

import numpy as np
from numba import njit

from lagrangian_eqprop.compiler.lanes import largest_lane, local_rows
from lagrangian_eqprop.compiler.straight import straight

OPTIONS = {{"nogil": True, "error_model": "numpy", "fastmath": {{"contract", "nsz"}}}}
WIDTH = {width}  # samples in the lanes of one value
SIZE = {size}  # coordinates
STATE = {state}  # rows of positions and momenta
LOCAL = {local}  # whether the state is kept in registers from step to step
COEFFICIENTS = {coefficients}  # entries of the coefficient table for one step
PART = 16  # steps that are integrated again at once on the way back


def jit(function):
    return njit(**OPTIONS)(function)


def inlined_jit(function):
    return njit(inline="always", **OPTIONS)(function)


def entry_jit(function):
    return njit(cache=True, **OPTIONS)(function)
'''


def module_text(
    system: Unrolled, functions: Sequence[Straight], kernels: Sequence[Callable], title: str, width: int
) -> str:  # fmt: skip
    """The whole module: coefficients, the derived functions, what moves state, and the loops that call them."""
    nudges = _nudges(system)
    sums = Sums(system, [*functions, *nudges])
    derived = [_function(system, sums, function) for function in functions]
    derived.append(_costs(system, sums, _losses(system), "loss", "totals, k, z"))
    derived.append(_costs(system, sums, nudges, "nudge", "g, row, places, here, w, at_p"))
    scales = sums.text()
    coefficients = _coefficients(system)
    parts = width*(4 if system.flags.single else 8)/registers().size  # registers of one value
    # some registers are left for what is computed; elementary functions weigh more than a state that is spilled
    local = 2*system.size*max(parts, 1) <= 0.75*registers().number
    local = local or (bool(system.graph.functions([system.lagrangian])) and 2*system.size <= registers().number)
    header = header_text(title, width, system.size, len(system.hoisting.coefficients), local)
    return "\n\n".join([header, coefficients, *derived, scales, *_moves(system), *map(text_of, kernels)])


def header_text(title: str, width: int, size: int, coefficients: int, local: bool = False) -> str:
    """The head of a module."""
    return HEADER.format(
        title=title, width=width, size=size, coefficients=coefficients, state=2*size, local=local
    )  # fmt: skip


class Sums:
    """The sums over time that make a gradient: each kept without its static factor where it has a single one."""

    def __init__(self, system: Unrolled, functions: Sequence[Straight]) -> None:
        self.system = system
        self.factors: dict[int, Node] = {}  # by parameter: the factor that is left for the end
        self.rests: dict[int, Node] = {}  # by summand
        for function in functions:
            parts = system.hoisting.split([node for _, node in function.sums])
            for (k, node), (factor, rest) in zip(function.sums, parts, strict=True):
                self.rests[node] = rest
                if self.factors.setdefault(k, factor) != factor:
                    self.factors[k] = system.graph.one

    def scaled(self, function: Straight) -> list[tuple[int, Node]]:
        """What the function adds in every step."""
        one = self.system.graph.one
        return [(k, node if self.factors[k] == one else self.rests[node]) for k, node in function.sums]

    def text(self) -> str:
        """The function that applies the factors at the end."""
        system = self.system
        nodes = [system.hoisting.entry(node) for node in self.factors.values()]
        names = {symbol: _called(*symbol) for symbol in system.graph.symbols(nodes)}
        lines = [f"{name} = c[at + {index}]" for (_, index), name in sorted(names.items())]
        body, values = Writer(system.graph, nodes, names).write()
        lines += body
        lines += [f"g[row + {k}] = g[row + {k}]*{v}" for k, v in zip(self.factors, values, strict=True) if v != "1.0"]
        return definition("scale_sums", "c, at, g, row", [*lines, "return ()"])


def definition(name: str, arguments: str, lines: Sequence[str]) -> str:
    return f"@straight\ndef {name}({arguments}):\n" + "".join(f"    {line}\n" for line in lines)


def _called(kind: str, index: int) -> str:
    return kind if kind in _SINGLE else f"{_TEXT.get(kind, kind)}{index}"


class _Loading(Writer):
    """Loads a symbol where it is first wanted, and stores a value as soon as it is known."""

    def __init__(self, system: Unrolled, function: Straight, roots: Sequence[Node]) -> None:
        used = system.graph.symbols(roots)
        super().__init__(system.graph, roots, {symbol: _called(*symbol) for symbol in used})
        self.system, self.function, self.used = system, function, used
        self.known = {("t", 0), *tuple_state(function)}

    def leaf(self, kind: str, index: int) -> str:
        name = self.names[kind, index]
        if (kind, index) not in self.known:
            self.known.add((kind, index))
            where = self.function.rows.get(kind)
            text = f"{where[0]}[{where[1]} + {index}]" if where else _load(self.system, kind, index)
            self.lines.append(f"{name} = {text}")
        return name

    def put(self, symbol: tuple[str, int], node: Node) -> None:
        """Store a value in the place of a symbol, whose old value is loaded before if it is still wanted."""
        value = self.rendered(node)
        kind, index = symbol
        for old in (symbol, (self.function.over.get(kind, kind), index)):
            if old in self.used:
                self.leaf(*old)
        array, row = self.function.rows[kind]
        self.lines.append(f"{array}[{row} + {index}] = {value}")

    def add(self, k: int, node: Node) -> None:
        self.lines.append(f"g[row + {k}] += {self.rendered(node)}")


def _function(system: Unrolled, sums: Sums, function: Straight) -> str:
    """A straight-line function as text."""
    added = sums.scaled(function)
    nodes = system.hoisting.rewrite([*function.returned, *(node for _, node in added)])
    results, weighed = nodes[: len(function.returned)], nodes[len(function.returned) :]
    writer = _Loading(system, function, nodes)
    writer.prepare()
    arguments = "c, at, s, table, b, j, t" + (", g, row" if function.accumulates else "")
    given = tuple_state(function)
    if given:
        writer.lines.append(", ".join(_called(*symbol) for symbol in given) + ", = z")
    if not function.rows:
        arguments += ", z" if given else ""
        returned = ", ".join(writer.named(node) for node in results) + ","
        for (k, _), node in zip(added, weighed, strict=True):
            writer.add(k, node)
        return definition(function.name, arguments, [*writer.lines, f"return ({returned})"])
    for text in dict.fromkeys(part for pair in function.rows.values() for part in pair):
        if text.isidentifier():
            arguments += f", {text}"
    # along the sites, so that what a site needs is loaded once and forgotten early
    work = [(_last(system, node), 1, symbol, node) for symbol, node in zip(function.stores, results, strict=True)]
    work += [(_last(system, node), 0, ("", k), node) for (k, _), node in zip(added, weighed, strict=True)]
    for _, stores, symbol, node in sorted(work):
        if stores:
            writer.put(symbol, node)
        else:
            writer.add(symbol[1], node)
    return definition(function.name, arguments, [*writer.lines, "return ()"])


def tuple_state(function: Straight) -> State:
    """The state that comes as a tuple."""
    return tuple(symbol for symbol in function.state if symbol[0] not in function.rows)


def _last(system: Unrolled, node: Node) -> int:
    """The last coordinate that a value depends on."""
    return max((index for kind, index in system.graph.symbols([node]) if kind in ("q", "dq", "dm")), default=0)


def _load(system: Unrolled, kind: str, index: int) -> str:
    if kind == "c":
        return f"c[at + {index}]"
    if kind == "w":
        return f"s[{CLOCK} + {index}*table[{LABELS}] + j]"
    signal, place = system.signals[kind, index]
    row = system.layout.of(kind, signal)
    batched = (system.flags.inputs if kind == "u" else system.flags.targets)[signal]
    where = f"table[{row}] + j*table[{row + 2}]" + (f" + {place}*table[{row + 3}]" if place else "")
    return f"gather(s, {where} + b*table[{row + 1}], table[{row + 1}])" if batched else f"s[{where}]"


def _coefficients(system: Unrolled) -> str:
    """The function that fills the coefficient table; written last, when all entries are known."""
    entries = system.hoisting.coefficients
    used = system.graph.symbols(entries)
    lines = []
    for kind, index in sorted(used - {("h", 0), ("stride", 0)}):
        parameter = int(np.searchsorted(system.offsets, index, side="right")) - 1
        row, place = system.layout.of("p", parameter), index - int(system.offsets[parameter])
        where = f"table[{row}]" + (f" + {place}*table[{row + 2}]" if place else "")
        value = f"gather(theta, {where} + b*table[{row + 1}], table[{row + 1}])"
        lines.append(f"{_called(kind, index)} = " + (value if system.flags.parameters else f"theta[{where}]"))
    body, values = Writer(system.graph, entries, {symbol: _called(*symbol) for symbol in used}).write()
    lines += body + [f"c[at + {k}] = {value}" for k, value in enumerate(values)]
    return definition("coefficients", "theta, table, b, h, stride, c, at", [*lines, "return ()"])


def _nudges(system: Unrolled) -> list[Straight]:
    """The kick of each cost at a node, for the response."""
    graph, found = system.graph, list[Straight]()
    q, dm = system.state("q"), system.state("dm")
    for n, cost in enumerate(system.costs):
        weight = graph.symbol("w", n)
        kicks = [
            (symbol, graph.sum([(graph.symbol(*symbol), 1), (graph.times(weight, slope), 1)]))
            for symbol, slope in zip(dm, system.slopes(cost, "q"), strict=True)
            if slope != graph.zero
        ]
        owed = [(k, graph.times(weight, part)) for k, part in system.parameter_slopes(cost)]
        rows = {"q": ("places", "here"), "dm": ("w", "at_p")}
        stores, values = tuple(symbol for symbol, _ in kicks), [kick for _, kick in kicks]
        found.append(Straight("nudge", (*q, *dm), values, owed, True, rows, stores))
    return found


def _losses(system: Unrolled) -> list[Straight]:
    """What each cost adds to the loss at a node."""
    graph = system.graph
    rows = {"total": ("totals", "k")}
    total = graph.symbol("total")
    return [
        Straight(
            "loss", (*system.state("q"), ("total", 0)),
            [graph.sum([(total, 1), (graph.times(graph.symbol("w", n), cost), 1)])], (), False, rows, (("total", 0),),
        )
        for n, cost in enumerate(system.costs)
    ]  # fmt: skip


def _costs(system: Unrolled, sums: Sums, functions: Sequence[Straight], name: str, arguments: str) -> str:
    """All costs in one function; one whose weight is zero at this node is not looked at."""
    lines = list[str]()
    for n, function in enumerate(functions):
        inner = _function(system, sums, function).splitlines()[2:-1]
        if inner and "= z" in inner[0]:
            lines += [] if lines else [inner[0].strip()]
            inner = inner[1:]
        lines += [f"if s[{CLOCK} + {n}*table[{LABELS}] + j] != 0.0:", *inner] if inner else []
    return definition(name, f"c, at, s, table, b, j, t, {arguments}", [*lines, "return ()"])


def _moves(system: Unrolled) -> list[str]:
    """Functions that take state from rows of an array, put it back, and take a tuple apart."""
    d = system.size

    def values(start: int) -> str:
        return ", ".join(f"z[row + {i}]" for i in range(start, start + d)) + ","

    def names(*groups: str, rest: str = "") -> str:
        return ", ".join([f"{g}{i}" for g in groups for i in range(d)] + ([rest] if rest else [])) + ", = z"

    found = [
        definition(name, "z, row", [f"return ({values(start)})"])
        for name, start in zip(("positions", "momenta", "velocities"), numbers(0, d), strict=False)
    ]
    found.append(definition("number", "z, row", ["return (z[row],)"]))
    found.append(definition("store_number", "array, row, z", ["x, = z", "array[row] = x", "return ()"]))
    worst = ["x, = z", "array[row] = select(less(0.0, x), x, array[row])", "return ()"]
    found.append(definition("store_worst", "array, row, z", worst))
    stores = [f"array[row + {i}] = x{i}" for i in range(d)]
    found.append(definition("store_row", "array, row, z", [names("x"), *stores, "return ()"]))
    for k, name in enumerate(("part_q", "part_p", "part_v")):
        kept = ", ".join(f"{'xyz'[k]}_{i}" for i in range(d)) + ","
        found.append(definition(name, "z", [names("x_", "y_", "z_", rest="rest"), f"return ({kept})"]))
    found.append(definition("part_rest", "z", [names("x_", "y_", "z_", rest="rest"), "return (rest,)"]))
    mean = ", ".join(f"0.5*(x{i} + y{i})" for i in range(d)) + ","
    found.append(definition("mean", "z", [names("x", "y"), f"return ({mean})"]))
    times = ", ".join(f"factor*x{i}" for i in range(d)) + ","
    found.append(definition("scaled", "factor, z", [names("x"), f"return ({times})"]))
    ahead = ", ".join(f"3.0*(x{i} - y{i}) + u{i}" for i in range(d)) + ","
    found.append(definition("extrapolated", "z", [names("x", "y", "u"), f"return ({ahead})"]))
    kept = ", ".join(f"select(less(0.0, rest), lost, x{i})" for i in range(d)) + ","
    found.append(definition("spoiled", "lost, z", [names("x", rest="rest"), f"return ({kept})"]))
    return found
