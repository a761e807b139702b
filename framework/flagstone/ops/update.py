"""Ops that write to an array in place: what a training step does after the backward pass.

They act on the flat buffers in which a model's parameters, gradients and optimizer states live, so
each is one pass over one array. Learning rates, scales and counters are arrays of shape (): nothing
here is read by the host. ``scale`` multiplies the gradient (1 / batch size, times clipping).
"""

from __future__ import annotations

import math
from typing import Any

from flagstone.ops.door import op


@op(mutates=("out",))
def assign(xp: Any, out: Any, x: Any) -> Any:
    """``out[...] = x``."""
    out[...] = x
    return ()


@op(mutates=("out",))
def accumulate(xp: Any, out: Any, x: Any) -> Any:
    """``out += x``."""
    out[...] = out + x
    return ()


@op(mutates=("out",))
def interpolate(xp: Any, out: Any, x: Any, *, weight: float) -> Any:
    """``out = (1 - weight) * out + weight * x``."""
    out[...] = out * (1 - weight) + x * weight
    return ()


@op(mutates=("p", "velocity"))
def sgd_update(
    xp: Any, p: Any, g: Any, velocity: Any, lr: Any, scale: Any, *, momentum: float,
    nesterov: bool, weight_decay: float,
) -> Any:  # fmt: skip
    """Stochastic gradient descent, with momentum as in Sutskever et al. (ICML 2013), eq. 1-4,
    in PyTorch's form: ``v = momentum*v + g; p -= lr * (g + momentum*v if nesterov else v)``.

    ``velocity`` is ``None`` without momentum. ``weight_decay * p`` is added to the gradient.
    """
    g = g * scale
    if weight_decay:
        g = g + p * weight_decay
    if momentum:
        velocity[...] = velocity * momentum + g
        g = g + velocity * momentum if nesterov else velocity
    p[...] = p - g * lr
    return ()


@op(mutates=("p", "m", "v", "t"))
def adam_update(
    xp: Any, p: Any, g: Any, m: Any, v: Any, t: Any, lr: Any, scale: Any, *, beta1: float,
    beta2: float, eps: float, weight_decay: float, decoupled: bool,
) -> Any:  # fmt: skip
    """Adam (Kingma & Ba, ICLR 2015, algorithm 1); ``decoupled`` weight decay makes it AdamW
    (Loshchilov & Hutter, ICLR 2019, algorithm 2). ``t`` counts the steps, float, shape ()."""
    t[...] = t + 1
    g = g * scale
    if weight_decay and not decoupled:
        g = g + p * weight_decay
    m[...] = m * beta1 + g * (1 - beta1)
    v[...] = v * beta2 + (g * g) * (1 - beta2)
    correct1 = -xp.expm1(t * math.log(beta1)) if beta1 else 1.0  # 1 - beta1**t, exact near 0
    correct2 = -xp.expm1(t * math.log(beta2)) if beta2 else 1.0
    if weight_decay and decoupled:
        p[...] = p - p * (lr * weight_decay)
    p[...] = p - (m * (lr / correct1)) / (xp.sqrt(v / correct2) + eps)
    return ()


@op(differentiable=False)
def norm(xp: Any, x: Any) -> Any:
    """The Euclidean norm of all values of ``x``, shape ()."""
    return xp.sqrt(xp.sum(x * x, dtype=x.dtype))
