"""Convolution as matrix products over blocks of columns, never the whole column matrix.

A row of columns holds one position's window. A block is at most 2 MB of them: enough for BLAS and
for threads that share the interpreter's lock, and small enough to stay near between being written
and being read; its piece of the input is padded on its own. With g groups, m = images * positions
of a block and depth = taps * c/g:

    forward          y  (g, m, k/g)        = columns (g, m, depth) @ w' (g, depth, k/g)
    weight gradient  dw (g, k/g, depth)   += dy' (g, k/g, m) @ columns (g, m, depth)
    input gradient   columns (g, m, depth) = dy (g, m, k/g) @ w (g, k/g, depth), added to dx by tap
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from flagstone_numpy.kernels.windows import (
    Array,
    Block,
    Patches,
    Sizes,
    Window,
    by_images,
    shared_blocks,
    split_channels,
    taps,
)
from flagstone_numpy.scratch import scratch
from flagstone_numpy.sums import add_products, copied, share_sum
from flagstone_numpy.threads import share

BLOCK_BYTES = 1 << 21


def forward(
    x: Array, w: Array, b: Array | None, window: Window, positions: Sizes, groups: int,
    out: Array | None = None, relu: bool = False,
) -> Array:  # fmt: skip
    """Return the convolution, (n, *positions, k)."""
    k = w.shape[0]
    y = np.empty((x.shape[0], *positions, k), x.dtype) if out is None else out
    weights = w.reshape(groups, k // groups, -1).transpose(0, 2, 1)  # (g, depth, k/g)
    pieces = _blocks(x.shape[0], positions, groups * weights.shape[1], x.itemsize)

    def work(mine: Iterator[Block]) -> None:
        columns = _Columns(x, window, positions, groups, pieces)
        for block in mine:
            part = y[block.images, block.rows]
            np.matmul(columns.of(block), weights, out=split_channels(part, groups))
            if b is not None:
                part += b  # while the block is in the cache
            if relu:
                np.maximum(part, 0, out=part)

    share(work, pieces)
    return y


def weight_grad(
    dy: Array, x: Array, window: Window, groups: int, out: Array | None = None
) -> Array:
    """Return the gradient of the weights, (k, *kernel, c / groups)."""
    k, c, positions = dy.shape[-1], x.shape[-1], dy.shape[1:-1]
    shape = (groups, k // groups, window.taps * (c // groups))
    pieces = _blocks(x.shape[0], positions, window.taps * c, x.itemsize, math.prod(shape))

    def work(mine: Iterator[tuple[Array, Sequence[Block]]]) -> None:
        columns = _Columns(x, window, positions, groups, pieces)
        for total, group in mine:
            for block in group:
                rows = split_channels(dy[block.images, block.rows], groups)  # (g, m, k/g)
                seen = columns.of(block)
                turned = rows.transpose(0, 2, 1)[:, None]
                add_products(total, turned, seen[:, None], block is group[0])

    total = share_sum(work, pieces, shape, x.dtype)
    return copied(total.reshape(k, *window.kernel, c // groups), out)


def input_grad(
    dy: Array, w: Array, size: Sizes, window: Window, groups: int, out: Array | None = None
) -> Array:
    """Return the gradient of the input, (n, *size, c)."""
    k, c = w.shape[0], w.shape[-1]  # c of one group
    n, *positions = dy.shape[:-1]
    dx = np.empty((n, *size, groups * c), dy.dtype) if out is None else out
    weights = w.reshape(groups, k // groups, -1)  # (g, k/g, depth)
    depth = weights.shape[-1]
    pieces = _blocks(n, positions, groups * depth, dy.itemsize)

    most = groups * _most(pieces, positions) * depth

    def columns_of(block: Block) -> tuple[Array, Array]:
        shape = (*block.shape, *positions[1:])
        buffer = scratch("products", (most,), dy.dtype)
        columns = buffer[: groups * math.prod(shape) * depth].reshape(groups, -1, depth)
        np.matmul(split_channels(dy[block.images, block.rows], groups), weights, out=columns)
        by_tap = columns.reshape(groups, *shape, window.taps, c)
        image = dx[block.images].reshape(block.shape[0], *size, groups, c)  # a view
        return np.moveaxis(by_tap, -2, 0), np.moveaxis(image, -2, 0)

    return add_back(dx, pieces, window, tuple(positions[1:]), columns_of)


def add_back(
    dx: Array, pieces: list[Block], window: Window, rest: Sizes,
    columns_of: Callable[[Block], tuple[Array, Array]],
) -> Array:  # fmt: skip
    """Write to ``dx`` (n, *size, c) the sum of what every tap of a window gives it, and return it.

    ``columns_of(block)`` returns that, (taps, lead, images, rows, *rest, ...), and the block's
    images in ``dx``, (lead, images, *size, ...).
    """

    def work(mine: Iterator[list[Block]]) -> None:
        for group in mine:
            dx[group[0].images] = 0
            for block in group:
                given, image = columns_of(block)
                rows = (block.rows.start, block.rows.stop)
                for tap in taps(window, dx.shape[1:-1], rows, rest):
                    inputs = image[(slice(None), slice(None), *tap.inputs)]
                    inputs += given[tap.number][(slice(None), slice(None), *tap.outputs)]

    share(work, by_images(pieces))
    if not pieces:
        dx[...] = 0
    return dx


class _Columns:
    """The columns of one block at a time, in one buffer that is used again."""

    def __init__(
        self, x: Array, window: Window, positions: Sizes, groups: int, pieces: list[Block]
    ) -> None:
        self._patches = Patches(x, window, positions, pieces[0].shape if pieces else (0, 0))
        self._rest = positions[1:]
        self._entry = (*window.kernel, x.shape[-1] // groups)
        self._groups = groups
        row = groups * math.prod(self._entry)
        self._buffer = scratch("products", (_most(pieces, positions) * row,), x.dtype)

    def of(self, block: Block) -> Array:
        """Return (g, m, depth); it is valid until the next call."""
        shape = (self._groups, *block.shape, *self._rest, *self._entry)
        into = self._buffer[: math.prod(shape)].reshape(shape)
        patch = self._patches.block(block)  # (images, rows, ..., *kernel, c)
        grouped = patch.reshape(*patch.shape[:-1], self._groups, self._entry[-1])  # a view
        into[...] = np.moveaxis(grouped, -2, 0)
        return into.reshape(self._groups, -1, math.prod(self._entry))


def _blocks(
    n: int, positions: Sizes | list[int], row: int, itemsize: int, summed: int = 0
) -> list[Block]:
    """Cut the positions of n images into blocks; a position's columns are ``row`` numbers.

    ``summed`` numbers are added up after every block, so where they are many, blocks are larger.
    """
    row_bytes = math.prod(positions[1:]) * row * itemsize
    return shared_blocks(n, positions[0], row_bytes, max(BLOCK_BYTES, 2 * summed * itemsize))


def _most(pieces: list[Block], positions: Sizes | list[int]) -> int:
    """Return how many positions the largest block has; the first is the largest."""
    return math.prod((*pieces[0].shape, *positions[1:])) if pieces else 0
