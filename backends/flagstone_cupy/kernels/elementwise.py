"""Activations, and the gradient of relu."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flagstone.backend import declines
from flagstone_cupy.kernel import family
from flagstone_cupy.launch import Array, contiguous, empty, over

FLOATS = ("float", "double", "__half", "__nv_bfloat16")
SHAPES = (
    "Relu", "LeakyRelu", "Elu", "Sigmoid", "Softplus", "Silu", "GeluExact", "GeluTanh", "Mish",
    "HardSwish",
)  # fmt: skip
ACTIVATION = family("elementwise.cu", "activation", T=FLOATS, F=SHAPES)
RELU_GRAD = family("elementwise.cu", "relu_grad", T=FLOATS)


def _activation(name: str, shape: str) -> Callable[[Array], Array]:
    @declines
    def kernel(x: Array) -> Array:
        return _apply(shape, x, 0.0)

    kernel.__name__ = name
    kernel.__doc__ = f"The op ``{name}``: one launch."
    return kernel


relu = _activation("relu", "Relu")
sigmoid = _activation("sigmoid", "Sigmoid")
softplus = _activation("softplus", "Softplus")
silu = _activation("silu", "Silu")
gelu_exact = _activation("gelu_exact", "GeluExact")
gelu_tanh = _activation("gelu_tanh", "GeluTanh")
mish = _activation("mish", "Mish")
hard_swish = _activation("hard_swish", "HardSwish")


@declines
def leaky_relu(x: Array, *, slope: float = 0.01) -> Array:
    """See :func:`flagstone.ops.activation.leaky_relu`."""
    return _apply("LeakyRelu", x, slope)


@declines
def elu(x: Array, *, alpha: float = 1.0) -> Array:
    """See :func:`flagstone.ops.activation.elu`."""
    return _apply("Elu", x, alpha)


@declines
def relu_grad(g: Array, kept: Array) -> Array:
    """See :func:`flagstone.ops.activation.relu_grad`."""
    if g.dtype not in RELU_GRAD or kept.dtype != g.dtype:
        return NotImplemented
    y = empty(g.shape, g.dtype)
    over(RELU_GRAD[g.dtype], g.size, contiguous(g), contiguous(kept), y, g.size)
    return y


def _apply(shape: str, x: Array, parameter: float) -> Any:
    if (x.dtype, shape) not in ACTIVATION:
        return NotImplemented
    y = empty(x.shape, x.dtype)
    over(ACTIVATION[x.dtype, shape], x.size, contiguous(x), y, parameter, x.size)
    return y
