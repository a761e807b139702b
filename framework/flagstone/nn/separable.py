"""Convolutions that look at one channel at a time. Images are (n, h, w, channels)."""

from __future__ import annotations

from flagstone.nn.checks import positive, truth
from flagstone.nn.conv import Conv2d
from flagstone.nn.init import Initializer
from flagstone.nn.layer import Layer
from flagstone.ops.window import Lengths, Padding
from flagstone.tensors import Tensor


class DepthwiseConv2d(Conv2d):
    """``multiplier`` kernels of its own for every channel: a :class:`Conv2d` of as many groups.

    Args:
        in_channels: length of the input's last axis.
        kernel_size: height and width of the window, or one number for both.
        stride, padding, dilation, bias, init: as in :class:`Conv2d`.
        multiplier: how many outputs each channel has; they lie side by side.

    Shapes: (n, h, w, in_channels) -> (n, p, q, in_channels * multiplier).
    """

    def __init__(
        self,
        in_channels: int,
        kernel_size: Lengths,
        stride: Lengths = 1,
        padding: Padding = 0,
        dilation: Lengths = 1,
        multiplier: int = 1,
        bias: bool = True,
        *,
        init: str | Initializer | None = None,
    ) -> None:
        positive(type(self).__name__, in_channels=in_channels, multiplier=multiplier)
        super().__init__(
            in_channels, in_channels * multiplier, kernel_size, stride, padding, dilation,
            in_channels, bias, init=init,
        )  # fmt: skip


class SeparableConv2d(Layer):
    """A depthwise convolution, then a pointwise one over all channels (Chollet, CVPR 2017).

    Args:
        in_channels: length of the input's last axis.
        out_channels: length of the output's last axis.
        kernel_size, stride, padding, dilation, multiplier: of the depthwise one.
        bias: whether the pointwise one has one; a bias between the two would be lost in it.
        init: of both; as in :class:`Conv2d`.

    Shapes: (n, h, w, in_channels) -> (n, p, q, out_channels).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Lengths,
        stride: Lengths = 1,
        padding: Padding = 0,
        dilation: Lengths = 1,
        multiplier: int = 1,
        bias: bool = True,
        *,
        init: str | Initializer | None = None,
    ) -> None:
        positive("SeparableConv2d", in_channels=in_channels, multiplier=multiplier,
                 out_channels=out_channels)  # fmt: skip
        truth("SeparableConv2d", bias=bias)
        self.depthwise = DepthwiseConv2d(
            in_channels, kernel_size, stride, padding, dilation, multiplier, False, init=init
        )
        self.pointwise = Conv2d(in_channels * multiplier, out_channels, 1, bias=bias, init=init)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.pointwise(self.depthwise(x))
        return y
