"""Max and average pooling and their transposes, one pass over the input for every tap.

Layout is channels-last: x is (n, *size, c), y and index (n, *positions, c), for one, two or three
spatial axes. Work goes image by image, in blocks that stay in the second-level
cache; padding is never built, for a tap simply leaves out the positions at which it lies there.
Arguments are taken as valid: the ops check them.

What max pooling chose is kept as a tap number, not as a mask or an address: one byte an output.
Where a gradient is taken or left, its bits are multiplied by 1 or 0 as an integer: exact for
every number, infinities and NaN included, and faster than a choice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from flagstone_numpy.kernels.windows import Array, Pairs, Sizes, Slices, Tap, Window, blocks, taps

BLOCK_BYTES = 1 << 18


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
    index = np.zeros(y.shape, np.uint8 if window.taps <= 255 else np.int32)
    found = _taps(window, x.shape[1:-1], positions)
    for images in _image_blocks(y):
        _max_pool_block(x[images], y[images], index[images], found)
    return y, index


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
    window = _window(kernel, stride, padding)
    positions = g.shape[1:-1]
    shape = (g.shape[0], *size, g.shape[-1])
    once = all(k <= s for k, s in zip(kernel, stride, strict=True))  # no two windows overlap
    every = once and reaches_all(window, size, positions)
    dx = np.empty(shape, g.dtype) if every else np.zeros(shape, g.dtype)
    found = _taps(window, size, positions)
    for images in _image_blocks(g):
        values, chosen, target = g[images], index[images], dx[images]
        for tap in found:
            inputs = _at(target, tap.inputs)
            mask = _at(chosen, tap.outputs) == tap.number
            if once:
                np.multiply(_bits(_at(values, tap.outputs)), mask, out=_bits(inputs))
            else:
                taken = _bits(_at(values, tap.outputs)) * mask
                inputs += taken.view(g.dtype)
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
    for images in _image_blocks(y):
        source, chosen, target = x[images], index[images], y[images]
        for tap in found:
            mask = _at(chosen, tap.outputs) == tap.number
            into = _bits(_at(target, tap.outputs))
            into += _bits(_at(source, tap.inputs)) * mask  # at most one tap is not zero
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
    for images in _image_blocks(y):
        total, mean = x[images], y[images]
        for axis, line in enumerate(lines):  # the sum over a box is a sum along each axis
            shape = (len(mean), *positions[: axis + 1], *size[axis + 1 :], x.shape[-1])
            into = mean if axis == len(size) - 1 else np.empty(shape, x.dtype)
            total = _sum_along(total, line, into)
        mean /= divisor
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
    for images in _image_blocks(g):
        part, whole = g[images] / divisor, dx[images]
        for axis, line in reversed(list(enumerate(lines))):
            shape = (len(whole), *positions[:axis], *size[axis:], g.shape[-1])
            into = whole if axis == 0 else np.empty(shape, g.dtype)
            part = _spread_along(part, line, into)
    return dx


def _max_pool_block(x: Array, y: Array, index: Array, found: tuple[Tap, ...]) -> None:
    """Fill ``y`` and ``index``, which holds zeros, for a block of images."""
    whole = _whole(found, y.shape[1:-1])
    if whole >= 2:  # compare two taps at once: nothing to fill first
        first, second = _at(x, found[0].inputs), _at(x, found[1].inputs)
        index[...] = second > first
        np.maximum(second, first, out=y)
        found_later = found[2:]
    elif whole == 1:
        y[...] = _at(x, found[0].inputs)
        found_later = found[1:]
    else:
        y[...] = -np.inf
        found_later = found
    greater = np.empty(y.shape, np.bool_)
    for tap in found_later:
        source, best = _at(x, tap.inputs), _at(y, tap.outputs)
        is_greater = np.greater(source, best, out=_at(greater, tap.outputs))
        np.maximum(source, best, out=best)  # NaN if either is
        # Tap numbers rise, so the largest is the latest: faster than a choice.
        chosen = _at(index, tap.outputs)
        number = is_greater.view(np.uint8) * index.dtype.type(tap.number)
        np.maximum(chosen, number, out=chosen)
    if np.isnan(y).any():
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


def _image_blocks(y: Array) -> Iterator[slice]:
    """Cut the images into blocks of about ``BLOCK_BYTES`` of output, one image at least."""
    if y.size:
        image_bytes = math.prod(y.shape[1:]) * y.itemsize
        for block in blocks(y.shape[0], 1, image_bytes, max(BLOCK_BYTES, image_bytes)):
            yield block.images


def _at(a: Array, slices: Slices) -> Array:
    """Return the view of all images at ``slices`` of the spatial axes."""
    return a[(slice(None), *slices)]


def _bits(a: Array) -> Array:
    """Return the view of ``a`` as unsigned integers of its width."""
    bits: Array = a.view(f"u{a.itemsize}")
    return bits
