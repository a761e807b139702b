"""Layers that normalise each example by its own values; they predict as they train."""

from __future__ import annotations

from flagstone import ops
from flagstone.errors import InputError, ShapeError
from flagstone.nn.checks import not_negative, positive, require, truth
from flagstone.nn.fused import fuses
from flagstone.nn.init import ones, zeros
from flagstone.nn.layer import Layer, require_tensor
from flagstone.nn.parameter import Parameter
from flagstone.ops.window import is_integer
from flagstone.tensors import Tensor


class LayerNorm(Layer):
    """Normalise each example over its last axes (Ba, Kiros & Hinton, 2016).

    Args:
        normalized_shape: of the axes that share one mean and variance, or the last axis's length.
        eps: added to the variance.
        elementwise_affine: whether a weight and a bias follow.
        bias: whether a bias does.

    Shapes: (..., *normalized_shape), the same out; ``weight`` and ``bias`` are of that shape. With
    channels last, (h, w, c) is what (c, h, w) is in PyTorch.

    Raises:
        InputError: an argument is out of range.
        ShapeError: the input's last axes have another shape.
    """

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:
        self.normalized_shape = shape = _shape("LayerNorm", normalized_shape)
        not_negative("LayerNorm", eps=eps)
        truth("LayerNorm", elementwise_affine=elementwise_affine, bias=bias)
        self.eps = eps
        self.weight = Parameter(shape, ones) if elementwise_affine else None
        self.bias = Parameter(shape, zeros) if elementwise_affine and bias else None

    @fuses("axis_norm")
    def forward(self, x: Tensor, then: str | None = None) -> Tensor:
        require_tensor("LayerNorm", x)
        shape = self.normalized_shape
        return ops.layer_norm(x, shape, self.weight, self.bias, self.eps, then=then)

    def describe(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={_has(self.weight)}"


class RMSNorm(Layer):
    """Divide each example by the root mean square of its last axes (Zhang & Sennrich, 2019).

    Args:
        normalized_shape: of the axes that share one mean square, or the last axis's length.
        eps: added to the mean square; the dtype's own epsilon by default.
        elementwise_affine: whether a weight follows.

    Shapes: (..., *normalized_shape), the same out; ``weight`` is of that shape.

    Raises:
        InputError: an argument is out of range.
        ShapeError: the input's last axes have another shape.
    """

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        eps: float | None = None,
        elementwise_affine: bool = True,
    ) -> None:
        self.normalized_shape = shape = _shape("RMSNorm", normalized_shape)
        if eps is not None:
            not_negative("RMSNorm", eps=eps)
        truth("RMSNorm", elementwise_affine=elementwise_affine)
        self.eps = eps
        self.weight = Parameter(shape, ones) if elementwise_affine else None

    @fuses("axis_rms_norm")
    def forward(self, x: Tensor, then: str | None = None) -> Tensor:
        require_tensor("RMSNorm", x)
        return ops.rms_norm(x, self.normalized_shape, self.weight, self.eps, then=then)

    def describe(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={_has(self.weight)}"


class GroupNorm(Layer):
    """Normalise each group of neighbouring channels of each example (Wu & He, ECCV 2018).

    Args:
        num_groups: how many groups; it divides ``num_channels``.
        num_channels: length of the input's last axis.
        eps: added to the variance.
        affine: whether a weight and a bias of each channel follow.

    Shapes: (n, ..., num_channels), the same out; ``weight`` and ``bias`` (num_channels,).

    Raises:
        InputError: an argument is out of range, or ``num_groups`` does not divide ``num_channels``.
        ShapeError: the input has fewer than two axes or other channels.
    """

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True
    ) -> None:
        positive("GroupNorm", num_groups=num_groups, num_channels=num_channels)
        if num_channels % num_groups:
            raise InputError(
                f"GroupNorm: num_groups expected a divisor of num_channels={num_channels}; "
                f"got {num_groups}"
            )
        not_negative("GroupNorm", eps=eps)
        truth("GroupNorm", affine=affine)
        self.num_groups, self.num_channels, self.eps = num_groups, num_channels, eps
        self.weight = Parameter((num_channels,), ones) if affine else None
        self.bias = Parameter((num_channels,), zeros) if affine else None

    @fuses("axis_norm")
    def forward(self, x: Tensor, then: str | None = None) -> Tensor:
        _require_channels("GroupNorm", x, self.num_channels)
        return ops.group_norm(x, self.num_groups, self.weight, self.bias, self.eps, then=then)

    def describe(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={_has(self.weight)}"


class InstanceNorm(Layer):
    """Normalise each channel of each example over its pixels (Ulyanov et al., 2016).

    One class for signals, images and volumes. PyTorch's running statistics are not offered.

    Args:
        num_features: length of the input's last axis.
        eps: added to the variance.
        affine: whether a weight and a bias of each channel follow; not by default, as in PyTorch.

    Shapes: (n, ..., num_features), the same out; ``weight`` and ``bias`` (num_features,).

    Raises:
        InputError: an argument is out of range.
        ShapeError: the input has fewer than two axes or other channels.
    """

    def __init__(self, num_features: int, eps: float = 1e-5, *, affine: bool = False) -> None:
        positive("InstanceNorm", num_features=num_features)
        not_negative("InstanceNorm", eps=eps)
        truth("InstanceNorm", affine=affine)
        self.num_features, self.eps = num_features, eps
        self.weight = Parameter((num_features,), ones) if affine else None
        self.bias = Parameter((num_features,), zeros) if affine else None

    @fuses("axis_norm")
    def forward(self, x: Tensor, then: str | None = None) -> Tensor:
        _require_channels("InstanceNorm", x, self.num_features)
        return ops.instance_norm(x, self.weight, self.bias, self.eps, then=then)

    def describe(self) -> str:
        return f"{self.num_features}, eps={self.eps}, affine={_has(self.weight)}"


def _shape(layer: str, given: int | tuple[int, ...]) -> tuple[int, ...]:
    shape = tuple(given) if isinstance(given, (tuple, list)) else (given,)
    fits = bool(shape) and all(is_integer(n) and n >= 1 for n in shape)
    require(layer, "normalized_shape", given, fits, "a positive integer or a tuple of them")
    return tuple(int(n) for n in shape)


def _require_channels(layer: str, x: Tensor, channels: int) -> None:
    require_tensor(layer, x)
    if x.ndim < 2 or x.shape[-1] != channels:
        raise ShapeError(f"{layer}: x expected shape (n, ..., {channels}); got {x.shape}")


def _has(parameter: Parameter | None) -> bool:
    return parameter is not None
