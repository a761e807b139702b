"""A layer's products for a single example: the weights are read once, by all threads."""

from __future__ import annotations

from typing import Any

import numpy as np

from flagstone_numba.loading import loops
from flagstone_numpy.kernels.windows import Array
from flagstone_numpy.threads import share_turns

LEAST = 1 << 18
"""Weights from which reading them takes longer than a thread needs to see that there is work."""
PIECES = 8


def serves(x: Any, w: Any, _b: Any = None) -> bool:
    """Whether this is one example and many weights; told arrays, or shapes and dtypes."""
    shape = tuple(w.shape)
    return tuple(x.shape) == (1, shape[-1]) and shape[0] * shape[1] >= LEAST


def linear_relu(y: Array, x: Array, w: Array, b: Array | None) -> bool:
    """Write ``relu`` of the layer's output to ``y`` (1, k); ``False`` if NumPy has to."""
    if loops("vector") is None or not (w.flags.c_contiguous and x.flags.c_contiguous):
        return False
    run = loops("vector").linear_relu
    given, into = x.reshape(-1), y.reshape(-1)
    bias = np.zeros(len(w), x.dtype) if b is None else np.ascontiguousarray(b)
    share_turns(lambda turns: run(turns, given, w, bias, into), PIECES)
    return True
