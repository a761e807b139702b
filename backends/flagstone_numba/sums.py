"""Sums over the pieces of shared work, the same bits for any number of threads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from flagstone_numba.scratch import scratch
from flagstone_numpy.threads import Turns, share, share_turns

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
    totals, ends = _groups(len(pieces), shape, dtype)
    totals[...] = 0
    groups = [(totals[i], pieces[ends[i] : ends[i + 1]]) for i in range(len(totals))]
    share(work, groups)
    total: Array = np.add.reduce(totals, axis=0)
    return total


def share_sum_turns(
    work: Callable[[Turns, Array, Array], None],
    pieces: int,
    shape: tuple[int, ...],
    dtype: npt.DTypeLike,
    parts: int = 1,
    after: int = 0,
) -> Array:
    """The same for a compiled loop: a group is a turn, of :func:`share_turns`.

    ``work`` is told the groups' sums, (groups, *shape), which are not initialised, and at which
    piece each group begins, and the last one ends. Of large sums each part may be a turn, and all
    pieces one group. ``after`` so many turns more follow, of a loop that adds groups by itself:
    what is returned is not to be used then.
    """
    if not pieces:
        return np.zeros(shape, dtype)
    totals, ends = _groups(pieces, shape, dtype, 1 if parts > 1 else MOST_GROUPS)
    share_turns(lambda turns: work(turns, totals, np.array(ends)), len(totals) * parts + after)
    total: Array = totals[0] if after else np.add.reduce(totals, axis=0)
    return total


def _groups(
    pieces: int, shape: tuple[int, ...], dtype: npt.DTypeLike, most: int = MOST_GROUPS
) -> tuple[Array, list[int]]:
    """Memory for the groups' sums, and the pieces at which groups begin, and the last one ends."""
    each = max(1, math.prod(shape) * np.dtype(dtype).itemsize)
    count = min(pieces, most, max(LEAST_GROUPS, PARTIAL_BYTES // each))
    ends = [pieces * i // count for i in range(count + 1)]
    return scratch("totals", (count, *shape), dtype), ends
