"""Schedules that go one way: in steps, exponentially, by a power, linearly."""

from __future__ import annotations

import bisect

from flagstone.schedules.base import Schedule, is_count, is_finite, require


class Step(Schedule):
    """Times ``gamma`` after every ``every`` epochs (PyTorch's StepLR)."""

    def __init__(self, every: int = 10, gamma: float = 0.1, warmup: float = 0) -> None:
        super().__init__(warmup)
        require("step", "every", every, is_count(every), "a positive number of epochs")
        require("step", "gamma", gamma, is_finite(gamma), "a finite number >= 0")
        self.every, self.gamma = every, gamma

    def after_warmup(self, step: int, steps: int, steps_per_epoch: int) -> float:
        return float(self.gamma ** (step // (self.every * steps_per_epoch)))


class MultiStep(Schedule):
    """Times ``gamma`` at the start of each of the epochs ``milestones``, numbered from 0
    (PyTorch's MultiStepLR)."""

    def __init__(self, milestones: tuple[int, ...], gamma: float = 0.1, warmup: float = 0) -> None:
        super().__init__(warmup)
        listed = isinstance(milestones, (tuple, list)) and all(is_count(m) for m in milestones)
        expected = "a tuple of rising positive epochs"
        rising = listed and list(milestones) == sorted(set(milestones))
        require("multi-step", "milestones", milestones, rising, expected)
        require("multi-step", "gamma", gamma, is_finite(gamma), "a finite number >= 0")
        self.milestones, self.gamma = tuple(milestones), gamma

    def after_warmup(self, step: int, steps: int, steps_per_epoch: int) -> float:
        return float(self.gamma ** bisect.bisect_right(self.milestones, step // steps_per_epoch))


class Exponential(Schedule):
    """Times ``gamma`` after every epoch (PyTorch's ExponentialLR)."""

    def __init__(self, gamma: float = 0.95, warmup: float = 0) -> None:
        super().__init__(warmup)
        require("exponential", "gamma", gamma, is_finite(gamma), "a finite number >= 0")
        self.gamma = gamma

    def after_warmup(self, step: int, steps: int, steps_per_epoch: int) -> float:
        return float(self.gamma ** (step // steps_per_epoch))


class Polynomial(Schedule):
    """From 1 to ``floor`` as ``(1 - step / steps) ** power`` falls (PyTorch's PolynomialLR, over
    all steps)."""

    def __init__(self, power: float = 1.0, floor: float = 0.0, warmup: float = 0) -> None:
        super().__init__(warmup)
        require("polynomial", "power", power, is_finite(power), "a finite number >= 0")
        require("polynomial", "floor", floor, is_finite(floor, 0, 1), "a number in [0, 1]")
        self.power, self.floor = power, floor

    def after_warmup(self, step: int, steps: int, steps_per_epoch: int) -> float:
        return float(self.floor + (1 - self.floor) * (1 - step / steps) ** self.power)


class Linear(Schedule):
    """From ``start`` to ``end`` in a straight line, and then ``end`` (PyTorch's LinearLR).

    Args:
        start, end: factors of the base rate.
        over: how many steps the line takes, or which fraction of all (1 for all, a float).
        warmup: as in :class:`Schedule`.
    """

    def __init__(
        self, start: float = 1.0, end: float = 0.0, over: float = 1.0, warmup: float = 0
    ) -> None:
        super().__init__(warmup)
        require("linear", "start", start, is_finite(start), "a finite number >= 0")
        require("linear", "end", end, is_finite(end), "a finite number >= 0")
        holds = is_count(over) or (isinstance(over, float) and 0 < over <= 1)
        expected = "a positive number of steps, or a fraction in (0, 1] as a float"
        require("linear", "over", over, holds, expected)
        self.start, self.end, self.over = start, end, over

    def after_warmup(self, step: int, steps: int, steps_per_epoch: int) -> float:
        length = self.over if isinstance(self.over, int) else self.over * steps
        return self.start + (self.end - self.start) * min(step / length, 1.0)
