"""Convolution and its gradients with compiled loops; the products are still BLAS's.

The cases are those of :mod:`flagstone_numpy.kernels.conv`. Compiled are ``winograd`` and
``depthwise``, and ``direct``, which needs no columns, stands for ``im2col`` and ``narrow``; every
piece of work is shared by threads. Grouped columns and three spatial axes stay NumPy's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from flagstone.backend import Traits, declines
from flagstone_numba.kernels import depthwise, direct, narrow, pointwise, tiles
from flagstone_numba.loading import loops
from flagstone_numpy.kernels import conv as numpys
from flagstone_numpy.kernels.windows import Array

ALGORITHMS = {
    **numpys.ALGORITHMS,
    "pointwise": pointwise,
    "winograd": tiles,
    "depthwise": depthwise,
    "narrow": narrow,
    "im2col": direct,
}


def _writing(write: Callable[..., Any]) -> Callable[..., Any]:
    """``write`` for recorded steps, whose kernels do not decline: by NumPy's algorithms where
    Numba does not work."""

    def into(out: Any, *arrays: Array | None, **how: Any) -> None:
        write(out, *arrays, algorithms=_algorithms() or numpys.ALGORITHMS, **how)

    return into


def _algorithms() -> Mapping[str, Any] | None:
    return None if loops("winograd") is None else ALGORITHMS


def kernel(write: Callable[..., Any], *arrays: Array | None, **how: Any) -> Any:
    """What ``write`` returns where there is nothing to write to."""
    algorithms = _algorithms()
    if algorithms is None:
        return NotImplemented
    return write(None, *arrays, algorithms=algorithms, **how)


conv_into = _writing(numpys.conv_into)


@declines
@Traits(into=conv_into)
def conv(
    x: Array, w: Array, b: Array | None = None, *, precision: str = "exact", **how: Any
) -> Any:
    """See :func:`flagstone_numpy.kernels.conv.conv`."""
    return kernel(numpys.conv_into, x, w, b, precision=precision, **how)


@declines
@Traits(into=_writing(numpys.input_grad_into))
def conv_input_grad(g: Array, w: Array, *, precision: str = "exact", **how: Any) -> Any:
    """See :func:`flagstone_numpy.kernels.conv.conv_input_grad`."""
    return kernel(numpys.input_grad_into, g, w, precision=precision, **how)


def _weight_grad_into(out: Array | None, g: Array, x: Array, **how: Any) -> Array:
    return numpys.weight_grad_into(out, g, x, least_side=numpys.WINOGRAD_SIDE, **how)


@declines
@Traits(into=_writing(_weight_grad_into))
def conv_weight_grad(g: Array, x: Array, *, precision: str = "exact", **how: Any) -> Any:
    """See :func:`flagstone_numpy.kernels.conv.conv_weight_grad`."""
    return kernel(_weight_grad_into, g, x, precision=precision, **how)


def _weight_bias_grad_into(
    out: tuple[Array, Array] | None, g: Array, x: Array, *, algorithms: Mapping[str, Any],
    **how: Any,
) -> tuple[Array, Array]:  # fmt: skip
    dw, db = out or (None, np.empty(g.shape[-1], x.dtype))
    if algorithms is ALGORITHMS:
        how["bias"] = db
    else:
        np.add.reduce(g.reshape(-1, g.shape[-1]), axis=0, out=db)
    return _weight_grad_into(dw, g, x, algorithms=algorithms, **how), db


@declines
@Traits(into=_writing(_weight_bias_grad_into))
def conv_weight_bias_grad(g: Array, x: Array, *, precision: str = "exact", **how: Any) -> Any:
    """See :func:`flagstone.ops.conv.conv_weight_bias_grad`: ``g`` is read once."""
    return kernel(_weight_bias_grad_into, g, x, precision=precision, **how)
