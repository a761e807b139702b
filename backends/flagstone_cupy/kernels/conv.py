"""Convolution, its input gradient and its weight gradient: which kernel does the work.

| case | kernels |
|---|---|
| one filter a channel | depthwise.cu |
| few input channels, forward; and few weights a filter, weight gradient | conv_narrow.cu |
| 16-bit types, and float32 as tf32; channels in multiples of 16 bytes | conv_tensor.cu |
| else | conv_simt.cu |

Kernels of 1 with stride 1 are plain products. Groups, dilation, any stride, and one, two or three
axes are all the same to the kernels; window.cuh tells how. Arguments are taken as valid: the ops
check them.
"""

from __future__ import annotations

import functools
import math

from flagstone_cupy.kernels import depthwise, narrow, tiles
from flagstone_cupy.kernels.products import check_precision, gather, weight_product
from flagstone_cupy.kernels.window import (
    POINTS,
    Axis,
    Layout,
    Pairs,
    Sizes,
    forward_axes,
    input_grad_axes,
)
from flagstone_cupy.launch import Array, contiguous, empty


def conv(
    x: Array, w: Array, b: Array | None = None, *, stride: Sizes, padding: Pairs, dilation: Sizes,
    groups: int, precision: str = "exact", activation: str | None = None,
) -> Array:  # fmt: skip
    """See :func:`flagstone.ops.conv.conv`.

    Arguments:
        precision: ``"exact"``, or ``"tf32"``: products of float32 may be rounded to 10 bits.
        activation: ``None`` or ``"relu"``, of the result.
    """
    check_precision("conv", precision)
    x, w, b = contiguous(x), contiguous(w), None if b is None else contiguous(b)
    layout, shape = _forward("conv", x.shape, w.shape, stride, padding, dilation, groups)
    y = empty(shape, x.dtype)
    if depthwise.serves(tiles.kind(x), x.shape[-1], w.shape, groups):
        depthwise.forward(layout, x, w, b, y, activation)
    elif narrow.serves(tiles.kind(x), x.shape[-1], w.shape, groups):
        narrow.forward(layout, x, w, b, y, activation)
    else:
        gather(layout, x, w, b, y, across=False, precision=precision, activation=activation)
    return y


def conv_input_grad(
    g: Array, w: Array, *, size: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes,
    groups: int, precision: str = "exact",
) -> Array:  # fmt: skip
    """See :func:`flagstone.ops.conv.conv_input_grad`."""
    check_precision("conv_input_grad", precision)
    g, w = contiguous(g), contiguous(w)
    layout = _input_grad(g.shape, w.shape, size, stride, padding, dilation, groups)
    dx = empty((g.shape[0], *size, w.shape[-1] * groups), g.dtype)
    if depthwise.serves(tiles.kind(g), dx.shape[-1], w.shape, groups):
        depthwise.forward(layout, g, w, None, dx, None)
    else:
        gather(layout, g, w, None, dx, across=True, precision=precision)
    return dx


def conv_weight_grad(
    g: Array, x: Array, *, kernel: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes,
    groups: int, precision: str = "exact",
) -> Array:  # fmt: skip
    """See :func:`flagstone.ops.conv.conv_weight_grad`."""
    dw = empty((g.shape[-1], *kernel, x.shape[-1] // groups), g.dtype)
    _weight_grad(g, x, dw, None, stride, padding, dilation, groups, precision)
    return dw


def conv_weight_bias_grad(
    g: Array, x: Array, *, kernel: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes,
    groups: int, precision: str = "exact",
) -> tuple[Array, Array]:  # fmt: skip
    """See :func:`flagstone.ops.conv.conv_weight_bias_grad`, which reads g no second time."""
    dw = empty((g.shape[-1], *kernel, x.shape[-1] // groups), g.dtype)
    db = empty((g.shape[-1],), g.dtype)
    _weight_grad(g, x, dw, db, stride, padding, dilation, groups, precision)
    return dw, db


def _weight_grad(
    g: Array, x: Array, dw: Array, db: Array | None, stride: Sizes, padding: Pairs,
    dilation: Sizes, groups: int, precision: str,
) -> None:  # fmt: skip
    """Write the gradient of the weights and, unless it is ``None``, of the bias."""
    check_precision("conv_weight_grad", precision)
    g, x = contiguous(g), contiguous(x)
    layout, _ = _forward("conv_weight_grad", x.shape, dw.shape, stride, padding, dilation, groups)
    if depthwise.serves(tiles.kind(x), x.shape[-1], dw.shape, groups):
        depthwise.weight_grad(layout, g, x, dw, db)
    elif narrow.serves_weight_grad(x.shape[-1], dw.shape, groups):
        narrow.weight_grad(layout, g, x, dw, db)
    else:
        weight_product(layout, g, x, dw, db, precision=precision)


@functools.lru_cache(maxsize=1024)
def _forward(
    name: str, x: Sizes, w: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes, groups: int
) -> tuple[Layout, Sizes]:
    """Where the operands of a convolution lie, and the shape of its output."""
    axes = forward_axes(x[1:-1], w[1:-1], stride, padding, dilation)
    shape = (x[0], *(axis.out_size for axis in axes[-len(stride) :]), w[0])
    return _layout(name, axes, x[0], (x[-1], w[-1]), w, (w[0], w[0] // groups), groups), shape


@functools.lru_cache(maxsize=1024)
def _input_grad(
    g: Sizes, w: Sizes, size: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes, groups: int
) -> Layout:
    axes = input_grad_axes(g[1:-1], size, w[1:-1], stride, padding, dilation)
    x, y = (w[0], w[0] // groups), (w[-1] * groups, w[-1])
    return _layout("conv_input_grad", axes, g[0], x, w, y, groups)


def _layout(
    name: str, axes: tuple[Axis, ...], images: int, x: tuple[int, int], w: Sizes,
    y: tuple[int, int], groups: int,
) -> Layout:  # fmt: skip
    """Every place is an image of its own, where kernels are 1, strides 1, and nothing is padded."""
    if all(
        a.kernel == a.step == a.out_step == len(a.phases) == 1
        and a.size == a.out_size
        and a.phases[0].first == 0
        for a in axes
    ):
        images, axes = images * math.prod(a.size for a in axes), POINTS
    taps, c = math.prod(w[1:-1]), w[-1]
    weights = (taps * c, c, math.prod(w) // groups)
    return Layout(name, axes, images, x[1], y[1], groups, x, weights, y)
