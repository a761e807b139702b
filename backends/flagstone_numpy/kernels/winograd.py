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

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from flagstone_numpy.kernels.windows import (
    Array,
    Block,
    Patches,
    Sizes,
    Window,
    shared_blocks,
)
from flagstone_numpy.products import batches
from flagstone_numpy.scratch import scratch
from flagstone_numpy.sums import add_products, copied, share_sum
from flagstone_numpy.threads import share

BLOCK_BYTES = 3 << 20
"""Of transformed inputs and outputs together. Smaller blocks would stay in the second-level cache,
but of two threads each then waits for the interpreter's lock more often (decision 17)."""
LINE = 16  # float32 in a cache line
LEAST_TILES = 64  # in a product; fewer and BLAS is slow


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
    size: int = 2, out: Array | None = None, relu: bool = False,
) -> Array:  # fmt: skip
    """Return the convolution, (n, *positions, k), by tiles of ``size`` outputs a side."""
    y = np.empty((x.shape[0], *positions, w.shape[0]), np.float32) if out is None else out

    def put(made: Array, block: Block, plan: _Plan) -> None:
        _put(made, y, block, plan, b, relu)

    _each_block(x, w, window, positions, size, put)
    return y


def pooled_relu(
    y: Array, x: Array, w: Array, b: Array | None, window: Window, positions: Sizes, size: int = 2
) -> None:
    """Write ReLU of the maxima of 2x2 windows of the convolution to ``y`` (n, p, q, k); a window
    may stick out by one. Tiles hold whole windows."""

    def put(made: Array, block: Block, plan: _Plan) -> None:
        by_place = made.reshape(size, size, *block.shape, plan.tiles[1], y.shape[-1])
        down, right = (p % size for p in positions)
        if down and block.rows.stop == plan.tiles[0]:
            by_place[down:, :, :, -1] = -np.inf
        if right:
            by_place[:, right:, :, :, -1] = -np.inf
        first, stop = (at * size // 2 for at in (block.rows.start, block.rows.stop))
        for i, j in itertools.product(range(0, size, 2), repeat=2):
            target = y[block.images, first + i // 2 : stop : size // 2, j // 2 :: size // 2]
            rows, columns = target.shape[1:3]
            window = by_place[i : i + 2, j : j + 2, :, :rows, :columns]
            np.maximum(window[0], window[1], out=window[0])
            largest = np.maximum(window[0, 0], window[0, 1], out=window[0, 0])
            if b is not None:
                largest += b
            np.maximum(largest, 0, out=target)

    _each_block(x, w, window, positions, size, put)


def _each_block(
    x: Array, w: Array, window: Window, positions: Sizes, size: int,
    put: Callable[[Array, Block, _Plan], None],
) -> None:  # fmt: skip
    """Call ``put`` with each block's outputs without bias, (size, size, tiles * k), which it may
    write to; on several threads."""
    n, c, k, side = x.shape[0], x.shape[-1], w.shape[0], size + 2
    plan = _plan(n, positions, c, k, size, BLOCK_BYTES)
    weights, columns = _weights(w, size), plan.tiles[1]

    def work(mine: Iterator[Block]) -> None:
        inputs = _Inputs(x, window, plan)
        products = _elements("products", (side, side), plan.most * k)
        transform = _Transform("gathered", MATRICES[size].outputs, plan.most * k)
        for block in mine:
            seen = inputs.of(block)  # (side, side, tiles, c)
            tiles = seen.shape[2]
            summed = products[..., : tiles * k]
            into = summed.reshape(side, side, tiles, k)
            count = batches(tiles // columns, columns, c * k)
            np.matmul(
                seen.reshape(side, side, count, -1, c), weights[:, :, None],
                out=into.reshape(side, side, count, -1, k),
            )  # fmt: skip
            put(transform(summed), block, plan)

    share(work, plan.blocks)


def weight_grad(
    dy: Array, x: Array, window: Window, _groups: int = 1, size: int = 2, out: Array | None = None
) -> Array:
    """Return the gradient of the weights, (k, 3, 3, c)."""
    n, k, c, positions = dy.shape[0], dy.shape[-1], x.shape[-1], dy.shape[1:-1]
    side = size + 2
    plan = _plan(n, positions, c, k, size, max(BLOCK_BYTES, side * side * k * c * 6))
    is_even, columns = not any(p % size for p in positions), plan.tiles[1]

    def work(mine: Iterator[tuple[Array, Sequence[Block]]]) -> None:
        inputs = _Inputs(x, window, plan)
        given = _elements("given", (size, size), plan.most * k)
        transform = _Transform("products", MATRICES[size].gradients, plan.most * k)
        for total, group in mine:
            for block in group:
                seen = inputs.of(block)  # (side, side, tiles, c)
                tiles = seen.shape[2]
                gradient = given[..., : tiles * k]
                if not is_even:
                    gradient[...] = 0
                for target, source in _places(gradient, dy, block, plan):
                    target[...] = source
                spread = transform(gradient).reshape(side, side, tiles, k)
                count = batches(tiles // columns, columns, c * k)
                rows = spread.reshape(side, side, count, -1, k).swapaxes(-1, -2)
                add_products(total, rows, seen.reshape(side, side, count, -1, c), block is group[0])

    total = share_sum(work, plan.blocks, (side, side, k, c), np.float32)
    kernel = np.ascontiguousarray(MATRICES[size].kernel.T)
    taps = _Transform("kernel", kernel, k * c)(total.reshape(side, side, k * c))
    return copied(taps.reshape(3, 3, k, c).transpose(2, 0, 1, 3), out)


class _Plan(NamedTuple):
    """The tiles of n images, cut into blocks."""

    positions: Sizes
    size: int  # of a tile's outputs, along a side
    tiles: Sizes  # of an image
    blocks: list[Block]

    @property
    def most(self) -> int:
        """The tiles of the largest block."""
        return math.prod(self.blocks[0].shape) * self.tiles[1]


@functools.lru_cache(maxsize=256)
def _plan(n: int, positions: Sizes, c: int, k: int, size: int, block_bytes: int) -> _Plan:
    rows, columns = tiles = (-(-positions[0] // size), -(-positions[1] // size))
    tile = (size + 2) ** 2 * (c + k) * 4
    found = shared_blocks(n, rows, columns * tile, max(block_bytes, LEAST_TILES * tile))
    return _Plan(positions, size, tiles, found)


def _weights(w: Array, size: int) -> Array:
    """Return G w G', (side, side, c, k)."""
    k, c, side = w.shape[0], w.shape[-1], size + 2
    taps = np.ascontiguousarray(w.transpose(1, 2, 3, 0)).reshape(3, 3, c * k)
    elements = _Transform("weights", MATRICES[size].kernel, c * k)(taps)
    return elements.reshape(side, side, c, k)


class _Inputs:
    """The transformed inputs of a block's tiles, in buffers that are used again."""

    def __init__(self, x: Array, window: Window, plan: _Plan) -> None:
        size, side = plan.size, plan.size + 2
        padding = tuple(
            (low, size * t + 2 - length - low)  # more than the convolution's where tiles stick out
            for t, length, (low, _) in zip(plan.tiles, x.shape[1:-1], window.padding, strict=True)
        )
        self._patches = Patches(
            x, Window((side, side), (size, size), padding, (1, 1)), plan.tiles, plan.blocks[0].shape
        )
        self._c, self._columns, self._side = x.shape[-1], plan.tiles[1], side
        self._gathered = _elements("gathered", (side, side), plan.most * self._c)
        self._transform = _Transform(
            "inputs", MATRICES[size].inputs, plan.most * self._c, out=self._gathered
        )

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

    def __init__(self, name: str, matrix: Array, most: int, out: Array | None = None) -> None:
        rows, columns = matrix.shape
        self._matrix = matrix
        self._half = _elements("half", (columns, rows), most)
        self._out = _elements(name, (rows, rows), most) if out is None else out

    def __call__(self, a: Array) -> Array:
        """Return (l, l, size), valid until the next call; ``a`` may be the buffer itself."""
        half, out = self._half[..., : a.shape[-1]], self._out[..., : a.shape[-1]]
        np.matmul(self._matrix, a.swapaxes(0, 1), out=half)  # (m, l, size)
        return np.matmul(self._matrix, half.swapaxes(0, 1), out=out)  # (l, l, size)


def _elements(name: str, count: Sizes, size: int) -> Array:
    """Return scratch (*count, size), elements odd lines apart."""
    apart = (-(-size // LINE) | 1) * LINE
    return scratch(name, (*count, apart), np.float32)[..., :size]


def _put(elements: Array, y: Array, block: Block, plan: _Plan, b: Array | None, relu: bool) -> None:
    """Write a block's outputs, (size, size, tiles * k), where they belong in ``y``."""
    if relu and b is not None:
        flat = elements.reshape(plan.size, plan.size, -1, len(b))
        flat += b
    for out, target in _places(elements, y, block, plan):
        if relu:
            np.maximum(out, 0, out=target)
        elif b is not None:
            np.add(out, b, out=target)
        else:
            np.copyto(target, out)


def _places(elements: Array, y: Array, block: Block, plan: _Plan) -> Iterator[tuple[Array, Array]]:
    """Yield elements of a block's tiles, with the view of ``y`` where they belong.

    All at once where tiles fill ``y``, else one of the ``size`` by ``size`` after the other.
    """
    k, size, columns = y.shape[-1], plan.size, plan.tiles[1]
    by_place = elements.reshape(size, size, *block.shape, columns, k)
    first, stop = size * block.rows.start, size * block.rows.stop
    if not any(p % size for p in plan.positions):
        part = y[block.images, first:stop]
        whole = part.reshape(part.shape[0], -1, size, columns, size, k)
        yield by_place, whole.transpose(2, 4, 0, 1, 3, 5)
        return
    for i, j in np.ndindex(size, size):
        places = y[block.images, first + i : stop : size, j::size]
        yield by_place[i, j, :, : places.shape[1], : places.shape[2]], places
