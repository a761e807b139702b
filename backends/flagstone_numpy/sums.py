"""Sums over the pieces of shared work, the same bits for any number of threads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from flagstone_numpy.scratch import scratch
from flagstone_numpy.threads import share

MOST_GROUPS = 8
LEAST_GROUPS = 4
PARTIAL_BYTES = 1 << 21
"""Of all groups' sums together, unless :data:`LEAST_GROUPS` take more."""
Array: TypeAlias = npt.NDArray[Any]
Piece = TypeVar("Piece")


def share_sum(
    work: Callable[[Iterator[tuple[Array, Sequence[Piece]]]], None],
    pieces: Sequence[Piece],
    shape: tuple[int, ...],
    dtype: npt.DTypeLike,
    most: int = MOST_GROUPS,
) -> Array:
    """Return the sum, of ``shape``, of what ``work`` computes for all ``pieces``.

    ``work`` is called on several threads as by :func:`flagstone_numpy.threads.share`, with an
    iterator over pairs: an array of ``shape``, not initialised, and the pieces whose sum it writes
    there, one at least. How pieces are grouped depends on their number and on ``shape`` alone, and
    the groups' sums are added in order. There are ``most`` groups at most: 1 for work that is too
    short for a second thread. The sum is the thread's own scratch memory, valid until it
    asks for another.
    """
    if not pieces:
        nothing = scratch("totals", shape, dtype)
        nothing[...] = 0
        return nothing
    totals, ends = groups(len(pieces), shape, dtype, most)
    share(work, [(totals[i], pieces[ends[i] : ends[i + 1]]) for i in range(len(totals))])
    for other in totals[1:]:
        totals[0] += other
    return totals[0]


def groups(
    pieces: int, shape: tuple[int, ...], dtype: npt.DTypeLike, most: int = MOST_GROUPS
) -> tuple[Array, list[int]]:
    """Memory for the groups' sums, and the pieces at which groups begin, and the last one ends."""
    each = max(1, math.prod(shape) * np.dtype(dtype).itemsize)
    count = min(pieces, most, max(LEAST_GROUPS, PARTIAL_BYTES // each))
    ends = [pieces * i // count for i in range(count + 1)]
    return scratch("totals", (count, *shape), dtype), ends


def add_products(total: Array, a: Array, b: Array, is_first: bool) -> None:
    """Add products (..., count, m, k) @ (..., count, k, n) to ``total``, (..., m, n), which holds
    nothing yet if it ``is_first``."""
    count = a.shape[-3]
    if count == 1 and is_first:
        np.matmul(a[..., 0, :, :], b[..., 0, :, :], total)
        return
    parts = scratch("parts", (*total.shape[:-2], count, *total.shape[-2:]), total.dtype)
    np.matmul(a, b, parts)
    for i in range(count) if count < 4 else (0,):
        one = parts[..., i, :, :] if count < 4 else np.add.reduce(parts, axis=-3)
        if is_first and i == 0:
            np.copyto(total, one)
        else:
            total += one


def copied(total: Array, out: Array | None) -> Array:
    """``total``, which is scratch, in ``out``, or in memory of its own."""
    if out is None:
        return total.copy()
    np.copyto(out, total)
    return out
