"""Scratch memory that a thread keeps from one kernel to the next.

Fresh memory costs a page fault for every 4 kB (0.7 us on a virtual machine), which for the buffers
of a convolution is as long as its transforms take. Kernels share names, and so memory: the large
ones are "gathered", "half" and "products", after what Winograd's convolution has there.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

MOST_BYTES = 1 << 24
"""A larger buffer is made anew each time, so that a thread never holds much more than a few."""
LINE = 64
"""Bytes; buffers start at multiples of it."""


class _Held(threading.local):
    def __init__(self) -> None:
        self.buffers: dict[str, npt.NDArray[Any]] = {}


_held = _Held()


def scratch(name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """An array of ``shape``, not initialised; valid until its thread asks for ``name`` again."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    buffer = _held.buffers.get(name)
    if buffer is None or buffer.size < size:
        raw = np.empty(size + LINE, np.uint8)
        start = -raw.ctypes.data % LINE
        buffer = raw[start : start + size]
        if size <= MOST_BYTES:
            _held.buffers[name] = buffer
    return buffer[:size].view(dtype).reshape(shape)
