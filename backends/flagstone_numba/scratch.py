"""Scratch memory that a thread keeps from one kernel to the next.

Fresh memory costs a page fault for every 4 kB (0.7 us on a virtual machine), which for the buffers
of a convolution is as long as its transforms take.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

MOST_BYTES = 1 << 24
"""A larger buffer is made anew each time, so that a thread never holds much more than a few."""


class _Held(threading.local):
    def __init__(self) -> None:
        self.buffers: dict[str, npt.NDArray[Any]] = {}


_held = _Held()


def scratch(name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """An array of ``shape``, not initialised; valid until its thread asks for ``name`` again."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size > MOST_BYTES:
        return np.empty(shape, dtype)
    buffer = _held.buffers.get(name)
    if buffer is None or buffer.size < size:
        buffer = _held.buffers[name] = np.empty(size, np.uint8)
    return buffer[:size].view(dtype).reshape(shape)
