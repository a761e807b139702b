"""Pictures read by pixel numbers that differ from picture to picture, and boxes in them."""

from __future__ import annotations

from typing import Any

import numpy as np

from flagstone.backend import declines
from flagstone_cupy.kernel import Kernel, family
from flagstone_cupy.launch import MOST_BLOCKS, Array, Sizes, contiguous, empty, launch, table

BITS = ("unsigned short", "unsigned", "unsigned long long")
PICK = family("pixels.cu", "pick_pixels", T=BITS)
PLACE = family("pixels.cu", "place_pixels", T=("float", "double", "__half", "__nv_bfloat16"))
SHIFTED = Kernel("pixels.cu", "shifted")
BOX_MASK = Kernel("pixels.cu", "box_mask")
_MODES = ("zero", "reflect", "edge", "mirror")  # by number in shifted


def pick_pixels(x: Array, rows: Array, columns: Array) -> Array:
    """See :func:`flagstone.ops.pixels.pick_pixels`."""
    n, h, w, channels = x.shape
    new_h, new_w = rows.shape[1], columns.shape[1]
    y = empty((n, new_h, new_w, channels), x.dtype)
    bits = np.dtype(f"uint{8 * x.dtype.itemsize}")
    source, target = (a.reshape(-1).view(bits) for a in (contiguous(x), y))
    grid, block = _pictures(n, new_h, new_w * channels)
    arguments = (source, contiguous(rows), contiguous(columns), target)
    launch(PICK[bits], grid, block, 0, (*arguments, n, h, w, channels, new_h, new_w))
    return y


@declines
def place_pixels(g: Array, rows: Array, columns: Array, *, size: tuple[int, int]) -> Any:
    """See :func:`flagstone.ops.pixels.place_pixels`."""
    if g.dtype not in PLACE:
        return NotImplemented
    n, given_h, given_w, channels = g.shape
    y = empty((n, *size, channels), g.dtype)
    grid, block = _pictures(n, size[0], size[1] * channels)
    arguments = (contiguous(g), contiguous(rows), contiguous(columns), y)
    launch(PLACE[g.dtype], grid, block, 0, (*arguments, n, *size, channels, given_h, given_w))
    return y


def shifted(offset: Array, before: Array | None = None, *, length: int, mode: str) -> Array:
    """See :func:`flagstone.ops.pixels.shifted`."""
    n = offset.shape[0]
    y = empty((n, length), "int64")
    grid, block = table(n, length)
    before = None if before is None else contiguous(before)
    arguments = (contiguous(offset), before, y, _MODES.index(mode), n, length)
    launch(SHIFTED, grid, block, 0, arguments)
    return y


def box_mask(
    row: Array, column: Array, height: Array, width: Array, *, size: tuple[int, int]
) -> Array:
    """See :func:`flagstone.ops.pixels.box_mask`."""
    n = row.shape[0]
    y = empty((n, *size), "bool")
    sides = (height, width)
    arrays = (None if isinstance(side, int) else contiguous(side) for side in sides)
    numbers = (side if isinstance(side, int) else 0 for side in sides)
    grid, block = _pictures(n, *size)
    arguments = (contiguous(row), contiguous(column), *arrays, y, *numbers, n, *size)
    launch(BOX_MASK, grid, block, 0, arguments)
    return y


def _pictures(n: int, rows: int, columns: int) -> tuple[Sizes, Sizes]:
    """A table of rows and columns for each of ``n`` pictures, which may have to take turns."""
    (across, down, _), block = table(rows, columns)
    return (across, down, min(n, MOST_BLOCKS[2])), block
