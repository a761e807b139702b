"""Normalisation layers."""

from __future__ import annotations

import math

from flagstone import ops
from flagstone.errors import ShapeError
from flagstone.named import is_number
from flagstone.nn.checks import lengths, positive, require
from flagstone.nn.examples import Examples, claims, standardizes
from flagstone.nn.fused import added, fuses
from flagstone.nn.init import ones, zeros
from flagstone.nn.layer import Layer, require_tensor
from flagstone.nn.parameter import Buffer, Parameter
from flagstone.ops.fused import form_of
from flagstone.tape import no_grad
from flagstone.tensors import Tensor


class BatchNorm(Layer):
    """Normalise each channel by the batch's mean and variance (Ioffe & Szegedy, ICML 2015).

    While training, running means and (unbiased) variances follow the batch's with weight
    ``momentum``; when predicting they take the batch's place.

    Args:
        num_features: length of the input's last axis.
        eps: added to the variance, positive.
        momentum: how far one batch moves the running statistics, in (0, 1].

    Shapes: (n, ..., num_features), the same out; parameters and statistics (num_features,).

    Raises:
        InputError: an argument is out of range.
        ShapeError: the input has another last axis, or, while training and as in PyTorch, no more
            than one value per channel.
    """

    axes: tuple[int, ...] = ()  # how many the input may have; any number from 2 on if empty

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        name = type(self).__name__
        positive(name, num_features=num_features)
        above_zero = is_number(eps) and 0 < eps < math.inf
        require(name, "eps", eps, above_zero, "a finite number > 0")
        in_range = is_number(momentum) and 0 < momentum <= 1
        require(name, "momentum", momentum, in_range, "a number in (0, 1]")
        self.eps, self.momentum = eps, momentum
        self.weight = Parameter((num_features,), ones)
        self.bias = Parameter((num_features,), zeros)
        self.running_mean = Buffer((num_features,))
        self.running_var = Buffer((num_features,), ones)

    @fuses("batch_norm")
    def forward(self, x: Tensor, then: str | None = None) -> Tensor:
        name = type(self).__name__
        require_tensor(name, x)
        if x.ndim < 2 or x.shape[-1] != self.weight.shape[0]:
            raise ShapeError(
                f"{name}: x expected shape (n, ..., {self.weight.shape[0]}); got {x.shape}"
            )
        if self.axes and x.ndim not in self.axes:
            raise ShapeError(
                f"{name}: x expected {' or '.join(map(str, self.axes))} axes; got {x.shape}"
            )
        if not self.training:
            scale = self.weight * (self.running_var + self.eps) ** -0.5
            return added(x * scale, self.bias - self.running_mean * scale, then)
        count = math.prod(x.shape[:-1])
        if count < 2:
            raise ShapeError(
                f"{name}: training expected more than one value per channel; "
                f"got x of shape {x.shape}. Use a larger batch, or eval() to predict"
            )
        y: Tensor
        apply = ops.batch_norm if then is None else form_of(ops.batch_norm, then)
        y, mean, var = apply(x, self.weight, self.bias, eps=self.eps)
        with no_grad():
            unbiased = var.detach() * (count / (count - 1))
            ops.interpolate(self.running_mean, mean.detach(), weight=self.momentum)
            ops.interpolate(self.running_var, unbiased, weight=self.momentum)
        return y

    def describe(self) -> str:
        return f"{self.weight.shape[0]}, eps={self.eps}, momentum={self.momentum}"


class BatchNorm1d(BatchNorm):
    """:class:`BatchNorm` of tables (n, num_features) or signals (n, length, num_features)."""

    axes = (2, 3)


class BatchNorm2d(BatchNorm):
    """:class:`BatchNorm` of images (n, h, w, num_features)."""

    axes = (4,)


class BatchNorm3d(BatchNorm):
    """:class:`BatchNorm` of volumes (n, d, h, w, num_features)."""

    axes = (5,)


class Standardize(Layer):
    """``(x - mean) / scale`` with statistics measured once, as a model's first layer.

    Args:
        shape: of the statistics, which is that of the input's last axes: (features,), (channels,).

    Raises:
        InputError: ``shape`` is no tuple of integers.
        ShapeError: the input's last axes have another shape.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        shape = lengths("Standardize", "shape", shape)
        self.mean = Buffer(shape)
        self.inverse_scale = Buffer(shape, ones)

    @standardizes
    def forward(self, x: Tensor | Examples) -> Tensor:
        if isinstance(x, Examples):
            return x.standardized(self.mean, self.inverse_scale)
        name = type(self).__name__
        require_tensor(name, x)
        shape = self.mean.shape
        if x.shape[x.ndim - len(shape) :] != shape:
            raise ShapeError(
                f"{name}: x expected shape (..., {', '.join(map(str, shape))}); got {x.shape}"
            )
        dtype = self.mean.dtype_name
        if x.dtype_name == dtype and claims(x, dtype) and not x.requires_grad:
            return Examples(x, dtype).standardized(self.mean, self.inverse_scale)
        return (x - self.mean) * self.inverse_scale

    def describe(self) -> str:
        return f"{self.mean.shape}"
