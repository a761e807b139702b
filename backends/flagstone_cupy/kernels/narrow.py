"""Convolution of images with few channels, and its weight gradient."""

from __future__ import annotations

import functools
import math
from typing import Any

from flagstone_cupy.kernel import Kernel
from flagstone_cupy.kernels import tiles
from flagstone_cupy.kernels.products import ACTIVATIONS, add_slices
from flagstone_cupy.kernels.tiles import SUMS, TYPES
from flagstone_cupy.kernels.window import Layout, Sizes, product
from flagstone_cupy.launch import Array, empty, launch

KERNELS = {
    dtype: Kernel("conv_narrow.cu", "conv_narrow", T=TYPES[dtype][0], S=TYPES[dtype][1])
    for dtype in TYPES
}
WEIGHT_GRAD = {
    dtype: Kernel("conv_narrow.cu", "conv_narrow_weight_grad", T=TYPES[dtype][0], S=TYPES[dtype][1])
    for dtype in TYPES
}
THREADS, ROWS, DEPTH = 256, 4, 12  # as in conv_narrow.cu
FEW_CHANNELS = 4
MOST_COLUMNS = 4 * THREADS
MOST_SHARED = 48 << 10


def serves(dtype: str, channels: int, w: Sizes, groups: int) -> bool:
    """Whether the kernel is for a convolution of so many channels with weights of this shape."""
    few = groups == 1 and channels <= FEW_CHANNELS and w[0] <= MOST_COLUMNS
    return few and _shared(dtype, math.prod(w[1:]), w[0]) <= MOST_SHARED


def forward(
    layout: Layout, x: Array, w: Array, b: Array | None, y: Array, activation: str | None
) -> None:
    """Write ``y``, the convolution of ``x`` with ``w``, plus ``b``, activated."""
    dtype, k = tiles.kind(x), w.shape[0]
    rows = THREADS // max(1, -(-k // 4)) * ROWS  # of a block
    blocks = -(-layout.most_rows // rows) if k else 0
    launch(
        KERNELS[dtype], (blocks, 1, 1), (THREADS, 1, 1), _shared(dtype, layout.w[0], k),
        (x, w, b, y, _product(layout, tiles.divides(y, k) >= 4, activation)),
    )  # fmt: skip


def serves_weight_grad(channels: int, w: Sizes, groups: int) -> bool:
    """Whether the kernel is for the gradient of weights of this shape."""
    few = groups == 1 and channels <= FEW_CHANNELS and 0 < w[0] <= MOST_COLUMNS
    return few and math.prod(w[1:]) <= DEPTH


def weight_grad(layout: Layout, g: Array, x: Array, dw: Array, db: Array | None) -> None:
    """Write ``dw`` and, unless it is ``None``, ``db``, the gradient of the bias."""
    dtype = tiles.kind(x)
    splits, made = _splitting(layout, dw.size)
    slices = empty((splits, dw.size), SUMS[dtype])
    sums = None if db is None else empty((splits, dw.shape[0]), SUMS[dtype])
    launch(WEIGHT_GRAD[dtype], (splits, 1, 1), (THREADS, 1, 1), 0, (g, x, slices, sums, made))
    add_slices(slices, None, dw)
    if db is not None:
        add_slices(sums, None, db)


@functools.lru_cache(maxsize=256)
def _splitting(layout: Layout, size: int) -> tuple[int, Any]:
    rows = layout.most_rows
    wanted = min(2 * tiles.FULL, max(1, rows // tiles.LEAST_ROWS))
    each = max(1, -(-rows // wanted))
    made = product(layout)
    made["steps"], made["y_slice"] = each, size
    return max(1, -(-rows // each)), made


@functools.lru_cache(maxsize=256)
def _product(layout: Layout, aligned: bool, activation: str | None) -> Any:
    made = product(layout)
    made["aligned"], made["activation"] = aligned, ACTIVATIONS[activation]
    return made


def _shared(dtype: str, depth: int, k: int) -> int:
    return depth * -(-k // 4) * 4 * (8 if dtype == "float64" else 4)
