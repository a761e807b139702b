"""A batch made of the data in one pass."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from flagstone.backend import declines
from flagstone_cupy.kernel import Kernel
from flagstone_cupy.kernels.gather import as_index, take_rows
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
from flagstone_cupy.signature import C_TYPES

EACH = 4  # examples that a thread takes, so that it finds its channel for several
MOST_DEEP = 64  # threads of a block along z
_KINDS = (
    ("unsigned char", "float"), ("unsigned char", "double"), ("float", "float"),
    ("double", "double"),
)  # fmt: skip
STANDARDIZED = {
    tuple(np.dtype(C_TYPES[kind]) for kind in (*kinds, number)): Kernel(
        "batch.cu", "standardized", S=kinds[0], T=kinds[1], I=number
    )
    for kinds in _KINDS
    for number in ("int", "long long")
}


@declines
def standardized(
    x: Array, mean: Array, inverse_scale: Array, index: Array | None = None,
    rows: Array | None = None, columns: Array | None = None,
) -> Any:  # fmt: skip
    """See :func:`flagstone.ops.standardized`.

    An example of no such number gives NaN, or what 0 gives where data are integers: looking would
    read the device. Integers other than bytes are picked and converted by themselves first.
    """
    if x.dtype.kind in "iu" and x.dtype != np.uint8:
        x = converted(x if index is None else take_rows(x, index), mean.dtype)
        index = None
    index = None if index is None else as_index(index)
    kinds = (x.dtype, mean.dtype, np.dtype("int32") if index is None else index.dtype)
    is_moved = rows is not None or columns is not None
    h, w, channels = x.shape[1:] if is_moved else (1, 1, math.prod(x.shape[1:]))
    n = x.shape[0] if index is None else index.shape[0]
    new_h = h if rows is None else rows.shape[1]
    new_w = w if columns is None else columns.shape[1]
    if kinds not in STANDARDIZED or (is_moved and mean.ndim != 1):
        return NotImplemented
    if max(n, new_w * channels) >= 2**31:
        return NotImplemented
    y = empty((n, *((new_h, new_w, channels) if is_moved else x.shape[1:])), mean.dtype)
    numbers = (None if a is None else contiguous(a) for a in (rows, columns))
    arrays = (contiguous(x), index, *numbers, contiguous(mean), contiguous(inverse_scale), y)
    missing = math.nan if x.dtype.kind == "f" else 0.0
    sizes = (x.shape[0], n, h, w, channels, new_h, new_w, mean.size)
    grid, block = _geometry(n, new_h, new_w * channels)
    launch(STANDARDIZED[kinds], grid, block, 0, (*arrays, missing, *sizes))
    return y


def _geometry(n: int, rows: int, width: int) -> tuple[Sizes, Sizes]:
    """Threads along x for the places of a row, along y for rows, along z for examples."""
    wide = _power_of_2(width, THREADS)
    high = _power_of_2(rows, THREADS // wide)
    deep = _power_of_2(n, min(THREADS // wide // high, MOST_DEEP))
    grid = (
        -(-width // wide), min(-(-rows // high), MOST_BLOCKS[1]),
        min(-(-n // (deep * EACH)), MOST_BLOCKS[2]),
    )  # fmt: skip
    return grid, (wide, high, deep)


def _power_of_2(least: int, most: int) -> int:
    """The lowest one that is no less than ``least``, or ``most``."""
    power = 1
    while power < min(least, most):
        power *= 2
    return power
