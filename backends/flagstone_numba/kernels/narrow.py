"""Convolution of inputs with very few channels, such as images.

Forward is that of :mod:`flagstone_numba.kernels.direct`. A weight gradient's sums, one for each
number of a window and output channel, are few enough to stay in registers while one pass is made
over the output's gradients. The input's gradient, which images do not need, is NumPy's.
"""

from __future__ import annotations

import functools

import numpy as np

from flagstone_numba.kernels import direct
from flagstone_numba.kernels.direct import places_of, plan
from flagstone_numba.kernels.planes import as_planes
from flagstone_numba.kernels.reduction import sum_rows
from flagstone_numba.loading import loops
from flagstone_numba.sums import share_sum_turns
from flagstone_numpy.kernels import narrow as numpys
from flagstone_numpy.kernels.windows import Array, Window
from flagstone_numpy.scratch import scratch
from flagstone_numpy.threads import Turns

forward = direct.forward
input_grad = numpys.input_grad

GRADIENT_BYTES = 1 << 14
"""Of the output's gradients in a product: they stay in the first-level cache."""


def weight_grad(
    dy: Array, x: Array, window: Window, groups: int = 1, out: Array | None = None,
    bias: Array | None = None,
) -> Array:  # fmt: skip
    """Return the gradient of the weights, (k, *kernel, c); write the bias's where one is given."""
    run = window.kernel[-1] * x.shape[-1]
    if x.ndim > 4 or window.dilation[-1] != 1 or run > loops("product").SUMS:
        if bias is not None:
            sum_rows(dy, bias)
        return numpys.weight_grad(dy, x, window, groups, out=out)
    c, k = x.shape[-1], dy.shape[-1]
    given, seen = as_planes(dy), as_planes(x)
    rows, beside = given.shape[1:3]
    how = plan(window, c, (rows, beside))
    lines, vectors, columns = _tile(how.starts.size, run, k, x.itemsize)
    together = max(1, min(rows, GRADIENT_BYTES // max(1, beside * k * x.itemsize)))
    across = -(-k // columns) * columns

    places = places_of(how, seen.shape[0], k)

    def work(turns: Turns, totals: Array, ends: Array) -> None:
        most = int(places[0, 3])
        loops("direct").taps_grad(
            turns, lines, (0,) * run, vectors, given, seen, places, ends, together, how.stride,
            how.low, how.reach, how.starts, bias is not None,
            scratch("padded", (how.area(most),), x.dtype),
            scratch("given", (together * beside, columns), x.dtype),
            scratch("lines", (most,), np.int64), totals,
        )  # fmt: skip

    total = share_sum_turns(work, len(places), (how.starts.size * run + 1, across), x.dtype)
    if bias is not None:
        np.copyto(bias, total[-1, :k])
    dw = np.empty((k, *window.kernel, c), x.dtype) if out is None else out
    np.copyto(dw.reshape(k, -1), total[:-1, :k].T)
    return dw


@functools.lru_cache(maxsize=64)
def _tile(
    lines: int, run: int, k: int, itemsize: int
) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """How many of a window's rows, a divisor of ``lines``, and vectors a product has."""
    product = loops("product")
    lanes = product.VECTOR_BYTES // itemsize
    held = max(
        i for i in range(1, lines + 1) if lines % i == 0 and (i * run <= product.SUMS or i == 1)
    )
    vectors = 2 if k > lanes and 2 * held * run <= product.SUMS else 1
    return (0,) * held, (0,) * vectors, vectors * lanes
