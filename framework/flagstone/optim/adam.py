"""Adam and AdamW."""

from __future__ import annotations

from flagstone import ops
from flagstone.named import is_number
from flagstone.nn.layer import Layer
from flagstone.optim.optimizer import Optimizer, not_negative, require
from flagstone.tensors import Tensor


class Adam(Optimizer):
    """Adam (Kingma & Ba, ICLR 2015, algorithm 1), as in PyTorch.

    Args:
        layer: the outermost layer.
        lr: the learning rate.
        betas: how much of the running mean and of the running square is kept, each in [0, 1).
        eps: added to the root of the running square.
        weight_decay: added to the gradient as ``weight_decay * p``.
        clip_norm: see :class:`Optimizer`.
    """

    decoupled = False

    def __init__(
        self,
        layer: Layer,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
    ) -> None:
        name = type(self).__name__
        in_range = (
            isinstance(betas, (tuple, list))
            and len(betas) == 2
            and all(is_number(b) and 0 <= b < 1 for b in betas)
        )
        require(name, "betas", betas, in_range, "two numbers in [0, 1)")
        require(name, "eps", eps, not_negative(eps), "a number >= 0")
        require(name, "weight_decay", weight_decay, not_negative(weight_decay), "a number >= 0")
        super().__init__(layer, lr, clip_norm=clip_norm)
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay
        self._m, self._v, self._t = self.state("m"), self.state("v"), self.counter("t")

    def update(self, p: Tensor, g: Tensor, lr: Tensor, scale: Tensor) -> None:
        ops.adam_update(
            p, g, self._m, self._v, self._t, lr, scale, beta1=self.betas[0], beta2=self.betas[1],
            eps=self.eps, weight_decay=self.weight_decay, decoupled=self.decoupled,
        )  # fmt: skip


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter, ICLR 2019, algorithm 2).

    Args:
        layer, lr, betas, eps, clip_norm: as in :class:`Adam`.
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
        clip_norm: float | None = None,
    ) -> None:
        super().__init__(
            layer, lr, betas=betas, eps=eps, weight_decay=weight_decay, clip_norm=clip_norm
        )
