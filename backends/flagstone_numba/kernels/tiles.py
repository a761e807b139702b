"""3x3 convolution of stride 1 by Winograd's F(2x2, 3x3), its transforms compiled.

The method is that of :mod:`flagstone_numpy.kernels.winograd`; here a piece of work is a block of
tiles whose transformed inputs and products stay in the second-level cache, and pieces are shared
among threads.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from flagstone_numba.loading import loops
from flagstone_numba.scratch import scratch
from flagstone_numba.sums import share_sum
from flagstone_numpy.kernels.windows import Array, Block, Sizes, Window, blocks
from flagstone_numpy.kernels.winograd import KERNEL, spans
from flagstone_numpy.threads import share

BLOCK_BYTES = 3 << 19
"""Of transformed inputs and products together."""
LEAST_TILES = 128
"""In a product; with fewer BLAS is slow."""
LINE = 16  # float32 in a cache line; streams stand an odd number of lines apart


def forward(
    x: Array, w: Array, b: Array | None, window: Window, positions: Sizes, _groups: int
) -> Array:
    """Return the convolution, (n, *positions, k)."""
    run = loops("winograd")
    x = np.ascontiguousarray(x)
    n, c, k = x.shape[0], x.shape[-1], w.shape[0]
    y = np.empty((n, *positions, k), np.float32)
    weights = np.ascontiguousarray(_transformed(w).swapaxes(-1, -2))  # (16, c, k)
    bias = np.zeros(k, np.float32) if b is None else np.ascontiguousarray(b)
    pieces, columns, most = _blocks(n, positions, c + k)
    low = _low(window)

    def work(mine: Iterator[Block]) -> None:
        seen = _streams("seen", most * c)
        inputs = scratch("inputs", (8, (columns + 1) * c), np.float32)
        products = _streams("products", most * k)
        outputs = scratch("outputs", (8, columns * k), np.float32)
        for block in mine:
            images, first, rows = _place(block)
            tiles = math.prod(block.shape) * columns
            run.inputs(x, images, first, low, rows, columns, seen, inputs)
            for s, e in spans(tiles, c * k):
                np.matmul(
                    seen[:, s * c : e * c].reshape(16, e - s, c),
                    weights,
                    out=products[:, s * k : e * k].reshape(16, e - s, k),
                )
            run.outputs(products, bias, images, first, rows, columns, y, outputs)

    share(work, pieces)
    return y


def weight_grad(dy: Array, x: Array, window: Window, _groups: int) -> Array:
    """Return the gradient of the weights, (k, 3, 3, c)."""
    run = loops("winograd")
    dy, x = np.ascontiguousarray(dy), np.ascontiguousarray(x)
    n, k, c = dy.shape[0], dy.shape[-1], x.shape[-1]
    pieces, columns, most = _blocks(n, dy.shape[1:-1], c + k)
    low = _low(window)

    def work(mine: Iterator[tuple[Array, Sequence[Block]]]) -> None:
        seen = _streams("seen", most * c)
        inputs = scratch("inputs", (8, (columns + 1) * c), np.float32)
        spread = _streams("products", most * k)
        halves = scratch("outputs", (8, columns * k), np.float32)
        part = scratch("part", (16, k, c), np.float32)
        for total, group in mine:
            for block in group:
                images, first, rows = _place(block)
                tiles = math.prod(block.shape) * columns
                run.inputs(x, images, first, low, rows, columns, seen, inputs)
                run.gradients(dy, images, first, rows, columns, spread, halves)
                for s, e in spans(tiles, c * k):
                    given = spread[:, s * k : e * k].reshape(16, e - s, k)
                    column = seen[:, s * c : e * c].reshape(16, e - s, c)
                    total += np.matmul(given.swapaxes(-1, -2), column, out=part)

    total = share_sum(work, pieces, (16, k, c), np.float32).reshape(4, 4 * k * c)
    half = (KERNEL.T @ total).reshape(3, 4, k * c)
    taps = np.matmul(KERNEL.T, half).reshape(9, k, c)  # (3, 3, k * c)
    return np.ascontiguousarray(taps.transpose(1, 0, 2)).reshape(k, 3, 3, c)


def _transformed(w: Array) -> Array:
    """Return G w G', (16, k, c), of weights (k, 3, 3, c)."""
    k, c = w.shape[0], w.shape[-1]
    taps = np.ascontiguousarray(w.reshape(k, 9, c).transpose(1, 0, 2))  # (9, k, c)
    half = (KERNEL @ taps.reshape(3, 3 * k * c)).reshape(4, 3, k * c)
    return np.matmul(KERNEL, half).reshape(16, k, c)


def _low(window: Window) -> Any:
    return np.array([low for low, _ in window.padding], np.int64)


def _place(block: Block) -> tuple[Any, int, int]:
    """Return a block's images, its first row of tiles and how many rows it has."""
    images = np.array([block.images.start, block.images.stop], np.int64)
    return images, block.rows.start, block.shape[1]


def _streams(name: str, size: int) -> Array:
    """Return scratch (16, size), the streams an odd number of cache lines apart."""
    apart = (-(-size // LINE) | 1) * LINE
    return scratch(name, (16, apart), np.float32)


def _blocks(n: int, positions: Sizes, channels: int) -> tuple[list[Block], int, int]:
    """Cut the tiles of n images into blocks; also the tiles in a row, and in the largest block."""
    rows, columns = (-(-p // 2) for p in positions)
    tile = 16 * channels * 4
    found = list(blocks(n, rows, columns * tile, max(BLOCK_BYTES, LEAST_TILES * tile)))
    most = math.prod(found[0].shape) * columns if found else 0
    return found, columns, most
