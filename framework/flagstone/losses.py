"""Losses: ``fs.losses``. Each is a function, and a class of PyTorch's name for configuration.

``reduction`` is ``"mean"`` (over examples, of each example's loss), ``"sum"`` or ``"none"``
(one loss per example). ``sample_weight`` (n,) multiplies each example's loss first; the mean still
divides by the number of examples, so weights that average 1 keep the loss's size.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from flagstone import ops
from flagstone.errors import DTypeError, InputError, ShapeError
from flagstone.tensors import Tensor


def cross_entropy(
    x: Tensor,
    labels: Tensor,
    *,
    sample_weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Softmax cross-entropy: ``-log(softmax(x)[label])``.

    Args:
        x: logits (n, classes).
        labels: class numbers (n,), integers. One outside [0, classes) makes the loss NaN.
        sample_weight: (n,) of x's dtype.
        reduction: see the module.

    Returns:
        Shape (), or (n,) for ``"none"``.

    Raises:
        ShapeError, DTypeError: the arguments do not fit together.
    """
    _require_tensors("cross_entropy", x=x, labels=labels, sample_weight=sample_weight)
    losses, _ = ops.softmax_cross_entropy(x, labels)
    return _reduce("cross_entropy", losses, sample_weight, reduction)


def binary_cross_entropy_with_logits(
    x: Tensor,
    target: Tensor,
    *,
    sample_weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Logistic loss from logits: ``log(1 + exp(x)) - x * target``.

    Args:
        x: logits (n,) or (n, k).
        target: probabilities of the positive class in [0, 1], of x's shape and dtype.
        sample_weight: (n,) of x's dtype.
        reduction: see the module; an example's loss is the mean over its k outputs.

    Returns:
        Shape (), or (n,) for ``"none"``.

    Raises:
        ShapeError, DTypeError: the arguments do not fit together.
    """
    _require_tensors(
        "binary_cross_entropy_with_logits", x=x, target=target, sample_weight=sample_weight
    )
    losses = ops.binary_cross_entropy_with_logits(x, target)
    per_example = _per_example("binary_cross_entropy_with_logits", losses)
    return _reduce("binary_cross_entropy_with_logits", per_example, sample_weight, reduction)


def mse(
    x: Tensor,
    target: Tensor,
    *,
    sample_weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Mean squared error: ``(x - target)**2``.

    Args:
        x: predictions (n,) or (n, k).
        target: of x's shape and dtype; shapes do not broadcast.
        sample_weight: (n,) of x's dtype.
        reduction: see the module; an example's loss is the mean over its k outputs.

    Returns:
        Shape (), or (n,) for ``"none"``.

    Raises:
        ShapeError, DTypeError: the arguments do not fit together.
    """
    _require_tensors("mse", x=x, target=target, sample_weight=sample_weight)
    if x.shape != target.shape:
        raise ShapeError(f"mse: target expected shape {x.shape}; got {target.shape}")
    difference = x - target
    per_example = _per_example("mse", difference * difference)
    return _reduce("mse", per_example, sample_weight, reduction)


def _require_tensors(name: str, **given: object) -> None:
    for argument, value in given.items():
        if not isinstance(value, Tensor) and not (argument == "sample_weight" and value is None):
            raise DTypeError(
                f"{name}: {argument} expected a Tensor; got {type(value).__name__}. "
                "Wrap it with flagstone.tensor(...)"
            )


def _per_example(name: str, losses: Tensor) -> Tensor:
    if not losses.ndim:
        raise ShapeError(f"{name}: x expected at least one axis, of examples; got a scalar")
    if losses.ndim == 1:
        return losses
    outputs = math.prod(losses.shape[1:])
    flat = ops.reshape(losses, (losses.shape[0], outputs))
    return ops.reshape(flat, losses.shape[:1]) if outputs == 1 else ops.mean(flat, axis=1)


def _reduce(name: str, losses: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    if reduction not in ("mean", "sum", "none"):
        raise InputError(f"{name}: reduction expected 'mean', 'sum' or 'none'; got {reduction!r}")
    if weight is not None:
        if weight.shape != losses.shape:
            raise ShapeError(
                f"{name}: sample_weight expected shape {losses.shape}; got {weight.shape}"
            )
        losses = losses * weight
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    return ops.mean(losses)


class Loss:
    """A loss with its reduction, called with predictions and targets."""

    function: Callable[..., Tensor]

    def __init__(self, reduction: str = "mean") -> None:
        if reduction not in ("mean", "sum", "none"):
            raise InputError(
                f"{type(self).__name__}: reduction expected 'mean', 'sum' or 'none'; "
                f"got {reduction!r}"
            )
        self.reduction = reduction

    def __call__(self, x: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        return type(self).function(x, target, sample_weight=sample_weight, reduction=self.reduction)


class CrossEntropyLoss(Loss):
    """:func:`cross_entropy` with its reduction."""

    function = cross_entropy


class BCEWithLogitsLoss(Loss):
    """:func:`binary_cross_entropy_with_logits` with its reduction."""

    function = binary_cross_entropy_with_logits


class MSELoss(Loss):
    """:func:`mse` with its reduction."""

    function = mse
