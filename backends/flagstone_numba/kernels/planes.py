"""One and two spatial axes as two, for loops that are written once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from flagstone_numpy.kernels.windows import Array, Block, Window


class Geometry(NamedTuple):
    """A window's static arguments over two axes, as compiled loops take them."""

    kernel: tuple[int, int]
    stride: Array
    low: Array
    dilation: Array

    @classmethod
    def of(cls, window: Window) -> Geometry:
        """The window, with a first axis of length 1 if it has one axis."""
        one = len(window.kernel) == 1
        lead = 1 if one else 0
        return cls(
            (1, window.kernel[0]) if one else (window.kernel[0], window.kernel[1]),
            np.array((1,) * lead + window.stride, np.int64),
            np.array((0,) * lead + tuple(low for low, _ in window.padding), np.int64),
            np.array((1,) * lead + window.dilation, np.int64),
        )


def as_planes(a: Array) -> Array:
    """(n, *size, c) as contiguous (n, h, w, c), with h = 1 where there is one axis.

    A view of contiguous memory; else a copy, so only what is read may be given as it comes.
    """
    a = np.ascontiguousarray(a)
    return a[:, None] if a.ndim == 3 else a


def as_places(blocks: Iterable[Block]) -> Array:
    """Blocks as rows of numbers: first image, image after the last, first row, rows."""
    found = [(b.images.start, b.images.stop, b.rows.start, b.shape[1]) for b in blocks]
    return np.array(found, np.int64).reshape(-1, 4)
