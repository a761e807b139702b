"""Convolution of inputs with very few channels, such as images: transposed columns.

A row of ordinary columns is copied in runs of kernel width * c numbers, here too short to copy
well. So the columns of a block stand transposed, (c * taps, m), each row one tap of one
channel, copied in runs of a row of positions straight from the unpadded input. What the padding
would fill is zero from the start and never written. A last row of ones adds the bias within the
product. Products are long and thin, so BLAS does them with one thread: more would wait for each
other longer than they compute, without end on a machine that is busy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from flagstone_numpy.kernels.windows import (
    Array,
    Block,
    Sizes,
    Window,
    blocks,
    taps,
)
from flagstone_numpy.threads import blas

BLOCK_BYTES = 1 << 20
SHORT_RUN = 16
"""Up to so many numbers, kernel width * c, the runs of ordinary columns are the slower ones."""
FEW_CHANNELS = 4
"""Up to so many channels, adding columns back is faster when they stand transposed."""


def forward(
    x: Array, w: Array, b: Array | None, window: Window, positions: Sizes, _groups: int = 1
) -> Array:
    """Return the convolution, (n, *positions, k)."""
    k = w.shape[0]
    y = np.empty((x.shape[0], *positions, k), x.dtype)
    weights = w.reshape(k, window.taps, -1).transpose(2, 1, 0).reshape(-1, k)  # (c*taps, k)
    if b is not None:
        weights = np.concatenate([weights, b[None]])
    pieces = _blocks(x.shape[0], positions, weights.shape[0], x.itemsize)

    scratch = _scratch(pieces, positions, weights.shape[0], x.dtype)
    if b is not None:
        scratch[-1] = 1
    with blas:
        for block, columns in _columns(x, window, positions, pieces, scratch):
            np.matmul(columns.T, weights, out=y[block.images, block.rows].reshape(-1, k))
    return y


def weight_grad(dy: Array, x: Array, window: Window, _groups: int = 1) -> Array:
    """Return the gradient of the weights, (k, *kernel, c)."""
    k, c = dy.shape[-1], x.shape[-1]
    depth, positions = c * window.taps, dy.shape[1:-1]
    pieces = _blocks(x.shape[0], positions, depth, x.itemsize)

    total, part = np.zeros((depth, k), x.dtype), np.empty((depth, k), x.dtype)
    scratch = _scratch(pieces, positions, depth, x.dtype)
    with blas:
        for block, columns in _columns(x, window, positions, pieces, scratch):
            total += np.matmul(columns, dy[block.images, block.rows].reshape(-1, k), out=part)
    dw = total.reshape(c, window.taps, k).transpose(2, 1, 0)  # (k, taps, c)
    return np.ascontiguousarray(dw).reshape(k, *window.kernel, c)


def input_grad(dy: Array, w: Array, size: Sizes, window: Window, _groups: int = 1) -> Array:
    """Return the gradient of the input, (n, *size, c)."""
    k, c = w.shape[0], w.shape[-1]
    n, *positions = dy.shape[:-1]
    dx = np.zeros((n, *size, c), dy.dtype)
    weights = w.reshape(k, window.taps, c).transpose(2, 1, 0).reshape(-1, k)  # (c*taps, k)
    pieces = _blocks(n, positions, c * window.taps, dy.itemsize)

    scratch = _scratch(pieces, positions, c * window.taps, dy.dtype)
    with blas:
        for block in pieces:
            shape = (*block.shape, *positions[1:])
            columns = scratch[:, : math.prod(shape)]
            np.matmul(weights, dy[block.images, block.rows].reshape(-1, k).T, out=columns)
            by_tap = columns.reshape(c, window.taps, *shape)
            image = np.moveaxis(dx[block.images], -1, 0)  # (c, images, *size)
            rows = (block.rows.start, block.rows.stop)
            for tap in taps(window, size, rows, tuple(positions[1:])):
                inputs = image[(slice(None), slice(None), *tap.inputs)]
                inputs += by_tap[:, tap.number][(slice(None), slice(None), *tap.outputs)]
    return dx


def _columns(
    x: Array, window: Window, positions: Sizes, mine: Iterable[Block], scratch: Array
) -> Iterator[tuple[Block, Array]]:
    """Yield each block with its columns, (rows of scratch, m), in ``scratch``.

    Rows below the c * taps of the columns are left as they are: a row of ones, for a bias.
    """
    depth = x.shape[-1] * window.taps
    channels_first = np.moveaxis(x, -1, 0)  # (c, n, *size)
    for block in mine:
        shape = (*block.shape, *positions[1:])
        columns = scratch[:, : math.prod(shape)]
        by_tap = columns[:depth].reshape(-1, window.taps, *shape)
        whole = block.rows == slice(0, positions[0])
        if window.is_padded and not whole:
            by_tap[...] = 0  # the padding lies elsewhere in each block of rows
        images = channels_first[:, block.images]
        rows = (block.rows.start, block.rows.stop)
        for tap in taps(window, x.shape[1:-1], rows, tuple(positions[1:])):
            into = by_tap[:, tap.number][(slice(None), slice(None), *tap.outputs)]
            into[...] = images[(slice(None), slice(None), *tap.inputs)]
        yield block, columns


def _scratch(
    pieces: list[Block], positions: Sizes | list[int], rows: int, dtype: npt.DTypeLike
) -> Array:
    """Return zeros for the columns of the largest block, which is the first, (rows, m)."""
    most = math.prod((*pieces[0].shape, *positions[1:])) if pieces else 0
    return np.zeros((rows, most), dtype)


def _blocks(n: int, positions: Sizes | list[int], row: int, itemsize: int) -> list[Block]:
    """Cut the positions of n images into blocks; a position's columns are ``row`` numbers."""
    row_bytes = math.prod(positions[1:]) * row * itemsize
    return list(blocks(n, positions[0], row_bytes, BLOCK_BYTES))
