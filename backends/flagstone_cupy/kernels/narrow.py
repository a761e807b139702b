"""Convolution of images with few channels."""

from __future__ import annotations

import functools
import math
from typing import Any

from flagstone_cupy.kernel import Kernel
from flagstone_cupy.kernels import tiles
from flagstone_cupy.kernels.products import ACTIVATIONS
from flagstone_cupy.kernels.tiles import TYPES
from flagstone_cupy.kernels.window import Layout, Sizes, product
from flagstone_cupy.launch import Array, launch

KERNELS = {
    dtype: Kernel("conv_narrow.cu", "conv_narrow", T=TYPES[dtype][0], S=TYPES[dtype][1])
    for dtype in TYPES
}
THREADS, ROWS = 256, 4  # as in conv_narrow.cu
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
    dtype, k = x.dtype.name, w.shape[0]
    rows = THREADS // max(1, -(-k // 4)) * ROWS  # of a block
    blocks = -(-layout.most_rows // rows) if k else 0
    launch(
        KERNELS[dtype], (blocks, 1, 1), (THREADS, 1, 1), _shared(dtype, layout.w[0], k),
        (x, w, b, y, _product(layout, tiles.divides(y, k) >= 4, activation)),
    )  # fmt: skip


@functools.lru_cache(maxsize=256)
def _product(layout: Layout, aligned: bool, activation: str | None) -> Any:
    made = product(layout)
    made["aligned"], made["activation"] = aligned, ACTIVATIONS[activation]
    return made


def _shared(dtype: str, depth: int, k: int) -> int:
    return depth * -(-k // 4) * 4 * (8 if dtype == "float64" else 4)
