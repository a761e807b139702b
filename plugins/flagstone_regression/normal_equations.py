"""Least squares by the normal equations, in float64, without a copy of the table.

One reading takes the columns' moments, from which their means and deviations follow too; the next
take the gradient, at 0 and at what solves for it, and whatever is left of it there is solved for
again, which wins back the digits that squaring the table's condition loses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

BLOCK_BYTES = 1 << 20  # of rows in float64: in a second-level cache
CORRECTIONS = 5
FAR = 1e3  # deviations between a mean and 0, from where a product of raw rows loses digits
TOLERANCE = 1e-10  # of the mean loss's gradient, in standardised units


@dataclass(frozen=True)
class Moments:
    """First and second moments of rows less ``shift``, each weighted.

    Attributes:
        shift: (features,), near the means.
        total: of the weights.
        first: (features,) sums of rows.
        second: (features, features) sums of their products.
    """

    shift: Any
    total: float
    first: Any
    second: Any

    @classmethod
    def of(cls, x: Any, weight: Any) -> Moments:
        """The moments of the rows of ``x`` (n, ...), flattened."""
        flat = x.reshape(len(x), -1)
        shift = np.asarray(flat[0], np.float64)
        first, second = np.zeros(flat.shape[1]), np.zeros((flat.shape[1], flat.shape[1]))
        total = float(len(x)) if weight is None else float(weight.sum())
        for rows, near in _blocks(flat, shift):
            if weight is None:
                first += near.sum(axis=0) if len(near) < 8 else np.ones(len(near)) @ near
            else:
                root = np.sqrt(weight[rows])
                near *= root[:, None]
                first += root @ near
            second += near.T @ near
        return cls(shift, total, first, second)

    @property
    def mean(self) -> Any:
        """(features,)."""
        return self.shift + self.first / self.total

    @property
    def covariance(self) -> Any:
        """(features, features)."""
        near = self.first / self.total
        return self.second / self.total - np.outer(near, near)

    @property
    def scale(self) -> Any:
        """(features,) deviations, 1 for a column that is constant but for rounding."""
        variance = np.maximum(self.covariance.diagonal(), 0.0)
        square = self.second.diagonal() / self.total
        deviation = np.sqrt(np.where(variance > 1e-14 * square, variance, 0.0))
        return np.where(deviation > 0, deviation, 1.0)


def _blocks(flat: Any, origin: Any) -> Any:
    """Slices of rows and those rows less ``origin``, in float64 memory that is used again; as they
    lie where it is ``None``."""
    step = max(16, BLOCK_BYTES // (8 * flat.shape[1]))
    held = np.empty((min(step, len(flat)), flat.shape[1]))
    for start in range(0, len(flat), step):
        rows = slice(start, min(start + step, len(flat)))
        if origin is None:
            yield rows, flat[rows]
        else:
            yield rows, np.subtract(flat[rows], origin, out=held[: rows.stop - rows.start])


def solve(
    moments: Moments, x: Any, y: Any, weight: Any, mean: Any, inverse_scale: Any, ridge: float
) -> tuple[Any, Any, Any]:
    """The minimum of the weighted mean of ``(z W' + b - y)**2``, over rows and targets, and of
    ``ridge * sum(W**2)``, z being the rows less ``mean`` times ``inverse_scale``.

    Args:
        moments: of ``x``.
        x, y: (n, ...) and (n, targets).
        weight: (n,) or ``None``.

    Returns:
        W (targets, features), b (targets,), and the errors (n, targets).
    """
    flat, targets = x.reshape(len(x), -1), y.shape[1]
    away = (moments.mean - mean) * inverse_scale  # 0 where the columns are standardised
    hessian = moments.covariance * np.outer(inverse_scale, inverse_scale)
    hessian[np.diag_indices_from(hessian)] += ridge * targets
    inverse = np.linalg.pinv(hessian, hermitian=True)
    near = flat.dtype == np.float64 and bool((np.abs(moments.mean) <= FAR * moments.scale).all())
    origin, offset = (None, moments.mean) if near else (moments.mean, np.zeros(flat.shape[1]))
    shares = None if weight is None else weight[:, None]
    w, centre = np.zeros((targets, flat.shape[1])), np.zeros(targets)
    best, kept = np.inf, (w, centre, y)
    for correction in range(2 + CORRECTIONS):
        errors, slopes = np.empty_like(y), np.zeros_like(w)
        factor = (w * inverse_scale).T
        base = centre - offset @ factor
        for rows, block in _blocks(flat, origin):
            e = np.subtract(base, y[rows], out=errors[rows])
            if correction:
                e += block @ factor
            slopes += (e if shares is None else e * shares[rows]).T @ block
        total = (errors if shares is None else errors * shares).sum(axis=0)
        slopes = (slopes - np.outer(total, offset)) * inverse_scale / moments.total
        slopes += ridge * targets * w
        left = float(np.abs(slopes).max(initial=0.0))
        if correction:
            if left < best:
                kept = w, centre - w @ away, errors
            if left <= TOLERANCE or not left < best / 2:
                break
            best = left
        w, centre = w - slopes @ inverse, centre - total / moments.total
    return kept
