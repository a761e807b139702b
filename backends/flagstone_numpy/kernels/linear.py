"""A linear layer and the gradient of its weight, each one matrix product."""

from __future__ import annotations

import math

import numpy as np

from flagstone_numpy.kernels.windows import Array


def product(a: Array, b: Array) -> Array:
    """``a @ b``; ``dot`` gives the bits of ``matmul`` in half its time for two matrices without
    gaps and of more than one value."""
    y: Array
    if a.ndim == b.ndim == 2 and a.size > 1 < b.size and a.flags.forc and b.flags.forc:
        y = a.dot(b)
    else:
        y = np.matmul(a, b)
    return y


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
    return np.matmul(g.reshape(rows, g.shape[-1]).T, x.reshape(rows, x.shape[-1]))
