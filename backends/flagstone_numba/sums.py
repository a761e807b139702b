"""Sums over the pieces of shared work, the same bits for any number of threads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from flagstone_numba.scratch import scratch
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
) -> Array:
    """Return the sum, of ``shape``, of what ``work`` adds up over all ``pieces``.

    ``work`` is called on several threads as by :func:`flagstone_numpy.threads.share`, with an
    iterator over pairs: zeros of ``shape`` and the pieces whose part it adds to them, in order. How
    pieces are grouped depends on their number and on ``shape`` alone, and the groups' sums are
    added in order.
    """
    if not pieces:
        return np.zeros(shape, dtype)
    each = max(1, math.prod(shape) * np.dtype(dtype).itemsize)
    count = min(len(pieces), MOST_GROUPS, max(LEAST_GROUPS, PARTIAL_BYTES // each))
    totals = scratch("totals", (count, *shape), dtype)
    totals[...] = 0
    ends = [len(pieces) * i // count for i in range(count + 1)]
    groups = [(totals[i], pieces[ends[i] : ends[i + 1]]) for i in range(count)]
    share(work, groups)
    total: Array = np.add.reduce(totals, axis=0)
    return total
