"""Optimizers' updates of flat arrays: gradient descent and the family of Adam."""

from __future__ import annotations

import math
from typing import Any

from flagstone.backend import declines
from flagstone_cupy.kernel import Family, family
from flagstone_cupy.launch import Array, launch, over

FLOATS = ("float", "double")
COUNT_STEP = family("update.cu", "count_step", T=FLOATS)
SGD = family("update.cu", "sgd_update", T=FLOATS)
ADAM = family("update.cu", "adam_update", T=FLOATS)
NADAM_STEP = family("update.cu", "nadam_step", T=FLOATS)
NADAM = family("update.cu", "nadam_update", T=FLOATS)
RADAM = family("update.cu", "radam_update", T=FLOATS)
LAMB = family("update.cu", "lamb_direction", T=FLOATS)


@declines
def sgd_update(
    p: Array, g: Array, velocity: Array | None, lr: Array, scale: Array,
    rates: Array | None = None, decays: Array | None = None, t: Array | None = None, *,
    momentum: float, nesterov: bool, weight_decay: float, dampening: float = 0.0,
) -> Any:  # fmt: skip
    """See :func:`flagstone.ops.update.sgd_update`."""
    if not in_place(SGD, p, g, velocity, rates, decays):
        return NotImplemented
    step = (weight_decay, momentum, dampening, nesterov, p.size)
    over(SGD[p.dtype], p.size, p, g, velocity, lr, scale, rates, decays, t, *step)
    if t is not None:
        count(t, scale)
    return ()


@declines
def adam_update(
    p: Array, g: Array, m: Array, v: Array, t: Array, lr: Array, scale: Array,
    rates: Array | None = None, decays: Array | None = None, *, beta1: float, beta2: float,
    eps: float, weight_decay: float, decoupled: bool,
) -> Any:  # fmt: skip
    """See :func:`flagstone.ops.update.adam_update`."""
    if not in_place(ADAM, p, g, m, v, rates, decays):
        return NotImplemented
    count(t, scale)
    means = (*factors(beta1), log(beta1), *factors(beta2), log(beta2))
    arrays = (p, g, m, v, t, lr, scale, rates, decays)
    over(ADAM[p.dtype], p.size, *arrays, weight_decay, decoupled, *means, eps, p.size)
    return ()


@declines
def nadam_update(
    p: Array, g: Array, m: Array, v: Array, t: Array, product: Array, lr: Array, scale: Array,
    rates: Array | None = None, decays: Array | None = None, *, beta1: float, beta2: float,
    eps: float, weight_decay: float, decoupled: bool, momentum_decay: float,
) -> Any:  # fmt: skip
    """See :func:`flagstone.ops.adaptive_updates.nadam_update`."""
    if not in_place(NADAM, p, g, m, v, rates, decays):
        return NotImplemented
    slope = momentum_decay * math.log(0.96)
    launch(NADAM_STEP[p.dtype], (1, 1, 1), (1, 1, 1), 0, (t, product, scale, beta1, slope))
    means = (*factors(beta1), *factors(beta2), log(beta2), slope)
    arrays = (p, g, m, v, t, product, lr, scale, rates, decays)
    over(NADAM[p.dtype], p.size, *arrays, weight_decay, decoupled, *means, eps, p.size)
    return ()


@declines
def radam_update(
    p: Array, g: Array, m: Array, v: Array, t: Array, lr: Array, scale: Array,
    rates: Array | None = None, decays: Array | None = None, *, beta1: float, beta2: float,
    eps: float, weight_decay: float, decoupled: bool,
) -> Any:  # fmt: skip
    """See :func:`flagstone.ops.adaptive_updates.radam_update`."""
    if not in_place(RADAM, p, g, m, v, rates, decays):
        return NotImplemented
    count(t, scale)
    means = (*factors(beta1), log(beta1), *factors(beta2), beta2, log(beta2))
    arrays = (p, g, m, v, t, lr, scale, rates, decays)
    over(RADAM[p.dtype], p.size, *arrays, weight_decay, decoupled, *means, eps, p.size)
    return ()


@declines
def lamb_direction(
    p: Array, g: Array, m: Array, v: Array, direction: Array, t: Array, scale: Array,
    decays: Array | None = None, *, beta1: float, beta2: float, eps: float, weight_decay: float,
) -> Any:  # fmt: skip
    """See :func:`flagstone.ops.layerwise_updates.lamb_direction`."""
    if not in_place(LAMB, p, g, m, v, direction, decays):
        return NotImplemented
    count(t, scale)
    means = (*factors(beta1), log(beta1), *factors(beta2), log(beta2))
    arrays = (p, g, m, v, direction, t, scale, decays)
    over(LAMB[p.dtype], p.size, *arrays, weight_decay, *means, eps, p.size)
    return ()


def in_place(kernels: Family, p: Array, *others: Array | None) -> bool:
    """Whether the kernels serve the dtype, and all arrays are as they lie in flat buffers."""
    given = (p, *(a for a in others if a is not None))
    return p.dtype in kernels and all(a.flags.c_contiguous for a in given)


def count(t: Array, scale: Array | None) -> None:
    """``t += 1`` on the device, unless a step of that scale is left out."""
    launch(COUNT_STEP[t.dtype], (1, 1, 1), (1, 1, 1), 0, (t, scale))


def factors(beta: float) -> tuple[float, float]:
    """A running mean's factors, the second rounded once."""
    return beta, 1 - beta


def log(beta: float) -> float:
    return math.log(beta) if beta else -math.inf
