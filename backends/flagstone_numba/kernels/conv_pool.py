"""Convolution, max pooling and ReLU in one, for predictions, compiled.

Windows of 2x2 side by side, behind a convolution that :mod:`flagstone_numba.kernels.direct` or
:mod:`flagstone_numba.kernels.tiles` does, are pooled before the convolution's output is written.
Others are pooled afterwards.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from flagstone.backend import declines
from flagstone_numba.kernels import conv as convolution
from flagstone_numba.kernels import direct, pool, tiles
from flagstone_numba.kernels.elementwise import relu_in_place
from flagstone_numba.loading import loops
from flagstone_numba.scratch import scratch
from flagstone_numpy.kernels import conv as numpys
from flagstone_numpy.kernels.conv_pool import halves
from flagstone_numpy.kernels.windows import Array, Pairs, Sizes, Window
from flagstone_numpy.threads import share


@declines
def conv_max_pool_relu(
    x: Array, w: Array, b: Array | None = None, *, stride: Sizes, padding: Pairs, dilation: Sizes,
    groups: int, pool_kernel: Sizes, pool_stride: Sizes, pool_padding: Pairs,
    precision: str = "exact",
) -> Any:  # fmt: skip
    """See :func:`flagstone.ops.fused.conv_max_pool_relu`."""
    if loops("conv_pool") is None:
        return NotImplemented
    window = Window(w.shape[1:-1], stride, padding, dilation)
    pooling = Window(pool_kernel, pool_stride, pool_padding, (1,) * len(pool_kernel))
    way = _way(x.shape, x.dtype, w.shape[0], window, pooling, groups, precision)
    if way is not None:
        return way(np.ascontiguousarray(x), w, b)
    how: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}
    made = convolution.conv(x, w, b, groups=groups, precision=precision, **how)
    if made is NotImplemented:
        return made
    found = pool.max_pool(made, kernel=pool_kernel, stride=pool_stride, padding=pool_padding)
    return found if found is NotImplemented else relu_in_place(found[0])


@functools.lru_cache(maxsize=256)
def _way(
    shape: Sizes, dtype: Any, k: int, window: Window, pooling: Window, groups: int, precision: str
) -> _Directly | _ByTiles | None:
    """What is done for such arguments, all that their shapes decide decided; ``None`` where the
    output is pooled afterwards."""
    positions = window.positions(shape[1:-1])
    into = (shape[0], *pooling.positions(positions), k)
    like = np.broadcast_to(np.zeros((), dtype), shape)
    case = numpys.case_of(like, window, positions, k, groups)
    if not halves(pooling) or groups > 1 or not math.prod(into):
        return None
    if case == "winograd" and tiles.serves(shape[-1], k):
        return _ByTiles(shape, into, window, positions, numpys.TILES[precision])
    if case in ("narrow", "im2col", "winograd"):
        return _Directly(shape, into, dtype, window, positions)
    return None


class _Directly:
    """By products that read their windows where they lie; called with ``x``, ``w`` and ``b``."""

    def __init__(
        self, shape: Sizes, into: Sizes, dtype: Any, window: Window, positions: Sizes
    ) -> None:
        self._into, self._dtype, k = into, np.dtype(dtype), into[-1]
        self._plan = how = direct.plan(window, shape[3], positions)
        self._tile = direct.product_tile(positions[1], k, self._dtype.itemsize)
        self._size = np.array(positions, np.int64)
        blocks = how.cut(shape[0], k, into[1])
        self._pieces = [
            (np.array([b.images.start, b.images.stop], np.int64), b.rows.start, b.shape[1])
            for b in blocks
        ]
        self._area = how.area(2 * blocks[0].shape[1])
        self._run = loops("conv_pool").direct

    def __call__(self, x: Array, w: Array, b: Array | None) -> Array:
        tile, how, k = self._tile, self._plan, self._into[-1]
        y = np.empty(self._into, self._dtype)
        weights = direct.packed(w.reshape(k, -1).T, tile.columns)
        if b is None or k % tile.columns:
            bias = np.zeros(weights.shape[0] * tile.columns, self._dtype)
            if b is not None:
                bias[:k] = b
        else:
            bias = np.ascontiguousarray(b)

        def work(mine: Iterable[tuple[Array, int, int]]) -> None:
            padded = scratch("padded", (self._area,), self._dtype)
            line = scratch("line", (2 * int(self._size[1]) * tile.columns,), self._dtype)
            for images, first, count in mine:
                self._run(
                    tile.rows, tile.vectors, x, weights, bias, images, first, count, self._size,
                    how.stride, how.low, how.reach, how.starts, how.run, padded, line, y,
                )  # fmt: skip

        _shared(work, self._pieces)
        return y


class _ByTiles:
    """By Winograd's tiles; called with ``x``, ``w`` and ``b``."""

    def __init__(
        self, shape: Sizes, into: Sizes, window: Window, positions: Sizes, size: int
    ) -> None:
        c, k = shape[-1], into[-1]
        self._into, self._side, self._channels = into, size, c
        self._plan = tiles.tiling(shape[0], positions, c, k, size)
        self._tile = direct.product_tile(self._plan.least, k, 4, divides=True)
        self._size = np.array(positions, np.int64)
        self._low = np.array([low for low, _ in window.padding], np.int64)
        self._zeros = np.zeros(self._tile.columns, np.float32)
        self._none = np.zeros(1, np.int64)
        self._pieces = self._plan.pieces()
        self._run = loops("conv_pool").tiles

    def __call__(self, x: Array, w: Array, b: Array | None) -> Array:
        tile, plan, size, k = self._tile, self._plan, self._side, self._into[-1]
        y = np.empty(self._into, np.float32)
        weights = tiles.transformed(w, size, tile.columns)
        bias = np.zeros(k, np.float32) if b is None else np.ascontiguousarray(b)

        def work(mine: Iterable[Array]) -> None:
            seen, products = plan.streams("seen", self._channels), plan.streams("products", k)
            padded = scratch("padded", (plan.laid(self._channels),), np.float32)
            edge = scratch("edge", (size * size * k,), np.float32)
            for places in mine:
                self._run(
                    (0,) * size, tile.rows, tile.vectors, x, weights, bias, places, self._low,
                    plan.columns, self._size, self._none, self._zeros, padded, seen, products,
                    edge, y,
                )  # fmt: skip

        _shared(work, self._pieces)
        return y


def _shared(work: Callable[[Iterable[Any]], None], pieces: Sequence[Any]) -> None:
    """Call ``work`` on several threads, on the caller alone for one piece."""
    if len(pieces) == 1:
        work(pieces)
    else:
        share(work, pieces)
