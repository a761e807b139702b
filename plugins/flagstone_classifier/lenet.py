"""LeNet-5."""

from __future__ import annotations

from dataclasses import dataclass

import flagstone as fs
from flagstone import nn


@dataclass(kw_only=True, eq=False, repr=False)
class LeNet(fs.ImageClassifier):
    """LeNet-5 (LeCun et al., Proceedings of the IEEE 1998), with softmax cross-entropy at its end.

    5x5 convolutions of 6 and 16 channels with tanh and 2x2 average pooling, then 120 and 84 units.
    The first convolution keeps the image's size, as the paper's 32x32 frame around 28x28 digits
    does; the second does not pad, unless it would not fit.

    Attributes:
        init: how weights start.
    """

    epochs: int | float = 15
    init: str = "xavier_uniform"

    def build(self, inputs: fs.Spec, outputs: fs.Spec) -> nn.Layer:
        height, width, channels = inputs.shape
        halved = (-(-height // 2), -(-width // 2))
        fits = min(halved) >= 6
        inner = tuple(n - 4 for n in halved) if fits else halved
        height, width = (-(-n // 2) for n in inner)
        return nn.Sequential(
            nn.Conv2d(channels, 6, 5, padding="same", init=self.init),
            nn.Tanh(),
            nn.AvgPool2d(2, padding="same", count_include_pad=False),
            nn.Conv2d(6, 16, 5, padding="valid" if fits else "same", init=self.init),
            nn.Tanh(),
            nn.AvgPool2d(2, padding="same", count_include_pad=False),
            nn.Flatten(),
            nn.Linear(height * width * 16, 120, init=self.init),
            nn.Tanh(),
            nn.Linear(120, 84, init=self.init),
            nn.Tanh(),
            nn.Linear(84, outputs.size, init=self.init),
        )
