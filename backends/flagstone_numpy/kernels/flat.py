"""Elementwise work on several threads, in blocks that stay in the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from flagstone_numpy.threads import share

SMALL = 1 << 16
"""Up to so many numbers, waking a thread costs more than it saves."""
BLOCK = 1 << 15
"""Numbers in a block: a few float32 streams lie in a second-level cache together."""


def share_flat(apply: Callable[[slice], None], size: int) -> None:
    """Call ``apply`` for slices that make up ``range(size)``, on several threads if there is much.

    What ``apply`` does to a number must not depend on where the slices are cut.
    """

    def work(mine: Iterator[slice]) -> None:
        for block in mine:
            apply(block)

    share_blocks(work, size, size if size <= SMALL else BLOCK)


def share_blocks(work: Callable[[Iterator[slice]], None], size: int, block: int) -> None:
    """Share slices of ``block`` numbers that make up ``range(size)``; little stays on the caller.

    As in :func:`flagstone_numpy.threads.share`, ``work`` is called with an iterator over slices.
    """
    slices = (slice(start, min(start + block, size)) for start in range(0, size, max(1, block)))
    if size <= SMALL:
        work(slices)
    else:
        share(work, slices)
