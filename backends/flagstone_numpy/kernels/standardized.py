"""A batch from the data to what a first layer of ``Standardize`` makes of it, block by block.

NumPy goes along a last axis of three channels three numbers at a time. So the statistics are
repeated over more of an example; and what is picked, made floating and scaled stays in the cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from flagstone.backend import Traits
from flagstone_numpy.kernels.flat import SHARED, cut, share_if_large, shared_block

Array = np.ndarray
BLOCK = 1 << 15
"""Numbers in a block."""
SMALL = 1 << 17
"""Up to so many, one block."""
WIDE = 96
"""Numbers, at least, in a row of repeated statistics, where an example has as many."""


def standardized_into(
    out: Array, x: Array, mean: Array, inverse_scale: Array, index: Array | None = None,
    rows: Array | None = None, columns: Array | None = None,
) -> None:  # fmt: skip
    """Write :func:`standardized` to ``out``."""
    inner = out.shape[1:]
    middle, scale = _repeated(mean, inner), _repeated(inverse_scale, inner)

    def do(part: slice) -> None:
        seen = x[part] if index is None else x.take(index[part], axis=0)
        if rows is not None or columns is not None:
            seen = _picked(seen, *(None if at is None else at[part] for at in (rows, columns)))
        y = out[part]
        if middle.ndim:
            y = y.reshape(-1, middle.size)
        if seen.dtype != y.dtype:
            seen = seen.astype(y.dtype)
        np.subtract(seen.reshape(y.shape), middle, y)
        np.multiply(y, scale, y)

    def work(mine: Iterator[slice]) -> None:
        for part in mine:
            do(part)

    if out.size <= SMALL:
        do(slice(None))
    else:
        block = BLOCK if out.size < SHARED else shared_block(out.size)
        share_if_large(work, cut(len(out), max(1, block // math.prod(inner))), out.size)


@Traits(into=standardized_into)
def standardized(
    x: Array, mean: Array, inverse_scale: Array, index: Array | None = None,
    rows: Array | None = None, columns: Array | None = None,
) -> Array:  # fmt: skip
    """See :func:`flagstone.ops.standardized`."""
    shape = [len(x if index is None else index), *x.shape[1:]]
    for axis, numbers in ((1, rows), (2, columns)):
        if numbers is not None:
            shape[axis] = numbers.shape[1]
    out = np.empty(shape, mean.dtype)
    standardized_into(out, x, mean, inverse_scale, index, rows, columns)
    return out


def _repeated(statistics: Array, inner: tuple[int, ...]) -> Array:
    """The numbers in a row, again and again over the axes of an example that are before theirs; of
    one, an array without axes."""
    if statistics.size == 1:
        return statistics.reshape(())
    count = 1
    for length in reversed(inner[: len(inner) - statistics.ndim]):
        if count * statistics.size >= WIDE:
            break
        count *= length
    return statistics.reshape(1, -1).repeat(count, 0).reshape(-1)


def _picked(x: Array, rows: Array | None, columns: Array | None) -> Array:
    """What :func:`flagstone.ops.pick_pixels` picks; ``None`` stands for all, as they lie."""
    n, h, w, channels = x.shape
    tall = np.arange(h)[None] if rows is None else rows
    wide = np.arange(w)[None] if columns is None else columns
    r, c = tall.clip(0, h - 1), wide.clip(0, w - 1)
    if columns is None:
        picked = x[np.arange(n)[:, None], r]
    else:
        places = (np.arange(n)[:, None] * h + r)[:, :, None] * w + c[:, None, :]
        picked = x.reshape(n * h * w, channels).take(places, axis=0)
    inside = (tall == r)[:, :, None] & (wide == c)[:, None, :]
    if not inside.all():
        picked[~np.broadcast_to(inside, picked.shape[:3])] = 0
    return picked
