"""Convolution of inputs with very few channels, such as images: transposed columns.

A row of ordinary columns is copied in runs of kernel width * c numbers, here too short to copy
well. So the columns of a block stand transposed, (c * taps, m), each row one tap of one
channel, copied in runs of a row of positions from the block's images, which are laid with their
padding and channels first. A last row of ones adds the bias within the product.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from flagstone_numpy.kernels.im2col import add_back
from flagstone_numpy.kernels.windows import (
    Array,
    Block,
    Patches,
    Sizes,
    Window,
    shared_blocks,
)
from flagstone_numpy.products import batches
from flagstone_numpy.scratch import scratch
from flagstone_numpy.sums import add_products, copied, share_sum
from flagstone_numpy.threads import share

BLOCK_BYTES = 1 << 20
SHORT_RUN = 16
"""Up to so many numbers, kernel width * c, the runs of ordinary columns are the slower ones."""
FEW_CHANNELS = 4
"""Up to so many channels, adding columns back is faster when they stand transposed."""


def forward(
    x: Array, w: Array, b: Array | None, window: Window, positions: Sizes, _groups: int = 1,
    out: Array | None = None, relu: bool = False,
) -> Array:  # fmt: skip
    """Return the convolution, (n, *positions, k)."""
    k = w.shape[0]
    y = np.empty((x.shape[0], *positions, k), x.dtype) if out is None else out
    weights = _weights(w, b)
    pieces = _blocks(x.shape[0], positions, weights.shape[0], x.itemsize)

    def work(mine: Iterator[Block]) -> None:
        columns = _Columns(x, window, positions, pieces[0], has_ones=b is not None)
        for block in mine:
            seen = columns.batches(block, k)
            part = y[block.images, block.rows].reshape(len(seen), -1, k)
            np.matmul(seen.swapaxes(1, 2), weights, out=part)
            if relu:
                np.maximum(part, 0, out=part)  # while the block is in the cache

    share(work, pieces)
    return y


def pooled(
    y: Array, x: Array, w: Array, b: Array | None, window: Window, positions: Sizes,
    pool: Callable[[Array, Array], None],
) -> None:  # fmt: skip
    """Call ``pool`` with a part of ``y`` and the convolution of the same images, block by block."""
    k = w.shape[0]
    weights = _weights(w, b)
    image = math.prod(positions) * k * x.itemsize
    pieces = shared_blocks(len(x), 1, image, 2 * BLOCK_BYTES)

    def work(mine: Iterator[Block]) -> None:
        largest = Block(pieces[0].images, slice(0, positions[0]))
        columns = _Columns(x, window, positions, largest, has_ones=b is not None)
        for images, _ in mine:
            count = images.stop - images.start
            made = scratch("gathered", (count, *positions, k), x.dtype)
            block = Block(images, slice(0, positions[0]))
            seen = columns.batches(block, k)
            np.matmul(seen.swapaxes(1, 2), weights, out=made.reshape(len(seen), -1, k))
            pool(y[images], made)

    share(work, pieces)


def _weights(w: Array, b: Array | None) -> Array:
    """Return weights (c * taps, k), the bias as a last row."""
    k = w.shape[0]
    weights = w.reshape(k, math.prod(w.shape[1:-1]), -1).transpose(2, 1, 0).reshape(-1, k)
    return weights if b is None else np.concatenate([weights, b[None]])


def weight_grad(
    dy: Array, x: Array, window: Window, _groups: int = 1, out: Array | None = None
) -> Array:
    """Return the gradient of the weights, (k, *kernel, c)."""
    k, c = dy.shape[-1], x.shape[-1]
    depth, positions = c * window.taps, dy.shape[1:-1]
    pieces = _blocks(x.shape[0], positions, depth, x.itemsize)

    def work(mine: Iterator[tuple[Array, Sequence[Block]]]) -> None:
        columns = _Columns(x, window, positions, pieces[0])
        for total, group in mine:
            for block in group:
                seen = columns.batches(block, k)
                rows = dy[block.images, block.rows].reshape(len(seen), -1, k)
                add_products(total, seen, rows, block is group[0])

    total = share_sum(work, pieces, (depth, k), x.dtype)
    dw = total.reshape(c, window.taps, k).transpose(2, 1, 0)  # (k, taps, c)
    return copied(dw.reshape(k, *window.kernel, c), out)


def input_grad(
    dy: Array, w: Array, size: Sizes, window: Window, _groups: int = 1, out: Array | None = None
) -> Array:
    """Return the gradient of the input, (n, *size, c)."""
    k, c = w.shape[0], w.shape[-1]
    n, *positions = dy.shape[:-1]
    dx = np.empty((n, *size, c), dy.dtype) if out is None else out
    weights = w.reshape(k, window.taps, c).transpose(2, 1, 0).reshape(-1, k)  # (c*taps, k)
    pieces = _blocks(n, positions, c * window.taps, dy.itemsize)
    most = math.prod((*pieces[0].shape, *positions[1:])) if pieces else 0

    def columns_of(block: Block) -> tuple[Array, Array]:
        shape = (*block.shape, *positions[1:])
        columns = scratch("products", (weights.shape[0] * most,), dy.dtype)
        columns = columns[: weights.shape[0] * math.prod(shape)].reshape(weights.shape[0], -1)
        np.matmul(weights, dy[block.images, block.rows].reshape(-1, k).T, out=columns)
        by_tap = columns.reshape(c, window.taps, *shape)
        return by_tap.swapaxes(0, 1), np.moveaxis(dx[block.images], -1, 0)

    return add_back(dx, pieces, window, tuple(positions[1:]), columns_of)


class _Columns:
    """The transposed columns of one block at a time, in one buffer that is used again."""

    def __init__(
        self, x: Array, window: Window, positions: Sizes, largest: Block, *, has_ones: bool = False
    ) -> None:
        self._depth, self._rest = x.shape[-1] * window.taps, positions[1:]
        self._rows, self._rank = self._depth + has_ones, len(positions)
        self._patches = Patches(x, window, positions, largest.shape, channels_first=True)
        most = math.prod((*largest.shape, *self._rest))
        self._buffer = scratch("products", (self._rows, most), x.dtype)
        if has_ones:
            self._buffer[-1] = 1

    def of(self, block: Block) -> Array:
        """Return (c * taps, m), with a row of ones below if asked for; valid until the next."""
        shape = (*block.shape, *self._rest)
        columns = self._buffer[:, : math.prod(shape)]
        patch = self._patches.block(block)  # (images, rows, ..., *kernel, c)
        rank = self._rank
        order = (2 * rank + 1, *range(rank + 1, 2 * rank + 1), *range(rank + 1))
        into = columns[: self._depth].reshape(*[patch.shape[axis] for axis in order])
        np.copyto(into, patch.transpose(order))
        return columns

    def batches(self, block: Block, k: int) -> Array:
        """Return :meth:`of` as (b, c * taps, m / b), for b small products with k outputs."""
        columns = self.of(block)
        count = math.prod(block.shape)
        b = batches(count, columns.shape[1] // max(1, count), len(columns) * k)
        return columns.reshape(len(columns), b, -1).swapaxes(0, 1)


def _blocks(n: int, positions: Sizes | list[int], row: int, itemsize: int) -> list[Block]:
    """Cut the positions of n images into blocks; a position's columns are ``row`` numbers."""
    row_bytes = math.prod(positions[1:]) * row * itemsize
    return shared_blocks(n, positions[0], row_bytes, BLOCK_BYTES)
