"""Class numbers and what belongs to classes: what they must fit, and how they are picked."""

from __future__ import annotations

from flagstone import ops
from flagstone.errors import DTypeError, ShapeError
from flagstone.losses.reduction import together
from flagstone.ops.checks import floating, tensors
from flagstone.tensors import Tensor


def logits(name: str, x: Tensor, weight: Tensor | None) -> None:
    """x is (n, classes), floating; the weights of classes are (classes,), of the same dtype."""
    tensors(name, x=x)
    floating(name, x=x)
    if x.ndim != 2 or not x.shape[1]:
        raise ShapeError(f"{name}: x expected (n, classes); got {x.shape}")
    if weight is not None:
        together(name, x=x, weight=weight)
        if weight.shape != x.shape[1:]:
            raise ShapeError(
                f"{name}: weight expected shape {x.shape[1:]}, one for each class; "
                f"got {weight.shape}"
            )


def class_numbers(name: str, x: Tensor, target: Tensor) -> None:
    """The target is of integers, (n,) for x (n, ...)."""
    tensors(name, target=target)
    if "int" not in target.dtype_name:
        raise DTypeError(
            f"{name}: target expected class numbers, integers; got {target.dtype_name} of shape "
            f"{target.shape}"
        )
    if target.shape != x.shape[:1]:
        raise ShapeError(f"{name}: target expected shape {x.shape[:1]}; got {target.shape}")


def is_class(target: Tensor, classes: int) -> Tensor:
    """Whether an example is of a class: (n,) integers -> (n, classes) bool."""
    xp = target.backend.xp
    numbers = Tensor(xp.arange(classes, dtype=xp.int64), target.backend)
    column = ops.reshape(ops.astype(target, "int64"), (target.shape[0], 1))
    out: Tensor = ops.equal(column, numbers)
    return out


def of_class(weight: Tensor, target: Tensor) -> Tensor:
    """The weight of each example's class, 0 where there is none: (classes,), (n,) -> (n,)."""
    out: Tensor = ops.sum(ops.where(is_class(target, weight.shape[0]), weight, 0.0), axis=1)
    return out
