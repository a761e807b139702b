"""One block of memory for all arrays of a step, each at a place that is free while it lives."""

from __future__ import annotations

import bisect
import contextlib
import ctypes
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

ALIGN = 64
LARGE = 1 << 20


class Buffer:
    """An array with a place in the block.

    Attributes:
        shape, dtype: the array's.
        order: its axes from the outermost to the innermost in memory.
        first, last: the calls during which it is in use.
        host: the buffer whose memory it takes over, an input of the call that makes it.
        offset: its place in bytes, when :func:`place` has chosen it.
    """

    __slots__ = ("dtype", "first", "host", "last", "offset", "order", "shape")

    def __init__(self, shape: Any, dtype: Any, order: Any, first: int, last: int) -> None:
        self.shape, self.dtype, self.order = tuple(shape), np.dtype(dtype), order
        self.first, self.last = first, last
        self.host: Buffer | None = None
        self.offset = 0

    @property
    def size(self) -> int:
        """Bytes, up to the next multiple of ``ALIGN``."""
        return -(-max(1, math.prod(self.shape) * self.dtype.itemsize) // ALIGN) * ALIGN

    def resolve(self) -> Buffer:
        """The buffer whose memory this one is, which may be itself."""
        return self if self.host is None else self.host.resolve()

    def array(self, block: np.ndarray) -> np.ndarray:
        """The array in the block."""
        start = self.resolve().offset
        count = math.prod(self.shape)
        part = block[start : start + count * self.dtype.itemsize].view(self.dtype)
        shaped = part.reshape([self.shape[axis] for axis in self.order])
        back = [0] * len(self.order)
        for place, axis in enumerate(self.order):
            back[axis] = place
        return shaped.transpose(back)


def place(buffers: Sequence[Buffer]) -> int:
    """Choose the offsets; the size of the block in bytes.

    Best fit in the order in which arrays are made, as an allocator would do it that knew when each
    is freed.
    """
    own = [b for b in buffers if b.host is None]
    for b in buffers:
        resolved = b.resolve()
        resolved.last = max(resolved.last, b.last)
    own.sort(key=lambda b: (b.first, -b.size))
    free: list[tuple[int, int]] = []  # (offset, size), by offset, no two adjacent
    living: list[tuple[int, int, Buffer]] = []  # (last, number, buffer), by last
    end = 0
    for number, b in enumerate(own):
        while living and living[0][0] < b.first:
            gone = living.pop(0)[2]
            _give_back(free, gone.offset, gone.size)
        fits = [(size, offset) for offset, size in free if size >= b.size]
        if fits:
            size, b.offset = min(fits)
            free.remove((b.offset, size))
            if size > b.size:
                bisect.insort(free, (b.offset + b.size, size - b.size))
        else:
            if free and sum(free[-1]) == end:  # grow the gap at the end
                b.offset = free.pop()[0]
            else:
                b.offset = end
            end = b.offset + b.size
        bisect.insort(living, (b.last, number, b))
    return end


def _give_back(free: list[tuple[int, int]], offset: int, size: int) -> None:
    at = bisect.bisect(free, (offset, 0))
    if at < len(free) and free[at][0] == offset + size:
        size += free.pop(at)[1]
    if at and sum(free[at - 1]) == offset:
        before = free.pop(at - 1)
        offset, size = before[0], size + before[1]
        at -= 1
    free.insert(at, (offset, size))


def block(size: int) -> np.ndarray:
    """Bytes that start at a multiple of ``ALIGN``."""
    if size > LARGE:
        _give_back_freed()
    raw = np.zeros(size + ALIGN, np.uint8)  # not NaN: BLAS may look past the end of an array
    start = -raw.ctypes.data % ALIGN
    return raw[start : start + size]


def _give_back_freed() -> None:
    """Return to the system what the steps before this replay have freed, which a large block would
    not be taken from; where the C library can."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # TypeError: Windows, for None
        ctypes.CDLL(None).malloc_trim(0)
