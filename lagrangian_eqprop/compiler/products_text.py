"""Emission for systems of matrix products: what happens between the products, site by site, samples in lanes.

State is an array (coordinate, sample), seen as rows of ``blocks`` values in lanes. In one pass over the coordinates a
site collects its force, is kicked and drifts, while its row is near the core: terms of one coordinate are computed
there, products are read. Terms of several coordinates run before, over their tables.

The symbols of parameters, inputs and targets are read by a table of integers, three for each: where its values begin,
the strides of a time label and of a place. A value that is the same for all samples stands in a flat array (``c``,
``s``), one of each sample in rows of lanes (``L``, ``S``).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple

from ..symbols.definition import Definition
from ..symbols.graph import Graph, Node
from ..symbols.terms import LocalTerm
from . import cache
from .build import Build
from .derivatives import directional
from .kernel import text_of
from .lowering import Local
from .products import Part
from .unrolled import Flags
from .writer import Writer

_HEADER = '''"""{title}"""

from __future__ import annotations

from numba import njit

from lagrangian_eqprop.compiler.straight import straight

OPTIONS = {{"nogil": True, "error_model": "numpy", "fastmath": {{"contract", "nsz"}}}}
WIDTH = {width}  # samples in the lanes of one value


def jit(function):
    return njit(**OPTIONS)(function)


def entry_jit(function):
    return njit(cache=True, **OPTIONS)(function)
'''
_READ = {"p": ("c", "L"), "u": ("s", "S"), "y": ("s", "S")}
_VALUES = "c, L, s, S, t, j, where, tables, blocks"
_builds: dict[str, Build] = {}
SYMBOL, PLACE = 3, 2  # integers for a symbol to be read, and for the sums of a parameter


class Reading:
    """How a term's symbols and its places are found: its stretch of the table ``where``."""

    def __init__(self, term: LocalTerm, flags: Flags, batched: Sequence[bool], start: int) -> None:
        self.term, self.start = term, start
        given = {"p": batched, "u": flags.inputs, "y": flags.targets}
        self.symbols = [(kind, k) for kind in ("p", "u", "y") for k in term.indices(kind)]
        self.own = {(kind, k): bool(given[kind][k]) for kind, k in self.symbols}
        self.parameters = term.indices("p")
        self.sums = start + 2 + SYMBOL*len(self.symbols)  # before them: where the term's table begins, and its places
        self.stop = self.sums + PLACE*len(self.parameters)

    def leaves(self) -> dict[tuple[str, int], str]:
        """What each symbol is in a straight-line function."""
        found = {("t", 0): "t", ("weight", 0): "weight"}
        for a in range(self.term.size):
            found["q", a], found["dq", a] = f"q[r{a}]", f"dq[r{a}]"
        for kind, k in self.symbols:
            found[kind, k] = f"{_READ[kind][self.own[kind, k]]}[{kind}_{k}]"
        return found

    def names(self) -> list[str]:
        """The names of the indices that a straight-line function takes."""
        return [f"{kind}_{k}" for kind, k in self.symbols] + [f"g_{k}" for k in self.parameters]

    def lines(self) -> list[str]:
        """Assignments of where the values of a place begin."""
        found = []
        for n, (kind, k) in enumerate(self.symbols):
            at = self.start + 2 + SYMBOL*n
            found.append(f"{kind}_{k} = where[{at}] + j*where[{at + 1}] + place*where[{at + 2}]")
        for n, k in enumerate(self.parameters):
            found.append(f"g_{k} = where[{self.sums + PLACE*n}] + place*where[{self.sums + PLACE*n + 1}]")
        return found

    def arguments(self) -> str:
        """The indices of the block of lanes number k."""
        names = [f", {kind}_{k}" + ("*blocks + k" if self.own[kind, k] else "") for kind, k in self.symbols]
        names += [f", g_{k}" + ("*blocks + k" if self.own["p", k] else "") for k in self.parameters]
        return "".join(names)


class Emission:
    """The text of a module, and the numbers by which its tables call terms, products and features."""

    def __init__(
        self, system: Definition, costs: Sequence[LocalTerm], products: Mapping[int, tuple[Part, ...]],
        flags: Flags, batched: Sequence[bool],
    ) -> None:  # fmt: skip
        self.system, self.graph = system, system.graph
        self.terms = [term for n, term in enumerate(system.terms) if n not in products]
        self.costs = list(costs)
        at, self.readings = 0, list[Reading]()
        for term in (*self.terms, *self.costs):
            self.readings.append(Reading(term, flags, batched, at))
            at = self.readings[-1].stop
        self.length = at
        every = [part for members in products.values() for part in members]
        one = self.graph.one
        self.sites = [n for n, term in enumerate(self.terms) if term.size == 1 and _force(term)]
        self.edges = [n for n, term in enumerate(self.terms) if term.size > 1 and _force(term)]
        self.pulls = list(dict.fromkeys((part.delta, part.curvature) for part in every if part.feature != one))
        self.lone = list(dict.fromkeys((part.delta, part.curvature) for part in every if part.feature == one))
        self.features = list(dict.fromkeys(part.feature for part in every if part.feature != one))
        wanted = [node for part in every if part.feature != one for node in (part.slope, part.delta)]
        self.tangents = list(dict.fromkeys(wanted))

    def kind(self, group: str, member: object) -> int:
        """The number by which a piece of a site's force is called."""
        pieces: list[tuple[str, object]] = [("site", n) for n in self.sites]
        pieces += [("pull", pair) for pair in self.pulls] + [("lone", pair) for pair in self.lone]
        return pieces.index((group, member))

    # ------------------------------------------------------------------ straight-line functions
    def text(self, title: str, width: int, kernels: Iterable[Callable]) -> str:
        parts = [_HEADER.format(title=title, width=width), *self._functions()]
        parts += [self._pieces(False), self._pieces(True), self._edges(False), self._edges(True)]
        parts += [self._fields("feature", self.features), self._fields("tangent", self.tangents)]
        parts += [self._costs(False), self._costs(True), *map(text_of, kernels)]
        return "\n\n".join(parts)

    def _functions(self) -> list[str]:
        graph, found = self.graph, list[str]()
        for n in (*self.sites, *self.edges):
            local, reading = Local(self.terms[n]).at_rest(), self.readings[n]
            force = local.slopes()[0]
            tension = directional(graph, force, local.dq)
            slopes, _, weights = local.slopes(tension)
            rows = [f"r{a}" for a in range(local.term.size)] + [f"f{a}" for a in range(local.term.size)]
            indices = ", ".join([*rows, *reading.names()])
            stores = [(f"F[f{a}]", node) for a, node in enumerate(force)]
            found.append(_straight(f"force_{n}", f"q, F, c, L, s, S, t, {indices}", graph, reading.leaves(), stores))
            stores = [(f"D[f{a}]", node) for a, node in enumerate(slopes)]
            stores += self._weighed(graph, reading, weights)
            arguments = f"q, dq, D, g, weight, c, L, s, S, t, {indices}"
            found.append(_straight(f"respond_{n}", arguments, graph, reading.leaves(), stores))
        for n, term in enumerate(self.costs):
            local, reading = Local(term), self.readings[len(self.terms) + n]
            slopes, _, owed = local.slopes()
            indices = ", ".join([*(f"r{a}" for a in range(term.size)), *reading.names()])
            weight = term.graph.symbol("weight")
            leaves = reading.leaves()
            value = [("totals[k]", term.graph.times(weight, term.root))]
            arguments = f"q, totals, k, weight, c, L, s, S, t, {indices}"
            found.append(_straight(f"loss_{n}", arguments, term.graph, leaves, value))
            mask = term.graph.symbol("mask")
            leaves["mask", 0] = "mask[k]"
            kicks = [(f"dp[r{a}]", term.graph.times(weight, mask, node)) for a, node in enumerate(slopes)]
            masked = [term.graph.times(mask, node) for node in owed]
            stores = kicks + self._weighed(term.graph, reading, masked)
            arguments = f"q, dp, g, mask, k, weight, c, L, s, S, t, {indices}"
            found.append(_straight(f"nudge_{n}", arguments, term.graph, leaves, stores))
        return found + self._products()

    def _weighed(self, graph: Graph, reading: Reading, nodes: Sequence[Node]) -> list[tuple[str, Node]]:
        weight = graph.symbol("weight")
        pairs = zip(reading.parameters, nodes, strict=True)
        return [(f"g[g_{k}]", graph.times(weight, node)) for k, node in pairs]

    def _products(self) -> list[str]:
        graph, found = self.graph, list[str]()
        product, response, rho, weight, dx = (graph.symbol(k) for k in ("P", "dP", "rho", "weight", "dq"))
        leaves = {("q", 0): "q[r]", ("dq", 0): "dq[r]", ("P", 0): "products[o]", ("dP", 0): "responses[o]",
                  ("rho", 0): "rho[o]", ("weight", 0): "weight"}  # fmt: skip
        for n, (delta, curvature) in enumerate(self.pulls):
            node = graph.times(delta, product)
            found.append(_straight(f"pull_{n}", "q, F, products, r, f, o", graph, leaves, [("F[f]", node)]))
            node = graph.sum([(graph.times(delta, response), 1), (graph.times(curvature, dx, product), 1)])
            arguments = "q, dq, D, products, responses, r, f, o"
            found.append(_straight(f"pulled_{n}", arguments, graph, leaves, [("D[f]", node)]))
        for n, (delta, curvature) in enumerate(self.lone):
            node = graph.times(delta, rho)
            found.append(_straight(f"lone_{n}", "q, F, rho, r, f, o", graph, leaves, [("F[f]", node)]))
            stores = [("D[f]", graph.times(curvature, dx, rho)), ("sums[o]", graph.times(weight, delta, dx))]
            arguments = "q, dq, D, rho, sums, weight, r, f, o"
            found.append(_straight(f"loned_{n}", arguments, graph, leaves, stores))
        found += self._moves()
        for n, feature in enumerate(self.features):
            found.append(_straight(f"feature_{n}", "q, out, r, o", graph, leaves, [("out[o]", feature)], "="))
        for n, slope in enumerate(self.tangents):
            node = graph.times(slope, dx)
            found.append(_straight(f"tangent_{n}", "q, dq, out, r, o", graph, leaves, [("out[o]", node)], "="))
        return found

    def _moves(self) -> list[str]:
        """One site's kick and drift, there and back, and the response's."""
        graph = self.graph
        leaves = {("q", 0): "q[r]", ("y", 0): "y[r]", ("dq", 0): "dq[r]", ("m", 0): "p[r]", ("dm", 0): "dp[r]",
                  ("F", 0): "F[f]", ("D", 0): "D[f]", ("inverse", 0): "inverse[m]", ("weight", 0): "weight",
                  ("h", 0): "step"}  # fmt: skip
        q, y, dq, p, dp, F, D, inverse, weight, h = (graph.symbol(kind) for kind, _ in leaves)
        kicked = graph.sum([(p, 1), (graph.times(weight, F), 1)])
        drifted = graph.sum([(q, 1), (graph.times(h, kicked, inverse), 1)])
        pulled = graph.sum([(dp, 1), (graph.times(weight, D), 1)])
        recoiled = graph.sum([(dq, 1), (graph.times(h, pulled, inverse), -1)])
        arguments = "q, y, p, F, inverse, weight, step, r, f, m"
        stores = [("p[r]", kicked), ("y[r]", drifted)]
        found = [_straight("move", arguments, graph, leaves, stores, "=")]
        arguments = "q, y, dq, dp, D, inverse, weight, step, r, f, m"
        found.append(_straight("recoil", arguments, graph, leaves, [("dp[r]", pulled), ("dq[r]", recoiled)], "="))
        carried = graph.times(graph.sum([(q, 1), (y, -1)]), dp)
        found.append(_straight("carry", "q, y, dp, inertia, r, a", graph, leaves, [("inertia[a]", carried)]))
        return [*found, _straight("clear_row", "F, f", graph, leaves, [("F[f]", graph.zero)], "=")]

    # ------------------------------------------------------------------ loops
    def _pieces(self, response: bool) -> str:
        """The pieces of one site's force, or of its response."""
        branches = []
        for n in self.sites:
            reading = self.readings[n]
            call = (f"respond_{n}(q, dq, D, g, weight, c, L, s, S, t" if response else f"force_{n}(q, F, c, L, s, S, t")
            loop = ["for k in range(blocks):", f"    {call}, i*blocks + k, f + k{reading.arguments()})"]
            branches.append([*reading.lines(), *loop])
        for n in range(len(self.pulls)):
            call = f"pulled_{n}(q, dq, D, products, responses" if response else f"pull_{n}(q, F, products"
            branches.append(["for k in range(blocks):", f"    {call}, i*blocks + k, f + k, place*blocks + k)"])
        for n in range(len(self.lone)):
            call = f"loned_{n}(q, dq, D, rho, sums, weight" if response else f"lone_{n}(q, F, rho"
            branches.append(["for k in range(blocks):", f"    {call}, i*blocks + k, f + k, place)"])
        lines = []
        for n, branch in enumerate(branches):
            lines += [f"{'el' if n else ''}if kind == {n}:", *(f"    {line}" for line in branch)]
        arrays = "q, dq, D, products, responses, rho, sums, g, weight" if response else "q, F, products, rho"
        name = "site_response" if response else "site_force"
        head = ["for e in range(starts[i], starts[i + 1]):", "    kind, place = pieces[2*e], pieces[2*e + 1]"]
        body = [*head, *(f"    {line}" for line in lines)] if lines else ["pass"]
        return _loop(name, f"i, f, {arrays}, starts, pieces, {_VALUES}", body)

    def _edges(self, response: bool) -> str:
        """Terms of several coordinates, at all their places."""
        body = []
        for n in self.edges:
            reading, size = self.readings[n], self.terms[n].size
            call = (f"respond_{n}(q, dq, D, g, weight, c, L, s, S, t" if response else f"force_{n}(q, F, c, L, s, S, t")
            body += _over_places(reading, size, call, 2)
        arrays = "q, dq, D, g, weight" if response else "q, F"
        name = "edge_responses" if response else "edge_forces"
        return _loop(name, f"{arrays}, {_VALUES}", body or ["pass"], "@entry_jit")

    def _costs(self, nudge: bool) -> str:
        """All costs whose weight at this node is not zero: their sum, or their kick."""
        body = []
        for n, term in enumerate(self.costs):
            call = f"nudge_{n}(q, dp, g, mask, k, weight" if nudge else f"loss_{n}(q, totals, k, weight"
            inner = _over_places(self.readings[len(self.terms) + n], term.size, f"{call}, c, L, s, S, t", 1)
            body += [f"weight = weights[{n}]", "if weight != 0.0:", *(f"    {line}" for line in inner)]
        arrays = "q, dp, g, mask, weights" if nudge else "q, totals, weights"
        return _loop("nudges" if nudge else "losses", f"{arrays}, {_VALUES}", body or ["pass"], "@entry_jit")

    def _fields(self, name: str, members: Sequence[Node]) -> str:
        """Features or tangents of one site, by its list of (kind, row)."""
        lines = []
        for n in range(len(members)):
            arrays = "q, out" if name == "feature" else "q, dq, out"
            lines += [f"    {'el' if n else ''}if kind == {n}:", "        for k in range(blocks):",
                      f"            {name}_{n}({arrays}, i*blocks + k, row + k)"]  # fmt: skip
        head = [
            "for e in range(starts[i], starts[i + 1]):",
            "    kind, row = pieces[2*e], (pieces[2*e + 1]*slots + slot)*blocks",
        ]
        arrays = "q" if name == "feature" else "q, dq"
        body = [*head, *lines] if lines else ["pass"]
        return _loop(f"site_{name}s", f"i, {arrays}, out, starts, pieces, slot, slots, blocks", body)


def _force(term: LocalTerm) -> bool:
    """Whether a term acts on its coordinates, beside their inertia."""
    return any(node != term.graph.zero for node in Local(term).at_rest().slopes()[0])


def _over_places(reading: Reading, size: int, call: str, copies: int) -> list[str]:
    """A loop over the places of a term and over blocks of lanes; ``copies`` of the rows are passed."""
    lines = [f"for place in range(where[{reading.start + 1}]):"]
    lines += [f"    x{a} = tables[where[{reading.start}] + place*{size} + {a}]*blocks" for a in range(size)]
    rows = "".join(f", x{a} + k" for a in range(size))*copies
    lines += [f"    {line}" for line in reading.lines()]
    return [*lines, "    for k in range(blocks):", f"        {call}{rows}{reading.arguments()})"]


def _loop(name: str, arguments: str, body: Sequence[str], mark: str = "@jit") -> str:
    return f"{mark}\ndef {name}({arguments}):\n" + "".join(f"    {line}\n" for line in body)


def _straight(
    name: str, arguments: str, graph: Graph, leaves: Mapping[tuple[str, int], str], stores: Sequence[tuple[str, Node]],
    operation: str = "+=",
) -> str:  # fmt: skip
    """A straight-line function that loads what it needs and stores or adds its values."""
    stores = [(place, node) for place, node in stores if node != graph.zero or operation == "="]
    nodes = [node for _, node in stores]
    used = sorted(graph.symbols(nodes))
    names = {symbol: symbol[0] if symbol[0] in ("t", "weight") else f"{symbol[0]}{symbol[1]}" for symbol in used}
    lines = [f"{names[symbol]} = {leaves[symbol]}" for symbol in used if names[symbol] != leaves[symbol]]
    body, values = Writer(graph, nodes, names).write()
    lines += body + [f"{place} {operation} {value}" for (place, _), value in zip(stores, values, strict=True)]
    return f"@straight\ndef {name}({arguments}):\n" + "".join(f"    {line}\n" for line in [*lines, "return ()"])


def build_products(
    system: Definition, costs: Sequence[LocalTerm], cost_digest: str, products: Mapping[int, tuple[Part, ...]],
    flags: Flags, batched: Sequence[bool], width: int, kernels: Sequence[Callable],
) -> tuple[Build, Emission]:  # fmt: skip
    """The module, from the cache where it is there, and the numbers that its tables use."""
    begin = time.perf_counter()
    emission = Emission(system, costs, products, flags, batched)
    seconds = {"derivatives and lowering": time.perf_counter() - begin}
    forms = hashlib.sha256("".join(map(text_of, kernels)).encode()).hexdigest()
    options = f"{astuple(flags)} {tuple(batched)} {width} {forms}"
    name = cache.name_of("products", system.digest, cost_digest, options)
    if name not in _builds:
        title = f"verlet, matrix products: {len(products)} pair terms, {width} lanes. Generated; do not edit."
        module, hit = cache.fetch(name, lambda: emission.text(title, width, kernels))
        seconds["cache and import"] = time.perf_counter() - begin - seconds["derivatives and lowering"]
        _builds[name] = Build(module, hit, seconds)
    return _builds[name], emission
