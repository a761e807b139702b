"""Activations as layers; none has parameters, and each keeps its input's shape."""

from __future__ import annotations

from flagstone import ops
from flagstone.errors import InputError
from flagstone.named import is_number
from flagstone.nn.layer import Layer
from flagstone.tensors import Tensor


class Sigmoid(Layer):
    """``1 / (1 + exp(-x))``."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = ops.sigmoid(x)
        return y


class Tanh(Layer):
    """The hyperbolic tangent."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = ops.tanh(x)
        return y


class ReLU(Layer):
    """``max(x, 0)``."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = ops.relu(x)
        return y


class LeakyReLU(Layer):
    """``x`` where positive, else ``negative_slope * x``; the lecture's slope is 0.1."""

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = _number("LeakyReLU: negative_slope", negative_slope)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = ops.leaky_relu(x, slope=self.negative_slope)
        return y

    def describe(self) -> str:
        return f"negative_slope={self.negative_slope}"


class ELU(Layer):
    """``x`` where positive, else ``alpha * (exp(x) - 1)`` (Clevert et al., ICLR 2016)."""

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = _number("ELU: alpha", alpha)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = ops.elu(x, alpha=self.alpha)
        return y

    def describe(self) -> str:
        return f"alpha={self.alpha}"


class Softmax(Layer):
    """``exp(x) / sum(exp(x))`` along the last axis."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = ops.softmax(x, axis=-1)
        return y


def _number(what: str, value: float) -> float:
    if not is_number(value):
        raise InputError(f"{what} expected a number; got {value!r}")
    return value
