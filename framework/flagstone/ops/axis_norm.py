"""Normalisation of each example by its own values: layer, group, instance and RMS.

They are one function, :func:`axis_norm` (:func:`rms_norm` without its mean), and differ in the
axes that the statistics are taken over. Channels are last. Weights and biases may be ``None``.
``then`` names an activation behind one of them that is done with it, a fused form of
``flagstone/fusion.py``; layers pass it where the backend claims that.
"""

from __future__ import annotations

import math
from typing import Any

from flagstone.errors import InputError, ShapeError
from flagstone.fusion import FORM_OF
from flagstone.ops.checks import axes, floating, is_integer, number, same_dtype, tensors
from flagstone.ops.door import ALL_OPS, Op, op
from flagstone.ops.reduction import sum as sum_
from flagstone.ops.reduction import sum_to
from flagstone.ops.shape import reshape
from flagstone.tape import state
from flagstone.tensors import Tensor

MACHINE_EPS = {
    "float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52,
}  # fmt: skip


def layer_norm(
    x: Tensor,
    normalized_shape: int | tuple[int, ...],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *,
    then: str | None = None,
) -> Tensor:
    """Normalise over the last axes (Ba, Kiros & Hinton, "Layer normalization", 2016, eq. 4).

    Args:
        x: (..., *normalized_shape).
        normalized_shape: of the axes that share one mean and variance.
        weight, bias: of that shape, or ``None``.
        eps: added to the variance.

    Raises:
        ShapeError: the last axes of ``x`` or a parameter have another shape.
        InputError: ``normalized_shape`` is not of positive integers; ``eps`` is no number >= 0.
        DTypeError: a dtype is not floating, or they differ.
    """
    over = _last_axes("layer_norm", x, normalized_shape, weight, bias)
    return _normalized("layer_norm", x, weight, bias, over, eps, then)


def rms_norm(
    x: Tensor,
    normalized_shape: int | tuple[int, ...],
    weight: Tensor | None = None,
    eps: float | None = None,
    *,
    then: str | None = None,
) -> Tensor:
    """Divide by the root of the mean square of the last axes (Zhang & Sennrich, NeurIPS 2019).

    Args:
        x: (..., *normalized_shape).
        normalized_shape: of the axes that share one mean square.
        weight: of that shape, or ``None``.
        eps: added to the mean square; the dtype's own epsilon by default, as in PyTorch.

    Raises:
        ShapeError, InputError, DTypeError: as :func:`layer_norm`.
    """
    over = _last_axes("rms_norm", x, normalized_shape, weight)
    eps = MACHINE_EPS[x.dtype_name] if eps is None else eps
    number("rms_norm", "eps", eps, least=0)
    y: Tensor = _with(axis_rms_norm, then)(x, weight, axis=over, eps=eps)[0]
    return y


def group_norm(
    x: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *,
    then: str | None = None,
) -> Tensor:
    """Normalise each group of neighbouring channels of each example (Wu & He, ECCV 2018, eq. 7).

    Args:
        x: (n, ..., c).
        num_groups: how many groups; it divides c.
        weight, bias: (c,), or ``None``.
        eps: added to the variance.

    Raises:
        InputError: ``num_groups`` does not divide c, or ``eps`` is no number >= 0.
        ShapeError: ``x`` has less than two axes or no more than one value per group, or a parameter
            is not of shape (c,).
        DTypeError: a dtype is not floating, or they differ.
    """
    _per_channel("group_norm", x, weight, bias)
    c = x.shape[-1]
    if not is_integer(num_groups) or num_groups < 1:
        raise InputError(f"group_norm: num_groups expected a positive integer; got {num_groups!r}")
    if c % num_groups:
        raise InputError(
            f"group_norm: num_groups expected a divisor of the {c} channels (the last axis of x); "
            f"got {num_groups}"
        )
    if math.prod(x.shape[1:]) <= num_groups:
        raise ShapeError(
            "group_norm: expected more than one value per group and example, whose variance is 0; "
            f"got x {x.shape} in {num_groups} groups"
        )
    split = (num_groups, c // num_groups)
    grouped = reshape(x, (*x.shape[:-1], *split))  # (n, ..., groups, c / groups)
    over = (*range(1, x.ndim - 1), x.ndim)
    weight, bias = (None if t is None else reshape(t, split) for t in (weight, bias))
    return reshape(_normalized("group_norm", grouped, weight, bias, over, eps, then), x.shape)


def instance_norm(
    x: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *,
    then: str | None = None,
) -> Tensor:
    """Normalise each channel of each example (Ulyanov et al., "Instance normalization", 2016).

    Args:
        x: (n, ..., c), with at least one axis between.
        weight, bias: (c,), or ``None``.
        eps: added to the variance.

    Raises:
        ShapeError: ``x`` has less than three axes or no more than one value per channel and
            example, or a parameter is not of shape (c,).
        InputError, DTypeError: as :func:`group_norm`.
    """
    _per_channel("instance_norm", x, weight, bias)
    if x.ndim < 3 or math.prod(x.shape[1:-1]) < 2:
        raise ShapeError(
            "instance_norm: x expected (n, ..., channels) with more than one value per channel and "
            f"example; got {x.shape}"
        )
    return _normalized("instance_norm", x, weight, bias, tuple(range(1, x.ndim - 1)), eps, then)


# The implementation of all four


@op(optional=("weight", "bias"))
def axis_norm(xp: Any, x: Any, weight: Any, bias: Any, *, axis: tuple[int, ...], eps: float) -> Any:
    """``(x - mean) / sqrt(var + eps) * weight + bias`` with the mean and variance over ``axis``.

    Args:
        x: floating, of any shape.
        weight, bias: of the shape of the last axes of ``x``, or ``None``.
        axis: the axes that share a mean and a variance.
        eps: added to the variance.

    Returns:
        The output, of the shape of ``x``; the means and the variances (divided by the count), where
        the axes ``axis`` have length 1.
    """
    mean = xp.mean(x, axis=axis, keepdims=True)
    centred = x - mean
    var = xp.mean(centred * centred, axis=axis, keepdims=True)
    y = centred * (1 / xp.sqrt(var + float(eps)))
    y = y if weight is None else y * weight
    return y if bias is None else y + bias, mean, var


@axis_norm.pullback
def _(
    dys: Any, ys: Any, x: Tensor, weight: Any, bias_shape: Any, need: Any, axis: Any, eps: float
) -> Any:
    dy, d_mean, d_var = dys
    _, mean, var = ys
    alone = d_mean is None and d_var is None and not state.grad_enabled
    shape = () if weight is None else weight.shape
    if dy is not None and alone and bias_shape in ((), shape):
        found = axis_norm_grad(dy, x, mean, var, weight, axis=axis, eps=eps)
        return tuple(d if wanted else None for d, wanted in zip(found, need, strict=True))
    centred = x - mean
    share = _share(x, axis)
    d_x = d_weight = d_bias = None
    if dy is not None:
        scale = (var + float(eps)) ** -0.5
        normal = centred * scale
        through = dy if weight is None else dy * weight
        d_x = _uncorrelated(through, normal, axis, share)
        d_x = (d_x - sum_(through, axis=axis, keepdims=True) * share) * scale
        d_weight = sum_to(dy * normal, weight.shape) if need[1] else None
        d_bias = sum_to(dy, bias_shape) if need[2] else None
    if d_mean is not None:
        d_x = d_mean * share + (x * 0.0 if d_x is None else d_x)
    if d_var is not None:
        through = centred * (d_var * (2.0 * share))
        d_x = through if d_x is None else d_x + through
    return (d_x, d_weight, d_bias)


@op(differentiable=False, optional=("weight",))
def axis_norm_grad(
    xp: Any, g: Any, x: Any, mean: Any, var: Any, weight: Any, *, axis: tuple[int, ...], eps: float
) -> Any:
    """The gradients of :func:`axis_norm`'s x, weight and bias from that of its output.

    Args:
        g, x: the gradient of the output, and the input.
        mean, var, weight: what the forward pass found and was given.
        axis, eps: as there.

    Returns:
        The gradients, the last two of the weight's shape; of shape () without one.
    """
    share = 1.0 / math.prod(x.shape[a] for a in axis)
    scale = 1 / xp.sqrt(var + float(eps))
    normal = (x - mean) * scale
    through = g if weight is None else g * weight
    along = xp.sum(through * normal, axis=axis, keepdims=True, dtype=g.dtype) * share
    level = xp.sum(through, axis=axis, keepdims=True, dtype=g.dtype) * share
    over = tuple(range(x.ndim - (0 if weight is None else weight.ndim)))
    d_weight = xp.sum(g * normal, axis=over, dtype=g.dtype)
    return (through - level - normal * along) * scale, d_weight, xp.sum(g, axis=over, dtype=g.dtype)


@axis_norm_grad.check
def _(g: Any, x: Any, mean: Any, var: Any, weight: Any, *, axis: Any, eps: float) -> None:
    _check_kept("axis_norm_grad", g, x, weight, axis, mean=mean, var=var)


@op(optional=("weight",))
def axis_rms_norm(xp: Any, x: Any, weight: Any, *, axis: tuple[int, ...], eps: float) -> Any:
    """``x / sqrt(mean(x²) + eps) * weight`` with the mean over ``axis``; see :func:`axis_norm`.

    Returns:
        The output and the mean squares, where the axes ``axis`` have length 1.
    """
    square = xp.mean(x * x, axis=axis, keepdims=True)
    y = x * (1 / xp.sqrt(square + float(eps)))
    return y if weight is None else y * weight, square


@axis_rms_norm.pullback
def _(dys: Any, ys: Any, x: Tensor, weight: Any, need: Any, axis: Any, eps: float) -> Any:
    dy, d_square = dys
    share = _share(x, axis)
    d_x = d_weight = None
    if dy is not None and d_square is None and not state.grad_enabled:
        found = axis_rms_norm_grad(dy, x, ys[1], weight, axis=axis, eps=eps)
        return tuple(d if wanted else None for d, wanted in zip(found, need, strict=True))
    if dy is not None:
        scale = (ys[1] + float(eps)) ** -0.5
        normal = x * scale
        d_x = _uncorrelated(dy if weight is None else dy * weight, normal, axis, share) * scale
        d_weight = sum_to(dy * normal, weight.shape) if need[1] else None
    if d_square is not None:
        through = x * (d_square * (2.0 * share))
        d_x = through if d_x is None else d_x + through
    return (d_x, d_weight)


@op(differentiable=False, optional=("weight",))
def axis_rms_norm_grad(
    xp: Any, g: Any, x: Any, square: Any, weight: Any, *, axis: tuple[int, ...], eps: float
) -> Any:
    """The gradients of :func:`axis_rms_norm`'s x and weight from that of its output.

    Args:
        g, x: the gradient of the output, and the input.
        square, weight: what the forward pass found and was given.
        axis, eps: as there.

    Returns:
        The gradients, the last of the weight's shape; of shape () without one.
    """
    scale = 1 / xp.sqrt(square + float(eps))
    normal = x * scale
    through = g if weight is None else g * weight
    along = xp.sum(through * normal, axis=axis, keepdims=True, dtype=g.dtype) * _share(x, axis)
    over = tuple(range(x.ndim - (0 if weight is None else weight.ndim)))
    return (through - normal * along) * scale, xp.sum(g * normal, axis=over, dtype=g.dtype)


@axis_rms_norm_grad.check
def _(g: Any, x: Any, square: Any, weight: Any, *, axis: Any, eps: float) -> None:
    _check_kept("axis_rms_norm_grad", g, x, weight, axis, square=square)


def _uncorrelated(g: Tensor, normal: Tensor, axis: tuple[int, ...], share: float) -> Tensor:
    """``g`` without its part along ``normal``, whose length the division keeps."""
    return g - normal * (sum_(g * normal, axis=axis, keepdims=True) * share)


def _share(x: Tensor, axis: tuple[int, ...]) -> float:
    """The weight of one value in a mean over ``axis``."""
    return 1.0 / math.prod(x.shape[a] for a in axis)


@axis_norm.check
def _(x: Any, weight: Any, bias: Any, *, axis: Any, eps: float) -> None:
    _check_axes("axis_norm", x, axis, weight=weight, bias=bias)


@axis_rms_norm.check
def _(x: Any, weight: Any, *, axis: Any, eps: float) -> None:
    _check_axes("axis_rms_norm", x, axis, weight=weight)


def _check_axes(name: str, x: Tensor, axis: Any, **parameters: Tensor | None) -> None:
    floating(name, x=x)
    same_dtype(name, x=x, **parameters)
    if not isinstance(axis, tuple) or not math.prod(x.shape[a] for a in axes(name, axis, x.ndim)):
        raise ShapeError(
            f"{name}: axis expected a tuple of axes with at least one value; got {axis!r} for x "
            f"{x.shape}"
        )
    for parameter, t in parameters.items():
        if t is not None and (t.ndim > x.ndim or t.shape != x.shape[x.ndim - t.ndim :]):
            raise ShapeError(
                f"{name}: {parameter} expected the shape of the last axes of x {x.shape}; "
                f"got {t.shape}"
            )


def _check_kept(name: str, g: Tensor, x: Tensor, weight: Any, axis: Any, **kept: Tensor) -> None:
    _check_axes(name, x, axis, weight=weight)
    same_dtype(name, g=g, x=x, **kept)
    over = axes(name, axis, x.ndim)
    shape = tuple(1 if i in over else n for i, n in enumerate(x.shape))
    if g.shape != x.shape or any(v.shape != shape for v in kept.values()):
        *first, last = (str(v.shape) for v in (g, *kept.values()))
        raise ShapeError(
            f"{name}: expected g of the shape of x {x.shape}, and {' and '.join(kept)} {shape}; "
            f"got {', '.join(first)} and {last}"
        )


def _normalized(
    name: str, x: Tensor, weight: Tensor | None, bias: Tensor | None, over: Any, eps: float,
    then: str | None,
) -> Tensor:  # fmt: skip
    number(name, "eps", eps, least=0)
    y: Tensor = _with(axis_norm, then)(x, weight, bias, axis=over, eps=eps)[0]
    return y


def _with(first: Op, then: str | None) -> Op:
    """The op, or its fused form with the activation behind it."""
    return first if then is None else ALL_OPS[FORM_OF[first.name, then]]


def _last_axes(
    name: str, x: Tensor, normalized_shape: Any, *parameters: Tensor | None
) -> tuple[int, ...]:
    """The axes of ``x`` that ``normalized_shape`` describes, which the parameters must have too."""
    given = dict(zip(("weight", "bias"), parameters, strict=False))
    _check_tensors(name, x, given)
    several = isinstance(normalized_shape, (tuple, list))
    shape = tuple(normalized_shape) if several else (normalized_shape,)
    if not all(is_integer(n) and n > 0 for n in shape):
        got = f"got {normalized_shape!r}"
        raise InputError(f"{name}: normalized_shape expected positive integers; {got}")
    if not shape or x.ndim < len(shape) or x.shape[x.ndim - len(shape) :] != shape:
        raise ShapeError(
            f"{name}: x expected shape (..., {', '.join(map(str, shape)) or 'at least one axis'}); "
            f"got {x.shape}"
        )
    for parameter, t in given.items():
        if t is not None and t.shape != shape:
            raise ShapeError(f"{name}: {parameter} expected shape {shape}; got {t.shape}")
    return tuple(range(x.ndim - len(shape), x.ndim))


def _per_channel(name: str, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> None:
    """``x`` is (n, ..., c), and the parameters are (c,)."""
    given = {"weight": weight, "bias": bias}
    _check_tensors(name, x, given)
    if x.ndim < 2:
        raise ShapeError(f"{name}: x expected (n, ..., channels); got {x.shape}")
    for parameter, t in given.items():
        if t is not None and t.shape != x.shape[-1:]:
            raise ShapeError(
                f"{name}: {parameter} expected shape {x.shape[-1:]}, one number per channel (the "
                f"last axis of x {x.shape}); got {t.shape}"
            )


def _check_tensors(name: str, x: Tensor, parameters: dict[str, Tensor | None]) -> None:
    present = {parameter: t for parameter, t in parameters.items() if t is not None}
    tensors(name, x=x, **present)
    floating(name, x=x)
    same_dtype(name, x=x, **present)
