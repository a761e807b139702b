"""The ops that losses are made of; each gives one value per example or element."""

from __future__ import annotations

from typing import Any

from flagstone.errors import DTypeError, ShapeError
from flagstone.ops.activation import sigmoid
from flagstone.ops.checks import floating, same_dtype
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
    """
    return xp.maximum(x, 0) - x * target + xp.log1p(xp.exp(-xp.abs(x)))


@binary_cross_entropy_with_logits.check
def _(x: Any, target: Any) -> None:
    floating("binary_cross_entropy_with_logits", x=x, target=target)
    same_dtype("binary_cross_entropy_with_logits", x=x, target=target)
    if x.shape != target.shape:
        raise ShapeError(
            f"binary_cross_entropy_with_logits: target expected shape {x.shape}; got {target.shape}"
        )


@binary_cross_entropy_with_logits.pullback
def _(dy: Tensor, x: Tensor, target_for_x: Any, need: Any) -> Any:
    return (dy * (sigmoid(x) - target_for_x) if need[0] else None, -dy * x if need[1] else None)
