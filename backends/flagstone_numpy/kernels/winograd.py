"""3x3 convolution of stride 1 with fewer multiplications: Winograd's F(2x2, 3x3).

A tile of 2x2 outputs sees 4x4 inputs d. Minimal filtering computes it with 16 multiplications
for each pair of channels instead of 36 (Lavin and Gray, CVPR 2016, section 4.1):

    y = A' [ (G w G') * (B' d B) ] A,    * element by element, then summed over input channels

For each of the 16 elements that is one matrix product over tiles and channels. The weight
gradient is the transpose of the same map: dw = G' [ sum over tiles (B' d B) * (A dy A') ] G.

A transform is two small products with all tiles at once, one for each axis. Elements stand an odd
number of cache lines apart, for at multiples of 4 kB the four streams of a transform would evict
each other (measured: up to 4 times slower). Sums of inputs are formed before products, so
float64 does not come here, and an infinity may make NaN of its whole tile. In float32 the largest
error, relative to the largest output, is 3e-7 for 32 channels and 5e-7 for 128, where direct
summation has 7e-7 and 8e-7: ``pytest -s tests/backends/numpy/test_winograd.py -k error``.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager

import numpy as np

from flagstone_numpy.kernels.windows import Array, Block, Patches, Sizes, Window, blocks
from flagstone_numpy.threads import blas

BLOCK_BYTES = 3 << 18
"""Of transformed inputs and outputs together: they stay in the second-level cache."""
LINE = 16  # float32 in a cache line
LEAST_TILES = 64  # in a product; fewer and BLAS is slow
SMALL_PRODUCT = 1_000_000
"""Multiply-adds up to which OpenBLAS takes its path for small matrices, which packs nothing."""
LONG_PRODUCT = 4_000_000
"""Multiply-adds from which BLAS's threads gain more than they wait for each other."""
FEWEST_TILES = 48
"""Of so few tiles a small product is no longer faster than a part of a large one."""

INPUT = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]], np.float32)  # B'
KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32)  # G
OUTPUT = np.array([[1, 1, 1, 0], [0, 1, -1, -1]], np.float32)  # A'


def forward(
    x: Array, w: Array, b: Array | None, window: Window, positions: Sizes, _groups: int = 1
) -> Array:
    """Return the convolution, (n, *positions, k)."""
    n, c, k = x.shape[0], x.shape[-1], w.shape[0]
    y = np.empty((n, *positions, k), np.float32)
    taps = np.ascontiguousarray(w.transpose(1, 2, 3, 0)).reshape(3, 3, c * k)
    weights = _Transform(KERNEL, c * k)(taps).reshape(4, 4, c, k)
    pieces = _blocks(n, positions, c + k)

    inputs = _Inputs(x, window, positions, pieces[0])
    products = _elements(4, inputs.most * k)
    transform = _Transform(OUTPUT, inputs.most * k)
    for block in pieces:
        seen = inputs.of(block)  # (4, 4, tiles, c)
        tiles = seen.shape[2]
        summed = products[..., : tiles * k]
        into = summed.reshape(4, 4, tiles, k)
        with _threads(tiles * c * k):
            for first, stop in spans(tiles, c * k):
                np.matmul(seen[:, :, first:stop], weights, out=into[:, :, first:stop])
        if b is not None:  # A' E A is all ones where E has a one at [1, 1] and zeros elsewhere
            summed[1, 1].reshape(tiles, k)[...] += b
        for out, target in _places(transform(summed), y, block):
            target[...] = out
    return y


def weight_grad(dy: Array, x: Array, window: Window, _groups: int = 1) -> Array:
    """Return the gradient of the weights, (k, 3, 3, c)."""
    n, k, c, positions = dy.shape[0], dy.shape[-1], x.shape[-1], dy.shape[1:-1]
    pieces = _blocks(n, positions, c + k)

    inputs = _Inputs(x, window, positions, pieces[0])
    given = np.zeros((2, 2, inputs.most * k), np.float32)  # odd edges stay or are made zero
    transform = _Transform(np.ascontiguousarray(OUTPUT.T), inputs.most * k)
    total = np.zeros((4, 4, k, c), np.float32)
    part = np.empty_like(total)
    for block in pieces:
        seen = inputs.of(block)  # (4, 4, tiles, c)
        tiles = seen.shape[2]
        gradient = given[..., : tiles * k]
        if any(p % 2 for p in positions):
            gradient[...] = 0
        for into, source in _places(gradient, dy, block):
            into[...] = source
        spread = transform(gradient).reshape(4, 4, tiles, k)
        with _threads(tiles * c * k):
            for first, stop in spans(tiles, c * k):
                rows = spread[:, :, first:stop].swapaxes(-1, -2)
                total += np.matmul(rows, seen[:, :, first:stop], out=part)
    taps = _Transform(np.ascontiguousarray(KERNEL.T), k * c)(total.reshape(4, 4, k * c))
    return np.ascontiguousarray(taps.reshape(3, 3, k, c).transpose(2, 0, 1, 3))


def spans(tiles: int, weights: int) -> Iterator[tuple[int, int]]:
    """Cut the tiles of a block into those of one product each; ``weights`` is c times k.

    OpenBLAS, one thread: with 32 and 64 channels 136 Gflop/s in small products and 80 in large
    ones, with 64 and 128, 140 and 107 (``python asv_bench/blas_paths.py``).
    """
    most = SMALL_PRODUCT // weights
    count = -(-tiles // most) if most >= FEWEST_TILES else 1
    for i in range(count):
        yield tiles * i // count, tiles * (i + 1) // count


def _threads(work: int) -> AbstractContextManager[object]:
    """Hold BLAS at one thread where a product of so many multiply-adds is too short for more."""
    return contextlib.nullcontext() if work >= LONG_PRODUCT else blas


class _Inputs:
    """The transformed 4x4 inputs of a block's tiles, in buffers that are used again."""

    def __init__(self, x: Array, window: Window, positions: Sizes, largest: Block) -> None:
        tiles = _tiles(positions)
        padding = tuple(
            (low, 2 * t + 2 - size - low)  # one more than the convolution's where p is odd
            for t, size, (low, _) in zip(tiles, x.shape[1:-1], window.padding, strict=True)
        )
        self._patches = Patches(x, Window((4, 4), (2, 2), padding, (1, 1)), tiles, largest.shape)
        self._c, self._columns = x.shape[-1], tiles[1]
        self.most = math.prod(largest.shape) * tiles[1]
        self._gathered = _elements(4, self.most * self._c)
        self._transform = _Transform(INPUT, self.most * self._c, out=self._gathered)

    def of(self, block: Block) -> Array:
        """Return (4, 4, tiles, c); it is valid until the next call."""
        tiles = math.prod(block.shape) * self._columns
        gathered = self._gathered[..., : tiles * self._c]
        into = gathered.reshape(4, 4, *block.shape, self._columns, self._c)
        into[...] = self._patches.block(block).transpose(3, 4, 0, 1, 2, 5)
        return self._transform(gathered).reshape(4, 4, tiles, self._c)


class _Transform:
    """``matrix`` (l, m) applied to both axes of elements (m, m, size), into a buffer of its own."""

    def __init__(self, matrix: Array, most: int, out: Array | None = None) -> None:
        rows, columns = matrix.shape
        self._matrix = matrix
        self._half = _elements(columns, most, rows)
        self._out = _elements(rows, most) if out is None else out

    def __call__(self, a: Array) -> Array:
        """Return (l, l, size), valid until the next call; ``a`` may be the buffer itself."""
        half, out = self._half[..., : a.shape[-1]], self._out[..., : a.shape[-1]]
        np.matmul(self._matrix, a.swapaxes(0, 1), out=half)  # (m, l, size)
        return np.matmul(self._matrix, half.swapaxes(0, 1), out=out)  # (l, l, size)


def _elements(side: int, size: int, other: int | None = None) -> Array:
    """Return (side, other or side, size), not initialised, elements odd lines apart."""
    apart = (-(-size // LINE) | 1) * LINE
    return np.empty((side, other or side, apart), np.float32)[..., :size]


def _places(elements: Array, y: Array, block: Block) -> Iterator[tuple[Array, Array]]:
    """Yield each of 2x2 elements of a block's tiles, with the view of ``y`` where it belongs."""
    k, columns = y.shape[-1], _tiles(y.shape[1:-1])[1]
    by_place = elements.reshape(2, 2, *block.shape, columns, k)
    first, stop = 2 * block.rows.start, 2 * block.rows.stop
    for i, j in np.ndindex(2, 2):
        places = y[block.images, first + i : stop : 2, j::2]
        yield by_place[i, j, :, : places.shape[1], : places.shape[2]], places


def _tiles(positions: Sizes) -> Sizes:
    return tuple(-(-p // 2) for p in positions)


def _blocks(n: int, positions: Sizes, channels: int) -> list[Block]:
    """Cut the tiles of n images into blocks; ``channels`` are those of input and output."""
    rows, columns = _tiles(positions)
    tile = 16 * channels * 4
    return list(blocks(n, rows, columns * tile, max(BLOCK_BYTES, LEAST_TILES * tile)))
