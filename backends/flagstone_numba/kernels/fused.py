"""The fused forms of what is compiled here, with the activation in place on all threads."""

from __future__ import annotations

from typing import Any

import numpy as np

from flagstone.backend import declines
from flagstone_numba.kernels import conv as convolution
from flagstone_numba.kernels import norm as examples
from flagstone_numba.kernels import pool
from flagstone_numba.kernels.elementwise import relu_in_place, relu_into
from flagstone_numba.kernels.flat import is_large
from flagstone_numpy.kernels import conv as numpys
from flagstone_numpy.kernels import linear as products
from flagstone_numpy.kernels import norm
from flagstone_numpy.kernels.windows import Array, Pairs, Sizes


def linear_relu(x: Array, w: Array, b: Array | None = None) -> Array:
    """``relu`` of NumPy's product."""
    return relu_in_place(products.linear(x, w, b))


def _linear_relu_into(y: Array, x: Array, w: Array, b: Array | None = None) -> None:
    np.matmul(x, w.T, out=y)
    if b is not None:
        y += b
    relu_in_place(y)


linear_relu.into, linear_relu.serves = _linear_relu_into, is_large  # type: ignore[attr-defined]  # it may


@declines
def conv_relu(
    x: Array, w: Array, b: Array | None = None, *, stride: Sizes, padding: Pairs, dilation: Sizes,
    groups: int,
) -> Any:  # fmt: skip
    """``relu`` of :func:`~flagstone_numba.kernels.conv.conv`."""
    how: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}
    y = convolution.conv(x, w, b, groups=groups, **how)
    return y if y is NotImplemented else relu_in_place(y)


def _conv_relu_into(out: Array, x: Array, w: Array, b: Array | None = None, **how: Any) -> None:
    y = convolution.conv(x, w, b, **how)
    relu_into(out, numpys.conv(x, w, b, **how) if y is NotImplemented else y)


conv_relu.into = _conv_relu_into  # type: ignore[attr-defined]  # it may


def batch_norm_relu(
    x: Array, weight: Array, bias: Array, *, eps: float
) -> tuple[Array, Array, Array]:
    """``relu`` of NumPy's first output."""
    y, mean, var = norm.batch_norm(x, weight, bias, eps=eps)
    return relu_in_place(y), mean, var


@declines
def axis_norm_relu(x: Array, weight: Array | None, bias: Array | None, **how: Any) -> Any:
    """``relu`` of :func:`~flagstone_numba.kernels.norm.axis_norm`'s first output."""
    found = examples.axis_norm(x, weight, bias, **how)
    return found if found is NotImplemented else (relu_in_place(found[0]), *found[1:])


def add_relu(a: Any, b: Any) -> Array:
    """``relu`` of NumPy's sum."""
    return relu_in_place(np.add(a, b))


def _add_relu_into(y: Array, a: Any, b: Any) -> None:
    relu_in_place(np.add(a, b, out=y))


def _is_large_sum(a: Any, b: Any) -> bool:
    return any(hasattr(x, "shape") and is_large(x) for x in (a, b))


add_relu.into, add_relu.serves = _add_relu_into, _is_large_sum  # type: ignore[attr-defined]  # it may


@declines
def max_pool_relu(x: Array, *, kernel: Sizes, stride: Sizes, padding: Pairs) -> Any:
    """``relu`` of :func:`~flagstone_numba.kernels.pool.max_pool`'s first output."""
    found = pool.max_pool(x, kernel=kernel, stride=stride, padding=padding)
    return found if found is NotImplemented else (relu_in_place(found[0]), found[1])
