"""Max pooling and its transpose, compiled, images shared among threads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from flagstone.backend import declines
from flagstone_numba.kernels.planes import Geometry, as_planes
from flagstone_numba.loading import loops
from flagstone_numpy.kernels.pool import reaches_all
from flagstone_numpy.kernels.windows import Array, Pairs, Sizes, Window
from flagstone_numpy.threads import share

PIECE = 1 << 17
"""Numbers of input in a piece of work: some 50 us."""


@declines
def max_pool(x: Array, *, kernel: Sizes, stride: Sizes, padding: Pairs) -> Any:
    """See :func:`flagstone_numpy.kernels.pool.max_pool`; three spatial axes are left to it."""
    run = loops("pool")
    if run is None or x.ndim > 4:
        return NotImplemented
    window = Window(kernel, stride, padding, (1,) * len(kernel))
    geometry = Geometry.of(window)
    y = np.empty((x.shape[0], *window.positions(x.shape[1:-1]), x.shape[-1]), x.dtype)
    index = np.empty(y.shape, np.uint8 if window.taps <= 255 else np.int32)
    seen, best, chosen = as_planes(x), as_planes(y), as_planes(index)
    kernel_, nothing = np.array(geometry.kernel, np.int64), x.dtype.type(-np.inf)

    def work(mine: Iterator[tuple[int, int]]) -> None:
        for first, stop in mine:
            run.max_pool(
                seen, first, stop, kernel_, geometry.stride, geometry.low, nothing, best, chosen
            )

    share(work, _pieces(seen))
    return y, index


@declines
def max_pool_grad(
    g: Array, index: Array, *, size: Sizes, kernel: Sizes, stride: Sizes, padding: Pairs
) -> Any:
    """See :func:`flagstone_numpy.kernels.pool.max_pool_grad`."""
    run = loops("pool")
    if run is None or g.ndim > 4:
        return NotImplemented
    window = Window(kernel, stride, padding, (1,) * len(kernel))
    geometry = Geometry.of(window)
    adds = any(k > s for k, s in zip(kernel, stride, strict=True))
    covers = not adds and reaches_all(window, size, g.shape[1:-1])
    dx = np.empty((g.shape[0], *size, g.shape[-1]), g.dtype)
    given, chosen, into = as_planes(g), as_planes(index), as_planes(dx)
    kernel_ = np.array(geometry.kernel, np.int64)

    def work(mine: Iterator[tuple[int, int]]) -> None:
        for first, stop in mine:
            if not covers:
                into[first:stop] = 0  # while they are about to be in the cache
            run.max_pool_grad(
                given, chosen, first, stop, kernel_, geometry.stride, geometry.low, adds, into
            )

    share(work, _pieces(into))
    return dx


def _pieces(images: Array) -> list[tuple[int, int]]:
    """Cut images into pieces of work, (first, stop)."""
    step = max(1, PIECE // max(1, images[:1].size))
    return [(first, min(first + step, len(images))) for first in range(0, len(images), step)]
