"""The block that the network is made of."""

from __future__ import annotations

import flagstone as fs
from flagstone import nn, ops


class GatedBlock(nn.Layer):
    """``x + dropout(a(n) * sigmoid(b(n)))`` with ``n`` the normalised ``x`` and ``a``, ``b``
    linear: a gated linear unit (Dauphin et al., ICML 2017) in a pre-normalised residual block.

    Shapes: (..., features) -> (..., features).

    Args:
        features: length of the last axis.
        dropout: the probability of zero while training, in [0, 1).

    Raises:
        InputError: a number is out of range.
        ShapeError: the input's last axis is not ``features`` long.
    """

    def __init__(self, features: int, dropout: float = 0.0) -> None:
        self.norm = nn.LayerNorm(features)
        self.value = nn.Linear(features, features)
        self.gate = nn.Linear(features, features)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: fs.Tensor) -> fs.Tensor:
        normal = self.norm(x)
        change: fs.Tensor = self.dropout(self.value(normal) * ops.sigmoid(self.gate(normal)))
        return x + change
