"""Ops that NumPy does in fewer passes than their generic forms."""

from __future__ import annotations

import numpy as np

from flagstone.backend import Traits
from flagstone_numpy.kernels.flat import SHARED, by_blocks
from flagstone_numpy.scratch import scratch

Array = np.ndarray


def relu_into(y: Array, x: Array) -> None:
    """Write ``max(x, 0)`` to ``y``, which may be ``x``."""
    if not (x.flags.c_contiguous and y.flags.c_contiguous):
        np.maximum(x, 0, out=y)
        return
    source, target = x.reshape(-1), y.reshape(-1)
    by_blocks(lambda block: np.maximum(source[block], 0, out=target[block]), x.size)


@Traits(into=relu_into, over=(0,))
def relu(x: Array) -> Array:
    """``max(x, 0)``."""
    if x.size < SHARED or not x.flags.c_contiguous:
        y: Array = np.maximum(x, 0)
        return y
    y = np.empty(x.shape, x.dtype)
    relu_into(y, x)
    return y


def _relu_grad_into(y: Array, g: Array, kept: Array) -> None:
    bits = f"u{g.itemsize}"
    source, target = g.reshape(-1).view(bits), y.reshape(-1).view(bits)
    values = kept.reshape(-1)

    def apply(block: slice) -> None:
        part = values[block]
        positive = np.greater(part, 0, out=scratch("gathered", part.shape, np.bool_))
        np.multiply(source[block], positive, out=target[block])

    by_blocks(apply, g.size)


@Traits(into=_relu_grad_into, over=(0,))
def relu_grad(g: Array, kept: Array) -> Array:
    """``g`` where ``kept > 0``, else 0: the bits of ``g`` times 1 or 0.

    Multiplied as integers, infinities and NaN of ``g`` are kept and left out like other numbers.
    """
    y = np.empty(g.shape, g.dtype)
    _relu_grad_into(y, g, kept)
    return y
