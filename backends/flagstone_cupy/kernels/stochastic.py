"""The random stream, and dropout."""

from __future__ import annotations

import math

from flagstone.backend import declines
from flagstone_cupy.kernel import Kernel, family
from flagstone_cupy.launch import Array, contiguous, empty, launch, over, table

RANDOM_BITS = Kernel("stochastic.cu", "random_bits")
DROPOUT_MASK = Kernel("stochastic.cu", "dropout_mask")
RANDOM_INTEGERS = Kernel("stochastic.cu", "random_integers")
KEEP = family("stochastic.cu", "keep", T=("float", "double", "__half", "__nv_bfloat16"))


def random_bits(counter: Array, *, key: tuple[int, int], blocks: int, start: int = 0) -> Array:
    """See :func:`flagstone.ops.stochastic.random_bits`."""
    words = empty((4 * blocks,), "uint64")
    over(RANDOM_BITS, blocks, contiguous(counter), words, *key, start, blocks, each=1)
    return words


def dropout_mask(words: Array, *, shape: tuple[int, ...], threshold: int) -> Array:
    """See :func:`flagstone.ops.stochastic.dropout_mask`."""
    rows, width = shape[0], math.prod(shape[1:])
    mask = empty(shape, "bool")
    per_row = 4 * -(-width // 16)
    arguments = (contiguous(words), mask, threshold, rows, width, per_row)
    launch(DROPOUT_MASK, *table(rows, width), 0, arguments)
    return mask


def random_integers(words: Array, *, high: int) -> Array:
    """See :func:`flagstone.ops.draws.random_integers`."""
    y = empty(words.shape, "int64")
    over(RANDOM_INTEGERS, words.size, contiguous(words), y, high, words.size)
    return y


@declines
def keep(x: Array, mask: Array, *, scale: float) -> Array:
    """See :func:`flagstone.ops.stochastic.keep`."""
    if x.dtype not in KEEP:
        return NotImplemented
    y = empty(x.shape, x.dtype)
    over(KEEP[x.dtype], x.size, contiguous(x), contiguous(mask), y, scale, x.size)
    return y
