"""The forms of a batch's losses with their derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np

from flagstone_numpy.kernels.constants import number
from flagstone_numpy.kernels.reduction import FEW
from flagstone_numpy.replay.form import DOT, form
from flagstone_numpy.replay.reductions import write_sum

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
    zero, one = w.number(0, x.dtype), w.number(1, x.dtype)
    e, losses, other = (w.scratch(x.shape, x.dtype) for _ in range(3))
    w.call(np.abs, x, e)
    w.call(np.negative, e, e)
    w.call(np.exp, e, e)
    w.call(np.maximum, x, zero, out=losses)
    w.call(np.multiply, x, target, other)
    w.call(np.subtract, losses, other, losses)
    w.call(np.log1p, e, other)
    w.call(np.add, losses, other, losses)
    w.call(np.greater_equal, x, zero, other)
    w.call(np.maximum, other, e, out=difference)
    w.call(np.add, e, one, e)
    w.call(np.divide, difference, e, difference)
    w.call(np.subtract, difference, target, difference)
    _scaled_sum(w, loss, factor, lambda total: write_sum(w, total, losses))


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
