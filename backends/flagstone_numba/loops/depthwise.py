"""Convolution of one input channel a group, and as many output channels: no matrix product.

Images are (n, h, w, c); with one spatial axis h is 1. What lies outside the image is left out.
"""

from __future__ import annotations

from typing import Any

from flagstone_numba.loops.compiling import compiled


@compiled
def forward(
    x: Any, w: Any, bias: Any, first: int, stop: int, stride: Any, low: Any, dilation: Any, y: Any
) -> None:
    """Images ``first`` to ``stop`` of ``y`` (n, p, q, k); ``w`` (r, s, k)."""
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
def weight_grad(
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
def input_grad(
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
