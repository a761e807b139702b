"""Convolution and its two gradients: which algorithm does the work.

Layout is channels-last: x is (n, *size, c), w is (k, *kernel, c / groups), y is
(n, *positions, k), for one, two or three spatial axes (nothing here counts them). "Convolution"
is the cross-correlation that every deep-learning library means. The three functions are linear
maps that are each other's transposes: <conv(x, w), g> = <x, conv_input_grad(g, w)> =
<w, conv_weight_grad(g, x)>.

| case | module |
|---|---|
| all kernels 1 and no padding | ``pointwise``: one product |
| one input channel a group | ``depthwise``: a multiply-add a tap |
| few input channels | ``narrow``: products over blocks of transposed columns |
| 3x3, stride 1, float32, channels enough | ``winograd``: fewer operations |
| else | ``im2col``: products over blocks of columns |

The weight gradient of a few small groups is that of one group, see :data:`DENSE_CHANNELS`.

What each case asks of an algorithm is the same three functions, so a plugin that has faster ones
for some cases chooses by the same table: see :func:`forward`.

The input gradient of stride 1 is itself a convolution, of g with the flipped weights, and needs
no adding back of columns; where x has far fewer channels than g, adding back touches less
memory. Arguments are taken as valid: the ops check them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from flagstone.backend import Traits
from flagstone_numpy.kernels import depthwise, im2col, narrow, pointwise, winograd
from flagstone_numpy.kernels.windows import Array, Pairs, Sizes, Window
from flagstone_numpy.sums import copied

ALGORITHMS: Mapping[str, Any] = {
    "pointwise": pointwise,
    "depthwise": depthwise,
    "narrow": narrow,
    "winograd": winograd,
    "im2col": im2col,
}
TILES = {"exact": 2, "fast": 4}
"""The outputs of a side of ``winograd``'s tiles."""
SCATTER_RATIO = 4
"""g must have this many times the channels of x for adding back columns to be the faster."""
WINOGRAD_CHANNELS = 32
"""With fewer channels, in or out, the transforms cost more than the products save."""
WINOGRAD_POSITIONS = 512
"""With fewer positions, products over tiles are too small for BLAS."""
WINOGRAD_SIDE = 4
"""In smaller maps too much of the 2x2 tiles lies outside."""
WINOGRAD_GRADIENT_SIDE = 8
"""The same for the weight gradient, which also adds 16 products up where columns give 9."""
DENSE_CHANNELS = 64
"""With so many channels in all at most, and"""
DENSE_GROUP = 8
"""so many in a group, the weight gradient takes each output with each input, and drops those of two
groups: runs of a group's channels are too short to copy, and its products too thin."""


def conv_into(
    out: Array | None, x: Array, w: Array, b: Array | None = None, *, groups: int,
    precision: str = "exact", relu: bool = False, algorithms: Mapping[str, Any] = ALGORITHMS,
    **how: Any,
) -> Array:  # fmt: skip
    """:func:`conv` by ``algorithms``, activated if asked for, written to ``out`` if it is given."""
    window = Window(w.shape[1:-1], **how)
    return forward(algorithms, x, w, b, window, groups, precision, out=out, relu=relu)


def input_grad_into(
    out: Array | None, g: Array, w: Array, *, size: Sizes, groups: int, precision: str = "exact",
    algorithms: Mapping[str, Any] = ALGORITHMS, **how: Any,
) -> Array:  # fmt: skip
    """The same of :func:`conv_input_grad`."""
    window = Window(w.shape[1:-1], **how)
    return input_grad(algorithms, g, w, size, window, groups, precision, out)


def weight_grad_into(
    out: Array | None, g: Array, x: Array, *, kernel: Sizes, stride: Sizes, padding: Pairs,
    dilation: Sizes, groups: int, precision: str = "exact",
    algorithms: Mapping[str, Any] = ALGORITHMS, **more: Any,
) -> Array:  # fmt: skip
    """The same of :func:`conv_weight_grad`; for ``more`` see :func:`weight_grad`."""
    window = Window(kernel, stride, padding, dilation)
    return weight_grad(algorithms, g, x, window, groups, precision, out=out, **more)


@Traits(into=conv_into)
def conv(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    stride: Sizes,
    padding: Pairs,
    dilation: Sizes,
    groups: int,
    precision: str = "exact",
) -> Array:
    """Return the convolution of ``x`` with ``w``, plus ``b``.

    Arguments:
        x: (n, *size, c).
        w: (k, *kernel, c / groups), of the dtype of ``x``.
        b: (k,), or None.
        stride, dilation: one integer >= 1 for each spatial axis.
        padding: one pair (low, high) of numbers of zeros for each spatial axis.
        groups: a divisor of c and k; output channels i*k/groups and up see input channels
            i*c/groups and up.
        precision: "fast" allows errors of 1e-5 of the largest value where tiles are used.

    Returns:
        (n, *positions, k), where positions = (size + low + high - dilation * (kernel - 1) - 1)
        // stride + 1 along each axis.
    """
    window = Window(w.shape[1:-1], stride, padding, dilation)
    return forward(ALGORITHMS, x, w, b, window, groups, precision)


@Traits(into=input_grad_into)
def conv_input_grad(
    g: Array,
    w: Array,
    *,
    size: Sizes,
    stride: Sizes,
    padding: Pairs,
    dilation: Sizes,
    groups: int,
    precision: str = "exact",
) -> Array:
    """Return the gradient with respect to ``x`` of <conv(x, w), g>, (n, *size, c).

    Arguments:
        g: (n, *positions, k), the gradient with respect to the convolution.
        w: (k, *kernel, c / groups).
        size: the spatial shape of x.
        stride, padding, dilation, groups: those of the convolution.
    """
    window = Window(w.shape[1:-1], stride, padding, dilation)
    return input_grad(ALGORITHMS, g, w, size, window, groups, precision)


@Traits(into=weight_grad_into)
def conv_weight_grad(
    g: Array,
    x: Array,
    *,
    kernel: Sizes,
    stride: Sizes,
    padding: Pairs,
    dilation: Sizes,
    groups: int,
    precision: str = "exact",
) -> Array:
    """Return the gradient with respect to ``w`` of <conv(x, w), g>, (k, *kernel, c / groups).

    Arguments:
        g: (n, *positions, k), the gradient with respect to the convolution.
        x: (n, *size, c).
        kernel: the window's spatial shape.
        stride, padding, dilation, groups: those of the convolution.
    """
    window = Window(kernel, stride, padding, dilation)
    return weight_grad(ALGORITHMS, g, x, window, groups, precision)


def forward(
    algorithms: Mapping[str, Any], x: Array, w: Array, b: Array | None, window: Window, groups: int,
    precision: str = "exact", **more: Any,
) -> Array:  # fmt: skip
    """Return the convolution by the algorithm for its case.

    ``algorithms`` has a module, or anything, under each name of :data:`ALGORITHMS`, with functions
    ``forward(x, w, b, window, positions, groups)``, ``weight_grad(g, x, window, groups)`` and, but
    for ``winograd``, ``input_grad(g, w, size, window, groups)``. ``winograd``'s are told the side
    of a tile as well. What is in ``more`` is handed on to them; those here take ``out``, where to
    write the result (the gradients' as well), and ``relu``, whether to activate it.
    """
    positions = window.positions(x.shape[1:-1])
    case = case_of(x, window, positions, w.shape[0], groups)
    how = _how(case, precision)
    y: Array = algorithms[case].forward(x, w, b, window, positions, groups, **how, **more)
    return y


def weight_grad(
    algorithms: Mapping[str, Any], g: Array, x: Array, window: Window, groups: int,
    precision: str = "exact", least_side: int = WINOGRAD_GRADIENT_SIDE, **more: Any,
) -> Array:  # fmt: skip
    """Return the weights' gradient by the algorithm for its case; see the constants above."""
    c = x.shape[-1]
    is_thin = 1 < groups < c <= min(groups * DENSE_GROUP, DENSE_CHANNELS)
    if is_thin and not _is_pointwise(window):
        out = more.pop("out", None)
        dense = weight_grad(algorithms, g, x, window, 1, precision, least_side, **more)
        return copied(_within_groups(dense, groups), out)
    case = case_of(x, window, g.shape[1:-1], g.shape[-1], groups, least_side)
    how = _how(case, precision)
    dw: Array = algorithms[case].weight_grad(g, x, window, groups, **how, **more)
    return dw


def input_grad(
    algorithms: Mapping[str, Any], g: Array, w: Array, size: Sizes, window: Window, groups: int,
    precision: str = "exact", out: Array | None = None,
) -> Array:  # fmt: skip
    """Return the input's gradient by the algorithm for its case."""
    more = {} if out is None else {"out": out}
    c = w.shape[-1] * groups
    if _is_pointwise(window):
        case = "pointwise"
    elif _is_depthwise(c, groups):
        case = "depthwise"
    elif groups == 1 and c <= narrow.FEW_CHANNELS:
        case = "narrow"
    elif any(step != 1 for step in window.stride) or c * SCATTER_RATIO <= w.shape[0]:
        case = "im2col"
    else:
        kept, opposite = _opposite_padding(g.shape[1:-1], size, window)
        seen = g[(slice(None), *kept)]
        flipped = window._replace(padding=opposite)
        turned = _flipped(w, groups)
        return forward(algorithms, seen, turned, None, flipped, groups, precision, **more)
    dx: Array = algorithms[case].input_grad(g, w, size, window, groups, **more)
    return dx


def case_of(
    x: Array, window: Window, positions: Sizes, k: int, groups: int, least_side: int = WINOGRAD_SIDE
) -> str:
    """Return the name of the algorithm for a convolution or its weights' gradient."""
    if _is_pointwise(window):
        return "pointwise"
    if _is_depthwise(x.shape[-1], groups):
        return "depthwise"
    if groups == 1 and x.shape[-1] * window.kernel[-1] <= narrow.SHORT_RUN:
        return "narrow"
    if _has_tiles(x, window, positions, k, groups, least_side):
        return "winograd"
    return "im2col"


def _how(case: str, precision: str) -> dict[str, int]:
    return {"size": TILES[precision]} if case == "winograd" else {}


def _is_pointwise(window: Window) -> bool:
    return window.taps == 1 and not window.is_padded


def _is_depthwise(c: int, groups: int) -> bool:
    return groups == c > 1


def _has_tiles(
    x: Array, window: Window, positions: Sizes, k: int, groups: int, least_side: int
) -> bool:
    return (
        x.dtype == np.float32
        and groups == 1
        and window.kernel == (3, 3)
        and window.stride == window.dilation == (1, 1)
        and min(x.shape[-1], k) >= WINOGRAD_CHANNELS
        and x.shape[0] * math.prod(positions) >= WINOGRAD_POSITIONS
        and min(positions) >= least_side
    )


def _within_groups(dense: Array, groups: int) -> Array:
    """Of weights (k, *kernel, c), those of outputs and inputs of one group, (k, *kernel, c/g)."""
    k, *kernel, c = dense.shape
    grouped = dense.reshape(groups, k // groups, *kernel, groups, c // groups)
    own = np.moveaxis(np.diagonal(grouped, axis1=0, axis2=-2), -1, 0)
    return own.reshape(k, *kernel, c // groups)


def _flipped(w: Array, groups: int) -> Array:
    """Return the weights of the transposed convolution, (c, *kernel, k / groups); maybe a view."""
    k, *kernel, c = w.shape  # c of one group
    grouped = w.reshape(groups, k // groups, *kernel, c)
    flipped = np.flip(grouped, tuple(range(2, grouped.ndim - 1)))
    return flipped.swapaxes(1, -1).reshape(groups * c, *kernel, k // groups)


def _opposite_padding(
    positions: Sizes, size: Sizes, window: Window
) -> tuple[tuple[slice, ...], Pairs]:
    """Return which positions to keep and how to pad them so that the flip gives ``size``.

    The transposed convolution is padded by reach - low and reach - high. Where the padding was
    wider than the kernel's reach, those are negative: the outermost positions saw nothing but
    zeros, and are left out instead.
    """
    kept, padding = [], []
    for p, s, k, d, (low, _) in zip(
        positions, size, window.kernel, window.dilation, window.padding, strict=True
    ):
        before = d * (k - 1) - low
        after = s - p + low
        kept.append(slice(max(0, -before), p - max(0, -after)))
        padding.append((max(0, before), max(0, after)))
    return tuple(kept), tuple(padding)
