"""Maximum and average pooling over any number of spatial axes; images are (n, *spatial, c).

These are the ops, which take every argument resolved; ``pooling.py`` has the functions for users.
"""

from __future__ import annotations

import math
from typing import Any

from flagstone.ops.door import op
from flagstone.ops.window import Pairs, inner, pad, taps
from flagstone.tensors import Tensor

Sizes = tuple[int, ...]


@op
def max_pool(xp: Any, x: Any, *, kernel: Sizes, stride: Sizes, padding: Pairs) -> Any:
    """The op behind ``max_pool1d``, 2d and 3d.

    Returns:
        The maxima (n, *out, c), and which place of the window each came from: the row-major number
        of the first maximum, uint8 (int32 for windows of more than 255 places). NaN wins.
    """
    out = _out(x.shape[1:-1], kernel, stride, padding)
    padded = pad(xp, x, padding, -math.inf)
    index_dtype = xp.uint8 if math.prod(kernel) <= 255 else xp.int32
    best, index = None, None
    for number, (_, under) in enumerate(taps(kernel, stride, _ones(kernel), out)):
        here = padded[under]
        if best is None:
            best = here
            index = xp.zeros(here.shape, dtype=index_dtype)
            continue
        wins = (here > best) | (xp.isnan(here) & ~xp.isnan(best))
        best = xp.where(wins, here, best)
        index = xp.where(wins, xp.full((), number, dtype=index_dtype), index)
    return best, index


@max_pool.pullback
def _(dys: Any, ys: Any, x_shape: Any, kernel: Sizes, stride: Sizes, padding: Pairs) -> Any:
    how = {"size": x_shape[1:-1], "kernel": kernel, "stride": stride, "padding": padding}
    return max_pool_grad(dys[0], ys[1].detach(), **how)


@op
def max_pool_grad(
    xp: Any, g: Any, index: Any, *, size: Sizes, kernel: Sizes, stride: Sizes, padding: Pairs
) -> Any:
    """Zeros of (n, *size, c) with each value of ``g`` added where its maximum came from."""
    longer = tuple(n + lo + hi for n, (lo, hi) in zip(size, padding, strict=True))
    dx = xp.zeros((g.shape[0], *longer, g.shape[-1]), dtype=g.dtype)
    for number, (_, under) in enumerate(taps(kernel, stride, _ones(kernel), g.shape[1:-1])):
        dx[under] = dx[under] + xp.where(index == number, g, 0)
    return dx[inner(size, padding)]


@max_pool_grad.pullback
def _(dy: Tensor, index: Tensor, kernel: Sizes, stride: Sizes, padding: Pairs) -> Any:
    return (max_pool_pick(dy, index, kernel=kernel, stride=stride, padding=padding), None)


@op
def max_pool_pick(
    xp: Any, x: Any, index: Any, *, kernel: Sizes, stride: Sizes, padding: Pairs
) -> Any:
    """The values of ``x`` (n, *size, c) at recorded places: the transpose of max_pool_grad."""
    padded = pad(xp, x, padding)
    y = xp.zeros(index.shape, dtype=x.dtype)
    for number, (_, under) in enumerate(taps(kernel, stride, _ones(kernel), index.shape[1:-1])):
        y = xp.where(index == number, padded[under], y)
    return y


@max_pool_pick.pullback
def _(dy: Tensor, x_shape: Any, index: Tensor, kernel: Sizes, stride: Sizes, padding: Pairs) -> Any:
    how = {"size": x_shape[1:-1], "kernel": kernel, "stride": stride, "padding": padding}
    return (max_pool_grad(dy, index, **how), None)


@op
def avg_pool(
    xp: Any, x: Any, *, kernel: Sizes, stride: Sizes, padding: Pairs, count_include_pad: bool
) -> Any:
    """The op behind ``avg_pool1d``, 2d and 3d."""
    out = _out(x.shape[1:-1], kernel, stride, padding)
    padded = pad(xp, x, padding)
    y = xp.zeros((x.shape[0], *out, x.shape[-1]), dtype=x.dtype)
    for _, under in taps(kernel, stride, _ones(kernel), out):
        y = y + padded[under]
    return y / _counts(xp, x, x.shape[1:-1], kernel, stride, padding, count_include_pad)


@avg_pool.pullback
def _(dy: Tensor, x_shape: Any, kernel: Sizes, stride: Sizes, padding: Pairs,
      count_include_pad: bool) -> Any:  # fmt: skip
    how = {"kernel": kernel, "stride": stride, "padding": padding}
    return avg_pool_grad(dy, size=x_shape[1:-1], count_include_pad=count_include_pad, **how)


@op
def avg_pool_grad(
    xp: Any, g: Any, *, size: Sizes, kernel: Sizes, stride: Sizes, padding: Pairs,
    count_include_pad: bool,
) -> Any:  # fmt: skip
    """The transpose of :func:`avg_pool`: (n, *out, c) -> (n, *size, c)."""
    longer = tuple(n + lo + hi for n, (lo, hi) in zip(size, padding, strict=True))
    dx = xp.zeros((g.shape[0], *longer, g.shape[-1]), dtype=g.dtype)
    share = g / _counts(xp, g, size, kernel, stride, padding, count_include_pad)
    for _, under in taps(kernel, stride, _ones(kernel), g.shape[1:-1]):
        dx[under] = dx[under] + share
    return dx[inner(size, padding)]


@avg_pool_grad.pullback
def _(dy: Tensor, kernel: Sizes, stride: Sizes, padding: Pairs, count_include_pad: bool) -> Any:
    how = {"kernel": kernel, "stride": stride, "padding": padding}
    return avg_pool(dy, count_include_pad=count_include_pad, **how)


def _out(size: Any, kernel: Sizes, stride: Sizes, padding: Pairs) -> Sizes:
    axes = zip(size, kernel, stride, padding, strict=True)
    return tuple((n + lo + hi - k) // s + 1 for n, k, s, (lo, hi) in axes)


def _ones(kernel: Sizes) -> Sizes:
    return (1,) * len(kernel)


def _counts(
    xp: Any, like: Any, size: Sizes, kernel: Sizes, stride: Sizes, padding: Pairs, all_of_it: bool
) -> Any:
    """How many values each window's sum is divided by: a number, or (1, *out, 1)."""
    if all_of_it or not any(lo or hi for lo, hi in padding):
        return float(math.prod(kernel))
    out = _out(size, kernel, stride, padding)
    ones = pad(xp, xp.ones((1, *size, 1), dtype=like.dtype), padding)
    total = xp.zeros((1, *out, 1), dtype=like.dtype)
    for _, under in taps(kernel, stride, _ones(kernel), out):
        total = total + ones[under]
    return total
