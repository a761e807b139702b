"""Sums over leading axes, such as the gradient of a bias, compiled and shared among threads."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from flagstone.backend import Traits, declines
from flagstone_numba.loading import loops
from flagstone_numba.sums import share_sum_turns
from flagstone_numpy.kernels.reduction import leading_axes
from flagstone_numpy.kernels.windows import Array
from flagstone_numpy.threads import Turns

LEAST = 1 << 17
PIECE = 1 << 16


def _is_large(x: Any, **_: Any) -> bool:
    return math.prod(x.shape) >= LEAST


@declines
@Traits(least=LEAST, serves=_is_large)
def sum(  # noqa: A001  # the op's name
    x: Array, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False
) -> Any:
    """See :func:`flagstone_numpy.kernels.reduction.sum`; other sums are left to it."""
    leading = leading_axes(x, axis) if x.size >= LEAST else 0
    if not leading or x.dtype.kind != "f" or not x.flags.c_contiguous:
        return NotImplemented
    if loops("elementwise") is None:
        return NotImplemented
    rest = x.shape[leading:]
    total = _sum(x.reshape(-1, math.prod(rest)))
    return total.reshape((1,) * leading + rest if keepdims else rest)


def sum_rows(x: Array, out: Array) -> None:
    """Write the sum of ``x`` (..., k) over all axes but the last to ``out``."""
    rows = np.ascontiguousarray(x).reshape(-1, x.shape[-1])
    if x.size >= LEAST:
        np.copyto(out, _sum(rows))
    else:
        np.add.reduce(rows, axis=0, out=out)


def _sum(rows: Array) -> Array:
    step = max(1, PIECE // rows.shape[1])

    def work(turns: Turns, totals: Array, ends: Array) -> None:
        loops("elementwise").sum_rows(turns, rows, ends, step, totals)

    return share_sum_turns(work, -(-len(rows) // step), rows.shape[1:], rows.dtype)
