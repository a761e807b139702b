"""The forms of fused ops: a product or a sum into its place, then the activation there."""

from __future__ import annotations

from typing import Any

import numpy as np

from flagstone_numpy.replay import elementwise, products  # noqa: F401  # the forms used here
from flagstone_numpy.replay.form import FORMS, form, one_thread


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


@form("add_relu", over=(0, 1), takes=one_thread)
def _(w: Any, out: Any, a: Any, b: Any) -> None:
    w.call(np.add, w.number(a, out.dtype), w.number(b, out.dtype), out=out)
    w.call(np.maximum, out, w.number(0, out.dtype), out=out)
