"""The base of schedules: a warm-up, and what a schedule is asked and told."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from flagstone.errors import ConfigurationError
from flagstone.named import is_number


class Schedule:
    """The base: a constant rate, after a warm-up if one is asked for.

    Args:
        warmup: a number of steps (an integer) or a fraction of all steps (below 1) over which the
            factor first rises linearly, reaching the schedule proper at its end (Goyal et al.,
            2017).
    """

    def __init__(self, warmup: float = 0) -> None:
        if not is_number(warmup) or not 0 <= warmup < math.inf or (warmup > 1 and warmup % 1):
            raise ConfigurationError(
                f"schedule: warmup expected a number of steps or a fraction below 1; got {warmup!r}"
            )
        self.warmup = warmup

    def factor(self, step: int, steps: int, steps_per_epoch: int) -> float:
        """What the base rate is multiplied by at ``step`` (from 0) of ``steps``."""
        rise = self.warmup if self.warmup >= 1 else int(self.warmup * steps)
        proper = self.after_warmup(
            max(step - int(rise), 0), max(steps - int(rise), 1), steps_per_epoch
        )
        return proper * (step + 1) / rise if step < rise else proper

    def after_warmup(self, step: int, steps: int, steps_per_epoch: int) -> float:
        """The factor, counted from the end of the warm-up; a subclass defines it."""
        return 1.0

    def observe(self, loss: float, epoch: int) -> None:
        """Hear the monitored loss (the validation's, or the training's without one) after epoch
        number ``epoch``, from 1. The trainer calls it; factors of later steps may follow from it.
        """

    def state_dict(self) -> dict[str, Any]:
        """What was made of the losses so far, as JSON can hold it; empty for most schedules."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a :meth:`state_dict`; from an empty one, begin anew."""


class Constant(Schedule):
    """The base rate throughout."""


def require(schedule: str, name: str, value: object, holds: bool, expected: str) -> None:
    """Raise unless ``holds``: the schedule's option ``name`` is not what is expected."""
    if not holds:
        raise ConfigurationError(f"schedule {schedule}: {name} expected {expected}; got {value!r}")


def is_count(value: Any, least: int = 1) -> bool:
    """Whether an option is an integer, at least ``least``."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_finite(value: Any, least: float = 0.0, most: float = math.inf) -> bool:
    """Whether an option is a finite number from ``least`` to ``most``."""
    return is_number(value) and bool(least <= value <= most) and math.isfinite(value)
