"""Depthwise convolution, one input channel a group: a multiply and an add for every tap.

A matrix product a channel would have nothing to reuse. With k / c outputs a channel (the channel
multiplier), the input is repeated to k channels, block by block, so that every output channel
has an input channel of its own. Blocks are small enough that an input, an output and a product
stay in the second-level cache together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from flagstone_numpy.kernels.windows import Array, Block, Sizes, Tap, Window, blocks, taps
from flagstone_numpy.products import held

BLOCK_BYTES = 1 << 19
LONG_RUN = 256


def forward(
    x: Array, w: Array, b: Array | None, window: Window, positions: Sizes, _groups: int
) -> Array:
    """Return the convolution, (n, *positions, k)."""
    k = w.shape[0]
    y = np.empty((x.shape[0], *positions, k), x.dtype)
    y[...] = 0 if b is None else b
    weights = _rows_of_weights(w, positions[-1])
    products = _Products(x.dtype)
    for block in _blocks(x.shape[0], positions, k, x.itemsize):
        out, image = y[block.images, block.rows], _repeated(x[block.images], k)
        for tap, source in _pairs(image, block, window, positions):
            into = out[(slice(None), *tap.outputs)]
            row = weights[tap.number, tap.outputs[-1]]
            into += np.multiply(source, row, out=products.like(source))
    return y


@held
def weight_grad(dy: Array, x: Array, window: Window, _groups: int) -> Array:
    """Return the gradient of the weights, (k, *kernel, 1)."""
    positions, k = dy.shape[1:-1], dy.shape[-1]
    dw = np.zeros((window.taps, k), x.dtype)
    products = _Products(x.dtype)
    for block in _blocks(x.shape[0], positions, k, x.itemsize):
        out, image = dy[block.images, block.rows], _repeated(x[block.images], k)
        for tap, source in _pairs(image, block, window, positions):
            product = products.like(source)
            np.multiply(source, out[(slice(None), *tap.outputs)], out=product)
            rows = product.reshape(-1, k)
            dw[tap.number] += np.ones(rows.shape[0], x.dtype) @ rows
    return np.ascontiguousarray(dw.T).reshape(k, *window.kernel, 1)


def input_grad(dy: Array, w: Array, size: Sizes, window: Window, channels: int) -> Array:
    """Return the gradient of the input, (n, *size, channels)."""
    n, k, positions = dy.shape[0], w.shape[0], dy.shape[1:-1]
    dx = np.zeros((n, *size, channels), dy.dtype)
    weights = _rows_of_weights(w, positions[-1])
    products = _Products(dy.dtype)
    for block in _blocks(n, positions, k, dy.itemsize):
        out, image = dy[block.images, block.rows], dx[block.images]
        for tap, target in _pairs(image, block, window, positions):
            source = out[(slice(None), *tap.outputs)]
            row = weights[tap.number, tap.outputs[-1]]
            product = np.multiply(source, row, out=products.like(source))
            if k == channels:
                target += product
            else:
                target += product.reshape(*target.shape, k // channels).sum(-1)
    return dx


def _blocks(n: int, positions: Sizes, k: int, itemsize: int) -> Iterator[Block]:
    return blocks(n, positions[0], math.prod(positions[1:]) * k * itemsize, BLOCK_BYTES)


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


class _Products:
    """Contiguous scratch arrays of any shape, all in one buffer."""

    def __init__(self, dtype: np.dtype[np.generic]) -> None:
        self._buffer = np.empty(0, dtype)

    def like(self, a: Array) -> Array:
        """Return scratch of the shape of ``a``; it is valid until the next call."""
        if self._buffer.size < a.size:
            self._buffer = np.empty(a.size, self._buffer.dtype)
        return self._buffer[: a.size].reshape(a.shape)
