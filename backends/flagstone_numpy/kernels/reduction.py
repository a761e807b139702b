"""Sums over leading axes, such as the gradient of a bias, in one pass."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from flagstone_numpy.kernels.constants import row
from flagstone_numpy.kernels.windows import Array, Block, shared_blocks
from flagstone_numpy.sums import share_sum

FEW = 1024
"""Up to so many numbers, a product with ones takes two thirds of a sum's time."""
SMALL = 1 << 16
"""Up to so many numbers NumPy's own sum is as fast."""
BLOCK_BYTES = 1 << 20

_reduce: Any = np.add.reduce  # np.sum without its Python; its types want keepdims to be a literal


def sum(  # noqa: A001  # the op's name
    x: Array, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False
) -> Array:
    """The sum over ``axis``; over all leading axes of a large floating array as ``ones @ x``."""
    if x.size <= FEW and not keepdims and x.flags.c_contiguous and x.dtype.char in "fd":
        if axis is None:
            return np.asarray(x.ravel().dot(row(x.size, 1.0, x.dtype)))
        if axis == 0 and x.ndim == 2 and type(axis) is int:
            return row(len(x), 1.0, x.dtype).dot(x)
    if x.size <= SMALL and x.dtype.kind == "f":
        return np.asarray(_reduce(x, axis=axis, keepdims=keepdims))
    leading = leading_axes(x, axis)
    if not leading or x.dtype.kind != "f" or not x.flags.c_contiguous:
        return np.asarray(np.sum(x, axis=axis, keepdims=keepdims))
    rest = x.shape[leading:]
    rows = x.reshape(-1, math.prod(rest))
    row_bytes = rows.shape[1] * x.itemsize
    pieces = shared_blocks(len(rows), 1, row_bytes, max(row_bytes, BLOCK_BYTES))
    units = np.ones(pieces[0].shape[0] if pieces else 0, x.dtype)  # the first is the longest

    def add(mine: Iterator[tuple[Array, Sequence[Block]]]) -> None:
        for sums, group in mine:
            sums[...] = 0
            for block in group:
                part = rows[block.images]
                sums += units[: len(part)].dot(part)

    total = share_sum(add, pieces, rows.shape[1:], x.dtype).copy()
    return total.reshape((1,) * leading + rest if keepdims else rest)


def by_product(shape: tuple[int, ...], dtype: np.dtype, axis: Any, keepdims: bool) -> bool:
    """Whether :func:`sum` of an array of this kind without gaps is a product with ones."""
    over = axis is None or (axis == 0 and len(shape) == 2 and type(axis) is int)
    return over and not keepdims and dtype.char in "fd" and math.prod(shape) <= FEW


def leading_axes(x: Array, axis: int | tuple[int, ...] | None) -> int:
    """Return n where ``axis`` means the first n axes and there are more, else 0."""
    if axis is None:
        return 0
    axes = {a % x.ndim for a in (axis if isinstance(axis, tuple) else (axis,))}
    return len(axes) if axes == set(range(len(axes))) and len(axes) < x.ndim else 0
