"""3x3 convolution of stride 1 by Winograd's F(2x2, 3x3) or F(4x4, 3x3), compiled.

The method is that of :mod:`flagstone_numpy.kernels.winograd`; here a block's transformed inputs
and products stay in the second-level cache, products are our own
(:mod:`flagstone_numba.loops.product`), and blocks are shared among threads.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from flagstone_numba.kernels import direct
from flagstone_numba.kernels.direct import block_rows, product_tile
from flagstone_numba.loading import loops
from flagstone_numba.scratch import scratch
from flagstone_numba.sums import share_sum
from flagstone_numpy.kernels.windows import Array, Sizes, Window, blocks
from flagstone_numpy.kernels.winograd import MATRICES
from flagstone_numpy.threads import share

BLOCK_BYTES = 3 << 18
"""Of transformed inputs and products together."""
LEAST_TILES = 64
"""In a block."""
MOST_PIECES = 16
LINE = 16  # float32 in a cache line; streams stand an odd number of lines apart


def forward(
    x: Array, w: Array, b: Array | None, window: Window, positions: Sizes, _groups: int = 1,
    size: int = 2,
) -> Array:  # fmt: skip
    """Return the convolution, (n, *positions, k), by tiles of ``size`` outputs a side."""
    n, c, k = x.shape[0], x.shape[-1], w.shape[0]
    if not serves(c, k):
        return direct.forward(x, w, b, window, positions)
    run = loops("winograd").forward
    x = np.ascontiguousarray(x)
    y = np.empty((n, *positions, k), np.float32)
    plan = tiling(n, positions, c, k, size)
    tile = product_tile(plan.least, k, 4, divides=True)
    weights = transformed(w, size, tile.columns)
    bias = np.zeros(k, np.float32) if b is None else np.ascontiguousarray(b)
    low = _low(window)
    zeros, none = np.zeros(tile.columns, np.float32), np.zeros(1, np.int64)

    def work(mine: Iterator[Array]) -> None:
        seen, products = plan.streams("seen", c), plan.streams("products", k)
        padded = scratch("padded", (plan.laid(c),), np.float32)
        edge = scratch("edge", (size * size * k,), np.float32)
        for places in mine:
            run(
                (0,) * size, tile.rows, tile.vectors, x, weights, bias, places, low, plan.columns,
                none, zeros, padded, seen, products, edge, y,
            )  # fmt: skip

    share(work, plan.pieces())
    return y


def weight_grad(dy: Array, x: Array, window: Window, _groups: int = 1, size: int = 2) -> Array:
    """Return the gradient of the weights, (k, 3, 3, c)."""
    n, k, c = dy.shape[0], dy.shape[-1], x.shape[-1]
    if not serves(c, k):
        return direct.weight_grad(dy, x, window)
    run = loops("winograd").weight_grad
    dy, x = np.ascontiguousarray(dy), np.ascontiguousarray(x)
    plan = tiling(n, dy.shape[1:-1], c, k, size)
    tile = product_tile(block_rows(), k, 4, divides=True)
    low, none = _low(window), np.zeros(1, np.int64)

    def work(mine: Iterator[tuple[Array, Sequence[Array]]]) -> None:
        seen, spread = plan.streams("seen", c), plan.streams("products", k)
        padded = scratch("padded", (plan.laid(max(c, k)),), np.float32)
        for total, group in mine:
            run(
                (0,) * size, tile.rows, tile.vectors, dy, x, np.concatenate(group), low,
                plan.columns, tile.columns, none, padded, seen, spread, total,
            )  # fmt: skip

    side = size + 2
    total = share_sum(work, plan.pieces(), (side * side, c, k), np.float32)
    kernel = MATRICES[size].kernel
    half = (kernel.T @ total.reshape(side, side * c * k)).reshape(3, side, c * k)
    taps = np.matmul(kernel.T, half).reshape(9, c, k)
    return np.ascontiguousarray(taps.transpose(2, 0, 1)).reshape(k, 3, 3, c)


def transformed(w: Array, size: int, columns: int) -> Array:
    """G w G' of weights (k, 3, 3, c), packed for products: (elements, blocks, c, columns)."""
    k, c = w.shape[0], w.shape[-1]
    taps = w.reshape(k, 9, c).transpose(1, 2, 0).reshape(9, c * k)  # a copy
    kernel = MATRICES[size].kernel
    elements = (np.kron(kernel, kernel) @ taps).reshape(-1, c, k // columns, columns)
    return np.ascontiguousarray(elements.transpose(0, 2, 1, 3))


def serves(c: int, k: int) -> bool:
    """Whether channels fill registers: others are left to products without tiles."""
    lanes: int = loops("transform").LANES
    return c % lanes == k % lanes == 0


def _low(window: Window) -> Array:
    return np.array([low for low, _ in window.padding], np.int64)


class Plan:
    """The tiles of n images, cut into blocks."""

    def __init__(self, n: int, positions: Sizes, c: int, k: int, size: int) -> None:
        rows, self.columns = (-(-p // size) for p in positions)
        self._size = size
        tile = (size + 2) ** 2 * (c + k) * 4
        found = list(blocks(n, rows, self.columns * tile, max(BLOCK_BYTES, LEAST_TILES * tile)))
        self.most = math.prod(found[0].shape) * self.columns
        self._rows = found[0].shape[1]
        self._places = np.array(
            [(b.images.start, b.images.stop, b.rows.start, b.shape[1]) for b in found], np.int64
        )
        self.least = min(math.prod(b.shape) for b in (found[0], found[-1])) * self.columns

    def pieces(self) -> list[Array]:
        """Blocks in pieces of work."""
        count = min(len(self._places), MOST_PIECES)
        return np.array_split(self._places, count)

    def streams(self, name: str, channels: int) -> Array:
        """Scratch (elements, numbers), the elements an odd number of cache lines apart."""
        apart = (-(-self.most * channels // LINE) | 1) * LINE
        return scratch(name, ((self._size + 2) ** 2, apart), np.float32)

    def laid(self, channels: int) -> int:
        """How many numbers the part of an image that a block sees takes, with its padding."""
        rows, columns = self._rows * self._size + 2, self.columns * self._size + 2
        return rows * columns * channels


@functools.lru_cache(maxsize=256)
def tiling(n: int, positions: Sizes, c: int, k: int, size: int) -> Plan:
    """The tiles of n images, cut into blocks."""
    return Plan(n, positions, c, k, size)
