"""Depthwise convolution, one input channel a group: a multiply and an add for every tap.

A matrix product a channel would have nothing to reuse. With k / c outputs a channel (the channel
multiplier), the input is repeated to k channels, block by block, so that every output channel
has an input channel of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from flagstone_numpy.kernels.windows import (
    Array,
    Block,
    Sizes,
    Tap,
    Window,
    by_images,
    shared_blocks,
    taps,
)
from flagstone_numpy.scratch import scratch
from flagstone_numpy.sums import copied, share_sum
from flagstone_numpy.threads import share

BLOCK_BYTES = 1 << 20
LONG_RUN = 256


def forward(
    x: Array, w: Array, b: Array | None, window: Window, positions: Sizes, _groups: int,
    out: Array | None = None, relu: bool = False,
) -> Array:  # fmt: skip
    """Return the convolution, (n, *positions, k)."""
    k = w.shape[0]
    y = np.empty((x.shape[0], *positions, k), x.dtype) if out is None else out
    weights = _rows_of_weights(w, positions[-1])

    def work(mine: Iterator[Block]) -> None:
        for block in mine:
            part, image = y[block.images, block.rows], _repeated(x[block.images], k)
            part[...] = 0 if b is None else b
            for tap, source in _pairs(image, block, window, positions):
                into = part[(slice(None), *tap.outputs)]
                row = weights[tap.number, tap.outputs[-1]]
                into += np.multiply(source, row, out=_product(source))
            if relu:
                np.maximum(part, 0, out=part)

    share(work, _blocks(x.shape[0], positions, k, x.itemsize))
    return y


def weight_grad(
    dy: Array, x: Array, window: Window, _groups: int, out: Array | None = None
) -> Array:
    """Return the gradient of the weights, (k, *kernel, 1)."""
    positions, k = dy.shape[1:-1], dy.shape[-1]

    def work(mine: Iterator[tuple[Array, Sequence[Block]]]) -> None:
        for total, group in mine:
            total[...] = 0
            for block in group:
                part, image = dy[block.images, block.rows], _repeated(x[block.images], k)
                for tap, source in _pairs(image, block, window, positions):
                    product = _product(source)
                    np.multiply(source, part[(slice(None), *tap.outputs)], out=product)
                    rows = product.reshape(-1, k)
                    total[tap.number] += np.ones(rows.shape[0], x.dtype) @ rows

    pieces = _blocks(x.shape[0], positions, k, x.itemsize)
    total = share_sum(work, pieces, (window.taps, k), x.dtype)
    return copied(total.T.reshape(k, *window.kernel, 1), out)


def input_grad(
    dy: Array, w: Array, size: Sizes, window: Window, channels: int, out: Array | None = None
) -> Array:
    """Return the gradient of the input, (n, *size, channels)."""
    n, k, positions = dy.shape[0], w.shape[0], dy.shape[1:-1]
    dx = np.empty((n, *size, channels), dy.dtype) if out is None else out
    weights = _rows_of_weights(w, positions[-1])

    def work(mine: Iterator[list[Block]]) -> None:
        for block, is_first in ((b, b is group[0]) for group in mine for b in group):
            part, image = dy[block.images, block.rows], dx[block.images]
            if is_first:
                image[...] = 0
            for tap, target in _pairs(image, block, window, positions):
                source = part[(slice(None), *tap.outputs)]
                row = weights[tap.number, tap.outputs[-1]]
                product = np.multiply(source, row, out=_product(source))
                if k == channels:
                    target += product
                else:
                    target += product.reshape(*target.shape, k // channels).sum(-1)

    pieces = _blocks(n, positions, k, dy.itemsize)
    share(work, by_images(pieces))
    if not pieces:
        dx[...] = 0
    return dx


def _blocks(n: int, positions: Sizes, k: int, itemsize: int) -> list[Block]:
    row = math.prod(positions[1:]) * k * itemsize
    return shared_blocks(n, positions[0], row, BLOCK_BYTES)


def _pairs(
    image: Array, block: Block, window: Window, positions: Sizes
) -> Iterator[tuple[Tap, Array]]:
    """Yield each tap that sees the input, with the view of the inputs that it sees."""
    rows = (block.rows.start, block.rows.stop)
    for tap in taps(window, image.shape[1:-1], rows, tuple(positions[1:])):
        yield tap, image[(slice(None), *tap.inputs)]


def _rows_of_weights(w: Array, positions: int) -> Array:
    """Return the weights of every tap for a row of positions, (taps, positions, k).

    Where k is small they are written out, so that a row is one long run instead of many short.
    """
    k = w.shape[0]
    weights = np.ascontiguousarray(w.reshape(k, -1).T)[:, None]  # (taps, 1, k)
    rows = np.broadcast_to(weights, (weights.shape[0], positions, k))
    return rows.copy() if k < LONG_RUN else rows


def _repeated(image: Array, k: int) -> Array:
    """Return ``image`` with each channel repeated so that there are k."""
    c = image.shape[-1]
    return image if c == k else np.repeat(image, k // c, axis=-1)


def _product(a: Array) -> Array:
    """Scratch of the shape of ``a``; it is valid until the next call."""
    return scratch("products", a.shape, a.dtype)
