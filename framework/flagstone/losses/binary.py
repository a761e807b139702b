"""Losses of scores of two classes, by their logits or margins.

``x`` is (n,), or (n, ...) for several yes-or-no outputs, of which an example's loss is the mean;
``target`` is of x's shape and dtype. ``sample_weight``, ``reduction``, the shape returned and what
is raised: see :mod:`flagstone.losses`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from flagstone import ops
from flagstone.errors import ShapeError
from flagstone.losses.options import (
    FACTOR,
    FRACTION_OR_NONE,
    NOT_NEGATIVE,
    POSITIVE,
    RULE,
    Loss,
    expect,
    number,
)
from flagstone.losses.reduction import alike, per_example, reduce, together, total, totals
from flagstone.tensors import Tensor


def binary_cross_entropy_with_logits(
    x: Tensor,
    target: Tensor,
    *,
    pos_weight: Tensor | float | None = None,
    sample_weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Logistic loss from logits: ``-w * t * log(sigmoid(x)) - (1 - t) * log(1 - sigmoid(x))``.

    Args:
        x: logits.
        target: t, probabilities of the positive class in [0, 1].
        pos_weight: w, by which positive examples count more: a number >= 0, or a tensor of x's
            dtype and of the shape of one example's outputs; 1 by default.
        sample_weight, reduction: see the module.
    """
    name = "binary_cross_entropy_with_logits"
    if pos_weight is None and sample_weight is None and totals(reduction):
        return total(name, ops.logistic_error, x, target, reduction)
    alike(name, x=x, target=target)
    if pos_weight is None:
        each = ops.binary_cross_entropy_with_logits(x, target)
    else:
        # (1 - t) x + (1 + (w - 1) t) softplus(-x)
        grows = target * (_pos_weight(name, x, pos_weight) - 1.0) + 1.0
        each = (1.0 - target) * x + grows * ops.softplus(-x)
    return reduce(name, per_example(name, each), sample_weight, reduction)


def _pos_weight(name: str, x: Tensor, given: Tensor | float) -> Tensor | float:
    expect(name, FACTOR, pos_weight=given)
    if not isinstance(given, Tensor):
        return float(given)
    together(name, x=x, pos_weight=given)
    if given.shape != x.shape[1:]:
        raise ShapeError(
            f"{name}: pos_weight expected shape {x.shape[1:]}, of one example; got {given.shape}"
        )
    return given


def binary_focal(
    x: Tensor,
    target: Tensor,
    *,
    gamma: float = 2.0,
    alpha: float | None = 0.25,
    sample_weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Focal loss of two classes: ``-alpha_t * (1 - p_t)**gamma * log(p_t)``.

    ``p_t`` is ``sigmoid(x)`` where the target is 1 and ``sigmoid(-x)`` where it is 0, ``alpha_t``
    is alpha or 1 - alpha. Lin et al., ICCV 2017, equation 5, who divide the sum by the number of
    positive anchors. A target between 0 and 1 mixes the two.

    Args:
        x: logits.
        target: 0 or 1.
        gamma: how much less the easy examples count, >= 0; 0 gives the cross-entropy.
        alpha: the weight of the positive class, in [0, 1]; ``None`` for 1 of either.
        sample_weight, reduction: see the module.
    """
    gamma = number("binary_focal", NOT_NEGATIVE, gamma=gamma)
    expect("binary_focal", FRACTION_OR_NONE, alpha=alpha)
    alike("binary_focal", x=x, target=target)
    of_one: Tensor = ops.softplus(-x)  # -log(sigmoid(x))
    of_zero: Tensor = ops.softplus(x)  # -log(1 - sigmoid(x))
    # (1 - p)**gamma = exp(-gamma * -log(1 - p)), whose slope is finite everywhere
    if_one = ops.exp(of_zero * -gamma) * of_one * target
    if_zero = ops.exp(of_one * -gamma) * of_zero * (1.0 - target)
    if alpha is not None:
        if_one, if_zero = if_one * float(alpha), if_zero * (1.0 - float(alpha))
    losses = per_example("binary_focal", if_one + if_zero)
    return reduce("binary_focal", losses, sample_weight, reduction)


def hinge(
    x: Tensor,
    target: Tensor,
    *,
    margin: float = 1.0,
    sample_weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``max(0, margin - target * x)``, the support vector machine's.

    Cortes and Vapnik, Machine Learning 20, 1995. For more classes see
    :func:`~flagstone.losses.multi_margin`.

    Args:
        x: signed scores; above 0 is the positive class.
        target: -1 or 1.
        margin: the score from which a right answer costs nothing, > 0.
        sample_weight, reduction: see the module.
    """
    margin = number("hinge", POSITIVE, margin=margin)
    alike("hinge", x=x, target=target)
    losses = per_example("hinge", ops.relu(margin - target * x))
    return reduce("hinge", losses, sample_weight, reduction)


def squared_hinge(
    x: Tensor,
    target: Tensor,
    *,
    margin: float = 1.0,
    sample_weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``max(0, margin - target * x)**2``, which is smooth: :func:`hinge` squared.

    The L2-SVM of Tang, Deep Learning using Linear Support Vector Machines, 2013, equation 6.

    Args:
        x, target, margin: as in :func:`hinge`.
        sample_weight, reduction: see the module.
    """
    margin = number("squared_hinge", POSITIVE, margin=margin)
    alike("squared_hinge", x=x, target=target)
    short = ops.relu(margin - target * x)
    losses = per_example("squared_hinge", short * short)
    return reduce("squared_hinge", losses, sample_weight, reduction)


@dataclass(frozen=True, eq=False, kw_only=True)
class BCEWithLogitsLoss(Loss):
    """:func:`binary_cross_entropy_with_logits` with its options."""

    function = binary_cross_entropy_with_logits

    pos_weight: Tensor | float | None = field(default=None, metadata={RULE: FACTOR})


@dataclass(frozen=True, eq=False, kw_only=True)
class BinaryFocalLoss(Loss):
    """:func:`binary_focal` with its options."""

    function = binary_focal

    gamma: float = field(default=2.0, metadata={RULE: NOT_NEGATIVE})
    alpha: float | None = field(default=0.25, metadata={RULE: FRACTION_OR_NONE})


@dataclass(frozen=True, eq=False, kw_only=True)
class HingeLoss(Loss):
    """:func:`hinge` with its options."""

    function = hinge

    margin: float = field(default=1.0, metadata={RULE: POSITIVE})


@dataclass(frozen=True, eq=False, kw_only=True)
class SquaredHingeLoss(Loss):
    """:func:`squared_hinge` with its options."""

    function = squared_hinge

    margin: float = field(default=1.0, metadata={RULE: POSITIVE})
