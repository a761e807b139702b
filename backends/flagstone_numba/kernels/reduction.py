"""Sums over leading axes, such as the gradient of a bias, compiled and shared among threads."""

from __future__ import annotations

import math
from typing import Any

from flagstone.backend import declines
from flagstone_numba.loading import loops
from flagstone_numba.sums import share_sum_turns
from flagstone_numpy.kernels.reduction import leading_axes
from flagstone_numpy.kernels.windows import Array
from flagstone_numpy.threads import Turns

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

    def work(turns: Turns, totals: Array, ends: Array) -> None:
        run.sum_rows(turns, rows, ends, step, totals)

    total = share_sum_turns(work, -(-len(rows) // step), rows.shape[1:], x.dtype)
    return total.reshape((1,) * leading + rest if keepdims else rest)


def _is_large(x: Any, **_: Any) -> bool:
    return math.prod(x.shape) >= LEAST


sum.serves = _is_large  # type: ignore[attr-defined]  # a function may have any
sum.least = LEAST  # type: ignore[attr-defined]
