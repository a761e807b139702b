"""Winograd's F(m x m, 3x3) over blocks of tiles; see :mod:`flagstone_numpy.kernels.winograd`.

``size`` is a tuple of m numbers, so that m is known when this is compiled; a tile's elements are
its (m + 2)² transformed numbers. A block is a row of ``places``: first image, image after the last,
first row of tiles, rows of tiles. Pieces of work are taken by ``turns``: blocks, and before or
after them parts of the weights.
"""

from __future__ import annotations

from typing import Any

from flagstone_numba.loops.compiling import compiled
from flagstone_numba.loops.direct import activate, lay
from flagstone_numba.loops.elementwise import add_rows
from flagstone_numba.loops.product import multiply
from flagstone_numba.loops.transform import (
    gather_outputs,
    gather_weights,
    spread_gradients,
    spread_inputs,
    spread_weights,
)
from flagstone_numba.loops.turns import count, first, following, rest, wait_for


@compiled
def forward(
    turns: Any, size: Any, rows: Any, vectors: Any, x: Any, w: Any, start: int, strides: Any,
    weights: Any, bias: Any, places: Any, low: Any, columns: int, relu: bool, none: Any,
    zeros: Any, padded: Any, seen: Any, products: Any, edge: Any, y: Any,
) -> None:  # fmt: skip
    """Write the convolution of every block to ``y`` (n, p, q, k), activated if asked for.

    ``w`` is flat, its numbers (k, 3, 3, c) stand ``strides`` apart from ``start`` on; ``weights``
    (elements, blocks, c, columns of ``vectors``) is memory for the transformed ones, which come
    first, a block a piece. ``columns`` is how many tiles a row has; ``seen`` (elements, tiles * c
    or more), ``products`` (elements, tiles * k or more), ``padded`` and ``edge`` (m * m * k, or 9
    times the columns) are scratch, ``none`` is one zero, ``zeros`` as many as columns.
    """
    before, i = weights.shape[1], first(turns)
    while i < count(turns):
        if i < before:
            lay_weights(size, w, start, strides, i, edge, weights)
        else:
            wait_for(turns, before)
            _block(
                size, rows, vectors, x, weights, bias, places[i - before], low, columns, none,
                zeros, padded, seen, products, edge, y,
            )  # fmt: skip
            if relu:
                place, m = places[i - before], len(size)
                for n in range(place[0], place[1]):
                    for p in range(place[2] * m, min(y.shape[1], (place[2] + place[3]) * m)):
                        activate(y[n, p])
        i = following(turns)
    rest(turns)


@compiled
def lay_weights(
    size: Any, w: Any, start: int, strides: Any, block: int, taps: Any, weights: Any
) -> None:
    """Write a block of the transformed weights."""
    blocks, c, wide = weights.shape[1], weights.shape[2], weights.shape[3]
    out, side = weights.reshape(-1), len(size) + 2
    apart = blocks * c * wide
    for d in range(c):
        for i in range(3):
            for j in range(3):
                into = taps[(i * 3 + j) * wide : (i * 3 + j + 1) * wide]
                place = start + i * strides[1] + j * strides[2] + d * strides[3]
                place += block * wide * strides[0]
                for v in range(wide):
                    into[v] = w[place + v * strides[0]]
        spread_weights(
            size, taps, 0, 3 * wide, wide, out, (block * c + d) * wide, side * apart, apart, wide,
            taps,
        )  # fmt: skip


@compiled
def _block(
    size: Any, rows: Any, vectors: Any, x: Any, weights: Any, bias: Any, place: Any, low: Any,
    columns: int, none: Any, zeros: Any, padded: Any, seen: Any, products: Any, edge: Any, y: Any,
) -> None:  # fmt: skip
    """Write the convolution of one block."""
    m, p, q, k = len(size), y.shape[1], y.shape[2], y.shape[3]
    a, out, apart = products.reshape(-1), y.reshape(-1), products.shape[1]
    tiles = inputs(size, x, place, low, columns, padded, seen)
    multiply_tiles(rows, vectors, weights, tiles, none, zeros, seen, products, k)
    t = 0
    for n in range(place[0], place[1]):
        for r in range(place[2], place[2] + place[3]):
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
def multiply_tiles(
    rows: Any, vectors: Any, weights: Any, tiles: int, none: Any, zeros: Any, seen: Any,
    products: Any, k: int,
) -> None:  # fmt: skip
    """Write the products of so many transformed tiles and the weights, k numbers a tile."""
    a, b, flat = products.reshape(-1), seen.reshape(-1), weights.reshape(-1)
    blocks, c, wide = weights.shape[1], weights.shape[2], weights.shape[3]
    each = len(rows)
    for e in range(weights.shape[0]):
        for j in range(blocks):
            for start in range(0, tiles, each):
                t = min(start, tiles - each)
                multiply(
                    rows, vectors, b, e * seen.shape[1] + t * c, c, 1, none, 1, c, flat,
                    (e * blocks + j) * c * wide, wide, zeros, 0, 0, a,
                    e * products.shape[1] + t * k + j * wide, k,
                )  # fmt: skip


@compiled
def weight_grad(
    turns: Any, size: Any, rows: Any, vectors: Any, dy: Any, x: Any, places: Any, ends: Any,
    low: Any, columns: int, wide: int, none: Any, padded: Any, seen: Any, spread: Any, totals: Any,
    sums: Any, taps: Any, dw: Any, db: Any,
) -> None:  # fmt: skip
    """Write the gradient of the weights to ``dw`` (k, 9, c).

    First every group's sum of transformed inputs times gradients goes to ``totals`` (groups,
    elements, c, k), a group a piece, of blocks ``ends[i]`` to ``ends[i + 1]``; then the groups are
    added and transformed, for as many input channels a piece as ``taps`` (channels, 9, k) holds.
    ``seen`` and ``spread`` (elements, tiles * k or more) and ``taps`` are scratch; ``wide`` is how
    many columns ``vectors`` have; the rest is as above. Unless ``db`` (k,) is empty, it gets the
    sums of the gradients, by way of ``sums`` (groups, k).
    """
    groups, c, k, each = totals.shape[0], x.shape[3], dy.shape[3], len(rows)
    a, b = seen.reshape(-1), spread.reshape(-1)
    piece = first(turns)
    while piece < count(turns):
        if piece < groups:
            total = totals[piece]
            total[:] = 0
            out = total.reshape(-1)
            sums[piece] = 0
            for i in range(ends[piece], ends[piece + 1]):
                tiles = inputs(size, x, places[i], low, columns, padded, seen)
                gradients(size, dy, places[i], columns, padded, spread)
                if db.size:
                    add_block(dy, places[i], len(size), sums[piece])
                for e in range(total.shape[0]):
                    for j in range(0, k, wide):
                        for r in range(0, c, each):
                            place = (e * c + r) * k + j
                            multiply(
                                rows, vectors, a, e * seen.shape[1] + r, 1, c, none, 1, tiles, b,
                                e * spread.shape[1] + j, k, out, place, k, out, place, k,
                            )  # fmt: skip
        else:
            wait_for(turns, groups)
            start = (piece - groups) * taps.shape[0]
            if start == 0 and db.size:
                db[:] = 0
                add_rows(sums, db)
            _taps(size, totals, start, min(start + taps.shape[0], c), taps, dw)
        piece = following(turns)
    rest(turns)


@compiled
def add_block(dy: Any, place: Any, m: int, total: Any) -> None:
    """Add the rows of a block of tiles to ``total`` (k,)."""
    for n in range(place[0], place[1]):
        for p in range(place[2] * m, min((place[2] + place[3]) * m, dy.shape[1])):
            add_rows(dy[n, p], total)


@compiled
def _taps(size: Any, totals: Any, start: int, stop: int, taps: Any, dw: Any) -> None:
    """Add the groups' sums for input channels ``start`` to ``stop``, transform, write to ``dw``."""
    elements, c, k = totals.shape[1], totals.shape[2], totals.shape[3]
    found, source = taps.reshape(-1), totals[0].reshape(-1)
    for d in range(start, stop):
        for e in range(elements):
            into = totals[0, e, d]
            for g in range(1, totals.shape[0]):
                more = totals[g, e, d]
                for v in range(k):
                    into[v] += more[v]
        gather_weights(
            size, source, d * k, (len(size) + 2) * c * k, c * k, found, (d - start) * 9 * k,
            3 * k, k, k, found,
        )  # fmt: skip
    for v in range(k):
        for t in range(9):
            line = dw[v, t, start:stop]
            for d in range(stop - start):
                line[d] = taps[d, t, v]


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
