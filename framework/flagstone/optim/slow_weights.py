"""Lookahead: slow weights that follow fast ones."""

from __future__ import annotations

from flagstone import ops
from flagstone.named import is_number, make
from flagstone.nn.layer import Layer
from flagstone.optim.checks import require, require_count
from flagstone.optim.optimizer import Optimizer
from flagstone.optim.wrapper import Wrapper


class Lookahead(Wrapper):
    """After every ``k`` steps of another optimizer, slow weights move part of the way to the
    parameters, and these go back to them (Zhang et al., NeurIPS 2019, algorithm 1). The other
    one's states are kept over that.

    Args:
        optimizer: makes the fast steps.
        k: how many of them.
        alpha: what part of the way, in (0, 1].
    """

    def __init__(self, optimizer: Optimizer, *, k: int = 5, alpha: float = 0.5) -> None:
        super().__init__(optimizer)
        require_count("Lookahead", k=k)
        in_range = is_number(alpha) and 0 < alpha <= 1
        require("Lookahead", "alpha", alpha, in_range, "a number in (0, 1]")
        self.k, self.alpha = k, alpha
        self._slow, self._t = self.copy_of_parameters("slow"), self.counter("t")

    def after_step(self) -> None:
        ops.lookahead_update(self.flat.values, self._slow, self._t, k=self.k, alpha=self.alpha)


def lookahead(
    layer: Layer,
    lr: float = 0.1,
    *,
    base: str = "sgd(momentum=0.9)",
    k: int = 5,
    alpha: float = 0.5,
) -> Lookahead:
    """:class:`Lookahead` around the registered optimizer that ``base`` writes, as on the command
    line: ``--optimizer "lookahead(base='adamw(weight_decay=0.1)', k=5)"``."""
    require("lookahead", "base", base, isinstance(base, str), "a registered optimizer as text")
    return Lookahead(make("optimizer", base, layer, lr), k=k, alpha=alpha)
