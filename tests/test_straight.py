"""Straight-line text compiled for numbers, complex numbers and lanes against the same text as plain Python."""

from __future__ import annotations

import cmath
import functools
import importlib.util
import math

import numpy as np
import pytest

from lagrangian_eqprop.compiler.lanes import empty_rows

UNARY = {
    "sin": 1.3, "cos": 1.3, "tan": 1.3, "exp": 1.1, "log": -2.0, "sinh": 1.0, "cosh": 1.0, "tanh": 1.0,
    "arcsin": 0.0, "arccos": 0.0, "arctan": 1.0, "arcsinh": 1.0, "arccosh": -3.0, "arctanh": 0.0, "sqrt": -2.0,
    "magnitude": 1.0, "sign": 1.0, "heaviside": 1.0, "floor": 1.0, "ceil": 1.0,
}  # fmt: skip  # 0: an argument within (-1, 1), below 0: one above -x/2 - 1/2, above 0: any
HEAD = """
WIDTH = {width}
from lagrangian_eqprop.compiler.straight import straight
from numba import njit
"""
UNARIES = "\n".join(f"    out[{2*k}] = {name}(x[{k}])\n    out[{2*k + 1}] = {name}(s[{k}])"
                    for k, name in enumerate(UNARY))  # fmt: skip
TEXT = (
    '''
@straight
def unaries(x, s, out):
    """A docstring is no statement."""
'''
    + UNARIES
    + """
    return ()

"""
    + "".join(f"\n\n@straight\ndef one_{name}(x, out):\n    out[0] = {name}(x[0])\n    return ()\n" for name in UNARY)
    + """

@straight
def arithmetic(x, y, s, k, out):
    pass
    a = x[k]
    b = y[k + 1]
    c = s[2*k - 1]
    out[0] = a + b*c
    out[1] = -a/b - 2.0*(3.0 - 1.5/0.5)
    out[2] = a*(c - b) - c/4
    out[3] = a**2.0 + b**a + c**b
    out[4] = a**0.5
    out[5] = 2.0**a - 2.0**-3
    out[6] = -(-a)
    out[k + 6] = k*c + k
    out[8] = 7.0
    out[9] = c
    out[9] += a
    out[9] += 0.25
    out[9] += out[9]
    out[2*3 + k*4] = k/4.0*a
    out[11] = c/k
    out[12] = k - c
    return ()


@straight
def negated(x, k, out):
    out[0] = -k*x[0]
    out[-k + 2] = k - 3.0
    return ()


@straight
def choices(x, y, s, out):
    a = x[0]
    b = y[0]
    c = s[0]
    d = s[1]
    out[0] = select(less(a, b), a, b)
    out[1] = select(less_equal(a, x[1]), 1.0, c)
    out[2] = select(equal(a, x[1]), a*b, 0.5)
    out[3] = select(less(c, d), a, b)
    out[4] = select(less(d, c), 2.0, a)
    out[5] = select(both(less(a, b), less(c, d)), a, 3.0)
    out[6] = select(either(less(d, c), less(a, b)), a, -3.0)
    out[7] = select(negation(less(a, b)), b, c)
    out[8] = select(negation(both(negation(less(a, b)), either(equal(c, c), less(1.0, a)))), a, d)
    out[9] = select(both(less(c, d), negation(less(d, c))), c, d)
    out[10] = larger(a, b)
    out[11] = maximum(a, c)
    out[12] = minimum(b, 0.25)
    out[13] = maximum(2.0, minimum(c, d))
    out[14] = select(less(c, d), 1.0, 0.0)
    out[15] = magnitude(minimum(a, -0.125))
    out[16] = select(less(0.0, 1.0), a, b)
    out[17] = select(equal(c, c), select(less(b, a), a, d), 1.0)
    return ()


@straight
def literals(x, y, out):
    a = x[0]
    b = y[0]
    out[0] = select(less(a, b), 1.0, 0.0)
    out[1] = a*select(less(b, a), 2.0, -1.0) - select(less_equal(a, x[1]), 1.0, 2.0)*b
    out[2] = minimum(select(less(a, b), 1.0, 0.0), 0.5)
    return ()


@straight
def angles(x, y, s, out):
    out[0] = arctan2(x[0], y[0])
    out[1] = arctan2(x[0], s[0])
    out[2] = arctan2(-1.0, y[0])
    out[3] = sin(0.5) + exp(x[0])
    return ()


@straight
def pair(x, y, k):
    a = x[k]
    b = a + y[k]
    return (a, b)


@straight
def unpacked(z, out):
    p, q, = z
    out[0] = p*q
    out[1] = q
    return ()


@straight
def gathered(s, start, stride, out):
    out[0] = gather(s, start, stride)
    out[1] = 2.0*gather(s, start + 2, 0) + s[start]
    return ()


@straight
def conditional(x, s, k, out):
    a = x[0]
    if s[k] != 0.0:
        b = a*a
        out[0] += b
        out[1] = s[k]
    if s[k + 1] != 0.0:
        a = b_free(a)
        out[2] = a
    out[3] = a
    return ()
"""
).replace("b_free(a)", "a + 1.0")
DRIVERS = "".join(f"\n\n@njit\ndef run_one_{name}(x, out):\n    one_{name}(x, out)\n" for name in UNARY) + """

@njit
def run_unaries(x, s, out):
    unaries(x, s, out)

@njit
def run_arithmetic(x, y, s, k, out):
    arithmetic(x, y, s, k, out)

@njit
def run_choices(x, y, s, out):
    choices(x, y, s, out)

@njit
def run_literals(x, y, out):
    literals(x, y, out)

@njit
def run_negated(x, k, out):
    negated(x, k, out)

@njit
def run_angles(x, y, s, out):
    angles(x, y, s, out)

@njit
def run_pair(x, y, k, out):
    unpacked(pair(x, y, k), out)

@njit
def run_gathered(s, start, stride, out):
    gathered(s, start, stride, out)

@njit
def run_conditional(x, s, k, out):
    conditional(x, s, k, out)
"""


# ------------------------------------------------------------------ the same text as plain Python
def real(value):
    return value.real if isinstance(value, (complex, np.complexfloating)) else value


def unary(name):
    """By math and cmath, number by number."""
    short = name.replace("arc", "a")
    simple = {
        "magnitude": lambda v: v if real(v) >= 0 else -v, "sign": lambda v: float(real(v) > 0) - float(real(v) < 0),
        "heaviside": lambda v: 0.5 if v == 0 else float(real(v) > 0), "floor": lambda v: float(math.floor(real(v))),
        "ceil": lambda v: float(math.ceil(real(v))),
    }  # fmt: skip

    def one(value):
        if name in simple:
            return simple[name](value)
        return getattr(cmath if isinstance(value, (complex, np.complexfloating)) else math, short)(value)

    def function(value):
        return np.array([one(v) for v in value]) if isinstance(value, np.ndarray) else one(value)

    return function


def less(a, b):
    return np.real(a) < np.real(b)


PLAIN = {name: unary(name) for name in UNARY} | {
    "less": less, "less_equal": lambda a, b: np.real(a) <= np.real(b), "equal": np.equal, "both": np.logical_and,
    "either": np.logical_or, "negation": np.logical_not, "select": lambda c, a, b: np.where(c, a, b) + 0.0,
    "larger": lambda a, b: np.where(less(a, b), b, a), "maximum": lambda a, b: np.where(less(a, b), b, a),
    "minimum": lambda a, b: np.where(less(b, a), b, a), "straight": lambda function: function,
    "magnitude": lambda v: np.where(less(v, 0.0), -v, v),
}  # fmt: skip
PLAIN["arctan2"] = np.arctan2


def gather_of(width):
    def gather(s, at, stride):
        return s[at] if width == 1 else s[at + stride*np.arange(width)]

    return gather


def imported(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    return spec, module


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    """For a width: the compiled module, and the same text as plain Python with lanes as arrays."""
    folder = tmp_path_factory.mktemp("straight")

    @functools.cache
    def of(width):
        one, two = folder/f"compiled_{width}.py", folder/f"plain_{width}.py"
        one.write_text(HEAD.format(width=width) + TEXT + DRIVERS)
        two.write_text(TEXT)
        found = []
        for path in (one, two):
            spec, module = imported(path)
            if path is two:
                module.__dict__.update(PLAIN | {"gather": gather_of(width)})
            spec.loader.exec_module(module)
            found.append(module)
        return found

    return of


KINDS = [(1, "float64"), (1, "complex128"), (1, "float32")]
KINDS += [(width, dtype) for width in (2, 8, 16) for dtype in ("float64", "float32")]
kinds = pytest.mark.parametrize(("width", "dtype"), KINDS)
TOLERANCE = {"float64": 4e-15, "complex128": 2e-14, "float32": 3e-6}


def rows_of(values, width, dtype):
    """Values (rows, width) as what the compiled text takes: rows of lanes, or numbers."""
    if width == 1:
        return np.array(values[:, 0], dtype)
    rows = empty_rows(len(values), width, dtype)
    rows[:] = values
    return rows


def draw(rows, width, dtype, seed=0):
    values = np.random.default_rng(seed).uniform(0.2, 2.5, (rows, width))*np.array([1, -1])[np.arange(rows) % 2, None]
    if dtype == "complex128":
        values = values + 1j*np.random.default_rng(seed + 1).uniform(-0.4, 0.4, values.shape)
    return values.astype(dtype)


def numbers(rows, dtype, seed):
    """Plain numbers, the same in all lanes."""
    return np.ascontiguousarray(draw(rows, 1, dtype, seed)[:, 0])


def assert_near(found, expected, dtype):
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_allclose(found[finite], expected[finite], rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype]/4)


def check_run(modules, name, arguments, rows, width, dtype):
    """The compiled function and the plain one write the same ``rows``."""
    compiled, plain = modules(width)
    out = rows_of(np.zeros((rows, width)), width, dtype)
    getattr(compiled, f"run_{name}")(*arguments, out)
    wide = "complex128" if dtype == "complex128" else "float64"
    expected = np.zeros(out.shape, wide)
    arguments = [a.astype(wide) if isinstance(a, np.ndarray) else a for a in arguments]
    with np.errstate(all="ignore"):
        if name == "pair":
            plain.unpacked(plain.pair(*arguments), expected)
        else:
            getattr(plain, name)(*arguments, expected)
    assert_near(out, expected, dtype)
    return out


def arguments_of_unaries(values):
    """Each row where its function is real: within (-1, 1), above 1, or anything."""
    real_part = np.real(values)
    kinds = np.array(list(UNARY.values()))[:, None]
    inside, above = 0.35*real_part, np.abs(real_part) + 1.1
    chosen = np.where(kinds == 0, inside, np.where(kinds < 0, above, real_part))
    return chosen + (0 if np.isrealobj(values) else 1j*values.imag)


REAL = pytest.mark.parametrize(("width", "dtype"), [kind for kind in KINDS if kind[1] != "complex128"])


@REAL
def test_functions_of_one_argument(modules, width, dtype):
    x = arguments_of_unaries(draw(len(UNARY), width, dtype))
    s = arguments_of_unaries(numbers(len(UNARY), dtype, 5)[:, None])[:, 0].astype(dtype)
    check_run(modules, "unaries", [rows_of(x, width, dtype), s], 2*len(UNARY), width, dtype)


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_a_complex_number(modules, name):
    x = arguments_of_unaries(draw(len(UNARY), 1, "complex128"))[[list(UNARY).index(name)]]
    check_run(modules, f"one_{name}", [x[:, 0]], 1, 1, "complex128")


@REAL
def test_steps_at_their_jumps(modules, width, dtype):
    """sign(0) = 0, heaviside(0) = 1/2, floor and ceil of whole numbers, magnitude of zero."""
    compiled, _ = modules(width)
    names = list(UNARY)
    for value, expected in ((0.0, (0, 0.5, 0, 0, 0)), (-2.0, (-1, 0, -2, -2, 2)), (3.0, (1, 1, 3, 3, 3))):
        x, s = np.full((len(UNARY), width), value), np.full(len(UNARY), value, dtype)
        out = rows_of(np.zeros((2*len(UNARY), width)), width, dtype)
        compiled.run_unaries(rows_of(x, width, dtype), s, out)
        for name, right in zip(("sign", "heaviside", "floor", "ceil", "magnitude"), expected):
            at = 2*names.index(name)
            assert (out[at] == right).all() and (out[at + 1] == right).all(), (name, value)


@kinds
def test_arithmetic(modules, width, dtype):
    x, y = (np.abs(draw(4, width, dtype, seed)) if dtype != "complex128" else draw(4, width, dtype, seed)
            for seed in (1, 2))  # fmt: skip
    s = np.abs(numbers(4, dtype, 3))
    check_run(modules, "arithmetic", [rows_of(x, width, dtype), rows_of(y, width, dtype), s, 1], 13, width, dtype)


@kinds
@pytest.mark.parametrize("seed", range(4))
def test_choices(modules, width, dtype, seed):
    x, y, s = draw(2, width, dtype, seed), draw(1, width, dtype, seed + 10)*(-1)**seed, numbers(2, dtype, seed + 20)
    x[1] = x[0]
    x[1, ::2] += 0.5
    check_run(modules, "choices", [rows_of(x, width, dtype), rows_of(y, width, dtype), s], 18, width, dtype)
    check_run(modules, "choices", [rows_of(x, width, dtype), rows_of(y, width, dtype), s[::-1].copy()], 18,
              width, dtype)  # fmt: skip


@kinds
def test_a_choice_between_literals(modules, width, dtype):
    """The condition says how many lanes, what stands beside it how precise."""
    x, y = draw(2, width, dtype, 3), np.abs(draw(1, width, dtype, 4))
    y[:, : width//2] *= -1
    check_run(modules, "literals", [rows_of(x, width, dtype), rows_of(y, width, dtype)], 3, width, dtype)


@kinds
def test_an_integer_changes_its_sign(modules, width, dtype):
    check_run(modules, "negated", [rows_of(draw(1, width, dtype), width, dtype), 1], 2, width, dtype)


@REAL
def test_angles(modules, width, dtype):
    x, y, s = draw(1, width, dtype, 1), -draw(1, width, dtype, 2), -numbers(1, dtype, 3)
    check_run(modules, "angles", [rows_of(x, width, dtype), rows_of(y, width, dtype), s], 4, width, dtype)


@kinds
def test_tuples_pass_from_one_function_to_another(modules, width, dtype):
    x, y = draw(3, width, dtype, 1), draw(3, width, dtype, 2)
    check_run(modules, "pair", [rows_of(x, width, dtype), rows_of(y, width, dtype), 2], 2, width, dtype)


@kinds
@pytest.mark.parametrize("stride", [0, 1, 3])
def test_gather(modules, width, dtype, stride):
    s = numbers(5 + 3*width, dtype, 7)
    out = check_run(modules, "gathered", [s, 2, stride], 2, width, dtype)
    if stride == 3 and width > 1:
        assert len(np.unique(out[0])) == width


@kinds
@pytest.mark.parametrize("weights", [(0.0, 0.0), (0.5, 0.0), (0.0, -2.0), (2.0**-40, np.nan)], ids=str)
def test_a_block_is_skipped_where_its_weight_is_zero(modules, width, dtype, weights):
    """Names given inside stay inside: a is what it was."""
    x, s = draw(1, width, dtype, 1), np.array([0.0, *weights])  # weights are real
    compiled, _ = modules(width)
    out = rows_of(np.full((4, width), 7.0), width, dtype)
    compiled.run_conditional(rows_of(x, width, dtype), s, 1, out)
    x = rows_of(x, width, dtype)
    first, second = s[1] != 0, s[2] != 0
    assert_near(out[0], 7.0 + x[0]*x[0] if first else np.full(np.shape(x[0]), 7.0), dtype)
    assert (out[1] == (s[1] if first else 7.0)).all()
    assert_near(out[2], x[0] + 1 if second else np.full(np.shape(x[0]), 7.0), dtype)
    assert (out[3] == x[0]).all()


@REAL
def test_nan_and_infinity_keep_their_meaning(modules, width, dtype):
    """A comparison with nan is false, and no number is taken for finite."""
    x = np.full((2, width), np.nan)
    y, s = np.full((1, width), np.inf), np.array([np.inf, -np.inf], dtype)
    compiled, _ = modules(width)
    out = rows_of(np.zeros((18, width)), width, dtype)
    compiled.run_choices(rows_of(x, width, dtype), rows_of(y, width, dtype), s, out)
    assert (out[0] == np.inf).all() and (out[1] == np.inf).all() and (out[2] == 0.5).all() and (out[4] == 2.0).all()
    assert np.isnan(out[16]).all() and (out[14] == 0.0).all()  # inf is not below -inf
