"""Softmax cross-entropy and its gradient."""

from __future__ import annotations

from typing import Any

from flagstone.backend import declines
from flagstone_cupy.kernel import family
from flagstone_cupy.kernels.gather import as_index
from flagstone_cupy.launch import Array, contiguous, empty, launch, table

FLOATS = ("float", "double")
INTEGERS = ("int", "long long")
CROSS_ENTROPY = family("loss.cu", "softmax_cross_entropy", T=FLOATS, I=INTEGERS)
CROSS_ENTROPY_GRAD = family("loss.cu", "softmax_cross_entropy_grad", T=FLOATS, I=INTEGERS)
ROWS = 8  # of a block, a warp each


@declines
def softmax_cross_entropy(x: Array, labels: Array) -> Any:
    """See :func:`flagstone.ops.loss.softmax_cross_entropy`."""
    labels = as_index(labels)
    if (x.dtype, labels.dtype) not in CROSS_ENTROPY:
        return NotImplemented
    n, classes = x.shape
    loss, p = empty((n,), x.dtype), empty(x.shape, x.dtype)
    kernel = CROSS_ENTROPY[x.dtype, labels.dtype]
    arguments = (contiguous(x), labels, loss, p, n, classes)
    launch(kernel, (-(-n // ROWS), 1, 1), (32, ROWS, 1), 0, arguments)
    return loss, p


@declines
def softmax_cross_entropy_grad(g: Array, p: Array, labels: Array) -> Array:
    """See :func:`flagstone.ops.loss.softmax_cross_entropy_grad`."""
    labels = as_index(labels)
    if (p.dtype, labels.dtype) not in CROSS_ENTROPY_GRAD or g.dtype != p.dtype:
        return NotImplemented
    n, classes = p.shape
    dx = empty(p.shape, p.dtype)
    arguments = (contiguous(g), contiguous(p), labels, dx, n, classes)
    launch(CROSS_ENTROPY_GRAD[p.dtype, labels.dtype], *table(n, classes), 0, arguments)
    return dx
