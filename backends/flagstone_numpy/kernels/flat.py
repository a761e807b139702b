"""Elementwise work in blocks that stay in the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator

SMALL = 1 << 16
"""Up to so many numbers, one block: a few streams of them fit the cache anyway."""
BLOCK = 1 << 15
"""Numbers in a block: a few float32 streams lie in a second-level cache together."""


def share_flat(apply: Callable[[slice], None], size: int) -> None:
    """Call ``apply`` for slices that make up ``range(size)``.

    What ``apply`` does to a number must not depend on where the slices are cut.
    """

    def work(mine: Iterator[slice]) -> None:
        for block in mine:
            apply(block)

    share_blocks(work, size, size if size <= SMALL else BLOCK)


def share_blocks(work: Callable[[Iterator[slice]], None], size: int, block: int) -> None:
    """Call ``work`` with an iterator over slices of ``block`` numbers that make up the range."""
    step = max(1, size if size <= SMALL else block)
    work(slice(start, min(start + step, size)) for start in range(0, size, step))
