"""Convolution, max pooling and ReLU in one, for predictions.

The convolution's output, the largest array of a network of images, is made block by block and
pooled while it lies in the cache; which place a maximum came from is nobody's concern here.
"""

from __future__ import annotations

import math

import numpy as np

from flagstone_numpy.kernels import conv
from flagstone_numpy.kernels.windows import Array, Pairs, Sizes, Window, taps

BLOCK_BYTES = 1 << 21
"""Of the convolution's output at a time."""


def conv_max_pool_relu(
    x: Array, w: Array, b: Array | None = None, *, stride: Sizes, padding: Pairs, dilation: Sizes,
    groups: int, pool_kernel: Sizes, pool_stride: Sizes, pool_padding: Pairs,
    precision: str = "exact",
) -> Array:  # fmt: skip
    """See :func:`flagstone.ops.fused.conv_max_pool_relu`."""
    window = Window(w.shape[1:-1], stride, padding, dilation)
    positions = window.positions(x.shape[1:-1])
    pooling = Window(pool_kernel, pool_stride, pool_padding, (1,) * len(pool_kernel))
    y = np.empty((x.shape[0], *pooling.positions(positions), w.shape[0]), x.dtype)
    image = math.prod(positions) * w.shape[0] * x.itemsize
    step = max(1, BLOCK_BYTES // max(1, image))
    for start in range(0, len(x), step):
        part = x[start : start + step]
        made = conv.forward(conv.ALGORITHMS, part, w, b, window, groups, precision)
        _pool(y[start : start + step], made, pooling)
    return np.maximum(y, 0, out=y)


def halves(pooling: Window) -> bool:
    """Whether windows are 2x2 side by side, from the first value on."""
    starts = all(low == 0 and high <= 1 for low, high in pooling.padding)
    return pooling.kernel == pooling.stride == (2, 2) and starts


def _pool(y: Array, x: Array, pooling: Window) -> None:
    """Write the maxima of windows of ``x`` (n, *size, c) to ``y``."""
    found = taps(pooling, x.shape[1:-1], (0, y.shape[1]), y.shape[2:-1])
    y[...] = -np.inf
    for tap in found:
        into = y[(slice(None), *tap.outputs)]
        np.maximum(into, x[(slice(None), *tap.inputs)], out=into)
