"""Losses of scores of several classes, (n, classes).

``sample_weight``, ``reduction``, the shape returned and what is raised: see
:mod:`flagstone.losses`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from flagstone import ops
from flagstone.errors import InputError, ShapeError
from flagstone.losses.classes import class_numbers, is_class, logits, of_class
from flagstone.losses.options import (
    FRACTION,
    INDEX,
    NOT_NEGATIVE,
    NUMBER,
    ONE_OR_TWO,
    RULE,
    TENSOR_OR_NONE,
    TRUTH,
    Loss,
    expect,
    number,
)
from flagstone.losses.reduction import alike, reduce
from flagstone.ops.checks import FLOATS, tensors
from flagstone.tensors import Tensor


def cross_entropy(
    x: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    sample_weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Softmax cross-entropy: ``-sum_c weight_c * t_c * log(softmax(x)_c)``.

    With class numbers the mean divides by the sum of the examples' class weights, as PyTorch's
    does, and so by the number of examples that are not ignored; it is NaN where all are. With
    probabilities it divides by the number of examples.

    Args:
        x: logits (n, classes).
        target: class numbers (n,), integers; or probabilities t (n, classes) of x's dtype. A class
            number outside [0, classes) makes its loss NaN.
        weight: (classes,) of x's dtype; 1 each by default.
        ignore_index: the class number of examples whose loss is 0 and which the mean does not
            count; it need not be a class. ``None`` (PyTorch: -100) ignores none.
        label_smoothing: in [0, 1], the share of t that is spread evenly over all classes
            (Szegedy et al., CVPR 2016, section 7).
        sample_weight, reduction: see the module.
    """
    name = "cross_entropy"
    smoothing = number(name, FRACTION, label_smoothing=label_smoothing)
    expect(name, INDEX, ignore_index=ignore_index)
    logits(name, x, weight)
    tensors(name, target=target)
    if target.dtype_name in FLOATS and target.ndim == 2:
        if ignore_index is not None:
            raise InputError(
                f"{name}: ignore_index expected class numbers for target; got probabilities. "
                "Give the examples to be ignored a sample_weight of 0"
            )
        alike(name, x=x, target=target)
        losses = _from_probabilities(x, target, weight, smoothing)
        return reduce(name, losses, sample_weight, reduction)
    class_numbers(name, x, target)
    losses, _ = ops.softmax_cross_entropy(x, target)
    count = None
    if weight is not None:
        count = of_class(weight, target)
        losses = losses * count
    if smoothing:
        even = ops.log_softmax(x, axis=1) if weight is None else ops.log_softmax(x, axis=1) * weight
        losses = losses * (1.0 - smoothing) - ops.mean(even, axis=1) * smoothing
    if ignore_index is not None:
        kept = ops.astype(target, "int64") != int(ignore_index)  # eight bits may not hold it
        losses = ops.where(kept, losses, 0.0)
        count = kept.astype(x.dtype_name) if count is None else ops.where(kept, count, 0.0)
    return reduce(name, losses, sample_weight, reduction, count)


def _from_probabilities(x: Tensor, t: Tensor, weight: Tensor | None, smoothing: float) -> Tensor:
    if smoothing:
        t = t * (1.0 - smoothing) + smoothing / x.shape[1]
    terms = t * ops.log_softmax(x, axis=1)
    out: Tensor = -ops.sum(terms if weight is None else terms * weight, axis=1)
    return out


def focal(
    x: Tensor,
    target: Tensor,
    *,
    gamma: float = 2.0,
    weight: Tensor | None = None,
    sample_weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Focal loss: ``-weight_y * (1 - p_y)**gamma * log(p_y)`` for the softmax p and the class y.

    Lin et al., ICCV 2017, equation 5, for more than two classes. The mean divides by the number of
    examples, whatever the weights.

    Args:
        x: logits (n, classes).
        target: class numbers (n,), integers; one outside [0, classes) makes its loss NaN.
        gamma: how much less the easy examples count, >= 0; 0 gives the cross-entropy.
        weight: (classes,) of x's dtype, the paper's alpha; 1 each by default.
        sample_weight, reduction: see the module.
    """
    gamma = number("focal", NOT_NEGATIVE, gamma=gamma)
    logits("focal", x, weight)
    class_numbers("focal", x, target)
    losses, p = ops.softmax_cross_entropy(x, target)
    others = ops.sum(ops.where(is_class(target, x.shape[1]), 0.0, p), axis=1)  # 1 - p_y, exactly
    smallest = float(x.backend.xp.finfo(x.array.dtype).smallest_normal)
    # At 0 the slope of a power below 1 is infinite, that of the whole is not: log(p_y) is 0 there.
    losses = losses * ops.power(ops.clip(others, low=smallest), exponent=gamma)
    if weight is not None:
        losses = losses * of_class(weight, target)
    return reduce("focal", losses, sample_weight, reduction)


def multi_margin(
    x: Tensor,
    target: Tensor,
    *,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    sample_weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Hinge loss: ``weight_y * sum_{c != y} max(0, margin - x_y + x_c)**p / classes``.

    PyTorch's ``multi_margin_loss``, whose mean divides by the number of examples, whatever the
    weights. p = 1 is the loss of Weston and Watkins, ESANN 1999, over the number of classes.

    Args:
        x: scores (n, classes).
        target: class numbers (n,), integers; one outside [0, classes) makes its loss NaN.
        p: 1, or 2 for the squared hinge.
        margin: by how much the right score must be the largest to cost nothing.
        weight: (classes,) of x's dtype; 1 each by default.
        sample_weight, reduction: see the module.
    """
    expect("multi_margin", ONE_OR_TWO, p=p)
    margin = number("multi_margin", NUMBER, margin=margin)
    logits("multi_margin", x, weight)
    class_numbers("multi_margin", x, target)
    right = is_class(target, x.shape[1])
    of_right = ops.sum(ops.where(right, x, 0.0), axis=1, keepdims=True)
    short = ops.where(right, 0.0, ops.relu(x - of_right + margin))
    losses = ops.mean(short * short if p == 2 else short, axis=1)
    known = ops.sum(right, axis=1) > 0
    losses = ops.where(known, losses, float("nan"))
    if weight is not None:
        losses = losses * of_class(weight, target)
    return reduce("multi_margin", losses, sample_weight, reduction)


def kl_div(
    x: Tensor,
    target: Tensor,
    *,
    log_target: bool = False,
    sample_weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Kullback and Leibler's divergence of q from t: ``sum_c t_c * (log(t_c) - log(q_c))``.

    An example's loss is the sum over its classes, so ``"mean"`` is PyTorch's ``"batchmean"``.
    Where t_c is 0 the term is 0.

    Args:
        x: log(q), such as :func:`flagstone.ops.log_softmax` gives; finite, (n, ...).
        target: t, probabilities of x's shape and dtype; their logarithms with ``log_target``.
        log_target: which of the two the target is.
        sample_weight, reduction: see the module.
    """
    expect("kl_div", TRUTH, log_target=log_target)
    alike("kl_div", x=x, target=target)
    if not x.ndim:
        raise ShapeError("kl_div: x expected at least one axis, of examples; got a scalar")
    if log_target:
        terms = ops.exp(target) * (target - x)
    else:
        log_t = ops.log(ops.where(ops.equal(target, 0.0), 1.0, target))
        terms = target * (log_t - x)
    losses = ops.sum(terms, axis=tuple(range(1, x.ndim))) if x.ndim > 1 else terms
    return reduce("kl_div", losses, sample_weight, reduction)


@dataclass(frozen=True, eq=False, kw_only=True)
class CrossEntropyLoss(Loss):
    """:func:`cross_entropy` with its options."""

    function = cross_entropy

    weight: Tensor | None = field(default=None, metadata={RULE: TENSOR_OR_NONE})
    ignore_index: int | None = field(default=None, metadata={RULE: INDEX})
    label_smoothing: float = field(default=0.0, metadata={RULE: FRACTION})


@dataclass(frozen=True, eq=False, kw_only=True)
class FocalLoss(Loss):
    """:func:`focal` with its options."""

    function = focal

    gamma: float = field(default=2.0, metadata={RULE: NOT_NEGATIVE})
    weight: Tensor | None = field(default=None, metadata={RULE: TENSOR_OR_NONE})


@dataclass(frozen=True, eq=False, kw_only=True)
class MultiMarginLoss(Loss):
    """:func:`multi_margin` with its options."""

    function = multi_margin

    p: int = field(default=1, metadata={RULE: ONE_OR_TWO})
    margin: float = field(default=1.0, metadata={RULE: NUMBER})
    weight: Tensor | None = field(default=None, metadata={RULE: TENSOR_OR_NONE})


@dataclass(frozen=True, eq=False, kw_only=True)
class KLDivLoss(Loss):
    """:func:`kl_div` with its options."""

    function = kl_div

    log_target: bool = field(default=False, metadata={RULE: TRUTH})
