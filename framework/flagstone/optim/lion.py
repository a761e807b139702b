"""Lion: the sign of a momentum."""

from __future__ import annotations

from typing import Unpack

from flagstone import ops
from flagstone.nn.layer import Layer
from flagstone.optim.checks import require_betas
from flagstone.optim.optimizer import Common, Optimizer
from flagstone.tensors import Tensor


class Lion(Optimizer):
    """Every value moves by the rate, along the sign of a momentum (Chen et al., NeurIPS 2023,
    program 1). The paper advises a rate 3 to 10 times lower than AdamW's.

    Args:
        layer: the outermost layer.
        lr: the learning rate.
        betas: how much of the running mean is kept in the step, and in what the next step starts
            from, each in [0, 1).
        weight_decay: each step multiplies the parameters by ``1 - lr * weight_decay``.
        common: see :class:`Optimizer`.
    """

    leaves_out = True

    def __init__(
        self,
        layer: Layer,
        lr: float = 1e-4,
        *,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        **common: Unpack[Common],
    ) -> None:
        require_betas("Lion", betas)
        super().__init__(layer, lr, weight_decay=weight_decay, **common)
        self.betas = betas
        self._m = self.state("m")

    def update(self, p: Tensor, g: Tensor, lr: Tensor, scale: Tensor) -> None:
        ops.lion_update(
            p, g, self._m, lr, scale, self.rates, self.decays,
            beta1=self.betas[0], beta2=self.betas[1], weight_decay=self.weight_decay,
        )  # fmt: skip
