"""The taps of a window that lie in the image."""

from __future__ import annotations

from flagstone_numba.loops.compiling import compiled


@compiled
def inside(start: int, step: int, taps: int, size: int) -> tuple[int, int]:
    """The first of ``taps`` that lies in an axis of ``size``, and the one after the last.

    They stand ``step`` apart from ``start`` on; the two are equal where none lies in it.
    """
    begin, end = 0, taps
    while begin < end and start + begin * step < 0:
        begin += 1
    while end > begin and start + (end - 1) * step >= size:
        end -= 1
    return begin, end
