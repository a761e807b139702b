"""Adding values up where numbers say.

``numpy.add.at`` goes by one index over one axis an order of magnitude faster than by anything else.
"""

from __future__ import annotations

import math

import numpy as np

from flagstone_numpy.products import ALONE, product

Array = np.ndarray
AT_A_TIME = 1 << 16
"""Numbers whose places are computed together; they are of 64 bits each."""
FEW = 64
"""Rows of a result that is a product, at most: each costs a comparison of every number."""
PER_COLUMN = 4
"""So many times its width, at most: what is narrow is added up in less."""
LEAST = 1024
"""Rows of a factor of such a product."""


def add_rows(g: Array, index: Array, *, rows: int) -> Array:
    """Rows of ``g`` summed by number."""
    width = math.prod(g.shape[1:])
    out = np.zeros((rows, *g.shape[1:]), g.dtype)
    if not width:
        return out
    if rows <= min(FEW, PER_COLUMN * width):
        _multiply_rows(out.reshape(rows, width), g.reshape(-1, width), index)
        if np.isfinite(out).all():
            return out
        out[...] = 0  # 0 times infinity is no zero: what is not finite belongs to its row only
    total, within = out.reshape(-1), np.arange(width)
    step = max(1, AT_A_TIME // width)
    for start in range(0, len(g), step):
        part = slice(start, start + step)
        places = index[part, None].astype(np.int64) * width + within
        np.add.at(total, places.reshape(-1), g[part].reshape(-1))
    return out


def _multiply_rows(out: Array, g: Array, index: Array) -> None:
    """Add the rows up as a product with ones and zeros, block by block."""
    unsigned = index.view(f"u{index.itemsize}")  # negative numbers are large then
    small = np.minimum(unsigned, FEW).astype(np.uint8)  # which are compared sooner than long ones
    numbers = np.arange(len(out), dtype=np.uint8)[:, None]
    step = max(LEAST, ALONE // out.size)
    for start in range(0, len(g), step):
        part = slice(start, start + step)
        chosen = np.equal(numbers, small[part])
        with np.errstate(invalid="ignore"):
            out += product(chosen.astype(g.dtype), g[part])


def scatter_add(g: Array, index: Array, *, axis: int, size: int) -> Array:
    """See :func:`flagstone.ops.gathering.scatter_add`."""
    axis %= g.ndim
    shape = (*g.shape[:axis], size, *g.shape[axis + 1 :])
    out = np.zeros(shape, g.dtype)
    numbers = index.astype(np.int64)
    inside = (numbers >= 0) & (numbers < size)
    places = numbers * math.prod(shape[axis + 1 :])
    for a, n in enumerate(shape):
        if a != axis:
            at = np.arange(n) * math.prod(shape[a + 1 :])
            places += at.reshape(n, *[1] * (g.ndim - a - 1))
    if inside.all():
        np.add.at(out.reshape(-1), places.reshape(-1), g.reshape(-1))
    else:
        np.add.at(out.reshape(-1), places[inside], g[inside])
    return out
