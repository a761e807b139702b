"""The fused forms: the activation is applied in place, so its output needs no memory of its own.

The op's own kernel does the rest, whatever algorithm that takes.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from flagstone.backend import Traits
from flagstone_numpy.kernels import axis_norm as examples
from flagstone_numpy.kernels import conv as convolution
from flagstone_numpy.kernels import linear as products
from flagstone_numpy.kernels import norm, pool
from flagstone_numpy.kernels.activation import sigmoid
from flagstone_numpy.kernels.windows import Array, Pairs, Sizes, Window


def linear_relu(x: Array, w: Array, b: Array | None = None) -> Array:
    """``relu`` of :func:`~flagstone_numpy.kernels.linear.linear`."""
    return _relu(products.linear(x, w, b))


def linear_sigmoid(x: Array, w: Array, b: Array | None = None) -> Array:
    """``sigmoid`` of :func:`~flagstone_numpy.kernels.linear.linear`."""
    return sigmoid(products.linear(x, w, b))


def linear_tanh(x: Array, w: Array, b: Array | None = None) -> Array:
    """``tanh`` of :func:`~flagstone_numpy.kernels.linear.linear`."""
    y = products.linear(x, w, b)
    return np.tanh(y, out=y)


@Traits(into=functools.partial(convolution.conv_into, relu=True))
def conv_relu(
    x: Array, w: Array, b: Array | None = None, *, stride: Sizes, padding: Pairs, dilation: Sizes,
    groups: int,
) -> Array:  # fmt: skip
    """``relu`` of :func:`~flagstone_numpy.kernels.conv.conv`."""
    window = Window(w.shape[1:-1], stride, padding, dilation)
    return convolution.forward(convolution.ALGORITHMS, x, w, b, window, groups, relu=True)


def batch_norm_relu(
    x: Array, weight: Array, bias: Array, *, eps: float
) -> tuple[Array, Array, Array]:
    """``relu`` of :func:`~flagstone_numpy.kernels.norm.batch_norm`'s first output."""
    y, mean, var = norm.batch_norm(x, weight, bias, eps=eps)
    return _relu(y), mean, var


def axis_norm_relu(x: Array, weight: Array | None, bias: Array | None, **how: Any) -> Any:
    """``relu`` of :func:`~flagstone_numpy.kernels.axis_norm.axis_norm`'s first output."""
    return examples.axis_norm(x, weight, bias, relu=True, **how)


def axis_rms_norm_relu(x: Array, weight: Array | None, **how: Any) -> Any:
    """``relu`` of :func:`~flagstone_numpy.kernels.axis_norm.axis_rms_norm`'s first output."""
    return examples.axis_rms_norm(x, weight, relu=True, **how)


def add_relu(a: Any, b: Any) -> Array:
    """``relu`` of a sum."""
    return _relu(np.add(a, b))


@Traits(into=functools.partial(pool.pool_into, relu=True))
def max_pool_relu(x: Array, *, kernel: Sizes, stride: Sizes, padding: Pairs) -> tuple[Array, Array]:
    """``relu`` of :func:`~flagstone_numpy.kernels.pool.max_pool`'s first output."""
    y, index = pool.max_pool(x, kernel=kernel, stride=stride, padding=padding)
    return _relu(y), index


def _relu(y: Array) -> Array:
    return np.maximum(y, 0, out=y if y.ndim else None)  # NumPy gives scalars for shape ()
