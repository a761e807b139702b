"""Means and scales of inputs and targets, weighted, in one pass over blocks."""

from __future__ import annotations

from typing import Any

import numpy as np

BLOCK = 4096  # examples: their float64 copy stays small beside the data


def statistics(x: Any, weight: Any = None) -> tuple[Any, Any]:
    """Mean and standard deviation over all axes but the last, float64.

    Args:
        x: (n, features): each feature's; or (n, h, w, channels): each channel's.
        weight: (n,) or ``None``.

    Returns:
        Two arrays (features,) or (channels,). A deviation of 0 is given as 1, so that dividing by
        it leaves a constant feature at 0.
    """
    total = 0.0
    shift = np.asarray(x[:1], np.float64).reshape(-1, x.shape[-1]).mean(axis=0)
    first = second = np.zeros(x.shape[-1])
    for start in range(0, len(x), BLOCK):
        part = np.asarray(x[start : start + BLOCK], np.float64)
        rows = part.reshape(-1, x.shape[-1]) - shift  # near 0, so that squares do not cancel
        w = np.ones(len(part)) if weight is None else weight[start : start + BLOCK]
        each = np.repeat(w, len(rows) // len(part)) if len(part) != len(rows) else w
        first = first + each @ rows
        second = second + each @ (rows * rows)
        total += float(each.sum())
    mean = first / total
    variance = np.maximum(second / total - mean * mean, 0.0)
    # A constant column's variance is rounding alone: 1e-15 of its second moment.
    deviation = np.sqrt(np.where(variance > 1e-14 * (second / total), variance, 0.0))
    return mean + shift, np.where(deviation > 0, deviation, 1.0)
