"""Flat arrays cut into pieces that threads share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from flagstone_numpy.threads import share

LEAST = 1 << 15
"""Numbers below which NumPy's own kernel is as fast."""
PIECE = 1 << 16
"""Numbers in a piece: some 20 us of memory traffic, whatever the op."""


def share_flat(apply: Callable[[slice], object], size: int) -> None:
    """Call ``apply`` for slices that make up ``range(size)``, on several threads."""

    def work(mine: Iterator[slice]) -> None:
        for piece in mine:
            apply(piece)

    share(work, [slice(start, min(start + PIECE, size)) for start in range(0, size, PIECE)])
