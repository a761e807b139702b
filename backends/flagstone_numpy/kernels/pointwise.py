"""Convolution whose kernel is one tap and whose padding is nothing: a matrix product of rows.

With g groups and m = n * positions: y (g, m, k/g) = x (g, m, c/g) @ w' (g, c/g, k/g). Nothing is
copied unless the stride leaves positions out.
"""

from __future__ import annotations

import numpy as np

from flagstone_numpy import products
from flagstone_numpy.kernels.windows import Array, Sizes, Window, split_channels


def forward(
    x: Array, w: Array, b: Array | None, window: Window, positions: Sizes, groups: int
) -> Array:
    """Return the convolution, (n, *positions, k)."""
    k = w.shape[0]
    y = np.empty((x.shape[0], *positions, k), x.dtype)
    rows = split_channels(_seen(x, positions, window.stride), groups)
    weights = w.reshape(groups, k // groups, -1).transpose(0, 2, 1)  # (g, c/g, k/g)
    products.into(split_channels(y, groups), rows, weights)
    if b is not None:
        y += b
    return y


def weight_grad(dy: Array, x: Array, window: Window, groups: int) -> Array:
    """Return the gradient of the weights, (k, *kernel, c / groups)."""
    rows = split_channels(_seen(x, dy.shape[1:-1], window.stride), groups)
    dw = products.product(split_channels(dy, groups).transpose(0, 2, 1), rows)  # (g, k/g, c/g)
    return dw.reshape(dy.shape[-1], *window.kernel, -1)


def input_grad(dy: Array, w: Array, size: Sizes, window: Window, groups: int) -> Array:
    """Return the gradient of the input, (n, *size, c)."""
    k = w.shape[0]
    rows = split_channels(dy, groups)
    weights = w.reshape(groups, k // groups, -1)  # (g, k/g, c/g)
    c = groups * weights.shape[-1]
    dense = np.empty((*dy.shape[:-1], c), dy.dtype)
    products.into(split_channels(dense, groups), rows, weights)
    if dense.shape[1:-1] == size:
        return dense
    dx = np.zeros((dy.shape[0], *size, c), dy.dtype)
    _seen(dx, dy.shape[1:-1], window.stride)[...] = dense
    return dx


def _seen(x: Array, positions: Sizes, stride: Sizes) -> Array:
    """Return the view of ``x`` at the inputs that one-tap windows see."""
    steps = (slice(0, (p - 1) * s + 1, s) for p, s in zip(positions, stride, strict=True))
    return x[(slice(None), *steps)]
