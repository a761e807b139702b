"""The transforms of Winograd's F(2x2, 3x3); see :mod:`flagstone_numpy.kernels.winograd`.

Along an axis a transform is a sum or difference of two or three streams. Down the rows, streams
are rows of an image, any length. Across the columns, the columns of a row are first laid apart,
even from odd ones, so that a stream is again one run over all tiles of the row.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flagstone_numba.loops.compiling import compiled


@compiled
def inputs(
    x: Any, images: Any, first_row: int, low: Any, rows: int, columns: int, out: Any, scratch: Any
) -> None:
    """Write B'dB of every tile of a block to ``out``.

    ``x`` (n, h, w, c); the block is ``images`` (first, stop) and tile rows ``first_row`` to
    ``first_row + rows`` of ``columns`` tiles; ``low`` is the padding before both axes; ``out``
    (16, tiles * c); ``scratch`` (8, (columns + 1) * c), the rows' four sums, even columns and odd.
    """
    h, w, c = x.shape[1], x.shape[2], x.shape[3]
    run = columns * c
    place = 0
    for n in range(images[0], images[1]):
        for t in range(first_row, first_row + rows):
            top = 2 * t - low[0]
            for i in range(4):  # rows of B': r0 - r2, r1 + r2, r2 - r1, r1 - r3
                plus = top + (1 if i == 3 else i)
                minus = top + (2 if i < 2 else 2 * i - 3)
                sign = np.float32(1) if i == 1 else np.float32(-1)
                has_plus, has_minus = 0 <= plus < h, 0 <= minus < h
                for q in range(2 * columns + 2):
                    into = scratch[i if q % 2 == 0 else 4 + i, q // 2 * c : q // 2 * c + c]
                    at = q - low[1]
                    if at < 0 or at >= w or not (has_plus or has_minus):
                        into[:] = 0
                    elif has_plus and has_minus:
                        first, second = x[n, plus, at], x[n, minus, at]
                        for k in range(c):
                            into[k] = first[k] + sign * second[k]
                    elif has_plus:
                        first = x[n, plus, at]
                        for k in range(c):
                            into[k] = first[k]
                    else:
                        second = x[n, minus, at]
                        for k in range(c):
                            into[k] = sign * second[k]
            for i in range(4):
                d0, d2 = scratch[i, :run], scratch[i, c : c + run]
                d1, d3 = scratch[4 + i, :run], scratch[4 + i, c : c + run]
                u0, u1 = out[4 * i, place : place + run], out[4 * i + 1, place : place + run]
                u2, u3 = out[4 * i + 2, place : place + run], out[4 * i + 3, place : place + run]
                for k in range(run):
                    u0[k] = d0[k] - d2[k]
                for k in range(run):
                    u1[k] = d1[k] + d2[k]
                for k in range(run):
                    u2[k] = d2[k] - d1[k]
                for k in range(run):
                    u3[k] = d1[k] - d3[k]
            place += run


@compiled
def outputs(
    products: Any, bias: Any, images: Any, first_row: int, rows: int, columns: int, y: Any,
    scratch: Any,
) -> None:  # fmt: skip
    """Write A'mA + bias of every tile of a block to ``y`` (n, h, w, k).

    ``products`` (16, tiles * k); ``scratch`` (8, columns * k), two rows of four columns.
    """
    h, w, k = y.shape[1], y.shape[2], y.shape[3]
    run = columns * k
    place = 0
    for n in range(images[0], images[1]):
        for t in range(first_row, first_row + rows):
            for j in range(4):
                m0, m1 = products[j, place : place + run], products[4 + j, place : place + run]
                m2 = products[8 + j, place : place + run]
                m3 = products[12 + j, place : place + run]
                upper, lower = scratch[j, :run], scratch[4 + j, :run]
                for i in range(run):
                    upper[i] = m0[i] + m1[i] + m2[i]
                for i in range(run):
                    lower[i] = m1[i] - m2[i] - m3[i]
            place += run
            for a in range(min(2, h - 2 * t)):
                for q in range(columns):
                    s = q * k
                    r0, r1 = scratch[4 * a, s : s + k], scratch[4 * a + 1, s : s + k]
                    r2, r3 = scratch[4 * a + 2, s : s + k], scratch[4 * a + 3, s : s + k]
                    into = y[n, 2 * t + a, 2 * q]
                    for i in range(k):
                        into[i] = r0[i] + r1[i] + r2[i] + bias[i]
                    if 2 * q + 1 < w:
                        beside = y[n, 2 * t + a, 2 * q + 1]
                        for i in range(k):
                            beside[i] = r1[i] - r2[i] - r3[i] + bias[i]


@compiled
def gradients(
    dy: Any, images: Any, first_row: int, rows: int, columns: int, out: Any, scratch: Any
) -> None:
    """Write A dy A' of every tile of a block to ``out`` (16, tiles * k): the weight gradient's.

    ``dy`` (n, h, w, k); ``scratch`` (8, columns * k), four rows of even columns, then of odd.
    """
    h, w, k = dy.shape[1], dy.shape[2], dy.shape[3]
    run = columns * k
    place = 0
    for n in range(images[0], images[1]):
        for t in range(first_row, first_row + rows):
            has_lower = 2 * t + 1 < h
            for q in range(2 * columns):
                half, s = (0 if q % 2 == 0 else 4), q // 2 * k
                s0, s1 = scratch[half, s : s + k], scratch[half + 1, s : s + k]
                s2, s3 = scratch[half + 2, s : s + k], scratch[half + 3, s : s + k]
                if q >= w:
                    for s_ in (s0, s1, s2, s3):
                        s_[:] = 0
                    continue
                upper = dy[n, 2 * t, q]
                if has_lower:
                    lower = dy[n, 2 * t + 1, q]
                    for i in range(k):
                        s0[i] = upper[i]
                    for i in range(k):
                        s1[i] = upper[i] + lower[i]
                    for i in range(k):
                        s2[i] = upper[i] - lower[i]
                    for i in range(k):
                        s3[i] = -lower[i]
                else:
                    for i in range(k):
                        s0[i] = upper[i]
                    for i in range(k):
                        s1[i] = upper[i]
                    for i in range(k):
                        s2[i] = upper[i]
                    s3[:] = 0
            for i in range(4):
                even, odd = scratch[i, :run], scratch[4 + i, :run]
                v0, v1 = out[4 * i, place : place + run], out[4 * i + 1, place : place + run]
                v2, v3 = out[4 * i + 2, place : place + run], out[4 * i + 3, place : place + run]
                for j in range(run):
                    v0[j] = even[j]
                for j in range(run):
                    v1[j] = even[j] + odd[j]
                for j in range(run):
                    v2[j] = even[j] - odd[j]
                for j in range(run):
                    v3[j] = -odd[j]
            place += run
