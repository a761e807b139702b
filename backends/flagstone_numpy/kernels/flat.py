"""Elementwise work in blocks that stay in the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from flagstone_numpy.threads import share

SMALL = 1 << 16
"""Up to so many numbers, one block: a few streams of them fit the cache anyway."""
BLOCK = 1 << 15
"""Numbers in a block: a few float32 streams lie in a second-level cache together."""


SHARED = 1 << 19
"""Numbers from which threads share them: a pass over fewer is too short."""
SHARED_BLOCK = 1 << 18
"""At most so many numbers at a time then: long calls, for between two of them a thread takes the
interpreter's lock (decision 17)."""


def by_blocks(apply: Callable[[slice], None], size: int) -> None:
    """Call ``apply`` for slices that make up ``range(size)``.

    What ``apply`` does to a number must not depend on where the slices are cut.
    """

    def work(mine: Iterator[slice]) -> None:
        for block in mine:
            apply(block)

    block = BLOCK if size < SHARED else shared_block(size)
    share_if_large(work, cut(size, SMALL if size <= SMALL else block), size)


def share_if_large(
    work: Callable[[Iterator[slice]], None], pieces: Iterable[slice], size: int
) -> None:
    """Call ``work`` with ``pieces``, which threads share if they are ``SHARED`` numbers or more."""
    if size < SHARED:
        work(iter(pieces))
    else:
        share(work, pieces)


def shared_block(size: int) -> int:
    """How many numbers threads take at a time: an even number of equal blocks, or nearly."""
    count = -(-size // (2 * SHARED_BLOCK)) * 2
    return -(-size // count)


def cut(size: int, block: int) -> Iterator[slice]:
    """Yield slices of at most ``block`` numbers that make up ``range(size)``."""
    for start in range(0, size, block):
        yield slice(start, min(start + block, size))
