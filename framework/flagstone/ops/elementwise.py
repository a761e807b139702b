"""Arithmetic and elementary functions, element by element.

Two-argument functions broadcast by NumPy's rules and take a Python number for either argument;
tensors must be of one dtype, which must be able to hold the number.
"""

from __future__ import annotations

import numbers
from typing import Any

from flagstone.errors import DTypeError, InputError
from flagstone.ops import checks
from flagstone.ops.checks import FLOATS, floating, holds, numeric, tensors, two, two_numbers
from flagstone.ops.comparison import equal, greater, less
from flagstone.ops.door import Op, op
from flagstone.ops.reduction import sum_to
from flagstone.tensors import Tensor


@op(numbers=("a", "b"))
def add(xp: Any, a: Any, b: Any) -> Any:
    """``a + b``; shapes broadcast by NumPy's rules.

    Raises:
        ShapeError: the shapes do not broadcast.
        DTypeError: the dtypes differ, are bool, or cannot hold a number that is given.
    """
    return xp.add(a, b)


@add.pullback
def _(dy: Tensor, a_shape: Any, b_shape: Any, need: Any) -> Any:
    return (sum_to(dy, a_shape) if need[0] else None, sum_to(dy, b_shape) if need[1] else None)


@op(numbers=("a", "b"))
def subtract(xp: Any, a: Any, b: Any) -> Any:
    """``a - b``.

    Raises:
        ShapeError, DTypeError: as :func:`add`.
    """
    return xp.subtract(a, b)


@subtract.pullback
def _(dy: Tensor, a_shape: Any, b_shape: Any, need: Any) -> Any:
    return (sum_to(dy, a_shape) if need[0] else None, sum_to(-dy, b_shape) if need[1] else None)


@op(numbers=("a", "b"))
def multiply(xp: Any, a: Any, b: Any) -> Any:
    """``a * b``.

    Raises:
        ShapeError, DTypeError: as :func:`add`.
    """
    return xp.multiply(a, b)


@multiply.pullback
def _(dy: Tensor, a_for_b: Any, b_for_a: Any, a_shape: Any, b_shape: Any, need: Any) -> Any:
    return (
        sum_to(dy * b_for_a, a_shape) if need[0] else None,
        sum_to(dy * a_for_b, b_shape) if need[1] else None,
    )


@op(numbers=("a", "b"))
def divide(xp: Any, a: Any, b: Any) -> Any:
    """``a / b``.

    Raises:
        ShapeError: the shapes do not broadcast.
        DTypeError: the dtypes differ, or are not floating.
    """
    return xp.divide(a, b)


@divide.pullback
def _(dy: Tensor, y: Tensor, b: Any, a_shape: Any, b_shape: Any, need: Any) -> Any:
    return (
        sum_to(dy / b, a_shape) if need[0] else None,
        sum_to(-dy * y / b, b_shape) if need[1] else None,
    )


@op(numbers=("a", "b"))
def maximum(xp: Any, a: Any, b: Any) -> Any:
    """The larger of ``a`` and ``b``, or NaN where one is.

    Where they are equal the gradient is shared equally; at NaN it goes to both, as in PyTorch.

    Raises:
        ShapeError, DTypeError: as :func:`add`.
    """
    return xp.maximum(a, b)


@maximum.pullback
def _(dy: Tensor, a: Any, b: Any, a_shape: Any, b_shape: Any, need: Any) -> Any:
    return _share(dy, a, b, less, a_shape, b_shape, need)


@op(numbers=("a", "b"))
def minimum(xp: Any, a: Any, b: Any) -> Any:
    """The smaller of ``a`` and ``b``, or NaN where one is; the gradient is as for maximum.

    Raises:
        ShapeError, DTypeError: as :func:`add`.
    """
    return xp.minimum(a, b)


@minimum.pullback
def _(dy: Tensor, a: Any, b: Any, a_shape: Any, b_shape: Any, need: Any) -> Any:
    return _share(dy, a, b, greater, a_shape, b_shape, need)


def _share(dy: Tensor, a: Any, b: Any, loses: Op, a_shape: Any, b_shape: Any, need: Any) -> Any:
    share = where(equal(a, b), dy * 0.5, dy)
    return (
        sum_to(where(loses(a, b), 0.0, share), a_shape) if need[0] else None,
        sum_to(where(loses(b, a), 0.0, share), b_shape) if need[1] else None,
    )


for _op in (add, subtract, multiply, maximum, minimum):
    _op.check(lambda a, b, _name=_op.name: two_numbers(_name, a, b))


@divide.check
def _(a: Any, b: Any) -> None:
    floating("divide", a=a, b=b)
    two("divide", a, b)


@op(numbers=("a", "b"))
def where(xp: Any, condition: Any, a: Any, b: Any) -> Any:
    """``a`` where ``condition`` holds, else ``b``; one of the two may be a number.

    Raises:
        ShapeError: the three shapes do not broadcast.
        DTypeError: ``condition`` is not bool; the dtypes of ``a`` and ``b`` differ, or cannot hold
            a number; both are numbers.
    """
    return xp.where(condition, a, b)


@where.check
def _(condition: Any, a: Any, b: Any) -> None:
    if condition.dtype_name != "bool":
        raise DTypeError(
            f"where: condition expected a bool tensor, such as x > 0; got {condition.dtype_name}"
        )
    if not isinstance(a, Tensor) and not isinstance(b, Tensor):
        raise DTypeError(f"where: expected a tensor for a or for b; got {a!r} and {b!r}")
    two("where", a, b)
    checks.shapes_broadcast("where", condition=condition, a=a, b=b)


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
    """``-x``.

    Raises:
        DTypeError: ``x`` is of truth values.
    """
    return xp.negative(x)


@negative.pullback
def _(dy: Tensor) -> Any:
    return -dy


@op
def power(xp: Any, x: Any, *, exponent: float) -> Any:
    """``x ** exponent`` for one number; NaN where ``x`` is negative and that is not whole.

    Raises:
        InputError: ``exponent`` is no number; for a tensor write ``exp(b * log(a))``.
        DTypeError: ``x`` is not floating.
    """
    return xp.square(x) if exponent == 2 else xp.pow(x, float(exponent))


@power.check
def _(x: Tensor, *, exponent: Any) -> None:
    floating("power", x=x)
    if isinstance(exponent, bool) or not isinstance(exponent, numbers.Real):
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
    """e to the power of ``x``.

    Raises:
        DTypeError: ``x`` is not floating.
    """
    return xp.exp(x)


@exp.pullback
def _(dy: Tensor, y: Tensor) -> Any:
    return dy * y


@op
def log(xp: Any, x: Any) -> Any:
    """The natural logarithm; -inf at 0, NaN below; refuses what :func:`exp` refuses."""
    return xp.log(x)


@log.pullback
def _(dy: Tensor, x: Tensor) -> Any:
    return dy / x


@op
def log1p(xp: Any, x: Any) -> Any:
    """``log(1 + x)``, exact near 0; refuses what :func:`exp` refuses."""
    return xp.log1p(x)


@log1p.pullback
def _(dy: Tensor, x: Tensor) -> Any:
    return dy / (x + 1.0)


@op
def expm1(xp: Any, x: Any) -> Any:
    """``exp(x) - 1``, exact near 0; refuses what :func:`exp` refuses."""
    return xp.expm1(x)


@expm1.pullback
def _(dy: Tensor, y: Tensor) -> Any:
    return dy * (y + 1.0)


@op
def sqrt(xp: Any, x: Any) -> Any:
    """The square root; NaN below 0. Its gradient at 0 is inf.

    Raises:
        DTypeError: ``x`` is not floating.
    """
    return xp.sqrt(x)


@sqrt.pullback
def _(dy: Tensor, y: Tensor) -> Any:
    return dy * 0.5 / y


@op
def rsqrt(xp: Any, x: Any) -> Any:
    """``1 / sqrt(x)``; inf at 0, NaN below.

    Raises:
        DTypeError: ``x`` is not floating.
    """
    return 1 / xp.sqrt(x)


@rsqrt.pullback
def _(dy: Tensor, y: Tensor) -> Any:
    return dy * y * y * y * -0.5


@op
def abs(xp: Any, x: Any) -> Any:  # noqa: A001  # NumPy's name, always used as ops.abs
    """The absolute value; its gradient at 0 is 0, at NaN it is NaN (PyTorch's is 0).

    Raises:
        DTypeError: ``x`` is of truth values.
    """
    return xp.abs(x)


@abs.pullback
def _(dy: Tensor, x: Tensor) -> Any:
    return dy * sign(x)


@op
def sign(xp: Any, x: Any) -> Any:
    """-1, 0 or 1, and NaN of NaN (PyTorch's is 0); its gradient is 0 everywhere.

    Raises:
        DTypeError: ``x`` is of truth values.
    """
    return xp.sign(x)


@sign.pullback
def _(dy: Tensor) -> Any:
    return dy * 0.0


@op
def clip(xp: Any, x: Any, *, low: float | None = None, high: float | None = None) -> Any:
    """``x`` limited to [low, high]; NaN stays, and the gradient is 0 outside and at NaN.

    Args:
        x: numbers, of any shape.
        low, high: numbers that its dtype can hold; one of them may be ``None``.

    Raises:
        InputError: both bounds are ``None``, one is NaN, or ``low`` is above ``high`` (PyTorch
            and NumPy would give ``high``).
        DTypeError: ``x`` is of truth values, or cannot hold a bound.
    """
    kind = float if xp.isdtype(x.dtype, "real floating") else int  # of NumPy's, dtypes would count
    low, high = (None if bound is None else kind(bound) for bound in (low, high))
    return xp.clip(x, low, high)


@clip.check
def _(x: Any, *, low: float | None = None, high: float | None = None) -> None:
    numeric("clip", x=x)
    for name, bound in (("low", low), ("high", high)):
        if bound is not None:
            holds("clip", name, bound, x)
    if low is None and high is None:
        raise InputError("clip: expected low, high or both; got neither")
    if low != low or high != high or (low is not None and high is not None and low > high):
        raise InputError(f"clip: expected low <= high; got low {low} and high {high}")


@clip.pullback
def _(dy: Tensor, x: Tensor, low: float | None, high: float | None) -> Any:
    if low is not None:
        dy = where(x >= low, dy, 0.0)
    return dy if high is None else where(x <= high, dy, 0.0)


for _op in (exp, log, log1p, expm1, sqrt, rsqrt):
    _op.check(lambda x, _name=_op.name: floating(_name, x=x))
for _op in (negative, abs, sign):
    _op.check(lambda x, _name=_op.name: numeric(_name, x=x))


@op
def cast(xp: Any, x: Any, *, dtype: str) -> Any:
    """The op behind :func:`astype`."""
    return xp.astype(x, getattr(xp, dtype))


@cast.pullback
def _(dy: Tensor, x_dtype: str) -> Any:
    return cast(dy, dtype=x_dtype)


def astype(x: Tensor, dtype: str) -> Tensor:
    """``x`` with another dtype; no gradient passes through one that is not floating.

    Args:
        x: a tensor.
        dtype: a name such as ``"float32"``, ``"int64"`` or ``"bool"``.

    Raises:
        DTypeError: no such dtype, or not on this device.
    """
    tensors("astype", x=x)
    named = dtype in checks.DTYPES
    if not named or not (hasattr(x.backend.xp, dtype) or dtype == x.backend.low):  # CuPy's bfloat16
        known = ", ".join(name for name in checks.DTYPES if hasattr(x.backend.xp, name))
        raise DTypeError(f"astype: dtype expected one of {known}; got {dtype!r}")
    out: Tensor = cast(x if dtype in FLOATS else x.detach(), dtype=dtype)
    return out
