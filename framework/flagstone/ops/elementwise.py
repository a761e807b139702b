"""Arithmetic, comparison and elementary functions, element by element.

Two-argument functions broadcast by NumPy's rules and take a Python number for either argument;
tensors must be of one dtype.
"""

from __future__ import annotations

from typing import Any

from flagstone.errors import InputError
from flagstone.ops.checks import broadcastable, floating
from flagstone.ops.door import Op, op
from flagstone.ops.reduction import sum_to
from flagstone.tensors import Tensor


@op
def add(xp: Any, a: Any, b: Any) -> Any:
    """``a + b``."""
    return xp.add(a, b)


@add.pullback
def _(dy: Tensor, a_shape: Any, b_shape: Any, need: Any) -> Any:
    return (sum_to(dy, a_shape) if need[0] else None, sum_to(dy, b_shape) if need[1] else None)


@op
def subtract(xp: Any, a: Any, b: Any) -> Any:
    """``a - b``."""
    return xp.subtract(a, b)


@subtract.pullback
def _(dy: Tensor, a_shape: Any, b_shape: Any, need: Any) -> Any:
    return (sum_to(dy, a_shape) if need[0] else None, sum_to(-dy, b_shape) if need[1] else None)


@op
def multiply(xp: Any, a: Any, b: Any) -> Any:
    """``a * b``."""
    return xp.multiply(a, b)


@multiply.pullback
def _(dy: Tensor, a: Any, b: Any, a_shape: Any, b_shape: Any, need: Any) -> Any:
    return (
        sum_to(dy * b, a_shape) if need[0] else None,
        sum_to(dy * a, b_shape) if need[1] else None,
    )


@op
def divide(xp: Any, a: Any, b: Any) -> Any:
    """``a / b`` for floating-point tensors."""
    return xp.divide(a, b)


@divide.pullback
def _(dy: Tensor, y: Tensor, b: Any, a_shape: Any, b_shape: Any, need: Any) -> Any:
    return (
        sum_to(dy / b, a_shape) if need[0] else None,
        sum_to(-dy * y / b, b_shape) if need[1] else None,
    )


@op
def maximum(xp: Any, a: Any, b: Any) -> Any:
    """The larger of ``a`` and ``b``; where they are equal the gradient is shared equally."""
    return xp.maximum(a, b)


@maximum.pullback
def _(dy: Tensor, a: Any, b: Any, a_shape: Any, b_shape: Any, need: Any) -> Any:
    return _share(dy, a, b, greater, a_shape, b_shape, need)


@op
def minimum(xp: Any, a: Any, b: Any) -> Any:
    """The smaller of ``a`` and ``b``; where they are equal the gradient is shared equally."""
    return xp.minimum(a, b)


@minimum.pullback
def _(dy: Tensor, a: Any, b: Any, a_shape: Any, b_shape: Any, need: Any) -> Any:
    return _share(dy, a, b, less, a_shape, b_shape, need)


def _share(dy: Tensor, a: Any, b: Any, wins: Op, a_shape: Any, b_shape: Any, need: Any) -> Any:
    half = where(equal(a, b), dy * 0.5, 0.0)
    return (
        sum_to(where(wins(a, b), dy, half), a_shape) if need[0] else None,
        sum_to(where(wins(b, a), dy, half), b_shape) if need[1] else None,
    )


for _op in (add, subtract, multiply, maximum, minimum):
    _op.check(lambda a, b, _name=_op.name: broadcastable(_name, a=a, b=b))


@divide.check
def _(a: Any, b: Any) -> None:
    floating("divide", a=a, b=b)
    broadcastable("divide", a=a, b=b)


@op
def where(xp: Any, condition: Any, a: Any, b: Any) -> Any:
    """``a`` where ``condition`` (a bool tensor) holds, else ``b``."""
    return xp.where(condition, a, b)


@where.check
def _(condition: Any, a: Any, b: Any) -> None:
    broadcastable("where", a=a, b=b)
    if not (isinstance(condition, Tensor) and condition.dtype_name == "bool"):
        raise InputError(
            "where: condition expected a bool tensor, such as x > 0; got "
            f"{getattr(condition, 'dtype_name', type(condition).__name__)}"
        )


@where.pullback
def _(dy: Tensor, condition: Any, a_shape: Any, b_shape: Any, need: Any) -> Any:
    return (
        None,
        sum_to(where(condition, dy, 0.0), a_shape) if need[1] else None,
        sum_to(where(condition, 0.0, dy), b_shape) if need[2] else None,
    )


# One argument


@op
def negative(xp: Any, x: Any) -> Any:
    """``-x``."""
    return xp.negative(x)


@negative.pullback
def _(dy: Tensor) -> Any:
    return -dy


@op
def power(xp: Any, x: Any, *, exponent: float) -> Any:
    """``x ** exponent`` for a Python number ``exponent``."""
    return xp.square(x) if exponent == 2 else xp.pow(x, exponent)


@power.check
def _(x: Tensor, *, exponent: Any) -> None:
    floating("power", x=x)
    if not isinstance(exponent, (int, float)):
        raise InputError(
            f"power: exponent expected a Python number; got {type(exponent).__name__}. "
            "For a tensor write exp(b * log(a))"
        )


@power.pullback
def _(dy: Tensor, x: Tensor, exponent: Any) -> Any:
    if exponent == 2:
        return dy * x * 2.0
    return dy * power(x, exponent=exponent - 1) * float(exponent) if exponent else dy * 0.0


@op
def exp(xp: Any, x: Any) -> Any:
    """e to the power of ``x``."""
    return xp.exp(x)


@exp.pullback
def _(dy: Tensor, y: Tensor) -> Any:
    return dy * y


@op
def log(xp: Any, x: Any) -> Any:
    """The natural logarithm."""
    return xp.log(x)


@log.pullback
def _(dy: Tensor, x: Tensor) -> Any:
    return dy / x


@op
def log1p(xp: Any, x: Any) -> Any:
    """``log(1 + x)``, exact near 0."""
    return xp.log1p(x)


@log1p.pullback
def _(dy: Tensor, x: Tensor) -> Any:
    return dy / (x + 1.0)


@op
def expm1(xp: Any, x: Any) -> Any:
    """``exp(x) - 1``, exact near 0."""
    return xp.expm1(x)


@expm1.pullback
def _(dy: Tensor, y: Tensor) -> Any:
    return dy * (y + 1.0)


@op
def sqrt(xp: Any, x: Any) -> Any:
    """The square root."""
    return xp.sqrt(x)


@sqrt.pullback
def _(dy: Tensor, y: Tensor) -> Any:
    return dy * 0.5 / y


@op
def abs(xp: Any, x: Any) -> Any:  # noqa: A001  # NumPy's name, always used as ops.abs
    """The absolute value; its gradient at 0 is 0."""
    return xp.abs(x)


@abs.pullback
def _(dy: Tensor, x: Tensor) -> Any:
    return dy * sign(x)


@op
def sign(xp: Any, x: Any) -> Any:
    """-1, 0 or 1; its gradient is 0 everywhere."""
    return xp.sign(x)


@sign.pullback
def _(dy: Tensor) -> Any:
    return dy * 0.0


@op
def clip(xp: Any, x: Any, *, low: float | None = None, high: float | None = None) -> Any:
    """``x`` limited to [low, high]; the gradient is 0 outside."""
    return xp.clip(x, low, high)


@clip.check
def _(x: Any, *, low: float | None = None, high: float | None = None) -> None:
    if low is not None and high is not None and low > high:
        raise InputError(f"clip: expected low <= high; got low {low} and high {high}")


@clip.pullback
def _(dy: Tensor, x: Tensor, low: float | None, high: float | None) -> Any:
    if low is not None:
        dy = where(x >= low, dy, 0.0)
    return dy if high is None else where(x <= high, dy, 0.0)


for _op in (exp, log, log1p, expm1, sqrt):
    _op.check(lambda x, _name=_op.name: floating(_name, x=x))


@op
def astype(xp: Any, x: Any, *, dtype: str) -> Any:
    """``x`` with another dtype, named as in ``"float32"``."""
    return xp.astype(x, getattr(xp, dtype))


@astype.check
def _(x: Any, *, dtype: Any) -> None:
    if not isinstance(dtype, str) or not hasattr(x.backend.xp, dtype):
        raise InputError(f"astype: dtype expected a name such as 'float32'; got {dtype!r}")


@astype.pullback
def _(dy: Tensor, x: Tensor) -> Any:
    return astype(dy, dtype=x.dtype_name)


# Comparison: bool tensors, no gradient


@op(differentiable=False)
def equal(xp: Any, a: Any, b: Any) -> Any:
    """``a == b``."""
    return xp.equal(a, b)


@op(differentiable=False)
def not_equal(xp: Any, a: Any, b: Any) -> Any:
    """``a != b``."""
    return xp.not_equal(a, b)


@op(differentiable=False)
def less(xp: Any, a: Any, b: Any) -> Any:
    """``a < b``."""
    return xp.less(a, b)


@op(differentiable=False)
def less_equal(xp: Any, a: Any, b: Any) -> Any:
    """``a <= b``."""
    return xp.less_equal(a, b)


@op(differentiable=False)
def greater(xp: Any, a: Any, b: Any) -> Any:
    """``a > b``."""
    return xp.greater(a, b)


@op(differentiable=False)
def greater_equal(xp: Any, a: Any, b: Any) -> Any:
    """``a >= b``."""
    return xp.greater_equal(a, b)


for _op in (equal, not_equal, less, less_equal, greater, greater_equal):
    _op.check(lambda a, b, _name=_op.name: broadcastable(_name, a=a, b=b))
del _op
