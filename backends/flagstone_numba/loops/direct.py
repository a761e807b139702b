"""Convolution without columns: products that read their windows where they lie in the image.

A row of an image is (w, c), so a window's row of taps is one run of kernel width * c numbers, and
neighbouring windows stand stride * c apart. Images lie padded in scratch memory first, which costs
a copy of the input against the nine that its columns would take.
"""

from __future__ import annotations

from typing import Any

from flagstone_numba.loops.compiling import compiled
from flagstone_numba.loops.product import multiply


@compiled
def lay(x: Any, n: int, top: int, left: int, rows: int, wide: int, out: Any) -> None:
    """Write ``rows`` rows, ``wide`` wide, of image n from (top, left) on; zeros outside it."""
    h, w, c = x.shape[1], x.shape[2], x.shape[3]
    begin = min(max(0, -left), wide)
    end = max(begin, min(wide, w - left))
    for r in range(rows):
        into = out[r * wide * c : (r + 1) * wide * c]
        if top + r < 0 or top + r >= h:
            into[:] = 0
        else:
            into[: begin * c] = 0
            seen = x[n, top + r].reshape(-1)[(begin + left) * c : (end + left) * c]
            inner = into[begin * c : end * c]
            for i in range(seen.size):
                inner[i] = seen[i]
            into[end * c :] = 0


@compiled
def forward(
    rows: Any, vectors: Any, x: Any, weights: Any, bias: Any, images: Any, first: int, count: int,
    stride: Any, low: Any, reach: Any, offsets: Any, depth: int, padded: Any, edge: Any, y: Any,
) -> None:  # fmt: skip
    """Rows ``first`` to ``first + count`` of ``images`` (first, stop) of ``y`` (n, p, q, k).

    ``x`` (n, h, w, c); ``weights`` (blocks, parts * depth, columns) and ``bias`` (blocks *
    columns,), where columns are those of ``vectors``, padded with zeros; ``reach`` is how many
    rows and columns a window spans, ``offsets`` where each part of it starts in ``padded``, the
    scratch memory of an image; ``edge`` is scratch for one product, whose ``rows`` are at most q.
    """
    c, k, wide = x.shape[3], y.shape[3], (y.shape[2] - 1) * stride[1] + reach[1]
    columns, each = weights.shape[2], len(rows)
    block = weights.shape[1] * columns
    flat, out = weights.reshape(-1), y.reshape(-1)
    tall = (count - 1) * stride[0] + reach[0]
    for n in range(images[0], images[1]):
        lay(x, n, first * stride[0] - low[0], -low[1], tall, wide, padded)
        for i in range(weights.shape[0]):
            whole = (i + 1) * columns <= k
            for p in range(count):
                for start in range(0, y.shape[2], each):
                    q = min(start, y.shape[2] - each)
                    seen = (p * stride[0] * wide + q * stride[1]) * c
                    place = ((n * y.shape[1] + first + p) * y.shape[2] + q) * k + i * columns
                    into, to, apart = (out, place, k) if whole else (edge, 0, columns)
                    multiply(
                        rows, vectors, padded, seen, stride[1] * c, 1, offsets, offsets.size,
                        depth, flat, i * block, columns, bias, i * columns, 0, into, to, apart,
                    )  # fmt: skip
                    if not whole:
                        for r in range(each):
                            for j in range(k - i * columns):
                                out[place + r * k + j] = edge[r * columns + j]


@compiled
def weight_grad(
    rows: Any, vectors: Any, g: Any, x: Any, images: Any, together: int, first: int, count: int,
    blocks: Any, stride: Any, low: Any, reach: Any, starts: Any, size: int, lines: Any,
    padded: Any, given: Any, dw: Any,
) -> None:  # fmt: skip
    """Add the gradient from rows ``first`` to ``first + count`` of ``images`` to ``dw``.

    ``g`` (n, p, q, k), of which ``blocks`` (first, stop) of the ``vectors``' columns are meant;
    ``dw`` (channel blocks, starts, rows, k or more). Channels lie in blocks of ``size`` in
    ``padded``, so many images as are ``together`` at a time; ``starts`` is where each run of
    ``rows`` numbers of a window lies there, ``lines`` where the windows of each row start. A block
    of columns of ``g`` is copied to ``given``: both then stay in the first-level cache.
    """
    wide, k = (g.shape[2] - 1) * stride[1] + reach[1], g.shape[3]
    tall = (count - 1) * stride[0] + reach[0]
    across, columns = dw.shape[3], given.shape[1]
    factors, out = given.reshape(-1), dw.reshape(-1)
    area = together * tall * wide * size
    for n in range(images[0], images[1], together):
        held = min(together, images[1] - n)
        for i in range(held):
            top, into = first * stride[0] - low[0], padded[i * tall * wide * size :]
            if size == x.shape[3]:
                lay(x, n + i, top, -low[1], tall, wide, into)
            else:
                lay_blocks(x, n + i, top, -low[1], tall, wide, size, area, into)
        for i in range(blocks[0] * columns, blocks[1] * columns, columns):
            m = 0
            inside = min(columns, k - i)
            for j in range(held):
                for p in range(first, first + count):
                    for q in range(g.shape[2]):
                        seen, to = g[n + j, p, q, i : i + inside], given[m]
                        for v in range(inside):
                            to[v] = seen[v]
                        to[inside:] = 0
                        m += 1
            place = i
            for b in range(dw.shape[0]):
                for s in range(starts.size):
                    multiply(
                        rows, vectors, padded, b * area + starts[s], 1, stride[1] * size, lines,
                        held * count, g.shape[2], factors, 0, columns, out, place, across, out,
                        place, across,
                    )  # fmt: skip
                    place += len(rows) * across


@compiled
def lay_blocks(
    x: Any, n: int, top: int, left: int, rows: int, wide: int, size: int, area: int, out: Any
) -> None:
    """As :func:`lay`, channels in blocks of ``size``, ``area`` apart, the last with zeros."""
    h, w, c = x.shape[1], x.shape[2], x.shape[3]
    for b in range(0, c, size):
        inside = min(size, c - b)
        for r in range(rows):
            for q in range(wide):
                place = b // size * area + (r * wide + q) * size
                into = out[place : place + size]
                at, beside = top + r, left + q
                if 0 <= at < h and 0 <= beside < w:
                    seen = x[n, at, beside, b : b + inside]
                    for i in range(inside):
                        into[i] = seen[i]
                    into[inside:] = 0
                else:
                    into[:] = 0
