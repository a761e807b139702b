"""Normalisation of each example by its own values, compiled, examples shared among threads.

The cases are those of :mod:`flagstone_numpy.kernels.axis_norm`, which serves all others; mean
squares are taken of last axes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from flagstone.backend import Traits, declines
from flagstone_numba.kernels.flat import LEAST
from flagstone_numba.loading import loops
from flagstone_numba.sums import share_sum, share_sum_turns
from flagstone_numpy.kernels.axis_norm import View
from flagstone_numpy.kernels.windows import Array
from flagstone_numpy.threads import Turns, share, share_turns

PIECE = 1 << 16
"""Numbers in a piece of work: some 50 us."""


@declines
@Traits(least=LEAST)
def axis_norm(
    x: Array, weight: Array | None, bias: Array | None, *, axis: tuple[int, ...], eps: float
) -> Any:
    """See :func:`flagstone_numpy.kernels.axis_norm.axis_norm`."""
    view = View.of(x.shape, axis, weight, bias) if x.size >= LEAST else None
    run = None if view is None or x.dtype.kind != "f" or x.itemsize < 4 else loops("norm")
    if view is None or run is None:
        return NotImplemented
    y, source = np.empty(x.shape, x.dtype), view.rows(x)
    target = y.reshape(source.shape)
    scale, shift = _wide(weight, 1, view.width, x), _wide(bias, 0, view.width, x)
    mean, var = np.empty((2, view.n, view.k), x.dtype)
    small = x.dtype.type(eps)

    def work(mine: Iterator[slice]) -> None:
        for part in mine:
            if view.m == view.k == 1:
                run.rows(
                    source[part, 0], scale, shift, small, target[part, 0], mean[part, 0],
                    var[part, 0],
                )  # fmt: skip
            else:
                run.planes(
                    source[part], view.l, scale, shift, small, target[part], mean[part], var[part]
                )

    share(work, _pieces(view))
    return y, *(view.statistics(v, x.shape, axis) for v in (mean, var))


@declines
@Traits(least=LEAST)
def axis_norm_grad(
    g: Array, x: Array, mean: Array, var: Array, weight: Array | None, *, axis: tuple[int, ...],
    eps: float,
) -> Any:  # fmt: skip
    """See :func:`flagstone_numpy.kernels.axis_norm.axis_norm_grad`."""
    view = View.of(x.shape, axis, weight) if x.size >= LEAST else None
    run = None if view is None or x.dtype.kind != "f" or x.itemsize < 4 else loops("norm")
    if view is None or run is None:
        return NotImplemented
    dx, source, given = np.empty(x.shape, x.dtype), view.rows(x), view.rows(g)
    target, scale = dx.reshape(source.shape), _wide(weight, 1, view.width, x)
    middle, spread = (np.ascontiguousarray(v).reshape(view.n, view.k) for v in (mean, var))
    small = x.dtype.type(eps)

    def work(mine: Iterator[tuple[Array, Sequence[slice]]]) -> None:
        for total, group in mine:
            for part in group:
                if view.m == view.k == 1:
                    run.rows_grad(
                        given[part, 0], source[part, 0], middle[part, 0], spread[part, 0], scale,
                        small, target[part, 0], total,
                    )  # fmt: skip
                else:
                    run.planes_grad(
                        given[part], source[part], view.l, middle[part], spread[part], scale, small,
                        target[part], total,
                    )  # fmt: skip

    sums = share_sum(work, _pieces(view), (2, view.width), x.dtype)
    if weight is None:
        return dx, *(np.asarray(v.sum(), x.dtype) for v in sums)
    return dx, *(v.reshape(weight.shape) for v in sums)


@declines
@Traits(least=LEAST)
def axis_rms_norm(x: Array, weight: Array | None, *, axis: tuple[int, ...], eps: float) -> Any:
    """``x / sqrt(mean(x²) + eps) * weight`` over last axes; others are left to plain expressions.

    Returns:
        The output and the mean squares, as :func:`flagstone.ops.axis_norm.axis_rms_norm`.
    """
    view = _rows(x, weight, axis)
    if view is None:
        return NotImplemented
    y, source = np.empty(x.shape, x.dtype), view.rows(x)[:, 0]
    target, square = y.reshape(source.shape), np.empty(view.n, x.dtype)
    each, scale, small = max(1, PIECE // view.l), _wide(weight, 1, view.l, x), x.dtype.type(eps)
    run = loops("batch").rms

    def work(turns: Turns) -> None:
        run(turns, each, source, scale, small, target, square)

    share_turns(work, -(-view.n // each))
    return y, view.statistics(square.reshape(view.n, 1), x.shape, axis)


@declines
@Traits(least=LEAST)
def axis_rms_norm_grad(
    g: Array, x: Array, square: Array, weight: Array | None, *, axis: tuple[int, ...], eps: float
) -> Any:
    """The gradients of :func:`axis_rms_norm`'s ``x`` and ``weight``."""
    view = _rows(x, weight, axis)
    if view is None:
        return NotImplemented
    dx, source, given = np.empty(x.shape, x.dtype), view.rows(x)[:, 0], view.rows(g)[:, 0]
    target, scale = dx.reshape(source.shape), _wide(weight, 1, view.l, x)
    kept, small = np.ascontiguousarray(square).reshape(-1), x.dtype.type(eps)
    each, run = max(1, PIECE // view.l), loops("batch").rms_grad

    def work(turns: Turns, totals: Array, ends: Array) -> None:
        run(turns, given, source, kept, scale, small, ends, each, target, totals)

    total = share_sum_turns(work, -(-view.n // each), (view.l,), x.dtype)
    return dx, np.asarray(total.sum(), x.dtype) if weight is None else total.reshape(weight.shape)


def _rows(x: Array, weight: Array | None, axis: tuple[int, ...]) -> View | None:
    """How ``x`` is taken as rows, if it is large and of a dtype that loops are compiled for."""
    if x.size < LEAST or x.dtype.kind != "f" or x.itemsize < 4:
        return None
    view = View.of(x.shape, axis, weight)
    if view is None or view.m * view.k > 1 or loops("batch") is None:
        return None
    return view


def _pieces(view: View) -> list[slice]:
    step = max(1, PIECE // (view.m * view.width))
    return [slice(i, min(i + step, view.n)) for i in range(0, view.n, step)]


def _wide(parameter: Array | None, neutral: int, width: int, like: Array) -> Array:
    """One number for each channel, contiguous."""
    if parameter is None:
        return np.full(width, neutral, like.dtype)
    return np.ascontiguousarray(parameter).reshape(-1)
