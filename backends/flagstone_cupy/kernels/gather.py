"""Rows picked and summed by numbers: batches, embeddings, and their gradients."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from flagstone.backend import declines
from flagstone_cupy.kernel import Kernel, family
from flagstone_cupy.launch import Array, contiguous, converted, empty, launch, over, table

FLOATS = ("float", "double")
INTEGERS = ("int", "long long")
BITS = ("unsigned char", "unsigned short", "unsigned", "unsigned long long")
TAKE_ROWS = family("gather.cu", "take_rows", T=BITS, I=INTEGERS)
ADD_ROWS = family("gather.cu", "add_rows", T=FLOATS, I=INTEGERS)
SCATTER_ADD = family("gather.cu", "scatter_add", T=FLOATS, I=INTEGERS)
COUNT_ROW = Kernel("gather.cu", "count_row")
ROWS = 8  # of a block of add_rows, a warp each
_NAN = {"float16": 0x7E00, "float32": 0x7FC00000, "float64": 0x7FF8000000000000}


def take_rows(x: Array, index: Array) -> Array:
    """See :func:`flagstone.ops.shape.take_rows`.

    A number out of range gives NaN, or 0 in an integer row: looking would read the device.
    """
    index = as_index(index)
    y = empty((index.shape[0], *x.shape[1:]), x.dtype)
    bits = np.dtype(f"uint{8 * x.dtype.itemsize}")
    width = math.prod(x.shape[1:])
    source, target = (a.reshape(-1).view(bits) for a in (contiguous(x), y))
    arguments: tuple[Any, ...] = (source, index, target, _NAN.get(x.dtype.name, 0))
    sizes = (x.shape[0], index.shape[0], width)
    grid, block = table(index.shape[0], width)
    launch(TAKE_ROWS[bits, index.dtype], grid, block, 0, (*arguments, *sizes))
    return y


@declines
def add_rows(g: Array, index: Array, *, rows: int) -> Array:
    """See :func:`flagstone.ops.shape.add_rows`."""
    index = as_index(index)
    if (g.dtype, index.dtype) not in ADD_ROWS:
        return NotImplemented
    y = empty((rows, *g.shape[1:]), g.dtype)
    m, width = g.shape[0], math.prod(g.shape[1:])
    grid = (-(-rows // ROWS), -(-width // 32), 1)
    arguments = (contiguous(g), index, y, rows, m, width)
    launch(ADD_ROWS[g.dtype, index.dtype], grid, (32, ROWS, 1), 0, arguments)
    return y


@declines
def scatter_add(g: Array, index: Array, *, axis: int, size: int) -> Array:
    """See :func:`flagstone.ops.gathering.scatter_add`."""
    index = as_index(index)
    if (g.dtype, index.dtype) not in SCATTER_ADD:
        return NotImplemented
    a = axis % g.ndim
    y = empty((*g.shape[:a], size, *g.shape[a + 1 :]), g.dtype)
    inner = math.prod(g.shape[a + 1 :])
    kernel = SCATTER_ADD[g.dtype, index.dtype]
    sizes = (y.size, g.shape[a], size, inner)
    over(kernel, y.size, contiguous(g), index, y, *sizes, each=1)
    return y


def row_number() -> Array:
    """An array for the number of a row, on the device: (1,), what it holds is not defined."""
    return empty((1,), "int64")


def feed(rows: Array, number: Array, row: Array) -> None:
    """Copy the row of that number to ``row``; NaN or 0 where there is none."""
    bits = np.dtype(f"uint{8 * row.dtype.itemsize}")
    source, target = (a.reshape(-1).view(bits) for a in (rows, row))
    arguments = (source, number, target, _NAN.get(row.dtype.name, 0), rows.shape[0], 1, row.size)
    grid, block = table(1, row.size)
    launch(TAKE_ROWS[bits, number.dtype], grid, block, 0, arguments)


def count_row(number: Array) -> None:
    """``number += 1``, on the device."""
    launch(COUNT_ROW, (1, 1, 1), (1, 1, 1), 0, (number,))


def as_index(index: Array) -> Array:
    """Integers in row-major order, of 64 bits unless they have 32."""
    is_served = index.dtype in (np.int32, np.int64)
    return contiguous(index) if is_served else converted(index, "int64")
