"""3x3 convolution of stride 1 with fewer multiplications: Winograd's F(2x2, 3x3), F(4x4, 3x3).

A tile of 2x2 outputs sees 4x4 inputs d. Minimal filtering computes it with 16 multiplications
for each pair of channels instead of 36 (Lavin and Gray, CVPR 2016, section 4.1):

    y = A' [ (G w G') * (B' d B) ] A,    * element by element, then summed over input channels

For each of the 16 elements that is one matrix product over tiles and channels. The weight
gradient is the transpose of the same map: dw = G' [ sum over tiles (B' d B) * (A dy A') ] G.
Tiles of 4x4 outputs, for the precision "fast", take 36 multiplications instead of 144.

A transform is two small products with all tiles at once, one for each axis. Elements stand an odd
number of cache lines apart, for at multiples of 4 kB the four streams of a transform would evict
each other (measured: up to 4 times slower). Sums of inputs are formed before products, so
float64 does not come here, and an infinity may make NaN of its whole tile. In float32 the largest
error, relative to the largest output, is 3e-7 for 32 channels and 5e-7 for 128, where direct
summation has 7e-7 and 8e-7; with 4x4 outputs it is 6e-6 and 7e-6:
``pytest -s tests/backends/numpy/test_winograd.py -k error``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from flagstone_numpy.kernels.windows import Array, Block, Patches, Sizes, Window, blocks
from flagstone_numpy.threads import blas

BLOCK_BYTES = 3 << 18
"""Of transformed inputs and outputs together: they stay in the second-level cache."""
LINE = 16  # float32 in a cache line
LEAST_TILES = 64  # in a product; fewer and BLAS is slow
SMALL_PRODUCT = 1_000_000
"""Multiply-adds up to which OpenBLAS takes its path for small matrices, which packs nothing."""
FEWEST_TILES = 48
"""Of so few tiles a small product is no longer faster than a part of a large one."""


class Matrices(NamedTuple):
    """The transforms of F(m x m, 3x3): B', G, A' and A."""

    inputs: Array
    kernel: Array
    outputs: Array
    gradients: Array


def _matrices(inputs: Any, kernel: Any, outputs: Any) -> Matrices:
    rows = np.array(outputs, np.float32)
    transposed = np.ascontiguousarray(rows.T)
    return Matrices(np.array(inputs, np.float32), np.array(kernel, np.float32), rows, transposed)


MATRICES = {
    2: _matrices(
        [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
        [[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]],
        [[1, 1, 1, 0], [0, 1, -1, -1]],
    ),
    4: _matrices(
        [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0], [0, -2, -1, 2, 1, 0],
         [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]],
        [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6],
         [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]],
        [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    ),
}  # fmt: skip
"""By m; those for 4 use the points 0, 1, -1, 2 and -2."""


def forward(
    x: Array, w: Array, b: Array | None, window: Window, positions: Sizes, _groups: int = 1,
    size: int = 2,
) -> Array:  # fmt: skip
    """Return the convolution, (n, *positions, k), by tiles of ``size`` outputs a side."""
    n, c, k, side = x.shape[0], x.shape[-1], w.shape[0], size + 2
    y = np.empty((n, *positions, k), np.float32)
    taps = np.ascontiguousarray(w.transpose(1, 2, 3, 0)).reshape(3, 3, c * k)
    weights = _Transform(MATRICES[size].kernel, c * k)(taps).reshape(side, side, c, k)
    pieces = _blocks(n, positions, c + k, size)

    inputs = _Inputs(x, window, positions, pieces[0], size)
    products = _elements(side, inputs.most * k)
    transform = _Transform(MATRICES[size].outputs, inputs.most * k)
    for block in pieces:
        seen = inputs.of(block)  # (side, side, tiles, c)
        tiles = seen.shape[2]
        summed = products[..., : tiles * k]
        into = summed.reshape(side, side, tiles, k)
        with blas:
            for first, stop in spans(tiles, c * k):
                np.matmul(seen[:, :, first:stop], weights, out=into[:, :, first:stop])
        if b is not None:  # A' E A is all ones where E has a one at [1, 1] and zeros elsewhere
            summed[1, 1].reshape(tiles, k)[...] += b
        for out, target in _places(transform(summed), y, block, size):
            target[...] = out
    return y


def weight_grad(dy: Array, x: Array, window: Window, _groups: int = 1, size: int = 2) -> Array:
    """Return the gradient of the weights, (k, 3, 3, c)."""
    n, k, c, positions = dy.shape[0], dy.shape[-1], x.shape[-1], dy.shape[1:-1]
    pieces, side = _blocks(n, positions, c + k, size), size + 2

    inputs = _Inputs(x, window, positions, pieces[0], size)
    given = np.zeros((size, size, inputs.most * k), np.float32)  # edges stay or are made zero
    transform = _Transform(MATRICES[size].gradients, inputs.most * k)
    total = np.zeros((side, side, k, c), np.float32)
    part = np.empty_like(total)
    for block in pieces:
        seen = inputs.of(block)  # (side, side, tiles, c)
        tiles = seen.shape[2]
        gradient = given[..., : tiles * k]
        if any(p % size for p in positions):
            gradient[...] = 0
        for into, source in _places(gradient, dy, block, size):
            into[...] = source
        spread = transform(gradient).reshape(side, side, tiles, k)
        with blas:
            for first, stop in spans(tiles, c * k):
                rows = spread[:, :, first:stop].swapaxes(-1, -2)
                total += np.matmul(rows, seen[:, :, first:stop], out=part)
    kernel = np.ascontiguousarray(MATRICES[size].kernel.T)
    taps = _Transform(kernel, k * c)(total.reshape(side, side, k * c))
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


class _Inputs:
    """The transformed inputs of a block's tiles, in buffers that are used again."""

    def __init__(
        self, x: Array, window: Window, positions: Sizes, largest: Block, size: int
    ) -> None:
        tiles, side = _tiles(positions, size), size + 2
        padding = tuple(
            (low, size * t + 2 - length - low)  # more than the convolution's where tiles stick out
            for t, length, (low, _) in zip(tiles, x.shape[1:-1], window.padding, strict=True)
        )
        self._patches = Patches(
            x, Window((side, side), (size, size), padding, (1, 1)), tiles, largest.shape
        )
        self._c, self._columns = x.shape[-1], tiles[1]
        self.most = math.prod(largest.shape) * tiles[1]
        self._side = side
        self._gathered = _elements(side, self.most * self._c)
        self._transform = _Transform(MATRICES[size].inputs, self.most * self._c, out=self._gathered)

    def of(self, block: Block) -> Array:
        """Return (side, side, tiles, c); it is valid until the next call."""
        side = self._side
        tiles = math.prod(block.shape) * self._columns
        gathered = self._gathered[..., : tiles * self._c]
        into = gathered.reshape(side, side, *block.shape, self._columns, self._c)
        into[...] = self._patches.block(block).transpose(3, 4, 0, 1, 2, 5)
        return self._transform(gathered).reshape(side, side, tiles, self._c)


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


def _places(elements: Array, y: Array, block: Block, size: int) -> Iterator[tuple[Array, Array]]:
    """Yield each element of a block's tiles, with the view of ``y`` where it belongs."""
    k, columns = y.shape[-1], _tiles(y.shape[1:-1], size)[1]
    by_place = elements.reshape(size, size, *block.shape, columns, k)
    first, stop = size * block.rows.start, size * block.rows.stop
    for i, j in np.ndindex(size, size):
        places = y[block.images, first + i : stop : size, j::size]
        yield by_place[i, j, :, : places.shape[1], : places.shape[2]], places


def _tiles(positions: Sizes, size: int) -> Sizes:
    return tuple(-(-p // size) for p in positions)


def _blocks(n: int, positions: Sizes, channels: int, size: int) -> list[Block]:
    """Cut the tiles of n images into blocks; ``channels`` are those of input and output."""
    rows, columns = _tiles(positions, size)
    tile = (size + 2) ** 2 * channels * 4
    return list(blocks(n, rows, columns * tile, max(BLOCK_BYTES, LEAST_TILES * tile)))
