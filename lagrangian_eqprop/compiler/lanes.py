"""Lanes: a numba value that is an LLVM vector, one sample of a batch in each lane.

A plain loop over a batch is left scalar by the compiler as soon as it calls sin; a value type that *is* a
vector leaves nothing to chance. State laid out as (quantity, lane) is loaded once, carried through a whole
trajectory in registers, and stored once. A value may be wider than a register: LLVM splits it into
independent parts, which hides the latency of each. Arrays whose rows are lanes have two axes, (rows, width);
a width of one stands for a plain number, so that the same text serves a single trajectory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model
from numba.np.arrayobj import populate_array

ELEMENTS = {types.float64: ir.DoubleType(), types.float32: ir.FloatType()}


class Lanes(types.Type):
    """The numba type of a vector of ``width`` float64 or float32."""

    def __init__(self, element: types.Float, width: int) -> None:
        self.element, self.width = element, width
        super().__init__(name=f"lanes({element}, {width})")

    @property
    def vector(self) -> ir.VectorType:
        return ir.VectorType(ELEMENTS[self.element], self.width)


@register_model(Lanes)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: Lanes) -> None:
        super().__init__(manager, lanes, lanes.vector)


def value_type(dtype: Any, width: int) -> Any:
    """The type of one row of an array (rows, width)."""
    return dtype if width == 1 else Lanes(dtype, width)


def empty_rows(rows: int, width: int, dtype: Any = float) -> np.ndarray:
    """An uninitialised array (rows, width) whose rows begin where a vector load is cheapest."""
    item = np.dtype(dtype).itemsize
    raw = np.empty(rows*width*item + 64, np.uint8)
    skip = -raw.__array_interface__["data"][0] % 64  # raw.ctypes.data is the same, slowly
    return raw[skip : skip + rows*width*item].view(dtype).reshape(rows, width)


@intrinsic(prefer_literal=True)
def local_rows(context: Any, like: Any, rows: Any, width: Any) -> Any:
    """Uninitialised rows on the stack of the function that asks, as an array of the type of another.

    Where they are read and written at fixed places, LLVM keeps them in registers.
    """
    if not (isinstance(rows, types.IntegerLiteral) and isinstance(width, types.IntegerLiteral)):
        return None
    shape = max(rows.literal_value, 1), width.literal_value

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind, item = signature.return_type, context.get_abi_sizeof(context.get_data_type(like.dtype))
        with builder.goto_entry_block():
            room = builder.alloca(context.get_data_type(like.dtype), ir.Constant(ir.IntType(32), shape[0]*shape[1]))
            room.align = 64
        found = context.make_array(kind)(context, builder)
        sizes, strides = (
            [context.get_constant(types.intp, n) for n in pair] for pair in (shape, (shape[1]*item, item))
        )
        data = builder.bitcast(room, found.data.type)
        populate_array(found, data, sizes, strides, context.get_constant(types.intp, item), None)
        return found._getvalue()

    return like(like, rows, width), generate


@intrinsic
def largest_lane(context: Any, value: Any) -> Any:
    """The largest lane of a value; lanes that are nan do not count."""
    if not isinstance(value, Lanes):
        return value(value), lambda context, builder, signature, arguments: arguments[0]

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits = 64 if value.element == types.float64 else 32

        def larger(*halves: Any) -> Any:
            kind = halves[0].type
            name = f"llvm.maxnum.v{kind.count}f{bits}"
            function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind, kind]), name)
            return builder.call(function, halves)

        last = folded(builder, arguments[0], larger)
        return builder.extract_element(last, ir.Constant(ir.IntType(32), 0))

    return value.element(value), generate


def folded(builder: Any, vector: Any, join: Callable[[Any, Any], Any]) -> Any:
    """Halves of a vector joined until one lane is left; LLVM's own reductions of max go lane by lane."""
    while vector.type.count > 1:
        half, undefined = vector.type.count//2, ir.Constant(vector.type, ir.Undefined)
        low, high = (
            builder.shuffle_vector(vector, undefined, ir.Constant(ir.VectorType(ir.IntType(32), half), list(lanes)))
            for lanes in (range(half), range(half, 2*half))
        )
        vector = join(low, high)
    return vector
