"""References of the optimizers' rows: the papers' algorithms as they print them, in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from flagstone.testing.op_row import Array


def _enter(
    p: Array, g: Array, lr: Array, scale: Array, rates: Any, decays: Any, weight_decay: float,
    decoupled: bool = False,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """The parameter and the gradient after weight decay, and the rate."""
    rate = lr * (1.0 if rates is None else rates)
    decay = weight_decay if decays is None else decays
    if decoupled:
        return p * (1 - rate * decay), g * scale, rate
    return p, g * scale + decay * p, rate


def nadam(
    p: Array, g: Array, m: Array, v: Array, t: Array, product: Array, lr: Array, scale: Array,
    rates: Any, decays: Any, beta1: float, beta2: float, eps: float, weight_decay: float,
    decoupled: bool, momentum_decay: float,
) -> tuple[Array, ...]:  # fmt: skip
    t = t + 1
    p, g, lr = _enter(p, g, lr, scale, rates, decays, weight_decay, decoupled)
    mu, ahead = (beta1 * (1 - 0.5 * 0.96 ** (s * momentum_decay)) for s in (t, t + 1))
    product = product * mu
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    mean = ahead * m / (1 - product * ahead) + (1 - mu) * g / (1 - product)
    return p - lr * mean / (np.sqrt(v / (1 - beta2**t)) + eps), m, v, t, product


def radam(
    p: Array, g: Array, m: Array, v: Array, t: Array, lr: Array, scale: Array, rates: Any,
    decays: Any, beta1: float, beta2: float, eps: float, weight_decay: float, decoupled: bool,
) -> tuple[Array, ...]:  # fmt: skip
    t = t + 1
    p, g, lr = _enter(p, g, lr, scale, rates, decays, weight_decay, decoupled)
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    mean = m / (1 - beta1**t)
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * t * beta2**t / (1 - beta2**t)
    if length <= 5:
        return p - lr * mean, m, v, t
    r = np.sqrt(
        (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    )  # fmt: skip
    return p - lr * mean * r * np.sqrt(1 - beta2**t) / (np.sqrt(v) + eps), m, v, t


def adamax(
    p: Array, g: Array, m: Array, u: Array, t: Array, lr: Array, scale: Array, rates: Any,
    decays: Any, beta1: float, beta2: float, eps: float, weight_decay: float,
) -> tuple[Array, ...]:  # fmt: skip
    t = t + 1
    p, g, lr = _enter(p, g, lr, scale, rates, decays, weight_decay)
    m, u = beta1 * m + (1 - beta1) * g, np.maximum(beta2 * u, np.abs(g) + eps)
    return p - lr / (1 - beta1**t) * m / u, m, u, t


def rmsprop(
    p: Array, g: Array, v: Array, m: Any, velocity: Any, lr: Array, scale: Array, rates: Any,
    decays: Any, alpha: float, eps: float, weight_decay: float, momentum: float,
) -> tuple[Array, ...]:  # fmt: skip
    p, g, lr = _enter(p, g, lr, scale, rates, decays, weight_decay)
    v = alpha * v + (1 - alpha) * g**2
    kept = [v]
    square = v
    if m is not None:
        kept.append(alpha * m + (1 - alpha) * g)
        square = np.maximum(v - kept[-1] ** 2, 0)
    step = g / (np.sqrt(square) + eps)
    if velocity is not None:
        step = momentum * velocity + step
        kept.append(step)
    return p - lr * step, *kept


def adagrad(
    p: Array, g: Array, total: Array, t: Array, lr: Array, scale: Array, rates: Any, decays: Any,
    lr_decay: float, eps: float, weight_decay: float,
) -> tuple[Array, ...]:  # fmt: skip
    p, g, lr = _enter(p, g, lr, scale, rates, decays, weight_decay)
    total = total + g**2
    return p - lr / (1 + t * lr_decay) * g / (np.sqrt(total) + eps), total, t + 1


def adadelta(
    p: Array, g: Array, v: Array, moved: Array, lr: Array, scale: Array, rates: Any, decays: Any,
    rho: float, eps: float, weight_decay: float,
) -> tuple[Array, ...]:  # fmt: skip
    p, g, lr = _enter(p, g, lr, scale, rates, decays, weight_decay)
    v = rho * v + (1 - rho) * g**2
    step = np.sqrt(moved + eps) / np.sqrt(v + eps) * g
    return p - lr * step, v, rho * moved + (1 - rho) * step**2


def lion(
    p: Array, g: Array, m: Array, lr: Array, scale: Array, rates: Any, decays: Any, beta1: float,
    beta2: float, weight_decay: float,
) -> tuple[Array, ...]:  # fmt: skip
    p, g, lr = _enter(p, g, lr, scale, rates, decays, weight_decay, decoupled=True)
    return p - lr * np.sign(beta1 * m + (1 - beta1) * g), beta2 * m + (1 - beta2) * g


def lamb(
    p: Array, g: Array, m: Array, v: Array, direction: Array, t: Array, scale: Array, decays: Any,
    beta1: float, beta2: float, eps: float, weight_decay: float,
) -> tuple[Array, ...]:  # fmt: skip
    t = t + 1
    g = scale * g
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    r = m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps)
    return m, v, r + (weight_decay if decays is None else decays) * p, t


def trust(p: Array, direction: Array, lr: Array, rate: float = 1.0) -> Array:
    size, length = np.linalg.norm(p), np.linalg.norm(direction)
    return p - lr * rate * (size / length if size and length else 1.0) * direction


def momentum(
    g: Array, m: Array, direction: Array, scale: Array, momentum: float, nesterov: bool
) -> tuple[Array, ...]:
    g = g * scale
    m = m + (1 - momentum) * (g - m)
    return m, g + momentum * (m - g) if nesterov else m


def muon(
    p: Array, direction: Array, lr: Array, coefficients: tuple[float, float, float], steps: int,
    eps: float, weight_decay: float, adjustment: float, rate: float = 1.0,
) -> Array:  # fmt: skip
    """The polynomial of the singular values, which is what the iteration is."""
    a, b, c = coefficients
    u, s, v = np.linalg.svd(direction, full_matrices=False)
    s = s / max(np.sqrt(np.sum(s**2)), eps)
    for _ in range(steps):
        s = a * s + b * s**3 + c * s**5
    return p * (1 - lr * rate * weight_decay) - lr * rate * adjustment * (u * s) @ v


def lookahead(p: Array, slow: Array, t: Array, k: int, alpha: float) -> tuple[Array, ...]:
    if t + 1 < k:
        return p, slow, t + 1
    slow = (1 - alpha) * slow + alpha * p
    return slow, slow, np.zeros_like(t)


def average(average: Array, p: Array, t: Array, decay: float) -> tuple[Array, ...]:
    return (decay * average + (1 - decay) * p if t else p), t + 1
