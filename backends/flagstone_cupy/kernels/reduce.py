"""Sums over any axes, and the Euclidean norm."""

from __future__ import annotations

import itertools
import math

import numpy as np

from flagstone.backend import declines
from flagstone_cupy.kernel import Kernel, family
from flagstone_cupy.launch import (
    MOST_BLOCKS,
    THREADS,
    Array,
    Sizes,
    contiguous,
    converted,
    empty,
    launch,
)

# What is summed -> what it is summed in.
_PAIRS = {
    "float": "float", "double": "double", "bool": "long long", "int": "long long",
    "long long": "long long", "unsigned char": "unsigned long long",
    "unsigned long long": "unsigned long long", "__half": "float", "__nv_bfloat16": "float",
}  # fmt: skip
_ROWS = {t: Kernel("reduce.cu", "sum_rows", T=t, A=a, F="Plain") for t, a in _PAIRS.items()}
_COLUMNS = {t: Kernel("reduce.cu", "sum_columns", T=t, A=a) for t, a in _PAIRS.items()}
SUM_ROWS = {kernel.dtypes[0]: kernel for kernel in _ROWS.values()}
SUM_COLUMNS = {kernel.dtypes[0]: kernel for kernel in _COLUMNS.values()}
SQUARES = {
    np.dtype(t): Kernel("reduce.cu", "sum_rows", T=c, A=c, F="Square")
    for t, c in (("float32", "float"), ("float64", "double"))
}
ROOT_OF_SUM = family("reduce.cu", "root_of_sum", T=("float", "double"))

ENOUGH_BLOCKS = 1024  # more than any card runs at once
LONG = 2048  # values that one row of threads adds up before another is worth it
MOST_SPLITS = 256


@declines
def sum(  # noqa: A001  # the op's name
    x: Array, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False
) -> Array:
    """See :func:`flagstone.ops.reduction.sum`."""
    if x.dtype not in SUM_ROWS:
        return NotImplemented
    axes = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    reduced = {a % x.ndim for a in axes}
    kept = [1 if a in reduced else n for a, n in enumerate(x.shape)]
    total = contiguous(x)
    shape = list(x.shape)
    for first, count in reversed(_runs(reduced)):
        n, inner = math.prod(shape[first : first + count]), math.prod(shape[first + count :])
        shape[first : first + count] = [1] * count
        total = sum_middle(total, math.prod(shape[:first]), n, inner)
    wanted = x.dtype if x.dtype.itemsize == 2 else SUM_ROWS[x.dtype].dtypes[1]
    if not reduced:  # nothing was summed
        return converted(x, wanted)
    if total.dtype != wanted:
        total = converted(total, wanted)
    return total.reshape(kept if keepdims else [n for a, n in enumerate(kept) if a not in reduced])


def sum_middle(x: Array, outer: int, n: int, inner: int) -> Array:
    """The sum over the middle of a contiguous array of (outer, n, inner) values: (outer, inner)."""
    while True:
        x, n = _rows(x, outer, n) if inner == 1 else _columns(x, outer, n, inner)
        if n == 1:
            return x


@declines
def norm(x: Array) -> Array:
    """See :func:`flagstone.ops.update.norm`; two launches."""
    if x.dtype not in SQUARES:
        return NotImplemented
    splits = min(ENOUGH_BLOCKS, -(-x.size // LONG)) or 1
    partial, out = empty((splits,), x.dtype), empty((), x.dtype)
    arguments = (contiguous(x), partial, 1, x.size, splits)
    launch(SQUARES[x.dtype], (splits, 1, 1), (THREADS, 1, 1), 0, arguments)
    launch(ROOT_OF_SUM[x.dtype], (1, 1, 1), (THREADS, 1, 1), 0, (partial, out, splits))
    return out


def split(n: int, long: int, blocks: int) -> int:
    """In how many parts to add up ``n`` values, where there are ``blocks`` blocks without that."""
    if blocks >= ENOUGH_BLOCKS:
        return 1
    return max(1, min(MOST_SPLITS, n // long, ENOUGH_BLOCKS // max(blocks, 1)))


def _rows(x: Array, rows: int, n: int) -> tuple[Array, int]:
    wide = 32
    while wide < THREADS and wide * 4 < n:
        wide *= 2
    high = THREADS // wide
    splits = split(n, LONG, -(-rows // high))
    kernel = SUM_ROWS[x.dtype]
    out = empty((rows, splits), kernel.dtypes[1])
    grid = (splits, min(-(-rows // high), MOST_BLOCKS[1]), 1)
    launch(kernel, grid, (wide, high, 1), 0, (x, out, rows, n, splits))
    return out, splits


def _columns(x: Array, outer: int, n: int, inner: int) -> tuple[Array, int]:
    block, grid_x = columns(inner)
    splits = split(n, 64 * block[1], outer * grid_x)
    kernel = SUM_COLUMNS[x.dtype]
    out = empty((outer, splits, inner), kernel.dtypes[1])
    grid = (grid_x, splits, min(outer, MOST_BLOCKS[2]))
    launch(kernel, grid, block, 0, (x, out, outer, n, inner, splits))
    return out, splits


def columns(inner: int) -> tuple[Sizes, int]:
    """A block with a thread along x for each of ``inner`` columns, and how many such blocks."""
    wide = 1
    while wide < min(inner, THREADS):
        wide *= 2
    return (wide, THREADS // wide, 1), -(-inner // wide)


def _runs(axes: set[int]) -> list[tuple[int, int]]:
    """Neighbouring axes together: the first of each run, and how many."""
    ordered = sorted(axes)
    groups = itertools.groupby(enumerate(ordered), lambda pair: pair[1] - pair[0])
    runs = [[a for _, a in group] for _, group in groups]
    return [(run[0], len(run)) for run in runs]
