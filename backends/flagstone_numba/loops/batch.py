"""Normalisation of channels over a batch, and of rows by their mean square.

Sums over the rows of ``x`` (m, c) are those of groups, ``ends[i]`` to ``ends[i + 1]``, added in
order; a piece of work waits for those that it needs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flagstone_numba.loops.compiling import compiled
from flagstone_numba.loops.direct import activate
from flagstone_numba.loops.turns import count, first, following, rest, wait_for

RUN = 128
"""Rows that are summed by themselves first: long sums in float32 lose digits."""


@compiled
def batch_norm(
    turns: Any, x: Any, weight: Any, bias: Any, eps: Any, ends: Any, each: int, relu: bool,
    sums: Any, mean: Any, var: Any, y: Any,
) -> None:  # fmt: skip
    """Write ``y`` (m, c), activated if asked for, and its ``mean`` and ``var`` (c,).

    ``sums`` (groups, c) is memory. Pieces are the groups' sums, their mean, the groups' squares,
    their mean, then ``each`` rows of the output.
    """
    groups, c = sums.shape
    one, many = x.dtype.type(1), x.dtype.type(x.shape[0])
    part, scale = np.zeros(c, x.dtype), np.empty(c, x.dtype)
    ready = False
    i = first(turns)
    while i < count(turns):
        if i < groups:
            _sum(x[ends[i] : ends[i + 1]], part, sums[i])
        elif i == groups:
            wait_for(turns, groups)
            _mean(sums, many, mean)
        elif i <= 2 * groups:
            wait_for(turns, groups + 1)
            g = i - groups - 1
            _squares(x[ends[g] : ends[g + 1]], mean, part, sums[g])
        elif i == 2 * groups + 1:
            wait_for(turns, 2 * groups + 1)
            _mean(sums, many, var)
        else:
            wait_for(turns, 2 * groups + 2)
            if not ready:
                for k in range(c):
                    scale[k] = weight[k] / np.sqrt(var[k] + eps) * one
                ready = True
            start = (i - 2 * groups - 2) * each
            rows = y[start : min(start + each, y.shape[0])]
            _scale(x[start : min(start + each, y.shape[0])], mean, scale, bias, rows)
            if relu:
                activate(rows)
        i = following(turns)
    rest(turns)


@compiled
def _sum(rows: Any, part: Any, total: Any) -> None:
    """Write the sum of rows to ``total``; ``part`` is zero before and after."""
    total[:] = 0
    for start in range(0, rows.shape[0], RUN):
        for n in range(start, min(start + RUN, rows.shape[0])):
            row = rows[n]
            for k in range(row.size):
                part[k] += row[k]
        _move(part, total)


@compiled
def _squares(rows: Any, mean: Any, part: Any, total: Any) -> None:
    """Write the sum of squares of what rows differ from ``mean`` by."""
    total[:] = 0
    for start in range(0, rows.shape[0], RUN):
        for n in range(start, min(start + RUN, rows.shape[0])):
            row = rows[n]
            for k in range(row.size):
                d = row[k] - mean[k]
                part[k] += d * d
        _move(part, total)


@compiled
def _move(part: Any, total: Any) -> None:
    """Add ``part`` to ``total`` and clear it."""
    for k in range(part.size):
        total[k] += part[k]
    part[:] = 0


@compiled
def _mean(sums: Any, many: Any, out: Any) -> None:
    """Add groups' sums in order, over ``many``."""
    out[:] = 0
    for g in range(sums.shape[0]):
        row = sums[g]
        for k in range(row.size):
            out[k] += row[k]
    for k in range(out.size):
        out[k] /= many


@compiled
def _scale(rows: Any, mean: Any, scale: Any, bias: Any, out: Any) -> None:
    for n in range(rows.shape[0]):
        row, into = rows[n], out[n]
        for k in range(row.size):
            into[k] = (row[k] - mean[k]) * scale[k] + bias[k]


@compiled
def batch_norm_grad(
    turns: Any, g: Any, x: Any, mean: Any, var: Any, weight: Any, eps: Any, ends: Any, each: int,
    sums: Any, dx: Any, d_weight: Any, d_bias: Any,
) -> None:  # fmt: skip
    """Write the gradients of :func:`batch_norm`; ``sums`` is (groups, 2, c).

    Pieces are the groups' sums, the parameters' gradients, then ``each`` rows of ``dx``.
    """
    groups, c = sums.shape[0], sums.shape[2]
    one, many = x.dtype.type(1), x.dtype.type(x.shape[0])
    part, more = np.zeros(c, x.dtype), np.zeros(c, x.dtype)
    of_g, of_x, level = np.empty((3, c), x.dtype)
    ready = False
    i = first(turns)
    while i < count(turns):
        if i < groups:
            begin, end = ends[i], ends[i + 1]
            _moments(g[begin:end], x[begin:end], mean, part, more, sums[i])
        elif i == groups:
            wait_for(turns, groups)
            _mean(sums[:, 0], one, d_bias)
            _mean(sums[:, 1], one, d_weight)
            for k in range(c):
                d_weight[k] /= np.sqrt(var[k] + eps)
        else:
            wait_for(turns, groups + 1)
            if not ready:
                for k in range(c):
                    inverse = one / np.sqrt(var[k] + eps)
                    of_g[k] = inverse * weight[k]
                    of_x[k] = -of_g[k] * inverse * d_weight[k] / many
                    level[k] = -of_g[k] * d_bias[k] / many
                ready = True
            start = (i - groups - 1) * each
            for n in range(start, min(start + each, x.shape[0])):
                given, row, into = g[n], x[n], dx[n]
                for k in range(c):
                    into[k] = given[k] * of_g[k] + (row[k] - mean[k]) * of_x[k] + level[k]
        i = following(turns)
    rest(turns)


@compiled
def _moments(g: Any, x: Any, mean: Any, part: Any, more: Any, sums: Any) -> None:
    """Write the sums of gradients, and of them times what rows differ from ``mean`` by."""
    sums[:] = 0
    for start in range(0, g.shape[0], RUN):
        for n in range(start, min(start + RUN, g.shape[0])):
            given, row = g[n], x[n]
            for k in range(row.size):
                part[k] += given[k]
                more[k] += given[k] * (row[k] - mean[k])
        _move(part, sums[0])
        _move(more, sums[1])


@compiled
def rms(turns: Any, each: int, x: Any, weight: Any, eps: Any, y: Any, square: Any) -> None:
    """Each row of x (n, l) by its mean square."""
    one, many = x.dtype.type(1), x.dtype.type(x.shape[1])
    piece = first(turns)
    while piece < count(turns):
        for i in range(piece * each, min((piece + 1) * each, x.shape[0])):
            row, out = x[i], y[i]
            total = x.dtype.type(0)
            for j in range(row.size):
                total += row[j] * row[j]
            square[i] = total / many
            scale = one / np.sqrt(total / many + eps)
            for j in range(row.size):
                out[j] = row[j] * scale * weight[j]
        piece = following(turns)
    rest(turns)


@compiled
def rms_grad(
    turns: Any, g: Any, x: Any, square: Any, weight: Any, eps: Any, ends: Any, each: int, dx: Any,
    totals: Any,
) -> None:  # fmt: skip
    """The gradients of :func:`rms`; those of ``weight`` by groups, in ``totals`` (groups, l)."""
    one, many = x.dtype.type(1), x.dtype.type(x.shape[1])
    piece = first(turns)
    while piece < count(turns):
        d_weight = totals[piece]
        d_weight[:] = 0
        for i in range(ends[piece] * each, min(ends[piece + 1] * each, x.shape[0])):
            row, given, out = x[i], g[i], dx[i]
            scale = one / np.sqrt(square[i] + eps)
            along = x.dtype.type(0)
            for j in range(row.size):
                normal = row[j] * scale
                along += given[j] * weight[j] * normal
                d_weight[j] += given[j] * normal
            along /= many
            for j in range(row.size):
                out[j] = (given[j] * weight[j] - row[j] * scale * along) * scale
        piece = following(turns)
    rest(turns)
