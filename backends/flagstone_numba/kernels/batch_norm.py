"""Batch normalisation, compiled: three passes over its input, two over its gradient's."""

from __future__ import annotations

from typing import Any

import numpy as np

from flagstone.backend import Traits, declines
from flagstone_numba.kernels.flat import LEAST, is_large
from flagstone_numba.loading import loops
from flagstone_numba.outputs import output
from flagstone_numpy.kernels import norm as numpys
from flagstone_numpy.kernels.windows import Array
from flagstone_numpy.scratch import scratch
from flagstone_numpy.threads import Turns, share_turns

GROUPS = 8
PIECE = 1 << 16
"""Numbers in a piece of work."""
Three = tuple[Array, Array, Array]


def _into(
    out: Three, x: Array, weight: Array, bias: Array, *, eps: float, relu: bool = False
) -> None:
    if _serves(x, weight):
        normalized(x, weight, bias, eps, relu, out)
        return
    found = numpys.batch_norm(x, weight, bias, eps=eps)
    for into, a in zip(out, found, strict=True):
        np.copyto(into, a)
    if relu:
        np.maximum(out[0], 0, out=out[0])


def _relu_into(out: Three, *given: Array, eps: float) -> None:
    _into(out, *given, eps=eps, relu=True)


@declines
@Traits(least=LEAST, into=_into, serves=is_large)
def batch_norm(x: Array, weight: Array, bias: Array, *, eps: float) -> Any:
    """See :func:`flagstone_numpy.kernels.norm.batch_norm`."""
    return normalized(x, weight, bias, eps) if _serves(x, weight) else NotImplemented


@declines
@Traits(least=LEAST, into=_relu_into, serves=is_large)
def batch_norm_relu(x: Array, weight: Array, bias: Array, *, eps: float) -> Any:
    """``relu`` of the first output of :func:`batch_norm`."""
    return normalized(x, weight, bias, eps, relu=True) if _serves(x, weight) else NotImplemented


def normalized(
    x: Array, weight: Array, bias: Array, eps: float, relu: bool = False, out: Three | None = None
) -> Three:
    """The output, activated if asked for, means and variances."""
    c = x.shape[-1]
    if out is None:
        out = output(x.shape, x.dtype), np.empty(c, x.dtype), np.empty(c, x.dtype)
    y, mean, var = out
    rows, into = np.ascontiguousarray(x).reshape(-1, c), y.reshape(-1, c)
    weight, bias, small = np.ascontiguousarray(weight), np.ascontiguousarray(bias), _number(x, eps)
    ends, each = _cut(rows)
    sums = scratch("totals", (len(ends) - 1, c), x.dtype)
    run = loops("batch").batch_norm

    def work(turns: Turns) -> None:
        run(turns, rows, weight, bias, small, ends, each, relu, sums, mean, var, into)

    share_turns(work, 2 * len(sums) + 2 - (-len(rows) // each))
    return out


def _grad_into(
    out: Three, g: Array, x: Array, mean: Array, var: Array, weight: Array, *, eps: float
) -> None:
    if _serves(x, weight):
        _gradients(out, g, x, mean, var, weight, eps)
        return
    found = numpys.batch_norm_grad(g, x, mean, var, weight, eps=eps)
    for into, a in zip(out, found, strict=True):
        np.copyto(into, a)


@declines
@Traits(least=LEAST, into=_grad_into, serves=is_large)
def batch_norm_grad(
    g: Array, x: Array, mean: Array, var: Array, weight: Array, *, eps: float
) -> Any:
    """See :func:`flagstone_numpy.kernels.norm.batch_norm_grad`."""
    if not _serves(x, weight):
        return NotImplemented
    c = x.shape[-1]
    out = output(x.shape, x.dtype), np.empty(c, x.dtype), np.empty(c, x.dtype)
    _gradients(out, g, x, mean, var, weight, eps)
    return out


def _gradients(
    out: Three, g: Array, x: Array, mean: Array, var: Array, weight: Array, eps: float
) -> None:
    c = x.shape[-1]
    dx, d_weight, d_bias = out
    rows, given, into = (np.ascontiguousarray(a).reshape(-1, c) for a in (x, g, dx))
    mean, var, weight = (np.ascontiguousarray(a) for a in (mean, var, weight))
    ends, each = _cut(rows)
    sums = scratch("totals", (len(ends) - 1, 2, c), x.dtype)
    run, small = loops("batch").batch_norm_grad, _number(x, eps)

    def work(turns: Turns) -> None:
        run(turns, given, rows, mean, var, weight, small, ends, each, sums, into, d_weight, d_bias)

    share_turns(work, len(sums) + 1 - (-len(rows) // each))


def _serves(x: Array, weight: Array) -> bool:
    """Whether ``x`` is large, of one float dtype with its parameters, and Numba works."""
    if x.size < LEAST or x.dtype != weight.dtype or x.dtype.kind != "f" or x.itemsize < 4:
        return False
    return loops("batch") is not None


def _number(x: Array, value: float) -> Any:
    return x.dtype.type(value)


def _cut(rows: Array) -> tuple[Array, int]:
    """Where groups of rows begin, and the last ends; how many rows a piece of output has."""
    m, c = rows.shape
    groups = max(1, min(GROUPS, rows.size // PIECE))
    ends = np.array([m * i // groups for i in range(groups + 1)], np.int64)
    return ends, max(1, PIECE // c)
