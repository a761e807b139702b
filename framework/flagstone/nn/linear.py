"""Fully connected layers."""

from __future__ import annotations

from flagstone import ops
from flagstone.nn.checks import positive, truth
from flagstone.nn.fused import fuses
from flagstone.nn.init import Initializer, fan_in_uniform, resolve
from flagstone.nn.layer import Layer
from flagstone.nn.parameter import Parameter
from flagstone.ops.fused import form_of
from flagstone.tensors import Tensor


class Linear(Layer):
    """``x @ weight.T + bias``.

    Args:
        in_features: length of the input's last axis.
        out_features: length of the output's last axis.
        bias: whether there is one.
        init: of the weight, a name or a function; by default PyTorch's, uniform on
            ±1/sqrt(in_features), which the bias then has too. With ``init`` the bias starts at 0.

    Shapes: (..., in_features) -> (..., out_features); ``weight`` (out, in), ``bias`` (out,).

    Raises:
        InputError: an argument is out of range.
        ShapeError: the input's last axis is not ``in_features`` long.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        init: str | Initializer | None = None,
    ) -> None:
        positive("Linear", in_features=in_features, out_features=out_features)
        truth("Linear", bias=bias)
        self.in_features, self.out_features = in_features, out_features
        default = fan_in_uniform(in_features)
        self.weight = Parameter((out_features, in_features), resolve(init, default))
        self.bias = Parameter((out_features,), default_bias(init, default)) if bias else None

    @fuses("linear")
    def forward(self, x: Tensor, then: str | None = None) -> Tensor:
        apply = ops.linear if then is None else form_of(ops.linear, then)
        y: Tensor = apply(x, self.weight, self.bias)
        return y

    def describe(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


def default_bias(init: str | Initializer | None, default: Initializer) -> Initializer:
    """How a bias starts: like the weight by default, at 0 where the weight's start was chosen."""
    return default if init is None else resolve("zeros", default)


class Maxout(Layer):
    """The largest of ``pieces`` linear functions, unit by unit (Goodfellow et al., ICML 2013).

    Args:
        in_features: length of the input's last axis.
        out_features: how many units.
        pieces: how many linear functions a unit takes the largest of.
        bias: whether they have one.
        init: as in :class:`Linear`.

    Shapes: (..., in_features) -> (..., out_features).

    Raises:
        InputError: an argument is out of range.
        ShapeError: the input's last axis is not ``in_features`` long.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        pieces: int = 2,
        bias: bool = True,
        *,
        init: str | Initializer | None = None,
    ) -> None:
        positive("Maxout", in_features=in_features, out_features=out_features, pieces=pieces)
        truth("Maxout", bias=bias)
        self.pieces = pieces
        self.linear = Linear(in_features, out_features * pieces, bias, init=init)

    def forward(self, x: Tensor) -> Tensor:
        return ops.maxout(self.linear(x), self.pieces)

    def describe(self) -> str:
        linear = self.linear
        features = f"{linear.in_features}, {linear.out_features // self.pieces}"
        return f"{features}, pieces={self.pieces}, bias={linear.bias is not None}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.describe()})"  # the layer inside is among these
