"""The losses of a batch with their derivatives, and what their gradients are scale_by by."""

from __future__ import annotations

import numpy as np

from flagstone_numpy.kernels.activation import sigmoid
from flagstone_numpy.kernels.constants import Array, number, row, scalar
from flagstone_numpy.kernels.reduction import FEW
from flagstone_numpy.kernels.reduction import sum as sum_of


def squared_error(x: Array, target: Array, *, factor: float) -> tuple[Array, Array]:
    """See :func:`flagstone.ops.loss.squared_error`."""
    difference = np.subtract(x, target)
    flat = difference.ravel()
    total = flat.dot(flat) if flat.size <= FEW else sum_of(np.square(flat))[()]
    return np.array(total * scalar(factor, x.dtype)), difference


def logistic_error(x: Array, target: Array, *, factor: float) -> tuple[Array, Array]:
    """See :func:`flagstone.ops.loss.logistic_error`."""
    if x.size <= FEW:
        # log(1 + exp(x)) - x*t = log(exp(-x*t) + exp(x - x*t)), of which nothing cancels
        product = x * target
        losses = np.logaddexp(-product, x - product)
        total = losses.ravel().dot(row(x.size, factor, x.dtype))
        return np.array(total), np.asarray(sigmoid(x) - target)
    zero, one = number(0.0, x.dtype), number(1.0, x.dtype)
    e, losses, other, difference = (np.empty(x.shape, x.dtype) for _ in range(4))
    np.abs(x, e)
    np.negative(e, e)
    np.exp(e, e)
    np.maximum(x, zero, out=losses)
    np.multiply(x, target, other)
    np.subtract(losses, other, losses)
    np.log1p(e, other)
    np.add(losses, other, losses)
    np.greater_equal(x, zero, other)
    np.maximum(other, e, out=difference)  # 1, or e where x < 0, over 1 + e
    np.add(e, one, e)
    np.divide(difference, e, difference)
    np.subtract(difference, target, difference)
    return np.array(sum_of(losses) * number(factor, x.dtype)), difference


def scale_by(x: Array, by: Array, *, factor: float) -> Array:
    """See :func:`flagstone.ops.loss.scale_by`."""
    y: Array = np.multiply(x, number(float(by) * factor, x.dtype))
    return y
