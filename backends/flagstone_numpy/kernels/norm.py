"""Batch normalisation in five passes forward and backward, block by block.

Rows of few channels are taken several at a time, as one longer row, for NumPy works through short
ones slowly; what belongs to channels is repeated to that length. Sums over rows are products with
ones, which are BLAS's.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from flagstone_numpy.products import held

Array = np.ndarray
BLOCK = 16384
"""Numbers in a block: several float32 streams of 64 kB lie in a second-level cache."""
LONG = 2048
"""Numbers in a row that is long enough."""


class _Rows:
    """``x`` (..., c) as rows of ``times * c`` numbers, and blocks of such rows."""

    def __init__(self, x: Array) -> None:
        self.channels = x.shape[-1]
        self.count = x.size // self.channels
        times = 1
        while 2 * times * self.channels <= LONG and self.count % (2 * times) == 0:
            times *= 2
        self.times, self.length = times, times * self.channels
        self.step = max(1, BLOCK // self.length)
        self.ones = np.ones(self.step, x.dtype)

    def of(self, x: Array) -> Array:
        return np.ascontiguousarray(x).reshape(-1, self.length)

    def blocks(self) -> Iterator[slice]:
        rows = self.count // self.times
        for start in range(0, rows, self.step):
            yield slice(start, min(start + self.step, rows))

    def repeated(self, v: Array) -> Array:
        """(c,) -> (times * c,)."""
        return np.tile(v, self.times)

    def total(self, block: Array) -> Array:
        """The sums over rows of a block, (times * c,)."""
        return self.ones[: len(block)] @ block

    def folded(self, v: Array) -> Array:
        """(times * c,) -> (c,), summed."""
        return np.add.reduce(v.reshape(self.times, self.channels), axis=0)


@held
def batch_norm(x: Array, weight: Array, bias: Array, *, eps: float) -> tuple[Array, Array, Array]:
    """See :func:`flagstone.ops.norm.batch_norm`."""
    rows = _Rows(x)
    source = rows.of(x)
    y = np.empty(x.shape, x.dtype)
    target = y.reshape(source.shape)
    d = np.empty((rows.step, rows.length), x.dtype)
    total = np.zeros(rows.length, x.dtype)
    for block in rows.blocks():
        total += rows.total(source[block])
    mean = rows.folded(total) / rows.count
    middle = rows.repeated(mean)
    total[:] = 0
    for block in rows.blocks():
        part = np.subtract(source[block], middle, out=d[: block.stop - block.start])
        part *= part
        total += rows.total(part)
    var = rows.folded(total) / rows.count
    scale, shift = rows.repeated(weight / np.sqrt(var + eps)), rows.repeated(bias)
    for block in rows.blocks():
        part = np.subtract(source[block], middle, out=target[block])
        part *= scale
        part += shift
    return y, mean, var


@held
def batch_norm_grad(
    g: Array, x: Array, mean: Array, var: Array, weight: Array, *, eps: float
) -> tuple[Array, Array, Array]:
    """See :func:`flagstone.ops.norm.batch_norm_grad`."""
    rows = _Rows(x)
    source, given = rows.of(x), rows.of(g)
    dx = np.empty(x.shape, x.dtype)
    target = dx.reshape(source.shape)
    d = np.empty((rows.step, rows.length), x.dtype)
    middle = rows.repeated(mean)
    total, moment = np.zeros((2, rows.length), x.dtype)
    for block in rows.blocks():
        part = np.subtract(source[block], middle, out=d[: block.stop - block.start])
        part *= given[block]
        moment += rows.total(part)
        total += rows.total(given[block])
    inverse = 1 / np.sqrt(var + eps)
    d_bias, d_weight = rows.folded(total), rows.folded(moment) * inverse
    scale = inverse * weight
    of_g = rows.repeated(scale)
    of_x = rows.repeated(-scale * inverse * d_weight / rows.count)
    rest = rows.repeated(-scale * d_bias / rows.count)
    for block in rows.blocks():
        part = np.subtract(source[block], middle, out=d[: block.stop - block.start])
        part *= of_x
        out = np.multiply(given[block], of_g, out=target[block])
        out += part
        out += rest
    return dx, d_weight, d_bias
