"""3x3 convolution of stride 1 by Winograd's F(2x2, 3x3) or F(4x4, 3x3), compiled.

The method is that of :mod:`flagstone_numpy.kernels.winograd`; here a block's transformed inputs
and products stay in the second-level cache, products are our own
(:mod:`flagstone_numba.loops.product`), and blocks are shared among threads.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from flagstone_numba.kernels import direct
from flagstone_numba.kernels.direct import block_rows, product_tile
from flagstone_numba.kernels.planes import as_places
from flagstone_numba.loading import loops
from flagstone_numba.outputs import output
from flagstone_numba.sums import share_sum_turns
from flagstone_numpy.kernels.windows import Array, Sizes, Window, blocks
from flagstone_numpy.scratch import scratch
from flagstone_numpy.sums import MOST_GROUPS
from flagstone_numpy.threads import Turns, share_turns

BLOCK_BYTES = 3 << 18
"""Of transformed inputs and products together."""
LEAST_TILES = 64
"""In a block."""
PART = 16
"""Input channels of which the gradient's sums are added in one piece of work."""
LINE = 16  # float32 in a cache line; streams stand an odd number of lines apart


def forward(
    x: Array, w: Array, b: Array | None, window: Window, positions: Sizes, _groups: int = 1,
    size: int = 2, out: Array | None = None, relu: bool = False,
) -> Array:  # fmt: skip
    """Return the convolution, (n, *positions, k), by tiles of ``size`` outputs a side."""
    n, c, k = x.shape[0], x.shape[-1], w.shape[0]
    if not serves(c, k):
        return direct.forward(x, w, b, window, positions, out=out, relu=relu)
    run = loops("winograd").forward
    x = np.ascontiguousarray(x)
    y = output((n, *positions, k), np.float32) if out is None else out
    plan = tiling(n, positions, c, k, size)
    tile = product_tile(plan.least, k, 4, divides=True)
    blocks = k // tile.columns
    weights = scratch("weights", (plan.elements, blocks, c, tile.columns), np.float32)
    bias = np.zeros(k, np.float32) if b is None else np.ascontiguousarray(b)
    how = (*flat(w), weights, bias, plan.places, _low(window), plan.columns, relu)
    zeros, none = np.zeros(tile.columns, np.float32), np.zeros(1, np.int64)

    def work(turns: Turns) -> None:
        seen, products = plan.streams("seen", c), plan.streams("products", k)
        padded = scratch("padded", (plan.laid(c),), np.float32)
        edge = scratch("edge", (max(size * size * k, 9 * tile.columns),), np.float32)
        run(
            turns, (0,) * size, tile.rows, tile.vectors, x, *how, none, zeros, padded, seen,
            products, edge, y,
        )  # fmt: skip

    share_turns(work, blocks + len(plan.places), len(plan.places))
    return y


def weight_grad(
    dy: Array, x: Array, window: Window, _groups: int = 1, size: int = 2, out: Array | None = None,
    bias: Array | None = None,
) -> Array:  # fmt: skip
    """Return the gradient of the weights, (k, 3, 3, c); write the bias's to ``bias``, if given."""
    n, k, c = dy.shape[0], dy.shape[-1], x.shape[-1]
    if not serves(c, k):
        return direct.weight_grad(dy, x, window, out=out, bias=bias)
    run = loops("winograd").weight_grad
    dy, x = np.ascontiguousarray(dy), np.ascontiguousarray(x)
    plan = tiling(n, dy.shape[1:-1], c, k, size)
    tile = product_tile(block_rows(), k, 4, divides=True)
    low, none = _low(window), np.zeros(1, np.int64)
    db = np.empty(0, np.float32) if bias is None else bias
    sums = np.empty((MOST_GROUPS, k), np.float32)
    dw = np.empty((k, 3, 3, c), np.float32) if out is None else out

    def work(turns: Turns, totals: Array, ends: Array) -> None:
        seen, spread = plan.streams("seen", c), plan.streams("products", k)
        padded = scratch("padded", (plan.laid(max(c, k)),), np.float32)
        taps = scratch("edge", (PART, 9, k), np.float32)
        run(
            turns, (0,) * size, tile.rows, tile.vectors, dy, x, plan.places, ends, low,
            plan.columns, tile.columns, none, padded, seen, spread, totals,
            sums[: len(totals)], taps, dw.reshape(k, 9, c), db,
        )  # fmt: skip

    shape = (plan.elements, c, k)
    share_sum_turns(work, len(plan.places), shape, np.float32, after=-(-c // PART))
    return dw


def flat(w: Array) -> tuple[Array, int, Array]:
    """Numbers of ``w`` in order, where its first is, and how far apart the others are.

    Weights of an input's gradient are the forward pass's, flipped: no copy of them is made.
    """
    back = np.flip(w, (1, 2)).swapaxes(0, -1)
    if not (w.flags.c_contiguous or back.flags.c_contiguous):
        w = np.ascontiguousarray(w)
    strides = np.array(w.strides, np.int64) // w.itemsize
    if w.flags.c_contiguous:
        return w.reshape(-1), 0, strides
    return back.reshape(-1), int(-2 * (strides[1] + strides[2])), strides


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
        self.elements = (size + 2) ** 2
        self.places = as_places(found)
        self.least = min(math.prod(b.shape) for b in (found[0], found[-1])) * self.columns

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
