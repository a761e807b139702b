"""Normalisation of each example by its own values, blocks of examples that stay in the cache.

Sums are products with ones, which are BLAS's. An array is taken as (n, m, k, l), the statistics
being over m and l: layer norm is (rows, 1, 1, values), instance norm (n, positions, channels, 1)
and group norm (n, positions, groups, channels of a group). Other axes are taken in plain
expressions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from flagstone_numpy.kernels.flat import SHARED, cut, share_if_large, shared_block
from flagstone_numpy.products import held
from flagstone_numpy.scratch import scratch
from flagstone_numpy.sums import MOST_GROUPS, share_sum

Array = np.ndarray
BLOCK = 32768
"""Numbers in a block: several float32 streams of 128 kB lie in a second-level cache."""


class View(NamedTuple):
    """How an array is taken as (n, m, k, l)."""

    n: int
    m: int
    k: int
    l: int  # noqa: E741  # beside the other three

    @classmethod
    def of(cls, shape: tuple[int, ...], axis: tuple[int, ...], *parameters: Any) -> View | None:
        """The view of an array, where parameters are one number for each of (k, l)."""
        over = sorted(a % len(shape) for a in axis)
        ndim = len(shape)
        if not over or 0 in shape:
            return None
        if over == list(range(over[0], ndim)) and over[0] > 0:
            found = cls(math.prod(shape[: over[0]]), 1, 1, math.prod(shape[over[0] :]))
            affine = shape[over[0] :]
        elif over == list(range(1, ndim - 1)):
            found = cls(shape[0], math.prod(shape[1:-1]), shape[-1], 1)
            affine = shape[-1:]
        elif over == [*range(1, ndim - 2), ndim - 1] and ndim > 3:
            found = cls(shape[0], math.prod(shape[1:-2]), shape[-2], shape[-1])
            affine = shape[-2:]
        else:
            return None
        return found if all(p is None or p.shape == affine for p in parameters) else None

    @property
    def width(self) -> int:
        return self.k * self.l

    def rows(self, x: Array) -> Array:
        """(n, m, k * l)."""
        return np.ascontiguousarray(x).reshape(self.n, self.m, self.width)

    @property
    def size(self) -> int:
        return self.n * self.m * self.width

    def blocks(self) -> list[slice]:
        most = BLOCK if self.size < SHARED else shared_block(self.size)
        return list(cut(self.n, max(1, most // (self.m * self.width))))

    def each(self, step: Callable[[slice], None]) -> None:
        """Call ``step`` for every block of examples."""

        def work(mine: Iterator[slice]) -> None:
            for block in mine:
                step(block)

        share_if_large(work, self.blocks(), self.size)

    def scratch(self, block: slice, dtype: Any) -> Array:
        return scratch("half", (block.stop - block.start, self.m, self.width), dtype)

    def means(self, part: Array) -> Array:
        """Over m and l, (b, 1, k)."""
        if self.m == 1:
            summed = part.reshape(len(part), self.width)
        else:
            summed = np.matmul(np.ones((1, self.m), part.dtype), part).reshape(len(part), -1)
        if self.l > 1:
            summed = np.matmul(summed.reshape(-1, self.l), np.ones(self.l, part.dtype))
        return (summed.reshape(len(part), 1, self.k)) / (self.m * self.l)

    def wide(self, v: Array) -> Array:
        """(b, 1, k) as it broadcasts over (b, m, k * l)."""
        return v if self.l == 1 or self.k == 1 else np.repeat(v, self.l, axis=2)

    def statistics(self, v: Array, shape: tuple[int, ...], axis: tuple[int, ...]) -> Array:
        """(n, 1, k) in the shape of ``x`` with axes of length 1."""
        over = {a % len(shape) for a in axis}
        return v.reshape([1 if i in over else s for i, s in enumerate(shape)])


@held
def axis_norm(
    x: Array, weight: Array | None, bias: Array | None, *, axis: tuple[int, ...], eps: float,
    relu: bool = False,
) -> Any:  # fmt: skip
    """See :func:`flagstone.ops.axis_norm`; with ``relu`` that of its first output."""
    view = View.of(x.shape, axis, weight, bias)
    if view is None:
        y, *kept = _over_any(x, weight, bias, axis, eps)
        return np.maximum(y, 0) if relu else y, *kept
    source, y = view.rows(x), np.empty(x.shape, x.dtype)
    target = y.reshape(source.shape)
    mean, var = np.empty((2, view.n, 1, view.k), x.dtype)
    scale = None if weight is None else weight.reshape(-1)
    shift = None if bias is None else bias.reshape(-1)

    def step(block: slice) -> None:
        mean[block] = view.means(source[block])
        part = np.subtract(source[block], view.wide(mean[block]), out=target[block])
        square = np.multiply(part, part, out=view.scratch(block, x.dtype))
        var[block] = view.means(square)
        inverse = view.wide(1 / np.sqrt(var[block] + eps))
        if scale is not None and view.m > 1:
            inverse, factor = inverse * scale, None
        else:
            factor = scale
        part *= inverse
        if factor is not None:
            part *= factor
        if shift is not None:
            part += shift
        if relu:
            np.maximum(part, 0, out=part)

    view.each(step)
    return y, *(view.statistics(v, x.shape, axis) for v in (mean, var))


@held
def axis_norm_grad(
    g: Array, x: Array, mean: Array, var: Array, weight: Array | None, *, axis: tuple[int, ...],
    eps: float,
) -> Any:  # fmt: skip
    """See :func:`flagstone.ops.axis_norm.axis_norm_grad`."""
    view = View.of(x.shape, axis, weight)
    if view is None:
        return _over_any_grad(g, x, mean, var, weight, axis, eps)
    source, given, dx = view.rows(x), view.rows(g), np.empty(x.shape, x.dtype)
    target = dx.reshape(source.shape)
    middle = mean.reshape(view.n, 1, view.k)
    inverse = 1 / np.sqrt(var.reshape(view.n, 1, view.k) + eps)
    scale = None if weight is None else weight.reshape(-1)

    def step(block: slice, sums: Array) -> None:
        back = view.wide(inverse[block])
        normal = np.subtract(
            source[block], view.wide(middle[block]), out=view.scratch(block, x.dtype)
        )
        normal *= back
        part = np.multiply(given[block], normal, out=target[block])
        ones = np.ones(part.shape[0] * view.m, x.dtype)
        sums[0] += ones @ part.reshape(-1, view.width)
        sums[1] += ones @ given[block].reshape(-1, view.width)
        if scale is not None:
            part *= scale
        along = view.wide(view.means(part))
        part = given[block] if scale is None else np.multiply(given[block], scale, out=part)
        level = view.wide(view.means(part))
        normal *= along
        normal += level
        part = np.subtract(part, normal, out=target[block])
        part *= back

    def work(mine: Iterator[tuple[Array, Sequence[slice]]]) -> None:
        for sums, group in mine:
            sums[...] = 0
            for block in group:
                step(block, sums)

    groups = MOST_GROUPS if view.size >= SHARED else 1
    d_weight, d_bias = share_sum(work, view.blocks(), (2, view.width), x.dtype, groups).copy()
    shape = () if weight is None else weight.shape
    sums = (v.sum() if weight is None else v for v in (d_weight, d_bias))
    return dx, *(np.asarray(v, x.dtype).reshape(shape) for v in sums)


@held
def axis_rms_norm(
    x: Array, weight: Array | None, *, axis: tuple[int, ...], eps: float, relu: bool = False
) -> Any:
    """See :func:`flagstone.ops.axis_norm.axis_rms_norm`; with ``relu`` that of its first output."""
    view = View.of(x.shape, axis, weight)
    if view is None:
        square = np.mean(x * x, axis=axis, keepdims=True)
        y = x * (1 / np.sqrt(square + eps))
        y = y if weight is None else y * weight
        return np.maximum(y, 0) if relu else y, square
    source, y = view.rows(x), np.empty(x.shape, x.dtype)
    target = y.reshape(source.shape)
    mean = np.empty((view.n, 1, view.k), x.dtype)

    def step(block: slice) -> None:
        part = np.multiply(source[block], source[block], out=target[block])
        mean[block] = view.means(part)
        np.multiply(source[block], view.wide(1 / np.sqrt(mean[block] + eps)), out=part)
        if weight is not None:
            part *= weight.reshape(-1)
        if relu:
            np.maximum(part, 0, out=part)

    view.each(step)
    return y, view.statistics(mean, x.shape, axis)


def _over_any(
    x: Array, weight: Array | None, bias: Array | None, axis: tuple[int, ...], eps: float
) -> Any:
    mean = np.mean(x, axis=axis, keepdims=True)
    y = x - mean
    var = np.mean(y * y, axis=axis, keepdims=True)
    y = y * (1 / np.sqrt(var + eps))
    y = y if weight is None else y * weight
    return y if bias is None else y + bias, mean, var


def _over_any_grad(
    g: Array, x: Array, mean: Array, var: Array, weight: Array | None, axis: tuple[int, ...],
    eps: float,
) -> Any:  # fmt: skip
    scale = 1 / np.sqrt(var + eps)
    normal = (x - mean) * scale
    through = g if weight is None else g * weight
    along = np.mean(through * normal, axis=axis, keepdims=True)
    level = np.mean(through, axis=axis, keepdims=True)
    over = tuple(range(x.ndim - (0 if weight is None else weight.ndim)))
    sums = (np.asarray(np.sum(v, axis=over)) for v in (g * normal, g))
    return (through - level - normal * along) * scale, *sums
