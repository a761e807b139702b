"""Activations, and the softmax family."""

from __future__ import annotations

from typing import Any

from flagstone.errors import InputError, ShapeError
from flagstone.ops.checks import floating, is_integer, number, one_axis, tensors, true_or_false
from flagstone.ops.door import op
from flagstone.ops.elementwise import exp, where
from flagstone.ops.reduction import max as max_
from flagstone.ops.reduction import sum as sum_
from flagstone.ops.shape import reshape
from flagstone.tensors import Tensor


@op
def sigmoid(xp: Any, x: Any) -> Any:
    """``1 / (1 + exp(-x))``, computed so that nothing overflows.

    Raises:
        DTypeError: ``x`` is not floating.
    """
    return xp.exp(xp.minimum(x, 0)) / (1 + xp.exp(-xp.abs(x)))


@sigmoid.pullback
def _(dy: Tensor, y: Tensor) -> Any:
    return dy * y * (1.0 - y)


@op
def tanh(xp: Any, x: Any) -> Any:
    """The hyperbolic tangent.

    Raises:
        DTypeError: ``x`` is not floating.
    """
    return xp.tanh(x)


@tanh.pullback
def _(dy: Tensor, y: Tensor) -> Any:
    return dy * (1.0 - y * y)


@op
def relu(xp: Any, x: Any) -> Any:
    """``max(x, 0)``; its gradient is 0 at 0, and where ``x`` is NaN (PyTorch's is 1 there).

    Raises:
        DTypeError: ``x`` is not floating.
    """
    return xp.maximum(x, 0)


@relu.pullback
def _(dy: Tensor, y: Tensor) -> Any:
    return relu_grad(dy, y)


@op
def relu_grad(xp: Any, g: Any, kept: Any) -> Any:
    """``g`` where ``kept > 0``, else 0."""
    return xp.where(kept > 0, g, 0)


@relu_grad.check
def _(g: Any, kept: Any) -> None:
    floating("relu_grad", g=g, kept=kept)
    if g.shape != kept.shape:
        raise ShapeError(f"relu_grad: kept expected shape {g.shape}; got {kept.shape}")


@relu_grad.pullback
def _(dy: Tensor, kept: Tensor) -> Any:
    return (relu_grad(dy, kept), None)


@op
def leaky_relu(xp: Any, x: Any, *, slope: float = 0.01) -> Any:
    """``x`` where positive, else ``slope * x``; PyTorch's default slope, the lecture's is 0.1.

    Raises:
        InputError: ``slope`` is no number >= 0; the gradient is read from the output's sign.
        DTypeError: ``x`` is not floating.
    """
    return xp.maximum(x, 0) + xp.minimum(x, 0) * float(slope)


@leaky_relu.check
def _(x: Any, *, slope: float = 0.01) -> None:
    floating("leaky_relu", x=x)
    number("leaky_relu", "slope", slope, least=0)


@leaky_relu.pullback
def _(dy: Tensor, y: Tensor, slope: float) -> Any:
    return where(y > 0, dy, dy * slope)


@op
def elu(xp: Any, x: Any, *, alpha: float = 1.0) -> Any:
    """``x`` where positive, else ``alpha * (exp(x) - 1)`` (Clevert et al., ICLR 2016).

    Raises:
        InputError: ``alpha`` is no number >= 0; the gradient is read from the output's sign.
        DTypeError: ``x`` is not floating.
    """
    return xp.maximum(x, 0) + xp.expm1(xp.minimum(x, 0)) * float(alpha)


@elu.check
def _(x: Any, *, alpha: float = 1.0) -> None:
    floating("elu", x=x)
    number("elu", "alpha", alpha, least=0)


@elu.pullback
def _(dy: Tensor, y: Tensor, alpha: float) -> Any:
    return dy * where(y > 0, 1.0, y + alpha)


@op
def softplus(xp: Any, x: Any) -> Any:
    """``log(1 + exp(x))``, computed so that nothing overflows.

    Raises:
        DTypeError: ``x`` is not floating.
    """
    return xp.maximum(x, 0) + xp.log1p(xp.exp(-xp.abs(x)))


@softplus.pullback
def _(dy: Tensor, x: Tensor) -> Any:
    return dy * sigmoid(x)


def maxout(x: Tensor, pieces: int) -> Tensor:
    """The largest of every ``pieces`` neighbours on the last axis (Goodfellow et al., ICML 2013).

    Args:
        x: (..., units * pieces).
        pieces: how many linear pieces make one unit.

    Returns:
        (..., units).

    Raises:
        ShapeError: the last axis is no multiple of ``pieces``.
        InputError: ``pieces`` is no positive integer.
        DTypeError: ``x`` is of truth values.
    """
    tensors("maxout", x=x)
    if not is_integer(pieces) or pieces < 1:
        raise InputError(f"maxout: pieces expected a positive integer; got {pieces!r}")
    if x.ndim < 1 or x.shape[-1] % pieces:
        raise ShapeError(
            f"maxout: expected a last axis that is a multiple of pieces={pieces}; got {x.shape}"
        )
    units = reshape(x, (*x.shape[:-1], x.shape[-1] // pieces, pieces))
    out: Tensor = max_(units, axis=-1)
    return out


@op
def softmax(xp: Any, x: Any, *, axis: int = -1) -> Any:
    """``exp(x) / sum(exp(x))`` along one axis, without overflow; NaN where all is -inf.

    Raises:
        InputError: ``axis`` is not one axis of ``x``, or has no values.
        DTypeError: ``x`` is not floating.
    """
    e = xp.exp(x - xp.max(x, axis=axis, keepdims=True))
    return e / xp.sum(e, axis=axis, keepdims=True, dtype=x.dtype)


@softmax.pullback
def _(dy: Tensor, y: Tensor, axis: int) -> Any:
    weighted = dy * y
    return weighted - y * sum_(weighted, axis=axis, keepdims=True)


@op
def log_softmax(xp: Any, x: Any, *, axis: int = -1) -> Any:
    """The logarithm of :func:`softmax`, exact where that underflows.

    Raises:
        InputError, DTypeError: as :func:`softmax`.
    """
    x = x - xp.max(x, axis=axis, keepdims=True)
    return x - xp.log(xp.sum(xp.exp(x), axis=axis, keepdims=True, dtype=x.dtype))


@log_softmax.pullback
def _(dy: Tensor, y: Tensor, axis: int) -> Any:
    return dy - exp(y) * sum_(dy, axis=axis, keepdims=True)


@op
def logsumexp(xp: Any, x: Any, *, axis: int = -1, keepdims: bool = False) -> Any:
    """``log(sum(exp(x)))`` along one axis, without overflow; -inf where all is -inf.

    Its gradient is :func:`softmax`, so that it is NaN for all of a row with +inf in it.

    Raises:
        InputError: ``axis`` is not one axis of ``x``, or has no values; ``keepdims`` is neither
            ``True`` nor ``False``.
        DTypeError: ``x`` is not floating.
    """
    top = xp.max(x, axis=axis, keepdims=True)
    top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
    total = xp.sum(xp.exp(x - top), axis=axis, keepdims=True, dtype=x.dtype)
    nothing = total == 0  # all is -inf; the logarithm of 0 would be it with a warning
    out = xp.where(nothing, -xp.inf, xp.log(xp.where(nothing, 1, total)) + top)
    return out if keepdims else xp.squeeze(out, axis=axis)


@logsumexp.check
def _(x: Any, *, axis: int = -1, keepdims: bool = False) -> None:
    _one_axis("logsumexp", x, axis)
    true_or_false("logsumexp", keepdims=keepdims)


@logsumexp.pullback
def _(dy: Tensor, x: Tensor, axis: int) -> Any:
    return softmax(x, axis=axis) * _back(dy, x, axis)


for _op in (sigmoid, tanh, relu, softplus):
    _op.check(lambda x, _name=_op.name: floating(_name, x=x))


def _one_axis(name: str, x: Tensor, axis: int) -> None:
    floating(name, x=x)
    if not x.shape[one_axis(name, axis, x.ndim)]:
        raise InputError(f"{name}: expected at least one value along axis {axis}; got {x.shape}")


@softmax.check
def _(x: Any, *, axis: int = -1) -> None:
    _one_axis("softmax", x, axis)


@log_softmax.check
def _(x: Any, *, axis: int = -1) -> None:
    _one_axis("log_softmax", x, axis)


def _back(dy: Tensor, x: Tensor, axis: int) -> Tensor:
    """``dy`` with its reduced axis back, at length 1."""
    axis %= x.ndim
    return reshape(dy, (*x.shape[:axis], 1, *x.shape[axis + 1 :]))
