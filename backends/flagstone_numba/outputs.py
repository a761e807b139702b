"""Memory for large outputs, used again when nobody refers to them any more.

The system's allocator gives memory that was freed again, but arrays of 32 MB and more it takes anew
from the kernel each time, whose filling with zeros takes longer than many a convolution:
:func:`output` keeps a few. What a thread keeps from one kernel to the next is in
:mod:`flagstone_numpy.scratch`.
"""

from __future__ import annotations

import math
import os
import sys
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

LARGE = 1 << 25
"""Bytes from which glibc's allocator takes each array from the kernel."""
MOST_KEPT = 1 << 27
"""Bytes of large outputs that are kept when nobody uses them any more."""


_kept: list[npt.NDArray[Any]] = []
_lock = threading.Lock()
_probe = [np.empty(0, np.uint8)]
_UNUSED = sys.getrefcount(_probe[0])
"""What is counted for an item of a list that nobody else refers to."""


def output(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """An array of ``shape``, not initialised: a large one in memory that nobody refers to now."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < LARGE:
        return np.empty(shape, dtype)
    with _lock:
        for i in range(len(_kept)):
            if sys.getrefcount(_kept[i]) == _UNUSED and size <= _kept[i].size <= 2 * size:
                return _kept[i][:size].view(dtype).reshape(shape)
        fresh = np.empty(size, np.uint8)
        _kept.append(fresh)
        while sum(block.size for block in _kept) > MOST_KEPT:
            del _kept[0]
    return fresh.view(dtype).reshape(shape)


def _after_fork_in_child() -> None:
    """Another thread of the parent, of which the child has none, may have held the lock."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
