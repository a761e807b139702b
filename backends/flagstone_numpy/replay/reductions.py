"""The forms of sums and extremes."""

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
