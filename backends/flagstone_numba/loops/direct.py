"""Convolution without columns: products that read their windows where they lie in the image.

A row of an image is (w, c), so a window's row of taps is one run of kernel width * c numbers, and
neighbouring windows stand stride * c apart. Images lie padded in scratch memory first, which costs
a copy of the input against the nine that its columns would take.
"""

from __future__ import annotations

from typing import Any

from flagstone_numba.loops.compiling import compiled
from flagstone_numba.loops.elementwise import add_rows
from flagstone_numba.loops.product import multiply, multiply_taps
from flagstone_numba.loops.turns import count, first, following, rest, wait_for


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
def activate(rows: Any) -> None:
    """``max(rows, 0)`` in place; NaN stays."""
    for i in range(rows.shape[0]):
        line = rows[i]
        for j in range(line.size):
            v = line[j]
            line[j] = line.dtype.type(0) if v < 0 else v


@compiled
def forward(
    turns: Any, rows: Any, vectors: Any, x: Any, w: Any, weights: Any, bias: Any, places: Any,
    stride: Any, low: Any, reach: Any, offsets: Any, depth: int, relu: bool, padded: Any,
    edge: Any, y: Any,
) -> None:  # fmt: skip
    """Write ``y`` (n, p, q, k): a piece is a block of ``w`` (k, numbers of a window), then a row
    of ``places``: first image, image after the last, first row, rows.

    ``x`` (n, h, w, c); ``weights`` (blocks, parts * depth, columns) is memory for the laid out
    ``w``, and ``bias`` (blocks * columns,) has zeros at its end; columns are those of ``vectors``.
    ``reach`` is how many rows and columns a window spans, ``offsets`` where each part of it starts
    in ``padded``, the scratch memory of an image; ``edge`` is scratch for one product, whose
    ``rows`` are at most q.
    """
    before, columns = weights.shape[0], weights.shape[2]
    piece = first(turns)
    while piece < count(turns):
        if piece < before:
            lay_columns(w, piece * columns, weights[piece])
        else:
            wait_for(turns, before)
            _rows(
                rows, vectors, x, weights, bias, places[piece - before], stride, low, reach,
                offsets, depth, padded, edge, y,
            )  # fmt: skip
            if relu:
                place = places[piece - before]
                for n in range(place[0], place[1]):
                    for p in range(place[2], place[2] + place[3]):
                        activate(y[n, p])
        piece = following(turns)
    rest(turns)


@compiled
def lay_columns(w: Any, start: int, out: Any) -> None:
    """Write the columns that the rows of ``w`` from ``start`` on are, as many as ``out`` (numbers
    of a window, columns) has; zeros behind the last."""
    held = min(out.shape[1], w.shape[0] - start)
    for m in range(out.shape[0]):
        into = out[m]
        for j in range(held):
            into[j] = w[start + j, m]
        into[held:] = 0


@compiled
def _rows(
    rows: Any, vectors: Any, x: Any, weights: Any, bias: Any, place: Any, stride: Any, low: Any,
    reach: Any, offsets: Any, depth: int, padded: Any, edge: Any, y: Any,
) -> None:  # fmt: skip
    """Write the rows of one place."""
    c, k, wide = x.shape[3], y.shape[3], (y.shape[2] - 1) * stride[1] + reach[1]
    columns, each = weights.shape[2], len(rows)
    block = weights.shape[1] * columns
    flat, out = weights.reshape(-1), y.reshape(-1)
    tall = (place[3] - 1) * stride[0] + reach[0]
    for n in range(place[0], place[1]):
        lay(x, n, place[2] * stride[0] - low[0], -low[1], tall, wide, padded)
        for i in range(weights.shape[0]):
            whole = (i + 1) * columns <= k
            for p in range(place[3]):
                for start in range(0, y.shape[2], each):
                    q = min(start, y.shape[2] - each)
                    seen = (p * stride[0] * wide + q * stride[1]) * c
                    at = ((n * y.shape[1] + place[2] + p) * y.shape[2] + q) * k + i * columns
                    into, to, apart = (out, at, k) if whole else (edge, 0, columns)
                    multiply(
                        rows, vectors, padded, seen, stride[1] * c, 1, offsets, offsets.size,
                        depth, flat, i * block, columns, bias, i * columns, 0, into, to, apart,
                    )  # fmt: skip
                    if not whole:
                        for r in range(each):
                            for j in range(k - i * columns):
                                out[at + r * k + j] = edge[r * columns + j]


@compiled
def weight_grad(
    turns: Any, rows: Any, vectors: Any, g: Any, x: Any, places: Any, ends: Any, parts: int,
    most: int, stride: Any, low: Any, reach: Any, starts: Any, size: int, padded: Any,
    given: Any, lines: Any, totals: Any,
) -> None:  # fmt: skip
    """Write every group's sums to ``totals`` (groups, channel blocks, starts, rows, k or more).

    A piece is a group, places ``ends[i]`` to ``ends[i + 1]``, and one of ``parts`` of the
    ``vectors``' columns of ``g`` (n, p, q, k). Channels lie in blocks of ``size`` in ``padded``, at
    ``most`` so many small images together; ``starts`` is where each run of ``rows`` numbers of a
    window lies there, ``lines`` scratch for where the windows of each row start. A block of columns
    of ``g`` is copied to ``given``: both then stay in the first-level cache.
    """
    blocks, columns = totals.shape[4] // given.shape[1], given.shape[1]
    piece = first(turns)
    while piece < count(turns):
        group, part = piece // parts, piece % parts
        dw, begin, end = totals[group], blocks * part // parts, blocks * (part + 1) // parts
        dw[:, :, :, begin * columns : end * columns] = 0
        for i in range(ends[group], ends[group + 1]):
            _add(
                rows, vectors, g, x, places[i], begin, end, most, stride, low, reach, starts, size,
                padded, given, lines, dw,
            )  # fmt: skip
        piece = following(turns)
    rest(turns)


@compiled
def _add(
    rows: Any, vectors: Any, g: Any, x: Any, place: Any, begin: int, end: int, most: int,
    stride: Any, low: Any, reach: Any, starts: Any, size: int, padded: Any, given: Any,
    lines: Any, dw: Any,
) -> None:  # fmt: skip
    """Add the gradient from one place to the blocks of columns from ``begin`` to ``end``."""
    wide, across = (g.shape[2] - 1) * stride[1] + reach[1], dw.shape[3]
    top, tall = place[2], (place[3] - 1) * stride[0] + reach[0]
    columns, factors, out = given.shape[1], given.reshape(-1), dw.reshape(-1)
    together = min(most, place[1] - place[0]) if place[3] == g.shape[1] else 1
    area = together * tall * wide * size
    _find(lines, together, place[3], tall * wide * size, stride[0] * wide * size)
    for n in range(place[0], place[1], together):
        held = min(together, place[1] - n)
        for i in range(held):
            above, into = top * stride[0] - low[0], padded[i * tall * wide * size :]
            if size == x.shape[3]:
                lay(x, n + i, above, -low[1], tall, wide, into)
            else:
                lay_blocks(x, n + i, above, -low[1], tall, wide, size, area, into)
        for i in range(begin * columns, end * columns, columns):
            copy_columns(g, n, held, top, place[3], i, given)
            at = i
            for b in range(dw.shape[0]):
                for s in range(starts.size):
                    multiply(
                        rows, vectors, padded, b * area + starts[s], 1, stride[1] * size, lines,
                        held * place[3], g.shape[2], factors, 0, columns, out, at, across, out,
                        at, across,
                    )  # fmt: skip
                    at += len(rows) * across


@compiled
def _find(lines: Any, images: int, rows: int, image: int, row: int) -> None:
    """Write where the windows of each row start, in images that lie together."""
    for i in range(images):
        for p in range(rows):
            lines[i * rows + p] = i * image + p * row


@compiled
def copy_columns(g: Any, n: int, images: int, top: int, rows: int, start: int, out: Any) -> None:
    """Copy ``rows`` rows of ``images`` of ``g``, of columns from ``start`` on, zeros behind."""
    inside, m = min(out.shape[1], g.shape[3] - start), 0
    for i in range(n, n + images):
        for p in range(top, top + rows):
            for q in range(g.shape[2]):
                seen, to = g[i, p, q, start : start + inside], out[m]
                for v in range(inside):
                    to[v] = seen[v]
                to[inside:] = 0
                m += 1


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


@compiled
def taps_grad(
    turns: Any, lines: Any, run: Any, vectors: Any, g: Any, x: Any, places: Any, ends: Any,
    together: int, stride: Any, low: Any, reach: Any, taps: Any, adds_up: bool, padded: Any,
    given: Any, starts: Any, totals: Any,
) -> None:  # fmt: skip
    """As :func:`weight_grad`, all numbers of ``lines`` of a window's rows in one product.

    ``totals`` is (groups, rows of a window * run + 1, k or more), the last for the sums of ``g`` if
    it ``adds_up`` those; ``taps`` is where each row of a
    window starts in ``padded``. So many rows as are ``together`` are multiplied at a time, and
    ``starts`` is scratch for where their windows start. A last block of too few columns is copied
    to ``given``.
    """
    wide, k, beside = (g.shape[2] - 1) * stride[1] + reach[1], g.shape[3], g.shape[2]
    across, columns, step = totals.shape[2], given.shape[1], stride[1] * x.shape[3]
    flat, copied = g.reshape(-1), given.reshape(-1)
    line = taps[1] - taps[0] if taps.size > 1 else 0
    piece = first(turns)
    while piece < count(turns):
        dw = totals[piece]
        dw[:] = 0
        out = dw.reshape(-1)
        for b in range(ends[piece], ends[piece + 1]):
            top, rows = places[b, 2], places[b, 3]
            tall = (rows - 1) * stride[0] + reach[0]
            _find(starts, 1, rows, 0, stride[0] * wide * x.shape[3])
            for n in range(places[b, 0], places[b, 1]):
                lay(x, n, top * stride[0] - low[0], -low[1], tall, wide, padded)
                for p in range(0, rows, together):
                    held = min(together, rows - p)
                    place = (n * g.shape[1] + top + p) * beside * k
                    if adds_up:
                        for r in range(held):
                            add_rows(g[n, top + p + r], dw[-1, :k])
                    for i in range(0, across, columns):
                        if k - i < columns:
                            copy_columns(g, n, 1, top + p, held, i, given)
                        for t in range(0, taps.size, len(lines)):
                            at = t * len(run) * across + i
                            if k - i < columns:
                                multiply_taps(
                                    lines, run, vectors, padded, taps[t], line, step, starts[p:],
                                    held, beside, copied, 0, columns, out, at, across, 0,
                                )  # fmt: skip
                            else:
                                multiply_taps(
                                    lines, run, vectors, padded, taps[t], line, step, starts[p:],
                                    held, beside, flat, place + i, k, out, at, across,
                                    held * beside * k,
                                )  # fmt: skip
        piece = following(turns)
    rest(turns)
