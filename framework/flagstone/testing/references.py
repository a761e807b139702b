"""Convolution and pooling, one window after another: slow, and easy to see that they are right."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from flagstone.testing.op_row import Array

Sizes = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]


def conv(
    x: Array, w: Array, b: Array | None = None, *, stride: Sizes, padding: Pairs, dilation: Sizes,
    groups: int,
) -> Array:  # fmt: skip
    """``y[n, p, k]`` sums ``x[n, p*stride + r*dilation - before, c] * w[k, r, c]``, and adds b."""
    padded = _padded(x, padding, 0.0)
    k, c = w.shape[0] // groups, w.shape[-1]
    windows = list(_windows(padded.shape[1:-1], w.shape[1:-1], stride, dilation))
    y = np.zeros((len(x), len(windows), w.shape[0]))
    for number, window in enumerate(windows):
        under = padded[(slice(None), *window)]  # (n, *kernel, channels)
        for g in range(groups):
            part = under[..., g * c : (g + 1) * c].reshape(len(x), w[0].size)
            y[:, number, g * k : (g + 1) * k] = part @ w[g * k : (g + 1) * k].reshape(k, -1).T
    out = _counts(padded.shape[1:-1], w.shape[1:-1], stride, dilation)
    return y.reshape(len(x), *out, w.shape[0]) + (0.0 if b is None else b)


def conv_input_grad(
    g: Array, w: Array, *, size: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes, groups: int
) -> Array:
    """What every input adds to <conv(x, w), g>: the convolution of one input after another."""
    shape = (*size, w.shape[-1] * groups)
    units = np.eye(int(np.prod(shape))).reshape(-1, *shape)
    how: dict[str, Any] = {
        "stride": stride, "padding": padding, "dilation": dilation, "groups": groups,
    }  # fmt: skip
    y = conv(units, w, **how)  # (inputs, *out, k)
    return np.tensordot(g, y, axes=(range(1, g.ndim), range(1, y.ndim))).reshape(len(g), *shape)


def conv_weight_grad(
    g: Array, x: Array, *, kernel: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes,
    groups: int,
) -> Array:  # fmt: skip
    """What every weight adds to <conv(x, w), g>: the convolution with one weight after another."""
    shape = (g.shape[-1], *kernel, x.shape[-1] // groups)
    dw = np.zeros(shape)
    for place in np.ndindex(shape):
        unit = np.zeros(shape)
        unit[place] = 1.0
        y = conv(x, unit, stride=stride, padding=padding, dilation=dilation, groups=groups)
        dw[place] = np.sum(y * g)
    return dw


def max_pool(x: Array, *, kernel: Sizes, stride: Sizes, padding: Pairs) -> tuple[Array, Array]:
    """The largest value of every window, and the row-major number of the place it is at."""
    padded = _padded(x, padding, -np.inf)
    ones = (1,) * len(kernel)
    under = [
        padded[(slice(None), *w)].reshape(len(x), int(np.prod(kernel)), x.shape[-1])
        for w in _windows(padded.shape[1:-1], kernel, stride, ones)
    ]
    shape = (len(x), *_counts(padded.shape[1:-1], kernel, stride, ones), x.shape[-1])
    y = np.stack([u.max(axis=1) for u in under], axis=1).reshape(shape)
    index = np.stack([u.argmax(axis=1) for u in under], axis=1).reshape(shape)
    return y, index.astype(np.uint8 if np.prod(kernel) <= 255 else np.int32)


def max_pool_pick(x: Array, index: Array, *, kernel: Sizes, stride: Sizes, padding: Pairs) -> Array:
    """The values of ``x`` at the numbered places of every window."""
    padded = _padded(x, padding, 0.0)
    y = np.zeros((len(x), int(np.prod(index.shape[1:-1])), x.shape[-1]))
    windows = _windows(padded.shape[1:-1], kernel, stride, (1,) * len(kernel))
    numbers = index.reshape(y.shape).astype(int)
    for number, window in enumerate(windows):
        under = padded[(slice(None), *window)].reshape(len(x), int(np.prod(kernel)), x.shape[-1])
        y[:, number] = np.take_along_axis(under, numbers[:, number, None], axis=1)[:, 0]
    return y.reshape(index.shape)


def max_pool_grad(
    g: Array, index: Array, *, size: Sizes, kernel: Sizes, stride: Sizes, padding: Pairs
) -> Array:
    """The transpose of :func:`max_pool_pick`: what every input adds to <pick(x), g>."""
    dx = np.zeros((len(g), *size, g.shape[-1]))
    for place in np.ndindex(size):
        unit = np.zeros_like(dx)
        unit[(slice(None), *place)] = 1.0
        y = max_pool_pick(unit, index, kernel=kernel, stride=stride, padding=padding)
        dx[(slice(None), *place)] = np.sum(y * g, axis=tuple(range(1, g.ndim - 1)))
    return dx


def avg_pool(
    x: Array, *, kernel: Sizes, stride: Sizes, padding: Pairs, count_include_pad: bool
) -> Array:
    """The mean of every window, of all of it or of what is not padding."""
    padded = _padded(x, padding, 0.0 if count_include_pad else np.nan)
    ones = (1,) * len(kernel)
    spatial = tuple(range(1, x.ndim - 1))
    means = [
        np.nanmean(padded[(slice(None), *w)], axis=spatial)
        for w in _windows(padded.shape[1:-1], kernel, stride, ones)
    ]
    shape = (len(x), *_counts(padded.shape[1:-1], kernel, stride, ones), x.shape[-1])
    return np.stack(means, axis=1).reshape(shape)


def avg_pool_grad(
    g: Array, *, size: Sizes, kernel: Sizes, stride: Sizes, padding: Pairs, count_include_pad: bool
) -> Array:
    """What every input adds to <avg_pool(x), g>."""
    dx = np.zeros((len(g), *size, g.shape[-1]))
    for place in np.ndindex(size):
        unit = np.zeros((1, *size, 1))
        unit[(0, *place)] = 1.0
        y = avg_pool(
            unit, kernel=kernel, stride=stride, padding=padding,
            count_include_pad=count_include_pad,
        )  # fmt: skip
        dx[(slice(None), *place)] = np.sum(y * g, axis=tuple(range(1, g.ndim - 1)))
    return dx


def _padded(x: Array, padding: Pairs, value: float) -> Array:
    return np.pad(x, ((0, 0), *padding, (0, 0)), constant_values=value)


def _counts(size: Sizes, kernel: Sizes, stride: Sizes, dilation: Sizes) -> Sizes:
    return tuple(
        len(range(0, n - d * (k - 1), s))
        for n, k, s, d in zip(size, kernel, stride, dilation, strict=True)
    )


def _windows(
    size: Sizes, kernel: Sizes, stride: Sizes, dilation: Sizes
) -> Iterator[tuple[slice, ...]]:
    """The index of every window of a padded input, in row-major order."""
    starts = [
        [slice(at, at + d * (k - 1) + 1, d) for at in range(0, n - d * (k - 1), s)]
        for n, k, s, d in zip(size, kernel, stride, dilation, strict=True)
    ]
    return itertools.product(*starts)
