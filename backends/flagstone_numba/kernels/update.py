"""Optimizer steps in one pass over the flat buffers, compiled.

Rates and decays of parameter groups are left to NumPy's kernels.
"""

from __future__ import annotations

import math
from typing import Any

from flagstone.backend import Traits, declines
from flagstone_numba.kernels.flat import LEAST, is_large, share_flat
from flagstone_numba.loading import loops
from flagstone_numpy.kernels.update_parts import is_left_out
from flagstone_numpy.kernels.windows import Array


@declines
@Traits(least=LEAST, serves=is_large)
def sgd_update(
    p: Array, g: Array, velocity: Array | None, lr: Array, scale: Array,
    rates: Array | None = None, decays: Array | None = None, t: Array | None = None, *,
    momentum: float, nesterov: bool, weight_decay: float, dampening: float = 0.0,
) -> Any:  # fmt: skip
    """See :func:`flagstone_numpy.kernels.update.sgd_update`."""
    run = _loops(p, rates, decays)
    if run is None:
        return NotImplemented
    if is_left_out(scale):
        return ()
    number = p.dtype.type
    rate, factor, decay = number(lr), number(scale), number(weight_decay)
    if velocity is None:
        share_flat(lambda turns: run.plain_sgd(turns, p, g, rate, factor, decay), p.size)
        return ()
    fresh = 1.0
    if t is not None:
        fresh -= dampening * min(float(t), 1.0)
        t += 1
    mu, new = number(momentum), number(fresh)
    share_flat(
        lambda turns: run.sgd(turns, p, g, velocity, rate, factor, mu, new, nesterov, decay),
        p.size,
    )
    return ()


@declines
@Traits(least=LEAST, serves=is_large)
def adam_update(
    p: Array, g: Array, m: Array, v: Array, t: Array, lr: Array, scale: Array,
    rates: Array | None = None, decays: Array | None = None, *, beta1: float, beta2: float,
    eps: float, weight_decay: float, decoupled: bool,
) -> Any:  # fmt: skip
    """See :func:`flagstone_numpy.kernels.update.adam_update`, whose folded constants these are."""
    run = _loops(p, rates, decays)
    if run is None:
        return NotImplemented
    if is_left_out(scale):
        return ()
    t += 1
    steps = float(t)
    root2 = math.sqrt(-math.expm1(steps * math.log(beta2))) if beta2 else 1.0
    correct1 = -math.expm1(steps * math.log(beta1)) if beta1 else 1.0
    number = p.dtype.type
    given = (
        number(scale), number(beta1), number(1 - beta1), number(beta2), number(1 - beta2),
        number(float(lr) * root2 / correct1), number(eps * root2),
        number(0.0 if decoupled else weight_decay),
        number(float(lr) * weight_decay if decoupled else 0.0),
    )  # fmt: skip
    share_flat(lambda turns: run.adam(turns, p, g, m, v, *given), p.size)
    return ()


def _loops(p: Array, rates: Array | None, decays: Array | None) -> Any:
    plain = rates is None and decays is None and p.size >= LEAST
    return loops("elementwise") if plain else None
