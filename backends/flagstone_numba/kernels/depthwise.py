"""Depthwise convolution, compiled: one input channel a group, and one output channel.

With more, and with three spatial axes, NumPy's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from flagstone_numba.kernels.elementwise import relu_in_place
from flagstone_numba.kernels.planes import Geometry, as_planes
from flagstone_numba.kernels.reduction import sum_rows
from flagstone_numba.loading import loops
from flagstone_numba.sums import share_sum
from flagstone_numpy.kernels import depthwise as numpys
from flagstone_numpy.kernels.windows import Array, Sizes, Window
from flagstone_numpy.threads import share

PIECE = 1 << 17
"""Numbers of output in a piece of work: some 100 us."""


def forward(
    x: Array, w: Array, b: Array | None, window: Window, positions: Sizes, groups: int,
    out: Array | None = None, relu: bool = False,
) -> Array:  # fmt: skip
    """Return the convolution, (n, *positions, k)."""
    if len(positions) > 2 or w.shape[0] != groups:
        return numpys.forward(x, w, b, window, positions, groups, out=out, relu=relu)
    y = np.empty((x.shape[0], *positions, groups), x.dtype) if out is None else out
    weights = _by_tap(w)[..., 0, :]
    _over_images(loops("depthwise").forward, x, weights, _bias(b, y), window, y)
    return relu_in_place(y) if relu else y


def weight_grad(
    dy: Array, x: Array, window: Window, groups: int, out: Array | None = None,
    bias: Array | None = None,
) -> Array:  # fmt: skip
    """Return the gradient of the weights, (k, *kernel, 1); write the bias's where one is given."""
    if bias is not None:
        sum_rows(dy, bias)
    if x.ndim > 4 or dy.shape[-1] != groups:
        return numpys.weight_grad(dy, x, window, groups, out=out)
    shape = (*Geometry.of(window).kernel, groups)
    dw = _sum_over_images(loops("depthwise").weight_grad, dy, x, window, shape)
    found = np.empty((groups, *window.kernel, 1), x.dtype) if out is None else out
    np.copyto(found.reshape(groups, *shape[:2]), np.moveaxis(dw, -1, 0))
    return found


def input_grad(
    dy: Array, w: Array, size: Sizes, window: Window, groups: int, out: Array | None = None
) -> Array:
    """Return the gradient of the input, (n, *size, groups)."""
    if len(size) > 2 or w.shape[0] != groups:
        return numpys.input_grad(dy, w, size, window, groups, out=out)
    dx = np.empty((dy.shape[0], *size, groups), dy.dtype) if out is None else out
    dx[...] = 0
    weights = _by_tap(w)[..., 0, :]
    _over_images(loops("depthwise").input_grad, dy, weights, None, window, dx)
    return dx


def _over_images(
    run: Callable[..., None], source: Array, weights: Array, bias: Array | None, window: Window,
    target: Array,
) -> None:  # fmt: skip
    """Run a loop from ``source`` into ``target``, its images shared among threads."""
    geometry = Geometry.of(window)
    seen, into = as_planes(source), as_planes(target)
    given = (seen, weights) if bias is None else (seen, weights, bias)

    def work(mine: Iterator[tuple[int, int]]) -> None:
        for first, stop in mine:
            run(*given, first, stop, geometry.stride, geometry.low, geometry.dilation, into)

    share(work, _pieces(target.shape[0], max(source[:1].size, target[:1].size)))


def _sum_over_images(
    run: Callable[..., None], dy: Array, x: Array, window: Window, shape: tuple[int, ...]
) -> Array:
    geometry = Geometry.of(window)
    given, seen = as_planes(dy), as_planes(x)

    def work(mine: Iterator[tuple[Array, Sequence[tuple[int, int]]]]) -> None:
        for total, group in mine:
            for first, stop in group:
                run(
                    given, seen, first, stop, geometry.stride, geometry.low, geometry.dilation,
                    total,
                )  # fmt: skip

    return share_sum(work, _pieces(x.shape[0], max(dy[:1].size, x[:1].size)), shape, x.dtype)


def _pieces(images: int, numbers: int) -> list[tuple[int, int]]:
    """Cut images of so many numbers into pieces of work, (first, stop)."""
    step = max(1, PIECE // max(1, numbers))
    return [(first, min(first + step, images)) for first in range(0, images, step)]


def _by_tap(w: Array) -> Array:
    """Return weights (k, *kernel, c) as (r, s, c, k)."""
    moved = np.ascontiguousarray(np.moveaxis(w, 0, -1))
    planes: Array = moved if w.ndim == 4 else moved[None]
    return planes


def _bias(b: Array | None, y: Array) -> Any:
    return np.zeros(y.shape[-1], y.dtype) if b is None else np.ascontiguousarray(b)
