"""Optimizer steps on flat buffers, on several threads, in blocks that stay in the cache."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from flagstone_numpy.kernels.flat import share_blocks

Array = np.ndarray
BLOCK = 16384  # values per block: five float32 streams of 64 kB lie in a 512 kB second-level cache


def sgd_update(
    p: Array, g: Array, velocity: Array | None, lr: Array, scale: Array,
    rates: Array | None = None, decays: Array | None = None, t: Array | None = None, *,
    momentum: float, nesterov: bool, weight_decay: float, dampening: float = 0.0,
) -> tuple[()]:  # fmt: skip
    """See :func:`flagstone.ops.update.sgd_update`."""
    fresh = 1.0
    if t is not None:
        fresh -= dampening * min(float(t), 1.0)
        t += 1

    def work(mine: Iterator[slice]) -> None:
        scratch = np.empty(min(p.size, BLOCK), p.dtype)
        other = np.empty_like(scratch)
        for block in mine:
            pb = p[block]
            d, o = scratch[: pb.size], other[: pb.size]
            np.multiply(g[block], scale, out=d)
            if decays is not None or weight_decay:
                np.multiply(pb, weight_decay if decays is None else decays[block], out=o)
                d += o
            if velocity is not None:
                vb = velocity[block]
                vb *= momentum
                if fresh != 1.0:
                    np.multiply(d, fresh, out=o)
                    vb += o
                else:
                    vb += d
                if nesterov:
                    np.multiply(vb, momentum, out=o)
                    d += o
                    d *= lr
                else:
                    np.multiply(vb, lr, out=d)
            else:
                d *= lr
            if rates is not None:
                d *= rates[block]
            pb -= d

    share_blocks(work, p.size, BLOCK)
    return ()


def adam_update(
    p: Array, g: Array, m: Array, v: Array, t: Array, lr: Array, scale: Array,
    rates: Array | None = None, decays: Array | None = None, *, beta1: float, beta2: float,
    eps: float, weight_decay: float, decoupled: bool,
) -> tuple[()]:  # fmt: skip
    """See :func:`flagstone.ops.update.adam_update`; both bias corrections are folded into the rate
    and epsilon: ``m/c1 / (sqrt(v/c2) + eps) = (sqrt(c2)/c1) * m / (sqrt(v) + eps*sqrt(c2))``."""
    t += 1
    steps = float(t)
    root2 = math.sqrt(-math.expm1(steps * math.log(beta2))) if beta2 else 1.0
    correct1 = -math.expm1(steps * math.log(beta1)) if beta1 else 1.0
    rate, small = float(lr) * root2 / correct1, eps * root2
    factor1, factor2 = float(scale) * (1 - beta1), float(scale) ** 2 * (1 - beta2)
    decay = decays is not None or bool(weight_decay)
    if decay and not decoupled:
        factor1, factor2 = 1 - beta1, 1 - beta2

    def work(mine: Iterator[slice]) -> None:
        scratch = np.empty(min(p.size, BLOCK), p.dtype)
        other = np.empty_like(scratch)
        for block in mine:
            pb, gb, mb, vb = p[block], g[block], m[block], v[block]
            d, decayed = scratch[: pb.size], other[: pb.size]
            if decay and not decoupled:
                np.multiply(pb, weight_decay if decays is None else decays[block], out=decayed)
                np.multiply(gb, scale, out=d)
                decayed += d
                gb = decayed
            mb *= beta1
            np.multiply(gb, factor1, out=d)
            mb += d
            vb *= beta2
            np.multiply(gb, gb, out=d)
            d *= factor2
            vb += d
            np.sqrt(vb, out=d)
            d += small
            np.divide(mb, d, out=d)
            d *= rate
            if decay and decoupled:
                if decays is None:
                    np.multiply(pb, float(lr) * weight_decay, out=decayed)
                else:
                    np.multiply(pb, decays[block], out=decayed)
                    decayed *= lr
                d += decayed
            if rates is not None:
                d *= rates[block]
            pb -= d

    share_blocks(work, p.size, BLOCK)
    return ()


def accumulate(out: Array, x: Array) -> tuple[()]:
    """``out += x``."""
    np.add(out, x, out=out)
    return ()


def norm(x: Array) -> Array:
    """The Euclidean norm; one pass, in BLAS."""
    flat = x.reshape(-1)
    return np.sqrt(np.dot(flat, flat))
