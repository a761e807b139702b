"""Activations and their gradients."""

from __future__ import annotations

from flagstone.backend import declines
from flagstone_cupy.kernel import family
from flagstone_cupy.launch import Array, contiguous, empty, over

FLOATS = ("float", "double")
RELU = family("elementwise.cu", "relu", T=FLOATS)


@declines
def relu(x: Array) -> Array:
    """See :func:`flagstone.ops.activation.relu`."""
    if x.dtype not in RELU:
        return NotImplemented
    x = contiguous(x)
    y = empty(x.shape, x.dtype)
    over(RELU[x.dtype], x.size, x, y, x.size)
    return y
