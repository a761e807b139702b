"""Updates in which every value has a rate of its own, found from its past gradients.

All are elementwise, one pass over flat arrays (n,). ``t`` counts the steps, as a float of shape ();
``lr``, ``scale``, ``rates`` and ``decays`` are what :mod:`flagstone.ops.update_parts` says.
``m`` and ``v`` are running means of the gradient and of its square.
"""

from __future__ import annotations

import math
from typing import Any

from flagstone.errors import InputError
from flagstone.ops.door import op
from flagstone.ops.update_parts import correction, enter, flat, put


@op(mutates=("p", "m", "v", "t", "product"))
def nadam_update(
    xp: Any, p: Any, g: Any, m: Any, v: Any, t: Any, product: Any, lr: Any, scale: Any,
    rates: Any = None, decays: Any = None, *, beta1: float, beta2: float, eps: float,
    weight_decay: float, decoupled: bool, momentum_decay: float,
) -> Any:  # fmt: skip
    """NAdam (Dozat, ICLR workshop 2016, algorithm 2), with the paper's warm-up of the momentum:
    ``mu_t = beta1 * (1 - 0.5 * 0.96**(t * momentum_decay))``.

    ``product``, shape (), is the product of all ``mu``; it starts at 1.
    """
    now = t + 1
    put(xp, scale, t, now)
    g, lr = enter(xp, p, g, lr, scale, rates, decays, weight_decay, decoupled)
    slope = momentum_decay * math.log(0.96)
    mu = beta1 * (1 - 0.5 * xp.exp(now * slope))
    next_mu = beta1 * (1 - 0.5 * xp.exp((now + 1) * slope))
    so_far = product * mu
    put(xp, scale, product, so_far)
    put(xp, scale, m, m * beta1 + g * (1 - beta1))
    put(xp, scale, v, v * beta2 + (g * g) * (1 - beta2))
    ahead = g * ((1 - mu) / (1 - so_far)) + m * (next_mu / (1 - so_far * next_mu))
    root = xp.sqrt(v / correction(xp, beta2, now)) + eps
    put(xp, scale, p, p - ahead * lr / root)
    return ()


flat(nadam_update, "t", "product", "lr", "scale")


@op(mutates=("p", "m", "v", "t"))
def radam_update(
    xp: Any, p: Any, g: Any, m: Any, v: Any, t: Any, lr: Any, scale: Any, rates: Any = None,
    decays: Any = None, *, beta1: float, beta2: float, eps: float, weight_decay: float,
    decoupled: bool,
) -> Any:  # fmt: skip
    """RAdam (Liu et al., ICLR 2020, algorithm 2), with PyTorch's threshold: the rate adapts once
    the approximated length of the running mean exceeds 5; until then it is momentum only."""
    now = t + 1
    put(xp, scale, t, now)
    g, lr = enter(xp, p, g, lr, scale, rates, decays, weight_decay, decoupled)
    put(xp, scale, m, m * beta1 + g * (1 - beta1))
    put(xp, scale, v, v * beta2 + (g * g) * (1 - beta2))
    mean = m / correction(xp, beta1, now)
    longest = 2 / (1 - beta2) - 1
    if longest > 5:
        # In float64: the length is a small difference of numbers as large as ``longest``.
        steps = xp.astype(now, xp.float64)
        correct = correction(xp, beta2, steps)
        length = longest - 2 * steps * xp.exp(steps * math.log(beta2)) / correct
        enough = xp.clip(length, 5.0, longest)
        rectified = (enough - 4) * (enough - 2) * longest / (
            (longest - 4) * (longest - 2) * enough
        )  # fmt: skip
        factor = xp.astype(xp.sqrt(rectified * correct), p.dtype) / (xp.sqrt(v) + eps)
        mean = mean * xp.where(length > 5, factor, xp.ones_like(factor))
    put(xp, scale, p, p - mean * lr)
    return ()


flat(radam_update, "t", "lr", "scale")


@op(mutates=("p", "m", "largest", "t"))
def adamax_update(
    xp: Any, p: Any, g: Any, m: Any, largest: Any, t: Any, lr: Any, scale: Any, rates: Any = None,
    decays: Any = None, *, beta1: float, beta2: float, eps: float, weight_decay: float,
) -> Any:  # fmt: skip
    """Adamax (Kingma & Ba, ICLR 2015, algorithm 2): ``largest`` is the running maximum of the
    gradient's magnitude (plus ``eps``, as in PyTorch), which shrinks by ``beta2`` a step."""
    now = t + 1
    put(xp, scale, t, now)
    g, lr = enter(xp, p, g, lr, scale, rates, decays, weight_decay)
    put(xp, scale, m, m * beta1 + g * (1 - beta1))
    top = xp.maximum(largest * beta2, xp.abs(g) + eps)
    put(xp, scale, largest, top)
    put(xp, scale, p, p - m * (lr / correction(xp, beta1, now)) / top)
    return ()


flat(adamax_update, "t", "lr", "scale")


@op(mutates=("p", "v", "m", "velocity"), optional=("m", "velocity"))
def rmsprop_update(
    xp: Any, p: Any, g: Any, v: Any, m: Any, velocity: Any, lr: Any, scale: Any,
    rates: Any = None, decays: Any = None, *, alpha: float, eps: float, weight_decay: float,
    momentum: float,
) -> Any:  # fmt: skip
    """RMSprop (Tieleman & Hinton, 2012; momentum as in PyTorch). With ``m``, the running mean of
    the gradient, the square is centred (Graves, arXiv:1308.0850, eq. 38-45), and no less than 0
    by rounding. ``velocity`` is ``None`` without momentum."""
    g, lr = enter(xp, p, g, lr, scale, rates, decays, weight_decay)
    put(xp, scale, v, v * alpha + (g * g) * (1 - alpha))
    square = v
    if m is not None:
        put(xp, scale, m, m * alpha + g * (1 - alpha))
        square = xp.clip(v - m * m, 0.0, None)
    step = g / (xp.sqrt(square) + eps)
    if momentum:
        put(xp, scale, velocity, velocity * momentum + step)
        step = velocity
    put(xp, scale, p, p - step * lr)
    return ()


_flat_rmsprop = flat(rmsprop_update, "lr", "scale")


@rmsprop_update.check
def _(
    p: Any, g: Any, v: Any, m: Any, velocity: Any, lr: Any, scale: Any, rates: Any = None,
    decays: Any = None, *, momentum: float, **_: Any,
) -> None:  # fmt: skip
    _flat_rmsprop(p, g, v, m, velocity, lr, scale, rates, decays)
    if (velocity is None) != (not momentum):
        raise InputError(
            "rmsprop_update: expected velocity with momentum and None without; got "
            f"momentum {momentum} and velocity {'None' if velocity is None else velocity.shape}"
        )


@op(mutates=("p", "total", "t"))
def adagrad_update(
    xp: Any, p: Any, g: Any, total: Any, t: Any, lr: Any, scale: Any, rates: Any = None,
    decays: Any = None, *, lr_decay: float, eps: float, weight_decay: float,
) -> Any:  # fmt: skip
    """Adagrad (Duchi et al., JMLR 2011, figure 1, diagonal): ``total`` is the sum of squared
    gradients; the rate is ``lr / (1 + (t - 1) * lr_decay)``, as in PyTorch."""
    g, lr = enter(xp, p, g, lr, scale, rates, decays, weight_decay)
    put(xp, scale, total, total + g * g)
    put(xp, scale, p, p - g * (lr / (1 + t * lr_decay)) / (xp.sqrt(total) + eps))
    put(xp, scale, t, t + 1)
    return ()


flat(adagrad_update, "t", "lr", "scale")


@op(mutates=("p", "v", "moved"))
def adadelta_update(
    xp: Any, p: Any, g: Any, v: Any, moved: Any, lr: Any, scale: Any, rates: Any = None,
    decays: Any = None, *, rho: float, eps: float, weight_decay: float,
) -> Any:  # fmt: skip
    """Adadelta (Zeiler, arXiv:1212.5701, algorithm 1): ``moved`` is the running mean of squared
    steps, before they are multiplied by ``lr``."""
    g, lr = enter(xp, p, g, lr, scale, rates, decays, weight_decay)
    put(xp, scale, v, v * rho + (g * g) * (1 - rho))
    step = g * xp.sqrt(moved + eps) / xp.sqrt(v + eps)
    put(xp, scale, moved, moved * rho + (step * step) * (1 - rho))
    put(xp, scale, p, p - step * lr)
    return ()


flat(adadelta_update, "lr", "scale")


@op(mutates=("p", "m"))
def lion_update(
    xp: Any, p: Any, g: Any, m: Any, lr: Any, scale: Any, rates: Any = None, decays: Any = None,
    *, beta1: float, beta2: float, weight_decay: float,
) -> Any:  # fmt: skip
    """Lion (Chen et al., NeurIPS 2023, program 1): every value moves by the rate, along the sign of
    ``beta1*m + (1 - beta1)*g``; weight decay is decoupled."""
    g, lr = enter(xp, p, g, lr, scale, rates, decays, weight_decay, decoupled=True)
    put(xp, scale, p, p - xp.sign(m * beta1 + g * (1 - beta1)) * lr)
    put(xp, scale, m, m * beta2 + g * (1 - beta2))
    return ()


flat(lion_update, "lr", "scale")
