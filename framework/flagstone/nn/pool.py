"""Pooling layers. Images are (n, h, w, channels)."""

from __future__ import annotations

from flagstone import ops
from flagstone.nn.layer import Layer
from flagstone.ops.window import Lengths, Padding
from flagstone.tensors import Tensor


class MaxPool2d(Layer):
    """The maximum of every window; see :func:`flagstone.ops.max_pool2d`.

    Args:
        kernel_size: height and width of the window, or one number for both.
        stride: from window to window; ``kernel_size`` by default.
        padding: as in :func:`flagstone.ops.max_pool2d`.
    """

    def __init__(
        self, kernel_size: Lengths, stride: Lengths | None = None, padding: Padding = 0
    ) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        return ops.max_pool2d(x, self.kernel_size, stride=self.stride, padding=self.padding)

    def describe(self) -> str:
        stride = self.kernel_size if self.stride is None else self.stride
        return f"kernel_size={self.kernel_size}, stride={stride}, padding={self.padding!r}"


class AvgPool2d(Layer):
    """The mean of every window; see :func:`flagstone.ops.avg_pool2d`.

    Args:
        kernel_size: height and width of the window, or one number for both.
        stride: from window to window; ``kernel_size`` by default.
        padding, count_include_pad: as in :func:`flagstone.ops.avg_pool2d`.
    """

    def __init__(
        self,
        kernel_size: Lengths,
        stride: Lengths | None = None,
        padding: Padding = 0,
        count_include_pad: bool = True,
    ) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.count_include_pad = count_include_pad

    def forward(self, x: Tensor) -> Tensor:
        return ops.avg_pool2d(
            x, self.kernel_size, stride=self.stride, padding=self.padding,
            count_include_pad=self.count_include_pad,
        )  # fmt: skip

    def describe(self) -> str:
        stride = self.kernel_size if self.stride is None else self.stride
        return f"kernel_size={self.kernel_size}, stride={stride}, padding={self.padding!r}"
