"""Ops that write to an array in place: what a training step does after the backward pass.

They act on the flat buffers in which a model's parameters, gradients and optimizer states live, so
each is one pass over one array. Learning rates, scales and counters are arrays of shape (): nothing
here is read by the host. ``scale`` multiplies the gradient (1 / batch size, times clipping).
Shapes and dtypes must be equal, or it is a ``ShapeError`` or a ``DTypeError`` before anything is
written: writing neither broadcasts nor casts.
"""

from __future__ import annotations

from typing import Any

from flagstone.errors import InputError
from flagstone.ops.checks import alike, floating, holds
from flagstone.ops.door import op
from flagstone.ops.update_parts import correction, enter, flat, put
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
        to, new = out.array, x.array
        if to.dtype is not new.dtype or to.shape != new.shape:
            alike("assign", out=out, x=x)
    else:
        holds("assign", "x", x, out)


@accumulate.check
def _(out: Any, x: Any) -> None:
    alike("accumulate", out=out, x=x)


@interpolate.check
def _(out: Any, x: Any, *, weight: float) -> None:
    floating("interpolate", out=out)
    alike("interpolate", out=out, x=x)


@op(mutates=("p", "velocity", "t"), optional=("velocity",))
def sgd_update(
    xp: Any, p: Any, g: Any, velocity: Any, lr: Any, scale: Any, rates: Any = None,
    decays: Any = None, t: Any = None, *, momentum: float, nesterov: bool, weight_decay: float,
    dampening: float = 0.0,
) -> Any:  # fmt: skip
    """Stochastic gradient descent, with momentum as in Sutskever et al. (ICML 2013), eq. 1-4, in
    PyTorch's form: ``v = momentum*v + (1 - dampening)*g; p -= lr * (g + momentum*v if nesterov
    else v)``, where the first step is not dampened.

    ``velocity`` is ``None`` without momentum, ``t``, which counts the steps, without dampening.
    ``weight_decay * p`` is added to the gradient; see :mod:`flagstone.ops.update_parts`.
    """
    g, lr = enter(xp, p, g, lr, scale, rates, decays, weight_decay)
    if momentum:
        fresh = g
        if dampening:
            fresh = g * (1 - xp.clip(t, 0.0, 1.0) * dampening)
            put(xp, scale, t, t + 1)
        put(xp, scale, velocity, velocity * momentum + fresh)
        g = g + velocity * momentum if nesterov else velocity
    put(xp, scale, p, p - g * lr)
    return ()


_flat_sgd = flat(sgd_update, "lr", "scale", "t")


@sgd_update.check
def _(
    p: Any, g: Any, velocity: Any, lr: Any, scale: Any, rates: Any = None, decays: Any = None,
    t: Any = None, *, momentum: float, nesterov: bool, weight_decay: float, dampening: float = 0.0,
) -> None:  # fmt: skip
    _flat_sgd(p, g, velocity, lr, scale, rates, decays, t)
    if (velocity is None) != (not momentum):
        raise InputError(
            "sgd_update: expected velocity with momentum and None without; got "
            f"momentum {momentum} and velocity {'None' if velocity is None else velocity.shape}"
        )
    if (t is None) != (not dampening):
        raise InputError(
            "sgd_update: expected t with dampening and None without; got "
            f"dampening {dampening} and t {'None' if t is None else t.shape}"
        )


@op(mutates=("p", "m", "v", "t"))
def adam_update(
    xp: Any, p: Any, g: Any, m: Any, v: Any, t: Any, lr: Any, scale: Any, rates: Any = None,
    decays: Any = None, *, beta1: float, beta2: float, eps: float, weight_decay: float,
    decoupled: bool,
) -> Any:  # fmt: skip
    """Adam (Kingma & Ba, ICLR 2015, algorithm 1); ``decoupled`` weight decay makes it AdamW
    (Loshchilov & Hutter, ICLR 2019, algorithm 2). ``t`` counts the steps, float, shape ()."""
    now = t + 1
    put(xp, scale, t, now)
    g, lr = enter(xp, p, g, lr, scale, rates, decays, weight_decay, decoupled)
    put(xp, scale, m, m * beta1 + g * (1 - beta1))
    put(xp, scale, v, v * beta2 + (g * g) * (1 - beta2))
    root = xp.sqrt(v / correction(xp, beta2, now)) + eps
    put(xp, scale, p, p - (m * (lr / correction(xp, beta1, now))) / root)
    return ()


flat(adam_update, "t", "lr", "scale")


@op(differentiable=False)
def norm(xp: Any, x: Any) -> Any:
    """The Euclidean norm of all values of ``x``, shape ()."""
    return xp.sqrt(xp.sum(x * x, dtype=x.dtype))


@norm.check
def _(x: Any) -> None:
    floating("norm", x=x)
