"""Stochastic gradient descent."""

from __future__ import annotations

from flagstone import ops
from flagstone.named import is_number
from flagstone.nn.layer import Layer
from flagstone.optim.optimizer import Optimizer, not_negative, require
from flagstone.tensors import Tensor


class SGD(Optimizer):
    """``p -= lr * g``, with momentum and weight decay as in PyTorch.

    Args:
        layer: the outermost layer.
        lr: the learning rate.
        momentum: how much of the last update is kept, in [0, 1).
        nesterov: look ahead along the momentum (Sutskever et al., ICML 2013); needs momentum.
        weight_decay: added to the gradient as ``weight_decay * p``.
        clip_norm: see :class:`Optimizer`.
    """

    def __init__(
        self,
        layer: Layer,
        lr: float = 0.01,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
    ) -> None:
        in_range = is_number(momentum) and 0 <= momentum < 1
        require("SGD", "momentum", momentum, in_range, "a number in [0, 1)")
        require("SGD", "weight_decay", weight_decay, not_negative(weight_decay), "a number >= 0")
        require("SGD", "nesterov", nesterov, not nesterov or momentum > 0, "momentum > 0 with it")
        super().__init__(layer, lr, clip_norm=clip_norm)
        self.momentum, self.nesterov, self.weight_decay = momentum, nesterov, weight_decay
        self._velocity = self.state("velocity") if momentum else None

    def update(self, p: Tensor, g: Tensor, lr: Tensor, scale: Tensor) -> None:
        ops.sgd_update(
            p, g, self._velocity, lr, scale, momentum=self.momentum, nesterov=self.nesterov,
            weight_decay=self.weight_decay,
        )  # fmt: skip
