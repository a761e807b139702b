"""Convolution with one filter a channel, and its gradients."""

from __future__ import annotations

import functools
import math
from typing import Any

from flagstone_cupy.kernel import Kernel
from flagstone_cupy.kernels import tiles
from flagstone_cupy.kernels.products import ACTIVATIONS, add_slices
from flagstone_cupy.kernels.tiles import SUMS, TYPES
from flagstone_cupy.kernels.window import Layout, Sizes, launches, product
from flagstone_cupy.launch import Array, empty, launch

FORWARD = {
    (dtype, vec): Kernel("depthwise.cu", "depthwise", T=TYPES[dtype][0], S=TYPES[dtype][1], VEC=vec)
    for dtype in TYPES
    for vec in ((1,) if dtype == "float64" else (4, 1))
}
WEIGHT_GRAD = {
    dtype: Kernel("depthwise.cu", "depthwise_weight_grad", T=TYPES[dtype][0], S=TYPES[dtype][1])
    for dtype in TYPES
}
THREADS, ROWS, TAPS, LANES = 256, 8, 9, 32  # as in depthwise.cu
MOST_SHARED = 48 << 10


def serves(dtype: str, channels: int, w: Sizes, groups: int) -> bool:
    """Whether these kernels are for a convolution of so many channels with such weights."""
    return (
        groups == channels == w[0] > 1
        and _shared(dtype, math.prod(w[1:]), 4 * LANES) <= MOST_SHARED
    )


def forward(
    layout: Layout, x: Array, w: Array, b: Array | None, y: Array, activation: str | None
) -> None:
    """Write ``y``: the convolution of ``x``, or by an input gradient's layout that gradient."""
    dtype, c = tiles.kind(x), x.shape[-1]
    vec = 4 if min(tiles.divides(a, c) for a in (x, y)) >= 4 and dtype != "float64" else 1
    lanes = 1
    while lanes < min(LANES, c // vec):
        lanes *= 2
    rows = THREADS // lanes * ROWS  # of a block
    for part, made in _products(layout, activation):
        blocks = -(-part.most_rows // rows) * -(-c // (lanes * vec)) * part.phases
        launch(
            FORWARD[dtype, vec], (blocks, 1, 1), (THREADS, 1, 1),
            _shared(dtype, part.taps, lanes * vec), (x, w, b, y, made, lanes),
        )  # fmt: skip


def weight_grad(layout: Layout, g: Array, x: Array, dw: Array, db: Array | None) -> None:
    """Write ``dw`` and, unless it is ``None``, ``db``, the gradient of the bias."""
    dtype, c = tiles.kind(x), x.shape[-1]
    blocks, splits, made = _splitting(layout, c, dw.size)
    slices = empty((splits, dw.size), SUMS[dtype])
    sums = None if db is None else empty((splits, c), SUMS[dtype])
    launch(WEIGHT_GRAD[dtype], (blocks, 1, 1), (THREADS, 1, 1), 0, (g, x, slices, sums, made))
    add_slices(slices, None, dw)
    if db is not None:
        add_slices(sums, None, db)


@functools.lru_cache(maxsize=256)
def _products(layout: Layout, activation: str | None) -> list[tuple[Layout, Any]]:
    found = []
    for part in launches(layout._replace(groups=1)):
        made = product(part)
        made["activation"] = ACTIVATIONS[activation]
        found.append((part, made))
    return found


@functools.lru_cache(maxsize=256)
def _splitting(layout: Layout, channels: int, size: int) -> tuple[int, int, Any]:
    """Blocks, splits and the struct of a weight gradient."""
    rows = layout.most_rows
    blocks = -(-layout.taps // TAPS) * -(-channels // LANES)
    wanted = min(-(-4 * tiles.FULL // blocks), tiles.MOST_SPLITS, max(1, rows // tiles.LEAST_ROWS))
    each = max(1, -(-rows // wanted))
    splits = max(1, -(-rows // each))
    made = product(layout._replace(groups=1))
    made["steps"], made["splits"], made["y_slice"] = each, splits, size
    return blocks * splits, splits, made


def _shared(dtype: str, taps: int, width: int) -> int:
    return taps * (16 + width * (8 if dtype == "float64" else 4))
