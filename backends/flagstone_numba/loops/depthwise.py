"""Convolution of one input channel a group, and as many output channels: no matrix product.

Images are (n, h, w, c); with one spatial axis h is 1. What lies outside the image is left out.
"""

from __future__ import annotations

from typing import Any

from flagstone_numba.loops.compiling import compiled
from flagstone_numba.loops.windows import inside

IMAGE, WEIGHTS, POSITIONS = 0, 1, 2
"""Which of a convolution's three arrays is written to."""


@compiled
def forward(
    x: Any, w: Any, bias: Any, first: int, stop: int, stride: Any, low: Any, dilation: Any, y: Any
) -> None:
    """Images ``first`` to ``stop`` of ``y`` (n, p, q, k); ``w`` (r, s, k)."""
    for n in range(first, stop):
        for p in range(y.shape[1]):
            for q in range(y.shape[2]):
                y[n, p, q] = bias
        _add(POSITIONS, x[n], w, stride, low, dilation, y[n])


@compiled
def weight_grad(
    g: Any, x: Any, first: int, stop: int, stride: Any, low: Any, dilation: Any, dw: Any
) -> None:
    """Add the gradient from images ``first`` to ``stop`` to ``dw`` (r, s, k)."""
    for n in range(first, stop):
        _add(WEIGHTS, x[n], dw, stride, low, dilation, g[n])


@compiled
def input_grad(
    g: Any, w: Any, first: int, stop: int, stride: Any, low: Any, dilation: Any, dx: Any
) -> None:
    """Add to images ``first`` to ``stop`` of ``dx`` (n, h, width, k); ``w`` (r, s, k)."""
    for n in range(first, stop):
        _add(IMAGE, dx[n], w, stride, low, dilation, g[n])


@compiled
def _add(to: int, image: Any, w: Any, stride: Any, low: Any, dilation: Any, positions: Any) -> None:
    """Add to one of the arrays what the two others give."""
    for p in range(positions.shape[0]):
        top = p * stride[0] - low[0]
        r, stop = inside(top, dilation[0], w.shape[0], image.shape[0])
        for q in range(positions.shape[1]):
            left, out = q * stride[1] - low[1], positions[p, q]
            s, end = inside(left, dilation[1], w.shape[1], image.shape[1])
            for i in range(r, stop):
                for j in range(s, end):
                    seen, weights = image[top + i * dilation[0], left + j * dilation[1]], w[i, j]
                    if to == POSITIONS:
                        _multiply(seen, weights, out)
                    elif to == WEIGHTS:
                        _multiply(seen, out, weights)
                    else:
                        _multiply(out, weights, seen)


@compiled
def _multiply(a: Any, b: Any, out: Any) -> None:
    for k in range(out.size):
        out[k] += a[k] * b[k]
