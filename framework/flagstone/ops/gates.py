"""Activations that let ``x`` through by a gate: ``x`` times something from 0 to 1; and selu."""

from __future__ import annotations

import math
from typing import Any

from flagstone.errors import InputError
from flagstone.ops.activation import elu, sigmoid, softplus, tanh
from flagstone.ops.checks import alike, floating, tensors
from flagstone.ops.door import op
from flagstone.ops.elementwise import exp, where
from flagstone.ops.special import normal_cdf
from flagstone.tensors import Tensor

_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805
_DENSITY = 1.0 / math.sqrt(2.0 * math.pi)  # of the standard normal distribution, at 0
_TANH_SCALE, _TANH_CUBIC = math.sqrt(2.0 / math.pi), 0.044715


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """``x`` times the probability that a standard normal number is below it.

    Hendrycks & Gimpel, "Gaussian error linear units", 2016.

    Args:
        x: floating, of any shape.
        approximate: ``"none"``, or ``"tanh"`` for ``0.5 * x * (1 + tanh(sqrt(2/pi) * (x + 0.044715
            * x**3)))``, within 5e-4 of it.

    Raises:
        InputError: ``approximate`` is something else.
        DTypeError: ``x`` is not floating.
    """
    tensors("gelu", x=x)
    floating("gelu", x=x)
    if not isinstance(approximate, str) or approximate not in ("none", "tanh"):
        raise InputError(f"gelu: approximate expected 'none' or 'tanh'; got {approximate!r}")
    y: Tensor = gelu_exact(x) if approximate == "none" else gelu_tanh(x)
    return y


@op
def gelu_exact(xp: Any, x: Any) -> Any:
    """:func:`gelu` itself."""
    return x * normal_cdf.generic(xp, x)


@gelu_exact.pullback
def _(dy: Tensor, x: Tensor) -> Any:
    return gelu_exact_grad(dy, x)


@op
def gelu_exact_grad(xp: Any, g: Any, x: Any) -> Any:
    """``g * (cdf(x) + x * density(x))``: ``g`` times the derivative of :func:`gelu`."""
    return g * (normal_cdf.generic(xp, x) + x * (_DENSITY * xp.exp(-0.5 * x * x)))


@gelu_exact_grad.pullback
def _(dy: Tensor, g_for_x: Any, x: Tensor, need: Any) -> Any:
    d_x = None
    if need[1]:
        square = x * x
        d_x = dy * g_for_x * (exp(square * -0.5) * _DENSITY) * (2.0 - square)
    return (gelu_exact_grad(dy, x) if need[0] else None, d_x)


@op
def gelu_tanh(xp: Any, x: Any) -> Any:
    """:func:`gelu` by tanh; as ``1 + tanh(u) = 2 * sigmoid(2 * u)``, small values keep digits."""
    return x * sigmoid.generic(xp, _tanh_gate(x))


@gelu_tanh.pullback
def _(dy: Tensor, x: Tensor) -> Any:
    return gelu_tanh_grad(dy, x)


@op
def gelu_tanh_grad(xp: Any, g: Any, x: Any) -> Any:
    """``g`` times the derivative of :func:`gelu` by tanh: with the gate s of u,
    ``s + x * s * (1 - s) * u'``."""
    gate = sigmoid.generic(xp, _tanh_gate(x))
    return g * gate * (1 + x * (1 - gate) * _tanh_slope(x))


@gelu_tanh_grad.pullback
def _(dy: Tensor, g_for_x: Any, x: Tensor, need: Any) -> Any:
    d_x = None
    if need[1]:
        gate, slope = sigmoid(_tanh_gate(x)), _tanh_slope(x)
        curve = x * (12.0 * _TANH_SCALE * _TANH_CUBIC)
        bend = 2.0 * slope + x * curve + x * slope * slope * (1.0 - 2.0 * gate)
        d_x = dy * g_for_x * gate * (1.0 - gate) * bend
    return (gelu_tanh_grad(dy, x) if need[0] else None, d_x)


def _tanh_gate(x: Any) -> Any:
    return (2.0 * _TANH_SCALE) * (x + _TANH_CUBIC * x * x * x)


def _tanh_slope(x: Any) -> Any:
    """The derivative of the gate's argument."""
    return (x * x * (3.0 * _TANH_CUBIC) + 1.0) * (2.0 * _TANH_SCALE)


@op
def silu(xp: Any, x: Any) -> Any:
    """``x * sigmoid(x)``, also called swish (Ramachandran et al., 2017).

    Raises:
        DTypeError: ``x`` is not floating.
    """
    return x * sigmoid.generic(xp, x)


@silu.pullback
def _(dy: Tensor, x: Tensor) -> Any:
    return silu_grad(dy, x)


@op
def silu_grad(xp: Any, g: Any, x: Any) -> Any:
    """``g`` times the derivative of :func:`silu`: with the gate s, ``s * (1 + x * (1 - s))``."""
    gate = sigmoid.generic(xp, x)
    return g * gate * (1 + x * (1 - gate))


@silu_grad.pullback
def _(dy: Tensor, g_for_x: Any, x: Tensor, need: Any) -> Any:
    d_x = None
    if need[1]:
        gate = sigmoid(x)
        d_x = dy * g_for_x * gate * (1.0 - gate) * (2.0 + x * (1.0 - 2.0 * gate))
    return (silu_grad(dy, x) if need[0] else None, d_x)


@op
def mish(xp: Any, x: Any) -> Any:
    """``x * tanh(softplus(x))`` (Misra, BMVC 2020); the tanh is ``n / (n + 2)`` with
    ``n = exp(x) * (exp(x) + 2)``, and 1 from 20 on.

    Raises:
        DTypeError: ``x`` is not floating.
    """
    e = xp.exp(xp.minimum(x, 20))
    n = e * (e + 2)
    return x * (n / (n + 2))


@mish.pullback
def _(dy: Tensor, x: Tensor) -> Any:
    return mish_grad(dy, x)


@op
def mish_grad(xp: Any, g: Any, x: Any) -> Any:
    """``g`` times the derivative of :func:`mish`: with the tanh t and the sigmoid s of ``x``,
    ``t + x * s * (1 - t*t)``."""
    low = xp.minimum(x, 20)
    e = xp.exp(low)
    n = e * (e + 2)
    return g * ((n + 4 * low * e * (1 + e) / (n + 2)) / (n + 2))


@mish_grad.pullback
def _(dy: Tensor, g_for_x: Any, x: Tensor, need: Any) -> Any:
    d_x = None
    if need[1]:
        t, s = tanh(softplus(x)), sigmoid(x)
        bend = 2.0 + x * (1.0 - s) - 2.0 * x * t * s
        d_x = dy * g_for_x * (1.0 - t * t) * s * bend
    return (mish_grad(dy, x) if need[0] else None, d_x)


@op
def hard_sigmoid(xp: Any, x: Any) -> Any:
    """``x / 6 + 1 / 2`` limited to [0, 1]; its gradient at -3 and 3 is 0.

    Raises:
        DTypeError: ``x`` is not floating.
    """
    return xp.clip(x * (1 / 6) + 0.5, 0.0, 1.0)


@hard_sigmoid.pullback
def _(dy: Tensor, x: Tensor) -> Any:
    return where(abs(x) < 3.0, dy * (1 / 6), 0.0)


@op
def hard_swish(xp: Any, x: Any) -> Any:
    """``x * hard_sigmoid(x)`` (Howard et al., ICCV 2019); its gradient is 0 at -3 and 1 at 3.

    Raises:
        DTypeError: ``x`` is not floating.
    """
    return x * xp.clip(x * (1 / 6) + 0.5, 0.0, 1.0)


@hard_swish.pullback
def _(dy: Tensor, x: Tensor) -> Any:
    inside = dy * (x * (1 / 3) + 0.5)
    return where(abs(x) < 3.0, inside, where(x > 0.0, dy, 0.0))


def _gradient_of(name: str, g: Tensor, x: Tensor) -> None:
    floating(name, g=g)
    alike(name, g=g, x=x)


for _op in (gelu_exact, gelu_tanh, silu, mish, hard_sigmoid, hard_swish):
    _op.check(lambda x, _name=_op.name: floating(_name, x=x))
for _op in (gelu_exact_grad, gelu_tanh_grad, silu_grad, mish_grad):
    _op.check(lambda g, x, _name=_op.name: _gradient_of(_name, g, x))
del _op


def selu(x: Tensor) -> Tensor:
    """:func:`elu` times 1.0507, with the alpha 1.6733 that keeps mean 0 and variance 1.

    Klambauer et al., "Self-normalizing neural networks", NeurIPS 2017, eq. 2.

    Raises:
        DTypeError: ``x`` is not floating.
    """
    tensors("selu", x=x)
    floating("selu", x=x)
    y: Tensor = elu(x, alpha=_SELU_ALPHA)
    return y * _SELU_SCALE
