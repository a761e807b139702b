"""The gradient of a linear layer's weight."""

from __future__ import annotations

import math

from flagstone_numpy.kernels.products import batched_matmul
from flagstone_numpy.kernels.windows import Array


def linear_weight_grad(g: Array, x: Array) -> Array:
    """See :func:`flagstone.ops.linalg.linear_weight_grad`; a long product may be split."""
    if g.ndim == 2:
        return batched_matmul(g.T, x)
    rows = math.prod(x.shape[:-1])
    return batched_matmul(g.reshape(rows, g.shape[-1]).T, x.reshape(rows, x.shape[-1]))
