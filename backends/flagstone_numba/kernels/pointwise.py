"""Convolution of one tap, a product of rows, with sums that stay in registers.

Of one group and stride 1 with channels that fill registers; other cases, and the weights'
gradient, are NumPy's.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flagstone_numba.kernels.direct import product_tile
from flagstone_numba.kernels.reduction import sum_rows
from flagstone_numba.loading import loops
from flagstone_numba.outputs import output
from flagstone_numpy.kernels import pointwise as numpys
from flagstone_numpy.kernels.windows import Array, Sizes, Window
from flagstone_numpy.scratch import scratch
from flagstone_numpy.threads import Turns, share_turns

LEAST = 1 << 22
"""Multiply-adds below which the product is BLAS's."""
PIECE = 1 << 24
"""Multiply-adds of a piece of work: some 200 us."""


def weight_grad(
    dy: Array, x: Array, window: Window, groups: int, out: Array | None = None,
    bias: Array | None = None,
) -> Array:  # fmt: skip
    """Return the gradient of the weights; write the bias's to ``bias``, if given."""
    if bias is not None:
        sum_rows(dy, bias)
    return numpys.weight_grad(dy, x, window, groups, out=out)


def forward(
    x: Array, w: Array, b: Array | None, window: Window, positions: Sizes, groups: int,
    out: Array | None = None, relu: bool = False,
) -> Array:  # fmt: skip
    """Return the convolution, (n, *positions, k)."""
    k, c = w.shape[0], w.shape[-1]
    if not _serves(x, c, k, window, groups):
        return numpys.forward(x, w, b, window, positions, groups, out=out, relu=relu)
    y = output((x.shape[0], *positions, k), x.dtype) if out is None else out
    bias = np.zeros(k, x.dtype) if b is None else np.ascontiguousarray(b)
    _multiply(x, np.ascontiguousarray(w), (c, 1), bias, relu, y)
    return y


def input_grad(
    dy: Array, w: Array, size: Sizes, window: Window, groups: int, out: Array | None = None
) -> Array:
    """Return the gradient of the input, (n, *size, c)."""
    k, c = w.shape[0], w.shape[-1]
    if not _serves(dy, k, c, window, groups):
        return numpys.input_grad(dy, w, size, window, groups, out=out)
    dx = output((*dy.shape[:-1], c), dy.dtype) if out is None else out
    _multiply(dy, np.ascontiguousarray(w), (1, c), np.zeros(c, dy.dtype), False, dx)
    return dx


def _multiply(
    x: Array, w: Array, strides: tuple[int, int], bias: Array, relu: bool, y: Array
) -> None:
    """Write ``x`` times ``w``, whose columns and rows stand ``strides`` apart, to ``y``."""
    run: Any = loops("pointwise").rows
    c, k = x.shape[-1], y.shape[-1]
    given, into = np.ascontiguousarray(x).reshape(-1, c), y.reshape(-1, k)
    m = len(given)
    tile = product_tile(m, k, x.itemsize, divides=True)
    tall = len(tile.rows)
    weights = scratch("weights", (k // tile.columns, c, tile.columns), x.dtype)
    each = max(1, min(PIECE // (c * k), m) // tall) * tall
    none = np.zeros(1, np.int64)

    def work(turns: Turns) -> None:
        run(
            turns, tile.rows, tile.vectors, given, w.reshape(-1), *strides, weights, bias, each,
            none, relu, into,
        )  # fmt: skip

    places = max(1, m // each)
    share_turns(work, len(weights) + places, places)


def _serves(x: Array, c: int, k: int, window: Window, groups: int) -> bool:
    """Whether the product is large enough, and channels fill registers."""
    if groups > 1 or any(step != 1 for step in window.stride) or x.size * k < LEAST:
        return False
    lanes: int = loops("product").VECTOR_BYTES // x.itemsize
    return x.size // c >= loops("product").SUMS and c % lanes == k % lanes == 0
