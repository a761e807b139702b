"""Optimizer steps on flat buffers: gradient descent and Adam; and what goes around a step."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from flagstone_numpy.kernels.constants import number
from flagstone_numpy.kernels.flat import SMALL
from flagstone_numpy.kernels.update_parts import (
    Array,
    Entry,
    correction,
    in_blocks,
    is_left_out,
    move_mean,
    move_square,
)
from flagstone_numpy.products import alone


def assign(out: Array, x: Array | float) -> tuple[()]:
    """See :func:`flagstone.ops.update.assign`."""
    out[...] = x
    return ()


def sgd_update(
    p: Array, g: Array, velocity: Array | None, lr: Array, scale: Array,
    rates: Array | None = None, decays: Array | None = None, t: Array | None = None, *,
    momentum: float, nesterov: bool, weight_decay: float, dampening: float = 0.0,
) -> tuple[()]:  # fmt: skip
    """See :func:`flagstone.ops.update.sgd_update`."""
    by = float(scale)
    if by != by:  # the step is left out
        return ()
    if plain(p, velocity, rates, decays, weight_decay):
        p -= np.multiply(g, number(float(lr) * by, p.dtype))
        return ()
    fresh = 1.0
    if t is not None:
        fresh -= dampening * min(float(t), 1.0)
        t += 1
    entry = Entry(p, g, lr, scale, rates, decays, weight_decay)

    def step(block: slice, d: Array, other: Array) -> None:
        gradient, factor = entry.gradient(block, d, other)
        if velocity is None:
            entry.descend(block, gradient, factor, out=d)
            return
        v = velocity[block]
        v *= momentum
        np.multiply(gradient, factor * fresh, out=other)
        v += other
        if not nesterov:
            entry.descend(block, v, out=d)
            return
        np.multiply(gradient, factor, out=d)
        np.multiply(v, momentum, out=other)
        d += other
        entry.descend(block, d)

    in_blocks(p, 2, step)
    return ()


def plain(p: Array, velocity: Any, rates: Any, decays: Any, weight_decay: float) -> bool:
    """Whether a step of gradient descent is ``p -= lr * scale * g``, on few parameters."""
    return velocity is None and rates is None and decays is None and not weight_decay and (
        p.size <= SMALL
    )  # fmt: skip


def adam_update(
    p: Array, g: Array, m: Array, v: Array, t: Array, lr: Array, scale: Array,
    rates: Array | None = None, decays: Array | None = None, *, beta1: float, beta2: float,
    eps: float, weight_decay: float, decoupled: bool,
) -> tuple[()]:  # fmt: skip
    """See :func:`flagstone.ops.update.adam_update`; both bias corrections are folded into the rate
    and epsilon: ``m/c1 / (sqrt(v/c2) + eps) = (sqrt(c2)/c1) * m / (sqrt(v) + eps*sqrt(c2))``."""
    if is_left_out(scale):
        return ()
    t += 1
    steps = float(t)
    root2 = math.sqrt(correction(beta2, steps))
    rate = root2 / correction(beta1, steps)
    entry = Entry(p, g, lr, scale, rates, decays, weight_decay, decoupled)

    def step(block: slice, d: Array, other: Array) -> None:
        gradient, factor = entry.gradient(block, d, other)
        mb, vb = m[block], v[block]
        move_mean(mb, gradient, factor, beta1, other)
        move_square(vb, gradient, factor, beta2, other)
        np.sqrt(vb, out=d)
        d += eps * root2
        np.divide(mb, d, out=d)
        entry.descend(block, d, rate)

    in_blocks(p, 2, step)
    return ()


def accumulate(out: Array, x: Array) -> tuple[()]:
    """``out += x``."""
    np.add(out, x, out=out)
    return ()


def norm(x: Array) -> Array:
    """The Euclidean norm; one pass, in BLAS."""
    flat = x.reshape(-1)
    with alone(flat.size):
        return np.sqrt(np.dot(flat, flat))


def limit(x: Array, bound: Array) -> tuple[()]:
    """``x`` brought into [-bound, bound], in place."""
    np.clip(x, -bound, bound, out=x)
    return ()


def lookahead_update(
    p: Array, slow: Array, t: Array, factor: Array | None = None, *, k: int, alpha: float
) -> tuple[()]:
    """See :func:`flagstone.ops.update_wrappers.lookahead_update`; of k calls one has work to do."""
    if is_left_out(factor):
        return ()
    t += 1
    if t < k:
        return ()
    t[...] = 0

    def step(block: slice, d: Array) -> None:
        pb, sb = p[block], slow[block]
        np.subtract(pb, sb, out=d)
        d *= alpha
        sb += d
        np.copyto(pb, sb)

    in_blocks(p, 1, step)
    return ()


def average_update(
    average: Array, p: Array, t: Array, factor: Array | None = None, *, decay: float
) -> tuple[()]:
    """See :func:`flagstone.ops.update_wrappers.average_update`."""
    if is_left_out(factor):
        return ()
    kept = min(float(t), 1.0) * decay
    t += 1
    in_blocks(p, 1, lambda block, d: move_mean(average[block], p[block], 1.0, kept, d))
    return ()
