"""LAMB: Adam's direction, as long as the parameter."""

from __future__ import annotations

from typing import Unpack

from flagstone import ops
from flagstone.nn.layer import Layer
from flagstone.optim.checks import require_betas, require_positive
from flagstone.optim.groups import pieces
from flagstone.optim.optimizer import Common, Optimizer
from flagstone.tensors import Tensor


class LAMB(Optimizer):
    """Adam's direction, scaled for each parameter to the parameter's own norm, for large batches
    (You et al., ICLR 2020, algorithm 2, with bias correction and the identity as phi).

    A step is one pass over all parameters, which leaves their directions, and one for each
    parameter, which needs the norms of both first.

    Args:
        layer: the outermost layer.
        lr: the learning rate: how far a parameter moves, relative to its norm.
        betas: how much of the running mean and of the running square is kept, each in [0, 1).
        eps: added to the root of the running square, positive.
        weight_decay: added to the direction as ``weight_decay * p``, before its norm is taken.
        common: see :class:`Optimizer`.
    """

    leaves_out = True

    def __init__(
        self,
        layer: Layer,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
        **common: Unpack[Common],
    ) -> None:
        require_betas("LAMB", betas)
        require_positive("LAMB", eps=eps)
        super().__init__(layer, lr, weight_decay=weight_decay, **common)
        self.betas, self.eps = betas, eps
        self._m, self._v, self._t = self.state("m"), self.state("v"), self.counter("t")
        self._direction = self.scratch()
        self._pieces = pieces(self.flat, self._direction)

    def update(self, p: Tensor, g: Tensor, lr: Tensor, scale: Tensor) -> None:
        ops.lamb_direction(
            p, g, self._m, self._v, self._direction, self._t, scale, self.decays,
            beta1=self.betas[0], beta2=self.betas[1], eps=self.eps,
            weight_decay=self.weight_decay,
        )  # fmt: skip
        for own, direction, option in zip(
            self.flat.tensors, self._pieces, self.options, strict=True
        ):
            ops.trust_update(own, direction, lr, scale, rate=option.lr_scale)
