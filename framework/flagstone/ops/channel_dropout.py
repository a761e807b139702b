"""Dropout of whole channels."""

from __future__ import annotations

from flagstone.errors import ShapeError
from flagstone.ops.checks import floating, tensors
from flagstone.ops.shape import reshape
from flagstone.ops.stochastic import dropout, kept_lanes
from flagstone.tensors import Tensor


def channel_dropout(x: Tensor, p: float, counter: Tensor, key: tuple[int, int]) -> Tensor:
    """Zero each channel of each example with probability ``p``; scale the rest by ``1 / (1 - p)``.

    "Spatial dropout" (Tompson et al., CVPR 2015): neighbouring pixels are alike, so that what
    :func:`dropout` zeroes of one channel the next pixel still tells. Each channel is multiplied by
    what :func:`dropout` makes of a 1 in an array (n, channels), by the same random stream.

    Args:
        x: (n, ..., channels), floating, with at least one axis between.
        p, counter, key: as in :func:`dropout`.

    Raises:
        InputError: ``p`` lies outside [0, 1), or so near 1 that nothing would stay.
        ShapeError: ``x`` has less than three axes.
        DTypeError: ``x`` is not floating, or ``counter`` not uint64 (2,).
    """
    tensors("channel_dropout", x=x, counter=counter)
    floating("channel_dropout", x=x)
    if x.ndim < 3:
        raise ShapeError(f"channel_dropout: x expected shape (n, ..., channels); got {x.shape}")
    kept_lanes("channel_dropout", p)
    shape = (x.shape[0], x.shape[-1])
    ones = Tensor(x.backend.xp.ones(shape, dtype=x.array.dtype), x.backend)
    factor = dropout(ones, p, counter, key)
    return x * reshape(factor, (shape[0], *(1 for _ in x.shape[1:-1]), shape[1]))
