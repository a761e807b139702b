"""Ranges that NVIDIA's profilers show: NVTX."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from cupy.cuda import nvtx


@contextlib.contextmanager
def marked(name: str) -> Iterator[None]:
    """A range of that name on this thread, inside of those that are open."""
    nvtx.RangePush(name)
    try:
        yield
    finally:
        nvtx.RangePop()
