"""Normalisation by the batch's own mean and variance."""

from __future__ import annotations

import math
from typing import Any

from flagstone.errors import ShapeError
from flagstone.ops.checks import floating, number, same_dtype
from flagstone.ops.door import op
from flagstone.ops.reduction import sum as sum_
from flagstone.tape import state
from flagstone.tensors import Tensor


@op
def batch_norm(xp: Any, x: Any, weight: Any, bias: Any, *, eps: float) -> Any:
    """``(x - mean) / sqrt(var + eps) * weight + bias`` per channel (Ioffe & Szegedy, ICML 2015).

    Args:
        x: (..., c); mean and variance are taken over all axes but the last.
        weight: (c,); of float32 in a mixed precision, and then so are the statistics.
        bias: (c,).
        eps: added to the variance; above 0.

    Returns:
        The output (..., c), the means (c,) and the variances (c,), those divided by the count.

    Raises:
        ShapeError: ``x`` has less than two axes, the parameters are not of shape (c,), or there is
            no more than one value per channel.
        DTypeError: a dtype is not floating, or they differ.
        InputError: ``eps`` is no number above 0.
    """
    over = tuple(range(len(x.shape) - 1))
    given, x = x.dtype, _as(xp, x, weight)
    mean = xp.mean(x, axis=over)
    centred = x - mean
    var = xp.mean(centred * centred, axis=over)
    y = centred * (weight / xp.sqrt(var + float(eps))) + bias
    return y if y.dtype == given else xp.astype(y, given), mean, var


def _as(xp: Any, x: Any, weight: Any) -> Any:
    """``x`` in the dtype of the weights."""
    return x if x.dtype == weight.dtype else xp.astype(x, weight.dtype)


@batch_norm.check
def _(x: Any, weight: Any, bias: Any, *, eps: float) -> None:
    floating("batch_norm", x=x)
    same_dtype("batch_norm", x=x, weight=weight, bias=bias)
    if x.ndim < 2 or weight.shape != x.shape[-1:] or bias.shape != x.shape[-1:]:
        raise ShapeError(
            f"batch_norm: expected x (..., {weight.shape[-1] if weight.ndim else '?'}) of at least "
            f"two axes, with weight and bias of its last axis; got x {x.shape}, "
            f"weight {weight.shape}, bias {bias.shape}"
        )
    if math.prod(x.shape[:-1]) < 2 or not x.shape[-1]:
        raise ShapeError(
            "batch_norm: expected channels of more than one value, whose variance is 0; "
            f"got x {x.shape}"
        )
    number("batch_norm", "eps", eps, least=0, above=True)


@batch_norm.pullback
def _(dys: Any, ys: Any, x: Tensor, weight: Tensor, eps: float) -> Any:
    """Ioffe & Szegedy's backward pass, in one op where its own gradient is not wanted."""
    dy, d_mean, d_var = dys
    _, mean, var = ys
    share = 1.0 / math.prod(x.shape[:-1])
    centred = x - mean if d_var is not None or (dy is not None and state.grad_enabled) else None
    d_x = d_weight = d_bias = None
    if dy is not None and centred is None:
        d_x, d_weight, d_bias = batch_norm_grad(dy, x, mean, var, weight, eps=eps)
    elif dy is not None:
        over = tuple(range(x.ndim - 1))
        scale = (var + float(eps)) ** -0.5
        normal = centred * scale
        d_bias = sum_(dy, axis=over)
        d_weight = sum_(dy * normal, axis=over)
        d_x = (dy - d_bias * share - normal * (d_weight * share)) * (scale * weight)
    if d_mean is not None:
        d_x = d_mean * share + x * 0.0 if d_x is None else d_x + d_mean * share
    if d_var is not None:
        through = centred * (d_var * (2.0 * share))
        d_x = through if d_x is None else d_x + through
    return (d_x, d_weight, d_bias)


@op(differentiable=False)
def batch_norm_grad(
    xp: Any, g: Any, x: Any, mean: Any, var: Any, weight: Any, *, eps: float
) -> Any:
    """The gradients of :func:`batch_norm`'s x, weight and bias from that of its output.

    Args:
        g, x: (..., c), the gradient of the output, and the input.
        mean, var, weight: (c,), what the forward pass found and was given.
        eps: as there.
    """
    over = tuple(range(len(x.shape) - 1))
    share = 1.0 / math.prod(x.shape[:-1])
    scale = 1 / xp.sqrt(var + float(eps))
    given, g, x = x.dtype, _as(xp, g, weight), _as(xp, x, weight)
    normal = (x - mean) * scale
    d_bias = xp.sum(g, axis=over, dtype=g.dtype)
    d_weight = xp.sum(g * normal, axis=over, dtype=g.dtype)
    d_x = (g - d_bias * share - normal * (d_weight * share)) * (scale * weight)
    return d_x if d_x.dtype == given else xp.astype(d_x, given), d_weight, d_bias


@batch_norm_grad.check
def _(g: Any, x: Any, mean: Any, var: Any, weight: Any, *, eps: float) -> None:
    floating("batch_norm_grad", x=x)
    same_dtype("batch_norm_grad", g=g, x=x, mean=mean, var=var, weight=weight)
    channels = {"mean": mean, "var": var, "weight": weight}
    if g.shape != x.shape or x.ndim < 2 or not x.size:
        raise ShapeError(
            f"batch_norm_grad: expected g and x of one shape (..., c); got {g.shape} and {x.shape}"
        )
    for name, t in channels.items():
        if t.shape != x.shape[-1:]:
            raise ShapeError(
                f"batch_norm_grad: {name} expected shape {x.shape[-1:]}; got {t.shape}"
            )
