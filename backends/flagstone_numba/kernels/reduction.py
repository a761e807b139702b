"""Sums over leading axes, such as the gradient of a bias, compiled and shared among threads."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from flagstone.backend import declines
from flagstone_numba.loading import loops
from flagstone_numba.sums import share_sum
from flagstone_numpy.kernels.reduction import leading_axes
from flagstone_numpy.kernels.windows import Array

LEAST = 1 << 17
PIECE = 1 << 16


@declines
def sum(  # noqa: A001  # the op's name
    x: Array, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False
) -> Any:
    """See :func:`flagstone_numpy.kernels.reduction.sum`; other sums are left to it."""
    leading = leading_axes(x, axis) if x.size >= LEAST else 0
    if not leading or x.dtype.kind != "f" or not x.flags.c_contiguous:
        return NotImplemented
    run = loops("elementwise")
    if run is None:
        return NotImplemented
    rest = x.shape[leading:]
    rows = x.reshape(-1, math.prod(rest))
    step = max(1, PIECE // rows.shape[1])
    pieces = [rows[start : start + step] for start in range(0, len(rows), step)]

    def work(mine: Iterator[tuple[Array, Sequence[Array]]]) -> None:
        for total, group in mine:
            for piece in group:
                run.sum_rows(piece, total)

    total = share_sum(work, pieces, rows.shape[1:], x.dtype)
    return total.reshape((1,) * leading + rest if keepdims else rest)


def _is_large(x: Any, **_: Any) -> bool:
    return math.prod(x.shape) >= LEAST


sum.serves = _is_large  # type: ignore[attr-defined]  # a function may have any
sum.least = LEAST  # type: ignore[attr-defined]
