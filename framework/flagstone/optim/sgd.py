"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Unpack

from flagstone import ops
from flagstone.nn.layer import Layer
from flagstone.optim.checks import require, require_fraction
from flagstone.optim.optimizer import Common, Optimizer
from flagstone.optim.repeated import RepeatedCall
from flagstone.tensors import Tensor


class SGD(Optimizer):
    """``p -= lr * g``, with momentum and weight decay as in PyTorch.

    Args:
        layer: the outermost layer.
        lr: the learning rate.
        momentum: how much of the last update is kept, in [0, 1).
        dampening: by how much the gradient counts less in the momentum, from the second step on,
            in [0, 1); needs momentum.
        nesterov: look ahead along the momentum (Sutskever et al., ICML 2013); needs momentum, and
            no dampening.
        weight_decay: added to the gradient as ``weight_decay * p``.
        common: see :class:`Optimizer`.
    """

    leaves_out = True

    def __init__(
        self,
        layer: Layer,
        lr: float = 0.01,
        *,
        momentum: float = 0.0,
        dampening: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        **common: Unpack[Common],
    ) -> None:
        require_fraction("SGD", momentum=momentum, dampening=dampening)
        require("SGD", "nesterov", nesterov, isinstance(nesterov, bool), "True or False")
        require("SGD", "nesterov", nesterov, not nesterov or momentum > 0, "momentum > 0 with it")
        require("SGD", "nesterov", nesterov, not (nesterov and dampening), "no dampening with it")
        holds = not dampening or momentum > 0
        require("SGD", "dampening", dampening, holds, "momentum > 0 with it")
        super().__init__(layer, lr, weight_decay=weight_decay, **common)
        self.momentum, self.dampening, self.nesterov = momentum, dampening, nesterov
        self._velocity = self.state("velocity") if momentum else None
        self._t = self.counter("t") if dampening else None
        self._update = RepeatedCall()

    def update(self, p: Tensor, g: Tensor, lr: Tensor, scale: Tensor) -> None:
        settings = self.settings if self.is_steady(lr, scale) else None
        if settings is not None and self._update.again(settings, p, g):
            return
        inputs = p, g, self._velocity, lr, scale, self.rates, self.decays, self._t
        static = {
            "momentum": self.momentum, "nesterov": self.nesterov,
            "weight_decay": self.weight_decay, "dampening": self.dampening,
        }  # fmt: skip
        self._update(ops.sgd_update, inputs, static, settings)
