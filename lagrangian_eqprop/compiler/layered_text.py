"""The text of compiled relaxation (see :mod:`.layered`): a block of samples in lanes, a pass over each wide group.

Rows of ``q`` are (coordinate, block of lanes). A block is copied to ``X``, one row a coordinate, where it stays in the
first level of the cache; ``K`` holds what does not move, ``G`` the functions g of small groups that wide ones are
coupled to, ``C`` the fields on small groups. A pass over a wide group takes some of its rows at once: they share the
loads of ``G``, and their contributions to C are summed in registers.

``where`` holds, group by group, where its members begin and how many they are, where its leaves begin in ``flat`` (one
number a coordinate) or ``rows`` (lanes), and for each bond where its matrix (wide, small) begins in ``M``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from ..symbols.graph import Node
from . import cache
from .layered import Layered
from .writer import Writer

_HEADER = '''"""Relaxation of layers. Generated; do not edit."""

from __future__ import annotations

from numba import njit

from lagrangian_eqprop.compiler.straight import straight

OPTIONS = {{"nogil": True, "error_model": "numpy", "fastmath": {{"contract", "nsz"}}}}
WIDTH = {width}  # samples in the lanes of one value


def entry_jit(function):
    return njit(cache=True, **OPTIONS)(function)
'''
_SHARED = """
@straight
def moved(to, row, source, other):
    to[row] = source[other]
    return ()
"""
_MOST = 4  # rows of a wide group at once


class _Step(NamedTuple):
    """The new value of a member: lines for its features, these, lines that read fields, and what to call it."""

    before: list[str]
    features: list[str]
    after: list[str]
    value: str


class Wording:
    """What the text needs to know beside the structure.

    Parameters
    ----------
    layered : Layered
    lanes : sequence of sequence of bool
        Of each group's leaves, whether every sample has its own.
    bounds : sequence of (bool, bool)
        Whether any member of a group has a lower bound, and an upper one.
    width : int
        Samples in the lanes of one value.
    registers : int
        Values that the machine keeps at once.
    """

    def __init__(
        self, layered: Layered, lanes: Sequence[Sequence[bool]], bounds: Sequence[tuple[bool, bool]], width: int,
        registers: int,
    ) -> None:  # fmt: skip
        self.layered, self.lanes, self.bounds, self.width, self.registers = layered, lanes, bounds, width, registers
        self.counts = [len(layered.groups[bond.small].members) for bond in layered.bonds]
        self.fields = [sum(self.counts[:n]) for n in range(len(self.counts) + 1)]  # where each bond's rows of C begin
        at = 0
        self.starts: list[int] = []  # of each group's stretch of ``where``
        for group in layered.groups:
            self.starts.append(at)
            at += 2 + len(group.leaves)
        self.bonds = at
        self.length = at + len(layered.bonds)

    def module(self) -> object:
        """The compiled module, from the cache where it is there."""
        key = self.text()
        return cache.fetch(cache.name_of("layered", key), lambda: key)[0]

    def text(self) -> str:
        parts = [_HEADER.format(width=self.width), _SHARED.strip()]
        for k in range(len(self.layered.groups)):
            parts.append(self._still(k))
            parts += [self._pass(k, count) for count in sorted({1, self._rows(k)})]
        for n, (_, feature) in enumerate(self.layered.features):
            lines, (value,) = Writer(self.layered.graph, [feature], {("q", 0): "x"}).write()
            parts.append(_straight(f"feature_{n}", "G, g, X, i", ["x = X[i]", *lines, f"G[g] = {value}"], []))
            parts += self._sums(n)
        return "\n\n\n".join([*parts, self._loop()])

    def _mine(self, k: int) -> list[int]:
        """The bonds to small groups of a wide one."""
        return [n for n, bond in enumerate(self.layered.bonds) if bond.wide == k]

    def _rows(self, k: int) -> int:
        """How many rows of a group make a pass: each needs its value and its field beside the sums and a weight."""
        summed = sum(self.counts[n] for n in self._mine(k))
        return max(1, min(_MOST, (self.registers - summed - 2)//2)) if summed else 1

    # ------------------------------------------------------------------ straight-line functions
    def _leaves(self, k: int, row: int) -> dict[tuple[str, int], str]:
        """How the leaves of a member are read."""
        return {
            ("leaf", n): f"rows[l{n} + {row}*blocks]" if own else f"flat[l{n} + {row}]"
            for n, own in enumerate(self.lanes[k])
        }  # fmt: skip

    def _arguments(self, k: int) -> str:
        return "".join(f", l{n}" for n in range(len(self.lanes[k])))

    def _still(self, k: int) -> str:
        """K of a member."""
        names = {("beta", 0): "beta", **self._leaves(k, 0)}
        lines, (value,) = Writer(self.layered.graph, [self.layered.groups[k].still], names).write()
        return _straight(f"still_{k}", f"K, flat, rows, blocks, beta, i{self._arguments(k)}",
                         [*lines, f"K[i] = {value}"], [])  # fmt: skip

    def _sums(self, n: int) -> list[str]:
        """The fields of a bond before a pass, and what keeps them."""
        names = [f"c{j}" for j in range(self.counts[n])]
        kept = [f"C[{self.fields[n] + j}] = {name}" for j, name in enumerate(names)]
        return [
            _straight(f"nothing_{n}", "zero", [], ["zero[0]"]*self.counts[n]),
            _straight(f"keep_{n}", "c, C", [_unpacked(names, "c"), *kept], []),
        ]

    def _pass(self, k: int, count: int) -> str:
        """A step of ``count`` members of a group, one after another; of a wide group what they add to other fields."""
        mine, returned = self._mine(k), list[str]()
        lines = [f"x{a} = X[i + {a}]" for a in range(count)]
        steps = [self._step(k, a) for a in range(count)]
        for step in steps:
            lines += step.before
        for position, n in enumerate(mine):
            sums = [f"c{n}_{j}" for j in range(self.counts[n])]
            lines.append(_unpacked(sums, f"c{n}"))
            returned += sums
            for j, name in enumerate(sums):
                lines.append(f"g = G[{self.fields[n] + j}]")
                for a, step in enumerate(steps):
                    lines.append(f"w = M[m{n} + {a*len(sums) + j}]")
                    lines.append(f"s{n}_{a} = w*g" if j == 0 else f"s{n}_{a} = s{n}_{a} + w*g")
                    lines.append(f"{name} = {name} + w*{step.features[position]}")
        for step in steps:
            lines += step.after
        lines += [f"X[i + {a}] = {step.value}" for a, step in enumerate(steps)]
        head = "".join(f"c{n}, m{n}, " for n in mine)
        small = "".join(f"h{n}, " for n, bond in enumerate(self.layered.bonds) if bond.small == k)
        head += f"{small}X, K, G, C, M, flat, rows, blocks, lower, upper, step, beta, i{self._arguments(k)}"
        return _straight(f"pass_{k}_{count}", head, lines, returned)

    def _step(self, k: int, row: int) -> _Step:
        """q - step*slope within its bounds; what is computed for the features of q serves it, too."""
        graph = self.layered.graph
        names = {("q", 0): f"x{row}", ("K", 0): f"K[i + {row}]", ("step", 0): "step", ("beta", 0): "beta"}
        names |= self._leaves(k, row)
        for n, bond in enumerate(self.layered.bonds):
            names["field", n] = f"s{n}_{row}" if bond.wide == k else f"C[h{n} + {row}]"
        new = graph.sum([
            (graph.symbol("q", 0), 1), (graph.times(graph.symbol("step", 0), self.layered.groups[k].slope), -1),
        ])  # fmt: skip
        features = [self.layered.features[n][0] for n in self._mine(k)]
        writer = Writer(graph, [*features, new], names)
        writer.prepare()
        found = [_marked(writer.rendered(node), row) for node in features]
        before = len(writer.lines)
        value = _marked(writer.rendered(new), row)
        low, high = self.bounds[k]  # written so that what is no number stays none
        value = f"maximum(lower[i + {row}], {value})" if low else value
        value = f"minimum(upper[i + {row}], {value})" if high else value
        lines = [_marked(line, row) for line in writer.lines]
        return _Step(lines[:before], found, lines[before:], value)

    # ------------------------------------------------------------------ the loop
    def _loop(self) -> str:
        groups, bonds = self.layered.groups, self.layered.bonds
        arguments = "q, flat, rows, M, lower, upper, zero, X, K, G, C, where, blocks, steps, step, beta"
        lines = ["@entry_jit", f"def relax({arguments}):"]
        for k, group in enumerate(groups):
            at = self.starts[k]
            lines.append(f"    i{k}, n{k} = where[{at}], where[{at + 1}]")
            lines += [f"    l{k}_{n} = where[{at + 2 + n}]" for n in range(len(group.leaves))]
        lines += [f"    m{n} = where[{self.bonds + n}]" for n in range(len(bonds))]
        lines.append("    for k in range(blocks):")
        for k in range(len(groups)):
            lines += [
                f"        for j in range(n{k}):",
                f"            moved(X, i{k} + j, q, (i{k} + j)*blocks + k)",
                f"            still_{k}(K, flat, rows, blocks, beta, i{k} + j{self._places(k)})",
            ]
        lines += [f"        {line}" for line in self._features()]
        lines.append("        for n in range(steps):")
        small = {bond.small for bond in bonds}
        for k in sorted(range(len(groups)), key=lambda k: k in small):
            lines += [f"            {line}" for line in self._group(k)]
        lines += [f"            {line}" for line in self._features()]
        for k in range(len(groups)):
            lines += [f"        for j in range(n{k}):", f"            moved(q, (i{k} + j)*blocks + k, X, i{k} + j)"]
        return "\n".join(lines) + "\n"

    def _places(self, k: int) -> str:
        """Where the leaves of member j of a group stand."""
        return "".join(
            f", (l{k}_{n} + j)*blocks + k" if own else f", l{k}_{n} + j" for n, own in enumerate(self.lanes[k])
        )  # fmt: skip

    def _features(self) -> list[str]:
        lines = []
        for n, bond in enumerate(self.layered.bonds):
            lines += [f"for j in range({self.counts[n]}):",
                      f"    feature_{n}(G, {self.fields[n]} + j, X, i{bond.small} + j)"]  # fmt: skip
        return lines

    def _group(self, k: int) -> list[str]:
        """A step of all members of a group."""
        mine, count = self._mine(k), self._rows(k)
        lines = [f"c{n} = nothing_{n}(zero)" for n in mine]
        head = "".join(f"c{n}, m{n} + j*{self.counts[n]}, " for n in mine)
        head += "".join(f"{self.fields[n]} + j, " for n, bond in enumerate(self.layered.bonds) if bond.small == k)
        rest = f"X, K, G, C, M, flat, rows, blocks, lower, upper, step, beta, i{k} + j{self._places(k)}"
        whole = f"n{k} - n{k} % {count}" if count > 1 else f"n{k}"
        for size, span in ((count, f"{whole}"), (1, f"{whole}, n{k}"))[: 2 if count > 1 else 1]:
            lines.append(f"for j in range(0, {span}, {size}):" if size > 1 else f"for j in range({span}):")
            call = f"pass_{k}_{size}({head}{rest})"
            if len(mine) == 1:
                lines.append(f"    c{mine[0]} = {call}")
            elif mine:
                lines.append(f"    c = {call}")
                begin = 0
                for n in mine:
                    lines.append(f"    c{n} = c[{begin}:{begin + self.counts[n]}]")
                    begin += self.counts[n]
            else:
                lines.append(f"    {call}")
        return lines + [f"keep_{n}(c{n}, C)" for n in mine]


def _unpacked(names: Sequence[str], source: str) -> str:
    return ", ".join(names) + f"{',' if len(names) == 1 else ''} = {source}"


def _marked(text: str, row: int) -> str:
    """Names that a writer gave, for one of several rows."""
    return re.sub(r"\ba(\d+)_\b", rf"a\1_{row}", text)


def _straight(name: str, arguments: str, lines: Sequence[str], returned: Sequence[str]) -> str:
    body = "".join(f"    {line}\n" for line in lines)
    values = f"({', '.join(returned)}{',' if len(returned) == 1 else ''})" if returned else "()"
    return f"@straight\ndef {name}({arguments}):\n{body}    return {values}"
