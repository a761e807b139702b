"""A linear layer and the gradient of its weight, each one matrix product."""

from __future__ import annotations

import math

from flagstone_numpy.kernels.windows import Array
from flagstone_numpy.products import product


def batched_matmul(a: Array, b: Array) -> Array:
    """See :func:`flagstone.ops.linalg.batched_matmul`."""
    return product(a, b)


def linear(x: Array, w: Array, b: Array | None = None) -> Array:
    """``x @ w.T + b``, the bias added in place."""
    y = product(x, w.T)
    if b is not None:
        y += b
    return y


def linear_weight_grad(g: Array, x: Array) -> Array:
    """See :func:`flagstone.ops.linalg.linear_weight_grad`."""
    if g.ndim == 2:
        return product(g.T, x)
    rows = math.prod(x.shape[:-1])
    return product(g.reshape(rows, g.shape[-1]).T, x.reshape(rows, x.shape[-1]))
