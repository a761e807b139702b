"""Convolution, max pooling and ReLU in one, for predictions, compiled.

Windows of 2x2 side by side, behind a convolution that :mod:`flagstone_numba.kernels.direct` or
:mod:`flagstone_numba.kernels.tiles` does, are pooled before the convolution's output is written.
Others are pooled afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
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
from flagstone_numpy.kernels.windows import Array, Block, Pairs, Sizes, Window
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
    positions = window.positions(x.shape[1:-1])
    y = np.empty((x.shape[0], *pooling.positions(positions), w.shape[0]), x.dtype)
    if not y.size:
        return y
    case = numpys.case_of(x, window, positions, w.shape[0], groups)
    if halves(pooling) and case == "winograd" and tiles.serves(x.shape[-1], w.shape[0]):
        _by_tiles(y, x, w, b, window, positions, numpys.TILES[precision])
    elif halves(pooling) and case in ("narrow", "im2col", "winograd") and groups == 1:
        _directly(y, x, w, b, window, positions)
    else:
        how: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}
        made = convolution.conv(x, w, b, groups=groups, precision=precision, **how)
        if made is NotImplemented:
            return made
        found = pool.max_pool(made, kernel=pool_kernel, stride=pool_stride, padding=pool_padding)
        return found if found is NotImplemented else relu_in_place(found[0])
    return y


def _directly(
    y: Array, x: Array, w: Array, b: Array | None, window: Window, positions: Sizes
) -> None:
    run = loops("conv_pool").direct
    k = w.shape[0]
    x = np.ascontiguousarray(x)
    how = direct.plan(window, x.shape[3], positions)
    tile = direct.product_tile(positions[1], k, x.itemsize)
    weights = direct.packed(w.reshape(k, -1).T, tile.columns)
    bias = np.zeros(weights.shape[0] * tile.columns, x.dtype)
    if b is not None:
        bias[:k] = b
    size = np.array(positions, np.int64)
    pieces = how.cut(x.shape[0], k, y.shape[1])

    def work(mine: Iterator[Block]) -> None:
        padded = scratch("padded", (how.area(2 * pieces[0].shape[1]),), x.dtype)
        line = scratch("line", (2 * positions[1] * tile.columns,), x.dtype)
        for block in mine:
            images = np.array([block.images.start, block.images.stop], np.int64)
            run(
                tile.rows, tile.vectors, x, weights, bias, images, block.rows.start,
                block.shape[1], size, how.stride, how.low, how.reach, how.starts, how.run, padded,
                line, y,
            )  # fmt: skip

    share(work, pieces)


def _by_tiles(
    y: Array, x: Array, w: Array, b: Array | None, window: Window, positions: Sizes, size: int
) -> None:
    run = loops("conv_pool").tiles
    n, c, k = x.shape[0], x.shape[-1], w.shape[0]
    x = np.ascontiguousarray(x)
    plan = tiles.tiling(n, positions, c, k, size)
    tile = direct.product_tile(plan.least, k, 4, divides=True)
    weights = tiles.transformed(w, size, tile.columns)
    bias = np.zeros(k, np.float32) if b is None else np.ascontiguousarray(b)
    low = np.array([low for low, _ in window.padding], np.int64)
    zeros, none = np.zeros(tile.columns, np.float32), np.zeros(1, np.int64)
    shape = np.array(positions, np.int64)

    def work(mine: Iterator[Array]) -> None:
        seen, products = plan.streams("seen", c), plan.streams("products", k)
        padded = scratch("padded", (plan.laid(c),), np.float32)
        edge = scratch("edge", (size * size * k,), np.float32)
        for places in mine:
            run(
                (0,) * size, tile.rows, tile.vectors, x, weights, bias, places, low, plan.columns,
                shape, none, zeros, padded, seen, products, edge, y,
            )  # fmt: skip

    share(work, plan.pieces())
