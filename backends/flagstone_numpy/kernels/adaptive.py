"""Optimizer steps on flat buffers that follow running statistics of the gradient, beyond Adam's.

As in :func:`flagstone_numpy.kernels.update.adam_update`, bias corrections are folded into the rate
and epsilon, which leaves them no pass of their own.
"""

from __future__ import annotations

import math

import numpy as np

from flagstone_numpy.kernels.update_parts import (
    Array,
    Entry,
    correction,
    in_blocks,
    is_left_out,
    move_mean,
    move_square,
)


def nadam_update(
    p: Array, g: Array, m: Array, v: Array, t: Array, product: Array, lr: Array, scale: Array,
    rates: Array | None = None, decays: Array | None = None, *, beta1: float, beta2: float,
    eps: float, weight_decay: float, decoupled: bool, momentum_decay: float,
) -> tuple[()]:  # fmt: skip
    """See :func:`flagstone.ops.adaptive_updates.nadam_update`."""
    if is_left_out(scale):
        return ()
    t += 1
    steps = float(t)
    mu, next_mu = (beta1 * (1 - 0.5 * 0.96 ** (s * momentum_decay)) for s in (steps, steps + 1))
    product *= mu
    so_far = float(product)
    of_g, of_m = (1 - mu) / (1 - so_far), next_mu / (1 - so_far * next_mu)
    root2 = math.sqrt(correction(beta2, steps))
    entry = Entry(p, g, lr, scale, rates, decays, weight_decay, decoupled)

    def step(block: slice, d: Array, other: Array, ahead: Array) -> None:
        gradient, factor = entry.gradient(block, d, other)
        mb, vb = m[block], v[block]
        move_mean(mb, gradient, factor, beta1, other)
        move_square(vb, gradient, factor, beta2, other)
        np.multiply(gradient, factor * of_g, out=ahead)
        np.multiply(mb, of_m, out=other)
        ahead += other
        np.sqrt(vb, out=d)
        d += eps * root2
        ahead /= d
        entry.descend(block, ahead, root2)

    in_blocks(p, 3, step)
    return ()


def radam_update(
    p: Array, g: Array, m: Array, v: Array, t: Array, lr: Array, scale: Array,
    rates: Array | None = None, decays: Array | None = None, *, beta1: float, beta2: float,
    eps: float, weight_decay: float, decoupled: bool,
) -> tuple[()]:  # fmt: skip
    """See :func:`flagstone.ops.adaptive_updates.radam_update`."""
    if is_left_out(scale):
        return ()
    t += 1
    steps = float(t)
    correct2 = correction(beta2, steps)
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * steps * beta2**steps / correct2
    rate = 1 / correction(beta1, steps)
    adapts = length > 5
    if adapts:
        above = (length - 4) * (length - 2) * longest
        rate *= math.sqrt(above / ((longest - 4) * (longest - 2) * length) * correct2)
    entry = Entry(p, g, lr, scale, rates, decays, weight_decay, decoupled)

    def step(block: slice, d: Array, other: Array) -> None:
        gradient, factor = entry.gradient(block, d, other)
        mb, vb = m[block], v[block]
        move_mean(mb, gradient, factor, beta1, other)
        move_square(vb, gradient, factor, beta2, other)
        if adapts:
            np.sqrt(vb, out=d)
            d += eps
            np.divide(mb, d, out=d)
        entry.descend(block, d if adapts else mb, rate, out=d)

    in_blocks(p, 2, step)
    return ()


def adamax_update(
    p: Array, g: Array, m: Array, largest: Array, t: Array, lr: Array, scale: Array,
    rates: Array | None = None, decays: Array | None = None, *, beta1: float, beta2: float,
    eps: float, weight_decay: float,
) -> tuple[()]:  # fmt: skip
    """See :func:`flagstone.ops.adaptive_updates.adamax_update`."""
    if is_left_out(scale):
        return ()
    t += 1
    rate = 1 / correction(beta1, float(t))
    entry = Entry(p, g, lr, scale, rates, decays, weight_decay)

    def step(block: slice, d: Array, other: Array) -> None:
        gradient, factor = entry.gradient(block, d, other)
        mb, top = m[block], largest[block]
        move_mean(mb, gradient, factor, beta1, other)
        top *= beta2
        np.abs(gradient, out=d)
        d *= abs(factor)
        d += eps
        np.maximum(top, d, out=top)
        np.divide(mb, top, out=d)
        entry.descend(block, d, rate)

    in_blocks(p, 2, step)
    return ()


def rmsprop_update(
    p: Array, g: Array, v: Array, m: Array | None, velocity: Array | None, lr: Array,
    scale: Array, rates: Array | None = None, decays: Array | None = None, *, alpha: float,
    eps: float, weight_decay: float, momentum: float,
) -> tuple[()]:  # fmt: skip
    """See :func:`flagstone.ops.adaptive_updates.rmsprop_update`."""
    if is_left_out(scale):
        return ()
    entry = Entry(p, g, lr, scale, rates, decays, weight_decay)

    def step(block: slice, d: Array, other: Array, root: Array) -> None:
        gradient, factor = entry.gradient(block, d, other)
        vb = v[block]
        move_square(vb, gradient, factor, alpha, other)
        if m is None:
            np.sqrt(vb, out=root)
        else:
            mb = m[block]
            move_mean(mb, gradient, factor, alpha, other)
            np.multiply(mb, mb, out=other)
            np.subtract(vb, other, out=root)
            np.maximum(root, 0, out=root)
            np.sqrt(root, out=root)
        root += eps
        np.divide(gradient, root, out=d)
        if velocity is None:
            entry.descend(block, d, factor)
            return
        moving = velocity[block]
        moving *= momentum
        d *= factor
        moving += d
        entry.descend(block, moving, out=d)

    in_blocks(p, 3, step)
    return ()


def adagrad_update(
    p: Array, g: Array, total: Array, t: Array, lr: Array, scale: Array,
    rates: Array | None = None, decays: Array | None = None, *, lr_decay: float, eps: float,
    weight_decay: float,
) -> tuple[()]:  # fmt: skip
    """See :func:`flagstone.ops.adaptive_updates.adagrad_update`."""
    if is_left_out(scale):
        return ()
    rate = 1 / (1 + float(t) * lr_decay)
    t += 1
    entry = Entry(p, g, lr, scale, rates, decays, weight_decay)

    def step(block: slice, d: Array, other: Array) -> None:
        gradient, factor = entry.gradient(block, d, other)
        sums = total[block]
        np.multiply(gradient, factor, out=other)
        other *= other
        sums += other
        np.sqrt(sums, out=other)
        other += eps
        np.divide(gradient, other, out=d)
        entry.descend(block, d, factor * rate)

    in_blocks(p, 2, step)
    return ()


def adadelta_update(
    p: Array, g: Array, v: Array, moved: Array, lr: Array, scale: Array,
    rates: Array | None = None, decays: Array | None = None, *, rho: float, eps: float,
    weight_decay: float,
) -> tuple[()]:  # fmt: skip
    """See :func:`flagstone.ops.adaptive_updates.adadelta_update`; of two roots one is taken."""
    if is_left_out(scale):
        return ()
    entry = Entry(p, g, lr, scale, rates, decays, weight_decay)

    def step(block: slice, d: Array, other: Array, ratio: Array) -> None:
        gradient, factor = entry.gradient(block, d, other)
        vb, far = v[block], moved[block]
        move_square(vb, gradient, factor, rho, other)
        np.add(far, eps, out=ratio)
        np.add(vb, eps, out=other)
        ratio /= other
        np.sqrt(ratio, out=ratio)
        np.multiply(gradient, ratio, out=d)
        move_square(far, d, factor, rho, other)
        entry.descend(block, d, factor)

    in_blocks(p, 3, step)
    return ()


def lion_update(
    p: Array, g: Array, m: Array, lr: Array, scale: Array, rates: Array | None = None,
    decays: Array | None = None, *, beta1: float, beta2: float, weight_decay: float,
) -> tuple[()]:  # fmt: skip
    """See :func:`flagstone.ops.adaptive_updates.lion_update`."""
    if is_left_out(scale):
        return ()
    entry = Entry(p, g, lr, scale, rates, decays, weight_decay, decoupled=True)

    def step(block: slice, d: Array, other: Array) -> None:
        gradient, factor = entry.gradient(block, d, other)
        mb = m[block]
        np.multiply(mb, beta1, out=d)
        np.multiply(gradient, factor * (1 - beta1), out=other)
        d += other
        np.sign(d, out=other)  # in place it is five times slower
        entry.descend(block, other)
        move_mean(mb, gradient, factor, beta2, other)

    in_blocks(p, 2, step)
    return ()
