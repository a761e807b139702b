"""Where a sliding window meets its input: tap slices, strided views and blocks of work.

Shared by convolution and pooling, for any number of spatial axes. Arrays are channels-last,
(n, *size, c). A *tap* is one place of the window, a *position* one place of the output; position
p sees input index ``p * stride + tap * dilation - low`` along each axis.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from flagstone_numpy.scratch import scratch

Array: TypeAlias = npt.NDArray[Any]
Sizes: TypeAlias = tuple[int, ...]
Pairs: TypeAlias = tuple[tuple[int, int], ...]
Slices: TypeAlias = tuple[slice, ...]


class Window(NamedTuple):
    """The static arguments of a sliding window, one entry for each spatial axis."""

    kernel: Sizes
    stride: Sizes
    padding: Pairs
    dilation: Sizes

    @property
    def taps(self) -> int:
        return math.prod(self.kernel)

    @property
    def is_padded(self) -> bool:
        return any(low or high for low, high in self.padding)

    def positions(self, size: Sizes) -> Sizes:
        """Return the output's spatial shape for an input's."""
        return tuple(
            (s + low + high - d * (k - 1) - 1) // step + 1
            for s, k, step, (low, high), d in zip(size, *self, strict=True)
        )


class Tap(NamedTuple):
    """One tap: the outputs that it serves from inside the input, and the inputs that it reads."""

    number: int
    outputs: Slices
    inputs: Slices


@lru_cache(maxsize=512)
def taps(window: Window, size: Sizes, rows: tuple[int, int], rest: Sizes) -> tuple[Tap, ...]:
    """List the taps in row-major order, without those that fall wholly into the padding.

    The outputs are those of positions ``rows[0]`` to ``rows[1]`` of the first spatial axis,
    counted from ``rows[0]``, and all ``rest`` positions of the others.
    """
    ranges = (rows, *((0, p) for p in rest))
    axes = [
        [_clip(t * d - low, s, step, span) for t in range(k)]
        for s, k, step, (low, _), d, span in zip(size, *window, ranges, strict=True)
    ]
    found = []
    for number, tap in enumerate(itertools.product(*axes)):
        if all(outputs.stop > outputs.start for outputs, _ in tap):
            found.append(Tap(number, tuple(o for o, _ in tap), tuple(i for _, i in tap)))
    return tuple(found)


def _clip(offset: int, size: int, stride: int, span: tuple[int, int]) -> tuple[slice, slice]:
    """Return the positions p in ``span`` with 0 <= p * stride + offset < size, and the inputs."""
    first = max(span[0], -(offset // stride))  # offset // stride rounds down, so this rounds up
    last = min(span[1], (size - 1 - offset) // stride + 1)
    if last <= first:
        return slice(0, 0), slice(0, 0)
    begin = first * stride + offset
    end = (last - 1) * stride + offset + 1
    return slice(first - span[0], last - span[0]), slice(begin, end, stride)


class Block(NamedTuple):
    """A piece of the work: some images, or some rows (first spatial axis) of one image."""

    images: slice
    rows: slice

    @property
    def shape(self) -> tuple[int, int]:
        return self.images.stop - self.images.start, self.rows.stop - self.rows.start


def blocks(images: int, rows: int, row_bytes: int, budget: int) -> Iterator[Block]:
    """Cut ``images`` times ``rows`` into nearly equal blocks of about ``budget`` bytes.

    Whole images are kept together while they fit; the first block is the largest.
    """
    if not images or not rows:
        return
    image_bytes = max(1, rows * row_bytes)
    if image_bytes <= budget:
        step = _even(images, budget // image_bytes)
        for first in range(0, images, step):
            yield Block(slice(first, min(first + step, images)), slice(0, rows))
    else:
        step = _even(rows, max(1, budget // row_bytes))
        for image in range(images):
            for first in range(0, rows, step):
                yield Block(slice(image, image + 1), slice(first, min(first + step, rows)))


def _even(total: int, most: int) -> int:
    """Return the step that cuts ``total`` into as few pieces as ``most`` does, but equal ones."""
    return -(-total // -(-total // most))


LEAST_BYTES = 3 << 18
"""Of a block: work on fewer is shorter than handing it to a thread takes."""


def shared_blocks(images: int, rows: int, row_bytes: int, most: int) -> list[Block]:
    """Cut as :func:`blocks` does, for threads: an even number of blocks, unless the work is short.

    ``most`` are the bytes of a block, which may have one image or one row more.
    """
    total = images * rows * row_bytes
    count = max(-(-total // most), min(4, total // LEAST_BYTES), 1)
    count += count % 2 if count > 1 else 0
    budget = -(-total // count)
    image = max(1, rows * row_bytes)
    if count <= images:
        budget = -(-images // count) * image
    return list(blocks(images, rows, row_bytes, max(1, budget)))


def by_images(pieces: list[Block]) -> list[list[Block]]:
    """Blocks in pieces of work, no two of which add to the same image."""
    grouped = itertools.groupby(pieces, key=lambda block: block.images.start)
    return [list(group) for _, group in grouped]


class Patches:
    """The windows of ``x`` as strided views, one block at a time, each block padded on its own.

    ``largest`` is the shape of the largest block that will be asked for. Without padding the
    views are of ``x`` itself; with it, of one buffer that every block overwrites, and so they are
    where channels are to be ``channels_first`` in memory.
    """

    def __init__(
        self, x: Array, window: Window, positions: Sizes, largest: tuple[int, int], *,
        channels_first: bool = False,
    ) -> None:  # fmt: skip
        self._x, self._window = x, window
        self._buffer: Array | None = None
        self._cleared: Sizes = ()
        source = x
        if window.is_padded or (channels_first and x.shape[-1] > 1):
            images, rows = largest
            reach = tuple(
                (p - 1) * step + (k - 1) * d + 1
                for p, k, step, d in zip(
                    (rows, *positions[1:]),
                    window.kernel,
                    window.stride,
                    window.dilation,
                    strict=True,
                )
            )
            # Zeros stay zero beside the columns that are copied in; rows are cleared block by block
            if channels_first:
                laid = scratch("patches", (x.shape[-1], images, *reach), x.dtype)
                source = np.moveaxis(laid, 0, -1)
            else:
                source = scratch("patches", (images, *reach, x.shape[-1]), x.dtype)
            source[...] = 0
            self._buffer = source
            self._inner = [
                _overlap(-low, size, length)
                for (low, _), size, length in zip(
                    window.padding[1:], x.shape[2:-1], reach[1:], strict=True
                )
            ]
            positions = (rows, *positions[1:])
        n, *space, c = source.strides
        self._views = as_strided(
            source,
            (source.shape[0], *positions, *window.kernel, x.shape[-1]),
            (
                n,
                *(s * step for s, step in zip(space, window.stride, strict=True)),
                *(s * d for s, d in zip(space, window.dilation, strict=True)),
                c,
            ),
            writeable=False,
        )

    def block(self, block: Block) -> Array:
        """Return the block's windows, (images, rows, *positions[1:], *kernel, c), read-only."""
        if self._buffer is None:
            return self._views[block.images, block.rows]
        images, rows = block.shape
        window, x = self._window, self._x
        start = block.rows.start * window.stride[0] - window.padding[0][0]
        length = (rows - 1) * window.stride[0] + (window.kernel[0] - 1) * window.dilation[0] + 1
        into, out_of = _overlap(start, x.shape[1], length)
        buffer = self._buffer[:images, :length]
        padded = images, length, into.start, into.stop
        if self._cleared != padded:
            buffer[:, : into.start] = 0
            buffer[:, into.stop :] = 0
            self._cleared = padded
        inner_into = tuple(i for i, _ in self._inner)
        inner_out_of = tuple(o for _, o in self._inner)
        buffer[(slice(None), into, *inner_into)] = x[(block.images, out_of, *inner_out_of)]
        return self._views[:images, :rows]


def split_channels(a: Array, groups: int) -> Array:
    """Return (n, *size, c) as rows for a batched product, (groups, n * size, c / groups).

    A view where ``a`` is contiguous, as outputs are; else a copy of it may stand behind.
    """
    c = a.shape[-1]
    return a.reshape(math.prod(a.shape[:-1]), groups, c // groups).transpose(1, 0, 2)


def _overlap(start: int, size: int, length: int) -> tuple[slice, slice]:
    """Return where an array of ``size`` lies in a buffer that holds start .. start + length."""
    first = min(max(0, -start), length)
    last = max(first, min(length, size - start))
    return slice(first, last), slice(first + start, last + start)
