"""Matrix products split among our own threads.

BLAS could split them too, but its threads spin for milliseconds after a product and would take
the cores from the kernel that follows. A product is cut along its longer side into pieces of
columns or rows, by shape alone; every piece is a product over the whole inner length, so no sums
are shared. Small products go to BLAS as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from flagstone_numpy.kernels.windows import Array
from flagstone_numpy.threads import share

SMALL = 1 << 23
"""Multiply-adds of a product that one thread does in about 100 us."""
NARROWEST = 128
"""Rows or columns of a piece; in fewer, BLAS packs the other factor for too little work."""
MOST_PIECES = 16


def linear(x: Array, w: Array, b: Array | None = None) -> Array:
    """``x @ w.T + b``, the bias added in place."""
    y = batched_matmul(x, w.T)
    if b is not None:
        y += b
    return y


def linear_weight_grad(g: Array, x: Array) -> Array:
    """See :func:`flagstone.ops.linalg.linear_weight_grad`."""
    if g.ndim == 2:
        return batched_matmul(g.T, x)
    rows = math.prod(x.shape[:-1])
    return batched_matmul(g.reshape(rows, g.shape[-1]).T, x.reshape(rows, x.shape[-1]))


def batched_matmul(a: Array, b: Array) -> Array:
    """``a @ b`` as by :func:`numpy.matmul`; a product of two matrices may be split."""
    if a.ndim != 2 or b.ndim != 2 or a.shape[0] * a.shape[1] * b.shape[1] <= SMALL:
        return np.matmul(a, b)
    y = np.empty((a.shape[0], b.shape[1]), np.result_type(a, b))
    split_matmul(a, b, y)
    return y


def split_matmul(a: Array, b: Array, out: Array) -> None:
    """``out[...] = a @ b`` for two matrices, split."""
    rows, columns = out.shape
    along_rows = rows >= columns

    def work(mine: Iterator[slice]) -> None:
        for piece in mine:
            if along_rows:
                np.matmul(a[piece], b, out=out[piece])
            else:
                np.matmul(a, b[:, piece], out=out[:, piece])

    share(work, _pieces(max(rows, columns), a.shape[0] * a.shape[1] * b.shape[1]))


def _pieces(length: int, work: int) -> list[slice]:
    """Cut ``length`` into equal pieces, none of less than ``SMALL`` work but the last."""
    count = max(1, min(length // NARROWEST, work // SMALL, MOST_PIECES))
    step = -(-length // count)
    return [slice(start, min(start + step, length)) for start in range(0, length, step)]
