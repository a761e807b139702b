"""Activations that let ``x`` through by a gate: ``x`` times something from 0 to 1; and selu."""

from __future__ import annotations

import math
from typing import Any

from flagstone.errors import InputError
from flagstone.ops.activation import elu, sigmoid, softplus, tanh
from flagstone.ops.checks import floating, tensors
from flagstone.ops.door import op
from flagstone.ops.elementwise import exp, where
from flagstone.ops.special import normal_cdf
from flagstone.tensors import Tensor

_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805
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
    chosen = {"none": gelu_exact, "tanh": gelu_tanh}.get(approximate)
    if chosen is None:
        raise InputError(f"gelu: approximate expected 'none' or 'tanh'; got {approximate!r}")
    y: Tensor = chosen(x)
    return y


@op
def gelu_exact(xp: Any, x: Any) -> Any:
    """:func:`gelu` itself."""
    return x * normal_cdf.generic(xp, x)


@gelu_exact.pullback
def _(dy: Tensor, x: Tensor) -> Any:
    density = exp(x * x * -0.5) * (1.0 / math.sqrt(2.0 * math.pi))
    return dy * (normal_cdf(x) + x * density)


@op
def gelu_tanh(xp: Any, x: Any) -> Any:
    """:func:`gelu` by tanh; as ``1 + tanh(u) = 2 * sigmoid(2 * u)``, small values keep digits."""
    return x * sigmoid.generic(xp, _tanh_gate(x))


@gelu_tanh.pullback
def _(dy: Tensor, x: Tensor) -> Any:
    gate = sigmoid(_tanh_gate(x))
    slope = (x * x * (3.0 * _TANH_CUBIC) + 1.0) * (2.0 * _TANH_SCALE)
    return dy * (gate + x * gate * (1.0 - gate) * slope)


def _tanh_gate(x: Any) -> Any:
    return (2.0 * _TANH_SCALE) * (x + _TANH_CUBIC * x * x * x)


@op
def silu(xp: Any, x: Any) -> Any:
    """``x * sigmoid(x)``, also called swish (Ramachandran et al., 2017)."""
    return x * sigmoid.generic(xp, x)


@silu.pullback
def _(dy: Tensor, x: Tensor) -> Any:
    gate = sigmoid(x)
    return dy * gate * (1.0 + x * (1.0 - gate))


@op
def mish(xp: Any, x: Any) -> Any:
    """``x * tanh(softplus(x))`` (Misra, BMVC 2020), computed so that nothing overflows."""
    e = xp.exp(-xp.abs(x))
    top = xp.where(x >= 0, 1 + 2 * e, e * (e + 2))  # tanh(log(1 + exp(x))), with exp(x) or its
    bottom = xp.where(x >= 0, 2 * e * e, 2 * xp.ones_like(e))  # inverse in e: top / (top + bottom)
    return x * (top / (top + bottom))


@mish.pullback
def _(dy: Tensor, x: Tensor) -> Any:
    gate = tanh(softplus(x))
    return dy * (gate + x * (1.0 - gate * gate) * sigmoid(x))


@op
def hard_sigmoid(xp: Any, x: Any) -> Any:
    """``x / 6 + 1 / 2`` limited to [0, 1]; its gradient at -3 and 3 is 0."""
    return xp.clip(x * (1 / 6) + 0.5, 0.0, 1.0)


@hard_sigmoid.pullback
def _(dy: Tensor, x: Tensor) -> Any:
    return where(abs(x) < 3.0, dy * (1 / 6), 0.0)


@op
def hard_swish(xp: Any, x: Any) -> Any:
    """``x * hard_sigmoid(x)`` (Howard et al., ICCV 2019); its gradient is 0 at -3 and 1 at 3."""
    return x * xp.clip(x * (1 / 6) + 0.5, 0.0, 1.0)


@hard_swish.pullback
def _(dy: Tensor, x: Tensor) -> Any:
    inside = dy * (x * (1 / 3) + 0.5)
    return where(abs(x) < 3.0, inside, where(x > 0.0, dy, 0.0))


for _op in (gelu_exact, gelu_tanh, silu, mish, hard_sigmoid, hard_swish):
    _op.check(lambda x, _name=_op.name: floating(_name, x=x))
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
