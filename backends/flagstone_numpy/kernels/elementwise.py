"""Ops that NumPy does in fewer passes than their generic forms."""

from __future__ import annotations

import numpy as np

from flagstone_numpy.kernels.flat import by_blocks

Array = np.ndarray


def relu(x: Array) -> Array:
    """``max(x, 0)``."""
    y: Array = np.maximum(x, 0)
    return y


def relu_grad(g: Array, kept: Array) -> Array:
    """``g`` where ``kept > 0``, else 0: the bits of ``g`` times 1 or 0.

    Multiplied as integers, infinities and NaN of ``g`` are kept and left out like other numbers.
    """
    y = np.empty(g.shape, g.dtype)
    bits = f"u{g.itemsize}"
    source, target = g.reshape(-1).view(bits), y.reshape(-1).view(bits)
    values = kept.reshape(-1)

    def apply(block: slice) -> None:
        np.multiply(source[block], values[block] > 0, out=target[block])

    by_blocks(apply, g.size)
    return y
