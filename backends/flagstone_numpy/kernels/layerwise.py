"""Optimizer steps that look at whole parameters: LAMB's and Muon's.

Muon's own step has no kernel: four fifths of its time are products of matrices, which are BLAS's.
"""

from __future__ import annotations

import math

import numpy as np

from flagstone_numpy.kernels.update import norm
from flagstone_numpy.kernels.update_parts import (
    Array,
    correction,
    in_blocks,
    is_left_out,
    move_mean,
    move_square,
)


def lamb_direction(
    p: Array, g: Array, m: Array, v: Array, direction: Array, t: Array, scale: Array,
    decays: Array | None = None, *, beta1: float, beta2: float, eps: float, weight_decay: float,
) -> tuple[()]:  # fmt: skip
    """See :func:`flagstone.ops.layerwise_updates.lamb_direction`."""
    if is_left_out(scale):
        return ()
    t += 1
    steps, factor = float(t), float(scale)
    root2 = math.sqrt(correction(beta2, steps))
    rate = root2 / correction(beta1, steps)

    def step(block: slice, other: Array) -> None:
        d, mb, vb = direction[block], m[block], v[block]
        move_mean(mb, g[block], factor, beta1, other)
        move_square(vb, g[block], factor, beta2, other)
        np.sqrt(vb, out=d)
        d += eps * root2
        np.divide(mb, d, out=d)
        d *= rate
        if decays is not None or weight_decay:
            np.multiply(p[block], weight_decay if decays is None else decays[block], out=other)
            d += other

    in_blocks(p, 1, step)
    return ()


def trust_update(
    p: Array, direction: Array, lr: Array, factor: Array | None = None, *, rate: float = 1.0
) -> tuple[()]:
    """See :func:`flagstone.ops.layerwise_updates.trust_update`."""
    if is_left_out(factor):
        return ()
    size, length = float(norm(p)), float(norm(direction))
    ratio = size / length if size > 0 and length > 0 else 1.0
    p -= direction * (float(lr) * rate * ratio)
    return ()


def momentum_direction(
    g: Array, m: Array, direction: Array, scale: Array, *, momentum: float, nesterov: bool
) -> tuple[()]:
    """See :func:`flagstone.ops.layerwise_updates.momentum_direction`."""
    if is_left_out(scale):
        return ()
    factor = float(scale)

    def step(block: slice, other: Array) -> None:
        d, mb = direction[block], m[block]
        move_mean(mb, g[block], factor, momentum, other)
        np.copyto(d, mb)
        if nesterov:
            move_mean(d, g[block], factor, momentum, other)

    in_blocks(g, 1, step)
    return ()
