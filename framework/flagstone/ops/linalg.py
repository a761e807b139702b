"""Matrix products."""

from __future__ import annotations

import math
from typing import Any

from flagstone.errors import ShapeError
from flagstone.ops.checks import floating, is_floating, same_dtype, tensors
from flagstone.ops.door import op
from flagstone.ops.reduction import sum as sum_
from flagstone.ops.reduction import sum_to
from flagstone.ops.shape import permute_dims, reshape
from flagstone.tensors import Tensor


@op
def batched_matmul(xp: Any, a: Any, b: Any) -> Any:
    """The op behind :func:`matmul`, for at least two axes each."""
    return xp.matmul(a, b)


@batched_matmul.pullback
def _(dy: Tensor, a_for_b: Any, b_for_a: Any, a_shape: Any, b_shape: Any, need: Any) -> Any:
    return (
        sum_to(batched_matmul(dy, _swap(b_for_a)), a_shape) if need[0] else None,
        sum_to(batched_matmul(_swap(a_for_b), dy), b_shape) if need[1] else None,
    )


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """The matrix product, by NumPy's rules.

    Args:
        a: (..., m, k), or (k,) for a row.
        b: (..., k, n), or (k,) for a column; leading axes broadcast.

    Returns:
        (..., m, n), without the axis of a vector.

    Raises:
        ShapeError: the inner lengths differ, leading axes do not broadcast, or an argument is a
            scalar.
        DTypeError: the dtypes differ or are not floating.
    """
    tensors("matmul", a=a, b=b)
    floating("matmul", a=a, b=b)
    same_dtype("matmul", a=a, b=b)
    if not a.ndim or not b.ndim or a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise ShapeError(
            "matmul: expected the last axis of a to equal the last but one of b; "
            f"got {a.shape} and {b.shape}"
        )
    left = a if a.ndim > 1 else reshape(a, (1, *a.shape))
    right = b if b.ndim > 1 else reshape(b, (*b.shape, 1))
    lead = zip(reversed(left.shape[:-2]), reversed(right.shape[:-2]), strict=False)
    if any(m != n and 1 not in (m, n) for m, n in lead):
        raise ShapeError(
            "matmul: expected leading axes that broadcast (equal, or 1, from the last but two on); "
            f"got {a.shape} and {b.shape}"
        )
    y: Tensor = batched_matmul(left, right)
    shape = y.shape
    if b.ndim == 1:
        shape = shape[:-1]
    if a.ndim == 1:
        shape = (*shape[: y.ndim - 2], *shape[y.ndim - 1 :])
    return reshape(y, shape)


def _swap(x: Tensor) -> Tensor:
    order = (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2)
    out: Tensor = permute_dims(x, axes=order)
    return out


@op
def linear(xp: Any, x: Any, w: Any, b: Any = None) -> Any:
    """``x @ w.T + b``.

    Args:
        x: (..., in).
        w: (out, in).
        b: (out,) or ``None``.

    Returns:
        (..., out).

    Raises:
        ShapeError: ``x`` and ``w`` differ in their last axes, or ``b`` is not (out,).
        DTypeError: the dtypes differ or are not floating.
    """
    y = xp.matmul(x, w.T)
    return y if b is None else y + b


@linear.check
def _(x: Any, w: Any, b: Any = None) -> None:
    given, weight, dtype = x.array.shape, w.array.shape, x.array.dtype
    if (
        dtype is w.array.dtype and len(weight) == 2 and given[-1:] == weight[1:]
        and (b is None or (b.array.dtype is dtype and b.array.shape == weight[:1]))
        and is_floating(x)
    ):  # fmt: skip
        return
    floating("linear", x=x)
    same_dtype("linear", x=x, w=w, b=b)
    given, weight = x.shape, w.shape
    if len(weight) != 2:
        raise ShapeError(f"linear: weight expected shape (out, in); got {weight}")
    if b is not None and b.shape != weight[:1]:
        raise ShapeError(f"linear: bias expected shape {weight[:1]}; got {b.shape}")
    if given[-1:] != weight[1:]:
        raise ShapeError(
            f"linear: weight expects {weight[1]} features (its last axis); got x of shape {given}"
        )


@linear.pullback
def _(dy: Tensor, x_for_w: Any, w_for_x: Any, need: Any) -> Any:
    rows = 0 if dy.ndim == 2 else tuple(range(dy.ndim - 1))
    return (
        _times(dy, w_for_x) if need[0] else None,
        linear_weight_grad(dy, x_for_w) if need[1] else None,
        sum_(dy, axis=rows) if len(need) > 2 and need[2] else None,
    )


@op
def linear_weight_grad(xp: Any, g: Any, x: Any) -> Any:
    """The gradient of :func:`linear`'s weight: the sum over all rows of ``outer(g, x)``.

    Args:
        g: (..., out), the gradient of the output.
        x: (..., in), of as many rows.

    Returns:
        (out, in).

    Raises:
        ShapeError: ``g`` and ``x`` differ in another axis than the last.
        DTypeError: the dtypes differ or are not floating.
    """
    rows = math.prod(x.shape[:-1])
    flat = xp.reshape(g, (rows, g.shape[-1]))
    return xp.matmul(flat.T, xp.reshape(x, (rows, x.shape[-1])))


@linear_weight_grad.check
def _(g: Any, x: Any) -> None:
    if g.array.dtype is not x.array.dtype or not is_floating(g):
        floating("linear_weight_grad", g=g)
        same_dtype("linear_weight_grad", g=g, x=x)
    of_g, of_x = g.array.shape, x.array.shape
    if not of_x or not of_g or of_g[:-1] != of_x[:-1]:
        raise ShapeError(
            "linear_weight_grad: expected g (..., out) and x (..., in) that differ in the last "
            f"axis only; got {g.shape} and {x.shape}"
        )


@linear_weight_grad.pullback
def _(dy: Tensor, g_for_x: Any, x_for_g: Any, need: Any) -> Any:
    return (linear(x_for_g, dy) if need[0] else None, _times(g_for_x, dy) if need[1] else None)


def _times(g: Tensor, w: Tensor) -> Tensor:
    """``g @ w`` for (..., out), (out, in): the gradient of :func:`linear`'s input."""
    out: Tensor = batched_matmul(g, w) if g.ndim > 1 else matmul(g, w)
    return out
