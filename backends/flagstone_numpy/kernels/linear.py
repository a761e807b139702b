"""A linear layer and the gradient of its weight, each one matrix product."""

from __future__ import annotations

import math

from flagstone.backend import Traits
from flagstone_numpy.kernels.windows import Array
from flagstone_numpy.products import into, product


@Traits(into=into)
def batched_matmul(a: Array, b: Array) -> Array:
    """See :func:`flagstone.ops.linalg.batched_matmul`."""
    return product(a, b)


def linear(x: Array, w: Array, b: Array | None = None) -> Array:
    """``x @ w.T + b``, the bias added in place."""
    y = product(x, w.T)
    if b is not None:
        y += b
    return y


def _weight_grad_into(out: Array, g: Array, x: Array) -> None:
    into(out, _rows(g).T, _rows(x))


@Traits(into=_weight_grad_into)
def linear_weight_grad(g: Array, x: Array) -> Array:
    """See :func:`flagstone.ops.linalg.linear_weight_grad`."""
    if g.ndim == 2:
        return product(g.T, x)
    return product(_rows(g).T, _rows(x))


def _rows(x: Array) -> Array:
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
