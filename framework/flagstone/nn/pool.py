"""Pooling layers for any number of spatial axes. Images are (n, *spatial, channels)."""

from __future__ import annotations

from typing import Any

from flagstone import ops
from flagstone.nn.checks import truth
from flagstone.nn.fused import fuses
from flagstone.nn.layer import Layer
from flagstone.ops.conv import positions
from flagstone.ops.fused import conv_max_pool_relu, form_of
from flagstone.ops.pool import Sizes
from flagstone.ops.pooling import longer, max_pooled, pool_window
from flagstone.ops.window import Lengths, Padding, Pairs, check_padding, per_axis
from flagstone.tensors import Tensor


class Pool(Layer):
    """What pooling layers have: a window over :attr:`spatial` axes, given to an op.

    Attributes:
        spatial: how many axes there are between the batch's and the channels'.
    """

    spatial = 0

    def __init__(
        self, kernel_size: Lengths, stride: Lengths | None, padding: Padding, ceil_mode: bool
    ) -> None:
        name = type(self).__name__
        per_axis(name, "kernel_size", kernel_size, self.spatial)
        per_axis(name, "stride", kernel_size if stride is None else stride, self.spatial)
        check_padding(name, padding, self.spatial)
        truth(name, ceil_mode=ceil_mode)
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.ceil_mode = ceil_mode

    def describe(self) -> str:
        stride = self.kernel_size if self.stride is None else self.stride
        text = f"kernel_size={self.kernel_size}, stride={stride}, padding={self.padding!r}"
        return f"{text}, ceil_mode=True" if self.ceil_mode else text


class MaxPool(Pool):
    """The maximum of every window; use :class:`MaxPool1d`, :class:`MaxPool2d`, :class:`MaxPool3d`.

    Args:
        kernel_size: lengths of the window, or one number for all axes.
        stride: from window to window; ``kernel_size`` by default.
        padding, dilation, ceil_mode: as in :func:`flagstone.ops.max_pool2d`.

    Shapes: (n, *spatial, channels) -> (n, *positions, channels).

    Raises:
        InputError: an argument is out of range, or some window would hold no value.
        ShapeError: the input has other axes, or is smaller than the window.
    """

    def __init__(
        self,
        kernel_size: Lengths,
        stride: Lengths | None = None,
        padding: Padding = 0,
        dilation: Lengths = 1,
        *,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        per_axis(type(self).__name__, "dilation", dilation, self.spatial)
        self.dilation = dilation

    @fuses("max_pool")
    def forward(self, x: Tensor, then: str | None = None) -> Tensor:
        apply = ops.max_pool if then is None else form_of(ops.max_pool, then)
        return max_pooled(
            f"max_pool{self.spatial}d", self.spatial, x, self.kernel_size, self.stride,
            self.padding, self.dilation, self.ceil_mode, apply,
        )  # fmt: skip

    def describe(self) -> str:
        plain = self.dilation in (1, (1,) * self.spatial)
        return super().describe() + ("" if plain else f", dilation={self.dilation}")

    def behind_conv(
        self, x: Tensor, w: Tensor, b: Tensor | None, *, stride: Sizes, padding: Pairs,
        dilation: Sizes, groups: int,
    ) -> Tensor:  # fmt: skip
        """``relu`` of the maxima of a convolution, whose resolved arguments these are; without
        gradients."""
        name = f"max_pool{self.spatial}d"
        how: Any = {"stride": stride, "padding": padding, "dilation": dilation}
        size = positions(x.shape[1:-1], w.shape[1:-1], **how)
        sizes, steps, pairs, apart, over = pool_window(
            name, size, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode
        )
        y: Tensor
        if max(apart) > 1:
            y = ops.relu(self(ops.conv(x, w, b, groups=groups, **how)))
        else:
            y = conv_max_pool_relu(
                x, w, b, groups=groups, pool_kernel=sizes, pool_stride=steps,
                pool_padding=longer(pairs, over), **how,
            )  # fmt: skip
        return y


class MaxPool1d(MaxPool):
    """Of signals (n, length, channels); arguments as in :class:`MaxPool`."""

    spatial = 1


class MaxPool2d(MaxPool):
    """Of images (n, h, w, channels); arguments as in :class:`MaxPool`."""

    spatial = 2


class MaxPool3d(MaxPool):
    """Of volumes (n, d, h, w, channels); arguments as in :class:`MaxPool`."""

    spatial = 3


class AvgPool(Pool):
    """The mean of every window; use :class:`AvgPool1d`, :class:`AvgPool2d`, :class:`AvgPool3d`.

    Args:
        kernel_size: lengths of the window, or one number for all axes.
        stride: from window to window; ``kernel_size`` by default.
        padding, ceil_mode, count_include_pad: as in :func:`flagstone.ops.avg_pool2d`.

    Shapes: (n, *spatial, channels) -> (n, *positions, channels).

    Raises:
        InputError: an argument is out of range, or some window would hold no value.
        ShapeError: the input has other axes, or is smaller than the window.
    """

    def __init__(
        self,
        kernel_size: Lengths,
        stride: Lengths | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        truth(type(self).__name__, count_include_pad=count_include_pad)
        self.count_include_pad = count_include_pad

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = _AVG[self.spatial](
            x, self.kernel_size, stride=self.stride, padding=self.padding,
            ceil_mode=self.ceil_mode, count_include_pad=self.count_include_pad,
        )  # fmt: skip
        return y

    def describe(self) -> str:
        return super().describe() + ("" if self.count_include_pad else ", count_include_pad=False")


class AvgPool1d(AvgPool):
    """Of signals (n, length, channels); arguments as in :class:`AvgPool`."""

    spatial = 1


class AvgPool2d(AvgPool):
    """Of images (n, h, w, channels); arguments as in :class:`AvgPool`."""

    spatial = 2


class AvgPool3d(AvgPool):
    """Of volumes (n, d, h, w, channels); arguments as in :class:`AvgPool`."""

    spatial = 3


_AVG: dict[int, Any] = {1: ops.avg_pool1d, 2: ops.avg_pool2d, 3: ops.avg_pool3d}
