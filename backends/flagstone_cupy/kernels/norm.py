"""Batch, layer, group, instance and RMS normalisation."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from flagstone.backend import declines
from flagstone_cupy.kernel import Family, Kernel, family
from flagstone_cupy.kernels.reduce import columns, split, sum_middle
from flagstone_cupy.launch import (
    MOST_BLOCKS,
    THREADS,
    Array,
    Sizes,
    contiguous,
    empty,
    launch,
    over,
)

FLOATS = ("float", "double")
# dtypes of x and of the statistics
PAIRS = (
    ("float", "float"), ("double", "double"), ("__half", "float"), ("__nv_bfloat16", "float"),
)  # fmt: skip


def _batch(name: str) -> Family:
    return Family({(t, s): Kernel("norm.cu", name, T=t, S=s) for t, s in PAIRS})


BATCH_MOMENTS = _batch("batch_moments")
BATCH_MERGE = family("norm.cu", "batch_merge", T=FLOATS)
BATCH_APPLY = _batch("batch_apply")
BATCH_GRAD_SUMS = _batch("batch_grad_sums")
BATCH_GRAD_MERGE = family("norm.cu", "batch_grad_merge", T=FLOATS)
BATCH_GRAD_APPLY = _batch("batch_grad_apply")
AXIS_NORM = family("norm.cu", "axis_norm", T=FLOATS, CENTRED=(False, True))
AXIS_NORM_GRAD = family("norm.cu", "axis_norm_grad", T=FLOATS, CENTRED=(False, True))
AXIS_GRAD_SUMS = family("norm.cu", "axis_grad_sums", T=FLOATS, CENTRED=(False, True))
ROWS_EACH = 8  # rows that a thread which writes takes


@declines
def batch_norm(
    x: Array, weight: Array, bias: Array, *, eps: float, activation: str | None = None
) -> Any:
    """See :func:`flagstone.ops.norm.batch_norm`; three launches. ``activation`` is ``None`` or
    ``"relu"``."""
    types, wide_type = (x.dtype, weight.dtype), weight.dtype
    if types not in BATCH_APPLY:
        return NotImplemented
    x = contiguous(x)
    channels, rows = x.shape[-1], math.prod(x.shape[:-1])
    block, wide = columns(channels)
    splits = split(rows, 64 * block[1], wide)
    partial = empty((2, splits, channels), wide_type)
    mean, var = empty((channels,), wide_type), empty((channels,), wide_type)
    y = empty(x.shape, x.dtype)
    sizes = (rows, channels, splits)
    launch(BATCH_MOMENTS[types], (wide, splits, 1), block, 0, (x, partial[0], partial[1], *sizes))
    over(BATCH_MERGE[wide_type], channels, partial[0], partial[1], mean, var, *sizes, each=1)
    parameters = (contiguous(weight), contiguous(bias))
    arguments = (x, *parameters, mean, var, y, eps, activation == "relu", rows, channels)
    launch(BATCH_APPLY[types], (wide, _rows(rows, block), 1), block, 0, arguments)
    return y, mean, var


@declines
def batch_norm_grad(
    g: Array, x: Array, mean: Array, var: Array, weight: Array, *, eps: float
) -> Any:
    """See :func:`flagstone.ops.norm.batch_norm_grad`; three launches."""
    types, wide_type = (x.dtype, weight.dtype), weight.dtype
    if types not in BATCH_GRAD_APPLY:
        return NotImplemented
    g, x, mean, var, weight = (contiguous(a) for a in (g, x, mean, var, weight))
    channels, rows = x.shape[-1], math.prod(x.shape[:-1])
    block, wide = columns(channels)
    splits = split(rows, 64 * block[1], wide)
    sums, products = empty((2, splits, channels), wide_type)
    d_x, d_weight, d_bias = (empty(a.shape, a.dtype) for a in (x, weight, weight))
    summed = (g, x, mean, sums, products, rows, channels, splits)
    launch(BATCH_GRAD_SUMS[types], (wide, splits, 1), block, 0, summed)
    merged = (sums, products, var, d_weight, d_bias, eps, channels, splits)
    over(BATCH_GRAD_MERGE[wide_type], channels, *merged, each=1)
    arguments = (g, x, mean, var, weight, d_weight, d_bias, d_x, eps, rows, channels)
    launch(BATCH_GRAD_APPLY[types], (wide, _rows(rows, block), 1), block, 0, arguments)
    return d_x, d_weight, d_bias


def _rows(rows: int, block: Sizes) -> int:
    """How many blocks along y share the rows: few, so that a thread reads its channel once."""
    return min(-(-rows // (block[1] * ROWS_EACH)), MOST_BLOCKS[1])


@declines
def axis_norm(
    x: Array, weight: Array | None, bias: Array | None, *, axis: tuple[int, ...], eps: float,
    activation: str | None = None,
) -> Any:  # fmt: skip
    """See :func:`flagstone.ops.axis_norm.axis_norm`. ``activation`` is ``None`` or ``"relu"``."""
    return _normalized(x, weight, bias, axis, eps, activation == "relu", centred=True)


@declines
def axis_rms_norm(
    x: Array, weight: Array | None, *, axis: tuple[int, ...], eps: float,
    activation: str | None = None,
) -> Any:  # fmt: skip
    """See :func:`flagstone.ops.axis_norm.axis_rms_norm`, and above."""
    return _normalized(x, weight, None, axis, eps, activation == "relu", centred=False)


@declines
def axis_norm_grad(
    g: Array, x: Array, mean: Array, var: Array, weight: Array | None, *, axis: tuple[int, ...],
    eps: float,
) -> Any:  # fmt: skip
    """See :func:`flagstone.ops.axis_norm.axis_norm_grad`; two passes, then slices are added up."""
    return _pulled(g, x, mean, var, weight, axis, eps)


@declines
def axis_rms_norm_grad(
    g: Array, x: Array, square: Array, weight: Array | None, *, axis: tuple[int, ...], eps: float
) -> Any:
    """See :func:`flagstone.ops.axis_norm.axis_rms_norm_grad`; two passes, and slices added up."""
    return _pulled(g, x, None, square, weight, axis, eps)


class View(NamedTuple):
    """An array as (n, s, g, c) whose statistics are taken over s and c."""

    n: int
    s: int
    g: int
    c: int
    parameter_axes: int  # how many axes g and c stand for; weight and bias have the last of them


def view(shape: tuple[int, ...], axis: tuple[int, ...]) -> View | None:
    """``shape`` as a :class:`View`, if the axes ``axis`` make at most two runs of neighbours.

    That is so for layer norm (n, 1, 1, c), instance norm (n, s, c, 1), group norm (n, s, g, c).
    """
    reduced = {a % len(shape) for a in axis}
    end = len(shape)
    runs = []
    for is_reduced in (True, False, True, False):  # from the last axis: c, g, s, n
        start = end
        while start > 0 and (start - 1 in reduced) == is_reduced:
            start -= 1
        runs.append((math.prod(shape[start:end]), end - start))
        end = start
    (c, c_axes), (g, g_axes), (s, s_axes), (n, _) = runs
    if end:
        return None
    if c_axes and not s_axes:  # only the last axes are reduced: what is kept is n
        return View(g, 1, 1, c, c_axes)
    return View(n, s, g, c, c_axes + g_axes)


def _normalized(
    x: Array, weight: Array | None, bias: Array | None, axis: tuple[int, ...], eps: float,
    relu: bool, centred: bool,
) -> Any:  # fmt: skip
    seen = view(x.shape, axis)
    parameters = [a for a in (weight, bias) if a is not None]
    if (
        (x.dtype, centred) not in AXIS_NORM
        or seen is None
        or seen.s * seen.c >= 2**31
        or any(a.ndim > seen.parameter_axes for a in parameters)
    ):
        return NotImplemented
    reduced = {a % x.ndim for a in axis}
    kept = tuple(1 if a in reduced else n for a, n in enumerate(x.shape))
    y, var = empty(x.shape, x.dtype), empty(kept, x.dtype)
    mean = empty(kept, x.dtype) if centred else None
    grid, block = _a_row_each(seen)
    arrays = (contiguous(x), *(None if a is None else contiguous(a) for a in (weight, bias)))
    repeated = tuple(0 if a is None else a.size for a in (weight, bias))
    arguments = (*arrays, y, mean, var, eps, relu, *repeated, *seen[:4])
    launch(AXIS_NORM[x.dtype, centred], grid, block, 0, arguments)
    return (y, mean, var) if centred else (y, var)


def _pulled(
    g: Array, x: Array, mean: Array | None, var: Array, weight: Array | None, axis: tuple[int, ...],
    eps: float,
) -> Any:  # fmt: skip
    """The gradients of x and weight, and of bias where there is a mean."""
    seen, kind = view(x.shape, axis), (x.dtype, mean is not None)
    weights = 1 if weight is None else weight.size
    if kind not in AXIS_NORM_GRAD or seen is None:
        return NotImplemented
    image, row = seen.s * seen.g * seen.c, max(seen.g * seen.c, weights)
    if max(image, row) >= 2**31:
        return NotImplemented
    g, x, mean, var, weight = (
        None if a is None else contiguous(a) for a in (g, x, mean, var, weight)
    )
    d_x = empty(x.shape, x.dtype)
    arrays = (g, x, mean, var)
    grid, block = _a_row_each(seen)
    pulled = (*arrays, weight, d_x, eps, weights, *seen[:4])
    launch(AXIS_NORM_GRAD[kind], grid, block, 0, pulled)
    rows = x.size // max(row, 1)
    block, wide = columns(row)
    splits = split(rows, 64 * block[1], wide) if rows else 0
    made = 1 if mean is None else 2
    partial = empty((made, splits, row), x.dtype)
    sizes = (rows, row, splits, image, seen.g, seen.c)
    added = (*arrays, partial[0], None if mean is None else partial[1], eps, *sizes)
    launch(AXIS_GRAD_SUMS[kind], (wide, splits, 1), block, 0, added)
    summed = sum_middle(partial, made, splits * row // max(weights, 1), weights)
    shape = () if weight is None else weight.shape
    return d_x, *(summed[i].reshape(shape) for i in range(made))


def _a_row_each(seen: View) -> tuple[Sizes, Sizes]:
    """A grid and a block with a row of threads for each group."""
    is_sparse = seen.s > 1 and seen.c < 8  # neighbouring groups lie in the same 32 bytes
    wide, most = 32, 32 if is_sparse else THREADS
    while wide < most and wide * 4 < seen.s * seen.c:
        wide *= 2
    high = THREADS // wide
    return (min(-(-seen.n * seen.g // high), MOST_BLOCKS[0]), 1, 1), (wide, high, 1)
