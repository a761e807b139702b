"""Maximum and average pooling over any number of spatial axes; images are (n, *spatial, c)."""

from __future__ import annotations

import math
from typing import Any

from flagstone.errors import InputError, ShapeError
from flagstone.ops.checks import floating, tensors
from flagstone.ops.door import op
from flagstone.ops.window import (
    Lengths,
    Padding,
    Pairs,
    Window,
    inner,
    pad,
    per_axis,
    resolve,
    taps,
)  # fmt: skip
from flagstone.tensors import Tensor

Sizes = tuple[int, ...]


@op
def max_pool(xp: Any, x: Any, *, kernel: Sizes, stride: Sizes, padding: Pairs) -> Any:
    """The op behind :func:`max_pool2d`.

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
        index = xp.where(wins, xp.asarray(number, dtype=index_dtype), index)
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
    """The op behind :func:`avg_pool2d`."""
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


def max_pool2d(
    x: Tensor, kernel: Lengths, *, stride: Lengths | None = None, padding: Padding = 0
) -> Tensor:
    """The maximum of every window of an image.

    Args:
        x: (n, h, w, c), floating.
        kernel: the window's height and width, or one number for both.
        stride: from window to window; ``kernel`` by default.
        padding: as in :func:`conv2d`; padded places never win.

    Returns:
        (n, p, q, c). The gradient of a window goes to its first maximum in row-major order.

    Raises:
        ShapeError: ``x`` is no batch of images, or too small for one window.
        InputError: an argument is out of range, or a padding reaches past half of the window.
    """
    sizes, window = _window("max_pool2d", 2, x, kernel, stride, padding)
    how = {"kernel": sizes, "stride": window.stride, "padding": window.padding}
    y: Tensor = max_pool(x, **how)[0]
    return y


def avg_pool2d(
    x: Tensor,
    kernel: Lengths,
    *,
    stride: Lengths | None = None,
    padding: Padding = 0,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of every window of an image.

    Args:
        x: (n, h, w, c), floating.
        kernel: the window's height and width, or one number for both.
        stride: from window to window; ``kernel`` by default.
        padding: as in :func:`conv2d`.
        count_include_pad: divide by the window's size (PyTorch's default) rather than by how many
            real values lie under it (what TensorFlow's ``"SAME"`` does).

    Returns:
        (n, p, q, c).

    Raises:
        ShapeError: ``x`` is no batch of images, or too small for one window.
        InputError: an argument is out of range, or a padding reaches past half of the window.
    """
    sizes, window = _window("avg_pool2d", 2, x, kernel, stride, padding)
    how = {"kernel": sizes, "stride": window.stride, "padding": window.padding}
    y: Tensor = avg_pool(x, count_include_pad=count_include_pad, **how)
    return y


def _window(
    name: str, d: int, x: Tensor, kernel: Any, stride: Any, padding: Any
) -> tuple[Sizes, Window]:
    tensors(name, x=x)
    floating(name, x=x)
    if x.ndim != d + 2:
        raise ShapeError(
            f"{name}: x expected {d + 2} axes (n, {d} spatial, channels); got shape {x.shape}"
        )
    sizes = per_axis(name, "kernel", kernel, d)
    step = sizes if stride is None else stride
    window = resolve(name, x.shape[1:-1], sizes, step, padding, 1)
    if any(max(pair) * 2 > k for pair, k in zip(window.padding, sizes, strict=True)):
        raise InputError(
            f"{name}: padding expected at most half of the kernel {sizes}, so that every window "
            f"holds a real value; got {padding!r}"
        )
    return sizes, window


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
