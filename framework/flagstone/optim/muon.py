"""Muon: momentum made orthogonal, for weights that are matrices."""

from __future__ import annotations

import math
from fnmatch import fnmatchcase
from typing import Unpack

from flagstone import ops
from flagstone.named import is_number
from flagstone.nn.layer import Layer
from flagstone.optim.checks import (
    require,
    require_betas,
    require_count,
    require_fraction,
    require_not_negative,
    require_positive,
)
from flagstone.optim.groups import pieces, spread
from flagstone.optim.optimizer import Common, Optimizer
from flagstone.tensors import Tensor

ADJUSTMENTS = ("original", "match_rms_adamw")


class Muon(Optimizer):
    """Momentum whose singular values are all brought near 1 (Jordan et al., 2024), as in PyTorch;
    biases and other vectors, and what is named, go by AdamW.

    Parameters of two axes or more are matrices (first axis, all others): weights of linear layers
    are, and those of convolutions become so. The recipe leaves embeddings and the output layer to
    AdamW as well; which they are, ``adamw`` must say. AdamW's rate follows the same schedule.

    A step is one pass over all parameters for AdamW, one for the momentum, and one for each matrix,
    most of whose time is products of matrices. Computed in the parameters' dtype; PyTorch computes
    the orthogonal matrix in bfloat16.

    Args:
        layer: the outermost layer.
        lr: the learning rate of matrices.
        weight_decay: each step multiplies a parameter by ``1 - its rate * weight_decay``.
        momentum: how much of the running mean of the gradient is kept, in [0, 1).
        nesterov: take that mean once more with the present gradient.
        ns_coefficients: a, b, c of the Newton-Schulz iteration.
        eps: the least norm that a matrix is divided by.
        ns_steps: how many iterations.
        adjust_lr_fn: ``"original"`` (and ``None``): the rate times
            ``sqrt(max(1, rows / columns))``; ``"match_rms_adamw"``: times
            ``0.2 * sqrt(max(rows, columns))`` (Liu et al., arXiv:2502.16982), with which AdamW's
            rates suit matrices.
        adamw: patterns of names of matrices that go by AdamW: ``("embedding.*", "head.*")``.
        adamw_lr: AdamW's rate while this one's is ``lr``.
        adamw_betas, adamw_eps: AdamW's.
        common: see :class:`Optimizer`.
    """

    leaves_out = True

    def __init__(
        self,
        layer: Layer,
        lr: float = 1e-3,
        *,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
        adamw: tuple[str, ...] = (),
        adamw_lr: float = 3e-4,
        adamw_betas: tuple[float, float] = (0.9, 0.95),
        adamw_eps: float = 1e-10,
        **common: Unpack[Common],
    ) -> None:
        require_fraction("Muon", momentum=momentum)
        require_positive("Muon", eps=eps, adamw_eps=adamw_eps)
        require("Muon", "nesterov", nesterov, isinstance(nesterov, bool), "True or False")
        require_count("Muon", ns_steps=ns_steps)
        require("Muon", "ns_steps", ns_steps, ns_steps < 100, "fewer than 100")
        require_not_negative("Muon", adamw_lr=adamw_lr)
        require_betas("Muon", adamw_betas, "adamw_betas")
        three = isinstance(ns_coefficients, (tuple, list)) and len(ns_coefficients) == 3
        three = three and all(is_number(c) and math.isfinite(c) for c in ns_coefficients)
        require("Muon", "ns_coefficients", ns_coefficients, three, "three finite numbers")
        named = isinstance(adjust_lr_fn, str) and adjust_lr_fn in ADJUSTMENTS
        known = adjust_lr_fn is None or named
        require("Muon", "adjust_lr_fn", adjust_lr_fn, known, f"one of {', '.join(ADJUSTMENTS)}")
        super().__init__(layer, lr, weight_decay=weight_decay, **common)
        require("Muon", "lr", lr, lr > 0, "a number > 0, which adamw_lr is relative to")
        self.momentum, self.nesterov = momentum, nesterov
        self.ns_coefficients, self.eps, self.ns_steps = ns_coefficients, eps, ns_steps
        self.adjust_lr_fn = adjust_lr_fn
        self.adamw_betas, self.adamw_eps = adamw_betas, adamw_eps
        self._adamw_scale = adamw_lr / lr
        names = [name for name, _ in layer.named_parameters()]
        listed = isinstance(adamw, (tuple, list)) and all(isinstance(a, str) for a in adamw)
        require("Muon", "adamw", adamw, listed, "a tuple of patterns of names")
        for pattern in adamw:
            found = any(fnmatchcase(name, pattern) for name in names)
            require("Muon", "adamw", pattern, found, f"patterns of names among {', '.join(names)}")
        is_matrix = [
            len(t.shape) > 1 and not any(fnmatchcase(name, pattern) for pattern in adamw)
            for name, t in zip(names, self.flat.tensors, strict=True)
        ]
        self._is_matrix = is_matrix
        self._direction = self.scratch()
        self._momentum = self.state("momentum") if any(is_matrix) else None
        if not all(is_matrix):
            self._m, self._v, self._t = self.state("m"), self.state("v"), self.counter("t")
        self.use_options()

    def use_options(self) -> None:
        super().use_options()
        if not hasattr(self, "_direction"):
            return  # the base's __init__, too early
        everything = zip(
            pieces(self.flat, self.flat.values), pieces(self.flat, self._direction), self.options,
            self._is_matrix, strict=True,
        )  # fmt: skip
        self._matrices = [
            (_as_matrix(p), _as_matrix(d), option) for p, d, option, matrix in everything if matrix
        ]
        self._rates: Tensor | None = None
        if not all(self._is_matrix):
            pairs = zip(self._is_matrix, self.options, strict=True)
            self._rates = spread(self.flat, [0.0 if m else o.lr_scale for m, o in pairs])

    def update(self, p: Tensor, g: Tensor, lr: Tensor, scale: Tensor) -> None:
        if self._rates is not None:  # a rate of 0 leaves matrices as they are
            ops.adam_update(
                p, g, self._m, self._v, self._t, lr * self._adamw_scale, scale, self._rates,
                self.decays, beta1=self.adamw_betas[0], beta2=self.adamw_betas[1],
                eps=self.adamw_eps, weight_decay=self.weight_decay, decoupled=True,
            )  # fmt: skip
        if self._momentum is None:
            return
        ops.momentum_direction(
            g, self._momentum, self._direction, scale,
            momentum=self.momentum, nesterov=self.nesterov,
        )  # fmt: skip
        for own, direction, option in self._matrices:
            ops.muon_update(
                own, direction, lr, scale, coefficients=tuple(self.ns_coefficients),
                steps=self.ns_steps, eps=self.eps, weight_decay=option.weight_decay,
                adjustment=self._adjustment(*own.shape), rate=option.lr_scale,
            )  # fmt: skip

    def _adjustment(self, rows: int, columns: int) -> float:
        """What the rate of a matrix is multiplied by."""
        if self.adjust_lr_fn == "match_rms_adamw":
            return 0.2 * math.sqrt(max(rows, columns))
        return math.sqrt(max(1.0, rows / columns))


def _as_matrix(t: Tensor) -> Tensor:
    """A view (first axis, all others)."""
    rows = t.shape[0]
    return Tensor(t.backend.xp.reshape(t.array, (rows, t.size // max(rows, 1))), t.backend)
