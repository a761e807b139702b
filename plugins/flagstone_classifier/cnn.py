"""The course's deep convolutional network."""

from __future__ import annotations

from dataclasses import dataclass

import flagstone as fs
from flagstone import nn


@dataclass(kw_only=True, eq=False, repr=False)
class CNN(fs.ImageClassifier):
    """Blocks of 3x3 convolution, ReLU, 2x2 max pooling and dropout, then two linear layers.

    For images of 16 pixels a side and more it is rung 11-2 of the course: 32, 64 and 128 channels
    and 625 hidden units. Each block halves the image, so smaller ones get fewer: two blocks and 128
    hidden units from 4 pixels on, below that one.

    Attributes:
        dropout: the probability of zero after each block and the hidden layer while training.
        init: how weights start.
    """

    epochs: int | float = 15
    dropout: float = 0.3
    init: str = "xavier_uniform"

    def build(self, inputs: fs.Spec, outputs: fs.Spec) -> nn.Layer:
        height, width, channels = inputs.shape
        side = min(height, width)
        widths = [32, 64, 128] if side >= 16 else [32, 64] if side >= 4 else [32]
        hidden = 625 if side >= 16 else 128
        layers: list[nn.Layer] = []
        for out in widths:
            layers += [
                nn.Conv2d(channels, out, 3, padding="same", init=self.init),
                nn.MaxPool2d(
                    2, padding="same"
                ),  # before ReLU: the same on a quarter of the numbers
                nn.ReLU(),
                nn.Dropout(self.dropout),
            ]
            channels, height, width = out, -(-height // 2), -(-width // 2)
        return nn.Sequential(
            *layers,
            nn.Flatten(),
            nn.Linear(height * width * channels, hidden, init=self.init),
            nn.ReLU(),
            nn.Dropout(self.dropout),
            nn.Linear(hidden, outputs.size, init=self.init),
        )
