"""The model."""

from __future__ import annotations

from dataclasses import dataclass

import flagstone as fs
from flagstone import nn
from flagstone.errors import ConfigurationError

from flagstone_gated.block import GatedBlock


@dataclass(kw_only=True, eq=False, repr=False)
class Gated(fs.Classifier):
    """A linear layer, gated blocks, and a linear layer: what a table's features mean together.

    Attributes:
        width: how many numbers describe an example between the blocks.
        blocks: how many there are.
        dropout: the probability of zero in each while training.
    """

    epochs: int = 40
    batch_size: int | None = 32
    lr: float | None = 0.003
    width: int = 64
    blocks: int = 2
    dropout: float = 0.1

    def check_hyperparameters(self) -> None:
        super().check_hyperparameters()
        for name, holds, expected in (
            ("width", self.width >= 1, "a positive integer"),
            ("blocks", self.blocks >= 1, "a positive integer"),
            ("dropout", 0 <= self.dropout < 1, "a probability in [0, 1)"),
        ):
            if not holds:
                value = getattr(self, name)
                raise ConfigurationError(f"Gated: {name} expected {expected}; got {value!r}")

    def build(self, inputs: fs.Spec, outputs: fs.Spec) -> nn.Layer:
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(inputs.size, self.width),
            *(GatedBlock(self.width, self.dropout) for _ in range(self.blocks)),
            nn.LayerNorm(self.width),
            nn.Linear(self.width, outputs.size),
        )
