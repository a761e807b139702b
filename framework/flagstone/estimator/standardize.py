"""Means and scales of inputs and targets, weighted, in one pass over blocks."""

from __future__ import annotations

from typing import Any

import numpy as np

BLOCK = 1 << 17  # numbers, whose float64 copy stays in a second-level cache


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
    examples = max(1, BLOCK // max(1, x[:1].size))
    held = np.empty((min(examples, len(x)), *x.shape[1:]))
    for start in range(0, len(x), examples):
        part = x[start : start + examples]
        rows = np.subtract(part, shift, out=held[: len(part)])  # near 0, so squares do not cancel
        w = np.ones(len(part)) if weight is None else weight[start : start + examples]
        flat = rows.reshape(-1, x.shape[-1])
        each = np.repeat(w, len(flat) // len(part)) if len(part) != len(flat) else w
        first = first + each @ flat
        flat *= flat
        second = second + each @ flat
        total += float(each.sum())
    mean = first / total
    variance = np.maximum(second / total - mean * mean, 0.0)
    # A constant column's variance is rounding alone: 1e-15 of its second moment.
    deviation = np.sqrt(np.where(variance > 1e-14 * (second / total), variance, 0.0))
    return mean + shift, np.where(deviation > 0, deviation, 1.0)
