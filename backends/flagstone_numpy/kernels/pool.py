"""Max and average pooling and their transposes, a window's axes one after the other.

Layout is channels-last: x is (n, *size, c), y and index (n, *positions, c), for one, two or three
spatial axes. Blocks of images are shared among threads; padding is never built, for a tap leaves
out the positions at which it lies there. Arguments are taken as valid: the ops check them.

What max pooling chose is kept as a tap number, not as a mask or an address: one byte an output.
Where a gradient is taken or left, its bits are multiplied by 1 or 0 as an integer: exact for
every number, infinities and NaN included, and faster than a choice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from flagstone.backend import Traits
from flagstone_numpy.kernels.windows import (
    Array,
    Pairs,
    Sizes,
    Slices,
    Tap,
    Window,
    shared_blocks,
    taps,
)
from flagstone_numpy.scratch import scratch
from flagstone_numpy.threads import share

BLOCK_BYTES = 1 << 21
"""Of the larger of input and output."""
HALVES = ("half", "products")
"""The scratch of what is pooled along some axes only; that along the next axis is read with it."""


def pool_into(
    out: tuple[Array, Array], x: Array, *, kernel: Sizes, stride: Sizes, padding: Pairs,
    relu: bool = False,
) -> None:  # fmt: skip
    """Write :func:`max_pool`'s outputs to ``out``, the first one activated if asked for."""
    y, index = out
    window = _window(kernel, stride, padding)
    size, positions = x.shape[1:-1], y.shape[1:-1]
    lines = [_line(window, axis, size, positions) for axis in range(len(size))]
    found = _taps(window, size, positions)

    def work(mine: Iterator[slice]) -> None:
        for images in mine:
            _max_pool_block(x[images], y[images], index[images], window, lines)
            if np.isnan(y[images]).any():
                _point_at_nan(x[images], index[images], found)
            if relu:
                np.maximum(y[images], 0, out=y[images])

    share(work, _image_blocks(x, y))


@Traits(into=pool_into)
def max_pool(x: Array, *, kernel: Sizes, stride: Sizes, padding: Pairs) -> tuple[Array, Array]:
    """Return the largest number in each window, and where it stands.

    Arguments:
        x: (n, *size, c), of a floating dtype.
        kernel, stride: one integer >= 1 for each spatial axis.
        padding: one pair (low, high) for each spatial axis; the padding counts as -inf.

    Returns:
        y: (n, *positions, c), of the dtype of ``x``; NaN where the window holds a NaN.
        index: the same shape, the row-major number of the tap of the first maximum (of the first
            NaN, if there is one): uint8, or int32 where the window has more than 255 taps.
    """
    window = _window(kernel, stride, padding)
    positions = window.positions(x.shape[1:-1])
    y = np.empty((x.shape[0], *positions, x.shape[-1]), x.dtype)
    index = np.empty(y.shape, np.uint8 if window.taps <= 255 else np.int32)
    pool_into((y, index), x, kernel=kernel, stride=stride, padding=padding)
    return y, index


def _max_pool_grad_into(
    dx: Array, g: Array, index: Array, *, size: Sizes, kernel: Sizes, stride: Sizes, padding: Pairs
) -> None:
    window = _window(kernel, stride, padding)
    positions = g.shape[1:-1]
    once = all(k <= s for k, s in zip(kernel, stride, strict=True))  # no two windows overlap
    every = once and reaches_all(window, size, positions)
    found = _taps(window, size, positions)

    def work(mine: Iterator[slice]) -> None:
        for images in mine:
            values, chosen, target = g[images], index[images], dx[images]
            if not every:
                target[...] = 0
            for tap in found:
                inputs, seen_by = _at(target, tap.inputs), _at(chosen, tap.outputs)
                mask = np.equal(
                    seen_by, tap.number, out=scratch("gathered", seen_by.shape, np.bool_)
                )
                taken = _bits(_at(values, tap.outputs))
                if once:
                    np.multiply(taken, mask, out=_bits(inputs))
                else:
                    inputs += (taken * mask).view(g.dtype)

    share(work, _image_blocks(dx, g))


@Traits(into=_max_pool_grad_into)
def max_pool_grad(
    g: Array, index: Array, *, size: Sizes, kernel: Sizes, stride: Sizes, padding: Pairs
) -> Array:
    """Return the gradient with respect to ``x`` of <max_pool(x)[0], g>, (n, *size, c).

    Each number of ``g`` goes to the input that ``index`` names. A maximum that is padding (every
    number in the window is -inf) passes nothing on.

    Arguments:
        g, index: (n, *positions, c).
        size: the spatial shape of x.
        kernel, stride, padding: those of the pooling.
    """
    dx = np.empty((g.shape[0], *size, g.shape[-1]), g.dtype)
    _max_pool_grad_into(dx, g, index, size=size, kernel=kernel, stride=stride, padding=padding)
    return dx


def max_pool_pick(x: Array, index: Array, *, kernel: Sizes, stride: Sizes, padding: Pairs) -> Array:
    """Return the numbers of ``x`` at the places that a max pooling chose, (n, *positions, c).

    The transpose of :func:`max_pool_grad` in its first argument: the pullback's pullback, and the
    directional derivative. Zero where the chosen place is padding.

    Arguments:
        x: (n, *size, c), any array of the shape of the pooled one.
        index: (n, *positions, c).
        kernel, stride, padding: those of the pooling.
    """
    window = _window(kernel, stride, padding)
    y = np.zeros(index.shape, x.dtype)
    found = _taps(window, x.shape[1:-1], index.shape[1:-1])

    def work(mine: Iterator[slice]) -> None:
        for images in mine:
            source, chosen, target = x[images], index[images], y[images]
            for tap in found:
                mask = _at(chosen, tap.outputs) == tap.number
                into = _bits(_at(target, tap.outputs))
                into += _bits(_at(source, tap.inputs)) * mask  # at most one tap is not zero

    share(work, _image_blocks(x, y))
    return y


def avg_pool(
    x: Array, *, kernel: Sizes, stride: Sizes, padding: Pairs, count_include_pad: bool
) -> Array:
    """Return the mean of each window, (n, *positions, c).

    Arguments:
        x: (n, *size, c).
        kernel, stride: one integer >= 1 for each spatial axis.
        padding: one pair (low, high) of numbers of zeros for each spatial axis.
        count_include_pad: whether the padding counts in the divisor. If not, a window that is
            all padding has the mean 0.
    """
    window = _window(kernel, stride, padding)
    size = x.shape[1:-1]
    positions = window.positions(size)
    y = np.empty((x.shape[0], *positions, x.shape[-1]), x.dtype)
    divisor = _divisor(window, size, positions, x.dtype, count_include_pad)
    lines = [_line(window, axis, size, positions) for axis in range(len(size))]

    def work(mine: Iterator[slice]) -> None:
        for images in mine:
            total, mean = x[images], y[images]
            for axis, line in enumerate(lines):  # the sum over a box is a sum along each axis
                shape = (len(mean), *positions[: axis + 1], *size[axis + 1 :], x.shape[-1])
                is_last = axis == len(size) - 1
                into = mean if is_last else scratch(HALVES[axis % 2], shape, x.dtype)
                total = _sum_along(total, line, into)
            mean /= divisor

    share(work, _image_blocks(x, y))
    return y


def avg_pool_grad(
    g: Array,
    *,
    size: Sizes,
    kernel: Sizes,
    stride: Sizes,
    padding: Pairs,
    count_include_pad: bool,
) -> Array:
    """Return the gradient with respect to ``x`` of <avg_pool(x), g>, (n, *size, c).

    Arguments:
        g: (n, *positions, c).
        size: the spatial shape of x.
        kernel, stride, padding, count_include_pad: those of the pooling.
    """
    window = _window(kernel, stride, padding)
    positions = g.shape[1:-1]
    dx = np.empty((g.shape[0], *size, g.shape[-1]), g.dtype)
    divisor = _divisor(window, size, positions, g.dtype, count_include_pad)
    lines = [_line(window, axis, size, positions) for axis in range(len(size))]

    def work(mine: Iterator[slice]) -> None:
        for images in mine:
            part, whole = g[images] / divisor, dx[images]
            for axis, line in reversed(list(enumerate(lines))):
                shape = (len(whole), *positions[:axis], *size[axis:], g.shape[-1])
                into = whole if axis == 0 else scratch(HALVES[axis % 2], shape, g.dtype)
                part = _spread_along(part, line, into)

    share(work, _image_blocks(dx, g))
    return dx


def _max_pool_block(x: Array, y: Array, index: Array, window: Window, lines: list[_Line]) -> None:
    """Fill ``y`` and ``index`` for a block of images, the innermost axis first.

    Of equal numbers the first in the order of rows is kept: along each axis the first, and of two
    rows the upper.
    """
    best, inner = x, None
    for axis in reversed(range(len(lines))):
        line = lines[axis]
        shape = (*x.shape[: axis + 1], *y.shape[axis + 1 :])
        is_last = axis == 0
        into = y if is_last else scratch(HALVES[axis % 2], shape, x.dtype)
        chosen = index if is_last else scratch(f"chosen {axis}", shape, index.dtype)
        best, inner = _max_along(
            best, inner, line, into, chosen, math.prod(window.kernel[axis + 1 :])
        )


def _max_along(
    x: Array, inner: Array | None, line: _Line, best: Array, chosen: Array, step: int
) -> tuple[Array, Array]:
    """Write the largest numbers along one axis to ``best`` and which tap they are to ``chosen``.

    A tap here counts ``step`` taps of the window; ``inner`` says which of them.
    """
    outputs, inputs = line.outputs, line.inputs
    number = chosen.dtype.type
    start = min(line.whole, 2)
    if start == 2:  # compare two taps at once: nothing to fill first
        source, other = x[inputs[1]], x[inputs[0]]
        is_greater = np.greater(source, other, out=scratch("gathered", best.shape, np.bool_))
        np.maximum(source, other, out=best)
        if inner is None:
            np.copyto(chosen, is_greater)
        else:
            np.add(inner[inputs[1]], number(step), out=chosen)
            chosen *= is_greater
            np.maximum(chosen, inner[inputs[0]], out=chosen)
    elif start:
        np.copyto(best, x[inputs[0]])
        np.copyto(chosen, 0 if inner is None else inner[inputs[0]])
    else:
        best[...] = -np.inf
        chosen[...] = 0
    for tap, seen_by, seen in zip(
        line.numbers[start:], outputs[start:], inputs[start:], strict=True
    ):
        source, top, which = x[seen], best[seen_by], chosen[seen_by]
        is_greater = np.greater(source, top, out=scratch("gathered", source.shape, np.bool_))
        np.maximum(source, top, out=top)  # NaN if either is
        # Tap numbers rise, so the largest is the latest: faster than a choice.
        here = scratch("number", source.shape, chosen.dtype)
        if inner is None:
            np.multiply(is_greater, number(tap * step), out=here)
        else:
            np.add(inner[seen], number(tap * step), out=here)
            here *= is_greater
        np.maximum(which, here, out=which)
    return best, chosen


def _point_at_nan(x: Array, index: Array, found: tuple[Tap, ...]) -> None:
    """Let ``index`` name the first NaN of each window that has one."""
    for tap in reversed(found):
        is_nan = np.isnan(_at(x, tap.inputs))
        np.copyto(_at(index, tap.outputs), index.dtype.type(tap.number), where=is_nan)


def _whole(found: tuple[Tap, ...], positions: Sizes) -> int:
    """Return how many of the window's first taps serve every position."""
    every = tuple(slice(0, p) for p in positions)
    for count, tap in enumerate(found):
        if tap.number != count or tap.outputs != every:
            return count
    return len(found)


class _Line(NamedTuple):
    """A window along one axis alone, its slices as indices from axis 0."""

    numbers: tuple[int, ...]  # of its taps
    outputs: tuple[Slices, ...]
    inputs: tuple[Slices, ...]
    whole: int  # how many of the first taps serve every output
    disjoint: bool  # whether every input lies in exactly one window


def _line(window: Window, axis: int, size: Sizes, positions: Sizes) -> _Line:
    """Return the window along spatial axis ``axis``."""
    along = slice(axis, axis + 1)
    line = _window(window.kernel[along], window.stride[along], window.padding[along])
    found = _taps(line, size[along], positions[along])
    before = (slice(None),) * (axis + 1)
    return _Line(
        tuple(tap.number for tap in found),
        tuple((*before, *tap.outputs) for tap in found),
        tuple((*before, *tap.inputs) for tap in found),
        _whole(found, positions[along]),
        reaches_all(line, size[along], positions[along]),
    )


def _sum_along(x: Array, line: _Line, into: Array) -> Array:
    """Write the sums along one axis to ``into`` and return it."""
    outputs, inputs = line.outputs, line.inputs
    done = min(line.whole, 2)
    if done == 2:  # add two taps at once: nothing to fill first
        np.add(x[inputs[0]], x[inputs[1]], out=into)
    else:
        into[...] = x[inputs[0]] if done else 0
    for seen_by, seen in zip(outputs[done:], inputs[done:], strict=True):
        into[seen_by] += x[seen]
    return into


def _spread_along(part: Array, line: _Line, into: Array) -> Array:
    """Give each number of ``part`` to its inputs along one axis: the transpose of a sum."""
    if line.disjoint:
        for seen_by, seen in zip(line.outputs, line.inputs, strict=True):
            into[seen] = part[seen_by]
    else:
        into[...] = 0
        for seen_by, seen in zip(line.outputs, line.inputs, strict=True):
            into[seen] += part[seen_by]
    return into


def _divisor(
    window: Window, size: Sizes, positions: Sizes, dtype: np.dtype[Any], with_padding: bool
) -> Array:
    """Return how many numbers each window averages, (*positions, 1), or one number for all."""
    if with_padding or not window.is_padded:
        return np.array(window.taps, dtype)
    count = np.ones((1, *size, 1), dtype)
    for axis in range(len(size)):
        shape = (1, *positions[: axis + 1], *size[axis + 1 :], 1)
        count = _sum_along(count, _line(window, axis, size, positions), np.empty(shape, dtype))
    at_least_one: Array = np.maximum(count[0], 1)
    return at_least_one


def _window(kernel: Sizes, stride: Sizes, padding: Pairs) -> Window:
    return Window(kernel, stride, padding, (1,) * len(kernel))


def _taps(window: Window, size: Sizes, positions: Sizes) -> tuple[Tap, ...]:
    return taps(window, size, (0, positions[0]), positions[1:])


def reaches_all(window: Window, size: Sizes, positions: Sizes) -> bool:
    """Whether every input lies in some window, given that no two windows overlap."""
    return window.kernel == window.stride and all(
        p * k - low >= s
        for p, k, s, (low, _) in zip(positions, window.kernel, size, window.padding, strict=True)
    )


def _image_blocks(x: Array, y: Array) -> list[slice]:
    """Cut the images into blocks of at most ``BLOCK_BYTES`` of either, one image at least."""
    larger = x if x.size > y.size else y
    image_bytes = math.prod(larger.shape[1:]) * larger.itemsize
    if not y.size:
        return []
    return [b.images for b in shared_blocks(len(y), 1, image_bytes, max(image_bytes, BLOCK_BYTES))]


def _at(a: Array, slices: Slices) -> Array:
    """Return the view of all images at ``slices`` of the spatial axes."""
    return a[(slice(None), *slices)]


def _bits(a: Array) -> Array:
    """Return the view of ``a`` as unsigned integers of its width."""
    bits: Array = a.view(f"u{a.itemsize}")
    return bits
