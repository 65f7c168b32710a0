"""Values of graphs on arrays against sympy, and what rewrites them (hoisting, factoring, the writer) keeps values."""

from __future__ import annotations

import ast
import math

import numpy as np
import pytest
import sympy as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracles import assert_close

from lagrangian_eqprop.compiler.hoisting import Hoisting, factored
from lagrangian_eqprop.compiler.writer import Writer, literal
from lagrangian_eqprop.symbols.evaluate import evaluate
from lagrangian_eqprop.symbols.graph import Graph
from lagrangian_eqprop.symbols.reading import Reader

x, y, z = sp.symbols("x y z", real=True)
RNG = np.random.default_rng(5)
SMALL = RNG.uniform(-0.95, 0.95, 41)
OTHER = RNG.uniform(-3, 3, 41)
ABOVE = RNG.uniform(0.1, 4, 41)  # of z
EXPRESSIONS = [
    sp.sin(y), sp.cos(y), sp.tan(x), sp.exp(y), sp.log(z), sp.sinh(y), sp.cosh(y), sp.tanh(y), sp.asin(x), sp.acos(x),
    sp.atan(y), sp.asinh(y), sp.acosh(1 + z), sp.atanh(x), sp.Abs(y), sp.sign(y), sp.floor(y), sp.ceiling(y),
    sp.Heaviside(y, sp.Rational(1, 2)), sp.atan2(y, x), sp.Max(x, y, z), sp.Min(x, y, z), sp.sqrt(z), z**x, z**sp.pi,
    z**sp.Rational(-7, 3), y**-1, y**-4, y**2, y**3, y**4, y**5, y**9, x*y**2/z**3 - sp.Rational(1, 7), sp.Integer(3),
    sp.log(1 + sp.exp(y) + 2*sp.exp(x)), sp.log(sp.cosh(y)), sp.Piecewise((x**2, y < 0), (z, y <= 1), (x*z, True)),
    sp.Piecewise((x, (y > x) & (z >= 1)), (y, sp.Or(y < -1, z > 3)), (z, True)),
    sp.Piecewise((x, sp.Ne(sp.floor(y), 0)), (y, True)), sp.Piecewise((x, sp.Eq(sp.floor(y), 1)), (y, True)),
    3*x - 2*y + z/3, (x + y + 2*z)**2*(x - y), sp.exp(-z*y**2)*sp.sin(3*x + 1)/(1 + y**2),
]  # fmt: skip


def read(expression):
    graph = Graph()
    leaves = {symbol: graph.symbol("q", k) for k, symbol in enumerate((x, y, z))}
    return graph, Reader(graph, leaves, "the expression").read(sp.sympify(expression))


def values_of(*arrays):
    return {("q", k): array for k, array in enumerate(arrays)}


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=str)
def test_evaluate_against_lambdify(expression):
    graph, root = read(expression)
    (found,) = evaluate(graph, [root], values_of(SMALL, OTHER, ABOVE))
    function = sp.lambdify([x, y, z], expression, "numpy")
    expected = np.array([function(*row) for row in zip(SMALL, OTHER, ABOVE)], float)
    if expression.is_number:
        assert found.shape == () and found == 3.0
    else:
        np.testing.assert_allclose(found, expected, rtol=3e-14, atol=1e-15)


@pytest.mark.parametrize(
    ("expression", "at", "value"),
    [(sp.sign(y), 0.0, 0.0), (sp.Heaviside(y, sp.Rational(1, 2)), 0.0, 0.5), (sp.Abs(y), -0.0, 0.0),
     (sp.floor(y), -0.5, -1.0), (sp.ceiling(y), 0.5, 1.0), (sp.Piecewise((1, y < 0), (2, True)), 0.0, 2.0),
     (sp.Piecewise((1, y <= 0), (2, True)), 0.0, 1.0), (sp.log(1 + sp.exp(y)), 800.0, 800.0),
     (sp.log(sp.exp(y) + sp.exp(-y)), -900.0, 900.0)],
)  # fmt: skip
def test_evaluate_where_it_is_delicate(expression, at, value):
    graph, root = read(expression)
    assert evaluate(graph, [root], values_of(0.0, np.array([at]), 1.0))[0] == [value]


def test_roots_broadcast_alone_and_whole_numbers_stay_real():
    graph, first = read(x*z)
    second = graph.power(graph.symbol("q", 1), graph.number(-1))
    rows, columns = np.array([[1], [2], [4]]), np.array([1, 2, 3, 4])
    product, inverse = evaluate(graph, [first, second], values_of(rows, columns, columns))
    assert product.shape == (3, 4) and inverse.shape == (4,)
    assert_close(product, rows*columns, 0)
    assert_close(inverse, 1/np.array([1.0, 2, 3, 4]), 0)


def test_infinite_values_do_not_warn():
    graph, root = read(1/y + sp.log(z))
    with np.errstate(all="raise"):
        assert evaluate(graph, [root], values_of(0.0, np.zeros(1), np.ones(1)))[0] == [np.inf]


# ------------------------------------------------------------------ rewriting
KINDS = [("q", 0), ("q", 1), ("q", 2), ("p", 0), ("p", 1), ("h", 0), ("u", 0)]
POINT = {kind: np.array([value]) for kind, value in zip(KINDS, [0.7, -1.3, 0.45, 1.9, -0.6, 0.31, 2.2])}


@st.composite
def graphs(draw):
    """A graph with some random roots, of sums, products, powers and functions of static and moving symbols."""
    graph = Graph()
    nodes = [graph.symbol(*kind) for kind in KINDS]
    number = st.sampled_from([-2, -1, 1, 3, 0.5, -1.25])
    for _ in range(draw(st.integers(4, 22))):
        kind = draw(st.sampled_from(["sum", "sum", "product", "product", "inverse", "cos", "exp", "select"]))
        some = [draw(st.sampled_from(nodes)) for _ in range(draw(st.integers(2, 4)))]
        if kind == "sum":
            nodes.append(graph.sum([(node, draw(number)) for node in some], draw(st.sampled_from([0, 0, 1, -0.5]))))
        elif kind == "product":
            nodes.append(graph.product([(node, draw(st.sampled_from([1, 1, 2, 3]))) for node in some]))
        elif kind == "inverse":
            square = graph.sum([(graph.product([(some[0], 2)]), 1)], 1)
            nodes.append(graph.product([(some[1], 1), (square, draw(st.sampled_from([-1, -2, 0.5, -1.5])))]))
        elif kind == "select":
            nodes.append(graph.call("select", graph.call("less", *some[:2]), some[0], some[-1]))
        else:  # of something bounded
            inner = graph.call("cos", some[0]) if graph.value(some[0]) is None else some[0]
            nodes.append(graph.call("exp", inner) if kind == "exp" and graph.value(inner) is None else inner)
    return graph, [draw(st.sampled_from(nodes[len(KINDS) :])) for _ in range(3)]


MANY = settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def assert_same(found, expected):
    for one, two in zip(found, expected, strict=True):
        if np.isfinite(two).all() and np.abs(two).max() < 1e30:
            np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-9)  # sums are multiplied out: terms may cancel


@given(drawn=graphs())
@MANY
def test_hoisting_keeps_values(drawn):
    graph, roots = drawn
    expected = evaluate(graph, roots, POINT)
    hoisting = Hoisting(graph)
    rewritten = hoisting.rewrite(roots)
    moving = graph.symbols(rewritten)
    assert not {kind for kind, _ in moving} & {"p", "h"}  # nothing static is left in the loop
    entries = evaluate(graph, hoisting.coefficients, POINT)
    assert not graph.symbols(hoisting.coefficients) - {("p", 0), ("p", 1), ("h", 0)}
    table = {("c", k): value for k, value in enumerate(entries)}
    assert_same(evaluate(graph, rewritten, POINT | table), expected)
    assert_same(evaluate(graph, hoisting.rewrite(roots[::-1]), POINT | table_of(graph, hoisting)), expected[::-1])


def table_of(graph, hoisting):
    return {("c", k): value for k, value in enumerate(evaluate(graph, hoisting.coefficients, POINT))}


@given(drawn=graphs())
@MANY
def test_a_split_multiplies_to_the_whole(drawn):
    graph, roots = drawn
    for root, (factor, rest) in zip(roots, Hoisting(graph).split(roots)):
        assert not graph.symbols([factor]) - {("p", 0), ("p", 1), ("h", 0)}
        expected, a, b = evaluate(graph, [root, factor, rest], POINT)
        assert_same([a*b], [expected])


@given(drawn=graphs(), data=st.data())
@MANY
def test_factoring_keeps_values(drawn, data):
    graph, roots = drawn
    nodes = [*roots, *(graph.symbol("q", k) for k in range(3)), graph.number(2)]
    exponent = st.sampled_from([1, 1, 2, 3])
    terms = []
    for _ in range(data.draw(st.integers(1, 5))):
        chosen = data.draw(st.lists(st.sampled_from(nodes), min_size=1, max_size=4, unique=True))
        terms.append([(node, data.draw(exponent)) for node in chosen])
    values = dict(zip(nodes, evaluate(graph, nodes, POINT)))
    expected = sum(math.prod(values[node]**e for node, e in term) for term in terms)
    assert_same(evaluate(graph, [factored(graph, terms)], POINT), [expected])


# ------------------------------------------------------------------ the writer
OPERATIONS = {ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply, ast.Div: np.divide, ast.Pow: np.power}
CALLS = {
    "cos": np.cos, "exp": np.exp, "sqrt": np.sqrt, "less": np.less, "select": np.where, "magnitude": np.abs,
    "larger": np.maximum, "log": np.log,
}  # fmt: skip


def interpreted(node, names):
    """The value of an expression of the text, walked by hand."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return names[node.id]
    if isinstance(node, ast.UnaryOp):
        assert isinstance(node.op, ast.USub)
        return -interpreted(node.operand, names)
    if isinstance(node, ast.BinOp):
        return OPERATIONS[type(node.op)](interpreted(node.left, names), interpreted(node.right, names))
    return CALLS[node.func.id](*(interpreted(argument, names) for argument in node.args))


def read_back(graph, roots):
    names = {symbol: f"{symbol[0]}{symbol[1]}" for symbol in KINDS}
    lines, texts = Writer(graph, roots, names).write()
    known = {names[symbol]: value for symbol, value in POINT.items()}
    with np.errstate(all="ignore"):
        for statement in ast.parse("\n".join(lines)).body:
            assert statement.targets[0].id not in known  # a name means one thing
            known[statement.targets[0].id] = interpreted(statement.value, known)
        return lines, [interpreted(ast.parse(text, mode="eval").body, known) for text in texts]


@given(drawn=graphs())
@MANY
def test_the_text_means_the_graph(drawn):
    graph, roots = drawn
    assert_same(read_back(graph, roots)[1], evaluate(graph, roots, POINT))


@pytest.mark.parametrize("power", [1, 2, 3, 4, 5, 6, 7, 12, 63, 64, 65, -1, -2, -7, 0.5, 1.5, -0.5, -2.5, 0.3, -0.3])
def test_written_powers(power):
    graph = Graph()
    base = graph.sum([(graph.symbol("q", 0), 1), (graph.symbol("q", 2), 2)])
    roots = [graph.product([(base, power)]), graph.product([(base, power), (graph.symbol("q", 1), -2)])]
    assert_same(read_back(graph, roots)[1], evaluate(graph, roots, POINT))


def test_a_product_inside_another_is_written_once():
    graph = Graph()
    q, r, s = (graph.symbol("q", k) for k in range(3))
    inner, outer = graph.product([(q, 1), (r, 2)]), graph.product([(q, 1), (r, 3), (s, 1)])
    lines, values = read_back(graph, [graph.call("cos", inner), graph.call("cos", outer)])
    assert_same(values, evaluate(graph, [graph.call("cos", inner), graph.call("cos", outer)], POINT))
    assert sum("q0" in line for line in lines) == 1


@pytest.mark.parametrize("number", [0.1, -0.1, 1e-300, 1/3, 2**70, -5, 1e22])
def test_literals_read_back_exactly(number):
    assert ast.literal_eval(literal(number)) == float(number)
