"""Convolution, max pooling and ReLU in one, for predictions, compiled.

Windows of 2x2 side by side, behind a convolution that :mod:`flagstone_numba.kernels.direct` or
:mod:`flagstone_numba.kernels.tiles` does, are pooled before the convolution's output is written.
Others are pooled afterwards.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from flagstone.backend import declines
from flagstone_numba.kernels import conv as convolution
from flagstone_numba.kernels import direct, pool, tiles
from flagstone_numba.kernels.elementwise import relu_in_place
from flagstone_numba.kernels.planes import as_places
from flagstone_numba.loading import loops
from flagstone_numpy.kernels import conv as numpys
from flagstone_numpy.kernels.conv_pool import halves
from flagstone_numpy.kernels.windows import Array, Pairs, Sizes, Window
from flagstone_numpy.scratch import scratch
from flagstone_numpy.threads import Turns, share_turns


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
        self._places = as_places(how.cut(shape[0], k, into[1]))
        self._area = how.area(2 * int(self._places[0, 3]))
        self._blocks = -(-k // self._tile.columns)
        self._run = loops("conv_pool").direct

    def __call__(self, x: Array, w: Array, b: Array | None) -> Array:
        tile, how, k = self._tile, self._plan, self._into[-1]
        y = np.empty(self._into, self._dtype)
        rows = np.ascontiguousarray(w.reshape(k, -1))
        weights = scratch("weights", (self._blocks, rows.shape[1], tile.columns), self._dtype)
        if b is None or k % tile.columns:
            bias = np.zeros(self._blocks * tile.columns, self._dtype)
            if b is not None:
                bias[:k] = b
        else:
            bias = np.ascontiguousarray(b)

        def work(turns: Turns) -> None:
            padded = scratch("padded", (self._area,), self._dtype)
            line = scratch("line", (2 * int(self._size[1]) * tile.columns,), self._dtype)
            self._run(
                turns, tile.rows, tile.vectors, x, rows, weights, bias, self._places, self._size,
                how.stride, how.low, how.reach, how.starts, how.run, padded, line, y,
            )  # fmt: skip

        share_turns(work, self._blocks + len(self._places), len(self._places))
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
        self._blocks = k // self._tile.columns
        self._run = loops("conv_pool").tiles

    def __call__(self, x: Array, w: Array, b: Array | None) -> Array:
        tile, plan, size, k = self._tile, self._plan, self._side, self._into[-1]
        y = np.empty(self._into, np.float32)
        elements, c = plan.elements, self._channels
        weights = scratch("weights", (elements, self._blocks, c, tile.columns), np.float32)
        bias = np.zeros(k, np.float32) if b is None else np.ascontiguousarray(b)
        how = (*tiles.flat(w), weights, bias, plan.places, self._low, plan.columns, self._size)

        def work(turns: Turns) -> None:
            seen, products = plan.streams("seen", c), plan.streams("products", k)
            padded = scratch("padded", (plan.laid(c),), np.float32)
            edge = scratch("edge", (max(size * size * k, 9 * tile.columns),), np.float32)
            self._run(
                turns, (0,) * size, tile.rows, tile.vectors, x, *how, self._none, self._zeros,
                padded, seen, products, edge, y,
            )  # fmt: skip

        share_turns(work, self._blocks + len(plan.places), len(plan.places))
        return y
