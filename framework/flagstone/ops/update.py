"""Ops that write to an array in place: what a training step does after the backward pass.

They act on the flat buffers in which a model's parameters, gradients and optimizer states live, so
each is one pass over one array. Learning rates, scales and counters are arrays of shape (): nothing
here is read by the host. ``scale`` multiplies the gradient (1 / batch size, times clipping).
Shapes and dtypes must be equal: writing neither broadcasts nor casts.
"""

from __future__ import annotations

import math
from typing import Any

from flagstone.errors import InputError, ShapeError
from flagstone.ops.checks import floating, holds, same_dtype
from flagstone.ops.door import op
from flagstone.tensors import Tensor


@op(mutates=("out",), numbers=("x",))
def assign(xp: Any, out: Any, x: Any) -> Any:
    """``out[...] = x``, a tensor like ``out`` or a number."""
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
    out[...] = out * float(1 - weight) + x * float(weight)
    return ()


@assign.check
def _(out: Any, x: Any) -> None:
    if isinstance(x, Tensor):
        _alike("assign", out=out, x=x)
    else:
        holds("assign", "x", x, out)


@accumulate.check
def _(out: Any, x: Any) -> None:
    _alike("accumulate", out=out, x=x)


@interpolate.check
def _(out: Any, x: Any, *, weight: float) -> None:
    floating("interpolate", out=out)
    _alike("interpolate", out=out, x=x)


def _alike(op: str, **given: Any) -> None:
    """All tensors given have one dtype and one shape."""
    same_dtype(op, **given)
    tensors = {name: t for name, t in given.items() if t is not None}
    if len({t.shape for t in tensors.values()}) > 1:
        listed = ", ".join(f"{name} {t.shape}" for name, t in tensors.items())
        raise ShapeError(f"{op}: expected one shape; got {listed}")


def _flat(op: str, like: dict[str, Any], scalars: dict[str, Any]) -> None:
    """The state of an optimizer: arrays (n,) and scalars (), all of one floating dtype."""
    _alike(op, **like)
    p = like["p"]
    floating(op, p=p)
    same_dtype(op, p=p, **scalars)
    if p.ndim != 1:
        raise ShapeError(f"{op}: p expected one axis, as flat parameters have; got {p.shape}")
    for name, t in scalars.items():
        if t.shape != ():
            raise ShapeError(f"{op}: {name} expected shape (); got {t.shape}")


@op(mutates=("p", "velocity"), optional=("velocity",))
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


@sgd_update.check
def _(
    p: Any, g: Any, velocity: Any, lr: Any, scale: Any, *, momentum: float, nesterov: bool,
    weight_decay: float,
) -> None:  # fmt: skip
    _flat("sgd_update", {"p": p, "g": g, "velocity": velocity}, {"lr": lr, "scale": scale})
    if (velocity is None) != (not momentum):
        raise InputError(
            "sgd_update: expected velocity with momentum and None without; got "
            f"momentum {momentum} and velocity {'None' if velocity is None else velocity.shape}"
        )


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


@adam_update.check
def _(p: Any, g: Any, m: Any, v: Any, t: Any, lr: Any, scale: Any, **_: Any) -> None:
    _flat("adam_update", {"p": p, "g": g, "m": m, "v": v}, {"t": t, "lr": lr, "scale": scale})


@op(differentiable=False)
def norm(xp: Any, x: Any) -> Any:
    """The Euclidean norm of all values of ``x``, shape ()."""
    return xp.sqrt(xp.sum(x * x, dtype=x.dtype))


@norm.check
def _(x: Any) -> None:
    floating("norm", x=x)
