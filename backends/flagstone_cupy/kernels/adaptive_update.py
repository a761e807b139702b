"""Optimizers' updates in which every value has its rate, and what goes around an update."""

from __future__ import annotations

from typing import Any

from flagstone.backend import declines
from flagstone_cupy.kernel import family
from flagstone_cupy.kernels.reduce import norm
from flagstone_cupy.kernels.update import count, factors, in_place, log
from flagstone_cupy.launch import Array, contiguous, launch, over

FLOATS = ("float", "double")
ADAMAX = family("adaptive_update.cu", "adamax_update", T=FLOATS)
RMSPROP = family("adaptive_update.cu", "rmsprop_update", T=FLOATS)
ADAGRAD = family("adaptive_update.cu", "adagrad_update", T=FLOATS)
ADADELTA = family("adaptive_update.cu", "adadelta_update", T=FLOATS)
LION = family("adaptive_update.cu", "lion_update", T=FLOATS)
MOMENTUM_DIRECTION = family("adaptive_update.cu", "momentum_direction", T=FLOATS)
TRUST = family("adaptive_update.cu", "trust_update", T=FLOATS)
LIMIT = family("adaptive_update.cu", "limit", T=FLOATS)
LOOKAHEAD = family("adaptive_update.cu", "lookahead_update", T=FLOATS)
COUNT_TO = family("adaptive_update.cu", "count_to", T=FLOATS)
AVERAGE = family("adaptive_update.cu", "average_update", T=FLOATS)
MIX = family("adaptive_update.cu", "mix", T=FLOATS)
ACCUMULATE = family("adaptive_update.cu", "accumulate", T=(*FLOATS, "long long"))


@declines
def adamax_update(
    p: Array, g: Array, m: Array, largest: Array, t: Array, lr: Array, scale: Array,
    rates: Array | None = None, decays: Array | None = None, *, beta1: float, beta2: float,
    eps: float, weight_decay: float,
) -> Any:  # fmt: skip
    """See :func:`flagstone.ops.adaptive_updates.adamax_update`."""
    if not in_place(ADAMAX, p, g, m, largest, rates, decays):
        return NotImplemented
    count(t, scale)
    arrays = (p, g, m, largest, t, lr, scale, rates, decays)
    numbers = (weight_decay, *factors(beta1), log(beta1), beta2, eps)
    over(ADAMAX[p.dtype], p.size, *arrays, *numbers, p.size)
    return ()


@declines
def rmsprop_update(
    p: Array, g: Array, v: Array, m: Array | None, velocity: Array | None, lr: Array,
    scale: Array, rates: Array | None = None, decays: Array | None = None, *, alpha: float,
    eps: float, weight_decay: float, momentum: float,
) -> Any:  # fmt: skip
    """See :func:`flagstone.ops.adaptive_updates.rmsprop_update`."""
    if not in_place(RMSPROP, p, g, v, m, velocity, rates, decays):
        return NotImplemented
    arrays = (p, g, v, m, velocity, lr, scale, rates, decays)
    numbers = (weight_decay, *factors(alpha), eps, momentum)
    over(RMSPROP[p.dtype], p.size, *arrays, *numbers, p.size)
    return ()


@declines
def adagrad_update(
    p: Array, g: Array, total: Array, t: Array, lr: Array, scale: Array,
    rates: Array | None = None, decays: Array | None = None, *, lr_decay: float, eps: float,
    weight_decay: float,
) -> Any:  # fmt: skip
    """See :func:`flagstone.ops.adaptive_updates.adagrad_update`."""
    if not in_place(ADAGRAD, p, g, total, rates, decays):
        return NotImplemented
    arrays = (p, g, total, t, lr, scale, rates, decays)
    over(ADAGRAD[p.dtype], p.size, *arrays, weight_decay, lr_decay, eps, p.size)
    count(t, scale)
    return ()


@declines
def adadelta_update(
    p: Array, g: Array, v: Array, moved: Array, lr: Array, scale: Array,
    rates: Array | None = None, decays: Array | None = None, *, rho: float, eps: float,
    weight_decay: float,
) -> Any:  # fmt: skip
    """See :func:`flagstone.ops.adaptive_updates.adadelta_update`."""
    if not in_place(ADADELTA, p, g, v, moved, rates, decays):
        return NotImplemented
    arrays = (p, g, v, moved, lr, scale, rates, decays)
    over(ADADELTA[p.dtype], p.size, *arrays, weight_decay, *factors(rho), eps, p.size)
    return ()


@declines
def lion_update(
    p: Array, g: Array, m: Array, lr: Array, scale: Array, rates: Array | None = None,
    decays: Array | None = None, *, beta1: float, beta2: float, weight_decay: float,
) -> Any:  # fmt: skip
    """See :func:`flagstone.ops.adaptive_updates.lion_update`."""
    if not in_place(LION, p, g, m, rates, decays):
        return NotImplemented
    arrays = (p, g, m, lr, scale, rates, decays)
    over(LION[p.dtype], p.size, *arrays, weight_decay, *factors(beta1), *factors(beta2), p.size)
    return ()


@declines
def momentum_direction(
    g: Array, m: Array, direction: Array, scale: Array, *, momentum: float, nesterov: bool
) -> Any:
    """See :func:`flagstone.ops.layerwise_updates.momentum_direction`."""
    if not in_place(MOMENTUM_DIRECTION, g, m, direction):
        return NotImplemented
    arguments = (g, m, direction, scale, *factors(momentum), nesterov, g.size)
    over(MOMENTUM_DIRECTION[g.dtype], g.size, *arguments)
    return ()


@declines
def trust_update(
    p: Array, direction: Array, lr: Array, factor: Array | None = None, *, rate: float = 1.0
) -> Any:
    """See :func:`flagstone.ops.layerwise_updates.trust_update`."""
    if not in_place(TRUST, p, direction):
        return NotImplemented
    size, length = norm(p), norm(direction)
    over(TRUST[p.dtype], p.size, p, direction, lr, factor, size, length, rate, p.size)
    return ()


@declines
def limit(x: Array, bound: Array) -> Any:
    """See :func:`flagstone.ops.update_wrappers.limit`."""
    if not in_place(LIMIT, x):
        return NotImplemented
    over(LIMIT[x.dtype], x.size, x, bound, x.size)
    return ()


@declines
def lookahead_update(
    p: Array, slow: Array, t: Array, factor: Array | None = None, *, k: int, alpha: float
) -> Any:
    """See :func:`flagstone.ops.update_wrappers.lookahead_update`."""
    if not in_place(LOOKAHEAD, p, slow):
        return NotImplemented
    over(LOOKAHEAD[p.dtype], p.size, p, slow, t, factor, k, alpha, p.size)
    launch(COUNT_TO[t.dtype], (1, 1, 1), (1, 1, 1), 0, (t, factor, k))
    return ()


@declines
def average_update(
    average: Array, p: Array, t: Array, factor: Array | None = None, *, decay: float
) -> Any:
    """See :func:`flagstone.ops.update_wrappers.average_update`."""
    if not in_place(AVERAGE, average, p):
        return NotImplemented
    over(AVERAGE[p.dtype], p.size, average, p, t, factor, decay, p.size)
    count(t, factor)
    return ()


@declines
def interpolate(out: Array, x: Array, *, weight: float) -> Any:
    """See :func:`flagstone.ops.update.interpolate`."""
    if not in_place(MIX, out):
        return NotImplemented
    over(MIX[out.dtype], out.size, out, contiguous(x), 1 - weight, weight, out.size)
    return ()


@declines
def accumulate(out: Array, x: Array) -> Any:
    """See :func:`flagstone.ops.update.accumulate`."""
    if not in_place(ACCUMULATE, out):
        return NotImplemented
    over(ACCUMULATE[out.dtype], out.size, out, contiguous(x), out.size)
    return ()
