"""The base of schedules: a warm-up, and what a schedule is asked and told."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

from flagstone.errors import ConfigurationError
from flagstone.named import is_number
from flagstone.ops.window import is_integer


class Schedule:
    """The base: a constant rate, after a warm-up if one is asked for.

    Args:
        warmup: a number of steps (an integer) or a fraction of all steps (below 1) over which the
            factor first rises linearly, reaching the schedule proper at its end (Goyal et al.,
            2017). A warm-up longer than training is cut off with it.
    """

    def __init__(self, warmup: float = 0) -> None:
        if not is_number(warmup) or not 0 <= warmup < math.inf or (warmup > 1 and warmup % 1):
            raise ConfigurationError(
                f"schedule: warmup expected a number of steps or a fraction below 1; got {warmup!r}"
            )
        self.warmup = warmup

    def factor(self, step: int, steps: int, steps_per_epoch: int) -> float:
        """What the base rate is multiplied by at ``step`` (from 0) of ``steps``.

        Raises:
            ConfigurationError: a number is none, or negative; ``steps_per_epoch`` is 0.
        """
        given = (step, steps, steps_per_epoch)
        plain = type(step) is type(steps) is type(steps_per_epoch) is int  # is_number takes longer
        if not (plain or all(map(is_number, given))) or not (
            step >= 0 and steps >= 0 and steps_per_epoch >= 1
        ):
            raise ConfigurationError(
                "schedule: factor expected step >= 0, steps >= 0 and steps_per_epoch >= 1; "
                f"got {', '.join(map(repr, given))}"
            )
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
        """Go on from a :meth:`state_dict`; from an empty one, begin anew.

        Raises:
            ConfigurationError: it is none of this schedule's; nothing is changed.
        """
        require_state(type(self).__name__, state, self.state_dict())

    def __repr__(self) -> str:
        own = vars(self)
        options = [o for o in inspect.signature(type(self)).parameters if o in own]
        return f"{type(self).__name__}({', '.join(f'{o}={own[o]!r}' for o in options)})"


class Constant(Schedule):
    """The base rate throughout."""


def require(schedule: str, name: str, value: object, holds: bool, expected: str) -> None:
    """Raise unless ``holds``: the schedule's option ``name`` is not what is expected."""
    if not holds:
        raise ConfigurationError(f"schedule {schedule}: {name} expected {expected}; got {value!r}")


def is_count(value: Any, least: int = 1) -> bool:
    """Whether an option is an integer, at least ``least``."""
    return bool(is_integer(value) and value >= least)


def is_finite(value: Any, least: float = 0.0, most: float = math.inf) -> bool:
    """Whether an option is a finite number from ``least`` to ``most``."""
    return is_number(value) and bool(least <= value <= most) and math.isfinite(value)


def require_state(schedule: str, state: Any, own: Mapping[str, Any]) -> None:
    """``state`` is a mapping whose names are all among those of ``own``.

    Raises:
        ConfigurationError: it is not.
    """
    if not isinstance(state, Mapping):
        raise ConfigurationError(
            f"load_state_dict: {schedule} expected a dict, as state_dict() gives; "
            f"got {type(state).__name__}"
        )
    if unknown := [str(name) for name in state if name not in own]:
        raise ConfigurationError(
            f"load_state_dict: {schedule} expected {', '.join(own) or 'no states'}; "
            f"got also {', '.join(unknown)}"
        )
