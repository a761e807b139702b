"""Normalisation of examples (n, m, k * l) over m and l."""

from __future__ import annotations

from typing import Any

import numpy as np

from flagstone_numba.loops.compiling import compiled


@compiled
def rows(x: Any, weight: Any, bias: Any, eps: Any, y: Any, mean: Any, var: Any) -> None:
    """Each row of x (n, l) by its own mean and variance; m and k are 1."""
    one = x.dtype.type(1)
    count = x.dtype.type(x.shape[1])
    for i in range(x.shape[0]):
        row, out = x[i], y[i]
        total = x.dtype.type(0)
        for j in range(row.size):
            total += row[j]
        middle = total / count
        square = x.dtype.type(0)
        for j in range(row.size):
            square += (row[j] - middle) * (row[j] - middle)
        mean[i] = middle
        var[i] = square / count
        scale = one / np.sqrt(square / count + eps)
        for j in range(row.size):
            out[j] = (row[j] - middle) * scale * weight[j] + bias[j]


@compiled
def rows_grad(
    g: Any, x: Any, mean: Any, var: Any, weight: Any, eps: Any, dx: Any, sums: Any
) -> None:
    """The gradients of :func:`rows`; those of weight and bias are added to ``sums`` (2, l)."""
    one = x.dtype.type(1)
    count = x.dtype.type(x.shape[1])
    d_weight, d_bias = sums[0], sums[1]
    for i in range(x.shape[0]):
        row, given, out = x[i], g[i], dx[i]
        middle, scale = mean[i], one / np.sqrt(var[i] + eps)
        level = x.dtype.type(0)
        along = x.dtype.type(0)
        for j in range(row.size):
            normal = (row[j] - middle) * scale
            through = given[j] * weight[j]
            level += through
            along += through * normal
            d_weight[j] += given[j] * normal
            d_bias[j] += given[j]
        level /= count
        along /= count
        for j in range(row.size):
            normal = (row[j] - middle) * scale
            out[j] = (given[j] * weight[j] - level - normal * along) * scale


@compiled
def _fold(sums: Any, length: int, count: Any) -> None:
    """Replace the sums of ``length`` neighbours by their mean."""
    for start in range(0, sums.size, length):
        part = sums[start : start + length]
        total = part.dtype.type(0)
        for j in range(length):
            total += part[j]
        part[:] = total / count


@compiled
def planes(
    x: Any, length: int, weight: Any, bias: Any, eps: Any, y: Any, mean: Any, var: Any
) -> None:
    """Each example of x (n, m, k * length) over m and ``length``; mean and var are (n, k)."""
    one = x.dtype.type(1)
    count = x.dtype.type(x.shape[1] * length)
    middle, square = np.empty(x.shape[2], x.dtype), np.empty(x.shape[2], x.dtype)
    for i in range(x.shape[0]):
        middle[:] = 0
        square[:] = 0
        for p in range(x.shape[1]):
            row = x[i, p]
            for c in range(row.size):
                middle[c] += row[c]
        _fold(middle, length, count)
        for p in range(x.shape[1]):
            row = x[i, p]
            for c in range(row.size):
                square[c] += (row[c] - middle[c]) * (row[c] - middle[c])
        _fold(square, length, count)
        for k in range(mean.shape[1]):
            mean[i, k] = middle[k * length]
            var[i, k] = square[k * length]
        for c in range(square.size):
            square[c] = one / np.sqrt(square[c] + eps) * weight[c]
        for p in range(x.shape[1]):
            row, out = x[i, p], y[i, p]
            for c in range(row.size):
                out[c] = (row[c] - middle[c]) * square[c] + bias[c]


@compiled
def planes_grad(
    g: Any, x: Any, length: int, mean: Any, var: Any, weight: Any, eps: Any, dx: Any, sums: Any
) -> None:
    """The gradients of :func:`planes`; those of weight and bias are added to ``sums``."""
    one = x.dtype.type(1)
    count = x.dtype.type(x.shape[1] * length)
    width = x.shape[2]
    middle, scale = np.empty(width, x.dtype), np.empty(width, x.dtype)
    level, along = np.empty(width, x.dtype), np.empty(width, x.dtype)
    for i in range(x.shape[0]):
        for c in range(width):
            middle[c] = mean[i, c // length]
            scale[c] = one / np.sqrt(var[i, c // length] + eps)
        level[:] = 0
        along[:] = 0
        for p in range(x.shape[1]):
            row, given = x[i, p], g[i, p]
            for c in range(row.size):
                level[c] += given[c]
                along[c] += given[c] * (row[c] - middle[c])
        for c in range(width):
            along[c] *= scale[c]
            sums[0, c] += along[c]
            sums[1, c] += level[c]
            along[c] *= weight[c]
            level[c] *= weight[c]
        _fold(level, length, count)
        _fold(along, length, count)
        for c in range(width):
            along[c] *= scale[c]
        for p in range(x.shape[1]):
            row, given, out = x[i, p], g[i, p], dx[i, p]
            for c in range(row.size):
                normal = (row[c] - middle[c]) * along[c]
                out[c] = (given[c] * weight[c] - level[c] - normal) * scale[c]
