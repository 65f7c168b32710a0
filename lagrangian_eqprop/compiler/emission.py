"""Stage 3, emission: the functions of a system as the text of one readable, self-contained module.

Straight-line functions hold the derived expressions. They take and return single values and know no
arrays, so they are the same for every value type. Loop functions load, call and add. Names in the
text are the library's own (q0, v0, p0, ...); the user's appear only in quoted comments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..symbols.dissipation import Damping
from ..symbols.graph import Graph, Node
from ..symbols.terms import LocalTerm
from .contract import CLOCK, LABELS, Layout
from .kernel import text_of
from .lowering import LoopFunction, Result
from .writer import Writer

_ARRAYS = ("q", "v", "dq", "dv", "a")
_NUMBERED = (*_ARRAYS, "p", "u", "y")
_PRELUDE = '''
@jit
def spot(env, k, row, column, size):
    """Where entry (row, column) of a matrix is kept; k is its number in the table of a sparse one."""
    return env.table[k] if env.table[1] > 0 else row*size + column
'''
_COMPILED = '''from numba import njit

from lagrangian_eqprop.compiler.straight import straight

OPTIONS = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz", "reassoc"}}


def jit(function):
    return njit(**OPTIONS)(function)


def entry_jit(function):
    return njit(cache=True, **OPTIONS)(function)
'''
_PLAIN = '''

def jit(function):
    return function


entry_jit = straight = jit

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
'''
_HEADER = '''import numpy as np
from numpy import (
    arccos, arccosh, arcsin, arcsinh, arctan, arctan2, arctanh, cos, cosh, exp, log, sin, sinh, sqrt, tan, tanh
)
'''


def module_text(
    functions: Sequence[LoopFunction], kernels: Sequence[Callable], title: str, compiled: bool,
    parameters: int = 0, inputs: int = 0, targets: int = 0, terms: int = 0, damping: Damping | None = None,
) -> str:  # fmt: skip
    """The whole module: what it is, the derived functions, and the kernels that call them."""
    layout = Layout(parameters, inputs, targets, terms)
    decorator = _COMPILED if compiled else _PLAIN
    parts = [f'"""{title}"""\n\nfrom __future__ import annotations\n\n{_HEADER}{decorator}{_PRELUDE}']
    for function in functions:
        parts.append(_loop_function(function, layout))
    if damping is not None:
        parts.append(_rate(damping, layout))
    parts += [text_of(kernel) for kernel in kernels]
    return "\n\n".join(parts)


def _rate(damping: Damping, layout: Layout) -> str:
    """The rate of damping and its derivative."""
    if damping.parameter is None:
        value, more = repr(damping.number), "pass"
    else:
        row = layout.of("p", damping.parameter)
        at = f"env.table[{row}] + b*env.table[{row + 1}]"
        value, more = f"env.theta[{at}]", f"g[{at}] += weight"
    functions = (("rate(env, b)", f"return {value}"), ("rate_parameters(env, b, g, weight)", more))
    return "\n\n".join(f"@jit\ndef {head}:\n    {body}\n" for head, body in functions)


def _quoted(text: object, limit: int = 160) -> str:
    """A user's words as a quoted comment on one line."""
    plain = ascii(str(text))
    return plain if len(plain) <= limit else plain[:limit] + "..."


def _loop_function(function: LoopFunction, layout: Layout) -> str:
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
    symbols: Sequence[tuple[str, int]], layout: Layout,
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


def _offsets(kind: str, index: int, layout: Layout) -> list[str]:
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
    names = {symbol: _name(*symbol) for symbol in graph.symbols(nodes)}
    lines, values = Writer(graph, nodes, names).write()
    returned = ", ".join(values) + ("," if len(values) == 1 else "")
    body = "".join(f"    {line}\n" for line in lines)
    return f"@straight\ndef {name}({', '.join(arguments)}):\n{body}    return {returned}"
