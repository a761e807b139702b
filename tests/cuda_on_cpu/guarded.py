"""Memory whose edges are watched: what a kernel's buffers lie in while it runs on the CPU.

A buffer ends close before a page that traps, and begins after one. The few bytes between buffer and
page are known ones, looked at after the launch: a write beside a buffer is seen even there.
"""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

import numpy as np

PAGE = mmap.PAGESIZE
ALIGNMENT = 16  # the widest access of a thread
CANARY = 0xFF  # NaN as a floating number, so that reading it shows too

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


class Region:
    """Some pages that can be used between two that cannot."""

    def __init__(self, pages: int) -> None:
        self.pages = pages
        size = (pages + 2) * PAGE
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        base = _libc.mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0)
        if base in (None, ctypes.c_void_p(-1).value):
            raise MemoryError(f"mmap of {size} bytes")
        for guard in (base, base + size - PAGE):
            _libc.mprotect(guard, PAGE, 0)
        self.start = base + PAGE
        content = (ctypes.c_char * (pages * PAGE)).from_address(self.start)
        self.bytes = np.frombuffer(content, np.uint8)


class Buffer:
    """A copy of an array in a region, ending as near the guard page as its alignment lets it."""

    def __init__(self, region: Region, array: np.ndarray) -> None:
        self.region, self.array = region, array
        self.size = array.nbytes
        offset = array.ctypes.data % ALIGNMENT if self.size else 0
        latest = region.pages * PAGE - self.size
        self.first = latest - (latest - offset) % ALIGNMENT
        region.bytes[:] = CANARY
        region.bytes[self.first : self.first + self.size] = array.reshape(-1).view(np.uint8)
        self.address = region.start + self.first

    def content(self) -> Any:
        """The bytes as they are now."""
        return self.region.bytes[self.first : self.first + self.size].copy()

    def is_clean_outside(self) -> bool:
        before, after = self.region.bytes[: self.first], self.region.bytes[self.first + self.size :]
        return bool((before == CANARY).all() and (after == CANARY).all())

    def take(self, content: Any) -> None:
        """Put bytes back into the array that was copied."""
        self.array.reshape(-1).view(np.uint8)[:] = content


class Pool:
    """Regions, used again and again."""

    def __init__(self) -> None:
        self._free: dict[int, list[Region]] = {}

    def buffer(self, array: np.ndarray) -> Buffer:
        pages = -(-(array.nbytes + ALIGNMENT) // PAGE)
        free = self._free.setdefault(pages, [])
        return Buffer(free.pop() if free else Region(pages), array)

    def free(self, buffer: Buffer) -> None:
        self._free[buffer.region.pages].append(buffer.region)
