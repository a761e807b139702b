"""How near predicted numbers are to the true ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from flagstone.metrics.checks import row_weights, two_target_matrices


def mse(
    y_true: npt.ArrayLike, y_pred: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None
) -> float:
    """The mean squared error over ``(n,)`` or ``(n, targets)``; targets count alike."""
    true, pred = two_target_matrices("mse", y_true, y_pred)
    weight = row_weights("mse", sample_weight, len(true))
    return float(np.average((true - pred) ** 2, axis=0, weights=weight).mean())


def mae(
    y_true: npt.ArrayLike, y_pred: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None
) -> float:
    """The mean absolute error over ``(n,)`` or ``(n, targets)``; targets count alike."""
    true, pred = two_target_matrices("mae", y_true, y_pred)
    weight = row_weights("mae", sample_weight, len(true))
    return float(np.average(np.abs(true - pred), axis=0, weights=weight).mean())


def r2(
    y_true: npt.ArrayLike, y_pred: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None
) -> float:
    """1 - (residual sum of squares) / (total sum of squares), the mean over targets.

    A target that does not vary scores 1 when predicted exactly and 0 otherwise. With fewer than
    two rows the value is not defined and is NaN.
    """
    true, pred = two_target_matrices("r2", y_true, y_pred)
    weight = row_weights("r2", sample_weight, len(true))
    if len(true) < 2:
        return float("nan")
    share = np.ones(len(true)) if weight is None else weight
    residual = (share[:, None] * (true - pred) ** 2).sum(axis=0)  # (targets,)
    centre = np.average(true, axis=0, weights=weight)
    total = (share[:, None] * (true - centre) ** 2).sum(axis=0)  # (targets,)
    scores = np.where(residual == 0, 1.0, 0.0)
    varies = (total != 0) & (residual != 0)
    scores[varies] = 1 - residual[varies] / total[varies]
    return float(scores.mean())


def mape(
    y_true: npt.ArrayLike, y_pred: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None
) -> float:
    """The mean absolute error as a share of the true value: 0.1 is ten percent.

    Over ``(n,)`` or ``(n, targets)``; targets count alike. A true value nearer to 0 than float64's
    epsilon counts as that, so the value is finite, and very large.
    """
    true, pred = two_target_matrices("mape", y_true, y_pred)
    weight = row_weights("mape", sample_weight, len(true))
    share = np.abs(true - pred) / np.maximum(np.abs(true), np.finfo(np.float64).eps)
    return float(np.average(share, axis=0, weights=weight).mean())
