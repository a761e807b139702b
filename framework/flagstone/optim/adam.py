"""Adam and what became of it: AdamW, NAdam, RAdam, Adamax."""

from __future__ import annotations

from typing import Unpack

from flagstone import ops
from flagstone.nn.layer import Layer
from flagstone.optim.checks import (
    require,
    require_betas,
    require_not_negative,
    require_positive,
)
from flagstone.optim.optimizer import Common, Optimizer
from flagstone.optim.repeated import RepeatedCall
from flagstone.tensors import Tensor


class Adam(Optimizer):
    """Adam (Kingma & Ba, ICLR 2015, algorithm 1), as in PyTorch.

    Args:
        layer: the outermost layer.
        lr: the learning rate.
        betas: how much of the running mean and of the running square is kept, each in [0, 1).
        eps: added to the root of the running square.
        weight_decay: added to the gradient as ``weight_decay * p``.
        common: see :class:`Optimizer`.
    """

    decoupled = False

    leaves_out = True

    def __init__(
        self,
        layer: Layer,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        **common: Unpack[Common],
    ) -> None:
        name = type(self).__name__
        require_betas(name, betas)
        require_not_negative(name, eps=eps)
        super().__init__(layer, lr, weight_decay=weight_decay, **common)
        self.betas, self.eps = betas, eps
        self._m, self._v, self._t = self.state("m"), self.state("v"), self.counter("t")
        self._update = RepeatedCall()

    def update(self, p: Tensor, g: Tensor, lr: Tensor, scale: Tensor) -> None:
        settings = self.settings if self.is_steady(lr, scale) else None
        if settings is not None and self._update.again(settings, p, g):
            return
        inputs = p, g, self._m, self._v, self._t, lr, scale, self.rates, self.decays
        static = {
            "beta1": self.betas[0], "beta2": self.betas[1], "eps": self.eps,
            "weight_decay": self.weight_decay, "decoupled": self.decoupled,
        }  # fmt: skip
        self._update(ops.adam_update, inputs, static, settings)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter, ICLR 2019, algorithm 2).

    Args:
        layer, lr, betas, eps, common: as in :class:`Adam`.
        weight_decay: each step multiplies the parameters by ``1 - lr * weight_decay``.
    """

    decoupled = True

    def __init__(
        self,
        layer: Layer,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(layer, lr, betas=betas, eps=eps, weight_decay=weight_decay, **common)


class NAdam(Optimizer):
    """Adam with Nesterov's momentum (Dozat, ICLR workshop 2016), as in PyTorch.

    Args:
        layer, lr, betas, weight_decay, common: as in :class:`Adam`.
        eps: added to the root of the running square, positive.
        momentum_decay: how fast the momentum rises: it is
            ``betas[0] * (1 - 0.5 * 0.96**(t * momentum_decay))`` at step ``t``.
        decoupled_weight_decay: decay as :class:`AdamW` does.
    """

    leaves_out = True

    def __init__(
        self,
        layer: Layer,
        lr: float = 2e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        **common: Unpack[Common],
    ) -> None:
        require_betas("NAdam", betas)
        require_positive("NAdam", eps=eps)
        require_not_negative("NAdam", momentum_decay=momentum_decay)
        _require_flag("NAdam", decoupled_weight_decay)
        super().__init__(layer, lr, weight_decay=weight_decay, **common)
        self.betas, self.eps, self.momentum_decay = betas, eps, momentum_decay
        self.decoupled_weight_decay = decoupled_weight_decay
        self._m, self._v, self._t = self.state("m"), self.state("v"), self.counter("t")
        self._product = self.counter("product", 1.0)

    def update(self, p: Tensor, g: Tensor, lr: Tensor, scale: Tensor) -> None:
        ops.nadam_update(
            p, g, self._m, self._v, self._t, self._product, lr, scale, self.rates, self.decays,
            beta1=self.betas[0], beta2=self.betas[1], eps=self.eps,
            weight_decay=self.weight_decay, decoupled=self.decoupled_weight_decay,
            momentum_decay=self.momentum_decay,
        )  # fmt: skip


class RAdam(Optimizer):
    """Adam whose first steps are momentum only, until the running square can be trusted
    (Liu et al., ICLR 2020, algorithm 2), as in PyTorch.

    Args:
        layer, lr, betas, weight_decay, common: as in :class:`Adam`.
        eps: added to the root of the running square, positive.
        decoupled_weight_decay: decay as :class:`AdamW` does.
    """

    leaves_out = True

    def __init__(
        self,
        layer: Layer,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        **common: Unpack[Common],
    ) -> None:
        require_betas("RAdam", betas)
        require_positive("RAdam", eps=eps)
        _require_flag("RAdam", decoupled_weight_decay)
        super().__init__(layer, lr, weight_decay=weight_decay, **common)
        self.betas, self.eps = betas, eps
        self.decoupled_weight_decay = decoupled_weight_decay
        self._m, self._v, self._t = self.state("m"), self.state("v"), self.counter("t")

    def update(self, p: Tensor, g: Tensor, lr: Tensor, scale: Tensor) -> None:
        ops.radam_update(
            p, g, self._m, self._v, self._t, lr, scale, self.rates, self.decays,
            beta1=self.betas[0], beta2=self.betas[1], eps=self.eps,
            weight_decay=self.weight_decay, decoupled=self.decoupled_weight_decay,
        )  # fmt: skip


class Adamax(Optimizer):
    """Adam that divides by the largest past gradient instead of a root mean square
    (Kingma & Ba, ICLR 2015, algorithm 2), as in PyTorch.

    Args:
        layer, lr, betas, weight_decay, common: as in :class:`Adam`.
        eps: added to the gradient's magnitude, positive.
    """

    leaves_out = True

    def __init__(
        self,
        layer: Layer,
        lr: float = 2e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        **common: Unpack[Common],
    ) -> None:
        require_betas("Adamax", betas)
        require_positive("Adamax", eps=eps)
        super().__init__(layer, lr, weight_decay=weight_decay, **common)
        self.betas, self.eps = betas, eps
        self._m, self._largest = self.state("m"), self.state("largest")
        self._t = self.counter("t")

    def update(self, p: Tensor, g: Tensor, lr: Tensor, scale: Tensor) -> None:
        ops.adamax_update(
            p, g, self._m, self._largest, self._t, lr, scale, self.rates, self.decays,
            beta1=self.betas[0], beta2=self.betas[1], eps=self.eps,
            weight_decay=self.weight_decay,
        )  # fmt: skip


def _require_flag(owner: str, value: object) -> None:
    require(owner, "decoupled_weight_decay", value, isinstance(value, bool), "True or False")
