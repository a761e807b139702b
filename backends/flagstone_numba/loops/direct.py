"""Convolution without a matrix product: few input channels, or one a group.

Images are (n, h, w, c); with one spatial axis h is 1. What lies outside the image is left out.
"""

from __future__ import annotations

from typing import Any

from flagstone_numba.loops.compiling import compiled


@compiled
def narrow(
    x: Any, w: Any, bias: Any, first: int, stop: int, stride: Any, low: Any, dilation: Any, y: Any
) -> None:
    """Images ``first`` to ``stop``: ``w`` (r, s, c, k), ``bias`` (k,), ``y`` (n, p, q, k)."""
    h, width, c = x.shape[1], x.shape[2], x.shape[3]
    for n in range(first, stop):
        for p in range(y.shape[1]):
            for q in range(y.shape[2]):
                out = y[n, p, q]
                out[:] = bias
                for i in range(w.shape[0]):
                    at = p * stride[0] + i * dilation[0] - low[0]
                    if at < 0 or at >= h:
                        continue
                    left = q * stride[1] - low[1]
                    if c == 1 and w.shape[1] == 3 and left >= 0 and left + 2 * dilation[1] < width:
                        x0 = x[n, at, left, 0]
                        x1 = x[n, at, left + dilation[1], 0]
                        x2 = x[n, at, left + 2 * dilation[1], 0]
                        w0, w1, w2 = w[i, 0, 0], w[i, 1, 0], w[i, 2, 0]
                        for k in range(out.size):
                            out[k] += x0 * w0[k] + x1 * w1[k] + x2 * w2[k]
                        continue
                    for j in range(w.shape[1]):
                        beside = left + j * dilation[1]
                        if beside < 0 or beside >= width:
                            continue
                        if c == 3:
                            x0, x1, x2 = (
                                x[n, at, beside, 0],
                                x[n, at, beside, 1],
                                x[n, at, beside, 2],
                            )
                            w0, w1, w2 = w[i, j, 0], w[i, j, 1], w[i, j, 2]
                            for k in range(out.size):
                                out[k] += x0 * w0[k] + x1 * w1[k] + x2 * w2[k]
                        else:
                            for m in range(c):
                                x0, w0 = x[n, at, beside, m], w[i, j, m]
                                for k in range(out.size):
                                    out[k] += x0 * w0[k]


@compiled
def narrow_weight_grad(
    g: Any, x: Any, first: int, stop: int, stride: Any, low: Any, dilation: Any, dw: Any
) -> None:
    """Add the gradient from images ``first`` to ``stop`` to ``dw`` (r, s, c, k)."""
    h, width, c = x.shape[1], x.shape[2], x.shape[3]
    columns = g.shape[2]
    for n in range(first, stop):
        for p in range(g.shape[1]):
            for i in range(dw.shape[0]):
                at = p * stride[0] + i * dilation[0] - low[0]
                if at < 0 or at >= h:
                    continue
                for j in range(dw.shape[1]):
                    offset = j * dilation[1] - low[1]
                    begin = 0
                    while begin * stride[1] + offset < 0:
                        begin += 1
                    end = columns
                    while end > begin and (end - 1) * stride[1] + offset >= width:
                        end -= 1
                    for m in range(c):
                        out = dw[i, j, m]
                        q = begin
                        while q + 4 <= end:
                            s = q * stride[1] + offset
                            x0, x1 = x[n, at, s, m], x[n, at, s + stride[1], m]
                            x2 = x[n, at, s + 2 * stride[1], m]
                            x3 = x[n, at, s + 3 * stride[1], m]
                            g0, g1, g2, g3 = (
                                g[n, p, q],
                                g[n, p, q + 1],
                                g[n, p, q + 2],
                                g[n, p, q + 3],
                            )
                            for k in range(out.size):
                                out[k] += x0 * g0[k] + x1 * g1[k] + x2 * g2[k] + x3 * g3[k]
                            q += 4
                        while q < end:
                            x0, g0 = x[n, at, q * stride[1] + offset, m], g[n, p, q]
                            for k in range(out.size):
                                out[k] += x0 * g0[k]
                            q += 1


@compiled
def narrow_input_grad(
    g: Any, w: Any, first: int, stop: int, stride: Any, low: Any, dilation: Any, dx: Any
) -> None:
    """Add to images ``first`` to ``stop`` of ``dx`` (n, h, width, c); ``w`` (r, s, c, k)."""
    h, width, c = dx.shape[1], dx.shape[2], dx.shape[3]
    for n in range(first, stop):
        for p in range(g.shape[1]):
            for q in range(g.shape[2]):
                given = g[n, p, q]
                for i in range(w.shape[0]):
                    at = p * stride[0] + i * dilation[0] - low[0]
                    if at < 0 or at >= h:
                        continue
                    for j in range(w.shape[1]):
                        beside = q * stride[1] + j * dilation[1] - low[1]
                        if beside < 0 or beside >= width:
                            continue
                        for m in range(c):
                            weights = w[i, j, m]
                            total = given[0] * weights[0]
                            for k in range(1, given.size):
                                total += given[k] * weights[k]
                            dx[n, at, beside, m] += total


@compiled
def depthwise(
    x: Any, w: Any, bias: Any, first: int, stop: int, stride: Any, low: Any, dilation: Any, y: Any
) -> None:
    """One input channel a group, k = c: ``w`` (r, s, k), ``y`` (n, p, q, k)."""
    h, width = x.shape[1], x.shape[2]
    for n in range(first, stop):
        for p in range(y.shape[1]):
            for q in range(y.shape[2]):
                out = y[n, p, q]
                out[:] = bias
                for i in range(w.shape[0]):
                    at = p * stride[0] + i * dilation[0] - low[0]
                    if at < 0 or at >= h:
                        continue
                    for j in range(w.shape[1]):
                        beside = q * stride[1] + j * dilation[1] - low[1]
                        if 0 <= beside < width:
                            seen, weights = x[n, at, beside], w[i, j]
                            for k in range(out.size):
                                out[k] += seen[k] * weights[k]


@compiled
def depthwise_weight_grad(
    g: Any, x: Any, first: int, stop: int, stride: Any, low: Any, dilation: Any, dw: Any
) -> None:
    """Add the gradient from images ``first`` to ``stop`` to ``dw`` (r, s, k)."""
    h, width = x.shape[1], x.shape[2]
    for n in range(first, stop):
        for p in range(g.shape[1]):
            for q in range(g.shape[2]):
                given = g[n, p, q]
                for i in range(dw.shape[0]):
                    at = p * stride[0] + i * dilation[0] - low[0]
                    if at < 0 or at >= h:
                        continue
                    for j in range(dw.shape[1]):
                        beside = q * stride[1] + j * dilation[1] - low[1]
                        if 0 <= beside < width:
                            seen, out = x[n, at, beside], dw[i, j]
                            for k in range(out.size):
                                out[k] += seen[k] * given[k]


@compiled
def depthwise_input_grad(
    g: Any, w: Any, first: int, stop: int, stride: Any, low: Any, dilation: Any, dx: Any
) -> None:
    """Add to images ``first`` to ``stop`` of ``dx`` (n, h, width, k); ``w`` (r, s, k)."""
    h, width = dx.shape[1], dx.shape[2]
    for n in range(first, stop):
        for p in range(g.shape[1]):
            for q in range(g.shape[2]):
                given = g[n, p, q]
                for i in range(w.shape[0]):
                    at = p * stride[0] + i * dilation[0] - low[0]
                    if at < 0 or at >= h:
                        continue
                    for j in range(w.shape[1]):
                        beside = q * stride[1] + j * dilation[1] - low[1]
                        if 0 <= beside < width:
                            out, weights = dx[n, at, beside], w[i, j]
                            for k in range(out.size):
                                out[k] += given[k] * weights[k]
