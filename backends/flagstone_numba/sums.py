"""Sums over the pieces of shared work, the same bits for any number of threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from flagstone_numpy import sums
from flagstone_numpy.sums import MOST_GROUPS, Array, Piece
from flagstone_numpy.threads import Turns, share_turns


def share_sum(
    work: Callable[[Iterator[tuple[Array, Sequence[Piece]]]], None],
    pieces: Sequence[Piece],
    shape: tuple[int, ...],
    dtype: npt.DTypeLike,
) -> Array:
    """Return the sum, of ``shape``, of what ``work`` adds up over all ``pieces``.

    That is :func:`flagstone_numpy.sums.share_sum` for loops that add: the arrays they get are
    zeros, and the sum is the caller's own.
    """

    def add(mine: Iterator[tuple[Array, Sequence[Piece]]]) -> None:
        work(_zeroed(mine))

    return sums.share_sum(add, pieces, shape, dtype).copy()


def _zeroed(
    mine: Iterator[tuple[Array, Sequence[Piece]]],
) -> Iterator[tuple[Array, Sequence[Piece]]]:
    for total, group in mine:
        total[...] = 0
        yield total, group


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
    totals, ends = sums.groups(pieces, shape, dtype, 1 if parts > 1 else MOST_GROUPS)
    share_turns(lambda turns: work(turns, totals, np.array(ends)), len(totals) * parts + after)
    total: Array = totals[0] if after else np.add.reduce(totals, axis=0)
    return total
