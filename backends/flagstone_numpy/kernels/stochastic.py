"""Random bits from NumPy's own Philox."""

from __future__ import annotations

import math

import numpy as np

from flagstone.backend import Traits
from flagstone.random import bits
from flagstone_numpy.kernels.flat import by_blocks

Array = np.ndarray


def random_bits(counter: Array, *, key: tuple[int, int], blocks: int, start: int = 0) -> Array:
    """See :func:`flagstone.ops.stochastic.random_bits`."""
    step, epoch = (int(word) for word in counter)
    return bits(np.array(key, np.uint64), (step, epoch), start, blocks)


def dropout_mask(words: Array, *, shape: tuple[int, ...], threshold: int) -> Array:
    """See :func:`flagstone.ops.stochastic.dropout_mask`; lanes are a view of the words."""
    width = math.prod(shape[1:])
    lanes = np.ascontiguousarray(words, "<u8").view("<u2")
    lanes = lanes.reshape(shape[0], -(-width // 16) * 16)
    return (lanes[:, :width] < threshold).reshape(shape)  # 65536 too, which is no uint16


def _keep_into(y: Array, x: Array, mask: Array, *, scale: float) -> None:
    source, target, chosen = x.reshape(-1), y.reshape(-1), mask.reshape(-1)
    as_bits = target.view(f"u{x.itemsize}")
    factor = x.dtype.type(scale)

    def apply(block: slice) -> None:
        np.multiply(source[block], factor, out=target[block])
        as_bits[block] *= chosen[block]

    by_blocks(apply, x.size)


@Traits(into=_keep_into, over=(0,))
def keep(x: Array, mask: Array, *, scale: float) -> Array:
    """``x * scale`` where ``mask``, else 0; the product's bits are multiplied by 1 or 0."""
    y = np.empty(x.shape, x.dtype)
    _keep_into(y, x, mask, scale=scale)
    return y
