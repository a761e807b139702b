"""Convolution, 2x2 max pooling and ReLU in one: outputs are pooled where they were just made.

What a block's products give stays in the first-level cache, and a quarter of it is written. A
window that sticks out takes one of its values twice, which changes no maximum. Pieces of work are
taken by ``turns``: blocks of the weights, which are laid out first, then places.
"""

from __future__ import annotations

from typing import Any

from flagstone_numba.loops.compiling import compiled
from flagstone_numba.loops.direct import lay, lay_columns
from flagstone_numba.loops.product import multiply
from flagstone_numba.loops.transform import gather_outputs
from flagstone_numba.loops.turns import count, first, following, rest, wait_for
from flagstone_numba.loops.winograd import inputs, lay_weights, multiply_tiles


@compiled
def direct(
    turns: Any, rows: Any, vectors: Any, x: Any, w: Any, weights: Any, bias: Any, places: Any,
    size: Any, stride: Any, low: Any, reach: Any, offsets: Any, depth: int, padded: Any, line: Any,
    y: Any,
) -> None:  # fmt: skip
    """Write ``y`` (n, p, q, k), pooled; ``places`` are of its images and rows.

    ``size`` is that of the convolution's output; ``line`` is scratch for two rows of it and one
    block of columns; the rest is as in :func:`flagstone_numba.loops.direct.forward`.
    """
    before, columns = weights.shape[0], weights.shape[2]
    piece = first(turns)
    while piece < count(turns):
        if piece < before:
            lay_columns(w, piece * columns, weights[piece])
        else:
            wait_for(turns, before)
            _rows(
                rows, vectors, x, weights, bias, places[piece - before], size, stride, low, reach,
                offsets, depth, padded, line, y,
            )  # fmt: skip
        piece = following(turns)
    rest(turns)


@compiled
def _rows(
    rows: Any, vectors: Any, x: Any, weights: Any, bias: Any, place: Any, size: Any, stride: Any,
    low: Any, reach: Any, offsets: Any, depth: int, padded: Any, line: Any, y: Any,
) -> None:  # fmt: skip
    """Write the pooled rows of one place."""
    c, k, wide = x.shape[3], y.shape[3], (size[1] - 1) * stride[1] + reach[1]
    columns, each = weights.shape[2], len(rows)
    block = weights.shape[1] * columns
    flat, top = weights.reshape(-1), place[2]
    tall = (min((top + place[3]) * 2, size[0]) - 2 * top - 1) * stride[0] + reach[0]
    for n in range(place[0], place[1]):
        lay(x, n, 2 * top * stride[0] - low[0], -low[1], tall, wide, padded)
        for i in range(weights.shape[0]):
            inside = min(columns, k - i * columns)
            for p in range(place[3]):
                below = 1 if 2 * (top + p) + 1 < size[0] else 0
                for u in range(below + 1):
                    for start in range(0, size[1], each):
                        q = min(start, size[1] - each)
                        seen = ((2 * p + u) * stride[0] * wide + q * stride[1]) * c
                        multiply(
                            rows, vectors, padded, seen, stride[1] * c, 1, offsets, offsets.size,
                            depth, flat, i * block, columns, bias, i * columns, 0, line,
                            (u * size[1] + q) * columns, columns,
                        )  # fmt: skip
                for s in range(y.shape[2]):
                    right = 1 if 2 * s + 1 < size[1] else 0
                    into = y[n, top + p, s, i * columns : i * columns + inside]
                    largest(line, 2 * s * columns, right * columns, below * size[1] * columns, into)


@compiled
def tiles(
    turns: Any, size: Any, rows: Any, vectors: Any, x: Any, w: Any, start: int, strides: Any,
    weights: Any, bias: Any, places: Any, low: Any, columns: int, shape: Any, none: Any,
    zeros: Any, padded: Any, seen: Any, products: Any, edge: Any, y: Any,
) -> None:  # fmt: skip
    """The same by Winograd's tiles; ``shape`` is that of the convolution's output, the rest is as
    in :func:`flagstone_numba.loops.winograd.forward`."""
    before, i = weights.shape[1], first(turns)
    while i < count(turns):
        if i < before:
            lay_weights(size, w, start, strides, i, edge, weights)
        else:
            wait_for(turns, before)
            _block(
                size, rows, vectors, x, weights, bias, places[i - before], low, columns, shape,
                none, zeros, padded, seen, products, edge, y,
            )  # fmt: skip
        i = following(turns)
    rest(turns)


@compiled
def _block(
    size: Any, rows: Any, vectors: Any, x: Any, weights: Any, bias: Any, place: Any, low: Any,
    columns: int, shape: Any, none: Any, zeros: Any, padded: Any, seen: Any, products: Any,
    edge: Any, y: Any,
) -> None:  # fmt: skip
    """Write the pooled outputs of one block of tiles."""
    m, k = len(size), y.shape[3]
    a, apart = products.reshape(-1), products.shape[1]
    tiles = inputs(size, x, place, low, columns, padded, seen)
    multiply_tiles(rows, vectors, weights, tiles, none, zeros, seen, products, k)
    t = 0
    for n in range(place[0], place[1]):
        for r in range(place[2], place[2] + place[3]):
            for s in range(columns):
                gather_outputs(size, a, t * k, (m + 2) * apart, apart, edge, 0, m * k, k, k, bias)
                for u in range(0, min(m, 2 * y.shape[1] - r * m), 2):
                    below = 1 if r * m + u + 1 < shape[0] else 0
                    for v in range(0, min(m, 2 * y.shape[2] - s * m), 2):
                        right = 1 if s * m + v + 1 < shape[1] else 0
                        into = y[n, (r * m + u) // 2, (s * m + v) // 2]
                        largest(edge, (u * m + v) * k, right * k, below * m * k, into)
                t += 1


@compiled
def largest(a: Any, at: int, right: int, below: int, out: Any) -> None:
    """ReLU of the largest of four runs of ``a``, as long as ``out``; NaN before all else."""
    n = out.size
    one, two = a[at : at + n], a[at + right : at + right + n]
    at += below
    three, four = a[at : at + n], a[at + right : at + right + n]
    zero = out.dtype.type(0)
    for i in range(n):
        best = one[i]
        best = two[i] if (two[i] > best) | (two[i] != two[i]) else best
        best = three[i] if (three[i] > best) | (three[i] != three[i]) else best
        best = four[i] if (four[i] > best) | (four[i] != four[i]) else best
        out[i] = zero if best < zero else best
