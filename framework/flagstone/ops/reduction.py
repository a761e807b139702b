"""Sums, means and extremes over axes, and broadcasting, which is the transpose of a sum.

``axis`` is an integer, a tuple of integers or ``None`` for all axes; ``keepdims`` leaves reduced
axes in place with length 1.
"""

from __future__ import annotations

import math
from typing import Any

from flagstone.errors import InputError, ShapeError
from flagstone.ops.checks import (
    axes,
    floating,
    is_integer,
    number,
    numeric,
    one_axis,
    tensors,
    true_or_false,
)
from flagstone.ops.door import op
from flagstone.ops.shape import concatenate, reshape, transpose
from flagstone.tensors import Tensor

Axis = int | tuple[int, ...] | None


@op
def expand(xp: Any, x: Any, *, shape: tuple[int, ...]) -> Any:
    """The op behind :func:`broadcast_to`."""
    return xp.broadcast_to(x, shape)


@expand.check
def _(x: Any, *, shape: Any) -> None:
    lead = len(shape) - x.ndim
    fits = lead >= 0 and all(m in (1, n) for m, n in zip(x.shape, shape[lead:], strict=True))
    if not fits:
        raise ShapeError(
            f"broadcast_to: expected a shape that {x.shape} broadcasts to; got {shape}"
        )


@expand.pullback
def _(dy: Tensor, x_shape: Any) -> Any:
    return sum_to(dy, x_shape)


def broadcast_to(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """``x`` repeated along new axes and axes of length 1, by NumPy's rules; a view.

    Raises:
        ShapeError: ``x.shape`` does not broadcast to ``shape``.
        InputError: ``shape`` is not of integers >= 0 (PyTorch takes -1 for an axis that stays).
    """
    tensors("broadcast_to", x=x)
    if not isinstance(shape, (tuple, list)) or not all(is_integer(n) and n >= 0 for n in shape):
        raise InputError(f"broadcast_to: shape expected a tuple of integers >= 0; got {shape!r}")
    if x.shape == tuple(shape):
        return x
    out: Tensor = expand(x, shape=tuple([int(n) for n in shape]))
    return out


@op
def sum(xp: Any, x: Any, *, axis: Axis = None, keepdims: bool = False) -> Any:  # noqa: A001  # NumPy's
    """The sum over ``axis``; 0 where nothing is summed.

    Floating dtypes stay; integers are summed in 64 bits (unsigned ones as uint64, which PyTorch
    makes int64), and truth values counted, as int64.

    Raises:
        InputError: ``axis`` does not exist or is named twice; ``keepdims`` is neither ``True`` nor
            ``False``.
    """
    if x.dtype == xp.bool:
        x = xp.astype(x, xp.int64)
    return xp.sum(x, axis=axis, keepdims=keepdims)


@sum.check
def _(x: Any, *, axis: Axis = None, keepdims: bool = False) -> None:
    true_or_false("sum", keepdims=keepdims)
    if axis is not None:
        axes("sum", axis, x.ndim)


@sum.pullback
def _(dy: Tensor, x_shape: Any, axis: Axis) -> Any:
    kept = dy if axis is None else reshape(dy, _kept(x_shape, axis))
    return broadcast_to(kept, x_shape)


def mean(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The arithmetic mean over ``axis``.

    Raises:
        InputError: nothing is averaged (PyTorch gives NaN), or ``axis`` does not exist;
            ``keepdims`` is neither ``True`` nor ``False``.
        DTypeError: ``x`` is not floating.
    """
    tensors("mean", x=x)
    floating("mean", x=x)
    true_or_false("mean", keepdims=keepdims)
    count = math.prod(x.shape[a] for a in axes("mean", axis, x.ndim))
    if not count:
        raise InputError(f"mean: expected at least one value; got shape {x.shape}, axis {axis}")
    return sum(x, axis=axis, keepdims=keepdims) * (1.0 / count)


def var(x: Tensor, axis: Axis = None, correction: float = 0, keepdims: bool = False) -> Tensor:
    """The variance over ``axis``: squared deviations from the mean over ``count - correction``.

    The mean is taken first, so that nothing cancels. By default the count itself is divided by, as
    in NumPy; PyTorch's ``correction`` is 1.

    Raises:
        InputError: ``count - correction`` is not positive, or ``correction`` no number; ``axis``
            does not exist; ``keepdims`` is neither ``True`` nor ``False``.
        DTypeError: ``x`` is not floating.
    """
    tensors("var", x=x)
    floating("var", x=x)
    number("var", "correction", correction)
    true_or_false("var", keepdims=keepdims)
    count = math.prod(x.shape[a] for a in axes("var", axis, x.ndim))
    if count - correction <= 0:
        raise InputError(
            f"var: expected more than correction={correction} values; got {count} "
            f"(shape {x.shape}, axis {axis})"
        )
    deviation = x - mean(x, axis, keepdims=True)
    share = 1.0 / (count - float(correction))
    return sum(deviation * deviation, axis=axis, keepdims=keepdims) * share


def prod(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The product over ``axis``; 1 where nothing is multiplied.

    Floating dtypes stay; integers and truth values are multiplied in 64 bits. Half of the factors
    are multiplied by the other half until one is left, so that no gradient divides by a factor,
    which may be 0.

    Raises:
        InputError: ``axis`` does not exist, or ``keepdims`` is neither ``True`` nor ``False``.
    """
    tensors("prod", x=x)
    true_or_false("prod", keepdims=keepdims)
    over = axes("prod", axis, x.ndim)
    rest = tuple(a for a in range(x.ndim) if a not in over)
    if "float" not in x.dtype_name:
        x = x.astype("uint64" if x.dtype_name.startswith("uint") else "int64")
    left = math.prod(x.shape[a] for a in over)
    if not left:
        return sum(x, axis=axis, keepdims=keepdims) + 1
    lead = tuple(x.shape[a] for a in rest)
    factors = reshape(transpose(x, *rest, *over), (*lead, left))
    while left > 1:
        half = left // 2
        product = factors[..., :half] * factors[..., half : 2 * half]
        odd = left % 2
        factors = concatenate(product, factors[..., -1:], axis=-1) if odd else product
        left = half + odd
    return reshape(factors, _kept(x.shape, axis) if keepdims else lead)


@op
def cumsum(xp: Any, x: Any, *, axis: int, reverse: bool = False) -> Any:
    """Every value plus all before it along ``axis``, or all after it if ``reverse``.

    Floating dtypes stay; integers and truth values are added in 64 bits. In as many rounds as the
    length has binary digits, each value is added to the one 1, 2, 4, ... places on (Hillis &
    Steele, CACM 1986), which rounds less than one long sum.

    Raises:
        InputError: ``axis`` is not one axis of ``x``; ``reverse`` is neither ``True`` nor
            ``False``.
    """
    if not xp.isdtype(x.dtype, "real floating"):
        x = xp.astype(x, xp.uint64 if xp.isdtype(x.dtype, "unsigned integer") else xp.int64)
    axis %= x.ndim

    def part(start: int | None, stop: int | None) -> Any:
        return x[(*[slice(None)] * axis, slice(start, stop), ...)]

    step, length = 1, x.shape[axis]
    while step < length:
        both = part(None, length - step) + part(step, None)
        alone = part(length - step, None) if reverse else part(None, step)
        x = xp.concat([both, alone] if reverse else [alone, both], axis=axis)
        step *= 2
    return x


@cumsum.check
def _(x: Any, *, axis: int, reverse: bool = False) -> None:
    one_axis("cumsum", axis, x.ndim)
    true_or_false("cumsum", reverse=reverse)


@cumsum.pullback
def _(dy: Tensor, axis: int, reverse: bool) -> Any:
    return cumsum(dy, axis=axis, reverse=not reverse)


@op
def max(xp: Any, x: Any, *, axis: Axis = None, keepdims: bool = False) -> Any:  # noqa: A001  # NumPy's
    """The largest value over ``axis``, or NaN where one is; equal maxima share the gradient
    equally.

    Raises:
        InputError: nothing to choose from, ``axis`` does not exist, or ``keepdims`` is neither
            ``True`` nor ``False``.
        DTypeError: ``x`` is of truth values.
    """
    return xp.max(x, axis=axis, keepdims=keepdims)


@op
def min(xp: Any, x: Any, *, axis: Axis = None, keepdims: bool = False) -> Any:  # noqa: A001  # NumPy's
    """The smallest value over ``axis``, or NaN where one is; equal minima share the gradient
    equally.

    Raises:
        InputError, DTypeError: as :func:`max`.
    """
    return xp.min(x, axis=axis, keepdims=keepdims)


def _extreme_check(name: str, x: Any, axis: Axis, keepdims: bool = False) -> None:
    numeric(name, x=x)
    true_or_false(name, keepdims=keepdims)
    if not math.prod(x.shape[a] for a in axes(name, axis, x.ndim)):
        raise InputError(f"{name}: expected at least one value; got shape {x.shape}, axis {axis}")


@max.check
def _(x: Any, *, axis: Axis = None, keepdims: bool = False) -> None:
    _extreme_check("max", x, axis, keepdims)


@min.check
def _(x: Any, *, axis: Axis = None, keepdims: bool = False) -> None:
    _extreme_check("min", x, axis, keepdims)


def _extreme_pullback(dy: Tensor, y: Tensor, x: Tensor, axis: Axis) -> Tensor:
    kept = _kept(x.shape, axis)
    is_extreme = (x == reshape(y, kept)).astype(x.dtype_name)
    return is_extreme * (reshape(dy, kept) / sum(is_extreme, axis=axis, keepdims=True))


@max.pullback
def _(dy: Tensor, y: Tensor, x: Tensor, axis: Axis) -> Any:
    return _extreme_pullback(dy, y, x, axis)


@min.pullback
def _(dy: Tensor, y: Tensor, x: Tensor, axis: Axis) -> Any:
    return _extreme_pullback(dy, y, x, axis)


@op(differentiable=False)
def argmax(xp: Any, x: Any, *, axis: int) -> Any:
    """The index of the first largest value along ``axis``, as int64; NaN counts as the largest.

    Raises:
        InputError: ``axis`` is not one axis of ``x``, or has no values.
        DTypeError: ``x`` is of truth values.
    """
    return xp.argmax(x, axis=axis)


@argmax.check
def _(x: Any, *, axis: int) -> None:
    one_axis("argmax", axis, x.ndim)
    _extreme_check("argmax", x, axis)


def sum_to(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """``x`` summed over the axes that broadcasting ``shape`` to ``x.shape`` repeated.

    Raises:
        ShapeError: ``shape`` does not broadcast to ``x.shape``.
    """
    if x.shape == shape:
        return x
    lead = x.ndim - len(shape)
    if lead < 0 or any(n not in (1, m) for n, m in zip(shape, x.shape[lead:], strict=True)):
        raise ShapeError(f"sum_to: expected a shape that broadcasts to {x.shape}; got {shape}")
    repeated = tuple(i for i in range(lead)) + tuple(
        lead + i for i, n in enumerate(shape) if n == 1 and x.shape[lead + i] != 1
    )
    return reshape(sum(x, axis=repeated, keepdims=True), shape)


def _kept(shape: tuple[int, ...], axis: Axis) -> tuple[int, ...]:
    """``shape`` with the reduced axes at length 1."""
    reduced = axes("axis", axis, len(shape))
    return tuple(1 if i in reduced else n for i, n in enumerate(shape))
