"""Products of matrices inside compiled loops: ``numpy.dot`` there wants arrays without gaps and makes new ones.

The symbol is the one behind numba's own ``numpy.dot``: scipy's BLAS.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.linalg import check_blas_return, ensure_blas, get_blas_kind

_CHARACTER, _POINTER = ir.IntType(8), ir.IntType(8).as_pointer()


@intrinsic
def multiply(
    context: Any, to: Any, left: Any, left_across: Any, right: Any, right_across: Any, alpha: Any, beta: Any
) -> Any:
    """to = alpha*left*right + beta*to, each factor transposed where ``across`` is 1.

    Rows of all three may stand apart, numbers in a row may not.
    """
    ensure_blas()
    kind, element = get_blas_kind(to.dtype), to.dtype

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        whole, (integer, size) = context.get_value_type(types.intp), (ir.IntType(64), element.bitwidth//8)
        arrays = [
            context.make_array(type_)(context, builder, value)
            for type_, value in zip(signature.args, values, strict=True) if isinstance(type_, types.Array)
        ]  # fmt: skip
        shapes = [cgutils.unpack_tuple(builder, array.shape, 2) for array in arrays]

        def distance(array: Any, columns: Any) -> Any:
            """From one row to the next, in numbers; that of a single row may be anything."""
            rows = builder.sdiv(cgutils.unpack_tuple(builder, array.strides, 2)[0], ir.Constant(integer, size))
            return builder.select(builder.icmp_signed(">", rows, columns), rows, columns)

        def slot(value: Any, type_: Any) -> Any:
            place = cgutils.alloca_once_value(builder, context.cast(builder, value, type_, element))
            return builder.bitcast(place, _POINTER)

        def letter(across: Any, type_: Any) -> Any:
            given = builder.icmp_signed("!=", context.cast(builder, across, type_, types.intp), ir.Constant(integer, 0))
            return builder.select(given, ir.Constant(_CHARACTER, ord("t")), ir.Constant(_CHARACTER, ord("n")))

        types_ = signature.args
        across = [letter(values[2], types_[2]), letter(values[4], types_[4])]
        first = builder.icmp_signed("!=", context.cast(builder, values[2], types_[2], types.intp), whole(0))
        inner = builder.select(first, shapes[1][0], shapes[1][1])
        data = [builder.bitcast(array.data, _POINTER) for array in arrays]
        rows = [distance(array, shape[1]) for array, shape in zip(arrays, shapes, strict=True)]
        kinds = [
            _CHARACTER, _CHARACTER, _CHARACTER, integer, integer, integer, _POINTER, _POINTER, integer, _POINTER,
            integer, _POINTER, _POINTER, integer,
        ]  # fmt: skip
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.IntType(32), kinds), "numba_xxgemm"
        )  # fmt: skip
        # by columns, as BLAS counts, every matrix is its transpose: to' = right' left'
        found = builder.call(function, [
            ir.Constant(_CHARACTER, ord(kind)), across[1], across[0], shapes[0][1], shapes[0][0], inner,
            slot(values[5], types_[5]), data[2], rows[2], data[1], rows[1], slot(values[6], types_[6]), data[0],
            rows[0],
        ])  # fmt: skip
        check_blas_return(context, builder, found)
        return context.get_dummy_value()

    return types.void(to, left, left_across, right, right_across, alpha, beta), generate
