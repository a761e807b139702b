"""The forms of what is done element by element."""

from __future__ import annotations

from typing import Any

import numpy as np

from flagstone_numpy.kernels.activation import limit
from flagstone_numpy.replay.form import Write, form, one_thread

# Elementwise: NumPy's own functions, which take numbers as arrays of shape ()

UFUNCS: dict[str, np.ufunc] = {
    "abs": np.absolute, "add": np.add, "divide": np.divide, "equal": np.equal, "exp": np.exp,
    "expm1": np.expm1, "greater": np.greater, "greater_equal": np.greater_equal, "less": np.less,
    "less_equal": np.less_equal, "log": np.log, "log1p": np.log1p, "maximum": np.maximum,
    "minimum": np.minimum, "multiply": np.multiply, "negative": np.negative,
    "not_equal": np.not_equal, "sign": np.sign, "sqrt": np.sqrt, "subtract": np.subtract,
    "tanh": np.tanh,
}  # fmt: skip


def _ufunc_form(ufunc: np.ufunc) -> Write:
    def write(w: Any, out: Any, *inputs: Any) -> None:
        dtype = next(x.dtype for x in inputs if hasattr(x, "dtype"))
        terms = [w.alone(w.number(x, dtype), out) for x in inputs]
        w.call(ufunc, *terms, out=out)

    return write


for _name, _ufunc in UFUNCS.items():
    form(_name, over=(0, 1))(_ufunc_form(_ufunc))


@form("power", over=(0,))
def _(w: Any, out: Any, x: Any, *, exponent: float) -> None:
    if exponent == 2:
        w.call(np.square, x, out)
    else:
        w.call(np.power, x, w.number(float(exponent), x.dtype), out)


@form("rsqrt", over=(0,))
def _(w: Any, out: Any, x: Any) -> None:
    w.call(np.sqrt, x, out)
    w.call(np.divide, w.number(1, x.dtype), out, out)


@form("cast")
def _(w: Any, out: Any, x: Any, *, dtype: str) -> None:
    w.call(np.copyto, out, x, "unsafe")


@form("where", over=(2,))
def _(w: Any, out: Any, condition: Any, a: Any, b: Any) -> None:
    w.call(np.copyto, out, w.number(b, out.dtype))
    w.call(np.copyto, out, w.number(a, out.dtype), "same_kind", condition)


@form("relu", over=(0,), takes=one_thread)
def _(w: Any, out: Any, x: Any) -> None:
    w.call(np.maximum, x, w.number(0, x.dtype), out=out)


def _same_bits(inputs: list[Any], call: Any) -> bool:
    return one_thread(inputs, call) and call.inputs[0].dtype.itemsize in (4, 8)


@form("relu_grad", over=(0,), takes=_same_bits)
def _(w: Any, out: Any, g: Any, kept: Any) -> None:
    positive = w.scratch(g.shape, np.bool_)
    w.call(np.greater, kept, w.number(0, kept.dtype), positive)
    w.call(np.multiply, _bits(w, g), positive, _bits(w, out))


def _bits(w: Any, x: Any) -> Any:
    return w.view(x, lambda a: a.view(f"u{a.itemsize}"))


@form("keep", over=(0,), takes=_same_bits)
def _(w: Any, out: Any, x: Any, mask: Any, *, scale: float) -> None:
    w.call(np.multiply, x, w.number(float(scale), x.dtype), out)
    bits = _bits(w, out)
    w.call(np.multiply, bits, mask, bits)


@form("sigmoid")
def _(w: Any, out: Any, x: Any) -> None:
    e = w.scratch(x.shape, x.dtype)
    w.call(np.minimum, x, limit(x.dtype), out=e)
    w.call(np.exp, e, e)
    w.call(np.add, e, w.number(1, x.dtype), out)
    w.call(np.divide, e, out, out)


@form("softplus")
def _(w: Any, out: Any, x: Any) -> None:
    other = w.scratch(x.shape, x.dtype)
    _log1p_of_exp(w, other, x)
    w.call(np.maximum, x, w.number(0, x.dtype), out=out)
    w.call(np.add, out, other, out)


def _log1p_of_exp(w: Any, out: Any, x: Any) -> None:
    """``log(1 + exp(-|x|))``."""
    w.call(np.absolute, x, out)
    w.call(np.negative, out, out)
    w.call(np.exp, out, out)
    w.call(np.log1p, out, out)


@form("binary_cross_entropy_with_logits")
def _(w: Any, out: Any, x: Any, target: Any) -> None:
    other = w.scratch(x.shape, x.dtype)
    w.call(np.maximum, x, w.number(0, x.dtype), out=out)
    w.call(np.multiply, x, target, other)
    w.call(np.subtract, out, other, out)
    _log1p_of_exp(w, other, x)
    w.call(np.add, out, other, out)
