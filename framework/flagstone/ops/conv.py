"""Convolution over any number of spatial axes, and its two transposes.

Layout: images (n, *spatial, channels), weights (out, *kernel, in / groups). As in every
deep-learning library "convolution" is cross-correlation:
``y[n, p, k] = b[k] + sum over (r, c) of x[n, p*stride + r*dilation - before, c] * w[k, r, c]``.

Convolution is linear in ``x`` and in ``w``; with its transposes in either, the three ops are
closed under differentiation: the pullback of each is written in the other two, to any order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from flagstone.errors import InputError, ShapeError
from flagstone.ops.checks import floating, same_dtype, tensors
from flagstone.ops.door import op
from flagstone.ops.reduction import sum as sum_
from flagstone.ops.window import (
    Lengths,
    Padding,
    Pairs,
    channels_hint,
    inner,
    is_integer,
    pad,
    resolve,
    taps,
)
from flagstone.tape import state
from flagstone.tensors import Tensor

Sizes = tuple[int, ...]


@op
def conv(
    xp: Any, x: Any, w: Any, b: Any = None, *, stride: Sizes, padding: Pairs, dilation: Sizes,
    groups: int,
) -> Any:  # fmt: skip
    """The op behind :func:`conv2d`, for resolved arguments and any number of spatial axes."""
    kernel = w.shape[1:-1]
    out = positions(x.shape[1:-1], kernel, stride, padding, dilation)
    padded = pad(xp, x, padding)
    y = xp.zeros((x.shape[0], *out, w.shape[0]), dtype=x.dtype)
    for place, under in taps(kernel, stride, dilation, out):
        y = y + _product(xp, padded[under], _tap(w, place), groups)
    return y if b is None else y + b


@conv.pullback
def _(dy: Tensor, x_for_w: Any, x_shape: Any, w: Tensor, need: Any, stride: Any, padding: Any,
      dilation: Any, groups: int) -> Any:  # fmt: skip
    how = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    to_bias, both = len(need) > 2 and need[2], "conv_weight_bias_grad" in dy.backend.kernels
    if need[1] and to_bias and both and not state.grad_enabled:
        dw, db = conv_weight_bias_grad(dy, x_for_w, kernel=w.shape[1:-1], **how)
    else:
        dw = conv_weight_grad(dy, x_for_w, kernel=w.shape[1:-1], **how) if need[1] else None
        db = sum_(dy, axis=tuple(range(dy.ndim - 1))) if to_bias else None
    return conv_input_grad(dy, w, size=x_shape[1:-1], **how) if need[0] else None, dw, db


@op
def conv_input_grad(
    xp: Any, g: Any, w: Any, *, size: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes,
    groups: int,
) -> Any:  # fmt: skip
    """The transpose of conv in ``x``: (n, *out, k), (k, *kernel, c/groups) -> (n, *size, c).

    This is also the forward pass of a transposed convolution.
    """
    longer = tuple(n + lo + hi for n, (lo, hi) in zip(size, padding, strict=True))
    dx = xp.zeros((g.shape[0], *longer, w.shape[-1] * groups), dtype=g.dtype)
    for place, under in taps(w.shape[1:-1], stride, dilation, g.shape[1:-1]):
        dx[under] = dx[under] + _product_back(xp, g, _tap(w, place), groups)
    return dx[inner(size, padding)]


@conv_input_grad.pullback
def _(dy: Tensor, g_for_w: Any, w: Tensor, need: Any, stride: Any, padding: Any, dilation: Any,
      groups: int) -> Any:  # fmt: skip
    how = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return (
        conv(dy, w, **how) if need[0] else None,
        conv_weight_grad(g_for_w, dy, kernel=w.shape[1:-1], **how) if need[1] else None,
    )


@op
def conv_weight_grad(
    xp: Any, g: Any, x: Any, *, kernel: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes,
    groups: int,
) -> Any:  # fmt: skip
    """The transpose of conv in ``w``: (n, *out, k), (n, *size, c) -> (k, *kernel, c/groups)."""
    padded = pad(xp, x, padding)
    k, c = g.shape[-1], x.shape[-1]
    rows = math.prod(g.shape[:-1])
    left = xp.permute_dims(xp.reshape(g, (rows, groups, k // groups)), (1, 2, 0))
    parts = []
    for _, under in taps(kernel, stride, dilation, g.shape[1:-1]):
        right = xp.reshape(padded[under], (rows, groups, c // groups))
        product = xp.matmul(left, xp.permute_dims(right, (1, 0, 2)))  # (groups, k/g, c/g)
        parts.append(xp.reshape(product, (k, c // groups)))
    return xp.reshape(xp.stack(parts, axis=1), (k, *kernel, c // groups))


@conv_weight_grad.pullback
def _(dy: Tensor, g_for_x: Any, x_for_g: Any, x_shape: Any, need: Any, stride: Any, padding: Any,
      dilation: Any, groups: int) -> Any:  # fmt: skip
    how = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return (
        conv(x_for_g, dy, **how) if need[0] else None,
        conv_input_grad(g_for_x, dy, size=x_shape[1:-1], **how) if need[1] else None,
    )


@op(differentiable=False)
def conv_weight_bias_grad(
    xp: Any, g: Any, x: Any, *, kernel: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes,
    groups: int,
) -> Any:  # fmt: skip
    """:func:`conv_weight_grad`, and the sum of ``g`` over all axes but the last, (k,): the
    gradients of a convolution's weight and bias, which read the same array."""
    dw = conv_weight_grad.generic(
        xp, g, x, kernel=kernel, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    return dw, xp.sum(g, axis=tuple(range(g.ndim - 1)), dtype=g.dtype)


def conv1d(
    x: Tensor, w: Tensor, b: Tensor | None = None, *, stride: Lengths = 1, padding: Padding = 0,
    dilation: Lengths = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """As :func:`conv2d` for signals: x (n, length, in), w (out, kernel, in / groups)."""
    return convolve("conv1d", 1, x, w, b, stride, padding, dilation, groups)


def conv2d(
    x: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    *,
    stride: Lengths = 1,
    padding: Padding = 0,
    dilation: Lengths = 1,
    groups: int = 1,
) -> Tensor:
    """2-d convolution of images with a bank of kernels.

    Args:
        x: (n, h, w, in), floating.
        w: (out, kh, kw, in / groups), of x's dtype.
        b: (out,) or ``None``.
        stride: a positive integer, or two as a tuple or list.
        padding: ``"same"``, ``"valid"``, a number, one per axis, or (before, after) per axis.
        dilation: a positive integer, or two.
        groups: into how many independent parts the channels fall; ``in`` for depthwise.

    Returns:
        (n, p, q, out) with ``p = (h + before + after - dilation*(kh - 1) - 1)//stride + 1``.

    Raises:
        ShapeError: ranks, channels or sizes do not fit together, or a spatial axis is empty.
        DTypeError: a dtype is not floating, or they differ.
        InputError: an argument is out of range.
    """
    return convolve("conv2d", 2, x, w, b, stride, padding, dilation, groups)


def conv3d(
    x: Tensor, w: Tensor, b: Tensor | None = None, *, stride: Lengths = 1, padding: Padding = 0,
    dilation: Lengths = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """As :func:`conv2d` for volumes: x (n, d, h, w, in), w (out, kd, kh, kw, in / groups)."""
    return convolve("conv3d", 3, x, w, b, stride, padding, dilation, groups)


def convolve(
    name: str, d: int, x: Tensor, w: Tensor, b: Tensor | None, stride: Any, padding: Any,
    dilation: Any, groups: int, apply: Callable[..., Any] = conv,
) -> Tensor:  # fmt: skip
    """Check the arguments of a ``d``-dimensional convolution, resolve them and apply the op.

    Args:
        apply: ``conv``, or a fused form of it, or a function with its arguments.
    """
    check_filters(name, d, x, w, b, groups, "(out, {d} of kernel, in/groups)", "output")
    groups = int(groups)
    if x.shape[-1] != w.shape[-1] * groups:
        raise ShapeError(
            f"{name}: weight expects {w.shape[-1] * groups} input channels"
            f"{f' ({groups} groups of {w.shape[-1]})' if groups > 1 else ''}; "
            f"got x of shape {x.shape}, whose last axis is {x.shape[-1]}, "
            f"and weight of shape {w.shape}{channels_hint(x, w.shape[-1] * groups)}"
        )
    if b is not None and b.shape != w.shape[:1]:
        raise ShapeError(f"{name}: bias expected shape {w.shape[:1]}; got {b.shape}")
    window = resolve(name, x.shape[1:-1], w.shape[1:-1], stride, padding, dilation)
    y: Tensor = apply(
        x, w, b, stride=window.stride, padding=window.padding, dilation=window.dilation,
        groups=groups,
    )  # fmt: skip
    return y


def check_filters(
    name: str, d: int, x: Any, w: Any, b: Any, groups: Any, layout: str, first: str
) -> None:
    """What every convolution, transposed or not, asks of dtypes, ranks and groups.

    Args:
        layout: of the weight, with ``{d}`` for the number of spatial axes.
        first: which channels the weight's first axis counts, ``"output"`` or ``"input"``.
    """
    tensors(name, x=x, weight=w, **({} if b is None else {"bias": b}))
    floating(name, x=x)
    same_dtype(name, x=x, weight=w, bias=b)
    if x.ndim != d + 2:
        raise ShapeError(
            f"{name}: x expected {d + 2} axes (n, {d} spatial, channels); got shape {x.shape}"
        )
    if w.ndim != d + 2:
        raise ShapeError(
            f"{name}: weight expected {d + 2} axes {layout.format(d=d)}; got {w.shape}"
        )
    if 0 in w.shape:
        raise ShapeError(f"{name}: weight expected at least one value; got shape {w.shape}")
    if not is_integer(groups) or groups < 1 or w.shape[0] % groups:
        raise InputError(
            f"{name}: groups expected a positive divisor of {w.shape[0]} {first} channels; "
            f"got {groups!r}"
        )


def positions(size: Any, kernel: Any, stride: Sizes, padding: Pairs, dilation: Sizes) -> Sizes:
    """How many windows there are along each axis."""
    axes = zip(size, kernel, stride, padding, dilation, strict=True)
    return tuple((n + lo + hi - a * (k - 1) - 1) // s + 1 for n, k, s, (lo, hi), a in axes)


def _tap(w: Any, place: Sizes) -> Any:
    return w[(slice(None), *place, slice(None))]  # (k, c/groups)


def _product(xp: Any, x: Any, tap: Any, groups: int) -> Any:
    """One tap's part of the output: (n, *p, c), (k, c/groups) -> (n, *p, k)."""
    if groups == 1:
        return xp.matmul(x, tap.T)
    k, per_group = tap.shape
    rows = math.prod(x.shape[:-1])
    left = xp.permute_dims(xp.reshape(x, (rows, groups, per_group)), (1, 0, 2))
    right = xp.permute_dims(xp.reshape(tap, (groups, k // groups, per_group)), (0, 2, 1))
    y = xp.permute_dims(xp.matmul(left, right), (1, 0, 2))  # (rows, groups, k/g)
    return xp.reshape(y, (*x.shape[:-1], k))


def _product_back(xp: Any, g: Any, tap: Any, groups: int) -> Any:
    """The transpose of :func:`_product` in ``x``: (n, *p, k), (k, c/groups) -> (n, *p, c)."""
    if groups == 1:
        return xp.matmul(g, tap)
    k, per_group = tap.shape
    rows = math.prod(g.shape[:-1])
    left = xp.permute_dims(xp.reshape(g, (rows, groups, k // groups)), (1, 0, 2))
    right = xp.reshape(tap, (groups, k // groups, per_group))
    dx = xp.permute_dims(xp.matmul(left, right), (1, 0, 2))
    return xp.reshape(dx, (*g.shape[:-1], per_group * groups))
