"""The text of compiled relaxation (see :mod:`.layered`): a block of samples in lanes, a pass over each wide group.

Rows of ``q`` and ``K`` are (coordinate, block of lanes). ``where`` holds, group by group, where its members begin and
how many they are, where its leaves begin in ``flat`` (one number a coordinate) or ``rows`` (lanes), and for each bond
where its matrix (wide, small) begins in ``M``. Of all blocks of lanes some may be
unused, so that rows stand apart in the cache. Small groups are tuples of values, and so are the fields on them.
"""

from __future__ import annotations

from collections.abc import Sequence

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


class Wording:
    """What the text needs to know beside the structure: which leaves are lanes, which groups have bounds."""

    def __init__(self, layered: Layered, lanes: Sequence[Sequence[bool]], bounded: Sequence[bool], width: int) -> None:
        self.layered, self.lanes, self.bounded, self.width = layered, lanes, bounded, width
        self.counts = {k: len(layered.groups[k].members) for k in layered.small}
        at = 0
        self.starts: list[int] = []  # of each group's stretch of ``where``
        for group in layered.groups:
            self.starts.append(at)
            at += 2 + len(group.leaves)
        self.bonds = at
        self.length = at + len(layered.bonds)

    def module(self) -> object:
        """The compiled module, from the cache where it is there."""
        key = f"{self.text()}"
        return cache.fetch(cache.name_of("layered", key), lambda: key)[0]

    def text(self) -> str:
        layered = self.layered
        parts = [_HEADER.format(width=self.width)]
        for k in range(len(layered.groups)):
            parts.append(self._small(k) if k in self.counts else self._wide(k))
        for n in range(len(layered.bonds)):
            parts.append(self._features(n))
        return "\n\n".join([*parts, self._loop()])

    # ------------------------------------------------------------------ straight-line functions
    def _leaves(self, k: int, offset: str = "") -> dict[tuple[str, int], str]:
        """How the leaves of a member are read; f0, f1, ... and x0, x1, ... are where they stand."""
        found = {}
        for n, own in enumerate(self.lanes[k]):
            shift = f" + {offset}" if offset else ""
            found["leaf", n] = f"rows[l{n}{shift and shift + '*blocks'}]" if own else f"flat[l{n}{shift}]"
        return found

    def _value(
        self, k: int, extra: Sequence[Node], names: dict[tuple[str, int], str], bound: str
    ) -> tuple[list[str], list[str]]:
        """Lines, and what they call the new value of a member and some functions of the old one."""
        graph = self.layered.graph
        x, step = graph.symbol("q", 0), graph.symbol("step", 0)
        new = graph.sum([(x, 1), (graph.times(step, self.layered.groups[k].slope), -1)])
        lines, values = Writer(graph, [new, *extra], {**names, ("step", 0): "step", ("beta", 0): "beta"}).write()
        if self.bounded[k]:
            lines.append(f"new = minimum(maximum({values[0]}, lower[{bound}]), upper[{bound}])")
            values[0] = "new"
        return lines, values

    def _wide(self, k: int) -> str:
        layered = self.layered
        mine = [(n, bond) for n, bond in enumerate(layered.bonds) if bond.wide == k]
        names = {("q", 0): "x", ("K", 0): "K[r]", **self._leaves(k)}
        lines = ["x = q[r]"]
        for n, bond in mine:
            count = self.counts[bond.small]
            lines += [", ".join(f"g{n}_{j}" for j in range(count)) + f"{',' if count == 1 else ''} = g{n}"]
            lines += [", ".join(f"c{n}_{j}" for j in range(count)) + f"{',' if count == 1 else ''} = c{n}"]
            lines += [f"w{n}_{j} = M[m{n} + {j}]" for j in range(count)]
            lines += [f"s{n}_{h} = " + " + ".join(f"w{n}_{j}*g{n}_{j}" for j in range(h, count, 2))
                      for h in range(min(2, count))]  # fmt: skip
            names["field", n] = f"(s{n}_0 + s{n}_1)" if count > 1 else f"s{n}_0"
        body, values = self._value(k, [layered.features[n][0] for n, _ in mine], names, "i")
        lines += [*body, f"q[r] = {values[0]}"]
        returned = []
        for (n, bond), feature in zip(mine, values[1:], strict=True):
            returned += [f"c{n}_{j} + w{n}_{j}*{feature}" for j in range(self.counts[bond.small])]
        tuples = "".join(f"g{n}, c{n}, m{n}, " for n, _ in mine)
        leaves = "".join(f", l{n}" for n in range(len(self.lanes[k])))
        head = f"{tuples}q, K, flat, rows, M, lower, upper, step, beta, r, i{leaves}"
        return _straight(f"wide_{k}", head, lines, returned)

    def _small(self, k: int) -> str:
        mine = [n for n, bond in enumerate(self.layered.bonds) if bond.small == k]
        count = self.counts[k]
        lines, returned = [_unpacked("o", count)], []
        lines += [_unpacked(f"c{n}_", count, f"c{n}") for n in mine]
        for j in range(count):
            names = {("q", 0): f"o{j}", ("K", 0): f"K[r + {j}*blocks]", **self._leaves(k, str(j))}
            names |= {("field", n): f"c{n}_{j}" for n in mine}
            body, values = self._value(k, [], names, f"i + {j}")
            body = [line.replace("new =", f"new{j} =") for line in body]
            value = f"new{j}" if values[0] == "new" else values[0]
            body = [_renamed(line, j) for line in body]
            lines += [*body, f"v{j} = {_renamed(value, j)}"]
            returned.append(f"v{j}")
        fields = "".join(f"c{n}, " for n in mine)
        leaves = "".join(f", l{n}" for n in range(len(self.lanes[k])))
        arguments = f"o, {fields}K, flat, rows, lower, upper, step, beta, r, i, blocks{leaves}"
        load = _straight(f"load_{k}", "q, r, blocks", [], [f"q[r + {j}*blocks]" for j in range(count)])
        keep = _straight(f"keep_{k}", "o, q, r, blocks",
                         [_unpacked("o", count), *(f"q[r + {j}*blocks] = o{j}" for j in range(count))], [])  # fmt: skip
        return "\n\n".join([_straight(f"small_{k}", arguments, lines, returned), load, keep])

    def _features(self, n: int) -> str:
        """g of a bond's small group, and where its field begins."""
        layered, count = self.layered, self.counts[self.layered.bonds[n].small]
        lines, returned = [_unpacked("o", count)], []
        for j in range(count):
            body, values = Writer(layered.graph, [layered.features[n][1]], {("q", 0): f"o{j}"}).write()
            lines += [*(_renamed(line, j) for line in body), f"v{j} = {_renamed(values[0], j)}"]
            returned.append(f"v{j}")
        nothing = _straight(f"nothing_{n}", "zero", [], ["zero[0]"]*count)
        return "\n\n".join([_straight(f"features_{n}", "o", lines, returned), nothing])

    # ------------------------------------------------------------------ the loop
    def _loop(self) -> str:
        layered = self.layered
        arguments = "q, K, flat, rows, M, lower, upper, zero, where, blocks, used, steps, step, beta"
        lines = ["@entry_jit", f"def relax({arguments}):", "    for k in range(used):"]
        for k in self.counts:
            lines.append(f"        o{k} = load_{k}(q, where[{self.starts[k]}]*blocks + k, blocks)")
        lines.append("        for n in range(steps):")
        for n, bond in enumerate(layered.bonds):
            lines += [f"            c{n} = nothing_{n}(zero)", f"            g{n} = features_{n}(o{bond.small})"]
        for k, group in enumerate(layered.groups):
            if k in self.counts:
                continue
            mine = [n for n, bond in enumerate(layered.bonds) if bond.wide == k]
            at = self.starts[k]
            lines.append(f"            for j in range(where[{at + 1}]):")
            lines.append(f"                i = where[{at}] + j")
            leaves = ""
            for n in range(len(group.leaves)):
                start = f"where[{at + 2 + n}] + j"
                leaves += f", ({start})*blocks + k" if self.lanes[k][n] else f", {start}"
            tuples = ""
            for n in mine:
                count = self.counts[layered.bonds[n].small]
                tuples += f"g{n}, c{n}, where[{self.bonds + n}] + j*{count}, "
            call = f"wide_{k}({tuples}q, K, flat, rows, M, lower, upper, step, beta, i*blocks + k, i{leaves})"
            if len(mine) == 1:
                lines.append(f"                c{mine[0]} = {call}")
            elif not mine:
                lines.append(f"                {call}")
            else:
                lines.append(f"                c = {call}")
                begin = 0
                for n in mine:
                    count = self.counts[layered.bonds[n].small]
                    lines.append(f"                c{n} = c[{begin}:{begin + count}]")
                    begin += count
        for k in self.counts:
            at = self.starts[k]
            fields = "".join(f"c{n}, " for n, bond in enumerate(layered.bonds) if bond.small == k)
            leaves = ""
            for n in range(len(layered.groups[k].leaves)):
                start = f"where[{at + 2 + n}]"
                leaves += f", {start}*blocks + k" if self.lanes[k][n] else f", {start}"
            lines.append(
                f"            o{k} = small_{k}(o{k}, {fields}K, flat, rows, lower, upper, step, beta, "
                f"where[{at}]*blocks + k, where[{at}], blocks{leaves})"
            )
        for k in self.counts:
            lines.append(f"        keep_{k}(o{k}, q, where[{self.starts[k]}]*blocks + k, blocks)")
        return "\n".join(lines) + "\n"


def _unpacked(prefix: str, count: int, source: str = "o") -> str:
    return ", ".join(f"{prefix}{j}" for j in range(count)) + f"{',' if count == 1 else ''} = {source}"


def _renamed(text: str, j: int) -> str:
    """Names that a writer gave, for one of several members."""
    import re

    return re.sub(r"\ba(\d+)_\b", rf"a\1_{j}", text)


def _straight(name: str, arguments: str, lines: Sequence[str], returned: Sequence[str]) -> str:
    body = "".join(f"    {line}\n" for line in lines)
    values = f"({', '.join(returned)}{',' if len(returned) == 1 else ''})" if returned else "()"
    return f"@straight\ndef {name}({arguments}):\n{body}    return {values}\n"
