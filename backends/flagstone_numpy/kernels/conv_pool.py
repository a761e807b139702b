"""Convolution, max pooling and ReLU in one, for predictions.

With tiles or few channels the convolution's output, the largest array of a network of images, is
made block by block and pooled while it lies in the cache. Which place a maximum came from is
nobody's concern here.
"""

from __future__ import annotations

import functools

import numpy as np

from flagstone_numpy.kernels import conv, narrow, winograd
from flagstone_numpy.kernels.windows import Array, Pairs, Sizes, Window, taps


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
    case = conv.case_of(x, window, positions, w.shape[0], groups)
    if case == "winograd" and halves(pooling):
        winograd.pooled_relu(y, x, w, b, window, positions, conv.TILES[precision])
    elif case == "narrow":
        narrow.pooled(y, x, w, b, window, positions, functools.partial(_pooled_relu, pooling))
    else:
        made = conv.forward(conv.ALGORITHMS, x, w, b, window, groups, precision)
        _pooled_relu(pooling, y, made)
    return y


def halves(pooling: Window) -> bool:
    """Whether windows are 2x2 side by side, from the first value on."""
    starts = all(low == 0 and high <= 1 for low, high in pooling.padding)
    return pooling.kernel == pooling.stride == (2, 2) and starts


def _pooled_relu(pooling: Window, y: Array, x: Array) -> None:
    """Write ReLU of the maxima of windows of ``x`` (n, *size, c) to ``y``; ``x`` may change."""
    if halves(pooling) and not any(length % 2 for length in x.shape[1:-1]):
        upper = np.maximum(x[:, ::2], x[:, 1::2], out=x[:, ::2])  # of whole rows: long runs
        np.maximum(upper[:, :, ::2], upper[:, :, 1::2], out=y)
        np.maximum(y, 0, out=y)
        return
    y[...] = 0
    for tap in taps(pooling, x.shape[1:-1], (0, y.shape[1]), y.shape[2:-1]):
        into = y[(slice(None), *tap.outputs)]
        np.maximum(into, x[(slice(None), *tap.inputs)], out=into)
