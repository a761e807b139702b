"""From the losses of elements to the one number that is minimised, and what tensors must fit."""

from __future__ import annotations

import math

from flagstone import ops
from flagstone.backend import mismatch
from flagstone.errors import FlagstoneError, InputError, ShapeError
from flagstone.ops.checks import floating, same_dtype, tensors
from flagstone.ops.door import Op
from flagstone.tensors import Tensor

REDUCTIONS = ("mean", "sum", "none")


def together(name: str, **given: Tensor) -> None:
    """All given are tensors of one device and one dtype; ``name`` is of the loss.

    Raises:
        DTypeError, DeviceMismatchError: they are not.
    """
    tensors(name, **given)
    first, *others = given.values()
    for tensor in others:
        if tensor.backend is not first.backend:
            raise mismatch(name, first.backend, tensor.backend)
    same_dtype(name, **given)


def alike(name: str, *, features: bool = False, **given: Tensor) -> None:
    """All given are floating tensors of one shape and dtype.

    Args:
        name: of the loss, for the messages.
        features: whether the shape must be (n, features), with at least one feature.
        given: the arguments by name; the first says what the others must be.

    Raises:
        DTypeError: one is no tensor, is not floating or is of another dtype.
        DeviceMismatchError: one is on another device.
        ShapeError: one is of another shape.
    """
    tensors(name, **given)
    floating(name, **given)
    together(name, **given)
    (first, x), *others = given.items()
    if features and (x.ndim != 2 or not x.shape[1]):
        raise ShapeError(f"{name}: {first} expected (n, features); got {x.shape}")
    for argument, tensor in others:
        if tensor.shape != x.shape:
            raise ShapeError(f"{name}: {argument} expected shape {x.shape}; got {tensor.shape}")


def totals(reduction: object) -> bool:
    """Whether it is one that :func:`total` knows."""
    return isinstance(reduction, str) and reduction in ("mean", "sum")


def total(name: str, op: Op, x: Tensor, target: Tensor, reduction: str) -> Tensor:
    """The sum, or the mean, of the losses of examples that are means over outputs, in one call.

    Args:
        name: of the loss, for the messages.
        op: ``op(x, target, factor=...)``, which gives ``factor`` times the sum of all terms first.
        x, target: (n, ...), of one shape and dtype.
        reduction: ``"mean"`` or ``"sum"``.

    Raises:
        InputError, ShapeError, DTypeError, DeviceMismatchError: as :func:`alike`,
            :func:`per_example` and :func:`reduce`.
    """
    shape = x.array.shape if isinstance(x, Tensor) else ()
    parts = math.prod(shape if reduction == "mean" else shape[1:])
    if not shape or not parts:
        alike(name, x=x, target=target)
        return reduce(name, per_example(name, x - target), None, reduction)
    try:
        loss: Tensor = op(x, target, factor=1.0 / parts)[0]
    except FlagstoneError:
        alike(name, x=x, target=target)
        raise
    return loss


def per_example(name: str, losses: Tensor) -> Tensor:
    """The mean over all axes but the first: (n, ...) -> (n,).

    Raises:
        ShapeError: there is no axis of examples, or there are no outputs.
    """
    if not losses.ndim:
        raise ShapeError(f"{name}: x expected at least one axis, of examples; got a scalar")
    if losses.ndim == 1:
        return losses
    outputs = math.prod(losses.shape[1:])
    if not outputs:
        raise ShapeError(f"{name}: x expected at least one output; got {losses.shape}")
    flat = ops.reshape(losses, (losses.shape[0], outputs))
    return ops.reshape(flat, losses.shape[:1]) if outputs == 1 else ops.mean(flat, axis=1)


def reduce(
    name: str,
    losses: Tensor,
    sample_weight: Tensor | None,
    reduction: str,
    count: Tensor | None = None,
) -> Tensor:
    """The losses of examples (n,), weighted and reduced.

    Args:
        name: of the loss, for the messages.
        losses: (n,).
        sample_weight: (n,) of the same dtype, or ``None``.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        count: (n,) how much each example counts in the mean's denominator; 1 each by default.

    Returns:
        Shape (), or (n,) for ``"none"``.

    Raises:
        InputError: ``reduction`` is none of the three, or a mean is asked of no examples.
        ShapeError, DTypeError, DeviceMismatchError: ``sample_weight`` does not fit.
    """
    if not isinstance(reduction, str) or reduction not in REDUCTIONS:
        raise InputError(f"{name}: reduction expected 'mean', 'sum' or 'none'; got {reduction!r}")
    if sample_weight is not None:
        together(name, x=losses, sample_weight=sample_weight)
        if sample_weight.shape != losses.shape:
            raise ShapeError(
                f"{name}: sample_weight expected shape {losses.shape}; got {sample_weight.shape}"
            )
        losses = losses * sample_weight
    if reduction == "none":
        return losses
    if reduction == "mean" and not losses.size:
        raise InputError(f"{name}: reduction 'mean' expected at least one example; got none")
    total: Tensor = ops.sum(losses)
    if reduction == "sum":
        return total
    return total * (1.0 / losses.size) if count is None else total / ops.sum(count)
