"""A rate for every value, without Adam's running mean: RMSprop, Adagrad, Adadelta."""

from __future__ import annotations

from typing import Unpack

from flagstone import ops
from flagstone.nn.layer import Layer
from flagstone.optim.checks import (
    require,
    require_fraction,
    require_not_negative,
    require_positive,
)
from flagstone.optim.optimizer import Common, Optimizer
from flagstone.tensors import Tensor


class RMSprop(Optimizer):
    """The gradient divided by the root of its running mean square (Tieleman & Hinton, 2012), as in
    PyTorch.

    Args:
        layer: the outermost layer.
        lr: the learning rate.
        alpha: how much of the running square is kept, in [0, 1).
        eps: added to the root, positive.
        weight_decay: added to the gradient as ``weight_decay * p``.
        momentum: how much of the last update is kept, in [0, 1).
        centered: subtract the square of the running mean: divide by a standard deviation
            (Graves, arXiv:1308.0850).
        common: see :class:`Optimizer`.
    """

    leaves_out = True

    def __init__(
        self,
        layer: Layer,
        lr: float = 0.01,
        *,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        **common: Unpack[Common],
    ) -> None:
        require_fraction("RMSprop", alpha=alpha, momentum=momentum)
        require_positive("RMSprop", eps=eps)
        require("RMSprop", "centered", centered, isinstance(centered, bool), "True or False")
        super().__init__(layer, lr, weight_decay=weight_decay, **common)
        self.alpha, self.eps, self.momentum, self.centered = alpha, eps, momentum, centered
        self._v = self.state("v")
        self._m = self.state("m") if centered else None
        self._velocity = self.state("velocity") if momentum else None

    def update(self, p: Tensor, g: Tensor, lr: Tensor, scale: Tensor) -> None:
        ops.rmsprop_update(
            p, g, self._v, self._m, self._velocity, lr, scale, self.rates, self.decays,
            alpha=self.alpha, eps=self.eps, weight_decay=self.weight_decay,
            momentum=self.momentum,
        )  # fmt: skip


class Adagrad(Optimizer):
    """The gradient divided by the root of the sum of its squares (Duchi et al., JMLR 2011), as in
    PyTorch.

    Args:
        layer: the outermost layer.
        lr: the learning rate.
        lr_decay: the rate at step ``t`` (from 1) is ``lr / (1 + (t - 1) * lr_decay)``.
        weight_decay: added to the gradient as ``weight_decay * p``.
        initial_accumulator_value: what the sum of squares starts at.
        eps: added to the root, positive.
        common: see :class:`Optimizer`.
    """

    leaves_out = True

    def __init__(
        self,
        layer: Layer,
        lr: float = 0.01,
        *,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        **common: Unpack[Common],
    ) -> None:
        require_not_negative(
            "Adagrad", lr_decay=lr_decay, initial_accumulator_value=initial_accumulator_value
        )
        require_positive("Adagrad", eps=eps)
        super().__init__(layer, lr, weight_decay=weight_decay, **common)
        self.lr_decay, self.eps = lr_decay, eps
        self._total, self._t = self.state("total", initial_accumulator_value), self.counter("t")

    def update(self, p: Tensor, g: Tensor, lr: Tensor, scale: Tensor) -> None:
        ops.adagrad_update(
            p, g, self._total, self._t, lr, scale, self.rates, self.decays,
            lr_decay=self.lr_decay, eps=self.eps, weight_decay=self.weight_decay,
        )  # fmt: skip


class Adadelta(Optimizer):
    """Steps as large as past ones, in units of past gradients (Zeiler, arXiv:1212.5701,
    algorithm 1), as in PyTorch.

    Args:
        layer: the outermost layer.
        lr: what a step is multiplied by; the paper has none, or 1.
        rho: how much of the running squares is kept, in [0, 1).
        eps: added to both running squares, positive.
        weight_decay: added to the gradient as ``weight_decay * p``.
        common: see :class:`Optimizer`.
    """

    leaves_out = True

    def __init__(
        self,
        layer: Layer,
        lr: float = 1.0,
        *,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        **common: Unpack[Common],
    ) -> None:
        require_fraction("Adadelta", rho=rho)
        require_positive("Adadelta", eps=eps)
        super().__init__(layer, lr, weight_decay=weight_decay, **common)
        self.rho, self.eps = rho, eps
        self._v, self._moved = self.state("v"), self.state("moved")

    def update(self, p: Tensor, g: Tensor, lr: Tensor, scale: Tensor) -> None:
        ops.adadelta_update(
            p, g, self._v, self._moved, lr, scale, self.rates, self.decays,
            rho=self.rho, eps=self.eps, weight_decay=self.weight_decay,
        )  # fmt: skip
