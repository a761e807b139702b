"""Batch normalisation in five passes forward and backward, block by block.

Rows of few channels are taken several at a time, as one longer row, for NumPy works through short
ones slowly; what belongs to channels is repeated to that length. Sums over rows are products with
ones, which are BLAS's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from flagstone_numpy.kernels.flat import SHARED, cut, share_if_large, shared_block
from flagstone_numpy.products import held
from flagstone_numpy.scratch import scratch
from flagstone_numpy.sums import MOST_GROUPS, share_sum

Array = np.ndarray
BLOCK = 16384
"""Numbers in a block: several float32 streams of 64 kB lie in a second-level cache."""
LONG = 2048
"""Numbers in a row that is long enough."""


class _Rows:
    """``x`` (..., c) as rows of ``times * c`` numbers, and blocks of such rows."""

    def __init__(self, x: Array) -> None:
        self.channels, self.size = x.shape[-1], x.size
        self.count = x.size // self.channels
        times = 1
        while 2 * times * self.channels <= LONG and self.count % (2 * times) == 0:
            times *= 2
        self.times, self.length = times, times * self.channels
        most = BLOCK if x.size < SHARED else shared_block(x.size)
        self.step = max(1, most // self.length)
        self.ones = np.ones(self.step, x.dtype)
        self.blocks = list(cut(self.count // times, self.step))

    def of(self, x: Array) -> Array:
        return np.ascontiguousarray(x).reshape(-1, self.length)

    def each(self, step: Callable[[slice], None]) -> None:
        """Call ``step`` for every block."""

        def work(mine: Iterator[slice]) -> None:
            for block in mine:
                step(block)

        share_if_large(work, self.blocks, self.size)

    def sums(self, dtype: Any, *parts: Callable[[slice], Array]) -> list[Array]:
        """The sums over rows of what each of ``parts`` gives for every block, (channels,) each."""

        def add(mine: Iterator[tuple[Array, Sequence[slice]]]) -> None:
            for total, group in mine:
                total[...] = 0
                for block in group:
                    for sums, part in zip(total, parts, strict=True):
                        sums += self.ones[: block.stop - block.start] @ part(block)

        groups = MOST_GROUPS if self.size >= SHARED else 1
        total = share_sum(add, self.blocks, (len(parts), self.length), dtype, groups)
        return [np.add.reduce(v.reshape(self.times, self.channels), axis=0) for v in total]

    def repeated(self, v: Array) -> Array:
        """(c,) -> (times * c,)."""
        return np.tile(v, self.times)

    def scratch(self, block: slice, dtype: Any) -> Array:
        return scratch("half", (block.stop - block.start, self.length), dtype)


@held
def batch_norm(x: Array, weight: Array, bias: Array, *, eps: float) -> tuple[Array, Array, Array]:
    """See :func:`flagstone.ops.norm.batch_norm`."""
    rows = _Rows(x)
    source = rows.of(x)
    y = np.empty(x.shape, x.dtype)
    target = y.reshape(source.shape)
    mean = rows.sums(x.dtype, lambda block: source[block])[0] / rows.count
    middle = rows.repeated(mean)

    def square(block: slice) -> Array:
        part = np.subtract(source[block], middle, out=rows.scratch(block, x.dtype))
        part *= part
        return part

    var = rows.sums(x.dtype, square)[0] / rows.count
    scale, shift = rows.repeated(weight / np.sqrt(var + eps)), rows.repeated(bias)

    def finish(block: slice) -> None:
        part = np.subtract(source[block], middle, out=target[block])
        part *= scale
        part += shift

    rows.each(finish)
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
    middle = rows.repeated(mean)

    def moment(block: slice) -> Array:
        part = np.subtract(source[block], middle, out=rows.scratch(block, x.dtype))
        part *= given[block]
        return part

    d_weight, d_bias = rows.sums(x.dtype, moment, lambda block: given[block])
    inverse = 1 / np.sqrt(var + eps)
    d_weight = d_weight * inverse
    scale = inverse * weight
    of_g = rows.repeated(scale)
    of_x = rows.repeated(-scale * inverse * d_weight / rows.count)
    rest = rows.repeated(-scale * d_bias / rows.count)

    def finish(block: slice) -> None:
        part = np.subtract(source[block], middle, out=rows.scratch(block, x.dtype))
        part *= of_x
        out = np.multiply(given[block], of_g, out=target[block])
        out += part
        out += rest

    rows.each(finish)
    return dx, d_weight, d_bias
