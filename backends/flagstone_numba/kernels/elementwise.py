"""Elementwise ops in one pass, compiled; small or strided arrays are left to NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from flagstone.backend import declines
from flagstone_numba.kernels.flat import LEAST, share_flat
from flagstone_numba.loading import loops
from flagstone_numpy.kernels.windows import Array


@declines
def relu(x: Array) -> Any:
    """See :func:`flagstone_numpy.kernels.elementwise.relu`."""
    if x.size < LEAST or not x.flags.c_contiguous or (run := loops("elementwise")) is None:
        return NotImplemented
    y = np.empty_like(x)
    source, target = x.reshape(-1), y.reshape(-1)
    share_flat(lambda piece: run.relu(source[piece], target[piece]), x.size)
    return y


@declines
def relu_grad(g: Array, kept: Array) -> Any:
    """See :func:`flagstone_numpy.kernels.elementwise.relu_grad`."""
    if g.size < LEAST or not _contiguous(g, kept) or (run := loops("elementwise")) is None:
        return NotImplemented
    y = np.empty_like(g)
    source, values, target = g.reshape(-1), kept.reshape(-1), y.reshape(-1)
    share_flat(lambda piece: run.relu_grad(source[piece], values[piece], target[piece]), g.size)
    return y


@declines
def keep(x: Array, mask: Array, *, scale: float) -> Any:
    """See :func:`flagstone_numpy.kernels.stochastic.keep`."""
    if x.size < LEAST or not _contiguous(x, mask) or (run := loops("elementwise")) is None:
        return NotImplemented
    y = np.empty_like(x)
    factor = x.dtype.type(scale)
    source, chosen, target = x.reshape(-1), mask.reshape(-1), y.reshape(-1)
    share_flat(lambda piece: run.keep(source[piece], chosen[piece], factor, target[piece]), x.size)
    return y


def _contiguous(*arrays: Array) -> bool:
    return all(a.flags.c_contiguous for a in arrays)
