"""The front end for straight-line functions: their text becomes LLVM IR without numba's type inference.

numba spends about a millisecond on every operation of a source text. Straight-line functions of a derived
expression have hundreds, and nothing in them needs inference: a value is an integer, a number, or lanes. The
decorator :func:`straight` reads the text with ``ast`` and builds the instructions inside one intrinsic. The
same text therefore compiles for float64, complex128 and lanes, and runs as plain Python without the decorator.

The language: assignments to names, ``a, b = tuple``, ``array[i]`` to load, ``array[i] = x`` and
``array[i] += x`` to store, ``if x != 0.0:`` around stores, ``gather(array, i, stride)`` and ``scatter(array, i,
stride, x)`` for one number a lane, ``lanes(array, i)`` and ``put(array, i, x)`` for neighbours in lanes,
``masked(array, i, x)`` for the lanes whose bits in the array are set, ``shifted(before, x)`` and ``following(x,
ahead)`` by one lane, ``lane(x, k)`` for the number in one, ``total(x)`` for the sum of all, ``mixed(array, i, x, n,
y)`` for y + a matrix times the lanes, arithmetic, and calls of the functions of ``symbols.graph``; one ``return`` at
the end. A row of an array with two axes is a value in lanes.
"""

from __future__ import annotations

import ast
import cmath
import functools
import inspect
import math
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core.typing import signature
from numba.extending import intrinsic

from .lanes import Lanes, folded, value_type
from .vector import FUNCTIONS, Vector

# Lanes are summed in any order and products contracted; infinities and nan keep their meaning.
_FLAGS = ("contract", "nsz", "reassoc")
_SCALAR = {
    "sin": "sin", "cos": "cos", "tan": "tan", "exp": "exp", "log": "log", "sinh": "sinh", "cosh": "cosh",
    "tanh": "tanh", "arcsin": "asin", "arccos": "acos", "arctan": "atan", "arcsinh": "asinh", "arccosh": "acosh",
    "arctanh": "atanh", "sqrt": "sqrt",
}  # fmt: skip
# numba defines these of a complex number in Python, not as instructions
_COMPLEX: dict[str, Callable[[Any], Any]] = {
    "sinh": lambda x: cmath.sinh(x), "cosh": lambda x: cmath.cosh(x), "tanh": lambda x: cmath.tanh(x),
    "arccosh": lambda x: cmath.acosh(x),
}  # fmt: skip
_ARITHMETIC = {
    ast.Add: ("fadd", operator.add), ast.Sub: ("fsub", operator.sub), ast.Mult: ("fmul", operator.mul),
    ast.Div: ("fdiv", operator.truediv),
}  # fmt: skip
_INTEGER = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul"}
_COMPARED = {"less": "<", "less_equal": "<=", "equal": "=="}


class Value(NamedTuple):
    """A typed value: ``type`` a numba type or "number" for a literal, ``ir`` what LLVM calls it (None while typing)."""

    type: Any
    ir: Any


class Mask(NamedTuple):
    """The type of one condition a lane, from comparing values of type ``lanes``."""

    lanes: Lanes


def straight(function: Callable) -> Any:
    """Compile a straight-line function by its text; the types of its arguments decide for which values."""

    def typed(context: Any, *arguments: Any) -> Any:
        width = function.__globals__.get("WIDTH", 1)
        tree = _definition(function.__code__.co_filename, function.__name__)
        found = _Run(None, None, width).execute(tree, [Value(kind, None) for kind in arguments])
        result = _returned(found)

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            run = _Run(context, builder, width)
            given = [Value(kind, value) for kind, value in zip(signature.args, values, strict=True)]
            returned = [run.concrete(value) for value in run.execute(tree, given)]
            if not returned:
                return context.get_dummy_value()
            return context.make_tuple(builder, signature.return_type, [value.ir for value in returned])

        return signature(result, *arguments), generate

    # numba reads the arity from the signature
    own = inspect.signature(function)
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    typed.__signature__ = own.replace(parameters=[context, *own.parameters.values()])  # type: ignore[attr-defined]
    typed.__name__ = function.__name__
    return intrinsic(typed)


def _returned(values: list[Value]) -> Any:
    if not values:
        return types.void
    return types.BaseTuple.from_types([types.float64 if v.type == "number" else v.type for v in values])


@functools.lru_cache(maxsize=8)
def _functions(path: str) -> dict[str, ast.FunctionDef]:
    tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def _definition(path: str, name: str) -> ast.FunctionDef:
    return _functions(path)[name]


class _Run:
    """One pass over the text: with a builder it emits instructions, without one it only finds types."""

    def __init__(self, context: Any, builder: Any, width: int) -> None:
        self.context, self.builder, self.width = context, builder, width
        self.names: dict[str, Any] = {}

    def execute(self, tree: ast.FunctionDef, arguments: list[Value]) -> list[Value]:
        for argument, value in zip(tree.args.args, arguments, strict=True):
            self.names[argument.arg] = value
        for statement in tree.body:
            if isinstance(statement, ast.Return):
                assert isinstance(statement.value, ast.Tuple)
                return [self.value(item) for item in statement.value.elts]
            self.statement(statement)
        return []

    def statement(self, statement: ast.stmt) -> None:
        if isinstance(statement, (ast.Expr, ast.Pass)):  # put(...), scatter(...), or a docstring
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
                assert isinstance(statement.value.func, ast.Name)
                getattr(self, statement.value.func.id)(*map(self.value, statement.value.args))
            return
        if isinstance(statement, ast.If):
            self.conditional(statement)
            return
        if isinstance(statement, ast.AugAssign):
            assert isinstance(statement.target, ast.Subscript) and isinstance(statement.op, ast.Add)
            array, index = self.place(statement.target)
            total = self.arithmetic(ast.Add, self.load(array, index), self.value(statement.value))
            self.store(array, index, total)
            return
        assert isinstance(statement, ast.Assign)
        (target,) = statement.targets
        if isinstance(target, ast.Subscript):
            array, index = self.place(target)
            self.store(array, index, self.value(statement.value))
        elif isinstance(target, ast.Tuple):
            assert isinstance(statement.value, ast.Name)
            for position, name in enumerate(target.elts):
                assert isinstance(name, ast.Name)
                self.names[name.id] = self.item(self.names[statement.value.id], position)
        else:
            assert isinstance(target, ast.Name)
            self.names[target.id] = self.value(statement.value)

    def conditional(self, statement: ast.If) -> None:
        """``if x != 0.0:`` and statements that store; names given inside stay inside."""
        assert isinstance(statement.test, ast.Compare)
        tested, outside = self.value(statement.test.left), dict(self.names)
        if not self.builder:
            for inner in statement.body:
                self.statement(inner)
        else:
            zero = ir.Constant(tested.ir.type, 0.0)
            with self.builder.if_then(self.builder.fcmp_unordered("!=", tested.ir, zero)):
                for inner in statement.body:
                    self.statement(inner)
        self.names = outside

    def value(self, node: ast.expr) -> Value:
        if isinstance(node, ast.Constant):
            return Value("number", node.value)
        if isinstance(node, ast.Name):
            return Value("number", self.width) if node.id == "WIDTH" else self.names[node.id]
        if isinstance(node, ast.UnaryOp):
            return self.negative(self.value(node.operand))
        if isinstance(node, ast.Subscript):
            return self.load(*self.place(node))
        if isinstance(node, ast.BinOp):
            left, right = self.value(node.left), self.value(node.right)
            if isinstance(node.op, ast.Pow):
                return self.power(left, right)
            return self.arithmetic(type(node.op), left, right)
        assert isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        return self.call(node.func.id, [self.value(argument) for argument in node.args])

    # ------------------------------------------------------------------ memory
    def place(self, node: ast.Subscript) -> tuple[Value, Value]:
        assert isinstance(node.value, ast.Name)
        return self.names[node.value.id], self.value(node.slice)

    def item(self, value: Value, position: int) -> Value:
        kind = value.type.types[position] if isinstance(value.type, types.Tuple) else value.type.dtype
        return Value(kind, self.builder and self.builder.extract_value(value.ir, position))

    def element(self, array: Value) -> Any:
        kind = array.type
        return kind.dtype if kind.ndim == 1 else value_type(kind.dtype, self.width)

    def pointer(self, array: Value, index: Value) -> Any:
        data = self.context.make_array(array.type)(self.context, self.builder, array.ir).data
        offset = self.integer(index)
        if array.type.ndim == 2 and self.width > 1:
            offset = self.builder.mul(offset, ir.Constant(offset.type, self.width))
        place = self.builder.gep(data, [offset])
        kind = self.element(array)
        return self.builder.bitcast(place, kind.vector.as_pointer()) if isinstance(kind, Lanes) else place

    def load(self, array: Value, index: Value) -> Value:
        kind = self.element(array)
        if not self.builder:
            return Value(kind, None)
        place = self.pointer(array, index)
        if isinstance(kind, types.Complex):
            return Value(kind, self.context.unpack_value(self.builder, kind, place))
        return Value(kind, self.builder.load(place, align=_alignment(kind)))

    def store(self, array: Value, index: Value, value: Value) -> None:
        kind = self.element(array)
        if not self.builder:
            return
        place, converted = self.pointer(array, index), self.cast(value, kind)
        if isinstance(kind, types.Complex):
            self.context.pack_value(self.builder, kind, converted, place)
        else:
            self.builder.store(converted, place, align=_alignment(kind))

    def row(self, array: Value, index: Value) -> tuple[Any, Any]:
        """The type of WIDTH neighbouring numbers, and where they begin."""
        kind = value_type(array.type.dtype, self.width)
        data = self.context.make_array(array.type)(self.context, self.builder, array.ir).data
        place = self.builder.gep(data, [self.integer(index)])
        return kind, self.builder.bitcast(place, kind.vector.as_pointer()) if isinstance(kind, Lanes) else place

    def lanes(self, array: Value, index: Value) -> Value:
        """Lane k is array[index + k]."""
        if not self.builder:
            return Value(value_type(array.type.dtype, self.width), None)
        kind, place = self.row(array, index)
        return Value(kind, self.builder.load(place, align=_alignment(kind)))

    def put(self, array: Value, index: Value, value: Value) -> None:
        """array[index + k] = lane k."""
        if self.builder:
            kind, place = self.row(array, index)
            self.builder.store(self.cast(value, kind), place, align=_alignment(kind))

    def masked(self, array: Value, index: Value, x: Value) -> Value:
        """Lanes of ``x`` where lane k of array[index + k] has all bits set, zero where it has none."""
        kind = value_type(array.type.dtype, self.width)
        if not self.builder:
            return Value(kind, None)
        bits = ir.VectorType(ir.IntType(64 if kind.element == types.float64 else 32), self.width)
        there = self.builder.bitcast(self.lanes(array, index).ir, bits)
        kept = self.builder.and_(there, self.builder.bitcast(self.cast(x, kind), bits))
        return Value(kind, self.builder.bitcast(kept, kind.vector))

    def shifted(self, before: Value, value: Value) -> Value:
        """The last lane of ``before``, then all but the last of ``value``."""
        if not self.builder or not isinstance(value.type, Lanes):
            return Value(value.type, before.ir)
        order = ir.Constant(ir.VectorType(ir.IntType(32), self.width), list(range(self.width - 1, 2*self.width - 1)))
        return Value(value.type, self.builder.shuffle_vector(before.ir, value.ir, order))

    def following(self, value: Value, ahead: Value) -> Value:
        """All but the first lane of ``value``, then the first of ``ahead``."""
        if not self.builder or not isinstance(value.type, Lanes):
            return Value(value.type, ahead.ir)
        order = ir.Constant(ir.VectorType(ir.IntType(32), self.width), list(range(1, self.width + 1)))
        return Value(value.type, self.builder.shuffle_vector(value.ir, ahead.ir, order))

    def gather(self, array: Value, index: Value, stride: Value) -> Value:
        """Lane k is array[index + k stride]."""
        kind = value_type(array.type.dtype, self.width)
        if not self.builder or self.width == 1:
            return Value(kind, self.load(array, index).ir)
        data = self.context.make_array(array.type)(self.context, self.builder, array.ir).data
        at, step = self.integer(index), self.integer(stride)
        vector = ir.Constant(kind.vector, ir.Undefined)
        for lane in range(self.width):
            number = self.builder.load(self.builder.gep(data, [at]), align=_alignment(array.type.dtype))
            vector = self.builder.insert_element(vector, number, ir.Constant(ir.IntType(32), lane))
            at = self.builder.add(at, step)
        return Value(kind, vector)

    def scatter(self, array: Value, index: Value, stride: Value, value: Value) -> None:
        """array[index + k stride] = lane k."""
        if not self.builder:
            return
        kind = value_type(array.type.dtype, self.width)
        data = self.context.make_array(array.type)(self.context, self.builder, array.ir).data
        at, step, x = self.integer(index), self.integer(stride), self.cast(value, kind)
        for lane in range(self.width):
            number = self.builder.extract_element(x, ir.Constant(ir.IntType(32), lane)) if self.width > 1 else x
            self.builder.store(number, self.builder.gep(data, [at]), align=_alignment(array.type.dtype))
            at = self.builder.add(at, step)

    def lane(self, x: Value, index: Value) -> Value:
        """The number in one lane."""
        kind = x.type.element
        place = ir.Constant(ir.IntType(32), index.ir)
        return Value(kind, self.builder and self.builder.extract_element(x.ir, place))

    def total(self, x: Value) -> Value:
        """The sum of all lanes."""
        if not self.builder:
            return Value(x.type.element, None)
        return self.lane(Value(x.type, folded(self.builder, x.ir, self.builder.fadd)), Value("number", 0))

    def mixed(self, array: Value, index: Value, x: Value, count: Value, base: Value) -> Value:
        """base + the sum over k < count of row index + k times lane k of x: a matrix, by its columns, times lanes.

        In chains that the compiler may not join, since their latency is what a product costs.
        """
        kind = self.element(array)
        if not self.builder:
            return Value(kind, None)
        x, vector, chains = Value(kind, self.cast(x, kind)), self.vector(kind), list[Any]()
        for k in range(count.ir):
            number = Value("number", k)
            row = self.load(array, Value(types.intp, self.builder.add(self.integer(index), self.integer(number)))).ir
            part = self.cast(self.lane(x, number), kind)
            if k == 0:
                chains.append(vector.fma(row, part, self.cast(base, kind)))
            elif k < 4:
                chains.append(self.builder.fmul(row, part))
            else:
                chains[k % 4] = vector.fma(row, part, chains[k % 4])
        while len(chains) > 1:
            chains = [*map(self.builder.fadd, chains[::2], chains[1::2]), *(chains[-1:] if len(chains) % 2 else ())]
        return Value(kind, chains[0])

    # ------------------------------------------------------------------ numbers
    def integer(self, value: Value) -> Any:
        return ir.Constant(ir.IntType(64), int(value.ir)) if value.type == "number" else value.ir

    def concrete(self, value: Value) -> Value:
        return Value(types.float64, self.cast(value, types.float64)) if value.type == "number" else value

    def cast(self, value: Value, kind: Any) -> Any:
        """A value as another type: a literal, an integer, a number, lanes."""
        if value.type == kind:
            return value.ir
        if isinstance(kind, Lanes):
            if value.type == "number":
                return self.vector(kind).constant(float(value.ir))
            return self.vector(kind).splat(self.cast(value, kind.element))
        if value.type == "number":
            return self.context.get_constant(kind, kind.cast_python_value(value.ir))
        return self.context.cast(self.builder, value.ir, value.type, kind)

    def common(self, *values: Value) -> Any:
        """The type that holds all of them."""
        kinds = [value.type for value in values if value.type != "number"]
        for kind in kinds:
            if isinstance(kind, Lanes):
                return kind
        if any(isinstance(kind, types.Complex) for kind in kinds):
            return types.complex128
        if kinds and all(isinstance(kind, types.Integer) for kind in kinds):
            return types.intp if all(v.type != "number" or isinstance(v.ir, int) for v in values) else types.float64
        return types.float32 if kinds and all(kind == types.float32 for kind in kinds) else types.float64

    def vector(self, kind: Lanes) -> Vector:
        return Vector(self.builder, kind.width, "double" if kind.element == types.float64 else "float")

    def arithmetic(self, kind: type[ast.operator], left: Value, right: Value) -> Value:
        name, function = _ARITHMETIC[kind]
        if left.type == right.type == "number":
            return Value("number", function(left.ir, right.ir))
        common = self.common(left, right)
        if isinstance(common, types.Integer) and kind in _INTEGER:
            if not self.builder:
                return Value(types.intp, None)
            return Value(types.intp, getattr(self.builder, _INTEGER[kind])(self.integer(left), self.integer(right)))
        common = types.float64 if isinstance(common, types.Integer) else common
        if not self.builder:
            return Value(common, None)
        a, b = self.cast(left, common), self.cast(right, common)
        if isinstance(common, types.Complex):
            compute = self.context.get_function(function, signature(common, common, common))
            return Value(common, compute(self.builder, (a, b)))
        return Value(common, getattr(self.builder, name)(a, b, flags=_FLAGS))

    def negative(self, value: Value) -> Value:
        if value.type == "number":
            return Value("number", -value.ir)
        if not self.builder:
            return value
        if isinstance(value.type, types.Integer):
            return Value(value.type, self.builder.neg(value.ir))
        if isinstance(value.type, types.Complex):
            compute = self.context.get_function(operator.neg, signature(value.type, value.type))
            return Value(value.type, compute(self.builder, (value.ir,)))
        return Value(value.type, self.builder.fneg(value.ir, flags=("nsz",)))

    def power(self, base: Value, exponent: Value) -> Value:
        if base.type == exponent.type == "number":
            return Value("number", base.ir**exponent.ir)
        common = self.common(base, exponent)
        common = types.float64 if isinstance(common, types.Integer) else common
        if not self.builder:
            return Value(common, None)
        a, b = self.cast(base, common), self.cast(exponent, common)
        if isinstance(common, Lanes):
            return Value(common, FUNCTIONS["power"](self.vector(common), a, b))
        compute = self.context.get_function(operator.pow, signature(common, common, common))
        return Value(common, compute(self.builder, (a, b)))

    # ------------------------------------------------------------------ functions
    def call(self, name: str, given: list[Value]) -> Value:
        if name in ("gather", "lane", "lanes", "masked", "mixed", "following", "shifted", "total"):
            return getattr(self, name)(*given)
        if name in _COMPARED:
            return self.compare(_COMPARED[name], *given)
        if name in ("both", "either", "negation"):
            return self.logic(name, given)
        if name == "select":
            return self.select(*given)
        if all(value.type == "number" for value in given):
            given = [self.concrete(value) if self.builder else Value(types.float64, None) for value in given]
        common = self.common(*given)
        common = types.float64 if isinstance(common, types.Integer) else common
        values = [Value(common, self.builder and self.cast(value, common)) for value in given]
        if name in ("larger", "maximum", "minimum"):
            # one instruction where ties do not matter; of complex numbers the first counts, with its own derivative
            relation = "<" if name == "minimum" else ">"
            relation += "=" if isinstance(common, types.Complex) else ""
            return self.select(self.compare(relation, *values), *values)
        if name == "magnitude":
            return self.select(self.compare(">=", values[0], _ZERO), values[0], self.negative(values[0]))
        if name in ("sign", "heaviside"):
            below, middle = (-1.0, 0.0) if name == "sign" else (0.0, 0.5)
            x = values[0]
            rest = self.select(self.compare(">", x, _ZERO), Value("number", 1.0), Value("number", below), common)
            return self.select(self.compare("==", x, _ZERO), Value("number", middle), rest, common)
        if isinstance(common, Lanes):
            result = self.builder and FUNCTIONS[name](self.vector(common), *[value.ir for value in values])
            return Value(common, result)
        return self.scalar_call(name, common, values)

    def scalar_call(self, name: str, kind: Any, values: list[Value]) -> Value:
        if name in ("floor", "ceil"):  # piecewise constant: of a complex number, that of its real part
            real = self.real(values[0])
            if not self.builder:
                return Value(kind, None)
            module = self.builder.module
            compute = module.declare_intrinsic(f"llvm.{name}", [real.ir.type])
            return Value(kind, self.cast(Value(real.type, self.builder.call(compute, [real.ir])), kind))
        if not self.builder:
            return Value(kind, None)
        given = tuple(value.ir for value in values)
        if isinstance(kind, types.Complex) and name in _COMPLEX:
            result = self.context.compile_internal(self.builder, _COMPLEX[name], signature(kind, kind), given)
            return Value(kind, result)
        library: Any = cmath if isinstance(kind, types.Complex) else math
        function = math.atan2 if name == "arctan2" else getattr(library, _SCALAR[name])
        compute = self.context.get_function(function, signature(kind, *[kind]*len(values)))
        return Value(kind, compute(self.builder, given))

    def real(self, value: Value) -> Value:
        """The part that decides branches: for complex arithmetic the real one."""
        if isinstance(value.type, types.Complex):
            part = self.builder and self.builder.extract_value(value.ir, 0)
            return Value(types.float64, part)
        return value

    def compare(self, relation: str, left: Value, right: Value) -> Value:
        equality = relation == "==" and any(isinstance(v.type, types.Complex) for v in (left, right))
        common = self.common(left, right)
        common = types.float64 if isinstance(common, types.Integer) else common
        kind = Mask(common) if isinstance(common, Lanes) else types.boolean
        if not self.builder:
            return Value(kind, None)
        a, b = (Value(common, self.cast(value, common)) for value in (left, right))
        if equality:
            compute = self.context.get_function(operator.eq, signature(types.boolean, common, common))
            return Value(kind, compute(self.builder, (a.ir, b.ir)))
        return Value(kind, self.builder.fcmp_ordered(relation, self.real(a).ir, self.real(b).ir))

    def logic(self, name: str, given: list[Value]) -> Value:
        kind = next((value.type for value in given if isinstance(value.type, Mask)), types.boolean)
        if not self.builder:
            return Value(kind, None)
        if name == "negation":
            return Value(kind, self.builder.not_(given[0].ir))
        a, b = (self.spread(value.ir) if isinstance(kind, Mask) else value.ir for value in given)
        return Value(kind, self.builder.and_(a, b) if name == "both" else self.builder.or_(a, b))

    def spread(self, mask: Any) -> Any:
        """A condition as one bit a lane."""
        if isinstance(mask.type, ir.VectorType):
            return mask
        kind = ir.VectorType(mask.type, self.width)
        first = self.builder.insert_element(ir.Constant(kind, ir.Undefined), mask, ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.width), [0]*self.width)
        return self.builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), zeros)

    def select(self, condition: Value, yes: Value, no: Value, kind: Any = None) -> Value:
        common = kind or self.common(yes, no)
        common = types.float64 if isinstance(common, types.Integer) else common
        if isinstance(condition.type, Mask) and not isinstance(common, Lanes):
            common = condition.type.lanes
        if not self.builder:
            return Value(common, None)
        return Value(common, self.builder.select(condition.ir, self.cast(yes, common), self.cast(no, common)))


_ZERO = Value("number", 0.0)


def _alignment(kind: Any) -> int:
    """Of one number: rows of lanes need not begin at a multiple of their own size."""
    element = kind.element if isinstance(kind, Lanes) else kind
    return 4 if element == types.float32 else 8

