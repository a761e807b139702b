"""The forms of a batch's losses with their derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np

from flagstone_numpy.kernels.constants import number, row
from flagstone_numpy.kernels.reduction import FEW
from flagstone_numpy.replay.form import DOT, FORMS, form

Array = np.ndarray


def _in_rows(inputs: list[Any], call: Any) -> bool:
    order = call.outputs[1].note.order
    return order == tuple(range(len(inputs[0].shape))) and inputs[0].size <= FEW


@form("squared_error", takes=_in_rows)
def _(w: Any, out: Any, x: Any, target: Any, *, factor: float) -> None:
    loss, difference = out
    w.call(np.subtract, x, target, difference)
    flat = w.view(difference, lambda a: a.reshape(-1))
    _scaled_sum(w, loss, factor, lambda total: w.call(DOT, flat, flat, total))


@form("logistic_error", takes=_in_rows)
def _(w: Any, out: Any, x: Any, target: Any, *, factor: float) -> None:
    loss, difference = out
    product, other = w.scratch(x.shape, x.dtype), w.scratch(x.shape, x.dtype)
    w.call(np.multiply, x, target, product)
    w.call(np.subtract, x, product, other)
    w.call(np.negative, product, product)
    w.call(np.logaddexp, product, other, product)
    flat = w.view(product, lambda a: a.reshape(-1))
    w.call(DOT, flat, row(x.size, factor, x.dtype), loss)
    FORMS["sigmoid"].write(w, [difference], [x])
    w.call(np.subtract, difference, target, difference)


def _scaled_sum(w: Any, loss: Any, factor: float, write: Any) -> None:
    if factor == 1:
        write(loss)
        return
    total = w.scratch((), loss.dtype)
    write(total)
    w.call(np.multiply, total, w.number(factor, loss.dtype), loss)


@form("scale_by", over=(0,))
def _(w: Any, out: Any, x: Any, by: Any, *, factor: float) -> None:
    if by.is_constant:
        w.call(np.multiply, x, number(float(by.array) * factor, x.dtype), out)
    else:
        w.call(_scale, x, by, factor, out)


def _scale(x: Array, by: Array, factor: float, out: Array) -> None:
    np.multiply(x, number(float(by) * factor, x.dtype), out)
