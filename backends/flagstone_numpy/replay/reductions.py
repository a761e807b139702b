"""The forms of sums, extremes and the softmax family."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from flagstone_numpy.kernels import reduction
from flagstone_numpy.kernels.constants import ones
from flagstone_numpy.replay.form import DOT, form

Array = np.ndarray
_sum: Any = np.add.reduce  # its types want keepdims to be a literal
_max: Any = np.maximum.reduce
_min: Any = np.minimum.reduce


def _one_thread_sums(inputs: list[Any], call: Any) -> bool:
    x = call.inputs[0]
    return x.dtype.kind == "f" and math.prod(x.shape) <= reduction.SMALL


@form("sum", takes=_one_thread_sums)
def write_sum(w: Any, out: Any, x: Any, *, axis: Any = None, keepdims: bool = False) -> None:
    if reduction.by_product(x.shape, x.dtype, axis, keepdims) and x.is_in_rows:
        if axis is None:
            w.call(DOT, w.view(x, lambda a: a.reshape(-1)), ones(x.size, x.dtype), out)
        else:
            w.call(DOT, ones(x.shape[0], x.dtype), x, out)
        return
    w.call(_sum, x, axis, None, out, keepdims)


@form("max")
def _(w: Any, out: Any, x: Any, *, axis: Any, keepdims: bool) -> None:
    w.call(_max, x, axis, None, out, keepdims)


@form("min")
def _(w: Any, out: Any, x: Any, *, axis: Any, keepdims: bool) -> None:
    w.call(_min, x, axis, None, out, keepdims)


@form("argmax")
def _(w: Any, out: Any, x: Any, *, axis: int) -> None:
    w.call(np.argmax, x, axis, out)


def _row(shape: Any, axis: int) -> tuple[int, ...]:
    axis %= len(shape)
    return (*shape[:axis], 1, *shape[axis + 1 :])


@form("softmax", over=(0,))
def _(w: Any, out: Any, x: Any, *, axis: int) -> None:
    one = w.scratch(_row(x.shape, axis), x.dtype)
    w.call(_max, x, axis, None, one, True)
    w.call(np.subtract, x, one, out)
    w.call(np.exp, out, out)
    w.call(_sum, out, axis, None, one, True)
    w.call(np.divide, out, one, out)


@form("log_softmax", over=(0,))
def _(w: Any, out: Any, x: Any, *, axis: int) -> None:
    one, e = w.scratch(_row(x.shape, axis), x.dtype), w.scratch(x.shape, x.dtype)
    w.call(_max, x, axis, None, one, True)
    w.call(np.subtract, x, one, out)
    w.call(np.exp, out, e)
    w.call(_sum, e, axis, None, one, True)
    w.call(np.log, one, one)
    w.call(np.subtract, out, one, out)


@form("softmax_cross_entropy")
def _(w: Any, out: Any, x: Any, labels: Any) -> None:
    losses, p = out
    n, classes = x.shape
    one, place = w.scratch((n, 1), x.dtype), w.scratch((n,), np.int64)
    valid, low = w.scratch((n,), np.bool_), w.scratch((n,), np.bool_)
    first = np.arange(n) * classes
    values = w.view(p, lambda a: a.reshape(-1))
    total = w.view(one, lambda a: a[:, 0])

    def loss(x: Array, labels: Array, losses: Array, p: Array, one: Array, place: Array,
             valid: Array, low: Array, values: Array, total: Array) -> None:  # fmt: skip
        np.greater_equal(labels, 0, low)
        np.less(labels, classes, valid)
        np.logical_and(valid, low, valid)
        np.multiply(labels, valid, place, casting="unsafe")
        np.add(place, first, place)
        _max(x, 1, None, one, True)
        np.subtract(x, one, p)
        values.take(place, None, losses, "clip")  # they lie inside; to raise it would buffer
        np.exp(p, p)
        _sum(p, 1, None, one, True)
        np.divide(p, one, p)
        np.log(total, total)
        np.subtract(total, losses, losses)
        if not valid.all():
            losses[~valid] = np.nan

    w.call(loss, x, labels, losses, p, one, place, valid, low, values, total)


@form("softmax_cross_entropy_grad")
def _(w: Any, out: Any, g: Any, p: Any, labels: Any) -> None:
    n, classes = p.shape
    rows = np.arange(n)

    def gradient(g: Array, p: Array, labels: Array, out: Array) -> None:
        np.multiply(p, g[:, None], out)
        if labels.min(initial=0) >= 0 and labels.max(initial=0) < classes:
            out[rows, labels] -= g
        else:
            inside = np.flatnonzero((labels >= 0) & (labels < classes))
            out[inside, labels[inside]] -= g[inside]

    w.call(gradient, g, p, labels, out)
