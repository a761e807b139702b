"""The forms of fused ops: a product or a sum into its place, then the activation there."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from flagstone_numpy.kernels.conv import conv
from flagstone_numpy.replay import elementwise, products  # noqa: F401  # the forms used here
from flagstone_numpy.replay.form import FORMS, form, one_thread

Array = np.ndarray


def _linear(w: Any, out: Any, x: Any, weight: Any, b: Any) -> None:
    FORMS["linear"].write(w, [out], [x, weight, b])


@form("linear_relu", takes=FORMS["linear"].takes)
def _(w: Any, out: Any, x: Any, weight: Any, b: Any = None) -> None:
    _linear(w, out, x, weight, b)
    w.call(np.maximum, out, w.number(0, out.dtype), out=out)


@form("linear_sigmoid", takes=FORMS["linear"].takes)
def _(w: Any, out: Any, x: Any, weight: Any, b: Any = None) -> None:
    sums = w.scratch(out.shape, out.dtype)
    _linear(w, sums, x, weight, b)
    FORMS["sigmoid"].write(w, [out], [sums])


@form("linear_tanh", takes=FORMS["linear"].takes)
def _(w: Any, out: Any, x: Any, weight: Any, b: Any = None) -> None:
    _linear(w, out, x, weight, b)
    w.call(np.tanh, out, out)


@form("conv_relu")
def _(w: Any, out: Any, x: Any, weight: Any, b: Any = None, **how: Any) -> None:
    w.call(functools.partial(_conv_relu, **how), out, x, weight, b)


def _conv_relu(out: Array, x: Array, w: Array, b: Array | None, **how: Any) -> None:
    np.maximum(conv(x, w, b, **how), 0, out=out)


@form("add_relu", over=(0, 1), takes=one_thread)
def _(w: Any, out: Any, a: Any, b: Any) -> None:
    w.call(np.add, w.number(a, out.dtype), w.number(b, out.dtype), out=out)
    w.call(np.maximum, out, w.number(0, out.dtype), out=out)
