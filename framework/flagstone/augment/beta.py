"""Quantiles of the symmetric Beta distribution, worked out on the host."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

_HALVINGS = 64
_LEAST_LOG = -745.0  # exp of it is the least float64 above 0


def quantiles(alpha: float, count: int) -> Any:
    """Where the distribution function of Beta(alpha, alpha) is (k + 1/2) / count.

    Below 1/2 that function is ``(x (1 - x))**alpha * S(x)`` up to a factor, with the series ``S``
    = 1 + (2a)/(a + 1) x + (2a)(2a + 1)/((a + 1)(a + 2)) x^2 + ... (DLMF 8.17.8), and the factor is
    known since the value at 1/2 is 1/2. Its logarithm is inverted by halving the interval of
    ``log x``; what lies above 1/2 is its mirror image.

    Args:
        alpha: > 0.
        count: even.

    Returns:
        float64 (count,), rising, symmetric about 1/2.
    """
    if alpha == 1.0:
        return (np.arange(count) + 0.5) / count
    wanted = np.log((np.arange(count // 2) + 0.5) / count * 2.0)
    middle = float(_log_function(np.array([math.log(0.5)]), alpha)[0])
    low = np.full(wanted.shape, _LEAST_LOG)
    high = np.full(wanted.shape, math.log(0.5))
    for _ in range(_HALVINGS):
        half = 0.5 * (low + high)
        below = _log_function(half, alpha) - middle < wanted
        low, high = np.where(below, half, low), np.where(below, high, half)
    x = np.exp(high)
    return np.concatenate([x, 1.0 - x[::-1]])


def _log_function(log_x: Any, alpha: float) -> Any:
    """The logarithm of the distribution function at ``exp(log_x)`` <= 1/2, up to a constant."""
    x = np.exp(log_x)
    term, total, k = np.ones_like(x), np.ones_like(x), 0
    while term.max() > 1e-17 * total.min():  # terms fall: 2 x (a + k/2) / (a + 1 + k) < 1
        term = term * x * ((2.0 * alpha + k) / (alpha + 1.0 + k))
        total = total + term
        k += 1
    return alpha * (log_x + np.log1p(-x)) + np.log(total)
