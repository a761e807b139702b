"""The gradient of a convolution's input, as products whose columns compiled loops add back."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np

from flagstone_numba.kernels.planes import Geometry, as_planes
from flagstone_numba.loading import loops
from flagstone_numpy.kernels.windows import Array, Block, Sizes, Window, blocks
from flagstone_numpy.scratch import scratch
from flagstone_numpy.threads import share

BLOCK_BYTES = 1 << 20


def input_grad(dy: Array, w: Array, size: Sizes, window: Window, out: Array | None = None) -> Array:
    """Return the gradient of the input, (n, *size, c), of one group, with one or two axes."""
    run = loops("columns").scatter
    k = w.shape[0]
    dx = np.empty((dy.shape[0], *size, w.shape[-1]), dy.dtype) if out is None else out
    dx[...] = 0
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
