"""Convolution layers. Images are (n, h, w, channels)."""

from __future__ import annotations

import math

from flagstone import ops
from flagstone.errors import InputError
from flagstone.nn.init import Initializer, fan_in_uniform, resolve
from flagstone.nn.layer import Layer
from flagstone.nn.linear import default_bias, positive
from flagstone.nn.parameter import Parameter
from flagstone.ops.window import Lengths, Padding, per_axis
from flagstone.tensors import Tensor


class Conv2d(Layer):
    """2-d convolution; see :func:`flagstone.ops.conv2d`.

    Args:
        in_channels: length of the input's last axis.
        out_channels: length of the output's last axis.
        kernel_size: height and width of the window, or one number for both.
        stride, padding, dilation, groups: as in :func:`flagstone.ops.conv2d`.
        bias: whether there is one.
        init: as in :class:`flagstone.nn.Linear`.

    Shapes: (n, h, w, in_channels) -> (n, p, q, out_channels); ``weight``
    (out, kh, kw, in / groups), in files (out, in / groups, kh, kw); ``bias`` (out,).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Lengths,
        stride: Lengths = 1,
        padding: Padding = 0,
        dilation: Lengths = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        init: str | Initializer | None = None,
    ) -> None:
        positive("Conv2d", in_channels=in_channels, out_channels=out_channels, groups=groups)
        if in_channels % groups or out_channels % groups:
            raise InputError(
                f"Conv2d: groups expected a divisor of in_channels={in_channels} and "
                f"out_channels={out_channels}; got {groups}"
            )
        self.kernel_size = per_axis("Conv2d", "kernel_size", kernel_size, 2)
        self.stride, self.padding = stride, padding
        self.dilation, self.groups = dilation, groups
        per_group = in_channels // groups
        default = fan_in_uniform(per_group * math.prod(self.kernel_size))
        shape = (out_channels, *self.kernel_size, per_group)
        self.weight = Parameter(shape, resolve(init, default), channels_last=True)
        self.bias = Parameter((out_channels,), default_bias(init, default)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return ops.conv2d(
            x, self.weight, self.bias, stride=self.stride, padding=self.padding,
            dilation=self.dilation, groups=self.groups,
        )  # fmt: skip

    def describe(self) -> str:
        out, *_, per_group = self.weight.shape
        return (
            f"{per_group * self.groups}, {out}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, padding={self.padding!r}"
        )
