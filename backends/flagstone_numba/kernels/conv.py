"""Convolution and its gradients with compiled loops; the products are still BLAS's.

The cases are those of :mod:`flagstone_numpy.kernels.conv`. Compiled are ``winograd`` and
``depthwise``, and ``direct``, which needs no columns, stands for ``im2col`` and ``narrow``; every
piece of work is shared by threads. Grouped columns and three spatial axes stay NumPy's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from flagstone.backend import declines
from flagstone_numba.kernels import depthwise, direct, narrow, pointwise, tiles
from flagstone_numba.loading import loops
from flagstone_numpy.kernels import conv as numpys
from flagstone_numpy.kernels.windows import Array, Pairs, Sizes, Window

ALGORITHMS = {
    **numpys.ALGORITHMS,
    "pointwise": pointwise,
    "winograd": tiles,
    "depthwise": depthwise,
    "narrow": narrow,
    "im2col": direct,
}


@declines
def conv(
    x: Array, w: Array, b: Array | None = None, *, stride: Sizes, padding: Pairs, dilation: Sizes,
    groups: int, precision: str = "exact",
) -> Any:  # fmt: skip
    """See :func:`flagstone_numpy.kernels.conv.conv`."""
    if loops("winograd") is None:
        return NotImplemented
    window = Window(w.shape[1:-1], stride, padding, dilation)
    return numpys.forward(ALGORITHMS, x, w, b, window, groups, precision)


@declines
def conv_input_grad(
    g: Array, w: Array, *, size: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes,
    groups: int, precision: str = "exact",
) -> Any:  # fmt: skip
    """See :func:`flagstone_numpy.kernels.conv.conv_input_grad`."""
    if loops("winograd") is None:
        return NotImplemented
    window = Window(w.shape[1:-1], stride, padding, dilation)
    return numpys.input_grad(ALGORITHMS, g, w, size, window, groups, precision)


@declines
def conv_weight_grad(
    g: Array, x: Array, *, kernel: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes,
    groups: int, precision: str = "exact",
) -> Any:  # fmt: skip
    """See :func:`flagstone_numpy.kernels.conv.conv_weight_grad`."""
    if loops("winograd") is None:
        return NotImplemented
    window = Window(kernel, stride, padding, dilation)
    return numpys.weight_grad(ALGORITHMS, g, x, window, groups, precision, numpys.WINOGRAD_SIDE)


@declines
def conv_weight_bias_grad(g: Array, x: Array, *, kernel: Sizes, **how: Any) -> Any:
    """See :func:`flagstone.ops.conv.conv_weight_bias_grad`: ``g`` is read once."""
    if loops("winograd") is None:
        return NotImplemented
    found = np.empty((g.shape[-1], *kernel, x.shape[-1] // how["groups"]), x.dtype)
    out = found, np.empty(g.shape[-1], x.dtype)
    _weight_bias_grad_into(out, g, x, kernel=kernel, **how)
    return out


def _algorithms() -> Mapping[str, Any]:
    return numpys.ALGORITHMS if loops("winograd") is None else ALGORITHMS


def conv_into(
    out: Array, x: Array, w: Array, b: Array | None = None, *, stride: Sizes, padding: Pairs,
    dilation: Sizes, groups: int, precision: str = "exact", relu: bool = False,
) -> None:  # fmt: skip
    """Write the convolution to ``out``, activated if asked for."""
    window = Window(w.shape[1:-1], stride, padding, dilation)
    numpys.forward(_algorithms(), x, w, b, window, groups, precision, out=out, relu=relu)


def _input_grad_into(
    out: Array, g: Array, w: Array, *, size: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes,
    groups: int, precision: str = "exact",
) -> None:  # fmt: skip
    window = Window(w.shape[1:-1], stride, padding, dilation)
    numpys.input_grad(_algorithms(), g, w, size, window, groups, precision, out)


def _weight_grad_into(
    out: Array, g: Array, x: Array, *, kernel: Sizes, stride: Sizes, padding: Pairs,
    dilation: Sizes, groups: int, precision: str = "exact",
) -> None:  # fmt: skip
    window = Window(kernel, stride, padding, dilation)
    numpys.weight_grad(
        _algorithms(), g, x, window, groups, precision, numpys.WINOGRAD_SIDE, out=out
    )


def _weight_bias_grad_into(
    out: tuple[Array, Array], g: Array, x: Array, *, kernel: Sizes, stride: Sizes, padding: Pairs,
    dilation: Sizes, groups: int, precision: str = "exact",
) -> None:  # fmt: skip
    window = Window(kernel, stride, padding, dilation)
    algorithms, side, more = _algorithms(), numpys.WINOGRAD_SIDE, {}
    if algorithms is ALGORITHMS:
        more["bias"] = out[1]
    else:
        np.add.reduce(g.reshape(-1, g.shape[-1]), axis=0, out=out[1])
    numpys.weight_grad(algorithms, g, x, window, groups, precision, side, out=out[0], **more)


conv.into = conv_into  # type: ignore[attr-defined]  # a function may have any
conv_input_grad.into = _input_grad_into  # type: ignore[attr-defined]
conv_weight_grad.into = _weight_grad_into  # type: ignore[attr-defined]
conv_weight_bias_grad.into = _weight_bias_grad_into  # type: ignore[attr-defined]
