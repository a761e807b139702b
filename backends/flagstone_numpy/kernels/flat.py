"""Elementwise work in blocks that stay in the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator

SMALL = 1 << 16
"""Up to so many numbers, one block: a few streams of them fit the cache anyway."""
BLOCK = 1 << 15
"""Numbers in a block: a few float32 streams lie in a second-level cache together."""


def by_blocks(apply: Callable[[slice], None], size: int) -> None:
    """Call ``apply`` for slices that make up ``range(size)``.

    What ``apply`` does to a number must not depend on where the slices are cut.
    """
    for block in cut(size, SMALL if size <= SMALL else BLOCK):
        apply(block)


def cut(size: int, block: int) -> Iterator[slice]:
    """Yield slices of at most ``block`` numbers that make up ``range(size)``."""
    for start in range(0, size, block):
        yield slice(start, min(start + block, size))
