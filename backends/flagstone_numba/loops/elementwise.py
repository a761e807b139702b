"""One pass over flat arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from flagstone_numba.loops.compiling import compiled


@compiled
def relu(x: Any, y: Any) -> None:
    """``y = max(x, 0)``; NaN stays."""
    for i in range(x.size):
        v = x[i]
        y[i] = x.dtype.type(0) if v < 0 else v


@compiled
def relu_grad(g: Any, kept: Any, y: Any) -> None:
    """``y = g`` where ``kept > 0``, else 0."""
    for i in range(g.size):
        y[i] = g[i] if kept[i] > 0 else g.dtype.type(0)


@compiled
def keep(x: Any, mask: Any, scale: Any, y: Any) -> None:
    """``y = x * scale`` where ``mask``, else 0."""
    for i in range(x.size):
        y[i] = x[i] * scale if mask[i] else x.dtype.type(0)


@compiled
def sgd(
    p: Any, g: Any, velocity: Any, lr: Any, scale: Any, momentum: Any, fresh: Any, nesterov: bool,
    decay: Any,
) -> None:  # fmt: skip
    """The step of :func:`flagstone.ops.update.sgd_update` with a velocity."""
    for i in range(p.size):
        d = g[i] * scale + p[i] * decay
        v = velocity[i] * momentum + d * fresh
        velocity[i] = v
        p[i] -= (d + v * momentum) * lr if nesterov else v * lr


@compiled
def plain_sgd(p: Any, g: Any, lr: Any, scale: Any, decay: Any) -> None:
    """``p -= lr * (g * scale + decay * p)``."""
    for i in range(p.size):
        p[i] -= (g[i] * scale + p[i] * decay) * lr


@compiled
def adam(
    p: Any, g: Any, m: Any, v: Any, scale: Any, beta1: Any, rest1: Any, beta2: Any, rest2: Any,
    rate: Any, small: Any, decay: Any, shrink: Any,
) -> None:  # fmt: skip
    """The step of :func:`flagstone.ops.update.adam_update`, bias corrections folded in.

    ``rest`` is 1 - beta, ``decay`` is added to the gradient and ``shrink`` (decoupled) to the step,
    each times ``p``.
    """
    for i in range(p.size):
        d = g[i] * scale + p[i] * decay
        mi = m[i] * beta1 + d * rest1
        vi = v[i] * beta2 + d * d * rest2
        m[i] = mi
        v[i] = vi
        p[i] -= mi / (np.sqrt(vi) + small) * rate + p[i] * shrink


@compiled
def sum_rows(rows: Any, total: Any) -> None:
    """Add rows (n, k) to ``total`` (k,), four at a time."""
    n = 0
    while n + 4 <= rows.shape[0]:
        r0, r1, r2, r3 = rows[n], rows[n + 1], rows[n + 2], rows[n + 3]
        for k in range(total.size):
            total[k] += (r0[k] + r1[k]) + (r2[k] + r3[k])
        n += 4
    while n < rows.shape[0]:
        row = rows[n]
        for k in range(total.size):
            total[k] += row[k]
        n += 1
