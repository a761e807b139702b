"""Transposed convolution: the transpose of :func:`flagstone.ops.conv2d` in its input.

Weights are (in, *kernel, out / groups): those of the convolution from "out" to "in" channels that
this is the transpose of. Every input value adds its kernel, times itself, to the output:
``y[n, p*stride + r*dilation - before, k] += x[n, p, c] * w[c, r, k]``.
"""

from __future__ import annotations

from typing import Any

from flagstone.errors import InputError, ShapeError
from flagstone.ops.conv import Sizes, check_filters, conv_input_grad
from flagstone.ops.shape import concatenate
from flagstone.ops.window import Lengths, Pairs, channels_hint, pairs, per_axis
from flagstone.tensors import Tensor

Numbers = int | tuple[int, ...] | tuple[tuple[int, int], ...]


def conv_transpose1d(
    x: Tensor, w: Tensor, b: Tensor | None = None, *, stride: Lengths = 1, padding: Numbers = 0,
    output_padding: Lengths = 0, groups: int = 1, dilation: Lengths = 1,
) -> Tensor:  # fmt: skip
    """As :func:`conv_transpose2d` for signals: x (n, length, in), w (in, kernel, out / groups)."""
    return _transposed("conv_transpose1d", 1, x, w, b, stride, padding, output_padding, groups,
                       dilation)  # fmt: skip


def conv_transpose2d(
    x: Tensor, w: Tensor, b: Tensor | None = None, *, stride: Lengths = 1, padding: Numbers = 0,
    output_padding: Lengths = 0, groups: int = 1, dilation: Lengths = 1,
) -> Tensor:  # fmt: skip
    """Transposed 2-d convolution of images with a bank of kernels (Zeiler et al., CVPR 2010).

    Args:
        x: (n, h, w, in), floating.
        w: (in, kh, kw, out / groups), of x's dtype.
        b: (out,) or ``None``.
        stride: how far apart the kernels of neighbours are: a positive integer, or two.
        padding: how much is cut off the output: a number, one per axis, or (before, after) per
            axis.
        output_padding: how much longer the output is made at its end, less than stride or dilation:
            a strided convolution gives inputs of several sizes the same output size.
        groups: into how many independent parts the channels fall.
        dilation: a positive integer, or two.

    Returns:
        (n, p, q, out) with
        ``p = (h - 1)*stride - before - after + dilation*(kh - 1) + output_padding + 1``.

    Raises:
        ShapeError: ranks, channels or sizes do not fit together, or a spatial axis is empty.
        DTypeError: a dtype is not floating, or they differ.
        InputError: an argument is out of range.
    """
    return _transposed("conv_transpose2d", 2, x, w, b, stride, padding, output_padding, groups,
                       dilation)  # fmt: skip


def conv_transpose3d(
    x: Tensor, w: Tensor, b: Tensor | None = None, *, stride: Lengths = 1, padding: Numbers = 0,
    output_padding: Lengths = 0, groups: int = 1, dilation: Lengths = 1,
) -> Tensor:  # fmt: skip
    """As :func:`conv_transpose2d` for volumes: x (n, d, h, w, in), w (in, *kernel, out / groups)"""
    return _transposed("conv_transpose3d", 3, x, w, b, stride, padding, output_padding, groups,
                       dilation)  # fmt: skip


def _transposed(
    name: str, d: int, x: Tensor, w: Tensor, b: Tensor | None, stride: Any, padding: Any,
    output_padding: Any, groups: int, dilation: Any,
) -> Tensor:  # fmt: skip
    """Check the arguments of a ``d``-dimensional transposed convolution, resolve and apply."""
    check_filters(name, d, x, w, b, groups, "(in, {d} of kernel, out/groups)", "input")
    groups = int(groups)
    if x.shape[-1] != w.shape[0]:
        raise ShapeError(
            f"{name}: weight expects {w.shape[0]} input channels (its first axis); "
            f"got x of shape {x.shape}, whose last axis is {x.shape[-1]}"
            f"{channels_hint(x, w.shape[0])}"
        )
    out_channels = w.shape[-1] * groups
    if b is not None and b.shape != (out_channels,):
        raise ShapeError(f"{name}: bias expected shape {(out_channels,)}; got {b.shape}")
    strides = per_axis(name, "stride", stride, d)
    dilations = per_axis(name, "dilation", dilation, d)
    cut = pairs(name, padding, d)
    extra = per_axis(name, "output_padding", output_padding, d, least=0)
    if any(e >= max(s, a) for e, s, a in zip(extra, strides, dilations, strict=True)):
        raise InputError(
            f"{name}: output_padding expected less than stride {strides} or dilation {dilations}; "
            f"got {output_padding!r}"
        )
    size = _size(x.shape[1:-1], w.shape[1:-1], strides, cut, dilations, extra)
    if min(x.shape[1:-1]) < 1 or min(size) < 1:
        raise ShapeError(
            f"{name}: expected an input of which padding {cut} leaves something; got size "
            f"{x.shape[1:-1]}, which gives {size}"
        )
    for axis, (e, s) in enumerate(zip(extra, strides, strict=True), 1):
        if e >= s:  # such an output is that of a longer convolution: zeros for its positions
            x = _with_zeros(x, axis, e // s)
    y: Tensor = conv_input_grad(
        x, w, size=size, stride=strides, padding=cut, dilation=dilations, groups=groups
    )
    return y if b is None else y + b


def _size(
    size: Sizes, kernel: Sizes, stride: Sizes, cut: Pairs, dilation: Sizes, extra: Sizes
) -> Sizes:
    return tuple(
        (n - 1) * s - lo - hi + a * (k - 1) + e + 1
        for n, k, s, (lo, hi), a, e in zip(size, kernel, stride, cut, dilation, extra, strict=True)
    )


def _with_zeros(x: Tensor, axis: int, count: int) -> Tensor:
    shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
    zeros = Tensor(x.backend.xp.zeros(shape, dtype=x.dtype), x.backend)
    y: Tensor = concatenate(x, zeros, axis=axis)
    return y
