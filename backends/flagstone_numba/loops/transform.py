"""Winograd's transforms of one tile, M d M', a register's width of channels at a time.

See :mod:`flagstone_numpy.kernels.winograd` for the matrices. All numbers of a tile pass through
registers once; a matrix's zeros and ones cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numba.core.cgutils
import numba.extending
from llvmlite import ir
from numba.core import types

from flagstone_numba.loops.product import VECTOR_BYTES
from flagstone_numpy.kernels.winograd import MATRICES, Matrices

LANES = VECTOR_BYTES // 4
cgutils: Any = numba.core.cgutils  # its types are partial
intrinsic: Any = numba.extending.intrinsic


def _transform(of: Callable[[Matrices], Any], has_bias: bool = False) -> Any:
    @intrinsic  # type: ignore[untyped-decorator]  # numba has no stubs
    def transform(
        _: Any, size: Any, a: Any, a_at: Any, a_row: Any, a_column: Any, out: Any, out_at: Any,
        out_row: Any, out_column: Any, channels: Any, bias: Any,
    ) -> Any:  # fmt: skip
        args = (
            size, a, a_at, a_row, a_column, out, out_at, out_row, out_column, channels, bias,
        )  # fmt: skip
        matrix = of(MATRICES[size.count]).tolist()

        def write(context: Any, builder: Any, signature: Any, given: Any) -> Any:
            return _write(context, builder, signature, given, matrix, has_bias)

        return types.void(*args), write

    return transform


spread_inputs = _transform(lambda m: m.inputs)
"""``out = M d M'`` for every channel: ``spread_inputs(size, a, a_at, a_row, a_column, out, out_at,
out_row, out_column, channels, bias)``. ``size`` is a tuple as long as a tile's outputs are wide,
arrays are flat, and channels, a multiple of :data:`LANES`, lie next to each other."""
gather_outputs = _transform(lambda m: m.outputs, has_bias=True)
"""The same with the outputs' matrix; ``bias``, one number a channel, is added."""
spread_gradients = _transform(lambda m: m.gradients)
"""The same with the transpose of the outputs' matrix."""
spread_weights = _transform(lambda m: m.kernel)
"""The same with the weights' matrix: of 3 x 3 taps."""
gather_weights = _transform(lambda m: m.kernel.T)
"""The same with its transpose, which gives 3 x 3 taps."""


def _write(
    context: Any, builder: Any, signature: Any, args: Any, matrix: Sequence[Sequence[float]],
    has_bias: bool,
) -> Any:  # fmt: skip
    _, a, a_at, a_row, a_column, out, out_at, out_row, out_column, channels, bias = args
    arrays = {1: a, 5: out, 10: bias}
    a, out, bias = (
        context.make_array(signature.args[i])(context, builder, value).data
        for i, value in arrays.items()
    )
    vector, i64 = ir.VectorType(ir.FloatType(), LANES), ir.IntType(64)
    fma = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{LANES}f32"
    )
    count, side = len(matrix), len(matrix[0])

    def pointer(base: Any, row: Any, column: Any, i: int, j: int) -> Any:
        at = builder.add(
            builder.mul(row, ir.Constant(i64, i)), builder.mul(column, ir.Constant(i64, j))
        )
        return builder.bitcast(builder.gep(base, [at]), vector.as_pointer())

    def combine(factors: Sequence[float], values: Sequence[Any]) -> Any:
        """The sum of ``values`` times ``factors``, the ones first."""
        terms = [(f, v) for f, v in zip(factors, values, strict=True) if f]
        terms.sort(key=lambda term: abs(term[0]) != 1 or term[0] < 0)
        total = None
        for factor, value in terms:
            if total is None:
                first = ir.Constant(vector, [factor] * LANES)
                total = value if factor == 1 else builder.fmul(value, first)
            elif abs(factor) == 1:
                total = (builder.fadd if factor == 1 else builder.fsub)(total, value)
            else:
                times = ir.Constant(vector, [factor] * LANES)
                total = builder.call(fma, [value, times, total])
        return total

    lanes = ir.Constant(i64, LANES)
    with cgutils.for_range(builder, builder.sdiv(channels, lanes)) as loop:
        begin = builder.mul(loop.index, lanes)
        source = builder.gep(a, [builder.add(a_at, begin)])
        target = builder.gep(out, [builder.add(out_at, begin)])
        half: list[list[Any]] = [[None] * side for _ in range(count)]
        for j in range(side):
            column = []
            for i in range(side):
                loaded = builder.load(pointer(source, a_row, a_column, i, j))
                loaded.align = 4
                column.append(loaded)
            for i in range(count):
                half[i][j] = combine(matrix[i], column)
        if has_bias:
            more = builder.load(builder.bitcast(builder.gep(bias, [begin]), vector.as_pointer()))
            more.align = 4
        for i in range(count):
            for j in range(count):
                value = combine(matrix[j], half[i])
                if has_bias:
                    value = builder.fadd(value, more)
                stored = builder.store(value, pointer(target, out_row, out_column, i, j))
                stored.align = 4
    return context.get_dummy_value()
