"""The ops that losses are made of; each gives one value per example or element."""

from __future__ import annotations

from typing import Any

from flagstone.errors import DTypeError, ShapeError
from flagstone.ops.activation import sigmoid
from flagstone.ops.checks import floating, is_floating, same_dtype
from flagstone.ops.door import op
from flagstone.ops.reduction import sum as sum_
from flagstone.ops.shape import reshape
from flagstone.tensors import Tensor


@op
def softmax_cross_entropy(xp: Any, x: Any, labels: Any) -> Any:
    """``-log(softmax(x)[label])`` for every row, and the softmax.

    Args:
        x: logits (n, classes).
        labels: class numbers (n,), integers in [0, classes); a loss whose label lies outside is
            NaN, for looking would read the device.

    Returns:
        Losses (n,) and probabilities (n, classes).

    Raises:
        ShapeError: ``x`` has not two axes and a class, or ``labels`` is not (n,).
        DTypeError: ``x`` is not floating, or ``labels`` not of integers.
    """
    shifted = x - xp.max(x, axis=1, keepdims=True)
    e = xp.exp(shifted)
    total = xp.sum(e, axis=1, keepdims=True, dtype=x.dtype)
    chosen = _one_hot(xp, labels, x)
    picked = xp.sum(xp.where(chosen, shifted, 0), axis=1, dtype=x.dtype)
    loss = xp.log(total[:, 0]) - picked
    return xp.where(xp.any(chosen, axis=1), loss, xp.nan), e / total


@softmax_cross_entropy.check
def _(x: Any, labels: Any) -> None:
    floating("softmax_cross_entropy", x=x)
    if x.ndim != 2 or x.shape[1] < 1:
        raise ShapeError(f"softmax_cross_entropy: x expected (n, classes); got {x.shape}")
    if "int" not in labels.dtype_name:
        raise DTypeError(
            f"softmax_cross_entropy: labels expected integers; got {labels.dtype_name}"
        )
    if labels.shape != x.shape[:1]:
        raise ShapeError(
            f"softmax_cross_entropy: labels expected shape {x.shape[:1]}; got {labels.shape}"
        )


@softmax_cross_entropy.pullback
def _(dys: Any, ys: Any, labels: Tensor) -> Any:
    d_loss, d_p = dys
    p = ys[1]
    dx = None
    if d_loss is not None:
        dx = softmax_cross_entropy_grad(d_loss, p, labels)
    if d_p is not None:
        weighted = d_p * p
        through_p = weighted - p * sum_(weighted, axis=1, keepdims=True)
        dx = through_p if dx is None else dx + through_p
    return (dx, None)


@op
def softmax_cross_entropy_grad(xp: Any, g: Any, p: Any, labels: Any) -> Any:
    """``(p - one_hot(labels)) * g`` row by row: (n,), (n, classes), (n,) -> (n, classes)."""
    return (p - xp.astype(_one_hot(xp, labels, p), p.dtype)) * xp.reshape(g, (-1, 1))


@softmax_cross_entropy_grad.pullback
def _(dy: Tensor, g: Tensor, p: Tensor, labels: Tensor) -> Any:
    ones = g.detach() * 0.0 + 1.0
    signed = softmax_cross_entropy_grad(ones, p, labels)
    return (sum_(dy * signed, axis=1), dy * reshape(g, (g.shape[0], 1)), None)


def _one_hot(xp: Any, labels: Any, like: Any) -> Any:
    numbers = xp.arange(like.shape[1], dtype=xp.int64)  # labels may be of eight bits
    return xp.reshape(xp.astype(labels, xp.int64), (-1, 1)) == xp.reshape(numbers, (1, -1))


@op
def binary_cross_entropy_with_logits(xp: Any, x: Any, target: Any) -> Any:
    """``-target*log(sigmoid(x)) - (1 - target)*log(1 - sigmoid(x))``, without overflow.

    Args:
        x: logits, any shape.
        target: probabilities of the positive class in [0, 1], the same shape.

    Raises:
        ShapeError: the shapes differ.
        DTypeError: the dtypes differ or are not floating.
    """
    return xp.maximum(x, 0) - x * target + xp.log1p(xp.exp(-xp.abs(x)))


@binary_cross_entropy_with_logits.check
def _(x: Any, target: Any) -> None:
    _fit("binary_cross_entropy_with_logits", x, target)


@binary_cross_entropy_with_logits.pullback
def _(dy: Tensor, x: Tensor, target_for_x: Any, need: Any) -> Any:
    return (dy * (sigmoid(x) - target_for_x) if need[0] else None, -dy * x if need[1] else None)


# Sums over a batch: what a mean needs, and the derivative with it, in one call


@op
def squared_error(xp: Any, x: Any, target: Any, *, factor: float) -> Any:
    """``factor`` times the sum of ``(x - target)**2``, shape (), and ``x - target``.

    Raises:
        ShapeError, DTypeError: as :func:`binary_cross_entropy_with_logits`.
    """
    difference = x - target
    return xp.sum(difference * difference, dtype=x.dtype) * factor, difference


@squared_error.pullback
def _(dys: Any, y1: Tensor, factor: float, need: Any) -> Any:
    d_loss, d_difference = dys
    dx: Any = None if d_loss is None else scale_by(y1, d_loss, factor=2.0 * factor)
    if d_difference is not None:
        dx = d_difference if dx is None else dx + d_difference
    return (dx if need[0] else None, -dx if need[1] else None)


@op
def logistic_error(xp: Any, x: Any, target: Any, *, factor: float) -> Any:
    """``factor`` times the sum of :func:`binary_cross_entropy_with_logits`, shape (), and the
    derivative of each of its terms by x, ``sigmoid(x) - target``.

    Raises:
        ShapeError, DTypeError: as :func:`binary_cross_entropy_with_logits`.
    """
    e = xp.exp(-xp.abs(x))
    losses = xp.maximum(x, 0) - x * target + xp.log1p(e)
    difference = xp.exp(xp.minimum(x, 0)) / (1 + e) - target
    return xp.sum(losses, dtype=x.dtype) * factor, difference


@logistic_error.pullback
def _(
    dys: Any, y1: Tensor, x_for_target: Any, target_for_x: Any, factor: float, need: Any
) -> Any:  # fmt: skip
    d_loss, d_difference = dys
    dx = d_target = None
    if d_loss is not None:
        dx = scale_by(y1, d_loss, factor=factor) if need[0] else None
        d_target = scale_by(x_for_target, d_loss, factor=-factor) if need[1] else None
    if d_difference is not None:
        if need[0]:
            p = y1 + target_for_x
            through = d_difference * p * (1.0 - p)
            dx = through if dx is None else dx + through
        if need[1]:
            d_target = -d_difference if d_target is None else d_target - d_difference
    return (dx, d_target)


@op
def scale_by(xp: Any, x: Any, by: Any, *, factor: float) -> Any:
    """``x * (by * factor)``.

    Raises:
        ShapeError: ``by`` is not of shape ().
        DTypeError: the dtypes differ or are not floating.
    """
    return x * (by * factor)


@scale_by.pullback
def _(dy: Tensor, x_for_by: Any, by_for_x: Any, factor: float, need: Any) -> Any:
    return (
        scale_by(dy, by_for_x, factor=factor) if need[0] else None,
        sum_(dy * x_for_by) * factor if need[1] else None,
    )


def _fit(name: str, x: Any, target: Any) -> None:
    """Two tensors of one shape and one floating dtype."""
    a, b = x.array, target.array
    if a.dtype is b.dtype and a.shape == b.shape and is_floating(x):
        return
    floating(name, x=x, target=target)
    same_dtype(name, x=x, target=target)
    if a.shape != b.shape:
        raise ShapeError(f"{name}: target expected shape {x.shape}; got {target.shape}")


@squared_error.check
def _(x: Any, target: Any, *, factor: float) -> None:
    _fit("squared_error", x, target)


@logistic_error.check
def _(x: Any, target: Any, *, factor: float) -> None:
    _fit("logistic_error", x, target)


@scale_by.check
def _(x: Any, by: Any, *, factor: float) -> None:
    if x.array.dtype is not by.array.dtype or not is_floating(x):
        floating("scale_by", x=x)
        same_dtype("scale_by", x=x, by=by)
    if by.array.shape:
        raise ShapeError(f"scale_by: by expected shape (); got {by.shape}")
