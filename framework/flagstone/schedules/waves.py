"""Schedules that swing: cosines, with restarts and without, one cycle, triangles."""

from __future__ import annotations

import math

from flagstone.errors import ConfigurationError
from flagstone.named import is_number
from flagstone.schedules.base import Schedule, is_count, is_finite, require


class Cosine(Schedule):
    """From 1 to ``floor`` along half a cosine (Loshchilov & Hutter, ICLR 2017; no restarts).

    Args:
        floor: the factor at the end, in [0, 1].
        warmup: as in :class:`Schedule`.
    """

    def __init__(self, floor: float = 0.0, warmup: float = 0) -> None:
        super().__init__(warmup)
        require("cosine", "floor", floor, is_finite(floor, 0, 1), "a number in [0, 1]")
        self.floor = floor

    def after_warmup(self, step: int, steps: int, steps_per_epoch: int) -> float:
        return _between(1.0, self.floor, step / steps)


class CosineRestarts(Schedule):
    """From 1 to ``floor`` along half a cosine, again and again: over ``period`` epochs, and over
    ``times`` as many each time after (Loshchilov & Hutter, ICLR 2017, eq. 5; PyTorch's
    CosineAnnealingWarmRestarts, stepped within epochs).

    Args:
        period: how many epochs the first half cosine takes.
        times: by how much each takes longer than the one before.
        floor: the factor at the end of each, in [0, 1].
        warmup: as in :class:`Schedule`.
    """

    def __init__(
        self, period: int = 10, times: int = 1, floor: float = 0.0, warmup: float = 0
    ) -> None:
        super().__init__(warmup)
        name = "cosine-restarts"
        require(name, "period", period, is_count(period), "a positive number of epochs")
        require(name, "times", times, is_count(times), "a positive integer")
        require(name, "floor", floor, is_finite(floor, 0, 1), "a number in [0, 1]")
        self.period, self.times, self.floor = period, times, floor

    def after_warmup(self, step: int, steps: int, steps_per_epoch: int) -> float:
        length = self.period * steps_per_epoch
        if self.times == 1:
            step %= length
        while step >= length:
            step -= length
            length *= self.times
        return _between(1.0, self.floor, step / length)


class OneCycle(Schedule):
    """Up from ``1 / start`` to 1 over the first ``rise`` of all steps, then down to
    ``1 / (start * end)``, both along half a cosine (Smith & Topin, 2018; PyTorch's OneCycleLR).

    Args:
        rise: the fraction of all steps that goes up, in (0, 1).
        start: how much less than the base rate the first one is.
        end: how much less than the first rate the last one is.
    """

    def __init__(self, rise: float = 0.3, start: float = 25.0, end: float = 1e4) -> None:
        super().__init__()
        numbers = all(is_number(n) and n < math.inf for n in (rise, start, end))
        if not numbers or not 0 < rise < 1 or not start >= 1 or not end >= 1:
            raise ConfigurationError(
                "schedule one-cycle: expected 0 < rise < 1, finite start >= 1 and end >= 1; "
                f"got rise={rise!r}, start={start!r}, end={end!r}"
            )
        self.rise, self.start, self.end = rise, start, end

    def after_warmup(self, step: int, steps: int, steps_per_epoch: int) -> float:
        top = self.rise * steps - 1
        if step <= top:
            return _between(1 / self.start, 1.0, step / top if top > 0 else 1.0)
        return _between(1.0, 1 / (self.start * self.end), (step - top) / max(steps - 1 - top, 1e-9))


class Triangular(Schedule):
    """From ``low`` up to 1 and back down in straight lines, again and again (Smith, WACV 2017;
    PyTorch's CyclicLR).

    Args:
        up: steps from ``low`` to 1.
        down: steps back; as many by default.
        low: the factor at a cycle's ends.
        shrink: what every cycle's height is multiplied by, against the one before; 0.5 is the
            paper's "triangular2".
        gamma: what the height is multiplied by with every step: the paper's "exp_range".
        warmup: as in :class:`Schedule`.
    """

    def __init__(
        self, up: int = 2000, down: int | None = None, low: float = 0.1, shrink: float = 1.0,
        gamma: float = 1.0, warmup: float = 0,
    ) -> None:  # fmt: skip
        super().__init__(warmup)
        down = up if down is None else down
        for option, value in (("up", up), ("down", down)):
            require("triangular", option, value, is_count(value), "a positive number of steps")
        for option, number in (("low", low), ("shrink", shrink), ("gamma", gamma)):
            holds = is_finite(number, 0, 1)
            require("triangular", option, number, holds, "a number in [0, 1]")
        self.up, self.down, self.low, self.shrink, self.gamma = up, down, low, shrink, gamma

    def after_warmup(self, step: int, steps: int, steps_per_epoch: int) -> float:
        cycle, place = divmod(step, self.up + self.down)
        rise = place / self.up if place <= self.up else (self.up + self.down - place) / self.down
        height = (1 - self.low) * self.shrink**cycle * self.gamma**step
        return float(self.low + height * rise)


def _between(a: float, b: float, place: float) -> float:
    """From ``a`` to ``b`` along half a cosine."""
    return b + (a - b) * 0.5 * (1 + math.cos(math.pi * min(place, 1.0)))
