"""A rate that falls when the loss no longer does."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from flagstone.named import is_number
from flagstone.schedules.base import Schedule, is_count, is_finite, require, require_state


class ReduceOnPlateau(Schedule):
    """Times ``factor`` when the monitored loss has not improved for more than ``patience`` epochs
    (PyTorch's ReduceLROnPlateau).

    The loss is the validation's, or the training's where there is none. What it was is kept in
    checkpoints, so that a resumed run goes on exactly.

    Args:
        factor: in [0, 1).
        patience: epochs without improvement that are borne.
        threshold: by how much a loss must be better to count.
        threshold_mode: ``"rel"``: times ``1 - threshold``; ``"abs"``: by ``threshold`` itself.
        cooldown: epochs after a reduction in which none counts as bad.
        floor: the least factor of the base rate.
        warmup: as in :class:`Schedule`.
    """

    def __init__(
        self,
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        floor: float = 0.0,
        warmup: float = 0,
    ) -> None:
        super().__init__(warmup)
        name = "reduce-on-plateau"
        in_range = is_number(factor) and 0 <= factor < 1
        require(name, "factor", factor, in_range, "a number in [0, 1)")
        for option, value in (("patience", patience), ("cooldown", cooldown)):
            require(name, option, value, is_count(value, 0), "an integer >= 0")
        require(name, "threshold", threshold, is_finite(threshold), "a finite number >= 0")
        known = isinstance(threshold_mode, str) and threshold_mode in ("rel", "abs")
        require(name, "threshold_mode", threshold_mode, known, "'rel' or 'abs'")
        require(name, "floor", floor, is_finite(floor, 0, 1), "a number in [0, 1]")
        self.reduction, self.patience, self.cooldown = factor, patience, cooldown
        self.threshold, self.threshold_mode, self.floor = threshold, threshold_mode, floor
        self._now, self._best = 1.0, math.inf  # the factor, and the least loss so far
        self._bad = self._cooling = 0  # epochs: without improvement, and left of a cooldown

    def after_warmup(self, step: int, steps: int, steps_per_epoch: int) -> float:
        return self._now

    def observe(self, loss: float, epoch: int) -> None:
        require("reduce-on-plateau", "loss", loss, is_number(loss), "a number")
        if loss < self._bound():
            self._best, self._bad = loss, 0
        else:
            self._bad += 1
        if self._cooling > 0:
            self._cooling -= 1
            self._bad = 0
        if self._bad > self.patience:
            self._now = max(self._now * self.reduction, self.floor)
            self._cooling, self._bad = self.cooldown, 0

    def __repr__(self) -> str:
        return super().__repr__().replace("(", f"(factor={self.reduction!r}, ", 1)

    def _bound(self) -> float:
        """What a loss must be below to be an improvement."""
        if self.threshold_mode == "rel":
            return self._best * (1 - self.threshold)
        return self._best - self.threshold

    def state_dict(self) -> dict[str, Any]:
        return {
            "now": self._now,
            "best": self._best if math.isfinite(self._best) else None,
            "bad": self._bad,
            "cooling": self._cooling,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        name = "reduce-on-plateau"
        require_state(name, state, self.state_dict())
        now, best = state.get("now", 1.0), state.get("best")
        bad, cooling = state.get("bad", 0), state.get("cooling", 0)
        require(name, "now", now, is_finite(now), "a finite number >= 0")
        require(name, "best", best, best is None or is_number(best), "a number or None")
        for count, value in (("bad", bad), ("cooling", cooling)):
            require(name, count, value, is_count(value, 0), "an integer >= 0")
        self._now, self._best = float(now), math.inf if best is None else float(best)
        self._bad, self._cooling = int(bad), int(cooling)
