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
    if size <= SMALL:
        apply(slice(0, size))
        return

    def work(mine: Iterator[slice]) -> None:
        for block in mine:
            apply(block)

    share(work, [slice(start, min(start + BLOCK, size)) for start in range(0, size, BLOCK)])
