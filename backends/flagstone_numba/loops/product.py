"""A small matrix product whose sums stay in vector registers, written in LLVM's own terms.

Numba's loops over slices become vector instructions, but a sum that several of them share goes
through memory at each step, and BLAS copies both factors before it multiplies. Here ``rows`` times
``vectors`` registers hold sums; a step loads ``vectors`` registers of ``b`` and multiplies each by
one number of ``a`` a row, wherever ``a`` has it. So a convolution needs neither columns nor copies
(Georganas et al., "Anatomy of high-performance deep learning convolutions on SIMD architectures",
2018). How fast that is beside PyTorch's: ``python asv_bench/conv_passes.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba.core.cgutils
import numba.extending
from llvmlite import binding, ir
from numba.core import types

cgutils: Any = numba.core.cgutils  # its types are partial
intrinsic: Any = numba.extending.intrinsic
uniform: Any = types.UniTuple


def _registers() -> tuple[int, int]:
    """Bytes of the host's vector registers, and how many of them may hold sums."""
    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 64, 28
    if features.get("avx"):
        return 32, 12
    return 16, 24 if binding.get_default_triple().startswith(("aarch64", "arm64")) else 12


VECTOR_BYTES, SUMS = _registers()


@intrinsic  # type: ignore[untyped-decorator]  # numba has no stubs
def multiply(
    _: Any, rows: Any, vectors: Any, a: Any, a_at: Any, a_row: Any, a_step: Any, offsets: Any,
    parts: Any, depth: Any, b: Any, b_at: Any, b_step: Any, add: Any, add_at: Any, add_row: Any,
    out: Any, out_at: Any, out_row: Any,
) -> Any:  # fmt: skip
    """``out[r, v] = add[r, v] + sum over i, d of a[offsets[i] + r, d] * b[i * depth + d, v]``.

    ``rows`` and ``vectors`` are tuples, whose lengths, known to the compiler, say how many; v
    counts the numbers of all vectors. Arrays are flat; of each, ``_at`` is where the product
    starts, ``_row`` and ``_step`` how far apart rows and steps are. There are ``parts`` offsets.
    ``add`` may be ``out``.
    """
    args = (
        rows, vectors, a, a_at, a_row, a_step, offsets, parts, depth, b, b_at, b_step, add,
        add_at, add_row, out, out_at, out_row,
    )  # fmt: skip
    return types.void(*args), _multiply


@intrinsic  # type: ignore[untyped-decorator]  # numba has no stubs
def multiply_taps(
    _: Any, lines: Any, run: Any, vectors: Any, a: Any, a_at: Any, a_line: Any, a_step: Any,
    offsets: Any, parts: Any, depth: Any, b: Any, b_at: Any, b_step: Any, out: Any, out_at: Any,
    out_row: Any, ahead: Any,
) -> Any:  # fmt: skip
    """The same for rows that lie next to each other in ``a``, in lines ``a_line`` apart, added up.

    ``out[l * run + r, v] += sum of a[offsets[i] + l * a_line + r, d] * b[i * depth + d, v]``;
    ``lines`` and ``run`` are tuples too. Each step asks for what lies ``ahead`` of it in ``b``:
    where sums are few, a product waits for memory unless the next one's numbers are on their way.
    """
    args = (
        lines, run, vectors, a, a_at, a_line, a_step, offsets, parts, depth, b, b_at, b_step, out,
        out_at, out_row, ahead,
    )  # fmt: skip
    return types.void(*args), _multiply_taps


def _multiply(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Write :func:`multiply`."""
    i64 = ir.IntType(64)
    apart = [builder.mul(args[4], ir.Constant(i64, r)) for r in range(signature.args[0].count)]
    return _write(context, builder, signature, args, apart)


def _multiply_taps(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Write :func:`multiply_taps`."""
    i64 = ir.IntType(64)
    lines, run, vectors = (t.count for t in signature.args[:3])
    apart = [
        builder.add(builder.mul(args[5], ir.Constant(i64, line)), ir.Constant(i64, r))
        for line in range(lines)
        for r in range(run)
    ]
    kinds, out = signature.args, slice(13, 16)
    sign = types.void(
        uniform(types.intp, lines * run), uniform(types.intp, vectors),
        *kinds[3:6], *kinds[6:13], *kinds[out], *kinds[out],
    )  # fmt: skip
    given = (None, None, *args[3:13], *args[out], *args[out])
    return _write(context, builder, sign, given, apart, args[16])


def _write(
    context: Any, builder: Any, signature: Any, args: Any, apart: Sequence[Any], ahead: Any = None
) -> Any:
    """Write a product whose rows stand ``apart`` from the first."""
    rows, vectors = signature.args[0].count, signature.args[1].count
    number = signature.args[2].dtype
    (_, _, a, a_at, _, a_step, offsets, parts, depth, b, b_at, b_step, add, add_at, add_row,
     out, out_at, out_row) = args  # fmt: skip
    arrays = {2: a, 6: offsets, 9: b, 12: add, 15: out}
    a, offsets, b, add, out = (
        context.make_array(signature.args[i])(context, builder, value).data
        for i, value in arrays.items()
    )
    lanes = VECTOR_BYTES // (number.bitwidth // 8)
    scalar = context.get_value_type(number)
    vector = ir.VectorType(scalar, lanes)
    name = f"llvm.fma.v{lanes}f{number.bitwidth}"
    fma = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(vector, [vector] * 3), name
    )
    i64, i32 = ir.IntType(64), ir.IntType(32)
    byte = ir.IntType(8)
    prefetch = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(ir.VoidType(), [byte.as_pointer(), i32, i32, i32]),
        "llvm.prefetch.p0i8",
    )  # fmt: skip
    everywhere = ir.Constant(ir.VectorType(i32, lanes), [0] * lanes)
    nothing = ir.Constant(vector, ir.Undefined)

    def at(pointer: Any, index: Any) -> Any:
        return builder.gep(pointer, [ir.Constant(i64, index) if type(index) is int else index])

    def times(value: Any, count: int) -> Any:
        return builder.mul(value, ir.Constant(i64, count))

    def load(pointer: Any) -> Any:
        found = builder.load(builder.bitcast(pointer, vector.as_pointer()))
        found.align = number.bitwidth // 8
        return found

    def spread(pointer: Any) -> Any:
        one = builder.insert_element(nothing, builder.load(pointer), ir.Constant(i32, 0))
        return builder.shuffle_vector(one, nothing, everywhere)

    sums = [[cgutils.alloca_once(builder, vector) for _ in range(vectors)] for _ in range(rows)]
    for row in sums:
        for each in row:
            builder.store(ir.Constant(vector, [0.0] * lanes), each)
    target = at(out, out_at)
    place = cgutils.alloca_once_value(builder, at(b, b_at))
    start = at(a, a_at)
    with cgutils.for_range(builder, parts) as part:
        begin = at(start, builder.load(at(offsets, part.index)))
        with cgutils.for_range(builder, depth) as step:
            one, many = at(begin, builder.mul(step.index, a_step)), builder.load(place)
            factors = [load(at(many, v * lanes)) for v in range(vectors)]
            if ahead is not None:
                for v in range(vectors):
                    later = builder.bitcast(at(at(many, ahead), v * lanes), byte.as_pointer())
                    builder.call(prefetch, [later, *(ir.Constant(i32, n) for n in (0, 3, 1))])
            for r in range(rows):
                value = spread(at(one, apart[r]))
                for v in range(vectors):
                    total = builder.call(fma, [value, factors[v], builder.load(sums[r][v])])
                    builder.store(total, sums[r][v])
            builder.store(at(many, b_step), place)
    for r in range(rows):
        for v in range(vectors):
            more = load(at(at(at(add, add_at), times(add_row, r)), v * lanes))
            into = at(at(target, times(out_row, r)), v * lanes)
            total = builder.fadd(builder.load(sums[r][v]), more)
            done = builder.store(total, builder.bitcast(into, vector.as_pointer()))
            done.align = number.bitwidth // 8
    return context.get_dummy_value()
