"""The fused forms of what is compiled here, with the activation in place on all threads."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from flagstone.backend import Traits, declines
from flagstone_numba.kernels import conv as convolution
from flagstone_numba.kernels import norm as examples
from flagstone_numba.kernels import pool, vector
from flagstone_numba.kernels.elementwise import relu_in_place
from flagstone_numba.kernels.flat import is_large
from flagstone_numba.loading import loops
from flagstone_numpy.kernels import conv as numpys
from flagstone_numpy.kernels import linear as products
from flagstone_numpy.kernels.windows import Array, Pairs, Sizes
from flagstone_numpy.products import into


def _linear_relu_into(y: Array, x: Array, w: Array, b: Array | None = None) -> None:
    if vector.serves(x, w) and vector.linear_relu(y, x, w, b):
        return
    into(y, x, w.T)
    if b is not None:
        y += b
    relu_in_place(y)


def _serves_linear(x: Any, w: Any, b: Any = None) -> bool:
    return is_large(x) or vector.serves(x, w)


@Traits(into=_linear_relu_into, serves=_serves_linear)
def linear_relu(x: Array, w: Array, b: Array | None = None) -> Array:
    """``relu`` of NumPy's product; of one example, by all threads."""
    if vector.serves(x, w):
        y = np.empty((1, len(w)), x.dtype)
        if vector.linear_relu(y, x, w, b):
            return y
    return relu_in_place(products.linear(x, w, b))


@declines
@Traits(into=functools.partial(convolution.conv_into, relu=True))
def conv_relu(x: Array, w: Array, b: Array | None = None, **how: Any) -> Any:
    """``relu`` of :func:`~flagstone_numba.kernels.conv.conv`."""
    return convolution.kernel(numpys.conv_into, x, w, b, relu=True, **how)


@declines
def axis_norm_relu(x: Array, weight: Array | None, bias: Array | None, **how: Any) -> Any:
    """``relu`` of :func:`~flagstone_numba.kernels.norm.axis_norm`'s first output."""
    found = examples.axis_norm(x, weight, bias, **how)
    return found if found is NotImplemented else (relu_in_place(found[0]), *found[1:])


def _add_relu_into(y: Array, a: Any, b: Any) -> None:
    relu_in_place(np.add(a, b, out=y))


def _is_large_sum(a: Any, b: Any) -> bool:
    return any(hasattr(x, "shape") and is_large(x) for x in (a, b))


@Traits(into=_add_relu_into, serves=_is_large_sum)
def add_relu(a: Any, b: Any) -> Array:
    """``relu`` of NumPy's sum."""
    return relu_in_place(np.add(a, b))


@declines
@Traits(into=functools.partial(pool.max_pool_into, relu=True))
def max_pool_relu(x: Array, *, kernel: Sizes, stride: Sizes, padding: Pairs) -> Any:
    """``relu`` of :func:`~flagstone_numba.kernels.pool.max_pool`'s first output."""
    if x.ndim > 4 or loops("pool") is None:
        return NotImplemented
    return pool.pooled(x, kernel, stride, padding, relu=True)
