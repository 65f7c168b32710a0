"""The text of compiled relaxation (see :mod:`.layered`): a block of samples in lanes, passes over each wide group.

Rows of a state are (coordinate, block of lanes). A block is copied to ``X``, one row a coordinate, where it stays in
the first level of the cache; ``K`` holds what does not move, ``G`` the functions g of small groups that wide ones are
coupled to, ``C`` the fields on small groups. A pass over a wide group takes some of its rows at once, and as many
units of small groups as the registers hold: the rows share the loads of ``G``, and what they add to ``C`` is summed in
registers. Where one pass is not enough, ``S`` keeps the rows' fields between passes, and ``F`` their functions f.

``where`` holds, group by group, where its members begin and how many they are, where its leaves begin in ``flat`` (one
number a coordinate) or ``rows`` (lanes), and for each bond where its matrix (wide, small) begins in ``M``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from . import cache
from .layered import Layered
from .writer import Writer, literal

_HEADER = '''"""Relaxation of layers. Generated; do not edit."""

from __future__ import annotations

from numba import njit

from lagrangian_eqprop.compiler.straight import straight

OPTIONS = {{"nogil": True, "error_model": "numpy", "fastmath": {{"contract", "nsz"}}}}
WIDTH = {width}  # samples in the lanes of one value


def entry_jit(function):
    return njit(cache=True, **OPTIONS)(function)


@straight
def moved(to, row, source, other):
    to[row] = source[other]
    return ()


@straight
def summed(sum, rows, i):
    s, = sum
    return (s + rows[i],)


@straight
def first(rows, i):
    return (rows[i],)


@straight
def apart(rows, to, one, other, keep, i, sum):
    s, = sum
    d = (rows[one] - rows[other])*keep[i]
    rows[to] = d
    return (s + d,)


@straight
def stored(to, row, value):
    v, = value
    to[row] = v
    return ()


@entry_jit
def difference(rows, stride, one, other, to, keep, row, sums, count, blocks):
    """to = one - other of all coordinates in the lanes of samples, and its sums over them."""
    for i in range(count):
        sum = first(keep, blocks)  # a row of zeros
        for k in range(blocks):
            at = i*stride + k
            sum = apart(rows, to + at, one + at, other + at, keep, k, sum)
        stored(row, 0, sum)
        sums[i] = 0.0
        for lane in range(WIDTH):
            sums[i] += row[0, lane]
'''
RELAXED = (
    "source, source_stride, begin, target, stride, to, apart, total, flat, rows, across, M, lower, upper, zero, "
    "X, K, G, C, S, F, where, count, blocks, phases, steps, step, betas"
)
_ROWS = 4  # of a wide group at once: sums that do not wait for each other
_SPARE = 2  # registers for a weight and a value of G
Bound = float | bool  # of a group: one number, whether its members have any


class _Part(NamedTuple):
    """What one pass over a wide group adds up: units (bond, number) of small groups."""

    units: list[tuple[int, int]]
    first: bool
    last: bool

    @property
    def bonds(self) -> list[int]:
        return list(dict.fromkeys(n for n, _ in self.units))


class Wording:
    """What the text needs to know beside the structure.

    Parameters
    ----------
    layered : Layered
    lanes : sequence of sequence of bool
        Of each group's leaves, whether every sample has its own.
    bounds : sequence of (float or bool, float or bool)
        Of each group, the lower and the upper bound: the number that is that of all members, or whether any has one.
    width : int
        Samples in the lanes of one value.
    registers : int
        Values that the machine keeps at once.
    """

    def __init__(
        self, layered: Layered, lanes: Sequence[Sequence[bool]], bounds: Sequence[tuple[Bound, Bound]], width: int,
        registers: int,
    ) -> None:  # fmt: skip
        self.layered, self.lanes, self.bounds, self.width = layered, lanes, bounds, width
        self.most = max(1, registers - 2*_ROWS - _SPARE)  # units in a pass
        self.counts = [len(layered.groups[bond.small].members) for bond in layered.bonds]
        self.fields = [sum(self.counts[:n]) for n in range(len(self.counts) + 1)]  # where each bond's rows of C begin
        self.small = {bond.small for bond in layered.bonds}
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
        parts = [_HEADER.format(width=self.width)]
        for k in range(len(self.layered.groups)):
            parts.append(self._still(k))
            mine = self._parts(k)
            for number, part in enumerate(mine):
                parts += [self._pass(k, number, part, count) for count in (_ROWS, 1)]
                parts += self._sums(k, number, part)
            if not mine:
                parts.append(self._alone(k))
        for n, (_, feature) in enumerate(self.layered.features):
            lines, (value,) = Writer(self.layered.graph, [feature], {("q", 0): "x"}).write()
            parts.append(_straight(f"feature_{n}", "G, g, X, i", ["x = X[i]", *lines, f"G[g] = {value}"], []))
        return "\n\n".join([*parts, self._loop(), self._judgement()])

    def _mine(self, k: int) -> list[int]:
        """The bonds to small groups of a wide one."""
        return [n for n, bond in enumerate(self.layered.bonds) if bond.wide == k]

    def _parts(self, k: int) -> list[_Part]:
        """The passes over a wide group, of about as many units each."""
        units = [(n, j) for n in self._mine(k) for j in range(self.counts[n])]
        many = -(-len(units)//self.most)
        cuts = [len(units)*p//max(many, 1) for p in range(many + 1)]
        return [_Part(units[cuts[p] : cuts[p + 1]], p == 0, p == many - 1) for p in range(many)]

    # ------------------------------------------------------------------ straight-line functions
    def _leaves(self, k: int, row: int) -> dict[tuple[str, int], str]:
        """How the leaves of a member are read."""
        return {
            ("leaf", n): f"rows[l{n} + {row}*across]" if own else f"flat[l{n} + {row}]"
            for n, own in enumerate(self.lanes[k])
        }  # fmt: skip

    def _arguments(self, k: int) -> str:
        leaves = "".join(f", l{n}" for n in range(len(self.lanes[k])))
        return f"X, K, G, C, S, F, M, flat, rows, across, lower, upper, step, beta, count, i{leaves}"

    def _still(self, k: int) -> str:
        """K of a member."""
        names = {("beta", 0): "beta", **self._leaves(k, 0)}
        lines, (value,) = Writer(self.layered.graph, [self.layered.groups[k].still], names).write()
        return _straight(f"still_{k}", self._arguments(k), [*lines, f"K[i] = {value}"], [])

    def _sums(self, k: int, number: int, part: _Part) -> list[str]:
        """The sums of a pass before it, and what keeps them."""
        names = [f"c{n}_{j}" for n, j in part.units]
        kept = [f"C[{self.fields[n] + j}] = c{n}_{j}" for n, j in part.units]
        return [
            _straight(f"nothing_{k}_{number}", "zero", [], ["zero[0]"]*len(names)),
            _straight(f"keep_{k}_{number}", "c, C", [_unpacked(names, "c"), *kept], []),
        ]

    def _pass(self, k: int, number: int, part: _Part, count: int) -> str:
        """A part of a step of ``count`` members of a wide group; what they add to the fields of its units."""
        sums = [f"c{n}_{j}" for n, j in part.units]
        lines = [_unpacked(sums, "c"), *(f"x{a} = X[i + {a}]" for a in range(count))]
        mine, begun = self._mine(k), set[tuple[int, int]]()
        steps = [self._step(k, a, part) for a in range(count)]
        for step in steps:
            lines += step.before
        for n in part.bonds:
            if (n, 0) not in part.units:
                lines += [f"s{n}_{a} = S[{mine.index(n)}*count + i + {a}]" for a in range(count)]
                begun |= {(n, a) for a in range(count)}
        for n, j in part.units:
            lines.append(f"g = G[{self.fields[n] + j}]")
            for a, step in enumerate(steps):
                lines += [
                    f"w = M[m{n} + {a*self.counts[n] + j}]",
                    f"s{n}_{a} = s{n}_{a} + w*g" if (n, a) in begun else f"s{n}_{a} = w*g",
                    f"c{n}_{j} = c{n}_{j} + w*{step.features[n]}",
                ]
                begun.add((n, a))
        if part.last:
            for n in mine:
                if n not in part.bonds:
                    lines += [f"s{n}_{a} = S[{mine.index(n)}*count + i + {a}]" for a in range(count)]
            for step in steps:
                lines += step.after
            lines += [f"X[i + {a}] = {step.value}" for a, step in enumerate(steps)]
        else:
            lines += [f"S[{mine.index(n)}*count + i + {a}] = s{n}_{a}" for n in part.bonds for a in range(count)]
        head = "c, " + "".join(f"m{n}, " for n in mine)
        return _straight(f"pass_{k}_{number}_{count}", head + self._arguments(k), lines, sums)

    def _step(self, k: int, row: int, part: _Part) -> _Step:
        """A new value, q - step*slope within its bounds; what is computed for the features of q serves it, too."""
        mine, graph = self._mine(k), self.layered.graph
        names = {("q", 0): f"x{row}", ("K", 0): f"K[i + {row}]", ("step", 0): "step", ("beta", 0): "beta"}
        names |= self._leaves(k, row)
        for n, bond in enumerate(self.layered.bonds):
            names["field", n] = f"s{n}_{row}" if bond.wide == k else f"C[h{n}]"
        slope = self.layered.groups[k].slope
        new = graph.sum([(graph.symbol("q", 0), 1), (graph.times(graph.symbol("step", 0), slope), -1)])
        features = {n: self.layered.features[n][0] for n in mine}
        writer = Writer(graph, [*features.values(), new], names)
        writer.prepare()
        before, kept = list[str](), {n: f"F[{mine.index(n)}*count + i + {row}]" for n in mine}
        if not part.first:  # an earlier pass has computed them
            for n, node in features.items():
                if node != graph.symbol("q", 0):
                    before.append(f"f{n}_{row} = {kept[n]}")
                    writer.text[node] = f"f{n}_{row}"
        found = {n: _marked(writer.rendered(node), row) for n, node in features.items()}
        lines = len(writer.lines)
        value = _marked(writer.rendered(new), row)
        low, high = self.bounds[k]  # written so that what is no number stays none
        if low is not False:
            value = f"maximum({f'lower[i + {row}]' if low is True else literal(low)}, {value})"
        if high is not False:
            value = f"minimum({f'upper[i + {row}]' if high is True else literal(high)}, {value})"
        text = [_marked(line, row) for line in writer.lines]
        before += text[:lines]
        if part.first and not part.last:
            before += [f"{kept[n]} = {found[n]}" for n in mine if features[n] != graph.symbol("q", 0)]
        return _Step(before, found, text[lines:], value)

    def _alone(self, k: int) -> str:
        """A step of a member of a small group, or of one without bonds."""
        step = self._step(k, 0, _Part([], True, True))
        fields = "".join(f"h{n}, " for n, bond in enumerate(self.layered.bonds) if bond.small == k)
        lines = ["x0 = X[i]", *step.before, *step.after, f"X[i] = {step.value}"]
        return _straight(f"alone_{k}", fields + self._arguments(k), lines, [])

    # ------------------------------------------------------------------ the loop
    def _loop(self) -> str:
        groups = self.layered.groups
        lines = [
            "@entry_jit", f"def relax({RELAXED}):",
            '    """Phases from the source, then from the end of the first one, to ``to``, ``to + apart``, ..."""',
            *self._places(), "    for k in range(blocks):", "        for p in range(phases):",
            "            beta = betas[p]",
            "            if p == 0:",
            "                for i in range(count):",
            "                    moved(X, i, source, begin + i*source_stride + k)",
            "            elif p > 1:",
            "                for i in range(count):",
            "                    moved(X, i, target, to + i*stride + k)",
        ]  # fmt: skip
        for k in range(len(groups)):
            always = ("beta", 0) in self.layered.graph.symbols([groups[k].still])
            lines += [
                f"            for j in range(n{k}{'' if always else ' if p == 0 else 0'}):",
                f"                still_{k}({self._given(k)})",
            ]
        lines += [f"            {line}" for line in self._features()]
        lines.append("            for n in range(steps[p]):")
        for k in sorted(range(len(groups)), key=lambda k: k in self.small):
            lines += [f"                {line}" for line in self._group(k)]
        lines += [f"                {line}" for line in self._features()]
        lines += [
            "            sum = first(zero, 0)",
            "            for i in range(count):",
            "                moved(target, to + p*apart + i*stride + k, X, i)",
            "                sum = summed(sum, X, i)",
            "            stored(total, p*blocks + k, sum)",
        ]
        return "\n".join(lines) + "\n"

    def _places(self) -> list[str]:
        """Where everything begins, once for all blocks."""
        lines = []
        for k, group in enumerate(self.layered.groups):
            at = self.starts[k]
            lines.append(f"    i{k}, n{k} = where[{at}], where[{at + 1}]")
            lines += [f"    l{k}_{n} = where[{at + 2 + n}]" for n in range(len(group.leaves))]
        return lines + [f"    m{n} = where[{self.bonds + n}]" for n in range(len(self.layered.bonds))]

    def _judgement(self) -> str:
        """The costs of all samples in a state."""
        graph, parts, lines = self.layered.graph, list[str](), list[str]()
        for k, group in enumerate(self.layered.groups):
            if group.cost == graph.zero:
                continue
            names = {("q", 0): "x", **self._leaves(k, 0)}
            text, (value,) = Writer(graph, [group.cost], names).write()
            leaves = "".join(f", l{n}" for n in range(len(self.lanes[k])))
            parts.append(_straight(f"cost_{k}", f"sum, q, at, flat, rows, across{leaves}",
                                   ["s, = sum", "x = q[at]", *text], [f"s + {value}"]))  # fmt: skip
            given = f"sum, q, at + (i{k} + j)*stride + k, flat, rows, across{self._leaf_places(k)}"
            lines += [f"        for j in range(n{k}):", f"            sum = cost_{k}({given})"]
        arguments = "q, at, stride, flat, rows, across, zero, where, blocks, costs"
        lines = [
            "@entry_jit", f"def judged({arguments}):",
            *self._places(), "    for k in range(blocks):", "        sum = first(zero, 0)", *lines,
            "        stored(costs, k, sum)",
        ]  # fmt: skip
        return "\n\n".join([*parts, "\n".join(lines) + "\n"])

    def _leaf_places(self, k: int) -> str:
        """Where the leaves of member j of a group stand."""
        return "".join(
            f", (l{k}_{n} + j)*across + k" if own else f", l{k}_{n} + j" for n, own in enumerate(self.lanes[k])
        )  # fmt: skip

    def _given(self, k: int) -> str:
        """The arguments for member j of a group."""
        return (
            "X, K, G, C, S, F, M, flat, rows, across, lower, upper, step, beta, count, "
            f"i{k} + j{self._leaf_places(k)}"
        )  # fmt: skip

    def _features(self) -> list[str]:
        lines = []
        for n, bond in enumerate(self.layered.bonds):
            lines += [f"for j in range({self.counts[n]}):",
                      f"    feature_{n}(G, {self.fields[n]} + j, X, i{bond.small} + j)"]  # fmt: skip
        return lines

    def _group(self, k: int) -> list[str]:
        """A step of all members of a group."""
        parts = self._parts(k)
        if not parts:
            fields = "".join(f"{self.fields[n]} + j, " for n, bond in enumerate(self.layered.bonds) if bond.small == k)
            return [f"for j in range(n{k}):", f"    alone_{k}({fields}{self._given(k)})"]
        lines = []
        head = "c, " + "".join(f"m{n} + j*{self.counts[n]}, " for n in self._mine(k))
        for number in range(len(parts)):
            call = f"c = pass_{k}_{number}_%d({head}{self._given(k)})"
            lines += [
                f"c = nothing_{k}_{number}(zero)",
                f"for j in range(0, n{k} - n{k} % {_ROWS}, {_ROWS}):", f"    {call % _ROWS}",
                f"for j in range(n{k} - n{k} % {_ROWS}, n{k}):", f"    {call % 1}",
                f"keep_{k}_{number}(c, C)",
            ]  # fmt: skip
        return lines


class _Step(NamedTuple):
    """The new value of a member: lines for its features, these, lines that read fields, and what to call it."""

    before: list[str]
    features: dict[int, str]
    after: list[str]
    value: str


def _unpacked(names: Sequence[str], source: str) -> str:
    return ", ".join(names) + f"{',' if len(names) == 1 else ''} = {source}"


def _marked(text: str, row: int) -> str:
    """Names that a writer gave, for one of several rows."""
    return re.sub(r"\ba(\d+)_\b", rf"a\1_{row}", text)


def _straight(name: str, arguments: str, lines: Sequence[str], returned: Sequence[str]) -> str:
    body = "".join(f"    {line}\n" for line in lines)
    values = f"({', '.join(returned)}{',' if len(returned) == 1 else ''})" if returned else "()"
    return f"@straight\ndef {name}({arguments}):\n{body}    return {values}\n"
