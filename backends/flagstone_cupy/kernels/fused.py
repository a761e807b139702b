"""The fused forms that are claimed on a card: the activation where a kernel writes its results."""

from __future__ import annotations

from typing import Any

from flagstone.backend import declines
from flagstone_cupy.kernel import family
from flagstone_cupy.kernels import conv as convolution
from flagstone_cupy.kernels import gemm, norm, pool
from flagstone_cupy.kernels.window import Pairs, Sizes
from flagstone_cupy.launch import Array, contiguous, empty, over

ADD_RELU = family("elementwise.cu", "add_relu", T=("float", "double", "__half", "__nv_bfloat16"))


def linear_relu(x: Array, w: Array, b: Array | None = None, *, precision: str = "exact") -> Array:
    """``relu`` of :func:`~flagstone_cupy.kernels.gemm.linear`."""
    return gemm.linear(x, w, b, precision=precision, activation="relu")


def conv_relu(
    x: Array, w: Array, b: Array | None = None, *, stride: Sizes, padding: Pairs, dilation: Sizes,
    groups: int, precision: str = "exact",
) -> Array:  # fmt: skip
    """``relu`` of :func:`~flagstone_cupy.kernels.conv.conv`."""
    return convolution.conv(
        x, w, b, stride=stride, padding=padding, dilation=dilation, groups=groups,
        precision=precision, activation="relu",
    )  # fmt: skip


@declines
def batch_norm_relu(x: Array, weight: Array, bias: Array, *, eps: float) -> Any:
    """``relu`` of the first output of :func:`~flagstone_cupy.kernels.norm.batch_norm`."""
    return norm.batch_norm(x, weight, bias, eps=eps, activation="relu")


@declines
def axis_norm_relu(x: Array, weight: Array | None, bias: Array | None, **how: Any) -> Any:
    """``relu`` of the first output of :func:`~flagstone_cupy.kernels.norm.axis_norm`."""
    return norm.axis_norm(x, weight, bias, activation="relu", **how)


@declines
def axis_rms_norm_relu(x: Array, weight: Array | None, **how: Any) -> Any:
    """``relu`` of the first output of :func:`~flagstone_cupy.kernels.norm.axis_rms_norm`."""
    return norm.axis_rms_norm(x, weight, activation="relu", **how)


@declines
def max_pool_relu(x: Array, *, kernel: Sizes, stride: Sizes, padding: Pairs) -> Any:
    """``relu`` of the first output of :func:`~flagstone_cupy.kernels.pool.max_pool`."""
    return pool.max_pool(x, kernel=kernel, stride=stride, padding=padding, activation="relu")


@declines
def add_relu(a: Any, b: Any) -> Any:
    """``relu`` of the sum of two arrays, of which one is repeated along the other's first axes."""
    if not hasattr(a, "ndim") or not hasattr(b, "ndim"):
        return NotImplemented
    if a.ndim < b.ndim:
        a, b = b, a
    if a.dtype not in ADD_RELU or a.dtype != b.dtype or a.shape[a.ndim - b.ndim :] != b.shape:
        return NotImplemented
    y = empty(a.shape, a.dtype)
    over(ADD_RELU[a.dtype], y.size, contiguous(a), contiguous(b), y, b.size, y.size)
    return y
