"""Convolution as matrix products over blocks of columns, never the whole column matrix.

A row of columns holds one position's window. A block is about 1 MB of them: enough for BLAS, and
small enough to stay in the second-level cache between being written and being read; its piece of
the input is padded on its own. With g groups, m = images * positions of a block and
depth = taps * c/g:

    forward          y  (g, m, k/g)        = columns (g, m, depth) @ w' (g, depth, k/g)
    weight gradient  dw (g, k/g, depth)   += dy' (g, k/g, m) @ columns (g, m, depth)
    input gradient   columns (g, m, depth) = dy (g, m, k/g) @ w (g, k/g, depth), added to dx by tap
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from flagstone_numpy.kernels.windows import (
    Array,
    Block,
    Patches,
    Sizes,
    Window,
    blocks,
    split_channels,
    taps,
)

BLOCK_BYTES = 1 << 20


def forward(
    x: Array, w: Array, b: Array | None, window: Window, positions: Sizes, groups: int
) -> Array:
    """Return the convolution, (n, *positions, k)."""
    k = w.shape[0]
    y = np.empty((x.shape[0], *positions, k), x.dtype)
    weights = w.reshape(groups, k // groups, -1).transpose(0, 2, 1)  # (g, depth, k/g)
    for block, columns in _columns(x, window, positions, groups):
        out = y[block.images, block.rows]
        np.matmul(columns, weights, out=split_channels(out, groups))
        if b is not None:
            out += b  # while the block is in the cache
    return y


def weight_grad(dy: Array, x: Array, window: Window, groups: int) -> Array:
    """Return the gradient of the weights, (k, *kernel, c / groups)."""
    k, c = dy.shape[-1], x.shape[-1]
    total = np.zeros((groups, k // groups, window.taps * (c // groups)), x.dtype)
    part = np.empty_like(total)
    for block, columns in _columns(x, window, dy.shape[1:-1], groups):
        rows = split_channels(dy[block.images, block.rows], groups)  # (g, m, k/g)
        total += np.matmul(rows.transpose(0, 2, 1), columns, out=part)
    return total.reshape(k, *window.kernel, c // groups)


def input_grad(dy: Array, w: Array, size: Sizes, window: Window, groups: int) -> Array:
    """Return the gradient of the input, (n, *size, c)."""
    k, c = w.shape[0], w.shape[-1]  # c of one group
    n, *positions = dy.shape[:-1]
    dx = np.zeros((n, *size, groups * c), dy.dtype)
    weights = w.reshape(groups, k // groups, -1)  # (g, k/g, depth)
    depth = weights.shape[-1]
    buffer = np.empty(0, dy.dtype)
    for block in _blocks(n, positions, groups * depth, dy.itemsize):
        shape = (*block.shape, *positions[1:])
        if not buffer.size:
            buffer = np.empty(groups * math.prod(shape) * depth, dy.dtype)
        columns = buffer[: groups * math.prod(shape) * depth].reshape(groups, -1, depth)
        np.matmul(split_channels(dy[block.images, block.rows], groups), weights, out=columns)
        by_tap = columns.reshape(groups, *shape, window.taps, c)
        image = dx[block.images].reshape(block.shape[0], *size, groups, c)  # a view
        image = np.moveaxis(image, -2, 0)  # (g, images, *size, c/g)
        rows = (block.rows.start, block.rows.stop)
        for tap in taps(window, size, rows, tuple(positions[1:])):
            inputs = image[(slice(None), slice(None), *tap.inputs)]
            inputs += by_tap[..., tap.number, :][(slice(None), slice(None), *tap.outputs)]
    return dx


def _columns(
    x: Array, window: Window, positions: Sizes, groups: int
) -> Iterator[tuple[Block, Array]]:
    """Yield each block with its columns, (g, m, depth), in one buffer that is used again."""
    n, c = x.shape[0], x.shape[-1]
    depth = window.taps * (c // groups)
    buffer: Array | None = None
    for block in _blocks(n, positions, groups * depth, x.itemsize):
        shape = (*block.shape, *positions[1:])
        if buffer is None:
            patches = Patches(x, window, positions, block.shape)
            buffer = np.empty(groups * math.prod(shape) * depth, x.dtype)
        columns = buffer[: groups * math.prod(shape) * depth]
        patch = patches.block(block)  # (images, rows, ..., *kernel, c)
        grouped = patch.reshape(*patch.shape[:-1], groups, c // groups)  # a view
        into = columns.reshape(groups, *shape, *window.kernel, c // groups)
        into[...] = np.moveaxis(grouped, -2, 0)
        yield block, columns.reshape(groups, math.prod(shape), depth)


def _blocks(n: int, positions: Sizes | list[int], row: int, itemsize: int) -> Iterator[Block]:
    """Cut the positions of n images into blocks; a position's columns are ``row`` numbers."""
    return blocks(n, positions[0], math.prod(positions[1:]) * row * itemsize, BLOCK_BYTES)
