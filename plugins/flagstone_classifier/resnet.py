"""Residual networks for small images."""

from __future__ import annotations

from dataclasses import dataclass

import flagstone as fs
from flagstone import nn, ops
from flagstone.errors import ConfigurationError

WIDTHS = (16, 32, 64)


@dataclass(kw_only=True, eq=False, repr=False)
class ResNet(fs.ImageClassifier):
    """The residual network of He et al. (CVPR 2016, section 4.2) for CIFAR-10, in its recipe.

    A 3x3 convolution of 16 channels; three stages of 16, 32 and 64 channels, each of
    (depth - 2) / 6 blocks of two 3x3 convolutions with batch normalisation, beside a shortcut; the
    mean of each channel; a linear layer. The second and third stage begin with stride 2, where the
    shortcut takes every second pixel and adds channels of zeros: the paper's option A, which has no
    parameters.

    The paper trains on 45 000 or 50 000 images with
    ``augment="flip,crop(padding=4, mode='zero')"``. That is not the default, since not every
    image may be mirrored (digits may not). The rate falls at epochs 82 and 123 of 164, the paper's
    32 000 and 48 000 of 64 000 steps; with other ``epochs`` give another ``schedule``.

    Attributes:
        depth: how many layers have weights: 6 n + 2 (20, 32, 44, 56, 110).
        init: how weights start.
    """

    epochs: int | float = 164
    batch_size: int | None = 128
    lr: float | None = 0.1
    optimizer: str = "sgd(momentum=0.9)"
    schedule: str = "multi-step(milestones=(82, 123))"
    weight_decay: float = 1e-4
    depth: int = 20
    init: str = "kaiming_normal"

    def check_hyperparameters(self) -> None:
        super().check_hyperparameters()
        if self.depth < 8 or (self.depth - 2) % 6:
            raise ConfigurationError(
                "resnet: depth expected 6 n + 2 with n >= 1, such as 20, 32 or 56; "
                f"got {self.depth}"
            )

    def build(self, inputs: fs.Spec, outputs: fs.Spec) -> nn.Layer:
        channels = inputs.shape[-1]
        layers = [*self._convolution(channels, WIDTHS[0], 1), nn.ReLU()]
        channels = WIDTHS[0]
        for width in WIDTHS:
            for _ in range((self.depth - 2) // 6):
                layers += self._block(channels, width)
                channels = width
        return nn.Sequential(
            *layers, nn.GlobalAvgPool(), nn.Linear(channels, outputs.size, init=self.init)
        )

    def _block(self, channels: int, width: int) -> list[nn.Layer]:
        stride = 1 if channels == width else 2
        inner = nn.Sequential(
            *self._convolution(channels, width, stride),
            nn.ReLU(),
            *self._convolution(width, width, 1),
        )
        shortcut = None if stride == 1 else ShrinkAndWiden(stride, width)
        return [nn.Residual(inner, shortcut), nn.ReLU()]

    def _convolution(self, channels: int, width: int, stride: int) -> list[nn.Layer]:
        return [
            nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False, init=self.init),
            nn.BatchNorm2d(width),
        ]


class ShrinkAndWiden(nn.Layer):
    """Every ``stride``-th pixel of an image, with zeros for further channels.

    Args:
        stride: from pixel to pixel.
        channels: how many there are afterwards.
    """

    def __init__(self, stride: int, channels: int) -> None:
        self.stride, self.channels = stride, channels

    def forward(self, x: fs.Tensor) -> fs.Tensor:
        new = self.channels - x.shape[-1]
        fewer = x[:, :: self.stride, :: self.stride]
        return ops.pad(fewer, ((0, 0), (0, 0), (0, 0), (0, new)))

    def describe(self) -> str:
        return f"stride={self.stride}, channels={self.channels}"
