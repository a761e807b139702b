"""How the learning rate changes from step to step.

A schedule is a function of the step: what the base rate is multiplied by. The trainer evaluates it
for a whole epoch at once and hands the device one array.

``warmup`` is a number of steps (an integer) or a fraction of all steps (below 1) over which the
factor first rises linearly, reaching the schedule proper at its end (Goyal et al., 2017).
"""

from __future__ import annotations

import math

from flagstone.errors import ConfigurationError
from flagstone.named import is_number


class Schedule:
    """The base: a constant rate, after a warm-up if one is asked for."""

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


class Constant(Schedule):
    """The base rate throughout."""


class Step(Schedule):
    """Times ``gamma`` after every ``every`` epochs (PyTorch's StepLR)."""

    def __init__(self, every: int = 10, gamma: float = 0.1, warmup: float = 0) -> None:
        super().__init__(warmup)
        if not isinstance(every, int) or every < 1:
            raise ConfigurationError(
                f"schedule step: every expected a positive number of epochs; got {every!r}"
            )
        if not is_number(gamma) or not 0 <= gamma < math.inf:
            raise ConfigurationError(
                f"schedule step: gamma expected a finite number >= 0; got {gamma!r}"
            )
        self.every, self.gamma = every, gamma

    def after_warmup(self, step: int, steps: int, steps_per_epoch: int) -> float:
        return float(self.gamma ** (step // (self.every * steps_per_epoch)))


class Cosine(Schedule):
    """From 1 to ``floor`` along half a cosine (Loshchilov & Hutter, ICLR 2017; no restarts)."""

    def __init__(self, floor: float = 0.0, warmup: float = 0) -> None:
        super().__init__(warmup)
        if not is_number(floor) or not 0 <= floor <= 1:
            raise ConfigurationError(
                f"schedule cosine: floor expected a number in [0, 1]; got {floor!r}"
            )
        self.floor = floor

    def after_warmup(self, step: int, steps: int, steps_per_epoch: int) -> float:
        wave = 0.5 * (1 + math.cos(math.pi * step / steps))
        return self.floor + (1 - self.floor) * wave


class OneCycle(Schedule):
    """Up from ``1 / start`` to 1 over the first ``rise`` of all steps, then down to
    ``1 / (start * end)``, both along half a cosine (Smith & Topin, 2018; PyTorch's OneCycleLR)."""

    def __init__(self, rise: float = 0.3, start: float = 25.0, end: float = 1e4) -> None:
        super().__init__()
        numbers = all(is_number(n) for n in (rise, start, end))
        if not numbers or not 0 < rise < 1 or not start >= 1 or not end >= 1:
            raise ConfigurationError(
                "schedule one-cycle: expected 0 < rise < 1, start >= 1 and end >= 1; "
                f"got rise={rise!r}, start={start!r}, end={end!r}"
            )
        self.rise, self.start, self.end = rise, start, end

    def after_warmup(self, step: int, steps: int, steps_per_epoch: int) -> float:
        top = self.rise * steps - 1
        if step <= top:
            return _between(1 / self.start, 1.0, step / top if top > 0 else 1.0)
        return _between(1.0, 1 / (self.start * self.end), (step - top) / max(steps - 1 - top, 1e-9))


def _between(a: float, b: float, place: float) -> float:
    """From ``a`` to ``b`` along half a cosine."""
    return b + (a - b) * 0.5 * (1 + math.cos(math.pi * min(place, 1.0)))
