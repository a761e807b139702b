"""Convolution without columns, for one and two spatial axes and one group, in either dtype.

A product takes as many positions of a row, or numbers of a window, as registers hold sums of;
see :mod:`flagstone_numba.loops.product`. Grouped channels and three axes are NumPy's.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from flagstone_numba.kernels import columns
from flagstone_numba.kernels.planes import Geometry, as_places, as_planes
from flagstone_numba.kernels.reduction import sum_rows
from flagstone_numba.loading import loops
from flagstone_numba.outputs import output
from flagstone_numba.sums import share_sum_turns
from flagstone_numpy.kernels import im2col, narrow
from flagstone_numpy.kernels.windows import Array, Block, Sizes, Window, blocks
from flagstone_numpy.scratch import scratch
from flagstone_numpy.threads import Turns, share_turns

PIECE = 1 << 25
"""Multiply-adds of a piece of work: some 400 us."""
LEAST_PIECE = 1 << 23
"""Multiply-adds that take as long (100 us) as a thread needs to wake up on a core that is busy."""
PIECES = 8
"""As many at least, unless they are small."""
IMAGE_BYTES = 1 << 20
"""Larger images are cut by rows, so that what is laid in scratch memory stays in the cache."""
TOGETHER = 256
"""Positions of a weight gradient's product, where images are small enough to lie together."""
ROWS = (1, 2, 4, 6, 7, 8, 9, 10, 12, 13, 14)
"""Of products: few, for each is compiled on its own, in half a second."""
PARTS = 4
LARGE_WEIGHTS = 1 << 17
"""Numbers from which threads share the weights' gradient rather than the images it sums over."""


class Tile(NamedTuple):
    """The shape of a product: tuples of so many rows and vectors, as loops want them."""

    rows: tuple[int, ...]
    vectors: tuple[int, ...]
    columns: int


def forward(
    x: Array, w: Array, b: Array | None, window: Window, positions: Sizes, groups: int = 1,
    out: Array | None = None, relu: bool = False,
) -> Array:  # fmt: skip
    """Return the convolution, (n, *positions, k)."""
    if groups > 1 or x.ndim > 4:
        return im2col.forward(x, w, b, window, positions, groups, out=out, relu=relu)
    run = loops("direct").forward
    k = w.shape[0]
    y = output((x.shape[0], *positions, k), x.dtype) if out is None else out
    if not y.size:
        return y
    seen, into = as_planes(x), as_planes(y)
    how = plan(window, seen.shape[3], into.shape[1:3])
    tile = product_tile(into.shape[2], k, x.itemsize)
    blocks = -(-k // tile.columns)
    rows = np.ascontiguousarray(w.reshape(k, -1))
    weights = scratch("weights", (blocks, rows.shape[1], tile.columns), x.dtype)
    bias = np.zeros(blocks * tile.columns, x.dtype)
    if b is not None:
        bias[:k] = b
    places = places_of(how, seen.shape[0], k)

    def work(turns: Turns) -> None:
        padded = scratch("padded", (how.area(int(places[0, 3])),), x.dtype)
        edge = scratch("edge", (len(tile.rows) * tile.columns,), x.dtype)
        run(
            turns, tile.rows, tile.vectors, seen, rows, weights, bias, places, how.stride, how.low,
            how.reach, how.starts, how.run, relu, padded, edge, into,
        )  # fmt: skip

    share_turns(work, blocks + len(places), len(places))
    return y


def weight_grad(
    dy: Array, x: Array, window: Window, groups: int = 1, out: Array | None = None,
    bias: Array | None = None,
) -> Array:  # fmt: skip
    """Return the gradient of the weights, (k, *kernel, c / groups); write the bias's to ``bias``,
    if given."""
    if bias is not None:
        sum_rows(dy, bias)
    if groups > 1 or x.ndim > 4:
        return im2col.weight_grad(dy, x, window, groups, out=out)
    if x.shape[-1] < block_rows():
        return narrow.weight_grad(dy, x, window, out=out)
    run = loops("direct").weight_grad
    k, c = dy.shape[-1], x.shape[-1]
    given, seen = as_planes(dy), as_planes(x)
    rows, beside = given.shape[1:3]
    how = plan(window, seen.shape[3], (rows, beside), block_rows())
    tile = product_tile(how.run, k, x.itemsize)
    wide = -(-k // tile.columns)
    shape = (-(-c // how.size), how.starts.size, how.run, wide * tile.columns)
    places = places_of(how, seen.shape[0], k)
    together = max(1, min(TOGETHER // max(1, rows * beside), len(x)))
    parts = min(wide, PARTS) if math.prod(shape) >= LARGE_WEIGHTS else 1

    def work(turns: Turns, totals: Array, ends: Array) -> None:
        most = int(places[0, 3])
        held = together if most == rows else 1
        run(
            turns, tile.rows, tile.vectors, given, seen, places, ends, parts, together, how.stride,
            how.low, how.reach, how.starts, how.size,
            scratch("padded", (shape[0] * held * how.area(most),), x.dtype),
            scratch("given", (held * most * beside, tile.columns), x.dtype),
            scratch("lines", (held * most,), np.int64), totals,
        )  # fmt: skip

    total = share_sum_turns(work, len(places), shape, x.dtype, parts)
    by_tap = total[..., :k].reshape(shape[0], window.taps, -1, k)  # (blocks, taps, size, k)
    dw = by_tap.transpose(3, 1, 0, 2).reshape(k, window.taps, -1)[..., :c]
    found = dw.reshape(k, *window.kernel, c)
    if out is None:
        return np.ascontiguousarray(found)
    np.copyto(out, found)
    return out


def input_grad(
    dy: Array, w: Array, size: Sizes, window: Window, groups: int = 1, out: Array | None = None
) -> Array:
    """Return the gradient of the input, (n, *size, c), for strides and few channels."""
    if groups > 1 or len(size) > 2:
        return im2col.input_grad(dy, w, size, window, groups, out=out)
    if w.shape[-1] <= narrow.FEW_CHANNELS:
        return narrow.input_grad(dy, w, size, window, out=out)
    return columns.input_grad(dy, w, size, window, out)


def block_rows() -> int:
    """Channels that lie together for a weight gradient, each a row of its products."""
    return 8 if loops("product").SUMS >= 16 else 4


class Plan:
    """Where windows of a convolution lie in an image that is laid with its padding."""

    def __init__(self, window: Window, c: int, positions: Sizes, most_channels: int | None) -> None:
        geometry = Geometry.of(window)
        self.stride, self.low = geometry.stride, geometry.low
        (r, s), (down, right) = geometry.kernel, geometry.dilation.tolist()
        self.reach = np.array([(r - 1) * down + 1, (s - 1) * right + 1], np.int64)
        self._positions, self._taps, self._c = positions, r * s, c
        self._wide = (positions[1] - 1) * int(self.stride[1]) + int(self.reach[1])
        joined = right == 1 and most_channels is None
        self.size = most_channels or c
        self.run = s * self.size if joined else self.size
        along = [0] if joined else [j * right for j in range(s)]
        self.starts = np.array(
            [(i * down * self._wide + j) * self.size for i in range(r) for j in along], np.int64
        )

    def cut(self, images: int, k: int, rows: int = 0) -> list[Block]:
        """Cut the work into pieces of whole images, or of rows of large ones.

        ``rows``: of the output, where each is made of several rows of positions.
        """
        tall, columns = self._positions
        rows = rows or tall
        row = columns * k * (self._taps * self._c + 16) * -(-tall // rows)
        size = tall * (self._wide * self._c * int(self.stride[0]) + columns * k) * 4
        budget = max(LEAST_PIECE, min(PIECE, row * rows * images // PIECES))
        if size > IMAGE_BYTES:
            budget = min(budget, max(1, row * rows * IMAGE_BYTES // size))
        return list(blocks(images, rows, row, budget))

    def area(self, rows: int) -> int:
        """How many numbers of a block of channels the windows of so many rows see."""
        return self._tall(rows) * self._wide * self.size

    def _tall(self, rows: int) -> int:
        return (rows - 1) * int(self.stride[0]) + int(self.reach[0])


@functools.lru_cache(maxsize=512)
def plan(window: Window, c: int, positions: Sizes, most_channels: int | None = None) -> Plan:
    """Where windows lie in images of ``c`` channels, for so many positions a side."""
    return Plan(window, c, positions, most_channels)


@functools.lru_cache(maxsize=512)
def places_of(how: Plan, images: int, k: int) -> Array:
    """:meth:`Plan.cut` as rows of numbers: first image, image after the last, first row, rows."""
    return as_places(how.cut(images, k))


@functools.lru_cache(maxsize=512)
def product_tile(length: int, k: int, itemsize: int, *, divides: bool = False) -> Tile:
    """The product's shape for runs of ``length`` rows, cut into nearly equal parts, and k columns.

    ``divides``: k, a multiple of one vector's numbers, shall be one of the columns' too.
    """
    product: Any = loops("product")
    lanes = product.VECTOR_BYTES // itemsize
    fits = k % (2 * lanes) == 0 if divides else k > lanes
    vectors = 2 if fits else 1
    most = min(length, product.SUMS // 2)
    rows = min((r for r in ROWS if r <= most), key=lambda r: -(-length // r) * (r + 3))
    return Tile((0,) * rows, (0,) * vectors, vectors * lanes)
