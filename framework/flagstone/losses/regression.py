"""Losses of predicted numbers.

``x`` and ``target`` are (n, ...), of one shape and dtype; an example's loss is the mean over its
outputs. ``sample_weight``, ``reduction``, the shape returned and what is raised: see
:mod:`flagstone.losses`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from flagstone import ops
from flagstone.losses.options import (
    INSIDE,
    NOT_NEGATIVE,
    POSITIVE,
    RULE,
    TRUTH,
    Loss,
    expect,
    number,
)
from flagstone.losses.reduction import alike, per_example, reduce, total, totals
from flagstone.tensors import Tensor


def mse(
    x: Tensor, target: Tensor, *, sample_weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """Mean squared error: ``(x - target)**2``."""
    if sample_weight is None and totals(reduction):
        return total("mse", ops.squared_error, x, target, reduction)
    alike("mse", x=x, target=target)
    difference = x - target
    losses = per_example("mse", difference * difference)
    return reduce("mse", losses, sample_weight, reduction)


def mae(
    x: Tensor, target: Tensor, *, sample_weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """Mean absolute error: ``|x - target|``, whose gradient at 0 is 0."""
    alike("mae", x=x, target=target)
    losses = per_example("mae", ops.abs(x - target))
    return reduce("mae", losses, sample_weight, reduction)


def huber(
    x: Tensor,
    target: Tensor,
    *,
    delta: float = 1.0,
    sample_weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``d**2 / 2`` for ``d = |x - target|`` up to delta, ``delta * (d - delta / 2)`` beyond.

    Huber, Annals of Mathematical Statistics 35, 1964.

    Args:
        x, target, sample_weight, reduction: see the module.
        delta: where the square ends, > 0.
    """
    delta = number("huber", POSITIVE, delta=delta)
    alike("huber", x=x, target=target)
    losses = per_example("huber", _huber(x, target, delta))
    return reduce("huber", losses, sample_weight, reduction)


def smooth_l1(
    x: Tensor,
    target: Tensor,
    *,
    beta: float = 1.0,
    sample_weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """:func:`huber` over its delta, so that the slope beyond is 1: ``d**2 / (2 beta)`` up to beta.

    Girshick, Fast R-CNN, ICCV 2015, equation 3.

    Args:
        x, target, sample_weight, reduction: see the module.
        beta: where the square ends, >= 0; 0 gives :func:`mae`.
    """
    beta = number("smooth_l1", NOT_NEGATIVE, beta=beta)
    alike("smooth_l1", x=x, target=target)
    each = _huber(x, target, beta) * (1.0 / beta) if beta else ops.abs(x - target)
    return reduce("smooth_l1", per_example("smooth_l1", each), sample_weight, reduction)


def _huber(x: Tensor, target: Tensor, delta: float) -> Tensor:
    """``c * (d - c/2)`` for ``c = min(d, delta)``: both pieces at once, and no large square."""
    distance = ops.abs(x - target)
    near = ops.clip(distance, high=delta)
    out: Tensor = near * (distance - near * 0.5)
    return out


def log_cosh(
    x: Tensor, target: Tensor, *, sample_weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """``log(cosh(x - target))``: half the square near 0, ``d - log(2)`` far away.

    Below 1 it is computed as ``log1p(2 sinh(d/2)**2)``, which keeps all digits of a small loss,
    beyond as ``d + log1p(exp(-2 d)) - log(2)``, which cannot overflow.
    """
    alike("log_cosh", x=x, target=target)
    distance = ops.abs(x - target)
    small = ops.clip(distance, high=1.0)
    fall = ops.expm1(-small)  # 2 sinh(d/2)**2 = expm1(-d)**2 * exp(d) / 2
    near = ops.log1p(fall * fall * ops.exp(small) * 0.5)
    far = distance + ops.softplus(distance * -2.0) - math.log(2.0)
    each = ops.where(distance < 1.0, near, far)
    return reduce("log_cosh", per_example("log_cosh", each), sample_weight, reduction)


def quantile(
    x: Tensor,
    target: Tensor,
    *,
    q: float = 0.5,
    sample_weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The pinball loss of ``e = target - x``: ``max(q * e, (q - 1) * e)``, least at the q-quantile.

    Koenker and Bassett, Econometrica 46, 1978. Half of :func:`mae` for q = 1/2.

    Args:
        x, target, sample_weight, reduction: see the module.
        q: the quantile to predict, in (0, 1).
    """
    q = number("quantile", INSIDE, q=q)
    alike("quantile", x=x, target=target)
    error = target - x
    losses = per_example("quantile", ops.maximum(error * q, error * (q - 1.0)))
    return reduce("quantile", losses, sample_weight, reduction)


def poisson_nll(
    x: Tensor,
    target: Tensor,
    *,
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    sample_weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Negative log-likelihood of counts: ``rate - target * log(rate)``.

    PyTorch's ``poisson_nll_loss``. With ``log_input`` the loss overflows to infinity where
    ``exp(x)`` does, from x = 89 on in float32.

    Args:
        x: the logarithm of the rate, or the rate itself (>= 0) without ``log_input``.
        target: counts.
        log_input: which of the two x is.
        full: add Stirling's ``log(target!)``, that is ``t log(t) - t + log(2 pi t) / 2``, for
            targets above 1.
        eps: is added to a rate before its logarithm is taken, > 0.
        sample_weight, reduction: see the module.
    """
    expect("poisson_nll", TRUTH, log_input=log_input, full=full)
    eps = number("poisson_nll", POSITIVE, eps=eps)
    alike("poisson_nll", x=x, target=target)
    each = ops.exp(x) - target * x if log_input else x - target * ops.log(x + eps)
    if full:
        count = ops.where(target > 1.0, target, 1.0)  # so that no logarithm of 0 is taken
        stirling = count * ops.log(count) - count + ops.log(count * (2.0 * math.pi)) * 0.5
        each = each + ops.where(target > 1.0, stirling, 0.0)
    return reduce("poisson_nll", per_example("poisson_nll", each), sample_weight, reduction)


class MSELoss(Loss):
    """:func:`mse` with its reduction."""

    function = mse


class L1Loss(Loss):
    """:func:`mae` with its reduction."""

    function = mae


@dataclass(frozen=True, eq=False, kw_only=True)
class HuberLoss(Loss):
    """:func:`huber` with its options."""

    function = huber

    delta: float = field(default=1.0, metadata={RULE: POSITIVE})


@dataclass(frozen=True, eq=False, kw_only=True)
class SmoothL1Loss(Loss):
    """:func:`smooth_l1` with its options."""

    function = smooth_l1

    beta: float = field(default=1.0, metadata={RULE: NOT_NEGATIVE})


class LogCoshLoss(Loss):
    """:func:`log_cosh` with its reduction."""

    function = log_cosh


@dataclass(frozen=True, eq=False, kw_only=True)
class QuantileLoss(Loss):
    """:func:`quantile` with its options."""

    function = quantile

    q: float = field(default=0.5, metadata={RULE: INSIDE})


@dataclass(frozen=True, eq=False, kw_only=True)
class PoissonNLLLoss(Loss):
    """:func:`poisson_nll` with its options."""

    function = poisson_nll

    log_input: bool = field(default=True, metadata={RULE: TRUTH})
    full: bool = field(default=False, metadata={RULE: TRUTH})
    eps: float = field(default=1e-8, metadata={RULE: POSITIVE})
