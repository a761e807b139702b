"""Layers whose output has a size of its own. Images are (n, *spatial, channels)."""

from __future__ import annotations

import math
from typing import Any

from flagstone import ops
from flagstone.errors import InputError, ShapeError
from flagstone.named import is_number
from flagstone.nn.checks import require, truth
from flagstone.nn.layer import Layer, require_tensor
from flagstone.ops.resize import MODES
from flagstone.ops.window import Lengths, is_integer
from flagstone.tensors import Tensor

Sizes = int | tuple[int | None, ...]


class GlobalAvgPool(Layer):
    """The mean of each channel over the image: (n, *spatial, c) -> (n, c).

    Args:
        keepdims: keep the spatial axes, with length 1.
    """

    def __init__(self, keepdims: bool = False) -> None:
        truth(type(self).__name__, keepdims=keepdims)
        self.keepdims = keepdims

    def forward(self, x: Tensor) -> Tensor:
        return ops.global_avg_pool(x, self.keepdims)

    def describe(self) -> str:
        return "keepdims=True" if self.keepdims else ""


class GlobalMaxPool(Layer):
    """The maximum of each channel over the image: (n, *spatial, c) -> (n, c).

    Args:
        keepdims: keep the spatial axes, with length 1.
    """

    def __init__(self, keepdims: bool = False) -> None:
        truth(type(self).__name__, keepdims=keepdims)
        self.keepdims = keepdims

    def forward(self, x: Tensor) -> Tensor:
        return ops.global_max_pool(x, self.keepdims)

    def describe(self) -> str:
        return "keepdims=True" if self.keepdims else ""


class AdaptivePool(Layer):
    """A given number of bins along each of :attr:`spatial` axes.

    Args:
        output_size: how many, one per axis (``None`` keeps that axis) or one number for all.

    Shapes: (n, *spatial, channels) -> (n, *output_size, channels).

    Raises:
        InputError: ``output_size`` is out of range.
        ShapeError: the input has other axes.
    """

    spatial = 0

    def __init__(self, output_size: Sizes) -> None:
        if isinstance(output_size, tuple):
            kept = [n for n in output_size if n is not None]
            fits = len(output_size) == self.spatial
        else:
            kept, fits = [output_size], True
        fits = fits and all(is_integer(n) and n >= 1 for n in kept)
        expected = f"a positive integer, or {self.spatial} of them or of None in a tuple"
        require(type(self).__name__, "output_size", output_size, fits, expected)
        self.output_size = output_size

    def describe(self) -> str:
        return f"output_size={self.output_size}"

    def images(self, x: Tensor) -> Tensor:
        """``x``, if it has as many axes as this layer is for."""
        name = type(self).__name__
        if require_tensor(name, x).ndim != self.spatial + 2:
            raise ShapeError(
                f"{name}: x expected {self.spatial + 2} axes (n, {self.spatial} spatial, "
                f"channels); got shape {x.shape}"
            )
        return x


class AdaptiveAvgPool(AdaptivePool):
    """The mean of every bin; see :func:`flagstone.ops.adaptive_avg_pool`."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.adaptive_avg_pool(self.images(x), self.output_size)


class AdaptiveAvgPool1d(AdaptiveAvgPool):
    """Of signals (n, length, channels); arguments as in :class:`AdaptivePool`."""

    spatial = 1


class AdaptiveAvgPool2d(AdaptiveAvgPool):
    """Of images (n, h, w, channels); arguments as in :class:`AdaptivePool`."""

    spatial = 2


class AdaptiveAvgPool3d(AdaptiveAvgPool):
    """Of volumes (n, d, h, w, channels); arguments as in :class:`AdaptivePool`."""

    spatial = 3


class AdaptiveMaxPool(AdaptivePool):
    """The maximum of every bin; see :func:`flagstone.ops.adaptive_max_pool`."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.adaptive_max_pool(self.images(x), self.output_size)


class AdaptiveMaxPool1d(AdaptiveMaxPool):
    """Of signals (n, length, channels); arguments as in :class:`AdaptivePool`."""

    spatial = 1


class AdaptiveMaxPool2d(AdaptiveMaxPool):
    """Of images (n, h, w, channels); arguments as in :class:`AdaptivePool`."""

    spatial = 2


class AdaptiveMaxPool3d(AdaptiveMaxPool):
    """Of volumes (n, d, h, w, channels); arguments as in :class:`AdaptivePool`."""

    spatial = 3


class Upsample(Layer):
    """Images of another size; see :func:`flagstone.ops.resize`.

    Args:
        size, scale_factor, mode, align_corners: as there.

    Raises:
        InputError: both or neither of ``size`` and ``scale_factor``, one out of range, no such
            mode, or ``align_corners`` for a mode that has none.
    """

    def __init__(
        self,
        size: Lengths | None = None,
        scale_factor: float | tuple[float, ...] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
    ) -> None:
        if (size is None) == (scale_factor is None):
            raise InputError(
                "Upsample: expected either size or scale_factor; got "
                f"size={size!r}, scale_factor={scale_factor!r}"
            )
        known = isinstance(mode, str) and mode in MODES
        require("Upsample", "mode", mode, known, f"one of {', '.join(MODES)}")
        if size is not None:
            fits = all(is_integer(n) and n >= 1 for n in _each(size))
            require("Upsample", "size", size, fits, "a positive integer or a tuple of them")
        else:
            fits = all(is_number(f) and 0 < f < math.inf for f in _each(scale_factor))
            expected = "a positive finite number or a tuple of them"
            require("Upsample", "scale_factor", scale_factor, fits, expected)
        if align_corners is not None:
            truth("Upsample", align_corners=align_corners)
            linear = not mode.startswith("nearest")
            require("Upsample", "align_corners", align_corners, linear, f"None for mode {mode!r}")
        self.size, self.scale_factor = size, scale_factor
        self.mode, self.align_corners = mode, align_corners

    def forward(self, x: Tensor) -> Tensor:
        return ops.resize(
            x, self.size, scale_factor=self.scale_factor, mode=self.mode,
            align_corners=self.align_corners,
        )  # fmt: skip

    def describe(self) -> str:
        given = (
            f"size={self.size}" if self.scale_factor is None
            else f"scale_factor={self.scale_factor}"
        )  # fmt: skip
        corners = "" if self.align_corners is None else f", align_corners={self.align_corners}"
        return f"{given}, mode={self.mode!r}{corners}"


def _each(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) and value else (value,)
