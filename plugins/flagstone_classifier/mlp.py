"""A multi-layer perceptron for classification."""

from __future__ import annotations

from dataclasses import dataclass

import flagstone as fs
from flagstone import nn


@dataclass(kw_only=True, eq=False, repr=False)
class MLPClassifier(fs.Classifier):
    """A multi-layer perceptron with softmax cross-entropy.

    Attributes:
        epochs: how many times to go through the data; of 9.9, the last time through nine tenths.
        hidden: widths of the hidden layers.
        activation: between them: a registered layer's name such as relu, gelu, silu, tanh or
            maxout, with options as in ``"leaky-relu(negative_slope=0.1)"``.
        dropout: the probability of zero after each activation while training.
        init: how weights start; ``None`` is PyTorch's default.
    """

    epochs: int | float = 100
    hidden: tuple[int, ...] = (64, 64)
    activation: str = "relu"
    dropout: float = 0.0
    init: str | None = None

    def build(self, inputs: fs.Spec, outputs: fs.Spec) -> nn.Layer:
        return nn.mlp(
            inputs.size, self.hidden, outputs.size, activation=self.activation,
            dropout=self.dropout, init=self.init,
        )  # fmt: skip
