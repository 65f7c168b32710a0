"""The block-tridiagonal LDL^T against dense algebra, as plain Python and compiled."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from lagrangian_eqprop.solvers import elimination
from lagrangian_eqprop.solvers.twopoint import elimination_module


@pytest.fixture(scope="module")
def compiled():
    return elimination_module()


@pytest.fixture(params=["python", "compiled"])
def kernels(request):
    return elimination if request.param == "python" else request.getfixturevalue("compiled")


def dense(diagonal, upper):
    nodes, size, _ = diagonal.shape
    matrix = np.zeros((nodes * size, nodes * size), diagonal.dtype)
    for k in range(nodes):
        here = slice(k * size, (k + 1) * size)
        matrix[here, here] = diagonal[k]
        if k + 1 < nodes:
            following = slice((k + 1) * size, (k + 2) * size)
            matrix[here, following] = upper[k]
            matrix[following, here] = upper[k].T
    return matrix


def random_blocks(rng, nodes, size, kind=float):
    """Blocks with zeros, equal entries and unequal scales mixed in: what makes pivots fail."""

    def draw(*shape):
        values = rng.normal(size=shape)
        return values + 1j * rng.normal(size=shape) if kind is complex else values

    diagonal = draw(nodes, size, size)
    diagonal = diagonal + diagonal.transpose(0, 2, 1)
    diagonal *= rng.choice([0.0, 1e-9, 1e-3, 1.0, 1.0, 30.0], size=nodes)[:, None, None]
    upper = draw(max(nodes - 1, 0), size, size)
    return diagonal.astype(kind), upper.astype(kind)


def oscillators(steps, phase, size=1, mix=None, mass=1.0, step=0.1):
    """Action Hessian of ``size`` equal oscillators that turn by ``phase`` a step, path ends held."""
    stiffness = 2.0 * (1.0 - np.cos(phase)) * mass / step**2
    mix = np.eye(size) if mix is None else mix
    block = (2.0 * mass / step - step * stiffness) * mix.T @ mix
    if np.isclose(phase, np.pi / 2):
        block[:] = 0.0
    diagonal = np.repeat(block[None], steps - 1, axis=0)
    upper = np.repeat((-mass / step * mix.T @ mix)[None], steps - 2, axis=0)
    return diagonal, upper


def solve(kernels, diagonal, upper, right, refine=True):
    nodes, size, _ = diagonal.shape
    factor = kernels.new_elimination(nodes, size, diagonal)
    negative, smallest = kernels.eliminate(diagonal, upper, factor)
    x = right.copy()
    kernels.substitute(factor, x)
    if refine:
        rest = np.empty_like(x)
        kernels.residual_of(diagonal, upper, x, right, rest)
        kernels.substitute(factor, rest)
        x += rest
    return x, negative, smallest


def check_solution(kernels, diagonal, upper, rng, inertia=True):
    matrix = dense(diagonal, upper)
    right = rng.normal(size=diagonal.shape[:2]).astype(diagonal.dtype)
    before = diagonal.copy(), upper.copy()
    x, negative, smallest = solve(kernels, diagonal, upper, right)
    assert np.array_equal(before[0], diagonal)
    assert np.array_equal(before[1], upper)
    condition = np.linalg.cond(matrix, 1)
    if condition > 1e12:
        return
    expected = scipy.linalg.solve(matrix, right.ravel())
    assert smallest > 1e-14
    assert np.abs(x.ravel() - expected).max() <= 1e-14 * condition * max(1.0, np.abs(expected).max())
    rest = np.empty_like(x)
    kernels.residual_of(diagonal, upper, x, right, rest)
    size = np.abs(matrix).sum(axis=1).max() * np.abs(x).max() + np.abs(right).max()
    assert np.abs(rest.ravel() - (right.ravel() - matrix @ x.ravel())).max() <= 1e-14 * size
    assert np.abs(rest).max() <= 1e-14 * size
    if inertia:
        assert negative == np.count_nonzero(np.linalg.eigvalsh(matrix) < 0.0)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_random_indefinite(kernels, size):
    rng = np.random.default_rng(size)
    lengths = [1, 2, 3, 4, 7, 12] if kernels is elimination else range(1, 41)
    for nodes in lengths:
        check_solution(kernels, *random_blocks(rng, nodes, size), rng)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_complex_symmetric(kernels, size):
    rng = np.random.default_rng(10 + size)
    lengths = [1, 2, 5, 9] if kernels is elimination else range(1, 41, 3)
    for nodes in lengths:
        check_solution(kernels, *random_blocks(rng, nodes, size, complex), rng, inertia=False)


def test_small_integers_with_many_singular_minors(compiled):
    rng = np.random.default_rng(3)
    singular = regular = 0
    for _ in range(3000):
        nodes, size = rng.integers(1, 9), rng.integers(1, 4)
        diagonal = rng.integers(-1, 2, size=(nodes, size, size)).astype(float)
        diagonal = np.array([np.triu(block) + np.triu(block, 1).T for block in diagonal])
        upper = rng.integers(-1, 2, size=(nodes - 1, size, size)).astype(float)
        matrix = dense(diagonal, upper)
        x, negative, smallest = solve(compiled, diagonal, upper, np.ones((nodes, size)))
        if np.linalg.matrix_rank(matrix) < nodes * size:
            singular += 1
            assert smallest < 1e-14
        else:
            regular += 1
            assert smallest > 1e-6
            assert negative == np.count_nonzero(np.linalg.eigvalsh(matrix) < 0.0)
            assert np.abs(matrix @ x.ravel() - 1.0).max() < 1e-11
        assert np.isfinite(x).all()
    assert min(singular, regular) > 300


@pytest.mark.parametrize(("phase", "steps"), [(np.pi / 2, 5), (np.pi / 4, 10), (np.pi / 2, 7), (np.pi / 3, 11)])
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("mixed", [False, True])
def test_conjugate_interior_nodes(kernels, phase, steps, size, mixed):
    rng = np.random.default_rng(steps)
    mix = scipy.linalg.qr(rng.normal(size=(size, size)))[0] if mixed else None
    diagonal, upper = oscillators(steps, phase, size, mix)
    right = rng.normal(size=diagonal.shape[:2])
    x, negative, smallest = solve(kernels, diagonal, upper, right)
    assert negative == size * int(np.floor(steps * phase / np.pi))
    assert smallest > 1e-3
    rest = np.empty_like(x)
    kernels.residual_of(diagonal, upper, x, right, rest)
    assert np.abs(rest).max() < 1e-12
    assert np.allclose(dense(diagonal, upper) @ x.ravel(), right.ravel(), atol=1e-12)


def test_long_chain_through_many_conjugate_points(compiled):
    diagonal, upper = oscillators(2001, np.pi / 2, 4, scipy.linalg.qr(np.arange(16.0).reshape(4, 4) ** 1.5)[0])
    right = np.random.default_rng(0).normal(size=diagonal.shape[:2])
    x, negative, smallest = solve(compiled, diagonal, upper, right)
    rest = np.empty_like(x)
    compiled.residual_of(diagonal, upper, x, right, rest)
    assert negative == 4 * 1000
    assert smallest > 1e-6
    assert np.abs(rest).max() < 1e-12


def test_exactly_singular(kernels):
    for size in (1, 2, 3):
        diagonal, upper = oscillators(4, np.pi / 2, size)  # the end is conjugate to the start
        x, _negative, smallest = solve(kernels, diagonal, upper, np.ones((3, size)), refine=False)
        assert smallest == 0.0
        assert np.isfinite(x).all()
        zero = np.zeros((5, size, size))
        assert kernels.eliminate(zero, zero[1:], kernels.new_elimination(5, size, zero)) == (0, 0.0)
        broken = np.full((5, size, size), np.nan)
        assert kernels.eliminate(broken, zero[1:], kernels.new_elimination(5, size, zero))[1] == 0.0


def test_singular_to_rounding(compiled):
    for phase, steps in ((np.pi / 3, 6), (np.pi / 4, 8), (2 * np.pi / 7, 7)):
        mix = scipy.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
        diagonal, upper = oscillators(steps, phase, 3, mix)
        assert compiled.eliminate(diagonal, upper, compiled.new_elimination(steps - 1, 3, diagonal))[1] < 1e-14


def test_full_front_forces_pivots(compiled):
    """Couplings that grow a thousandfold a node make every pivot fail its test; the front must not overflow."""
    rng = np.random.default_rng(5)
    for size in (1, 2, 3):
        diagonal, upper = random_blocks(rng, 30, size)
        diagonal = np.repeat(0.05 * np.eye(size)[None], 30, axis=0)
        upper *= 10.0 ** (1.5 * np.arange(29))[:, None, None]
        diagonal[-1] *= 1e40
        factor = compiled.new_elimination(30, size, diagonal)
        _negative, smallest = compiled.eliminate(diagonal, upper, factor)
        stages = factor[5]
        assert stages[:, 0].sum() == 30 * size
        assert 3 * size < stages[:, 1].max() <= 4 * size
        assert np.isfinite(smallest)


def test_any_scale(compiled):
    """Inertia and relative pivot do not change with the unit of action."""
    rng = np.random.default_rng(6)
    diagonal, upper = random_blocks(rng, 12, 2)
    results = []
    for unit in (1.0, 2.0**-600, 2.0**600):
        factor = compiled.new_elimination(12, 2, diagonal)
        results.append(compiled.eliminate(unit * diagonal, unit * upper, factor))
    assert results[0] == results[1] == results[2]


def test_factor_is_reusable_and_its_memory_known(kernels):
    rng = np.random.default_rng(8)
    for nodes, size, kind in ((1, 1, float), (2, 3, complex), (3, 2, float), (9, 2, float)):
        first, second = random_blocks(rng, nodes, size, kind), random_blocks(rng, nodes, size, kind)
        right = np.ones((nodes, size), kind)
        used, fresh = (kernels.new_elimination(nodes, size, right) for _ in range(2))
        assert sum(part.nbytes for part in used) == elimination.elimination_bytes(nodes, size, right.itemsize)
        kernels.eliminate(*first, used)
        assert kernels.eliminate(*second, used) == kernels.eliminate(*second, fresh)
        left, again = right.copy(), right.copy()
        kernels.substitute(used, left)
        kernels.substitute(fresh, again)
        assert np.array_equal(left, again)


def test_infinitesimal_imaginary_part_differentiates(compiled):
    """Complex-step derivative of the solution: only right if nothing is conjugated."""
    rng = np.random.default_rng(9)
    diagonal, upper = random_blocks(rng, 8, 3)
    change = random_blocks(rng, 8, 3)
    right = rng.normal(size=(8, 3))
    x, negative, _ = solve(compiled, diagonal, upper, right)
    moved, count, _ = solve(compiled, diagonal + 1e-30j * change[0], upper + 1e-30j * change[1], right + 0j)
    expected = -np.linalg.solve(dense(diagonal, upper), dense(*change) @ x.ravel())
    assert np.allclose(moved.imag.ravel() / 1e-30, expected, rtol=1e-9)
    assert count == negative
