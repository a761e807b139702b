"""One pass over flat arrays, of which ``turns`` gives pieces."""

from __future__ import annotations

from typing import Any

import numpy as np

from flagstone_numba.loops.compiling import compiled
from flagstone_numba.loops.turns import count, first, following, rest

PIECE = 1 << 15


@compiled
def part(a: Any, piece: int) -> Any:
    """A piece of a flat array."""
    return a[piece * PIECE : min((piece + 1) * PIECE, a.size)]


@compiled
def _relu(x: Any, y: Any) -> None:
    for i in range(x.size):
        v = x[i]
        y[i] = x.dtype.type(0) if v < 0 else v


@compiled
def relu(turns: Any, x: Any, y: Any) -> None:
    """``y = max(x, 0)``; NaN stays."""
    piece = first(turns)
    while piece < count(turns):
        _relu(part(x, piece), part(y, piece))
        piece = following(turns)
    rest(turns)


@compiled
def _relu_grad(g: Any, kept: Any, y: Any) -> None:
    for i in range(g.size):
        y[i] = g[i] if kept[i] > 0 else g.dtype.type(0)


@compiled
def relu_grad(turns: Any, g: Any, kept: Any, y: Any) -> None:
    """``y = g`` where ``kept > 0``, else 0."""
    piece = first(turns)
    while piece < count(turns):
        _relu_grad(part(g, piece), part(kept, piece), part(y, piece))
        piece = following(turns)
    rest(turns)


@compiled
def _keep(x: Any, mask: Any, scale: Any, y: Any) -> None:
    for i in range(x.size):
        y[i] = x[i] * scale if mask[i] else x.dtype.type(0)


@compiled
def keep(turns: Any, x: Any, mask: Any, scale: Any, y: Any) -> None:
    """``y = x * scale`` where ``mask``, else 0."""
    piece = first(turns)
    while piece < count(turns):
        _keep(part(x, piece), part(mask, piece), scale, part(y, piece))
        piece = following(turns)
    rest(turns)


@compiled
def _sgd(
    p: Any, g: Any, velocity: Any, lr: Any, scale: Any, momentum: Any, fresh: Any, nesterov: bool,
    decay: Any,
) -> None:  # fmt: skip
    for i in range(p.size):
        d = g[i] * scale + p[i] * decay
        v = velocity[i] * momentum + d * fresh
        velocity[i] = v
        p[i] -= (d + v * momentum) * lr if nesterov else v * lr


@compiled
def sgd(
    turns: Any, p: Any, g: Any, velocity: Any, lr: Any, scale: Any, momentum: Any, fresh: Any,
    nesterov: bool, decay: Any,
) -> None:  # fmt: skip
    """The step of :func:`flagstone.ops.update.sgd_update` with a velocity."""
    i = first(turns)
    while i < count(turns):
        pi, gi, vi = part(p, i), part(g, i), part(velocity, i)
        _sgd(pi, gi, vi, lr, scale, momentum, fresh, nesterov, decay)
        i = following(turns)
    rest(turns)


@compiled
def _plain_sgd(p: Any, g: Any, lr: Any, scale: Any, decay: Any) -> None:
    for i in range(p.size):
        p[i] -= (g[i] * scale + p[i] * decay) * lr


@compiled
def plain_sgd(turns: Any, p: Any, g: Any, lr: Any, scale: Any, decay: Any) -> None:
    """``p -= lr * (g * scale + decay * p)``."""
    i = first(turns)
    while i < count(turns):
        _plain_sgd(part(p, i), part(g, i), lr, scale, decay)
        i = following(turns)
    rest(turns)


@compiled
def _adam(
    p: Any, g: Any, m: Any, v: Any, scale: Any, beta1: Any, rest1: Any, beta2: Any, rest2: Any,
    rate: Any, small: Any, decay: Any, shrink: Any,
) -> None:  # fmt: skip
    for i in range(p.size):
        d = g[i] * scale + p[i] * decay
        mi = m[i] * beta1 + d * rest1
        vi = v[i] * beta2 + d * d * rest2
        m[i] = mi
        v[i] = vi
        p[i] -= mi / (np.sqrt(vi) + small) * rate + p[i] * shrink


@compiled
def adam(
    turns: Any, p: Any, g: Any, m: Any, v: Any, scale: Any, beta1: Any, rest1: Any, beta2: Any,
    rest2: Any, rate: Any, small: Any, decay: Any, shrink: Any,
) -> None:  # fmt: skip
    """The step of :func:`flagstone.ops.update.adam_update`, bias corrections folded in.

    ``rest1`` is 1 - beta, ``decay`` is added to the gradient and ``shrink`` (decoupled) to the
    step, each times ``p``.
    """
    i = first(turns)
    while i < count(turns):
        pi, gi, mi, vi = part(p, i), part(g, i), part(m, i), part(v, i)
        _adam(pi, gi, mi, vi, scale, beta1, rest1, beta2, rest2, rate, small, decay, shrink)
        i = following(turns)
    rest(turns)


@compiled
def sum_rows(turns: Any, rows: Any, ends: Any, each: int, totals: Any) -> None:
    """Write the sums of groups of rows (n, k), ``each`` times ``ends``, to ``totals``."""
    piece = first(turns)
    while piece < count(turns):
        totals[piece] = 0
        stop = min(ends[piece + 1] * each, rows.shape[0])
        add_rows(rows[ends[piece] * each : stop], totals[piece])
        piece = following(turns)
    rest(turns)


@compiled
def add_rows(rows: Any, total: Any) -> None:
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
