"""Convolution whose kernel is one tap and whose padding is nothing: a matrix product of rows.

With g groups and m = n * positions: y (g, m, k/g) = x (g, m, c/g) @ w' (g, c/g, k/g). Nothing is
copied unless the stride leaves positions out.
"""

from __future__ import annotations

import numpy as np

from flagstone_numpy import products
from flagstone_numpy.kernels.windows import Array, Sizes, Window, split_channels


def forward(
    x: Array, w: Array, b: Array | None, window: Window, positions: Sizes, groups: int,
    out: Array | None = None, relu: bool = False,
) -> Array:  # fmt: skip
    """Return the convolution, (n, *positions, k)."""
    k = w.shape[0]
    y = np.empty((x.shape[0], *positions, k), x.dtype) if out is None else out
    rows = split_channels(_seen(x, positions, window.stride), groups)
    weights = w.reshape(groups, k // groups, -1).transpose(0, 2, 1)  # (g, c/g, k/g)
    products.into(split_channels(y, groups), rows, weights)
    if b is not None:
        y += b
    return np.maximum(y, 0, out=y) if relu else y


def weight_grad(
    dy: Array, x: Array, window: Window, groups: int, out: Array | None = None
) -> Array:
    """Return the gradient of the weights, (k, *kernel, c / groups)."""
    rows = split_channels(_seen(x, dy.shape[1:-1], window.stride), groups)
    k, c = dy.shape[-1], x.shape[-1] // groups
    dw = np.empty((k, *window.kernel, c), x.dtype) if out is None else out
    turned = split_channels(dy, groups).transpose(0, 2, 1)  # (g, k/g, m)
    products.into(dw.reshape(groups, k // groups, c), turned, rows)
    return dw


def input_grad(
    dy: Array, w: Array, size: Sizes, window: Window, groups: int, out: Array | None = None
) -> Array:
    """Return the gradient of the input, (n, *size, c)."""
    k = w.shape[0]
    rows = split_channels(dy, groups)
    weights = w.reshape(groups, k // groups, -1)  # (g, k/g, c/g)
    c = groups * weights.shape[-1]
    dx = np.empty((dy.shape[0], *size, c), dy.dtype) if out is None else out
    is_whole = dy.shape[1:-1] == size
    dense = dx if is_whole else np.empty((*dy.shape[:-1], c), dy.dtype)
    products.into(split_channels(dense, groups), rows, weights)
    if is_whole:
        return dx
    dx[...] = 0
    _seen(dx, dy.shape[1:-1], window.stride)[...] = dense
    return dx


def _seen(x: Array, positions: Sizes, stride: Sizes) -> Array:
    """Return the view of ``x`` at the inputs that one-tap windows see."""
    steps = (slice(0, (p - 1) * s + 1, s) for p, s in zip(positions, stride, strict=True))
    return x[(slice(None), *steps)]
