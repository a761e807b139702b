"""Activations as layers; none has parameters, and each keeps its input's shape."""

from __future__ import annotations

import math

from flagstone import ops
from flagstone.named import is_number
from flagstone.nn.checks import finite, integer, require
from flagstone.nn.fused import activates
from flagstone.nn.layer import Layer, require_tensor
from flagstone.tensors import Tensor


class Sigmoid(Layer):
    """``1 / (1 + exp(-x))``."""

    @activates("sigmoid")
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = ops.sigmoid(x)
        return y


class Tanh(Layer):
    """The hyperbolic tangent."""

    @activates("tanh")
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = ops.tanh(x)
        return y


class ReLU(Layer):
    """``max(x, 0)``."""

    @activates("relu")
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = ops.relu(x)
        return y


class LeakyReLU(Layer):
    """``x`` where positive, else ``negative_slope * x``; the lecture's slope is 0.1."""

    def __init__(self, negative_slope: float = 0.01) -> None:
        finite("LeakyReLU", negative_slope=negative_slope)
        self.negative_slope = negative_slope

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = ops.leaky_relu(x, slope=self.negative_slope)
        return y

    def describe(self) -> str:
        return f"negative_slope={self.negative_slope}"


class ELU(Layer):
    """``x`` where positive, else ``alpha * (exp(x) - 1)`` (Clevert et al., ICLR 2016)."""

    def __init__(self, alpha: float = 1.0) -> None:
        finite("ELU", alpha=alpha)
        self.alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = ops.elu(x, alpha=self.alpha)
        return y

    def describe(self) -> str:
        return f"alpha={self.alpha}"


class SELU(Layer):
    """:class:`ELU` scaled so that mean 0 and variance 1 stay (Klambauer et al., NeurIPS 2017)."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.selu(x)


class GELU(Layer):
    """``x`` times the probability that a standard normal number is below it.

    Args:
        approximate: ``"none"``, or ``"tanh"``; see :func:`flagstone.ops.gelu`.
    """

    def __init__(self, approximate: str = "none") -> None:
        known = isinstance(approximate, str) and approximate in ("none", "tanh")
        require("GELU", "approximate", approximate, known, "'none' or 'tanh'")
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        return ops.gelu(x, self.approximate)

    def describe(self) -> str:
        return f"approximate={self.approximate!r}"


class SiLU(Layer):
    """``x * sigmoid(x)``, also called swish (Ramachandran et al., 2017)."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = ops.silu(x)
        return y


class Mish(Layer):
    """``x * tanh(softplus(x))`` (Misra, BMVC 2020)."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = ops.mish(x)
        return y


class Softplus(Layer):
    """``log(1 + exp(beta * x)) / beta``.

    PyTorch's ``threshold``, beyond which it returns ``x`` itself, is not needed: nothing overflows.

    Args:
        beta: how sharply it bends, above 0.
    """

    def __init__(self, beta: float = 1.0) -> None:
        holds = is_number(beta) and 0 < beta < math.inf
        require("Softplus", "beta", beta, holds, "a finite number > 0")
        self.beta = beta

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor
        if self.beta == 1:
            y = ops.softplus(x)
        else:
            require_tensor("Softplus", x)
            y = ops.softplus(x * self.beta) * (1.0 / self.beta)
        return y

    def describe(self) -> str:
        return f"beta={self.beta}"


class Hardsigmoid(Layer):
    """``x / 6 + 1 / 2`` limited to [0, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = ops.hard_sigmoid(x)
        return y


class Hardswish(Layer):
    """``x`` times :class:`Hardsigmoid` of it (Howard et al., ICCV 2019)."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = ops.hard_swish(x)
        return y


class Softmax(Layer):
    """``exp(x) / sum(exp(x))`` along one axis.

    Args:
        dim: the axis; by default the last, which is that of classes and channels.
    """

    def __init__(self, dim: int = -1) -> None:
        integer(type(self).__name__, dim=dim)
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = ops.softmax(x, axis=self.dim)
        return y

    def describe(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Softmax):
    """The logarithm of :class:`Softmax`, exact where that underflows."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = ops.log_softmax(x, axis=self.dim)
        return y
