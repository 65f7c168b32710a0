"""The text of a mini-batch: values written where the compiled pass reads them, phases, and what parameters change by.

Arrays are named by letters and numbers:

    D, B    inputs or targets of all samples (sample, place), and those of this mini-batch
    P, W    a parameter as a list, and as a matrix
    V, C    where the values of a leaf stand, and which of a term's they are
    M       where the matrix of a bond stands
    L, R    factors of a gradient, one after another in a row
    G, H    the gradient of a parameter as a matrix, and as a list
"""

from __future__ import annotations

from . import cache
from .layered_text import RELAXED

OF_PARAMETERS = "PWGH"
_HEADER = '''"""Mini-batches of layers. Generated; do not edit."""

from __future__ import annotations

from math import inf

from {module} import OPTIONS, difference, judged, relax
from numba import njit

from lagrangian_eqprop.compiler.blas import multiply


def entry_jit(function):
    return njit(cache=True, **OPTIONS)(function)
'''

# all phases, the difference of two and its sums, costs of the first; whether all are numbers, and the mean cost
PASSED = f"{RELAXED}, one, other, between, keep, row, sums, costs"
_PHASES = [
    f"relax({RELAXED})", "difference(target, stride, one, other, between, keep, row, sums, count, blocks)",
    "judged(target, to, stride, flat, rows, across, zero, where, blocks, costs)",
    "finite, loss, checked, judgements = True, 0.0, total.ravel(), costs.ravel()",
    "for k in range(checked.size):", "    finite &= abs(checked[k]) < inf",
    "for b in range(samples.size):", "    loss += judgements[b]/samples.size",
]  # fmt: skip


class Script:
    """The text, line by line; ``names`` are the arrays it takes, after the samples and the arguments of the pass.

    Those of parameters come last.
    """

    def __init__(self) -> None:
        self.before: list[str] = []
        self.after: list[str] = []
        self.names: list[str] = []
        self.known: set[int] = set()  # parameters whose gradient has a first part

    def _use(self, *names: str) -> None:
        self.names += [name for name in names if name not in self.names]
        self.names.sort(key=lambda name: name[0] in OF_PARAMETERS)

    def gathered(self, n: int) -> None:
        """The samples of this mini-batch; lanes that are left over repeat the last one."""
        self._use(f"D{n}", f"B{n}")
        self.before += [
            f"for b in range(B{n}.shape[0]):", "    r = samples[min(b, samples.size - 1)]",
            f"    for j in range(B{n}.shape[1]):", f"        B{n}[b, j] = D{n}[r, j]",
        ]  # fmt: skip

    def given(self, leaf: int, n: int) -> None:
        """A leaf of which each sample has its own value."""
        self._use(f"V{leaf}", f"C{leaf}", f"B{n}")
        self.before += [
            f"for j in range(V{leaf}.shape[0]):", f"    c = C{leaf}[j]", f"    for b in range(V{leaf}.shape[1]):",
            f"        V{leaf}[j, b] = B{n}[b, c]",
        ]  # fmt: skip

    def parameter(self, leaf: int, k: int) -> None:
        """A leaf that is a parameter."""
        self._use(f"V{leaf}", f"C{leaf}", f"P{k}")
        self.before += [f"for j in range(V{leaf}.size):", f"    V{leaf}[j] = P{k}[C{leaf}[j]]"]

    def field(self, leaf: int, k: int, n: int, on_rows: bool) -> None:
        """A leaf that is a matrix times what is clamped."""
        self._use(f"V{leaf}", f"W{k}", f"B{n}")
        self.before.append(f"multiply(V{leaf}, W{k}, {int(not on_rows)}, B{n}, 1, 1.0, 0.0)")

    def matrix(self, bond: int, k: int, wide_is_rows: bool) -> None:
        """The matrix of a bond."""
        self._use(f"M{bond}", f"W{k}")
        self.before += [
            f"for i in range(M{bond}.shape[0]):", f"    for j in range(M{bond}.shape[1]):",
            f"        M{bond}[i, j] = W{k}[{'i, j' if wide_is_rows else 'j, i'}]",
        ]  # fmt: skip

    def change(self, k: int, number: int) -> None:
        """The gradient of a parameter as a multiple of a sum over samples, each place once."""
        self._use(f"H{k}", f"C_{number}", "scales")
        self.after += [
            f"for j in range(H{k}.size):",
            f"    H{k}[j] {self._sign(k)} scales[{number}]*sums[C_{number}[j]]",
        ]  # fmt: skip

    def product(self, k: int, number: int, left: str, right: str, across: tuple[int, int]) -> None:
        """The gradient of a parameter as a multiple of a product of matrices."""
        self._use(f"G{k}", left, right, "scales")
        beta = float(self._sign(k) == "+=")
        self.after.append(f"multiply(G{k}, {left}, {across[0]}, {right}, {across[1]}, scales[{number}], {beta})")

    def _sign(self, k: int) -> str:
        sign = "+=" if k in self.known else "="
        self.known.add(k)
        return sign

    def module(self, of: str) -> object:
        """The compiled module; ``of`` is the name of that of the pass."""
        body = "".join(f"    {line}\n" for line in [*self.before, *_PHASES, *self.after, "return finite, loss"])
        names = "".join(f", {name}" for name in self.names)
        text = f"{_HEADER.format(module=of)}\n\n@entry_jit\ndef gradient(samples, {PASSED}{names}):\n{body}"
        return cache.fetch(cache.name_of("mini-batch", text), lambda: text)[0]
