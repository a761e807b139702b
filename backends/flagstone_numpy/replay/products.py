"""The forms of matrix products, of putting arrays together, and of writing to arrays."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from flagstone_numpy import products as shared
from flagstone_numpy.kernels import update
from flagstone_numpy.kernels.constants import number
from flagstone_numpy.replay.form import DOT, form

Array = np.ndarray


def _one_dtype(inputs: list[Any], call: Any) -> bool:
    a, b = call.inputs[:2]
    return a.dtype == b.dtype


def _write_product(w: Any, out: Any, a: Any, b: Any) -> None:
    """``a @ b``; ``dot`` gives the bits of ``matmul`` in half its time for two matrices
    without gaps and of more than one value. Long products are shared among threads; while others
    are done whole, the replay holds BLAS at one."""
    is_flat = len(a.shape) == len(b.shape) == 2
    if not shared.is_small(a, b) and not (
        is_flat and max(shared.cuts(a.shape[0], b.shape[1], a.shape[1])) < 2
    ):
        w.call(shared.into, out, a, b)
        return
    if all(len(x.shape) == 2 and x.size > 1 and x.is_dense for x in (a, b)) and out.size:
        w.call(DOT, a, b, out)
        return
    w.call(np.matmul, a, b, out)


@form("batched_matmul", takes=_one_dtype)
def _(w: Any, out: Any, a: Any, b: Any) -> None:
    _write_product(w, out, a, b)


@form("linear", takes=_one_dtype)
def _(w: Any, out: Any, x: Any, weight: Any, b: Any = None) -> None:
    _write_product(w, out, x, w.view(weight, lambda a: a.T))
    if b is not None:
        w.call(np.add, out, w.alone(b, out), out)


@form("linear_weight_grad", takes=_one_dtype)
def _(w: Any, out: Any, g: Any, x: Any) -> None:
    rows = math.prod(x.shape[:-1])
    if len(g.shape) != 2:
        g = w.view(g, lambda a: a.reshape(rows, a.shape[-1]))
        x = w.view(x, lambda a: a.reshape(rows, a.shape[-1]))
    _write_product(w, out, w.view(g, lambda a: a.T), x)


# Putting together


@form("concatenate")
def _(w: Any, out: Any, *xs: Any, axis: int) -> None:
    w.call(functools.partial(_together, np.concatenate, axis), out, *xs)


@form("stack")
def _(w: Any, out: Any, *xs: Any, axis: int) -> None:
    w.call(functools.partial(_together, np.stack, axis), out, *xs)


def _together(function: Any, axis: int, out: Array, *xs: Array) -> None:
    function(xs, axis=axis, out=out)


@form("scatter_index")
def _(w: Any, out: Any, g: Any, *, shape: Any, index: Any) -> None:
    place = tuple([part for part in index if part is not None])
    w.call(np.copyto, out, w.number(0, out.dtype))
    part = w.view(out, lambda a: a[place if ... in place else (*place, ...)])
    if part.shape != g.shape:
        g = w.view(g, lambda a: a.reshape(part.shape))
    w.call(np.copyto, part, g)


# What writes to its inputs


@form("assign")
def _(w: Any, out: Any, x: Any) -> None:
    w.call(np.copyto, out, w.number(x, out.dtype))


@form("accumulate")
def _(w: Any, out: Any, x: Any) -> None:
    if out.size == 1 and x.size == 1 and out.dtype == x.dtype and out.dtype.char in "fd":
        w.increase(out, x)
    else:
        w.call(np.add, out, x, out)


@form("interpolate")
def _(w: Any, out: Any, x: Any, *, weight: float) -> None:
    old, new = w.scratch(out.shape, out.dtype), w.scratch(out.shape, out.dtype)
    w.call(np.multiply, out, w.number(float(1 - weight), out.dtype), old)
    w.call(np.multiply, x, w.number(float(weight), out.dtype), new)
    w.call(np.add, old, new, out)


def _plain_descent(inputs: list[Any], call: Any) -> bool:
    p, _, velocity, _, _, rates, decays, *_ = (*inputs, None, None)
    return update.plain(p, velocity, rates, decays, call.static["weight_decay"])


@form("sgd_update", takes=_plain_descent)
def _(w: Any, p: Any, g: Any, velocity: Any, lr: Any, scale: Any, *_: Any, **__: Any) -> None:
    w.call(_descend, p, g, lr, scale, w.scratch(p.shape, p.dtype))


def _descend(p: Array, g: Array, lr: Array, scale: Array, step: Array) -> None:
    factor = float(scale)
    if factor != factor:  # the step is left out
        return
    np.multiply(g, number(float(lr) * factor, p.dtype), step)
    np.subtract(p, step, p)
