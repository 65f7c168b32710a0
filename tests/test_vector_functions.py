"""The compiler's elementary functions on vectors against mpmath, in units of the last place of the result."""

from __future__ import annotations

import ctypes
import functools
import math

import mpmath
import numpy as np
import pytest
from llvmlite import binding, ir
from numba.core.cpu_options import FastMathOptions
from numba.core.fastmathpass import rewrite_module

from lagrangian_eqprop.compiler.vector import FUNCTIONS, Vector

binding.initialize_native_target()
binding.initialize_native_asmprinter()

BITS = {"double": 53, "float": 24}
DTYPES = {"double": np.float64, "float": np.float32}
WIDTHS = {"double": 8, "float": 16}
LARGEST = {"double": 2.0**40, "float": 2.0**17}  # argument of sin, cos, tan
HOST = binding.get_host_cpu_features()
WITHOUT = {"host": [], "no AVX-512": ["avx512f"], "no fused product": ["avx", "fma"]}
OWN = ["sin", "cos", "tan", "exp", "log", "sinh", "cosh", "tanh", "sqrt", "power"]
LIBRARY = ["arcsin", "arccos", "arctan", "arcsinh", "arccosh", "arctanh", "arctan2"]
SIMPLE = ["floor", "ceil", "magnitude", "sign", "heaviside", "maximum", "minimum"]
ORACLES = {name: getattr(mpmath, name.replace("arc", "a")) for name in OWN + LIBRARY}
ULPS = dict.fromkeys(OWN + LIBRARY, 2.0) | {"tanh": 3.0, "sqrt": 0.5, "cosh": 1.5, "exp": 1.5, "log": 1.0, "power": 1.5}
inf, nan = math.inf, math.nan
elements = pytest.mark.parametrize("element", ["double", "float"])


def arity(name):
    return 2 if name in ("power", "arctan2", "maximum", "minimum") else 1


def module_of(name, element, width):
    """A loop over arrays: element count, arguments, result."""
    module = ir.Module()
    module.triple = binding.get_process_triple()
    count, scalar = ir.IntType(64), ir.DoubleType() if element == "double" else ir.FloatType()
    kind = ir.FunctionType(ir.VoidType(), [count] + [scalar.as_pointer()]*(arity(name) + 1))
    function = ir.Function(module, kind, "loop")
    entry, body, end = (function.append_basic_block() for _ in range(3))
    ir.IRBuilder(entry).branch(body)
    builder = ir.IRBuilder(body)
    place = builder.phi(count)
    vector = Vector(builder, width, element)
    pointers = [builder.bitcast(builder.gep(p, [place]), vector.type.as_pointer()) for p in function.args[1:]]
    arguments = [builder.load(p, align=4) for p in pointers[:-1]]
    builder.store(FUNCTIONS[name](vector, *arguments), pointers[-1], align=4)
    following = builder.add(place, count(width))
    place.add_incoming(count(0), entry)
    place.add_incoming(following, body)
    builder.cbranch(builder.icmp_signed("<", following, function.args[0]), body, end)
    ir.IRBuilder(end).ret_void()
    return module


@functools.cache
def compiled(name, element, width, machine="host"):
    parsed = binding.parse_assembly(str(module_of(name, element, width)))
    features = ",".join([HOST.flatten()] + [f"-{lost}" for lost in WITHOUT[machine] if lost in HOST])
    target = binding.Target.from_default_triple().create_target_machine(
        cpu=binding.get_host_cpu_name() if machine == "host" else "", features=features, opt=2
    )
    engine = binding.create_mcjit_compiler(parsed, target)
    engine.finalize_object()
    pointer = ctypes.c_void_p
    kind = ctypes.CFUNCTYPE(None, ctypes.c_int64, *[pointer]*(arity(name) + 1))
    return engine, kind(engine.get_function_address("loop"))


def evaluate(name, element, *arguments, width=None, machine="host"):
    width = width or WIDTHS[element]
    size = len(arguments[0])
    padded = [np.ones(-(-size//width)*width, DTYPES[element]) for _ in range(len(arguments) + 1)]
    for array, values in zip(padded, arguments):
        array[:size] = values
    compiled(name, element, width, machine)[1](len(padded[0]), *[array.ctypes.data for array in padded])
    return padded[-1][:size]


def assert_accurate(name, element, *arguments):
    arguments = [np.asarray(values, DTYPES[element]) for values in arguments]
    bits, lowest = BITS[element], -1021 if element == "double" else -125
    with mpmath.workdps(40):
        for result, *point in zip(evaluate(name, element, *arguments).tolist(), *[x.tolist() for x in arguments]):
            true = ORACLES[name](*map(mpmath.mpf, point))
            unit = mpmath.ldexp(1, max(mpmath.frexp(true)[1], lowest) - bits)
            error = abs(result - true)/unit
            assert error <= ULPS[name], f"{name}{tuple(point)} gave {result!r}, {mpmath.nstr(error, 4)} ulp off"


def log_uniform(rng, low, high, count):
    """Of both signs, low and high in powers of 2."""
    return rng.choice([-1.0, 1.0], count)*2.0**rng.uniform(low, high, count)


def beside_quarter_turns(element):
    """Numbers unusually close to multiples of pi/2 (Muller, Elementary Functions, after Kahan).

    They are m 2**e, with m/k a convergent of the continued fraction of pi/2**(e + 1).
    """
    found = []
    bits = BITS[element]
    with mpmath.workdps(80):
        for exponent in range(-bits - 8, int(math.log2(LARGEST[element])) - bits + 1):
            rest, before, m = mpmath.ldexp(mpmath.pi, -exponent - 1), 0, 1
            while m < 2**bits:
                found.append(math.ldexp(m, exponent))
                whole = int(mpmath.floor(rest))
                before, m, rest = m, whole*m + before, 1/(rest - whole)
    return np.array([x for x in found if 1 < x <= LARGEST[element]])


def near(values, dtype, steps=3):
    """The numbers around some."""
    values = np.asarray(values, dtype)
    integers = values.view(np.int64 if dtype == np.float64 else np.int32)
    return (integers[:, None] + np.arange(-steps, steps + 1)).astype(integers.dtype).view(dtype).ravel()


def points(name, element):
    rng = np.random.default_rng(len(name))
    double = element == "double"
    if name in ("sin", "cos", "tan"):
        top = math.log2(LARGEST[element])
        turns = near(np.arange(1, 40)*math.pi/2, DTYPES[element])
        uniform = [rng.uniform(-4, 4, 2000), rng.uniform(-LARGEST[element], LARGEST[element], 1000)]
        return np.concatenate([*uniform, log_uniform(rng, -60, top, 2000), turns, beside_quarter_turns(element)])
    if name in ("exp", "sinh", "cosh"):
        low, high = (-708, 709.78) if double else (-86.9, 88.72)
        switches = near(np.arange(0.5, 20)*math.log(2), DTYPES[element], 1)
        middle = [rng.uniform(-3, 3, 2000), log_uniform(rng, -60, 0, 700)]
        return np.concatenate([rng.uniform(low, high, 1500), *middle, switches, [low, high]])
    if name == "tanh":
        return np.concatenate([rng.uniform(-1, 1, 2000), rng.uniform(-25, 25, 1000), log_uniform(rng, -60, 10, 1000)])
    if name in ("log", "sqrt", "arcsinh"):
        lowest, highest = (-1074, 1023) if double else (-149, 127)
        wide = 2.0**rng.uniform(lowest, highest, 1500)
        switches = near([np.finfo(DTYPES[element]).tiny, math.sqrt(0.5), math.sqrt(2)], DTYPES[element])
        ends = [2.0**lowest, np.finfo(DTYPES[element]).max]
        middle = [rng.uniform(0.4, 3, 2000), 1 + log_uniform(rng, -20, -2, 1000)]
        return np.concatenate([wide, *middle, switches, ends])
    if name == "arccosh":
        return 2.0**rng.uniform(0.01, 30, 300)
    if name == "arctan":
        return log_uniform(rng, -30, 30, 300)
    return rng.uniform(-1, 1, 300)


@elements
@pytest.mark.parametrize("name", [name for name in OWN + LIBRARY if arity(name) == 1])
def test_functions_are_accurate(name, element):
    assert_accurate(name, element, points(name, element))


@elements
def test_two_arguments_are_accurate(element):
    rng = np.random.default_rng(1)
    end, far = (700, 1000) if element == "double" else (86, 120)
    near_one = 1 + log_uniform(rng, -20, -2, 1000)
    for bases in (2.0**rng.uniform(-1, 1, 1000), 2.0**rng.uniform(-far, far, 1000), near_one):
        bases = bases.astype(DTYPES[element])
        assert_accurate("power", element, bases, rng.uniform(-end, end, len(bases))/np.abs(np.log(bases)))
    exponents = rng.choice([-3, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3], 300)
    assert_accurate("power", element, rng.uniform(0, 9, 300), exponents)
    assert_accurate("power", element, -rng.uniform(0, 9, 300), np.round(exponents))
    assert_accurate("arctan2", element, rng.normal(size=200), rng.normal(size=200))


@elements
@pytest.mark.parametrize("name", SIMPLE)
def test_simple_functions_equal_numpy(name, element):
    rng = np.random.default_rng(2)
    pool = np.array([-inf, inf, nan, 0.0, -0.5, 0.5, -1.5, 2.5, 1e30, *rng.normal(size=55)], DTYPES[element])
    arguments = [pool, rng.permutation(pool)][: arity(name)]
    peers = {"magnitude": np.abs, "heaviside": lambda x: np.heaviside(x, DTYPES[element](0.5))}
    expected = peers.get(name, getattr(np, name, None))(*arguments)
    np.testing.assert_array_equal(evaluate(name, element, *arguments), expected)


EDGES = {
    "sin": {0: 0, -inf: nan, inf: nan},
    "cos": {0: 1, -inf: nan, inf: nan, 1e-30: 1},
    "tan": {0: 0, -inf: nan, inf: nan},
    "exp": {0: 1, -inf: 0, inf: inf, 1e30: inf, -1e30: 0, 710: inf, -709: 0, 1e-30: 1},
    "log": {-0.0: -inf, -1: nan, -inf: nan, inf: inf, 1: 0, -1e-30: nan},
    "sqrt": {0: 0, -1: nan, inf: inf, 4: 2},
    "sinh": {0: 0, -inf: -inf, inf: inf, 711: inf, -1e30: -inf},
    "cosh": {0: 1, -inf: inf, inf: inf, -711: inf, 1e30: inf},
    "tanh": {0: 0, -inf: -1, inf: 1, 1e30: 1, -30: -1},
    "arccos": {1: 0, 2: nan},
    "arctanh": {1: inf, 2: nan},
}
POWERS = [
    (0, 2, 0), (0, 0.5, 0), (0, 0, 1), (0, -1, inf), (0, -0.5, inf), (-0.0, -1, -inf), (-0.0, 2, 0), (0, 1e-30, 0),
    (5, 0, 1), (-5, 0, 1), (inf, 0, 1), (1, 1e30, 1), (1, -3.5, 1), (-1, 1e30, 1), (-1, 3, -1), (-2, 3, -8),
    (-2, -2, 0.25), (-2, 0.5, nan), (-1, 1.5, nan), (-8, 1/3, nan), (2, inf, inf), (2, -inf, 0), (0.5, inf, 0),
    (0.5, -inf, inf), (inf, 2, inf), (inf, -2, 0), (-inf, 3, -inf), (-inf, 2, inf), (-inf, -3, 0), (2, 1e4, inf),
    (-2, 9999, -inf), (0.5, 1e4, 0), (1e30, 1e30, inf), (1e-30, 1e30, 0), (3, 1, 3), (2, 10, 1024), (2, -10, 2**-10),
    (nan, 2, nan), (2, nan, nan), (nan, nan, nan), (0, nan, nan), (nan, 0, nan),
]  # fmt: skip


@elements
def test_edges(element):
    for name, edges in EDGES.items():
        found = evaluate(name, element, list(edges))
        np.testing.assert_array_equal(found, np.array([*edges.values()], found.dtype), err_msg=f"{name}{list(edges)}")
    x, y, expected = np.transpose(POWERS)
    np.testing.assert_array_equal(evaluate("power", element, x, y), expected.astype(DTYPES[element]), err_msg="power")


@elements
@pytest.mark.parametrize("name", FUNCTIONS)
def test_nan_gives_nan(name, element):
    for position in range(arity(name)):
        arguments = [[1.0, 0.5, 0.0]]*arity(name)
        arguments[position] = [nan]*3
        assert np.isnan(evaluate(name, element, *arguments)).all()


@elements
@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_angles_are_right_up_to_the_largest_and_nan_beyond(name, element):
    largest = DTYPES[element](LARGEST[element])
    assert_accurate(name, element, [largest, -largest])
    beyond = np.nextafter(largest, DTYPES[element](inf))*2.0**np.arange(0, 80)
    assert np.isnan(evaluate(name, element, np.concatenate([beyond, -beyond]))).all()


@elements
def test_overflow_begins_where_the_result_does(element):
    largest = float(np.finfo(DTYPES[element]).max)
    limits = {"exp": mpmath.log(largest), "sinh": mpmath.asinh(largest), "cosh": mpmath.acosh(largest)}
    for name, limit in limits.items():
        steps = near([float(limit)], DTYPES[element], 8)
        below, above = steps[:6], steps[11:]
        assert np.isfinite(evaluate(name, element, below)).all()
        assert np.isposinf(evaluate(name, element, above)).all()


@elements
def test_small_results_are_normal_or_zero(element):
    smallest = float(np.finfo(DTYPES[element]).tiny)
    around = math.log(smallest)
    results = evaluate("exp", element, np.linspace(around + 0.4, around - 2, 500))
    assert ((results == 0) | (results >= smallest)).all()
    assert (np.diff(results) <= 0).all()
    assert results[0] > 0 == results[-1]


def test_sine_and_cosine_are_at_most_one():
    """For all floats beside the maxima; for doubles a place more is possible, but not at 0."""
    beside = np.arange(-200_000, 200_000)
    for name, peaks in (("sin", [math.pi/2, 5*math.pi/2, -3*math.pi/2]), ("cos", [2*math.pi, -math.pi, 100*math.pi])):
        for peak in peaks:
            x = (np.array([peak], np.float32).view(np.int32) + beside).astype(np.int32).view(np.float32)
            assert np.abs(evaluate(name, "float", x)).max() == 1
    small = 2.0**np.linspace(-40, -2, 100_000)
    assert evaluate("cos", "float", small).max() == 1


@elements
def test_parity_is_exact(element):
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.uniform(0, 20, 4000), 2.0**rng.uniform(-30, 15, 4000)])
    for name in ("sin", "tan", "sinh", "tanh"):
        np.testing.assert_array_equal(evaluate(name, element, -x), -evaluate(name, element, x), err_msg=name)
    for name in ("cos", "cosh"):
        np.testing.assert_array_equal(evaluate(name, element, -x), evaluate(name, element, x), err_msg=name)


@elements
@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize(
    ("width", "machine"), [(1, "host"), (4, "host"), (64, "host"), (8, "no AVX-512"), (4, "no fused product")]
)
def test_every_width_and_machine_gives_the_same_bits(name, element, width, machine):
    rng = np.random.default_rng(4)
    arguments = [np.append(points(name, element), [0.0, -0.0, nan, inf, -inf, 1e30])]
    if arity(name) == 2:
        exponents = np.append(rng.normal(0, 20, 500), np.round(rng.normal(0, 20, 500)))
        arguments = [np.append(rng.uniform(-1, 9, 1000), [0, 0, inf, -inf]), np.append(exponents, [-1, 1, 2, 3])]
    found = evaluate(name, element, *arguments, width=width, machine=machine)
    np.testing.assert_array_equal(found, evaluate(name, element, *arguments))


@elements
@pytest.mark.parametrize("name", OWN)
def test_fastmath_of_numba_leaves_them_alone(name, element):
    module = module_of(name, element, 8)
    before = str(module)
    rewrite_module(module, FastMathOptions(True))
    assert "afn" in before or name == "sqrt"
    assert "".join(str(f) for f in module.functions) == "".join(str(f) for f in module_of(name, element, 8).functions)


def test_constants_keep_the_sign_of_zero_and_do_not_grow():
    def text(width, x):
        builder = ir.IRBuilder(ir.Function(ir.Module(), ir.FunctionType(ir.VoidType(), []), "f").append_basic_block())
        return Vector(builder, width).constant(x).get_reference()

    assert text(8, 0.0) != text(8, -0.0)
    assert len(text(64, 1.5)) - len(text(8, 1.5)) <= 4
