"""Elementwise ops in one pass, compiled; small or strided arrays are left to NumPy.

For recorded steps each kernel has an ``into``, which writes where the step has planned.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from flagstone.backend import Traits, declines
from flagstone_numba.kernels.flat import LEAST, is_large, share_flat
from flagstone_numba.loading import loops
from flagstone_numpy.kernels import elementwise as numpys
from flagstone_numpy.kernels import stochastic
from flagstone_numpy.kernels.windows import Array


def _large(into: Callable[..., None]) -> Traits:
    return Traits(least=LEAST, into=into, over=(0,), serves=is_large)


def relu_into(y: Array, x: Array) -> None:
    """Write ``relu(x)`` to ``y``."""
    if _serves(y, x):
        _relu(y, x)
    else:
        np.copyto(y, numpys.relu(x))


@declines
@_large(relu_into)
def relu(x: Array) -> Any:
    """See :func:`flagstone_numpy.kernels.elementwise.relu`."""
    return _relu(np.empty_like(x), x) if _serves(x) else NotImplemented


def _relu(y: Array, x: Array) -> Array:
    run, source, target = loops("elementwise").relu, x.reshape(-1), y.reshape(-1)
    share_flat(lambda turns: run(turns, source, target), x.size)
    return y


def relu_in_place(y: Array) -> Array:
    """``y``, which nobody else has yet, activated."""
    if _serves(y):
        return _relu(y, y)
    return np.maximum(y, 0, out=y if y.ndim else None)  # NumPy gives scalars for shape ()


def _relu_grad_into(y: Array, g: Array, kept: Array) -> None:
    if _serves(y, g, kept):
        _relu_grad(y, g, kept)
    else:
        np.copyto(y, numpys.relu_grad(g, kept))


@declines
@_large(_relu_grad_into)
def relu_grad(g: Array, kept: Array) -> Any:
    """See :func:`flagstone_numpy.kernels.elementwise.relu_grad`."""
    return _relu_grad(np.empty_like(g), g, kept) if _serves(g, kept) else NotImplemented


def _relu_grad(y: Array, g: Array, kept: Array) -> Array:
    run = loops("elementwise").relu_grad
    source, values, target = g.reshape(-1), kept.reshape(-1), y.reshape(-1)
    share_flat(lambda turns: run(turns, source, values, target), g.size)
    return y


def _keep_into(y: Array, x: Array, mask: Array, *, scale: float) -> None:
    if _serves(y, x, mask):
        _keep(y, x, mask, scale)
    else:
        np.copyto(y, stochastic.keep(x, mask, scale=scale))


@declines
@_large(_keep_into)
def keep(x: Array, mask: Array, *, scale: float) -> Any:
    """See :func:`flagstone_numpy.kernels.stochastic.keep`."""
    return _keep(np.empty_like(x), x, mask, scale) if _serves(x, mask) else NotImplemented


def _keep(y: Array, x: Array, mask: Array, scale: float) -> Array:
    run, factor = loops("elementwise").keep, x.dtype.type(scale)
    source, chosen, target = x.reshape(-1), mask.reshape(-1), y.reshape(-1)
    share_flat(lambda turns: run(turns, source, chosen, factor, target), x.size)
    return y


def _serves(*arrays: Array) -> bool:
    """Whether arrays of one shape are large and contiguous, and Numba works."""
    return (
        arrays[0].size >= LEAST
        and all(a.flags.c_contiguous for a in arrays)
        and loops("elementwise") is not None
    )
