"""Convolution as products over blocks of columns that compiled loops gather.

As :mod:`flagstone_numpy.kernels.im2col`, which serves grouped columns and three spatial axes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from flagstone_numba.kernels.planes import Geometry, as_planes
from flagstone_numba.loading import loops
from flagstone_numba.scratch import scratch
from flagstone_numba.sums import share_sum
from flagstone_numpy.kernels import im2col
from flagstone_numpy.kernels.windows import Array, Block, Sizes, Window, blocks
from flagstone_numpy.threads import share

BLOCK_BYTES = 1 << 20


def forward(
    x: Array, w: Array, b: Array | None, window: Window, positions: Sizes, groups: int
) -> Array:
    """Return the convolution, (n, *positions, k)."""
    if groups > 1 or len(positions) > 2:
        return im2col.forward(x, w, b, window, positions, groups)
    k = w.shape[0]
    y = np.empty((x.shape[0], *positions, k), x.dtype)
    weights = w.reshape(k, -1).T
    depth = weights.shape[0]
    seen, into = as_planes(x), as_planes(y)
    pieces, most = _cut(into, depth)
    geometry = Geometry.of(window)

    def work(mine: Iterator[Block]) -> None:
        buffer = scratch("columns", (most, depth), x.dtype)
        for block in mine:
            columns = _gather(seen, block, into.shape[2], geometry, buffer)
            out = into[block.images, block.rows].reshape(-1, k)  # contiguous: whole rows
            np.matmul(columns, weights, out=out)
            if b is not None:
                out += b

    share(work, pieces)
    return y


def weight_grad(dy: Array, x: Array, window: Window, groups: int) -> Array:
    """Return the gradient of the weights, (k, *kernel, c / groups)."""
    if groups > 1 or x.ndim > 4:
        return im2col.weight_grad(dy, x, window, groups)
    k, c = dy.shape[-1], x.shape[-1]
    depth = window.taps * c
    seen, given = as_planes(x), as_planes(dy)
    pieces, most = _cut(given, depth)
    geometry = Geometry.of(window)

    def work(mine: Iterator[tuple[Array, Sequence[Block]]]) -> None:
        buffer = scratch("columns", (most, depth), x.dtype)
        part = scratch("part", (k, depth), x.dtype)
        for total, group in mine:
            for block in group:
                columns = _gather(seen, block, given.shape[2], geometry, buffer)
                rows = given[block.images, block.rows].reshape(-1, k)
                total += np.matmul(rows.T, columns, out=part)

    return share_sum(work, pieces, (k, depth), x.dtype).reshape(k, *window.kernel, c)


def input_grad(dy: Array, w: Array, size: Sizes, window: Window, groups: int) -> Array:
    """Return the gradient of the input, (n, *size, c)."""
    if groups > 1 or len(size) > 2:
        return im2col.input_grad(dy, w, size, window, groups)
    run = loops("columns").scatter
    k = w.shape[0]
    dx = np.zeros((dy.shape[0], *size, w.shape[-1]), dy.dtype)
    weights = w.reshape(k, -1)
    depth = weights.shape[1]
    given, into = as_planes(dy), as_planes(dx)
    pieces, most = _cut(given, depth)
    geometry = Geometry.of(window)

    def work(mine: Iterator[list[Block]]) -> None:
        buffer = scratch("columns", (most, depth), dy.dtype)
        for block in itertools.chain.from_iterable(mine):
            rows = given[block.images, block.rows].reshape(-1, k)
            columns = np.matmul(rows, weights, out=buffer[: len(rows)])
            run(columns, *_where(block, given.shape[2], geometry), into)

    by_image = itertools.groupby(pieces, key=lambda block: block.images.start)
    share(work, [list(group) for _, group in by_image])  # no two threads add to one image
    return dx


def _gather(x: Array, block: Block, positions: int, geometry: Geometry, buffer: Array) -> Array:
    """Return the columns of a block, (m, depth), in ``buffer``."""
    columns = buffer[: math.prod(block.shape) * positions]
    loops("columns").gather(x, *_where(block, positions, geometry), columns)
    return columns


def _where(block: Block, positions: int, geometry: Geometry) -> tuple[object, ...]:
    images = np.array([block.images.start, block.images.stop], np.int64)
    return (
        images, block.rows.start, block.shape[1], positions, np.array(geometry.kernel, np.int64),
        geometry.stride, geometry.low, geometry.dilation,
    )  # fmt: skip


def _cut(planes: Array, depth: int) -> tuple[list[Block], int]:
    """Cut positions (n, p, q, ...) into blocks; also how many the largest has."""
    n, rows, columns = planes.shape[:3]
    found = list(blocks(n, rows, columns * depth * planes.itemsize, BLOCK_BYTES))
    return found, math.prod(found[0].shape) * columns if found else 0
