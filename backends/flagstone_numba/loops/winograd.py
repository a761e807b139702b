"""Winograd's F(m x m, 3x3) over blocks of tiles; see :mod:`flagstone_numpy.kernels.winograd`.

``size`` is a tuple of m numbers, so that m is known when this is compiled; a tile's elements are
its (m + 2)² transformed numbers. A block is a row of ``places``: first image, image after the last,
first row of tiles, rows of tiles.
"""

from __future__ import annotations

from typing import Any

from flagstone_numba.loops.compiling import compiled
from flagstone_numba.loops.direct import lay
from flagstone_numba.loops.product import multiply
from flagstone_numba.loops.transform import gather_outputs, spread_gradients, spread_inputs


@compiled
def forward(
    size: Any, rows: Any, vectors: Any, x: Any, weights: Any, bias: Any, places: Any, low: Any,
    columns: int, none: Any, zeros: Any, padded: Any, seen: Any, products: Any, edge: Any, y: Any,
) -> None:  # fmt: skip
    """Write the convolution of every block to ``y`` (n, p, q, k).

    ``weights`` (elements, blocks, c, columns of ``vectors``) are transformed; ``columns`` is how
    many tiles a row has; ``seen`` (elements, tiles * c or more), ``products`` (elements, tiles * k
    or more), ``padded`` and ``edge`` (m * m * k,) are scratch, ``none`` is one zero,
    ``zeros`` as many as columns.
    """
    m, p, q, k = len(size), y.shape[1], y.shape[2], y.shape[3]
    a, out, flat = products.reshape(-1), y.reshape(-1), weights.reshape(-1)
    apart, c, wide = products.shape[1], x.shape[3], weights.shape[3]
    each, b = len(rows), seen.reshape(-1)
    for i in range(places.shape[0]):
        tiles = inputs(size, x, places[i], low, columns, padded, seen)
        for e in range(weights.shape[0]):
            for j in range(weights.shape[1]):
                for start in range(0, tiles, each):
                    t = min(start, tiles - each)
                    multiply(
                        rows, vectors, b, e * seen.shape[1] + t * c, c, 1, none, 1, c, flat,
                        (e * weights.shape[1] + j) * c * wide, wide, zeros, 0, 0, a,
                        e * apart + t * k + j * wide, k,
                    )  # fmt: skip
        t = 0
        for n in range(places[i, 0], places[i, 1]):
            for r in range(places[i, 2], places[i, 2] + places[i, 3]):
                for s in range(columns):
                    if (r + 1) * m <= p and (s + 1) * m <= q:
                        gather_outputs(
                            size, a, t * k, (m + 2) * apart, apart, out,
                            ((n * p + r * m) * q + s * m) * k, q * k, k, k, bias,
                        )  # fmt: skip
                    else:
                        gather_outputs(
                            size, a, t * k, (m + 2) * apart, apart, edge, 0, m * k, k, k, bias
                        )
                        for u in range(min(m, p - r * m)):
                            for v in range(min(m, q - s * m)):
                                into = y[n, r * m + u, s * m + v]
                                found = edge[(u * m + v) * k : (u * m + v + 1) * k]
                                for w in range(k):
                                    into[w] = found[w]
                    t += 1


@compiled
def weight_grad(
    size: Any, rows: Any, vectors: Any, dy: Any, x: Any, places: Any, low: Any, columns: int,
    wide: int, none: Any, padded: Any, seen: Any, spread: Any, total: Any,
) -> None:  # fmt: skip
    """Add every block's part to ``total`` (elements, c, k): transformed inputs times gradients.

    ``seen`` and ``spread`` (elements, tiles * k or more) are scratch; ``wide`` is how many
    columns ``vectors`` have; the rest is as above.
    """
    c, k, each = x.shape[3], dy.shape[3], len(rows)
    a, b, out = seen.reshape(-1), spread.reshape(-1), total.reshape(-1)
    for i in range(places.shape[0]):
        tiles = inputs(size, x, places[i], low, columns, padded, seen)
        gradients(size, dy, places[i], columns, padded, spread)
        for e in range(total.shape[0]):
            for j in range(0, k, wide):
                for r in range(0, c, each):
                    place = (e * c + r) * k + j
                    multiply(
                        rows, vectors, a, e * seen.shape[1] + r, 1, c, none, 1, tiles, b,
                        e * spread.shape[1] + j, k, out, place, k, out, place, k,
                    )  # fmt: skip


@compiled
def inputs(
    size: Any, x: Any, place: Any, low: Any, columns: int, padded: Any, seen: Any
) -> int:  # fmt: skip
    """Write a block's transformed inputs to ``seen``; how many tiles it has."""
    m, c = len(size), x.shape[3]
    wide, apart, out = columns * m + 2, seen.shape[1], seen.reshape(-1)
    t = 0
    for n in range(place[0], place[1]):
        lay(x, n, place[2] * m - low[0], -low[1], place[3] * m + 2, wide, padded)
        for r in range(place[3]):
            for s in range(columns):
                spread_inputs(
                    size, padded, (r * m * wide + s * m) * c, wide * c, c, out, t * c,
                    (m + 2) * apart, apart, c, padded,
                )  # fmt: skip
                t += 1
    return t


@compiled
def gradients(size: Any, dy: Any, place: Any, columns: int, padded: Any, spread: Any) -> None:
    """Write a block's transformed gradients to ``spread``."""
    m, k = len(size), dy.shape[3]
    wide, apart, out = columns * m, spread.shape[1], spread.reshape(-1)
    t = 0
    for n in range(place[0], place[1]):
        lay(dy, n, place[2] * m, 0, place[3] * m, wide, padded)
        for r in range(place[3]):
            for s in range(columns):
                spread_gradients(
                    size, padded, (r * m * wide + s * m) * k, wide * k, k, out, t * k,
                    (m + 2) * apart, apart, k, padded,
                )  # fmt: skip
                t += 1
