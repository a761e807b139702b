"""Convolution layers for any number of spatial axes. Images are (n, *spatial, channels)."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from flagstone import ops
from flagstone.errors import InputError
from flagstone.nn.checks import positive, require, truth
from flagstone.nn.fused import Then, fuses
from flagstone.nn.init import Initializer, fan_in_uniform, resolve
from flagstone.nn.layer import Layer
from flagstone.nn.linear import default_bias
from flagstone.nn.parameter import Parameter
from flagstone.ops.conv import convolve
from flagstone.ops.conv_transpose import Numbers
from flagstone.ops.fused import form_of
from flagstone.ops.window import Lengths, Padding, Pairs, check_padding, pairs, per_axis
from flagstone.tensors import Tensor

PADDING_MODES = {"zeros": "zero", "reflect": "reflect", "replicate": "edge"}
"""PyTorch's name -> that of :func:`flagstone.ops.pad`."""


class Filters(Layer):
    """What all convolution layers have: checked sizes, a weight and a bias.

    A subclass is for :attr:`spatial` axes and names the op that it applies.

    Attributes:
        spatial: how many axes there are between the batch's and the channels'.
        weight: (first, *kernel, last / groups), in files (first, last / groups, *kernel).
        bias: (out_channels,) or ``None``.
    """

    spatial = 0

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Lengths, stride: Lengths,
        padding: Any, dilation: Lengths, groups: int, bias: bool,
        init: str | Initializer | None, *, transposed: bool,
    ) -> None:  # fmt: skip
        name = type(self).__name__
        positive(name, in_channels=in_channels, out_channels=out_channels, groups=groups)
        truth(name, bias=bias)
        if in_channels % groups or out_channels % groups:
            raise InputError(
                f"{name}: groups expected a divisor of in_channels={in_channels} and "
                f"out_channels={out_channels}; got {groups}"
            )
        self.kernel_size = per_axis(name, "kernel_size", kernel_size, self.spatial)
        per_axis(name, "stride", stride, self.spatial)
        per_axis(name, "dilation", dilation, self.spatial)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.stride, self.padding = stride, padding
        self.dilation, self.groups = dilation, groups
        first, last = (
            (in_channels, out_channels) if transposed else (out_channels, in_channels)
        )  # fmt: skip
        shape = (first, *self.kernel_size, last // groups)
        default = fan_in_uniform(math.prod(shape[1:]))
        self.weight = Parameter(shape, resolve(init, default), channels_last=True)
        self.bias = Parameter((out_channels,), default_bias(init, default)) if bias else None

    def describe(self) -> str:
        text = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, padding={self.padding!r}"
        )
        if self.dilation not in (1, (1,) * self.spatial):
            text += f", dilation={self.dilation}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        return text if self.bias is not None else f"{text}, bias=False"


class Conv(Filters):
    """Convolution over :attr:`spatial` axes; use :class:`Conv1d`, :class:`Conv2d`, :class:`Conv3d`.

    Args:
        in_channels: length of the input's last axis.
        out_channels: length of the output's last axis.
        kernel_size: lengths of the window, or one number for all axes.
        stride, padding, dilation, groups: as in :func:`flagstone.ops.conv2d`.
        bias: whether there is one.
        padding_mode: what is padded with: ``"zeros"``; ``"reflect"``, the values next to the edge,
            mirrored; ``"replicate"``, the edge's (PyTorch's ``"circular"`` is not offered).
        init: as in :class:`flagstone.nn.Linear`.

    Shapes: (n, *spatial, in_channels) -> (n, *positions, out_channels); ``weight``
    (out, *kernel, in / groups), in files (out, in / groups, *kernel); ``bias`` (out,).

    Raises:
        InputError: an argument is out of range, or ``groups`` divides not both numbers of channels.
        ShapeError: the input has other axes or channels, or is smaller than the window.
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
        padding_mode: str = "zeros",
        *,
        init: str | Initializer | None = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, init,
            transposed=False,
        )  # fmt: skip
        name = type(self).__name__
        check_padding(name, padding, self.spatial)
        known = isinstance(padding_mode, str) and padding_mode in PADDING_MODES
        expected = f"one of {', '.join(PADDING_MODES)}"
        require(name, "padding_mode", padding_mode, known, expected)
        self.padding_mode = padding_mode

    @fuses("conv")
    def forward(self, x: Tensor, then: Then | None = None) -> Tensor:
        apply: Any = ops.conv if then is None else then
        if isinstance(then, str):
            apply = form_of(ops.conv, then)
        if self.padding_mode != "zeros":
            apply = partial(_padded, apply, PADDING_MODES[self.padding_mode])
        return convolve(
            f"conv{self.spatial}d", self.spatial, x, self.weight, self.bias, self.stride,
            self.padding, self.dilation, self.groups, apply,
        )  # fmt: skip

    def describe(self) -> str:
        mode = "" if self.padding_mode == "zeros" else f", padding_mode={self.padding_mode!r}"
        return super().describe() + mode


def _padded(
    apply: Callable[..., Tensor], mode: str, x: Tensor, w: Tensor, b: Tensor | None, *,
    padding: Pairs, **how: Any,
) -> Tensor:  # fmt: skip
    """A convolution whose padding is made before it, of other values than 0."""
    x = ops.pad(x, ((0, 0), *padding, (0, 0)), mode)
    return apply(x, w, b, padding=((0, 0),) * len(padding), **how)


class Conv1d(Conv):
    """Convolution of signals (n, length, in_channels); arguments as in :class:`Conv`."""

    spatial = 1


class Conv2d(Conv):
    """Convolution of images (n, h, w, in_channels); arguments as in :class:`Conv`."""

    spatial = 2


class Conv3d(Conv):
    """Convolution of volumes (n, d, h, w, in_channels); arguments as in :class:`Conv`."""

    spatial = 3


class ConvTranspose(Filters):
    """Transposed convolution over :attr:`spatial` axes; use :class:`ConvTranspose1d`, 2d, 3d.

    Args:
        in_channels: length of the input's last axis.
        out_channels: length of the output's last axis.
        kernel_size: lengths of the window, or one number for all axes.
        stride, padding, output_padding, groups, dilation: as in
            :func:`flagstone.ops.conv_transpose2d`.
        bias: whether there is one.
        init: as in :class:`flagstone.nn.Linear`; by default PyTorch's, uniform on ±1/sqrt of
            kernel times out / groups.

    Shapes: (n, *spatial, in_channels) -> (n, *positions, out_channels); ``weight``
    (in, *kernel, out / groups), in files (in, out / groups, *kernel); ``bias`` (out,).

    Raises:
        InputError: an argument is out of range, or ``groups`` divides not both numbers of channels.
        ShapeError: the input has other axes or channels, or padding leaves nothing of the output.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Lengths,
        stride: Lengths = 1,
        padding: Numbers = 0,
        output_padding: Lengths = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Lengths = 1,
        *,
        init: str | Initializer | None = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, init,
            transposed=True,
        )  # fmt: skip
        name = type(self).__name__
        pairs(name, padding, self.spatial)
        per_axis(name, "output_padding", output_padding, self.spatial, least=0)
        self.output_padding = output_padding

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = _CONV_TRANSPOSE[self.spatial](
            x, self.weight, self.bias, stride=self.stride, padding=self.padding,
            output_padding=self.output_padding, groups=self.groups, dilation=self.dilation,
        )  # fmt: skip
        return y

    def describe(self) -> str:
        extra = f", output_padding={self.output_padding}" if self.output_padding else ""
        return super().describe() + extra


class ConvTranspose1d(ConvTranspose):
    """For signals (n, length, in_channels); arguments as in :class:`ConvTranspose`."""

    spatial = 1


class ConvTranspose2d(ConvTranspose):
    """For images (n, h, w, in_channels); arguments as in :class:`ConvTranspose`."""

    spatial = 2


class ConvTranspose3d(ConvTranspose):
    """For volumes (n, d, h, w, in_channels); arguments as in :class:`ConvTranspose`."""

    spatial = 3


_CONV_TRANSPOSE: dict[int, Any] = {
    1: ops.conv_transpose1d, 2: ops.conv_transpose2d, 3: ops.conv_transpose3d,
}  # fmt: skip
